//! Real traffic's errors: what they do to a node whose probes find nothing wrong.

use crate::world::{LIMIT, World, ms, node, path, storage, verdict};
use actix::Actor;
use quorate::{
    Config, Supervisor,
    actors::{NodeActor, NodeCell, NodeSpec, Relay},
    config::{NodeConfig, VirtualStorageConfig},
    core::{
        consensus::Opinion,
        error_tracker::{ErrorLimits, Traffic, TrafficHealth},
        evidence::{Evidence, Hard},
        ids::{NodeId, VirtualStorage},
        quorum::Verdict,
        settings::Profile,
        window::Thresholds,
    },
    messages::health::{CheckHealth, GetNodeHealth, NodeReport, ProbeNow},
    testing::{
        inbox::{Inbox, Received},
        probe::ScriptedNode,
        wait,
    },
};
use std::sync::Arc;

const TOO_MANY_WRITES: Evidence = Evidence::ErrorRate(Traffic::Write);

fn limits() -> ErrorLimits {
    ErrorLimits { window: ms(10_000), reads: 5, writes: 3, cool_down: ms(4_000) }
}

/// A node actor alone: the test is its timer and its traffic.
struct Alone {
    actor: actix::Addr<NodeActor>,
    node: ScriptedNode,
    reports: Received<NodeReport>,
}

impl Alone {
    fn start(errors: Option<ErrorLimits>) -> Alone {
        tokio::time::pause();
        let (inbox, reports) = Inbox::<NodeReport>::start();
        let node = ScriptedNode::default();
        let actor = NodeActor::new(NodeSpec {
            node: crate::world::node("g1"),
            probe: Arc::new(node.clone()),
            thresholds: Thresholds { fall: 3, rise: 3, first: 1, window: 10 },
            patience: ms(300).into(),
            interval: None,
            watch: false,
            reports: Relay::to(&inbox),
            bootstrap_interval: ms(100),
            rounds: Relay::vacant(),
            errors,
            traffic: node.link().traffic,
            latency: Arc::new(()),
            cell: NodeCell::default(),
        });
        Alone { actor: actor.start(), node, reports }
    }
    async fn probe(&self) -> NodeReport {
        let before = self.reports.count();
        self.actor.send(ProbeNow).await.unwrap();
        wait::until("a report", LIMIT, || self.reports.count() > before).await;
        self.reports.last().unwrap()
    }
    async fn traffic(&self) -> Option<TrafficHealth> {
        self.actor.send(GetNodeHealth).await.unwrap().traffic
    }
}

#[actix::test]
async fn as_many_failed_writes_as_the_threshold_are_reported_at_once_with_their_own_reason() {
    let alone = Alone::start(Some(limits()));
    assert_eq!(alone.probe().await.opinion, Opinion::Up);
    alone.node.fails_traffic(Traffic::Write, 2);
    wait::until_async("two are counted", LIMIT, async || alone.traffic().await.is_some_and(|t| t.writes == 2)).await;
    assert_eq!(alone.reports.count(), 1, "nothing to report yet");

    alone.node.fails_traffic(Traffic::Write, 1);
    wait::until("reported", LIMIT, || alone.reports.count() == 2).await;
    let report = alone.reports.last().unwrap();
    assert_eq!((report.opinion, report.evidence), (Opinion::Down, TOO_MANY_WRITES));
    let health = alone.actor.send(GetNodeHealth).await.unwrap();
    assert_eq!((health.opinion, health.evidence), (Opinion::Down, Some(TOO_MANY_WRITES)));
    assert_eq!(health.window, vec![true], "the probes found nothing");
    assert_eq!(health.traffic, Some(TrafficHealth { tripped: Some(Traffic::Write), reads: 0, writes: 0 }));
    let outcome = alone.actor.send(CheckHealth).await.unwrap();
    assert_eq!(outcome, Some(TOO_MANY_WRITES), "whoever checks is told, too");
}

