//! The memory of who is primary: answered on the spot while it may be believed, and passed by when it may not.

use crate::world::{LIMIT, World, ms, name, node, path, storage, verdict, vs, write};
use actix::{Actor, Addr};
use quorate::{
    Error, Supervisor,
    actors::{
        Beliefs, Cells, ElectorConfig, FeedStatus, Follower, FollowerConfig, PerRepositoryElector, PrimaryTable,
        SyncedTable,
    },
    core::{
        election::Target,
        epoch::Revision,
        evidence::{Evidence, Hard},
        ids::{Incarnation, Voter},
        lookup::{Freshness, Source, Trust},
        monitor::SettingsInForce,
        quorum::Verdict,
        settings::{Profile, Settings},
    },
    messages::election::{GetPrimary, PrimaryAnswer},
    store::{HealthStore, RepositoryStore, StorageChange, StoreErrorKind, StoreOp},
    telemetry::Meter,
    testing::wait,
};
use std::{sync::Arc, time::Duration};

const DEAD: Evidence = Evidence::Hard(Hard::Refused);

/// How often the facts of an election were read.
fn reads(world: &World) -> u64 {
    world.store.activity().get(&StoreOp::ElectionFacts).map_or(0, |activity| activity.calls)
}

async fn cached(one: &Supervisor<u64>, at: &str) -> PrimaryAnswer {
    one.lookup(&path(at), Freshness::Cached).await.unwrap()
}

/// Asks until the answer comes from memory.
async fn warm(one: &Supervisor<u64>, at: &str) -> PrimaryAnswer {
    wait::until_async("it is remembered", LIMIT, async || cached(one, at).await.source == Source::Memory).await;
    cached(one, at).await
}

/// One supervisor that remembers the primary of `r`, which has replicas on all three nodes.
async fn scene() -> (World, Supervisor<u64>, PrimaryAnswer) {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2", "g3"]).await;
    let known = warm(&one, "r").await;
    (world, one, known)
}

async fn drain(world: &World, which: &str, draining: bool) {
    let change = StorageChange { draining: Some(draining), priority: None };
    world.store.storage_update(&node(which), change).await.unwrap();
}

#[actix::test]
async fn a_second_question_asks_nobody() {
    let (world, one, known) = scene().await;
    let before = reads(&world);
    let by_number = Target::Id(known.repository.unwrap());
    for _ in 0..100 {
        assert_eq!(cached(&one, "r").await.primary, known.primary);
        assert_eq!(one.primary_now(&by_number).unwrap().primary, known.primary, "by its number, too");
    }
    assert_eq!(reads(&world), before);
    tokio::time::sleep(ms(60_000)).await;
    let later = cached(&one, "r").await;
    assert_eq!(
        (later.source, reads(&world)),
        (Source::Memory, before),
        "it does not lapse while the database is heard"
    );
    assert!(later.age <= ms(510), "it says when that was last proven: {:?}", later.age);
}

#[actix::test]
async fn any_thread_reads_it_without_the_actors() {
    let (_world, one, known) = scene().await;
    let asked = std::thread::spawn({
        let one = one.clone();
        move || one.primary_now(&path("r"))
    });
    // This thread does nothing meanwhile: no actor has a turn.
    assert_eq!(asked.join().unwrap().unwrap().primary, known.primary);
    assert_eq!(one.primary_now(&path("unknown")), None);
}

#[actix::test]
async fn the_latest_is_read_whatever_is_remembered() {
    let (world, one, known) = scene().await;
    let before = reads(&world);
    let latest = one.lookup(&path("r"), Freshness::Latest).await.unwrap();
    assert_eq!((latest.source, latest.age, latest.primary), (Source::Fresh, Duration::ZERO, known.primary));
    assert_eq!(reads(&world), before + 1);
}

#[actix::test]
async fn a_write_leaves_it_alone() {
    let (world, one, known) = scene().await;
    write(&one, &path("r"), &["g1", "g2", "g3"]).await.unwrap();
    write(&one, &path("r"), &[known.storage.as_str()]).await.unwrap();
    tokio::time::sleep(ms(1_000)).await;
    let before = reads(&world);
    assert_eq!(cached(&one, "r").await.source, Source::Memory);
    assert_eq!(reads(&world), before);
}

