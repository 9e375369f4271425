//! Nodes that restart without having been drained, under a supervisor that was told to wait for them.

use crate::world::{LIMIT, World, ms, node, path, verdict};
use quorate::{
    Supervisor,
    core::{
        consensus::Opinion,
        evidence::{Evidence, Hard},
        lookup::Freshness,
        quorum::Verdict,
        settings::Profile,
    },
    store::ElectionStore,
    testing::wait,
};
use std::time::Duration;

const REFUSED: Evidence = Evidence::Hard(Hard::Refused);
const NOT_SERVING: Evidence = Evidence::Hard(Hard::NotServing);

async fn patient(world: &World, grace: u64) -> Supervisor<u64> {
    let mut config = world.config("s1");
    config.health.restart_grace = ms(grace);
    let one = world.assemble(config).await.unwrap();
    verdict(&one, "g1", Verdict::Healthy).await;
    one
}

/// How long after this the quorum holds it down.
async fn down_after(world: &World, one: &Supervisor<u64>, evidence: Evidence) -> Duration {
    let began = tokio::time::Instant::now();
    world.node("g1").answers(evidence);
    verdict(one, "g1", Verdict::Unhealthy).await;
    began.elapsed()
}

#[actix::test]
async fn a_primary_that_restarts_within_its_grace_stays_primary_and_nothing_was_voted() {
    let world = World::new(Profile::Default);
    let one = patient(&world, 3_000).await;
    let id = world.repository("r", &["g1"]).await;
    one.primary(&path("r")).await.unwrap();
    let rows = world.store.rows_written();
    for _ in 0..3 {
        world.node("g1").answers(REFUSED);
        tokio::time::sleep(ms(2_500)).await;
        assert_eq!(one.node(&node("g1")).unwrap().health().await.unwrap().evidence, Some(REFUSED), "it knows");
        one.lookup(&path("r"), Freshness::Latest).await.unwrap();
        world.node("g1").answers(Evidence::Serving);
        let back = one.node(&node("g1")).unwrap();
        wait::until_async("seen", LIMIT, async || back.health().await.unwrap().evidence == Some(Evidence::Serving))
            .await;
    }
    assert_eq!(world.store.rows_written(), rows, "no vote, no penalty, no election");
    assert_eq!(world.store.primary_history(id, 10).await.unwrap().len(), 1);
    assert_eq!(world.opinion("s1", "g1"), Some(Opinion::Up));
}

#[actix::test]
async fn a_death_is_voted_when_the_grace_is_over_and_a_reload_changes_it_live() {
    let world = World::new(Profile::Default);
    let one = patient(&world, 3_000).await;
    // Its watch does not break, so the refusal is met by the next probe.
    let took = down_after(&world, &one, REFUSED).await;
    assert!(took >= ms(3_000) && took < ms(3_000 + 825 + 100), "{took:?}");
    world.node("g1").answers(Evidence::Serving);
    verdict(&one, "g1", Verdict::Healthy).await;
    let took = down_after(&world, &one, NOT_SERVING).await;
    assert!(took < ms(825 + 100), "what it says itself is not waited for: {took:?}");
    world.node("g1").answers(Evidence::Serving);
    verdict(&one, "g1", Verdict::Healthy).await;
    one.reload(world.config("s1")).await.unwrap();
    let took = down_after(&world, &one, REFUSED).await;
    assert!(took < ms(825 + 100), "nobody waits any more: {took:?}");
}
