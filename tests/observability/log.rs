//! The lines that operators match on, and the silence in between.

use crate::{
    recording::Recording,
    said::Said,
    world::{LIMIT, World, ms, path, verdict, vs},
};
use actix::prelude::*;
use quorate::{
    Error,
    actors::{ChildSpec, Guardian},
    config::ElectionStrategy,
    core::{
        evidence::{Evidence, Hard},
        quorum::Verdict,
        settings::{Profile, WithoutCandidate},
    },
    store::{StoreErrorKind, StoreOp},
    telemetry::{Meter, metrics::PRIMARIES},
    testing::wait,
};
use tracing::Level;

const DEAD: Evidence = Evidence::Hard(Hard::Refused);

/// Three supervisors that have settled, a repository that has its primary, and ten minutes in which nothing happens
/// but a lookup now and then.
async fn at_rest(profile: Profile) {
    let world = World::new(profile);
    let (said, _listening) = Said::listen();
    let mut all = Vec::new();
    for name in ["s1", "s2", "s3"] {
        all.push(world.supervisor(name).await);
    }
    world.repository("r", &["g1", "g2", "g3"]).await;
    let primary = all[0].primary(&path("r")).await.unwrap().storage;
    tokio::time::sleep(ms(60_000)).await;
    said.forget();
    for _ in 0..60 {
        tokio::time::sleep(ms(10_000)).await;
        assert_eq!(all[1].primary(&path("r")).await.unwrap().storage, primary);
    }
    assert!(said.lines().is_empty(), "{profile:?}: {:#?}", said.lines());
    // The contrast: the same ears hear a death at once.
    world.node("g1").answers(DEAD);
    verdict(&all[0], "g1", Verdict::Unhealthy).await;
    assert!(!said.lines().is_empty());
}

#[actix::test]
async fn a_quiet_cluster_logs_nothing() {
    at_rest(Profile::Default).await;
}
#[actix::test]
async fn a_quiet_cluster_logs_nothing_with_fast_probes() {
    at_rest(Profile::Lan).await;
}
#[actix::test]
async fn a_quiet_cluster_logs_nothing_in_rounds() {
    at_rest(Profile::Praefect).await;
}

#[actix::test]
async fn the_health_manager_says_when_it_starts_and_stops() {
    let world = World::new(Profile::Default);
    let (said, _listening) = Said::listen();
    let one = world.supervisor("s1").await;
    let started = said.only("health manager started");
    assert_eq!((started.level, started.field("component")), (Level::INFO, "HealthManager"));
    one.stop().await;
    wait::until("it says so", LIMIT, || !said.of("health manager stopped").is_empty()).await;
    let stopped = said.only("health manager stopped");
    assert_eq!((stopped.level, stopped.field("component")), (Level::INFO, "HealthManager"));
}

async fn failed_check(profile: Profile) {
    let world = World::new(profile);
    let _one = world.supervisor("s1").await;
    let (said, _listening) = Said::listen();
    world.node("g1").answers(DEAD);
    wait::until("told", LIMIT, || !said.of("failed checking node health").is_empty()).await;
    tokio::time::sleep(ms(60_000)).await;
    let line = said.only("failed checking node health");
    assert_eq!(line.level, Level::ERROR);
    assert_eq!((line.field("virtual_storage"), line.field("storage")), ("v", "g1"));
    assert_eq!(line.field("error"), "refused");
    world.node("g1").takes(LIMIT);
    wait::until("told anew", LIMIT, || said.of("failed checking node health").len() == 2).await;
    assert_eq!(said.of("failed checking node health")[1].field("error"), "timeout");
}

#[actix::test]
async fn a_failed_check_is_told_once_and_again_only_when_it_fails_otherwise() {
    failed_check(Profile::Default).await;
}
#[actix::test]
async fn a_failed_check_of_a_round_is_told_likewise() {
    failed_check(Profile::Praefect).await;
}

