//! A running supervisor follows another configuration, and no healthy node loses its votes meanwhile.

use crate::world::{LIMIT, World, ms, name, node, path, storage, verdict, vs};
use actix::prelude::*;
use quorate::{
    Config, Error, Supervisor,
    actors::{Change, ChildSpec, Guardian, NodeActor, NodeCell, NodeSpec, Reconfigure, Relay},
    config::Secret,
    core::{
        consensus::Opinion,
        evidence::{Evidence, Hard, Ours, Soft},
        ids::NodeId,
        quorum::Verdict,
        settings::Profile,
        window::Thresholds,
    },
    messages::{control::GetRestarts, health::GetNodeHealth, health::NodeReport},
    store::{HealthStore, NewRepository, StoreErrorKind, StoreOp},
    testing::{inbox::Inbox, probe::ScriptedNode, wait},
    transport::{HealthProbe, TrafficErrors},
};
use std::sync::Arc;

const REFUSED: Evidence = Evidence::Hard(Hard::Refused);

async fn settled(world: &World) -> Supervisor<u64> {
    let one = world.supervisor("s1").await;
    for about in ["g1", "g2", "g3"] {
        verdict(&one, about, Verdict::Healthy).await;
    }
    one
}

fn names(one: &Supervisor<u64>) -> Vec<String> {
    one.nodes().iter().map(|handle| handle.storage().to_string()).collect()
}

fn heartbeats(world: &World) -> u64 {
    world.store.activity().get(&StoreOp::SupervisorHeartbeat).map_or(0, |asked| asked.calls)
}

/// Lets time pass and holds that a condition never failed.
async fn always(what: &str, millis: u64, holds: impl Fn() -> bool) {
    for _ in 0..millis / 10 {
        assert!(holds(), "{what}");
        tokio::time::sleep(ms(10)).await;
    }
}

#[actix::test]
async fn a_node_that_stays_keeps_its_window_its_votes_and_its_voter() {
    let mut world = World::new(Profile::Default);
    let one = settled(&world).await;
    let (voter, window) = (one.voter(), one.node(&node("g1")).unwrap().health().await.unwrap().window);
    assert!(!window.is_empty());
    let revision = one.health_consensus().unwrap().revision;
    world.nodes = vec!["g1", "g4", "g2"];
    one.reload(world.config("s1")).await.unwrap();
    assert_eq!(names(&one), ["g1", "g4", "g2"], "in order of configuration");
    let health = one.node(&node("g1")).unwrap().health().await.unwrap();
    assert!(health.window.starts_with(&window), "{:?} begins with {window:?}", health.window);
    let stays = || {
        let known = one.health_consensus().unwrap();
        [node("g1"), node("g2")].iter().all(|node| {
            known.verdict(node) == Verdict::Healthy && world.opinion("s1", node.storage.as_str()) == Some(Opinion::Up)
        })
    };
    always("g1 and g2 are healthy throughout", 3_000, stays).await;
    assert_eq!(one.voter(), voter, "nobody registered anew");
    verdict(&one, "g4", Verdict::Healthy).await;
    assert!(one.health_consensus().unwrap().revision > revision);
}

#[actix::test]
async fn a_removed_nodes_votes_are_deleted_and_nobody_probes_it_any_more() {
    let mut world = World::new(Profile::Default);
    let one = settled(&world).await;
    let held = one.node(&node("g3")).unwrap();
    world.nodes = vec!["g1", "g2"];
    one.reload(world.config("s1")).await.unwrap();
    wait::until("its row went", LIMIT, || world.opinion("s1", "g3").is_none()).await;
    assert!(one.node(&node("g3")).is_none() && !held.is_healthy());
    let probed = world.node("g3").probes().len();
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(world.node("g3").probes().len(), probed);
    assert!(world.opinion("s1", "g3").is_none(), "and stays away");
    let facts = world.store.health_facts().await.unwrap().facts;
    assert_eq!(facts.votes.len(), 2);
}