#[actix::test]
async fn whoever_is_voted_down_is_not_answered() {
    let (world, one, known) = scene().await;
    world.node(known.storage.as_str()).answers(DEAD);
    verdict(&one, known.storage.as_str(), Verdict::Unhealthy).await;
    assert_eq!(one.primary_now(&path("r")), None);
    let next = cached(&one, "r").await;
    assert_ne!(next.storage, known.storage);
    assert!(next.epoch > known.epoch);
}

#[actix::test]
async fn d15_what_an_operator_does_to_a_primary_is_known_within_the_feeds_delay() {
    let (world, one, known) = scene().await;
    let two = world.supervisor("s2").await;
    warm(&two, "r").await;
    let repository = known.repository.unwrap();
    let other = ["g1", "g2", "g3"].into_iter().find(|name| storage(name) != known.storage).unwrap();
    // A listener that hears late: the question for the latest does not wait for it, what is remembered may.
    world.store.deafen_listeners(true);
    let version = one.repository(&path("r")).await.unwrap().facts.facts_version;
    let epoch = one.authoritative_set(repository, &storage(other), version).await.unwrap();
    let latest = two.lookup(&path("r"), Freshness::Latest).await.unwrap();
    assert_eq!((latest.storage.as_str(), latest.epoch), (other, Some(epoch)), "at once");
    world.store.deafen_listeners(false);
    for supervisor in [&one, &two] {
        wait::until_async("it is told", ms(2_000), async || cached(supervisor, "r").await.storage == storage(other))
            .await;
    }
    // It drains: another leads.
    warm(&one, "r").await;
    warm(&two, "r").await;
    for third in ["g1", "g2", "g3"] {
        one.generation_set(repository, latest.fence().as_ref(), &storage(third), quorate::core::epoch::Generation(1))
            .await
            .unwrap();
    }
    drain(&world, other, true).await;
    for supervisor in [&one, &two] {
        wait::until_async("it is told", ms(2_000), async || cached(supervisor, "r").await.storage != storage(other))
            .await;
    }
    // Another is assigned.
    let now = warm(&one, "r").await;
    warm(&two, "r").await;
    let third = ["g1", "g2", "g3"].into_iter().find(|name| ![now.storage.as_str(), other].contains(name)).unwrap();
    let version = one.repository(&path("r")).await.unwrap().facts.facts_version;
    one.assignments_replace(repository, version, &[storage(third)].into()).await.unwrap();
    for supervisor in [&one, &two] {
        wait::until_async("it is told", ms(2_000), async || cached(supervisor, "r").await.storage == storage(third))
            .await;
    }
}

#[actix::test]
async fn d16_primaries_are_not_believed_once_the_listener_is_not_answered() {
    let (world, one, known) = scene().await;
    world.store.hold(StoreOp::ChangesListen);
    world.store.hold(StoreOp::ChangesSince);
    world.store.deafen_listeners(true);
    let other = ["g1", "g2", "g3"].into_iter().find(|name| storage(name) != known.storage).unwrap();
    // Behind its back: what its own handle moves is forgotten at once.
    world.store.foreign_primary(known.repository.unwrap(), Some(storage(other)));
    tokio::time::sleep(ms(2_010)).await;
    assert_eq!(one.primary_now(&path("r")), None);
    let answer = cached(&one, "r").await;
    assert_eq!((answer.source, answer.storage.as_str()), (Source::Fresh, other));
}

/// An elector with a memory and a feed, and nobody who would vote: what is in the cells is the test's.
struct Alone {
    cells: Arc<Cells>,
    table: Arc<PrimaryTable>,
    elector: Addr<PerRepositoryElector>,
}

