//! Writes under one primary for a whole virtual storage, and what each supervisor shows of it.

use crate::world::{LIMIT, World, ms, path, storage, verdict, vs, write};
use quorate::{
    Error, Supervisor,
    config::ElectionStrategy,
    core::{
        epoch::Generation,
        evidence::{Evidence, Hard},
        quorum::Verdict,
        settings::Profile,
    },
    testing::wait,
};
use std::collections::BTreeSet;

const DEAD: Evidence = Evidence::Hard(Hard::Refused);

async fn started(world: &World, of: &str, strategy: ElectionStrategy) -> Supervisor<u64> {
    let mut config = world.config(of);
    config.failover.election_strategy = strategy;
    world.assemble(config).await.unwrap()
}

/// Votes need time to settle between two elections.
async fn elections_may_follow() {
    tokio::time::sleep(ms(6_000)).await;
}

#[actix::test]
async fn under_sql_a_write_counts_under_the_repositorys_own_row_and_the_deposed_ones_does_not() {
    let world = World::new(Profile::Default);
    let one = started(&world, "s1", ElectionStrategy::Sql).await;
    verdict(&one, "g1", Verdict::Healthy).await;
    let (r, behind) = (path("r"), path("behind"));
    let id = world.repository("r", &["g1", "g2", "g3"]).await;
    world.repository("behind", &["g1", "g2", "g3"]).await;
    let before = one.primary(&r).await.unwrap();
    assert_eq!(before.storage, storage("g1"));
    assert_eq!(one.primary(&r).await.unwrap(), before, "it followed once");
    assert_eq!(write(&one, &r, &["g1", "g2"]).await.unwrap(), Generation(1));
    assert_eq!(write(&one, &behind, &["g1"]).await.unwrap(), Generation(1));

    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    elections_may_follow().await;
    let after = one.primary(&r).await.unwrap();
    assert_eq!(after.storage, storage("g2"), "it lacks least");
    assert!(after.epoch > before.epoch);
    let acknowledged: BTreeSet<_> = [storage("g1")].into();
    let late = one.generation_increment(id, before.fence().as_ref(), &acknowledged).await;
    assert!(matches!(late, Err(Error::StaleEpoch(_))), "{late:?}");
    assert_eq!(write(&one, &r, &["g2"]).await.unwrap(), Generation(2));
    let why = one.primary_history(id, 10).await.unwrap()[0].why.clone();
    assert_eq!(why.as_deref(), Some("virtual_storage"));

    let error = one.primary(&behind).await.unwrap_err();
    assert!(
        matches!(&error, Error::PrimaryOutdated { storage: of, .. } if *of == storage("g2")),
        "what is behind on the primary takes no writes: {error:?}"
    );
    world.node("g1").answers(Evidence::Serving);
    verdict(&one, "g1", Verdict::Healthy).await;
    assert!(one.primary(&behind).await.is_err(), "and does not get a primary of its own");
}

#[actix::test]
async fn supervisors_of_different_strategies_agree_on_each_repository() {
    let world = World::new(Profile::Default);
    let whole = started(&world, "s1", ElectionStrategy::Sql).await;
    let single = started(&world, "s2", ElectionStrategy::PerRepository).await;
    verdict(&whole, "g1", Verdict::Healthy).await;
    verdict(&single, "g3", Verdict::Healthy).await;
    assert_eq!(whole.shard(&vs()).await.unwrap().names().primary, storage("g1"));
    for number in 0..10 {
        let r = path(&format!("r{number}"));
        let id = world.repository(&format!("r{number}"), &["g1", "g2", "g3"]).await;
        let (first, then) = if number % 2 == 0 { (&single, &whole) } else { (&whole, &single) };
        let old = first.primary(&r).await.unwrap();
        then.primary(&r).await.unwrap();
        let agreed = whole.primary(&r).await.unwrap();
        assert_eq!(agreed.storage, storage("g1"));
        for _ in 0..3 {
            assert_eq!(single.primary(&r).await.unwrap(), agreed, "nobody moves it back");
            assert_eq!(whole.primary(&r).await.unwrap(), agreed);
        }
        let acknowledged: BTreeSet<_> = [old.storage.clone()].into();
        let late = single.generation_increment(id, old.fence().as_ref(), &acknowledged).await;
        assert_eq!(late.is_ok(), old == agreed, "one fence holds, whoever gave it: {late:?}");
    }
}

/// The table's row "node manager failover on/off", with its nodes' names.
#[actix::test]
async fn node_manager_failover_on_and_off() {
    let world = World::new(Profile::Default);
    let with = started(&world, "s1", ElectionStrategy::Local).await;
    let mut config = world.config("s2");
    (config.failover.election_strategy, config.failover.enabled) = (ElectionStrategy::Local, false);
    let without = world.assemble(config).await.unwrap();
    let up = async |name: &str, up: bool| {
        for of in [&with, &without] {
            let what = format!("{name} up: {up}");
            let node = crate::world::node(name);
            wait::until(&what, LIMIT, || of.node(&node).unwrap().is_healthy() == up).await;
        }
    };
    let not_healthy = |error: Error| assert!(matches!(error, Error::PrimaryNotHealthy { .. }), "{error:?}");
    for name in ["g1", "g2", "g3"] {
        up(name, true).await;
    }
    world.node("g3").answers(DEAD);
    up("g3", false).await;
    assert_eq!(with.shard(&vs()).await.unwrap().names(), without.shard(&vs()).await.unwrap().names());

    world.node("g1").answers(DEAD);
    up("g1", false).await;
    not_healthy(without.shard(&vs()).await.unwrap_err());
    let shard = with.shard(&vs()).await.unwrap().names();
    assert_eq!((shard.primary, &shard.secondaries[0]), (storage("g2"), &storage("g1")));

    world.node("g1").answers(Evidence::Serving);
    world.node("g2").answers(DEAD);
    up("g1", true).await;
    up("g2", false).await;
    assert_eq!(with.shard(&vs()).await.unwrap().names().primary, storage("g1"));
    assert_eq!(with.primary(&path("any")).await.unwrap().storage, storage("g1"));
    assert_eq!(without.shard(&vs()).await.unwrap().names().primary, storage("g1"));

    world.node("g1").answers(DEAD);
    up("g1", false).await;
    not_healthy(with.shard(&vs()).await.unwrap_err());
    not_healthy(with.primary(&path("any")).await.unwrap_err());
}

/// The table's row "dial with unhealthy node".
#[actix::test]
async fn dial_with_unhealthy_node() {
    let world = World::new(Profile::Default);
    world.node("g2").answers(DEAD);
    let mut config = world.config("s1");
    (config.failover.election_strategy, config.failover.enabled) = (ElectionStrategy::Local, false);
    let one = world.assemble(config).await.unwrap();
    wait::until("the other one is up", LIMIT, || one.node(&crate::world::node("g1")).unwrap().is_healthy()).await;
    let shard = one.shard(&vs()).await.unwrap().names();
    assert_eq!((shard.primary, &shard.secondaries[0]), (storage("g1"), &storage("g2")));
}