#[actix::test]
async fn a_node_that_says_itself_that_it_does_not_serve_is_no_failed_check() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let (said, _listening) = Said::listen();
    world.node("g1").answers(Evidence::Hard(Hard::NotServing));
    verdict(&one, "g1", Verdict::Unhealthy).await;
    assert!(said.of("failed checking node health").is_empty(), "{:?}", said.lines());
    let line = said.only("node health changed");
    assert_eq!((line.field("opinion"), line.field("evidence")), ("down", "not_serving"));
}

#[actix::test]
async fn a_database_that_fails_is_told_with_its_cause_and_so_is_its_return() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let (said, _listening) = Said::listen();
    world.store.fail(Some(StoreOp::SupervisorHeartbeat), StoreErrorKind::ReadOnly);
    wait::until("told", LIMIT, || !said.of("checking health failed").is_empty()).await;
    let line = said.of("checking health failed").remove(0);
    assert_eq!(line.level, Level::ERROR);
    assert_eq!(line.field("operation"), "supervisor_heartbeat");
    assert!(line.field("error").contains("read-only"), "{line:?}");
    world.store.heal();
    wait::until("it is back", LIMIT, || !said.of("the database answers again").is_empty()).await;
    drop(one);
}

#[actix::test]
async fn a_database_that_says_nothing_is_told_as_well() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let (said, _listening) = Said::listen();
    world.store.hold(StoreOp::SupervisorHeartbeat);
    wait::until("told", LIMIT, || !said.of("checking health failed").is_empty()).await;
    let line = said.of("checking health failed").remove(0);
    assert_eq!(line.level, Level::ERROR);
    assert!(line.field("error").starts_with("no answer within"), "{line:?}");
    world.store.release(StoreOp::SupervisorHeartbeat);
    drop(one);
}

#[actix::test]
async fn an_election_is_told_with_both_primaries() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let id = world.repository("group/r", &["g1", "g2"]).await;
    let (said, _listening) = Said::listen();
    let first = one.primary(&path("group/r")).await.unwrap();
    let line = said.only("primary node changed");
    assert_eq!(line.level, Level::INFO);
    assert_eq!((line.field("virtual_storage"), line.field("relative_path")), ("v", "group/r"));
    assert_eq!(line.field("repository_id"), id.to_string());
    assert_eq!((line.field("current_primary"), line.field("previous_primary")), (first.storage.as_str(), ""));
    said.forget();
    world.node(first.storage.as_str()).answers(DEAD);
    verdict(&one, first.storage.as_str(), Verdict::Unhealthy).await;
    let second = one.primary(&path("group/r")).await.unwrap();
    let line = said.only("primary node changed");
    assert_eq!(line.field("current_primary"), second.storage.as_str());
    assert_eq!(line.field("previous_primary"), first.storage.as_str());
    assert_eq!(line.field("why"), "unhealthy");
    assert_eq!(line.field("epoch"), second.epoch.unwrap().to_string());
}

#[actix::test]
async fn a_demotion_is_told_once() {
    let mut world = World::new(Profile::Praefect);
    world.settings.without_candidate = WithoutCandidate::Demote;
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1"]).await;
    assert_eq!(one.primary(&path("r")).await.unwrap().storage.as_str(), "g1");
    let (said, _listening) = Said::listen();
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    for _ in 0..3 {
        assert!(matches!(one.primary(&path("r")).await, Err(Error::NoPrimary)));
    }
    let line = said.only("demoting primary node");
    assert_eq!((line.level, line.field("primary"), line.field("why")), (Level::INFO, "g1", "unhealthy"));
}