impl Alone {
    async fn new(world: &World, entries: usize) -> Alone {
        let settings = Settings::of(Profile::Default);
        let cells = Cells::new(SettingsInForce { revision: Revision(1), settings });
        cells.voter.send_replace(Some(Voter { name: name("alone"), incarnation: Incarnation(1) }));
        let beliefs = Beliefs::of(&cells);
        let trust = Trust { ttl: ms(2_000), failsafe_ttl: ms(60_000) };
        let table = PrimaryTable::new(entries, trust, beliefs);
        let synced = SyncedTable::new(2, ms(2_000), Meter::default());
        let follower = FollowerConfig {
            primaries: Some(Arc::clone(&table)),
            ..FollowerConfig::new(world.store.clone(), Arc::clone(&synced))
        };
        Follower::new(follower).start();
        let config = ElectorConfig {
            store: world.store.clone(),
            name: name("alone"),
            voter: cells.voter.subscribe(),
            behind: cells.behind.subscribe(),
            virtual_storages: None,
            memory: Some(Arc::clone(&table)),
            timeout: ms(5_000),
            lot: ElectorConfig::random_lot,
        };
        wait::until("it listens", LIMIT, || synced.status() == FeedStatus::Listening && synced.is_live()).await;
        Alone { cells, table, elector: PerRepositoryElector::new(config).start() }
    }
    async fn ask(&self, target: Target) -> Result<PrimaryAnswer, Error> {
        self.elector.send(GetPrimary::of(target)).await.unwrap()
    }
    /// A repository with this primary, remembered.
    async fn knows(&self, world: &World, at: &str, primary: &str) -> PrimaryAnswer {
        let id = world.repository(at, &["g1", "g2"]).await;
        world.store.foreign_primary(id, Some(storage(primary)));
        tokio::time::sleep(ms(1)).await;
        self.ask(path(at)).await.unwrap();
        let known = self.table.now(&path(at)).unwrap();
        assert_eq!(known.storage.as_str(), primary);
        known
    }
}

#[actix::test]
async fn d17_a_question_that_waited_while_the_process_slept_is_not_answered_from_memory() {
    let world = World::new(Profile::Default);
    let alone = Alone::new(&world, 100).await;
    alone.knows(&world, "r", "g1").await;
    let awake = alone.ask(path("r")).await.unwrap();
    assert_eq!(awake.source, Source::Memory, "contrast: had it not slept");
    let before = reads(&world);
    let queued = alone.elector.send(GetPrimary::of(path("r")));
    // Nobody has a turn before the clock stands 20 s later; then the question comes first, the feed's timers after it.
    tokio::time::advance(ms(20_000)).await;
    let answer = queued.await.unwrap().unwrap();
    assert_eq!((answer.source, reads(&world)), (Source::Fresh, before + 1));
}

#[actix::test]
async fn d18_questions_that_wait_while_the_consensus_changes_are_answered_by_the_new_one() {
    let (world, one, known) = scene().await;
    let down = known.storage.as_str().to_owned();
    let alone = Alone::new(&world, 100).await;
    alone.ask(path("r")).await.unwrap();
    assert_eq!(alone.ask(path("r")).await.unwrap().source, Source::Memory);
    world.node(&down).answers(DEAD);
    verdict(&one, &down, Verdict::Unhealthy).await;
    assert_eq!(alone.ask(path("r")).await.unwrap().storage.as_str(), down, "its own cell says nothing of it yet");
    let asking: Vec<_> = (0..500).map(|_| alone.elector.send(GetPrimary::of(path("r")))).collect();
    alone.cells.consensus.send_replace(one.health_consensus());
    for asked in asking {
        let answer = asked.await.unwrap();
        assert!(answer.as_ref().is_ok_and(|answer| answer.storage.as_str() != down) || answer.is_err(), "{answer:?}");
    }
}

#[actix::test]
async fn d19_a_primary_that_moved_while_it_was_read_is_not_remembered() {
    let world = World::new(Profile::Default);
    let alone = Alone::new(&world, 100).await;
    for (at, by_number) in [("r", false), ("s", true)] {
        let id = world.repository(at, &["g1", "g2"]).await;
        world.store.foreign_primary(id, Some(storage("g1")));
        tokio::time::sleep(ms(1)).await;
        let target = if by_number { Target::Id(id) } else { path(at) };
        world.store.hold_answer(StoreOp::ElectionFacts);
        let reading = actix::spawn(alone.elector.send(GetPrimary::of(target.clone())));
        wait::until("the read has its answer", LIMIT, || world.store.held(StoreOp::ElectionFacts) == 1).await;
        world.store.foreign_primary(id, Some(storage("g2")));
        tokio::time::sleep(ms(10)).await;
        world.store.release(StoreOp::ElectionFacts);
        let answer = reading.await.unwrap().unwrap().unwrap();
        assert_eq!(answer.storage.as_str(), "g1", "it saw the state from before, and may say so");
        assert_eq!(alone.table.now(&target), None, "but nobody after it hears that");
        assert_eq!(alone.ask(target).await.unwrap().storage.as_str(), "g2");
    }
}

/// Repositories `r` and `s`, on two nodes each, of which the first is recorded as primary.
async fn two_led_by_g1(world: &World) {
    for at in ["r", "s"] {
        let id = world.repository(at, &["g1", "g2"]).await;
        world.store.foreign_primary(id, Some(storage("g1")));
    }
    tokio::time::sleep(ms(1)).await;
}

