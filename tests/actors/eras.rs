//! A database that knows of less than its nodes: drill 13, without a network.

use crate::world::{LIMIT, World, ms, node, path, storage, verdict, vs, write};
use actix::Actor;
use quorate::{
    Error, Supervisor,
    actors::{EraKeeper, EraKeeperConfig},
    config::ElectionStrategy,
    core::{
        consensus::Opinion,
        epoch::{Epoch, Era, Given},
        evidence::{Evidence, Hard, Misconfigured},
        ids::{ClusterId, RepositoryId},
        lookup::{Freshness, Source},
        quorum::Verdict,
        reports::FenceReport,
        settings::Profile,
    },
    store::{HealthStore, NewRepository, StoreErrorKind, StoreOp, memory::MemoryStore},
    testing::wait,
};
use std::time::Duration;

const DEAD: Evidence = Evidence::Hard(Hard::Refused);
const FOREIGN: Evidence = Evidence::Misconfigured(Misconfigured::ForeignFence);

fn epoch(era: i64, number: i64) -> Epoch {
    Epoch::new(Era(era), number).unwrap()
}

fn reads(store: &MemoryStore) -> u64 {
    store.activity().get(&StoreOp::EpochsGiven).map_or(0, |activity| activity.calls)
}

/// The cluster's identity, which the first start makes.
async fn cluster(world: &World) -> ClusterId {
    world.store.settings_seed(&world.settings).await.unwrap().cluster
}

/// A node has accepted this epoch.
async fn accepted(world: &World, name: &str, highest: Epoch) {
    let cluster = Some(cluster(world).await);
    world.node(name).fence(Some(FenceReport { cluster, highest: Some(highest) }));
}

async fn led_by_g1(on: &Supervisor<u64>, at: &str) -> RepositoryId {
    let mut new = NewRepository::new(vs(), at.parse().unwrap(), ["g1", "g2", "g3"].map(storage).to_vec());
    new.primary = Some(storage("g1"));
    on.repository_create(&new).await.unwrap().repository
}

async fn becomes_behind(of: &Supervisor<u64>, behind: bool) {
    wait::until(&format!("behind: {behind}"), LIMIT, || of.behind().is_some() == behind).await;
}

/// A cluster whose backup of a while ago was put in its place while nobody ran: nodes have accepted up to 1.50.
async fn restored(world: &World) -> RepositoryId {
    let one = world.supervisor("s0").await;
    let id = led_by_g1(&one, "r").await;
    world.repository("due", &["g1", "g2"]).await;
    one.stop().await;
    accepted(world, "g2", epoch(1, 50)).await;
    id
}

fn is_behind<T: std::fmt::Debug>(answer: Result<T, Error>) {
    let error = answer.unwrap_err();
    let Error::DatabaseBehind(behind) = &error else { panic!("{error:?}") };
    assert_eq!((behind.reported.epoch, &behind.reported.node), (epoch(1, 50), &node("g2")));
    assert!(!error.is_retryable() && error.to_string().contains("repair"), "{error}");
}