#[actix::test]
async fn an_added_node_is_probed_at_once_and_not_at_the_next_interval() {
    let mut world = World::new(Profile::Default);
    let one = settled(&world).await;
    world.nodes.push("g4");
    let mut config = world.config("s1");
    config.health.interval = ms(3_000);
    one.reload(config).await.unwrap();
    tokio::time::sleep(ms(20)).await;
    assert_eq!(world.node("g4").probes().len(), 1);
    wait::until("and voted on", ms(200), || world.opinion("s1", "g4") == Some(Opinion::Up)).await;
}

#[actix::test]
async fn under_another_address_the_vote_stays_until_something_is_seen_there() {
    let world = World::new(Profile::Default);
    let one = settled(&world).await;
    let held = one.node(&node("g1")).unwrap();
    let there = world.transport.node("tcp://elsewhere:1");
    there.takes(ms(200));
    there.answers(REFUSED);
    let mut config = world.config("s1");
    config.virtual_storages[0].nodes[0].address = "tcp://elsewhere:1".to_owned();
    let here = world.node("g1").probes().len();
    one.reload(config).await.unwrap();
    assert_eq!(held.address().to_string(), "tcp://elsewhere:1", "a handle from before follows");
    there.reconnect();
    assert_eq!(held.connection(), 1, "and so does its connection");
    always("its vote stays", 150, || world.opinion("s1", "g1") == Some(Opinion::Up) && held.is_healthy()).await;
    assert!(!there.probes().is_empty(), "while it is probed there at once");
    verdict(&one, "g1", Verdict::Unhealthy).await;
    assert_eq!(world.node("g1").probes().len(), here, "nobody asks at its former address");
}

#[actix::test]
async fn another_token_opens_the_link_anew_and_an_unchanged_node_keeps_its_own() {
    let world = World::new(Profile::Default);
    let one = settled(&world).await;
    let mut config = world.config("s1");
    config.virtual_storages[0].nodes[1].token = Some(Secret::new("hunter2"));
    let opened = world.transport.opened();
    one.reload(config).await.unwrap();
    assert_eq!(world.transport.opened(), opened + 1, "g2 alone");
    assert_eq!(one.node(&node("g2")).unwrap().token(), Some(Secret::new("hunter2")));
    assert_eq!(one.node(&node("g1")).unwrap().token(), None);
}

#[actix::test]
async fn intervals_timeouts_and_thresholds_change_live() {
    let world = World::new(Profile::Default);
    let one = settled(&world).await;
    let mut config = world.config("s1");
    config.health.interval = ms(100);
    config.health.timeout = ms(50);
    config.health.thresholds = Thresholds { fall: 1, rise: 1, first: 1, window: 5 };
    config.heartbeat = ms(200);
    one.reload(config).await.unwrap();
    let (probes, beats) = (world.node("g1").probes().len(), heartbeats(&world));
    tokio::time::sleep(ms(1_000)).await;
    let (probes, beats) = (world.node("g1").probes().len() - probes, heartbeats(&world) - beats);
    assert!((8..=12).contains(&probes), "{probes} probes in a second");
    assert!((4..=6).contains(&beats), "{beats} heartbeats in a second");
    world.node("g1").answers(Evidence::Soft(Soft::Timeout));
    wait::until("one miss is enough now", ms(250), || world.opinion("s1", "g1") == Some(Opinion::Down)).await;
}