#[actix::test]
async fn who_is_led_well_is_told_after_one_small_read_and_who_is_not_after_all_facts() {
    let world = World::new(Profile::Default);
    let alone = Alone::new(&world, 100).await;
    two_led_by_g1(&world).await;
    let before = reads(&world);
    let answer = alone.ask(path("r")).await.unwrap();
    assert_eq!((answer.storage.as_str(), answer.source), ("g1", Source::Fresh));
    assert_eq!(reads(&world), before + 1, "the primary alone was read");
    assert_eq!(alone.ask(path("r")).await.unwrap().source, Source::Memory, "and is remembered");
    // Draining: whether it stays depends on the others, of whom nobody is known to be healthy here.
    drain(&world, "g1", true).await;
    assert_eq!(alone.ask(path("s")).await.unwrap().storage.as_str(), "g1");
    assert_eq!(reads(&world), before + 3, "the primary alone did not do");
}

#[actix::test]
async fn an_incumbent_that_the_consensus_holds_down_is_not_answered() {
    let (world, one, known) = scene().await;
    let alone = Alone::new(&world, 100).await;
    let down = known.storage.as_str().to_owned();
    // Nobody asks, so nobody is elected; and who asks may not elect.
    world.node(&down).answers(DEAD);
    verdict(&one, &down, Verdict::Unhealthy).await;
    alone.cells.consensus.send_replace(one.health_consensus());
    let answer = alone.ask(path("r")).await;
    assert!(
        matches!(answer, Err(Error::ElectionPending(_))),
        "a successor is due, and this one may elect none: {answer:?}"
    );
}

#[actix::test]
async fn a_lookup_whose_connection_ended_reads_again_and_not_for_ever() {
    let world = World::new(Profile::Default);
    let alone = Alone::new(&world, 100).await;
    two_led_by_g1(&world).await;
    // As when a server is started anew: nobody knows yet that it is down, and soon it is not.
    world.store.fail_next(Some(StoreOp::ElectionFacts), StoreErrorKind::ConnectionLost, 3);
    assert_eq!(alone.ask(path("r")).await.unwrap().storage.as_str(), "g1");
    world.store.fail_next(Some(StoreOp::ElectionFacts), StoreErrorKind::ConnectionLost, 1);
    let latest = GetPrimary { target: path("s"), freshness: Freshness::Latest };
    let hurried = alone.elector.send(latest).await.unwrap();
    assert!(matches!(hurried, Err(Error::StoreUnavailable(_))), "whoever wants the latest hears at once: {hurried:?}");
    world.store.fail(Some(StoreOp::ElectionFacts), StoreErrorKind::Unreachable);
    let began = tokio::time::Instant::now();
    let failed = alone.ask(path("s")).await;
    assert!(matches!(failed, Err(Error::StoreUnavailable(_))), "{failed:?}");
    let took = began.elapsed();
    assert!((ms(310)..ms(400)).contains(&took), "by the tests' clock: {took:?}");
}

#[actix::test]
async fn those_who_ask_for_the_same_at_once_share_one_read() {
    let world = World::new(Profile::Default);
    let alone = Alone::new(&world, 100).await;
    let id = world.repository("r", &["g1"]).await;
    world.store.foreign_primary(id, Some(storage("g1")));
    tokio::time::sleep(ms(1)).await;
    let before = reads(&world);
    world.store.hold(StoreOp::ElectionFacts);
    let asking: Vec<_> = (0..20).map(|_| actix::spawn(alone.elector.send(GetPrimary::of(path("r"))))).collect();
    wait::until("one of them reads", LIMIT, || world.store.held(StoreOp::ElectionFacts) == 1).await;
    tokio::time::sleep(ms(10)).await;
    assert_eq!(world.store.held(StoreOp::ElectionFacts), 1, "the others wait for it");
    world.store.release(StoreOp::ElectionFacts);
    for asked in asking {
        assert_eq!(asked.await.unwrap().unwrap().unwrap().source, Source::Fresh);
    }
    assert_eq!(reads(&world), before + 1);
}