#[actix::test]
async fn without_limits_no_traffic_takes_a_node_out() {
    let alone = Alone::start(None);
    alone.node.fails_traffic(Traffic::Write, 1_000);
    let report = alone.probe().await;
    assert_eq!((report.opinion, report.evidence), (Opinion::Up, Evidence::Serving));
    assert_eq!(alone.traffic().await, None);
}

#[actix::test]
async fn errors_older_than_the_window_are_forgotten() {
    let alone = Alone::start(Some(limits()));
    alone.probe().await;
    alone.node.fails_traffic(Traffic::Write, 2);
    wait::until_async("two are counted", LIMIT, async || alone.traffic().await.is_some_and(|t| t.writes == 2)).await;
    tokio::time::sleep(ms(10_000)).await;
    alone.node.fails_traffic(Traffic::Write, 2);
    wait::until_async("two again", LIMIT, async || alone.traffic().await.is_some_and(|t| t.writes == 2)).await;
    assert_eq!(alone.reports.count(), 1);
}

#[actix::test]
async fn after_the_cool_down_a_healthy_probe_lets_it_back_and_one_error_takes_it_out_again() {
    let alone = Alone::start(Some(limits()));
    alone.probe().await;
    alone.node.fails_traffic(Traffic::Write, 3);
    wait::until("out", LIMIT, || alone.reports.count() == 2).await;
    assert_eq!(alone.probe().await.evidence, TOO_MANY_WRITES, "too early");
    tokio::time::sleep(ms(4_000)).await;
    let back = alone.probe().await;
    assert_eq!((back.opinion, back.evidence), (Opinion::Up, Evidence::Serving));

    alone.node.fails_traffic(Traffic::Write, 1);
    wait::until("out again", LIMIT, || alone.reports.last().is_some_and(|last| last.evidence == TOO_MANY_WRITES)).await;
    // The contrast: after a trial without an error one more is one of three.
    tokio::time::sleep(ms(4_000)).await;
    assert_eq!(alone.probe().await.opinion, Opinion::Up);
    tokio::time::sleep(ms(10_000)).await;
    alone.node.fails_traffic(Traffic::Write, 1);
    wait::until_async("counted", LIMIT, async || alone.traffic().await.is_some_and(|t| t.writes == 1)).await;
    assert_eq!(alone.probe().await.opinion, Opinion::Up);
}

async fn watching(world: &World, mut config: Config) -> Supervisor<u64> {
    config.health.errors = Some(limits());
    world.assemble(config).await.unwrap()
}

fn is_up(supervisor: &Supervisor<u64>, about: &NodeId) -> bool {
    supervisor.node(about).unwrap().is_healthy()
}

#[actix::test]
async fn defect_a_a_tripped_tracker_fails_the_local_verdict_and_the_vote() {
    let world = World::new(Profile::Default);
    let one = watching(&world, world.config("s1")).await;
    world.repository("r", &["g1", "g2"]).await;
    let primary = one.primary(&path("r")).await.unwrap().storage;
    let about = node(primary.as_str());
    world.node(primary.as_str()).fails_traffic(Traffic::Write, 3);
    wait::until("not routed to", LIMIT, || !is_up(&one, &about)).await;
    verdict(&one, primary.as_str(), Verdict::Unhealthy).await;
    assert_eq!(world.opinion("s1", primary.as_str()), Some(Opinion::Down));
    assert_ne!(one.primary(&path("r")).await.unwrap().storage, primary, "its writes fail: another is elected");
    let health = one.node(&about).unwrap().health().await.unwrap();
    assert_eq!(health.evidence, Some(TOO_MANY_WRITES), "and the reason is seen");
}

#[actix::test]
async fn defect_u_a_tripped_node_comes_back_by_itself() {
    let world = World::new(Profile::Default);
    let one = watching(&world, world.config("s1")).await;
    world.node("g1").fails_traffic(Traffic::Read, 5);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    let out = tokio::time::Instant::now();
    verdict(&one, "g1", Verdict::Healthy).await;
    assert!(out.elapsed() >= ms(3_500) && out.elapsed() < ms(7_000), "{:?}", out.elapsed());
    world.node("g1").fails_traffic(Traffic::Read, 1);
    verdict(&one, "g1", Verdict::Unhealthy).await;
}

