//! A node as its handle shows it: checked on demand, timed, and by the rule that was chosen for it.

use crate::world::{LIMIT, World, ms, node};
use quorate::{
    Error, Ports, Supervisor,
    config::Secret,
    core::{
        evidence::{Evidence, Hard, Soft},
        ids::NodeId,
        prober::Via,
        settings::Profile,
        window::Thresholds,
    },
    testing::wait,
    transport::LatencyRecorder,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const NOT_SERVING: Evidence = Evidence::Hard(Hard::NotServing);

/// Whether it is up once the HealthManager has heard of the check.
async fn settles(supervisor: &Supervisor<u64>, about: &NodeId, up: bool) {
    let handle = supervisor.node(about).unwrap();
    wait::until(&format!("{about} up: {up}"), LIMIT, || handle.is_healthy() == up).await;
}

/// A supervisor that probes when it is told to, and otherwise once at its start and then once an hour.
async fn unhurried(world: &World, thresholds: Thresholds) -> Supervisor<u64> {
    let mut config = world.config("s1");
    config.settings.voter_ttl = ms(3_600_000);
    config.settings.vote_ttl = ms(3_600_000);
    config.health.interval = ms(3_599_000);
    config.health.thresholds = thresholds;
    world.assemble(config).await.unwrap()
}

#[actix::test]
async fn a_check_on_demand_answers_what_it_found() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let handle = one.node(&node("g1")).unwrap();
    assert_eq!(handle.check_health().await.unwrap(), Evidence::Serving);
    world.node("g1").answers(NOT_SERVING);
    let before = world.node("g1").probes().len();
    assert_eq!(handle.check_health().await.unwrap(), NOT_SERVING);
    let probes = world.node("g1").probes()[before..].to_vec();
    assert_eq!(probes, vec![Via::Kept, Via::Fresh], "confirmed before it is told");
    settles(&one, &node("g1"), false).await;
    world.node("g2").takes(LIMIT);
    assert_eq!(one.node(&node("g2")).unwrap().check_health().await.unwrap(), Evidence::Soft(Soft::Timeout));
}

#[actix::test]
async fn checks_at_the_same_time_share_one_probe() {
    let world = World::new(Profile::Default);
    let one = unhurried(&world, Thresholds { fall: 3, rise: 3, first: 1, window: 10 }).await;
    let handle = one.node(&node("g1")).unwrap();
    world.node("g1").takes(ms(50));
    let before = world.node("g1").probes().len();
    let outcomes = futures_util::future::join_all((0..100).map(|_| handle.check_health())).await;
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap() == Evidence::Serving));
    let probes = world.node("g1").probes().len() - before;
    // A mailbox takes sixteen at a time; whoever comes after the probe's end gets the next one.
    assert!(probes < 10, "{probes} probes for 100 checks");
}

#[actix::test]
async fn more_checks_at_once_than_may_wait_are_refused_and_no_other_is() {
    let world = World::new(Profile::Default);
    let one = unhurried(&world, Thresholds { fall: 3, rise: 3, first: 1, window: 10 }).await;
    let handle = one.node(&node("g1")).unwrap();
    world.node("g1").takes(ms(200));
    let outcomes = futures_util::future::join_all((0..300).map(|_| handle.check_health())).await;
    let served = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Evidence::Serving))).count();
    let busy = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::Busy))).count();
    assert_eq!((served, busy), (256, 44));
    assert_eq!(handle.check_health().await.unwrap(), Evidence::Serving, "there is room again");
}

#[actix::test]
async fn a_check_of_a_stopped_supervisor_says_so() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    one.stop().await;
    assert!(matches!(one.node(&node("g1")).unwrap().check_health().await, Err(Error::Stopped)));
}

#[actix::test]
async fn by_praefects_rule_a_node_is_healthy_when_its_last_three_checks_were() {
    let world = World::new(Profile::Default);
    let (g1, about) = (world.node("g1"), node("g1"));
    g1.answers(NOT_SERVING);
    let one = unhurried(&world, Thresholds::LAST_THREE).await;
    let handle = one.node(&about).unwrap();
    assert!(!handle.is_healthy());
    let check = async |evidence: Evidence, up: bool| {
        g1.answers(evidence);
        assert_eq!(handle.check_health().await.unwrap(), evidence);
        let before = handle.health().await.unwrap();
        assert_eq!(before.opinion == quorate::core::consensus::Opinion::Up, up, "{:?}", before.window);
        settles(&one, &about, up).await;
    };
    for (evidence, up) in [
        (Evidence::Serving, false),
        (Evidence::Serving, false),
        (Evidence::Serving, true),
        (Evidence::Serving, true),
        (NOT_SERVING, false),
        (Evidence::Serving, false),
        (Evidence::Serving, false),
        (Evidence::Serving, true),
        (Evidence::Soft(Soft::Timeout), false),
    ] {
        check(evidence, up).await;
    }
}