#[actix::test]
async fn it_holds_no_more_than_its_capacity() {
    let world = World::new(Profile::Default);
    let alone = Alone::new(&world, 20).await;
    for number in 0..100 {
        alone.knows(&world, &format!("r{number}"), "g1").await;
        assert!(alone.table.len() <= 20, "{}", alone.table.len());
    }
    let kept: Vec<_> = (0..100).filter(|number| alone.table.now(&path(&format!("r{number}"))).is_some()).collect();
    assert_eq!((kept.len(), alone.table.len()), (20, 20), "all of its room is used");
}

#[actix::test]
async fn a_renamed_repository_is_known_by_its_new_name_alone() {
    let (_world, one, known) = scene().await;
    let repository = known.repository.unwrap();
    one.repository_rename(repository, known.fence().as_ref(), &"s".parse().unwrap()).await.unwrap();
    wait::until("the word came", LIMIT, || one.primary_now(&path("r")).is_none()).await;
    assert_eq!(one.primary_now(&Target::Id(repository)), None);
    assert_eq!(warm(&one, "s").await.repository, Some(repository));
    assert!(matches!(one.lookup(&path("r"), Freshness::Cached).await, Err(Error::RepositoryNotFound)));
}

#[actix::test]
async fn a_primary_that_only_waits_for_somebody_better_is_not_remembered() {
    let (world, one, known) = scene().await;
    let others: Vec<&str> = ["g1", "g2", "g3"].into_iter().filter(|name| storage(name) != known.storage).collect();
    for other in &others {
        world.node(other).answers(DEAD);
        verdict(&one, other, Verdict::Unhealthy).await;
    }
    drain(&world, known.storage.as_str(), true).await;
    tokio::time::sleep(ms(100)).await;
    for _ in 0..10 {
        let answer = cached(&one, "r").await;
        assert_eq!((answer.source, &answer.storage), (Source::Fresh, &known.storage), "nobody better is there");
    }
    world.node(others[0]).answers(Evidence::Serving);
    verdict(&one, others[0], Verdict::Healthy).await;
    assert_eq!(cached(&one, "r").await.storage.as_str(), others[0], "no feed tells that somebody recovered");
}

#[actix::test]
async fn another_registration_remembers_nothing_of_the_one_before() {
    let world = World::new(Profile::Default);
    let alone = Alone::new(&world, 100).await;
    alone.knows(&world, "r", "g1").await;
    alone.cells.voter.send_replace(None);
    assert_eq!(alone.table.now(&path("r")), None, "without a registration nothing is believed");
    alone.cells.voter.send_replace(Some(Voter { name: name("alone"), incarnation: Incarnation(2) }));
    assert_eq!(alone.table.now(&path("r")), None);
    assert!(alone.table.is_empty());
    alone.ask(path("r")).await.unwrap();
    assert_eq!(alone.ask(path("r")).await.unwrap().source, Source::Memory, "a new life learns anew");
}

#[actix::test]
async fn a_lapse_empties_the_memory() {
    let (world, one, _) = scene().await;
    let before = one.voter().unwrap();
    assert!(world.store.supervisor_remove(&before).await.unwrap());
    wait::until("registered anew", LIMIT, || one.voter().is_some_and(|now| now.incarnation > before.incarnation)).await;
    assert_eq!(one.primary_now(&path("r")), None);
    warm(&one, "r").await;
}

#[actix::test]
async fn electors_of_whole_virtual_storages_remember_nothing() {
    let world = World::new(Profile::Default);
    let mut config = world.config("s1");
    config.failover.election_strategy = quorate::config::ElectionStrategy::Sql;
    let one = world.assemble(config).await.unwrap();
    world.repository("r", &["g1", "g2", "g3"]).await;
    for _ in 0..3 {
        assert_eq!(cached(&one, "r").await.source, Source::Fresh);
    }
    assert_eq!(one.primary_now(&path("r")), None);
}