/// Praefect's lines with its fields: who elects says so, and whoever hears of it says what changed.
#[actix::test]
async fn an_election_of_a_virtual_storage_is_told_by_who_makes_it_and_by_who_hears_of_it() {
    let world = World::new(Profile::Default);
    let mut all = Vec::new();
    for name in ["s1", "s2"] {
        let mut config = world.config(name);
        config.failover.election_strategy = ElectionStrategy::Sql;
        let one = world.assemble(config).await.unwrap();
        verdict(&one, "g1", Verdict::Healthy).await;
        all.push(one);
    }
    for node in ["g2", "g3"] {
        verdict(&all[0], node, Verdict::Healthy).await;
    }
    let (said, _listening) = Said::listen();
    for one in &all {
        one.shard(&vs()).await.unwrap();
    }
    let line = said.only("new primary selected");
    assert_eq!((line.level, line.field("virtual_storage"), line.field("praefectName")), (Level::INFO, "v", "s1"));
    assert_eq!((line.field("candidates"), line.field("new_primary")), ("g1,g2,g3", "g1"));
    assert_eq!(line.field("fallback_choice"), "true");
    assert!(said.of("primary node changed").is_empty(), "until anything is heard the first node is primary");

    world.node("g1").answers(DEAD);
    for one in &all {
        verdict(one, "g1", Verdict::Unhealthy).await;
    }
    tokio::time::sleep(ms(6_000)).await;
    said.forget();
    for one in [&all[1], &all[0], &all[1], &all[0]] {
        one.shard(&vs()).await.unwrap();
    }
    let line = said.only("new primary selected");
    assert_eq!((line.field("praefectName"), line.field("candidates"), line.field("why")), ("s2", "g2,g3", "unhealthy"));
    let told = said.of("primary node changed");
    assert_eq!(told.iter().map(|line| line.field("praefectName")).collect::<Vec<_>>(), ["s2", "s1"]);
    for line in told {
        assert_eq!((line.level, line.field("virtual_storage")), (Level::INFO, "v"));
        assert_eq!((line.field("oldPrimary"), line.field("newPrimary")), ("g1", "g2"));
    }
}

#[actix::test]
async fn a_demotion_of_a_virtual_storage_is_told_once_and_the_gauge_shows_nobody() {
    let (mut world, recording) = (World::new(Profile::Praefect), Recording::default());
    world.meter = Meter::new(recording.clone());
    let mut config = world.config("s1");
    config.failover.election_strategy = ElectionStrategy::Sql;
    let one = world.assemble(config).await.unwrap();
    verdict(&one, "g1", Verdict::Healthy).await;
    assert_eq!(one.shard(&vs()).await.unwrap().names().primary.as_str(), "g1");
    let shown = || ["g1", "g2", "g3"].map(|node| recording.value(&PRIMARIES, &["v", node]));
    assert_eq!(shown(), [Some(1.0), Some(0.0), Some(0.0)]);
    world.repository("r", &["g2"]).await;
    one.repositories_count().await.unwrap();
    assert_eq!(shown(), [Some(1.0), Some(0.0), Some(0.0)], "no count of repositories, but who leads them all");
    for node in ["g1", "g2", "g3"] {
        world.node(node).answers(DEAD);
    }
    for node in ["g1", "g2", "g3"] {
        verdict(&one, node, Verdict::Unhealthy).await;
    }
    let (said, _listening) = Said::listen();
    for _ in 0..3 {
        assert!(matches!(one.shard(&vs()).await, Err(Error::PrimaryNotHealthy { .. })));
    }
    let line = said.only("demoting primary node");
    assert_eq!((line.field("virtual_storage"), line.field("praefectName")), ("v", "s1"));
    assert_eq!((line.level, line.field("primary"), line.field("why")), (Level::INFO, "g1", "unhealthy"));
    let line = said.only("primary node changed");
    assert_eq!((line.field("oldPrimary"), line.field("newPrimary")), ("g1", ""));
    assert_eq!(shown(), [Some(0.0); 3]);
}

/// An actor that dies once.
struct Mortal;
impl Actor for Mortal {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[actix::test]
async fn a_health_manager_that_ended_is_told_by_its_own_line() {
    tokio::time::pause();
    let (said, _listening) = Said::listen();
    let child = |name: &str| ChildSpec::new(name, || Mortal, |_: &Addr<Mortal>| {});
    let guardian = Guardian::new(vec![child("health manager"), child("elector")]).start();
    wait::until("told", LIMIT, || !said.of("health manager exited").is_empty()).await;
    let line = said.of("health manager exited").remove(0);
    assert_eq!((line.level, line.field("error")), (Level::ERROR, "it stopped by itself"));
    wait::until("told", LIMIT, || !said.of("an actor ended and is rebuilt").is_empty()).await;
    assert_eq!(said.of("an actor ended and is rebuilt")[0].field("actor"), "elector");
    drop(guardian);
}