#[actix::test]
async fn by_the_default_rule_one_success_is_enough_at_first_and_one_miss_is_not() {
    let world = World::new(Profile::Default);
    let (g1, about) = (world.node("g1"), node("g1"));
    let one = unhurried(&world, Thresholds { fall: 3, rise: 3, first: 1, window: 10 }).await;
    settles(&one, &about, true).await;
    let handle = one.node(&about).unwrap();
    g1.answers_on_kept(Evidence::Soft(Soft::Timeout));
    assert_eq!(handle.check_health().await.unwrap(), Evidence::Soft(Soft::Timeout));
    assert_eq!(handle.health().await.unwrap().window.iter().filter(|served| !**served).count(), 1);
    assert!(handle.is_healthy());
}

#[derive(Default)]
struct Stopwatch(Mutex<Vec<(NodeId, Duration, Evidence)>>);

impl LatencyRecorder for Stopwatch {
    fn record(&self, node: &NodeId, took: Duration, outcome: Evidence) {
        self.0.lock().unwrap().push((node.clone(), took, outcome));
    }
}

#[actix::test]
async fn every_probe_is_timed_whatever_it_finds() {
    let world = World::new(Profile::Default);
    world.node("g1").takes(ms(70));
    world.node("g2").takes(LIMIT);
    let stopwatch = Arc::new(Stopwatch::default());
    let transport = world.transport.clone().with_latency(stopwatch.clone());
    let one = Supervisor::assemble(world.config("s1"), Ports::new(world.store.clone(), transport)).await.unwrap();
    let handle = |name: &str| one.node(&node(name)).unwrap().clone();
    assert_eq!(handle("g1").check_health().await.unwrap(), Evidence::Serving);
    world.node("g3").answers(NOT_SERVING);
    assert_eq!(handle("g3").check_health().await.unwrap(), NOT_SERVING);
    let seen = stopwatch.0.lock().unwrap().clone();
    // A timer of tokio's goes off within the millisecond after its time.
    let all = |name: &str, took: Duration, outcome: Evidence| {
        let about = node(name);
        let of: Vec<_> = seen.iter().filter(|(of, ..)| *of == about).collect();
        let right = of.iter().filter(|(_, t, what)| *t >= took && *t <= took + ms(1) && *what == outcome).count();
        assert_eq!(right, of.len(), "{of:?}");
        right
    };
    assert!(all("g1", ms(70), Evidence::Serving) > 0);
    assert!(all("g2", ms(300), Evidence::Soft(Soft::Timeout)) >= 3, "retries, too");
    let found = |about: &NodeId, outcome| *about == node("g3") && outcome == NOT_SERVING;
    let confirmed = seen.iter().filter(|(about, _, outcome)| found(about, *outcome)).count();
    assert!(confirmed >= 2, "the check and its confirmation: {seen:?}");
}

#[actix::test]
async fn in_profile_praefect_the_probes_of_rounds_are_timed_too_and_enter_the_window() {
    let world = World::new(Profile::Praefect);
    let stopwatch = Arc::new(Stopwatch::default());
    let transport = world.transport.clone().with_latency(stopwatch.clone());
    let mut config = world.config("s1");
    config.health.thresholds = Thresholds::LAST_THREE;
    let one = Supervisor::assemble(config, Ports::new(world.store.clone(), transport)).await.unwrap();
    wait::until("healthy after three rounds", LIMIT, || one.node(&node("g1")).unwrap().is_healthy()).await;
    let health = one.node(&node("g1")).unwrap().health().await.unwrap();
    assert_eq!(health.window, vec![true; 3]);
    assert!(stopwatch.0.lock().unwrap().iter().filter(|(about, ..)| *about == node("g1")).count() >= 3);
    world.node("g1").answers(NOT_SERVING);
    settles(&one, &node("g1"), false).await;
}

#[actix::test]
async fn a_handle_has_the_nodes_token_and_shows_it_to_nobody() {
    let world = World::new(Profile::Default);
    let mut config = world.config("s1");
    config.virtual_storages[0].nodes[0].token = Some(Secret::new("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
    let one = world.assemble(config).await.unwrap();
    let (first, second) = (one.node(&node("g1")).unwrap(), one.node(&node("g2")).unwrap());
    assert_eq!(first.token(), Some(Secret::new("hunter2")));
    assert_eq!(second.token(), None);
    assert!(!format!("{first:?} {:?}", first.token()).contains("hunter2"));
}
