//! A node is replaced while something is under way: a round, a count of failed calls, a rebuild of its actor.

use crate::world::{LIMIT, World, ms, node, verdict};
use actix::prelude::*;
use quorate::{
    Config, Supervisor,
    actors::{NodeActor, NodeCell, NodeSpec, Reconfigure, Relay},
    core::{
        consensus::Opinion,
        error_tracker::{ErrorLimits, Traffic},
        evidence::{Evidence, Hard},
        quorum::Verdict,
        settings::Profile,
        window::Thresholds,
    },
    messages::health::{GetNodeHealth, ProbeNow, RoundReport, RunRound},
    testing::{inbox::Inbox, probe::ScriptedNode, wait},
};
use std::sync::Arc;

const REFUSED: Evidence = Evidence::Hard(Hard::Refused);

fn limits() -> ErrorLimits {
    ErrorLimits { window: ms(10_000), reads: 5, writes: 3, cool_down: ms(60_000) }
}

/// A node that probes only when it is told to.
fn spec(of: &ScriptedNode, rounds: Relay<RoundReport>, errors: Option<ErrorLimits>) -> NodeSpec {
    let link = of.link();
    NodeSpec {
        node: node("g1"),
        probe: link.probe,
        thresholds: Thresholds { fall: 3, rise: 3, first: 1, window: 10 },
        patience: ms(1_000).into(),
        interval: None,
        bootstrap_interval: ms(100),
        watch: false,
        reports: Relay::vacant(),
        rounds,
        errors,
        traffic: link.traffic,
        latency: Arc::new(()),
        cell: NodeCell::default(),
    }
}

#[actix::test]
async fn in_the_middle_of_a_round_it_is_probed_at_its_new_place_for_the_same_round() {
    tokio::time::pause();
    let (inbox, told) = Inbox::<RoundReport>::start();
    let (here, there) = (ScriptedNode::default(), ScriptedNode::default());
    here.answers(REFUSED);
    here.takes(ms(500));
    let actor = NodeActor::new(spec(&here, Relay::to(&inbox), None)).start();
    actor.send(RunRound { round: 7 }).await.unwrap();
    wait::until("asked here", LIMIT, || here.probes().len() == 1).await;
    actor.send(Reconfigure(spec(&there, Relay::to(&inbox), None))).await.unwrap();
    wait::until("told of the round", LIMIT, || told.count() == 1).await;
    let report = told.last().unwrap();
    assert_eq!((report.round, report.opinion), (7, Opinion::Up), "as it is there");
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!((told.count(), there.probes().len()), (1, 1), "what was asked here is not told");
    // The next round finds nothing open.
    actor.send(RunRound { round: 8 }).await.unwrap();
    wait::until("the next", LIMIT, || told.last().is_some_and(|last| last.round == 8)).await;
}

#[actix::test]
async fn between_two_rounds_it_is_probed_when_the_next_one_comes() {
    tokio::time::pause();
    let (inbox, told) = Inbox::<RoundReport>::start();
    let (here, there) = (ScriptedNode::default(), ScriptedNode::default());
    let actor = NodeActor::new(spec(&here, Relay::to(&inbox), None)).start();
    actor.send(RunRound { round: 1 }).await.unwrap();
    wait::until("told", LIMIT, || told.count() == 1).await;
    actor.send(Reconfigure(spec(&there, Relay::to(&inbox), None))).await.unwrap();
    tokio::time::sleep(ms(5_000)).await;
    assert!(there.probes().is_empty(), "rounds probe, and nothing else");
}