#[actix::test]
async fn d13_a_database_behind_its_nodes_elects_and_acknowledges_nothing_until_repair() {
    let world = World::new(Profile::Default);
    let id = restored(&world).await;
    let one = world.supervisor("s1").await;
    // From the first moment on: it does not start before it has compared.
    assert_eq!(one.behind().unwrap().given, Given { era: Era(1), number: 1 });
    let two = world.supervisor("s2").await;
    for on in [&one, &two] {
        is_behind(on.primary(&path("due")).await);
        is_behind(write(on, &path("r"), &["g1", "g2"]).await);
        let facts = on.repository(&path("r")).await.unwrap().facts;
        let fence = facts.epoch.map(|epoch| quorate::core::election::Fence { epoch, primary: storage("g1") });
        is_behind(on.authoritative_set(id, &storage("g2"), facts.facts_version).await);
        is_behind(on.generation_set(id, fence.as_ref(), &storage("g2"), quorate::core::epoch::Generation(3)).await);
        is_behind(on.replica_delete(id, fence.as_ref(), &storage("g3")).await);
        is_behind(on.repository_rename(id, fence.as_ref(), &"other".parse().unwrap()).await);
        is_behind(on.repository_delete(id, fence.as_ref()).await);
        let mut new = NewRepository::new(vs(), "new".parse().unwrap(), vec![storage("g1")]);
        new.primary = Some(storage("g1"));
        is_behind(on.repository_create(&new).await);
        for freshness in [Freshness::Cached, Freshness::Latest, Freshness::Cached] {
            let kept = on.lookup(&path("r"), freshness).await.unwrap();
            assert_eq!((kept.storage.as_str(), kept.source), ("g1", Source::Behind));
        }
        assert_eq!(on.primary_now(&path("r")), None, "memory does not pass it for the truth");
    }
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    is_behind(one.primary(&path("r")).await);

    let era = one.repair("monday's backup").await.unwrap();
    assert!(era > Era(1) && one.behind().is_none());
    becomes_behind(&two, false).await;
    for on in [&one, &two] {
        let elected = on.primary(&path("r")).await.unwrap();
        assert!(elected.epoch.unwrap() > epoch(1, 50) && elected.storage != storage("g1"), "{elected:?}");
        assert_eq!(elected.epoch.unwrap().era(), era);
        write(on, &path("r"), &["g2", "g3"]).await.unwrap();
    }
    assert!(two.primary(&path("due")).await.unwrap().epoch.unwrap() > epoch(1, 50));
    wait::until_async("remembered again", LIMIT, async || {
        one.lookup(&path("r"), Freshness::Cached).await.unwrap().source == Source::Memory
    })
    .await;
}

#[actix::test]
async fn d13_contrast_what_the_database_has_given_holds_up_nothing() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let id = led_by_g1(&one, "r").await;
    for number in 1..4 {
        let version = one.repository(&path("r")).await.unwrap().facts.facts_version;
        let epoch = one.authoritative_set(id, &storage(["g1", "g2"][number % 2]), version).await.unwrap();
        accepted(&world, "g2", epoch).await;
        wait::until("it is reported", LIMIT, || one.reported().is_some_and(|known| known.epoch == epoch)).await;
        tokio::time::sleep(ms(5_000)).await;
        assert_eq!(one.behind(), None);
    }
    let before = reads(&world.store);
    assert_eq!(before, 3, "once for each report that was news");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(reads(&world.store), before, "at rest nothing is asked");
    write(&one, &path("r"), &["g2"]).await.unwrap();
}

#[actix::test]
async fn d13_one_reused_foreign_node_stops_nobody() {
    let world = World::new(Profile::Default);
    let highest = Some(epoch(9, 9_000));
    world.node("g3").fence(Some(FenceReport { cluster: Some("elsewhere".parse().unwrap()), highest }));
    let one = world.supervisor("s1").await;
    let two = world.supervisor("s2").await;
    for on in [&one, &two] {
        verdict(on, "g3", Verdict::Unhealthy).await;
        assert_eq!((on.behind(), on.reported()), (None, None));
        let health = on.node(&node("g3")).unwrap().health().await.unwrap();
        assert_eq!((health.opinion, health.evidence), (Opinion::Misconfigured, Some(FOREIGN)));
    }
    assert_eq!(world.opinion("s1", "g3"), Some(Opinion::Misconfigured));
    world.repository("r", &["g1", "g3"]).await;
    assert_eq!(one.primary(&path("r")).await.unwrap().storage, storage("g1"));
    write(&two, &path("r"), &["g1"]).await.unwrap();
    assert_eq!(reads(&world.store), 0, "nothing was reported that concerns this cluster");
    // Once it was emptied it is one of ours.
    world.node("g3").fence(Some(FenceReport::default()));
    verdict(&one, "g3", Verdict::Healthy).await;
}

#[actix::test]
async fn d13_what_a_dead_node_led_is_not_settled_before_the_repair() {
    let world = World::new(Profile::Default);
    restored(&world).await;
    let mut config = world.config("s1");
    config.failover.settle_batch = 10;
    let one = world.assemble(config).await.unwrap();
    becomes_behind(&one, true).await;
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let primary = async || one.repository(&path("r")).await.unwrap().facts.primary;
    assert_eq!(primary().await, Some(storage("g1")));
    one.repair("why not").await.unwrap();
    wait::until_async("it is settled", LIMIT, async || primary().await != Some(storage("g1"))).await;
}