#[actix::test]
async fn a_panic_of_its_actor_lets_no_tripped_node_back_early() {
    let world = World::new(Profile::Default);
    let one = watching(&world, world.config("s1")).await;
    let dies = async || {
        let before = one.restarts().await["node v/g1"];
        world.node("g1").panics(true);
        wait::until_async("it died", LIMIT, async || one.restarts().await["node v/g1"] > before).await;
        world.node("g1").panics(false);
    };
    world.node("g1").fails_traffic(Traffic::Write, 3);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    let out = tokio::time::Instant::now();
    dies().await;
    wait::until("back", LIMIT, || is_up(&one, &node("g1"))).await;
    assert!(out.elapsed() >= ms(3_500) && out.elapsed() < ms(7_000), "{:?}", out.elapsed());

    // It is on trial now, and its next actor knows that too.
    dies().await;
    world.node("g1").fails_traffic(Traffic::Write, 1);
    wait::until("out again", LIMIT, || !is_up(&one, &node("g1"))).await;
}

#[actix::test]
async fn errors_that_nobody_hears_any_more_do_no_harm() {
    let world = World::new(Profile::Default);
    let one = watching(&world, world.config("s1")).await;
    let traffic = one.node(&node("g1")).unwrap().traffic().clone();
    one.stop().await;
    (0..10).for_each(|_| traffic.record(Traffic::Write));
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(traffic.take(), (0, 10), "two numbers, and nobody who counts them");
}

#[actix::test]
async fn in_profile_praefect_the_next_round_does_not_see_a_tripped_node() {
    let world = World::new(Profile::Praefect);
    let one = watching(&world, world.config("s1")).await;
    wait::until("up", LIMIT, || is_up(&one, &node("g1"))).await;
    world.node("g1").fails_traffic(Traffic::Write, 3);
    wait::until("out", LIMIT, || !is_up(&one, &node("g1"))).await;
    tokio::time::sleep(ms(2_000)).await;
    assert!(!is_up(&one, &node("g1")), "and so does the one after it");
    assert_eq!(one.node(&node("g1")).unwrap().health().await.unwrap().evidence, Some(TOO_MANY_WRITES));
    wait::until("back", LIMIT, || is_up(&one, &node("g1"))).await;
}

#[actix::test]
async fn one_storage_name_in_two_virtual_storages_is_two_nodes() {
    let world = World::new(Profile::Default);
    let other = VirtualStorage::new("w").unwrap();
    let mut config = world.config("s1");
    let nodes = vec![NodeConfig::new(storage("g1"), "tcp://w-g1:1")];
    config.virtual_storages.push(VirtualStorageConfig { nodes, ..VirtualStorageConfig::new(other.clone()) });
    let one = watching(&world, config).await;
    let (here, there) = (node("g1"), NodeId::new(other, storage("g1")));
    wait::until("both up", LIMIT, || is_up(&one, &here) && is_up(&one, &there)).await;
    let address = |of: &NodeId| one.node(of).unwrap().address().to_string();
    assert_eq!((address(&here), address(&there)), ("tcp://g1:1".to_owned(), "tcp://w-g1:1".to_owned()));

    // Two errors here and one there are not three of one node.
    one.node(&here).unwrap().traffic().record(Traffic::Write);
    one.node(&here).unwrap().traffic().record(Traffic::Write);
    one.node(&there).unwrap().traffic().record(Traffic::Write);
    let counted = async |of: &NodeId| one.node(of).unwrap().health().await.unwrap().traffic.unwrap().writes;
    wait::until_async("counted apart", LIMIT, async || counted(&here).await == 2 && counted(&there).await == 1).await;

    world.transport.node("tcp://w-g1:1").answers(Evidence::Hard(Hard::Refused));
    wait::until("only that one is down", LIMIT, || !is_up(&one, &there)).await;
    assert!(is_up(&one, &here));
    let up = |of: &NodeId| one.healthy_nodes().0[&of.virtual_storage].clone();
    assert_eq!((up(&here).len(), up(&there).len()), (3, 0));
}