#[actix::test]
async fn while_the_database_is_down_what_was_last_known_is_answered_as_that() {
    let (world, one, known) = scene().await;
    world.repository("other", &["g1"]).await;
    world.store.fail(None, StoreErrorKind::Unreachable);
    world.store.cut_listeners();
    let began = tokio::time::Instant::now();
    wait::until_async("it is known to be down", ms(2_000), async || {
        one.lookup(&path("r"), Freshness::Cached).await.is_ok_and(|answer| answer.source == Source::Failsafe)
    })
    .await;
    let (asked, reads_before) = (tokio::time::Instant::now(), reads(&world));
    for _ in 0..50 {
        let answer = cached(&one, "r").await;
        assert_eq!((answer.source, &answer.primary), (Source::Failsafe, &known.primary));
    }
    let unknown = one.lookup(&path("other"), Freshness::Cached).await;
    assert!(matches!(unknown, Err(Error::StoreUnavailable(_))), "{unknown:?}");
    assert_eq!((asked.elapsed(), reads(&world)), (Duration::ZERO, reads_before), "at once, and nobody was asked");
    // Who is down as this supervisor itself sees it is answered no more, and nobody is elected in its place.
    world.node(known.storage.as_str()).answers(DEAD);
    wait::until("it is seen down", LIMIT, || !one.node(&node(known.storage.as_str())).unwrap().is_healthy()).await;
    assert!(matches!(one.lookup(&path("r"), Freshness::Cached).await, Err(Error::StoreUnavailable(_))));
    world.node(known.storage.as_str()).answers(Evidence::Serving);
    wait::until_async("it is up again", LIMIT, async || one.lookup(&path("r"), Freshness::Cached).await.is_ok()).await;
    assert!(cached(&one, "r").await.age >= ms(500));
    tokio::time::sleep(ms(60_000).saturating_sub(began.elapsed())).await;
    let late = one.lookup(&path("r"), Freshness::Cached).await;
    assert!(matches!(late, Err(Error::StoreUnavailable(_))), "after failsafe_ttl: {late:?}");
}

#[actix::test]
async fn when_the_database_is_back_what_was_last_known_is_forgotten() {
    let (world, one, known) = scene().await;
    world.store.fail(None, StoreErrorKind::Unreachable);
    world.store.cut_listeners();
    wait::until_async("it is known to be down", ms(2_000), async || {
        one.lookup(&path("r"), Freshness::Cached).await.is_ok_and(|answer| answer.source == Source::Failsafe)
    })
    .await;
    // Somebody who reaches the database moves the primary.
    let other = ["g1", "g2", "g3"].into_iter().find(|name| storage(name) != known.storage).unwrap();
    world.store.foreign_primary(known.repository.unwrap(), Some(storage(other)));
    world.store.heal();
    wait::until_async("it answers again", ms(2_000), async || {
        one.lookup(&path("r"), Freshness::Cached).await.is_ok_and(|answer| answer.source != Source::Failsafe)
    })
    .await;
    assert_eq!(cached(&one, "r").await.storage.as_str(), other, "never the old one as if it were so");
}

#[actix::test]
async fn a_caller_waits_while_an_election_is_due_and_is_woken_by_it() {
    let (world, one, known) = scene().await;
    let two = world.supervisor("s2").await;
    let waiting = actix::spawn({
        let two = two.clone();
        let least = known.epoch.map(|epoch| epoch.to_i64() + 1);
        async move {
            let least = quorate::core::epoch::Epoch::from_i64(least.unwrap()).unwrap();
            two.await_primary(&path("r"), Some(least), ms(60_000)).await
        }
    });
    tokio::time::sleep(ms(3_000)).await;
    let before = reads(&world);
    tokio::time::sleep(ms(10_000)).await;
    assert!(reads(&world) - before <= 11, "it does not ask in a loop: {}", reads(&world) - before);
    world.node(known.storage.as_str()).answers(DEAD);
    let began = tokio::time::Instant::now();
    let next = waiting.await.unwrap().unwrap();
    assert!(next.epoch > known.epoch && next.storage != known.storage);
    verdict(&one, known.storage.as_str(), Verdict::Unhealthy).await;
    assert!(began.elapsed() <= ms(5_000), "{:?}", began.elapsed());
}

#[actix::test]
async fn a_caller_waits_no_longer_than_it_said() {
    let (_world, one, known) = scene().await;
    let next = quorate::core::epoch::Epoch::from_i64(known.epoch.unwrap().to_i64() + 1).unwrap();
    let began = tokio::time::Instant::now();
    let late = one.await_primary(&path("r"), Some(next), ms(1_500)).await;
    assert!(matches!(late, Err(Error::Timeout(limit)) if limit == ms(1_500)), "{late:?}");
    assert_eq!(began.elapsed().as_millis() / 100, 15);
    let absent = one.await_primary(&Target::Path(vs(), "none".parse().unwrap()), None, ms(60_000)).await;
    assert!(matches!(absent, Err(Error::RepositoryNotFound)), "waiting does not mend that");
    assert_eq!(one.await_primary(&path("r"), known.epoch, ms(1)).await.unwrap().primary, known.primary, "it is there");
}
