//! What one supervisor's first miss is worth to the others.

use crate::world::{LIMIT, World, ms, name, node, verdict};
use quorate::{
    Supervisor,
    core::{monitor::Suspicion, quorum::Verdict, settings::Profile},
    store::{HealthStore, StoreOp},
    testing::wait,
};
use std::time::Duration;

/// One supervisor that looks five times in a second, and two that do so every four seconds.
async fn one_looks_often(world: &World) -> [Supervisor<u64>; 3] {
    let mut three = Vec::new();
    for (name, interval) in [("s1", 200), ("s2", 4_000), ("s3", 4_000)] {
        let mut config = world.config(name);
        config.health.interval = ms(interval);
        three.push(world.assemble(config).await.unwrap());
    }
    for supervisor in &three {
        verdict(supervisor, "g1", Verdict::Healthy).await;
    }
    // The others have just looked.
    tokio::time::sleep(ms(300)).await;
    three.try_into().unwrap()
}

/// How long a node was silent before the quorum knew.
async fn silence_is_found(can_notify: bool) -> Duration {
    let world = World::new(Profile::Default);
    world.store.mute(!can_notify);
    let three = one_looks_often(&world).await;
    let began = tokio::time::Instant::now();
    world.node("g1").takes(LIMIT);
    verdict(&three[0], "g1", Verdict::Unhealthy).await;
    let took = began.elapsed();
    // The next world pauses it again.
    tokio::time::resume();
    took
}

#[actix::test]
async fn the_first_miss_of_one_makes_the_others_look_at_once() {
    let (told, untold) = (silence_is_found(true).await, silence_is_found(false).await);
    // Its own probe is due within 220 ms and missed after 300; then the others need their three misses of 300.
    assert!(told <= ms(1_450), "{told:?}");
    // Contrast: where nobody can be notified they learn of it from its vote, after three misses, and need three of theirs.
    assert!(untold >= ms(1_800), "{untold:?}");
}

#[actix::test]
async fn a_suspicion_costs_one_look_moves_nothing_and_writes_nothing() {
    let world = World::new(Profile::Default);
    let three = one_looks_often(&world).await;
    let g1 = world.node("g1");
    tokio::time::sleep(ms(1_000)).await;
    let (rows, before) = (world.store.rows_written(), three[1].node(&node("g1")).unwrap().health().await.unwrap());
    let suspicion = Suspicion { by: name("somebody"), nodes: [node("g1")].into() };
    // A thousand within a millisecond: a sender that knows no limit.
    for _ in 0..1_000 {
        assert!(world.store.suspicion_tell(&suspicion).await.unwrap());
    }
    tokio::time::sleep(ms(10)).await;
    let looked = |after: &quorate::messages::health::NodeHealth| after.window.len() - before.window.len();
    for supervisor in &three[1..] {
        let after = supervisor.node(&node("g1")).unwrap().health().await.unwrap();
        assert_eq!(looked(&after), 1, "it looks though it has just seen it serve");
    }
    assert!(g1.probes().len() < 100, "{}", g1.probes().len());
    tokio::time::sleep(ms(500)).await;
    assert_eq!(world.store.rows_written(), rows, "nothing is stored");
    verdict(&three[0], "g1", Verdict::Healthy).await;
}

#[actix::test]
async fn a_database_that_does_not_answer_a_suspicion_holds_nobody_up() {
    let world = World::new(Profile::Default);
    let three = one_looks_often(&world).await;
    world.store.hold(StoreOp::SuspicionTell);
    world.node("g1").takes(LIMIT);
    let store = world.store.clone();
    wait::until("it is being told", LIMIT, || store.held(StoreOp::SuspicionTell) >= 1).await;
    verdict(&three[0], "g1", Verdict::Unhealthy).await;
    assert!(store.held(StoreOp::SuspicionTell) <= 3, "one of each at most");
}