#[actix::test]
async fn d13_a_whole_virtual_storages_primary_is_not_elected_before_the_repair() {
    let world = World::new(Profile::Default);
    accepted(&world, "g2", epoch(1, 50)).await;
    let mut config = world.config("s1");
    config.failover.election_strategy = ElectionStrategy::Sql;
    let one = world.assemble(config).await.unwrap();
    is_behind(one.shard(&vs()).await.map(|shard| shard.names()));
    one.repair("why not").await.unwrap();
    let shard = one.shard(&vs()).await.unwrap().names();
    assert!(shard.epoch.unwrap() > epoch(1, 50));
}

#[actix::test]
async fn d13_a_report_that_the_database_cannot_be_compared_with_is_compared_once_it_can() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.store.fail(Some(StoreOp::EpochsGiven), StoreErrorKind::Unreachable);
    accepted(&world, "g2", epoch(1, 50)).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(one.behind(), None, "in doubt nothing is said");
    world.store.heal();
    becomes_behind(&one, true).await;
}

#[actix::test]
async fn d13_a_database_that_was_away_is_compared_anew() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let id = led_by_g1(&one, "r").await;
    let version = one.repository(&path("r")).await.unwrap().facts.facts_version;
    let epoch = one.authoritative_set(id, &storage("g2"), version).await.unwrap();
    accepted(&world, "g2", epoch).await;
    wait::until("it is compared", LIMIT, || reads(&world.store) == 1).await;
    world.store.fail(None, StoreErrorKind::Unreachable);
    tokio::time::sleep(ms(3_000)).await;
    world.store.set_back_epochs(Given { era: Era(1), number: 1 });
    world.store.heal();
    becomes_behind(&one, true).await;
    assert_eq!(one.behind().unwrap().reported.epoch, epoch);
    // The right one after all.
    world.store.fail(None, StoreErrorKind::Unreachable);
    tokio::time::sleep(ms(3_000)).await;
    world.store.set_back_epochs(Given { era: Era(1), number: 2 });
    world.store.heal();
    becomes_behind(&one, false).await;
}

#[actix::test]
async fn an_era_keeper_that_died_finds_what_its_predecessor_found() {
    let world = World::new(Profile::Default);
    restored(&world).await;
    let one = world.supervisor("s1").await;
    assert!(one.behind().is_some());
    let cells = quorate::actors::Cells::new(quorate::core::monitor::SettingsInForce {
        revision: quorate::core::epoch::Revision(1),
        settings: world.settings.clone(),
    });
    cells.behind.send_replace(one.behind());
    cells.reported.send_replace(one.reported());
    // Its numbers have grown past the report, which lifts nothing.
    world.store.set_back_epochs(Given { era: Era(1), number: 60 });
    let config = EraKeeperConfig {
        store: world.store.clone(),
        cells: cells.clone(),
        timeout: ms(1_000),
        meter: world.meter.clone(),
    };
    let _keeper = EraKeeper::new(config).start();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(cells.behind.borrow().is_some());
    world.store.era_raise(Era(1), None, "why not").await.unwrap();
    wait::until("it is lifted", LIMIT, || cells.behind.borrow().is_none()).await;
}

#[actix::test]
async fn a_repair_is_an_operators_word_and_is_refused_only_to_who_has_ended() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let first = one.repair("the nodes are down and cannot tell").await.unwrap();
    let second = one.repair("again").await.unwrap();
    assert!(second > first && first > Era(1));
    one.stop().await;
    assert!(matches!(one.repair("too late").await, Err(Error::Stopped)));
}

#[actix::test]
async fn praefects_rounds_ask_no_fence() {
    let world = World::new(Profile::Praefect);
    accepted(&world, "g2", epoch(1, 50)).await;
    let one = world.supervisor("s1").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((one.reported(), one.behind(), reads(&world.store)), (None, None, 0));
}