#[actix::test]
async fn what_cannot_change_live_is_refused_with_all_reasons_and_nothing_is_applied() {
    let mut world = World::new(Profile::Default);
    let one = settled(&world).await;
    let before = one.config();
    world.nodes = vec!["g1", "g4", "g5"];
    let mut config = world.config("s2");
    config.settings.vote_ttl = ms(4_000);
    config.health.keepalive = ms(10_000);
    config.heartbeat = ms(100);
    config.virtual_storages[0].nodes[1].address = "localhost:1".to_owned();
    config.virtual_storages[0].nodes[2].address = "tcp://x:1/y".to_owned();
    let error = one.reload(config).await.unwrap_err();
    let Error::Config(error) = error else { panic!("{error:?}") };
    let keys: Vec<&str> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        ["name", "health.keepalive", "consensus.vote_ttl", "address of v/g4", "address of v/g5"],
        "{error}"
    );
    assert_eq!(one.config(), before);
    assert_eq!(names(&one), ["g1", "g2", "g3"]);
    let beats = heartbeats(&world);
    always("the old one runs on", 2_000, || world.opinion("s1", "g3") == Some(Opinion::Up)).await;
    assert!(heartbeats(&world) - beats <= 3, "the old heartbeat");
}

#[actix::test]
async fn a_configuration_that_contradicts_itself_or_the_stored_settings_is_refused() {
    let world = World::new(Profile::Default);
    let one = settled(&world).await;
    let mut settings = one.settings();
    (settings.voter_ttl, settings.vote_ttl) = (ms(4_000), ms(4_000));
    one.settings_update(&settings).await.unwrap();
    wait::until("followed", LIMIT, || one.settings().voter_ttl == ms(4_000)).await;
    let mut config = world.config("s1");
    config.heartbeat = ms(1_500);
    let error = one.reload(config.clone()).await.unwrap_err().to_string();
    assert!(error.contains("voter_ttl = 4s"), "{error}");
    config.virtual_storages.clear();
    let error = one.reload(config).await.unwrap_err().to_string();
    assert!(error.contains("none is configured"), "{error}");
    assert_eq!(names(&one).len(), 3);
}

#[actix::test]
async fn a_reload_while_the_database_is_away_holds_and_reaches_it_later() {
    let mut world = World::new(Profile::Default);
    let one = settled(&world).await;
    world.store.fail(Some(StoreOp::NodesWatch), StoreErrorKind::Unreachable);
    world.nodes = vec!["g1", "g2", "g4"];
    one.reload(world.config("s1")).await.unwrap();
    tokio::time::sleep(ms(1_500)).await;
    assert_eq!(world.opinion("s1", "g3"), Some(Opinion::Up), "nobody could remove it");
    assert!(world.node("g4").probes().len() > 1, "the new node is looked at meanwhile");
    world.store.heal();
    wait::until("its row went", LIMIT, || world.opinion("s1", "g3").is_none()).await;
    verdict(&one, "g4", Verdict::Healthy).await;
}

#[actix::test]
async fn an_actor_that_dies_after_a_reload_is_rebuilt_from_what_it_was_told_last() {
    let mut world = World::new(Profile::Default);
    let one = settled(&world).await;
    world.nodes = vec!["g1", "g2", "g4"];
    let mut config = world.config("s1");
    config.virtual_storages[0].nodes[0].address = "tcp://elsewhere:1".to_owned();
    one.reload(config).await.unwrap();
    let there = world.transport.node("tcp://elsewhere:1");
    there.panics(true);
    wait::until_async("it died", LIMIT, async || one.restarts().await["node v/g1"] > 0).await;
    there.panics(false);
    let (here, before) = (world.node("g1").probes().len(), there.probes().len());
    wait::until("probed there again", LIMIT, || there.probes().len() > before).await;
    assert_eq!(world.node("g1").probes().len(), here, "and not where it was at first");
    assert!(!one.restarts().await.contains_key("node v/g3"), "a removed one is not rebuilt");
}