#[actix::test]
async fn what_failed_while_nobody_counted_does_not_count_once_somebody_does() {
    tokio::time::pause();
    let node = ScriptedNode::default();
    let uncounted = spec(&node, Relay::vacant(), None);
    let actor = NodeActor::new(uncounted.clone()).start();
    let traffic = async || actor.send(GetNodeHealth).await.unwrap().traffic;
    node.fails_traffic(Traffic::Write, 1_000);
    actor.send(Reconfigure(NodeSpec { errors: Some(limits()), ..uncounted })).await.unwrap();
    tokio::time::sleep(ms(100)).await;
    let now = traffic().await.unwrap();
    assert_eq!((now.tripped, now.writes), (None, 0), "a thousand from before");
    node.fails_traffic(Traffic::Write, 2);
    wait::until_async("two are counted", LIMIT, async || traffic().await.is_some_and(|now| now.writes == 2)).await;
    node.fails_traffic(Traffic::Write, 1);
    wait::until_async("out", LIMIT, async || traffic().await.is_some_and(|now| now.tripped.is_some())).await;
}

#[actix::test]
async fn what_failed_at_its_former_place_counts_for_nothing_at_its_new_one() {
    tokio::time::pause();
    let (here, there) = (ScriptedNode::default(), ScriptedNode::default());
    let actor = NodeActor::new(spec(&here, Relay::vacant(), Some(limits()))).start();
    let traffic = async || actor.send(GetNodeHealth).await.unwrap().traffic.unwrap();
    actor.send(ProbeNow).await.unwrap();
    here.fails_traffic(Traffic::Write, 2);
    wait::until_async("two are counted", LIMIT, async || traffic().await.writes == 2).await;
    actor.send(Reconfigure(spec(&there, Relay::vacant(), Some(limits())))).await.unwrap();
    assert_eq!(traffic().await.writes, 0);
    // Calls that were under way to the former place fail now.
    here.fails_traffic(Traffic::Write, 5);
    there.fails_traffic(Traffic::Write, 1);
    wait::until_async("one is counted", LIMIT, async || traffic().await.writes == 1).await;
    tokio::time::sleep(ms(1_000)).await;
    let now = traffic().await;
    assert_eq!((now.tripped, now.writes), (None, 1));
}

async fn tripped(world: &World) -> (Supervisor<u64>, Config) {
    let mut config = world.config("s1");
    config.health.errors = Some(limits());
    let one = world.assemble(config.clone()).await.unwrap();
    verdict(&one, "g1", Verdict::Healthy).await;
    world.node("g1").fails_traffic(Traffic::Write, 3);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    (one, config)
}

/// Its actor dies and stays away until it is let live again.
async fn dies(world: &World, one: &Supervisor<u64>) {
    world.node("g1").panics(true);
    wait::until_async("it died", LIMIT, async || one.restarts().await["node v/g1"] > 0).await;
}

#[actix::test]
async fn a_node_that_moves_while_its_actor_is_rebuilt_is_not_out_for_what_it_did_elsewhere() {
    let world = World::new(Profile::Default);
    let (one, mut config) = tripped(&world).await;
    dies(&world, &one).await;
    config.virtual_storages[0].nodes[0].address = "tcp://elsewhere:1".to_owned();
    one.reload(config).await.unwrap();
    let moved = tokio::time::Instant::now();
    verdict(&one, "g1", Verdict::Healthy).await;
    assert!(moved.elapsed() < ms(20_000), "it was out for a minute there: {:?}", moved.elapsed());
}

#[actix::test]
async fn a_node_that_stays_while_its_actor_is_rebuilt_stays_out_until_other_limits_hold() {
    let world = World::new(Profile::Default);
    let (one, mut config) = tripped(&world).await;
    dies(&world, &one).await;
    config.health.interval = ms(200);
    one.reload(config.clone()).await.unwrap();
    world.node("g1").panics(false);
    tokio::time::sleep(ms(30_000)).await;
    assert!(!one.node(&node("g1")).unwrap().is_healthy(), "other times are no other place");
    config.health.errors = Some(ErrorLimits { writes: 9, ..limits() });
    one.reload(config).await.unwrap();
    let other = tokio::time::Instant::now();
    verdict(&one, "g1", Verdict::Healthy).await;
    assert!(other.elapsed() < ms(10_000), "{:?}", other.elapsed());
}
