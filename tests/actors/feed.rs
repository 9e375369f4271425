//! The memory of who is up to date: kept fresh by what the database says, and passed by when it may not be.

use crate::world::{LIMIT, World, ms, path, vs, write};
use quorate::{
    Supervisor,
    actors::FeedStatus,
    core::{settings::Profile, synced::Counts},
    store::{StoreErrorKind, StoreOp},
    testing::wait,
};
use std::collections::BTreeSet;

/// How often the database was asked who is up to date.
fn reads(world: &World) -> u64 {
    world.store.activity().get(&StoreOp::UpToDate).map_or(0, |activity| activity.calls)
}

/// How often it was asked who is primary.
fn lookups(world: &World) -> u64 {
    world.store.activity().get(&StoreOp::ElectionFacts).map_or(0, |activity| activity.calls)
}

fn counts(one: &Supervisor<u64>) -> Counts {
    one.synced_counts().get(&vs()).copied().unwrap_or_default()
}

/// Asks for a read until the answer comes from memory.
async fn warm(world: &World, one: &Supervisor<u64>) {
    wait::until_async("answers come from memory", LIMIT, async || {
        let before = reads(world);
        one.synced_node(&path("r")).await.unwrap();
        reads(world) == before
    })
    .await;
}

/// Whom reads are sent to, over many lots.
async fn served_by(one: &Supervisor<u64>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..64 {
        seen.insert(one.synced_node(&path("r")).await.unwrap().storage().to_string());
    }
    seen
}

async fn scene() -> (World, Supervisor<u64>, String) {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2", "g3"]).await;
    let primary = one.primary(&path("r")).await.unwrap().storage.to_string();
    (world, one, primary)
}

#[actix::test]
async fn a_second_read_asks_nobody() {
    let (world, one, _) = scene().await;
    wait::until("it listens", LIMIT, || one.feed_status() == FeedStatus::Listening).await;
    warm(&world, &one).await;
    let (before, counted) = ((reads(&world), lookups(&world)), counts(&one));
    assert!(before.1 > 0, "the scene's own question");
    served_by(&one).await;
    assert_eq!((reads(&world), lookups(&world)), before);
    assert_eq!(counts(&one), Counts { hit: counted.hit + 64, ..counted });
    tokio::time::sleep(ms(60_000)).await;
    served_by(&one).await;
    assert_eq!((reads(&world), lookups(&world)), before, "it does not lapse while the database is heard");
}

#[actix::test]
async fn a_replica_left_behind_is_no_longer_read_from() {
    let (world, one, primary) = scene().await;
    warm(&world, &one).await;
    assert_eq!(served_by(&one).await.len(), 3);
    write(&one, &path("r"), &[primary.as_str()]).await.unwrap();
    wait::until_async("the word came", LIMIT, async || served_by(&one).await == BTreeSet::from([primary.clone()]))
        .await;
    assert_eq!(counts(&one).evict, 1);
}

#[actix::test]
async fn a_write_that_all_acknowledged_leaves_the_memory_alone() {
    let (world, one, _) = scene().await;
    warm(&world, &one).await;
    let before = reads(&world);
    write(&one, &path("r"), &["g1", "g2", "g3"]).await.unwrap();
    tokio::time::sleep(ms(1_000)).await;
    served_by(&one).await;
    assert_eq!((reads(&world), counts(&one).evict), (before, 0));
}

#[actix::test]
async fn d19_a_read_under_way_when_its_repository_changed_answers_and_is_not_kept() {
    let (world, one, primary) = scene().await;
    warm(&world, &one).await;
    // Out of memory, so that the next question has to read.
    write(&one, &path("r"), &[primary.as_str()]).await.unwrap();
    wait::until("it is forgotten", LIMIT, || counts(&one).evict == 1).await;
    let populated = counts(&one).populate;
    world.store.hold_answer(StoreOp::UpToDate);
    let reading = tokio::spawn({
        let one = one.clone();
        async move { one.synced_node(&path("r")).await.map(|node| node.storage().to_string()) }
    });
    wait::until("the read has its answer", LIMIT, || world.store.held(StoreOp::UpToDate) == 1).await;
    let target = one.primary(&path("r")).await.unwrap();
    let fence = target.fence().unwrap();
    for name in ["g1", "g2", "g3"] {
        let generation = quorate::core::epoch::Generation(1);
        one.generation_set(target.repository.unwrap(), Some(&fence), &name.parse().unwrap(), generation).await.unwrap();
    }
    tokio::time::sleep(ms(100)).await;
    world.store.release(StoreOp::UpToDate);
    assert_eq!(reading.await.unwrap().unwrap(), primary, "it saw the state from before, and may say so");
    assert_eq!(counts(&one).populate, populated, "but nobody after it hears that");
    assert_eq!(served_by(&one).await.len(), 3, "the next question reads what is");
}

#[actix::test]
async fn those_who_ask_for_the_same_at_once_share_one_read() {
    let (world, one, _) = scene().await;
    warm(&world, &one).await;
    world.repository("other", &["g1", "g2"]).await;
    one.primary(&path("other")).await.unwrap();
    let before = reads(&world);
    world.store.hold(StoreOp::UpToDate);
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let one = one.clone();
            tokio::spawn(async move { one.synced_node(&path("other")).await.is_ok() })
        })
        .collect();
    wait::until("one of them reads", LIMIT, || world.store.held(StoreOp::UpToDate) == 1).await;
    tokio::time::sleep(ms(10)).await;
    assert_eq!(world.store.held(StoreOp::UpToDate), 1, "the others wait for it");
    world.store.release(StoreOp::UpToDate);
    for asked in asking {
        assert!(asked.await.unwrap());
    }
    assert_eq!(reads(&world), before + 1);
}