#[actix::test]
async fn a_caller_who_gives_up_does_not_leave_a_reload_half_way() {
    let mut world = World::new(Profile::Default);
    let one = settled(&world).await;
    world.nodes = vec!["g1", "g2", "g4"];
    let config = world.config("s1");
    let mut reload = Box::pin(one.reload(config));
    let waker = std::task::Waker::noop();
    assert!(reload.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
    drop(reload);
    wait::until("it is done all the same", LIMIT, || names(&one) == ["g1", "g2", "g4"]).await;
    verdict(&one, "g4", Verdict::Healthy).await;
    wait::until("its row went", LIMIT, || world.opinion("s1", "g3").is_none()).await;
}

#[actix::test]
async fn two_reloads_at_once_come_one_after_the_other() {
    let mut world = World::new(Profile::Default);
    let one = settled(&world).await;
    world.nodes = vec!["g1", "g4"];
    let first = world.config("s1");
    world.nodes = vec!["g1", "g5"];
    let second = world.config("s1");
    let (first, second) = futures_util::future::join(one.reload(first), one.reload(second)).await;
    first.unwrap();
    second.unwrap();
    let kept = names(&one);
    assert!(kept == ["g1", "g4"] || kept == ["g1", "g5"], "{kept:?}");
    let gone = if kept.contains(&"g4".to_owned()) { "g5" } else { "g4" };
    wait::until("no row of the other", LIMIT, || world.opinion("s1", gone).is_none()).await;
    verdict(&one, &kept[1], Verdict::Healthy).await;
}

#[actix::test]
async fn in_rounds_nodes_come_and_go_too() {
    let mut world = World::new(Profile::Praefect);
    let one = settled(&world).await;
    let voter = one.voter();
    world.nodes = vec!["g1", "g2", "g4"];
    one.reload(world.config("s1")).await.unwrap();
    let stays = || one.health_consensus().unwrap().verdict(&node("g1")) == Verdict::Healthy;
    always("g1 is healthy throughout", 5_000, stays).await;
    verdict(&one, "g4", Verdict::Healthy).await;
    assert!(world.opinion("s1", "g3").is_none());
    assert_eq!(one.voter(), voter);
}

#[actix::test]
async fn a_supervisor_that_ended_follows_nothing() {
    let world = World::new(Profile::Default);
    let older = settled(&world).await;
    let _newer = world.supervisor("s1").await;
    wait::until("it ended", LIMIT, || older.ended().is_some()).await;
    assert!(matches!(older.reload(world.config("s1")).await, Err(Error::Superseded { .. })));
    let stopped = world.supervisor("s2").await;
    stopped.stop().await;
    assert!(matches!(stopped.reload(world.config("s2")).await, Err(Error::Stopped)));
}

#[actix::test]
async fn a_new_address_injected_into_a_node_actor_drops_the_answer_from_the_old_one() {
    tokio::time::pause();
    let (inbox, reports) = Inbox::<NodeReport>::start();
    let spec = |probe: &ScriptedNode| NodeSpec {
        node: node("g1"),
        probe: Arc::new(probe.clone()),
        thresholds: Thresholds { fall: 3, rise: 3, first: 1, window: 10 },
        patience: ms(300).into(),
        interval: Some(ms(1_000)),
        bootstrap_interval: ms(100),
        watch: false,
        reports: Relay::to(&inbox),
        rounds: Relay::vacant(),
        errors: None,
        traffic: TrafficErrors::default(),
        latency: Arc::new(()),
        cell: NodeCell::default(),
    };
    let (here, there) = (ScriptedNode::default(), ScriptedNode::default());
    let actor = NodeActor::new(spec(&here)).start();
    wait::until("up", LIMIT, || reports.count() == 1).await;
    here.answers(REFUSED);
    here.takes(ms(200));
    wait::until("asked again", LIMIT, || here.probes().len() == 2).await;
    there.takes(ms(250));
    actor.send(Reconfigure(spec(&there))).await.unwrap();
    tokio::time::sleep(ms(240)).await;
    assert_eq!((reports.count(), here.probes().len()), (1, 2), "the refusal was neither believed nor confirmed");
    wait::until("there", LIMIT, || reports.count() == 2).await;
    assert!(reports.all().iter().all(|report| report.opinion == Opinion::Up), "{:?}", reports.all());
    assert_eq!(actor.send(GetNodeHealth).await.unwrap().window, [true, true]);
}

#[actix::test]
async fn until_something_is_known_of_a_node_it_is_probed_at_the_bootstrap_interval() {
    tokio::time::pause();
    let spec = |probe: &ScriptedNode, bootstrap| NodeSpec {
        node: node("g1"),
        probe: Arc::new(probe.clone()),
        thresholds: Thresholds { fall: 3, rise: 3, first: 1, window: 10 },
        patience: ms(300).into(),
        interval: Some(ms(10_000)),
        bootstrap_interval: bootstrap,
        watch: false,
        reports: Relay::vacant(),
        rounds: Relay::vacant(),
        errors: None,
        traffic: TrafficErrors::default(),
        latency: Arc::new(()),
        cell: NodeCell::default(),
    };
    let probe = ScriptedNode::default();
    probe.answers(Evidence::Ours(Ours::NameResolution));
    let _actor = NodeActor::new(spec(&probe, ms(100))).start();
    tokio::time::sleep(ms(1_050)).await;
    assert_eq!(probe.probes().len(), 11);
    probe.answers(Evidence::Serving);
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(probe.probes().len(), 12, "the first answer ends it");
    tokio::time::sleep(ms(7_000)).await;
    assert_eq!(probe.probes().len(), 13, "one interval after that, give or take a tenth");
    // Contrast: without it a start waits for a whole interval.
    let probe = ScriptedNode::default();
    probe.answers(Evidence::Ours(Ours::NameResolution));
    let _actor = NodeActor::new(spec(&probe, ms(10_000))).start();
    tokio::time::sleep(ms(1_050)).await;
    assert_eq!(probe.probes().len(), 1);
}

#[actix::test]
async fn the_guardian_ends_one_child_of_two_with_the_same_name() {
    tokio::time::pause();
    struct Idle;
    impl Actor for Idle {
        type Context = Context<Self>;
    }
    #[derive(Message)]
    #[rtype(result = "()")]
    struct Ask;
    impl Handler<Ask> for Idle {
        type Result = ();
        fn handle(&mut self, _: Ask, _: &mut Context<Self>) {}
    }
    let child = |place: &Relay<Ask>| {
        let place = place.clone();
        ChildSpec::new("twin", || Idle, move |address: &Addr<Idle>| place.set(address.clone().recipient()))
    };
    let (one, two, three) = (Relay::<Ask>::vacant(), Relay::<Ask>::vacant(), Relay::<Ask>::vacant());
    let (first, second) = (child(&one), child(&two));
    let gone = first.key();
    let guardian = Guardian::new(vec![first, second]).start();
    wait::until_async("both live", LIMIT, async || one.send(Ask).await.is_some() && two.send(Ask).await.is_some())
        .await;
    guardian.send(Change { add: vec![child(&three)], remove: vec![gone] }).await.unwrap();
    wait::until_async("the first is gone", LIMIT, async || one.send(Ask).await.is_none()).await;
    wait::until_async("the third lives", LIMIT, async || three.send(Ask).await.is_some()).await;
    tokio::time::sleep(ms(20_000)).await;
    assert!(one.send(Ask).await.is_none() && two.send(Ask).await.is_some());
    assert_eq!(guardian.send(GetRestarts).await.unwrap()["twin"], 0, "it was ended, it did not die");
}

#[actix::test]
async fn a_stop_waits_for_the_lookup_under_way_but_no_longer_than_it_may() {
    let world = World::new(Profile::Default);
    let mut config = world.config("s1");
    config.graceful_stop_timeout = ms(400);
    config.request_timeout = ms(2_000);
    let one = world.assemble(config).await.unwrap();
    world.repository("r", &["g1"]).await;
    verdict(&one, "g1", Verdict::Healthy).await;
    world.store.hold(StoreOp::ElectionFacts);
    let lookup = |one: &Supervisor<u64>| {
        let one = one.clone();
        tokio::spawn(async move { one.primary(&path("r")).await })
    };
    let waiting = lookup(&one);
    tokio::time::sleep(ms(10)).await;
    let stopping = {
        let one = one.clone();
        tokio::spawn(async move { one.stop().await })
    };
    tokio::time::sleep(ms(100)).await;
    assert!(!stopping.is_finished(), "somebody is inside");
    assert!(matches!(one.primary(&path("r")).await, Err(Error::Stopped)), "and nobody else comes in");
    world.store.release(StoreOp::ElectionFacts);
    assert_eq!(waiting.await.unwrap().unwrap().storage, storage("g1"), "it was answered");
    stopping.await.unwrap();
    // One that hangs does not hold it up for longer.
    let mut config = world.config("s2");
    config.graceful_stop_timeout = ms(400);
    let two = world.assemble(config).await.unwrap();
    world.store.hold(StoreOp::ElectionFacts);
    let waiting = lookup(&two);
    tokio::time::sleep(ms(10)).await;
    let began = tokio::time::Instant::now();
    two.stop().await;
    assert!((ms(400)..ms(600)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(waiting.await.unwrap().is_err());
}

#[actix::test]
async fn a_new_repository_is_assigned_by_the_default_replication_factor_which_is_live() {
    let world = World::new(Profile::Default);
    let one = settled(&world).await;
    let assigned = async |config: &Config, at: &str| {
        one.reload(config.clone()).await.unwrap();
        let mut new = NewRepository::new(vs(), at.parse().unwrap(), vec![storage("g2")]);
        new.primary = Some(storage("g2"));
        one.repository_create(&new).await.unwrap();
        one.repository(&path(at)).await.unwrap().facts.assignments
    };
    let mut config = world.config("s1");
    assert!(assigned(&config, "a").await.is_empty(), "0: everywhere, without rows");
    for factor in [1, 2, 3] {
        config.virtual_storages[0].default_replication_factor = factor;
        let assigned = assigned(&config, &format!("r{factor}")).await;
        assert_eq!(assigned.len(), usize::try_from(factor).unwrap());
        assert!(assigned.contains(&storage("g2")), "its primary first: {assigned:?}");
    }
    // Whoever says where is obeyed.
    let mut new = NewRepository::new(vs(), "own".parse().unwrap(), vec![storage("g1")]);
    new.assignments = vec![storage("g1")];
    one.repository_create(&new).await.unwrap();
    assert_eq!(one.repository(&path("own")).await.unwrap().facts.assignments, [storage("g1")]);
}

#[actix::test]
async fn a_storage_is_drained_undrained_and_preferred_by_verbs_and_a_stranger_is_refused() {
    let world = World::new(Profile::Default);
    let one = settled(&world).await;
    world.repository("r", &["g1", "g2"]).await;
    let leads = async || one.primary(&path("r")).await.unwrap().storage;
    one.storage_priority(&node("g1"), 200).await.unwrap();
    assert_eq!(leads().await, storage("g1"));
    one.drain(&node("g1")).await.unwrap();
    assert_eq!(leads().await, storage("g2"), "moved while it still serves");
    one.undrain(&node("g1")).await.unwrap();
    assert_eq!(leads().await, storage("g2"), "nothing moves back by itself");
    one.storage_priority(&node("g2"), 0).await.unwrap();
    assert_eq!(leads().await, storage("g1"), "never primary");
    let stranger: NodeId = node("g9");
    for answer in [one.drain(&stranger).await, one.undrain(&stranger).await, one.storage_priority(&stranger, 1).await] {
        assert!(matches!(answer, Err(Error::NodeNotFound(ref who)) if *who == stranger), "{answer:?}");
    }
    assert_eq!(one.voter().unwrap().name, name("s1"));
}