#[actix::test]
async fn a_read_that_fails_is_everybodys_own_to_repeat_and_is_not_remembered() {
    let (world, one, _) = scene().await;
    warm(&world, &one).await;
    world.repository("other", &["g1", "g2"]).await;
    world.store.fail_next(Some(StoreOp::UpToDate), StoreErrorKind::ConnectionLost, 1);
    world.store.delay(ms(5));
    let other = path("other");
    let (first, second) = tokio::join!(one.synced_node(&other), one.synced_node(&other));
    assert!(first.is_err(), "whose read failed hears of it");
    assert!(second.is_ok(), "who waited reads again");
    assert!(one.synced_node(&path("other")).await.is_ok());
}

#[actix::test]
async fn an_absent_repository_is_not_remembered() {
    let (world, one, _) = scene().await;
    warm(&world, &one).await;
    assert!(one.synced_node(&path("late")).await.is_err());
    world.repository("late", &["g1"]).await;
    assert_eq!(one.synced_node(&path("late")).await.unwrap().storage().as_str(), "g1");
}

#[actix::test]
async fn d16_a_listener_that_is_not_answered_is_not_believed() {
    let (world, one, primary) = scene().await;
    warm(&world, &one).await;
    // Its connection is half open: nothing arrives, nothing fails. Polls come through, but are held up, too.
    world.store.hold(StoreOp::ChangesListen);
    world.store.fail(Some(StoreOp::ChangesSince), StoreErrorKind::Timeout);
    world.store.deafen_listeners(true);
    write(&one, &path("r"), &[primary.as_str()]).await.unwrap();
    tokio::time::sleep(ms(2_100)).await;
    assert_eq!(served_by(&one).await, BTreeSet::from([primary]), "after feed.ttl nothing old is served");
    assert!(matches!(one.feed_status(), FeedStatus::Listening | FeedStatus::Deaf { .. }), "{:?}", one.feed_status());
}

#[actix::test]
async fn a_cut_listener_is_replaced_by_polls_and_listening_comes_back() {
    let (world, one, primary) = scene().await;
    wait::until("it listens", LIMIT, || one.feed_status() == FeedStatus::Listening).await;
    warm(&world, &one).await;
    world.store.fail(Some(StoreOp::ChangesListen), StoreErrorKind::Unreachable);
    world.store.cut_listeners();
    wait::until("it polls", LIMIT, || matches!(one.feed_status(), FeedStatus::Polling { .. })).await;
    warm(&world, &one).await;
    write(&one, &path("r"), &[primary.as_str()]).await.unwrap();
    let began = tokio::time::Instant::now();
    wait::until_async("a poll found it", LIMIT, async || served_by(&one).await.len() == 1).await;
    assert!(began.elapsed() <= ms(250), "within a poll or two: {:?}", began.elapsed());
    world.store.heal();
    wait::until("it listens again", LIMIT, || one.feed_status() == FeedStatus::Listening).await;
    warm(&world, &one).await;
}

#[actix::test]
async fn a_change_between_two_connections_is_not_missed() {
    let (world, one, primary) = scene().await;
    warm(&world, &one).await;
    let target = one.primary(&path("r")).await.unwrap();
    // While nobody listens and nobody can poll, a replica falls behind.
    world.store.fail(Some(StoreOp::ChangesSince), StoreErrorKind::Unreachable);
    world.store.fail_next(Some(StoreOp::ChangesListen), StoreErrorKind::Unreachable, 1);
    world.store.cut_listeners();
    wait::until("it is deaf", LIMIT, || matches!(one.feed_status(), FeedStatus::Deaf { .. })).await;
    let (id, fence) = (target.repository.unwrap(), target.fence());
    one.generation_increment(id, fence.as_ref(), &[target.storage].into()).await.unwrap();
    wait::until("it listens again", LIMIT, || one.feed_status() == FeedStatus::Listening).await;
    assert_eq!(served_by(&one).await, BTreeSet::from([primary]), "what was known before is forgotten");
}

#[actix::test]
async fn a_database_that_cannot_notify_is_polled_and_says_so() {
    let world = World::new(Profile::Default);
    world.store.mute(true);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2", "g3"]).await;
    let primary = one.primary(&path("r")).await.unwrap().storage.to_string();
    warm(&world, &one).await;
    let FeedStatus::Polling { why } = one.feed_status() else { panic!("{:?}", one.feed_status()) };
    assert!(why.contains("cannot notify"), "{why}");
    write(&one, &path("r"), &[primary.as_str()]).await.unwrap();
    tokio::time::sleep(ms(110)).await;
    assert_eq!(served_by(&one).await, BTreeSet::from([primary]));
}

#[actix::test]
async fn a_memory_of_nothing_asks_each_time_and_listens_to_nobody() {
    let world = World::new(Profile::Default);
    let mut config = world.config("s1");
    config.feed.entries = 0;
    let one = world.assemble(config).await.unwrap();
    world.repository("r", &["g1", "g2", "g3"]).await;
    served_by(&one).await;
    assert_eq!(reads(&world), 64);
    assert!(matches!(one.feed_status(), FeedStatus::Deaf { .. }));
    assert_eq!(counts(&one), Counts { miss: 64, ..Counts::default() });
}
