//! Drills about the database: it is gone, and comes back to one before the others; its clock steps.

use crate::world::{LIMIT, World, ms, node, path, verdict};
use quorate::{
    Error, Supervisor,
    core::{
        consensus::Opinion,
        election::WaitReason,
        evidence::{Evidence, Hard},
        ids::{Incarnation, RepositoryId},
        lookup::Freshness,
        quorum::Verdict,
        settings::Profile,
        time::Age,
    },
    store::{ElectionStore, HealthStore, StoreErrorKind, memory::MemoryStore},
    testing::{probe::ScriptedTransport, wait},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

const DEAD: Evidence = Evidence::Hard(Hard::Refused);

fn incarnation(of: &Supervisor<u64>) -> Option<Incarnation> {
    of.voter().map(|voter| voter.incarnation)
}

async fn changes(store: &MemoryStore, repository: RepositoryId) -> usize {
    store.primary_history(repository, 100).await.unwrap().len()
}

/// Each supervisor has a way to the database of its own, and `s1` a network of its own.
#[actix::test]
async fn d10_who_comes_back_first_and_who_asks_before_it_is_back_move_nothing() {
    let world = World::new(Profile::Default);
    let beside = |transport: &ScriptedTransport| World {
        store: Arc::new(world.store.beside()),
        transport: transport.clone(),
        settings: world.settings.clone(),
        nodes: world.nodes.clone(),
        meter: world.meter.clone(),
    };
    let (first, second, third) =
        (beside(&ScriptedTransport::default()), beside(&world.transport), beside(&world.transport));
    let one = first.supervisor("s1").await;
    let (two, three) = (second.supervisor("s2").await, third.supervisor("s3").await);
    for supervisor in [&one, &two, &three] {
        verdict(supervisor, "g1", Verdict::Healthy).await;
    }
    let id = world.repository("r", &["g1", "g2"]).await;
    let before = one.primary(&path("r")).await.unwrap().storage;
    let registered = [&one, &two, &three].map(incarnation);

    let ways = [&first, &second, &third];
    ways.iter().for_each(|way| way.store.fail(None, StoreErrorKind::Unreachable));
    first.node(before.as_str()).answers(DEAD);
    tokio::time::sleep(ms(10_000)).await;

    first.store.heal();
    verdict(&one, before.as_str(), Verdict::Unhealthy).await;
    let alone = tokio::time::Instant::now();
    while alone.elapsed() < ms(200) {
        let answer = one.lookup(&path("r"), Freshness::Latest).await;
        assert!(matches!(answer, Err(Error::ElectionPending(WaitReason::OthersMayReturn))), "{answer:?}");
        tokio::time::sleep(ms(20)).await;
    }

    second.store.heal();
    let answer = two.lookup(&path("r"), Freshness::Latest).await;
    assert!(matches!(answer, Err(Error::ElectionPending(WaitReason::Lapsed))), "its first statement: {answer:?}");
    third.store.heal();
    for (supervisor, before) in [&one, &two, &three].into_iter().zip(registered) {
        wait::until("a new incarnation", LIMIT, || incarnation(supervisor).is_some_and(|now| Some(now) > before)).await;
    }
    for supervisor in [&one, &two, &three] {
        verdict(supervisor, before.as_str(), Verdict::Healthy).await;
        let answer = supervisor.lookup(&path("r"), Freshness::Latest).await.unwrap();
        assert_eq!(answer.primary.storage, before);
    }
    assert_eq!(changes(&world.store, id).await, 1, "nothing moved since it was first elected");
}

/// A database whose clock can be set. It shows a day and what passed; how far it was set, in milliseconds, is added.
struct Clock(Arc<AtomicU64>);

const DAY: u64 = 86_400_000;

impl Clock {
    fn world() -> (Clock, World) {
        let mut world = World::new(Profile::Default);
        let (set, began) = (Arc::new(AtomicU64::new(DAY)), tokio::time::Instant::now());
        let shown = Arc::clone(&set);
        world.store = Arc::new(MemoryStore::new(Arc::new(move || began.elapsed() + ms(shown.load(Ordering::SeqCst)))));
        (Clock(set), world)
    }
    fn forward(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
    fn back(&self, millis: u64) {
        self.0.fetch_sub(millis, Ordering::SeqCst);
    }
}

/// Three supervisors and a primary; the clock steps while a node that does not lead is dead.
async fn while_the_clock_steps(step: impl FnOnce(&Clock)) {
    let (clock, world) = Clock::world();
    let three = [world.supervisor("s1").await, world.supervisor("s2").await, world.supervisor("s3").await];
    for supervisor in &three {
        verdict(supervisor, "g1", Verdict::Healthy).await;
    }
    let id = world.repository("r", &["g1", "g2", "g3"]).await;
    let before = three[0].primary(&path("r")).await.unwrap().storage;
    let other = ["g1", "g2", "g3"].into_iter().find(|name| *name != before.as_str()).unwrap();
    world.node(other).answers(DEAD);
    verdict(&three[1], other, Verdict::Unhealthy).await;
    let registered: Vec<_> = three.iter().map(incarnation).collect();

    step(&clock);
    let stepped = tokio::time::Instant::now();
    let mut answered = 0;
    while stepped.elapsed() < ms(10_000) {
        for supervisor in &three {
            match supervisor.lookup(&path("r"), Freshness::Latest).await {
                Ok(answer) => {
                    answered += 1;
                    assert_eq!(answer.primary.storage, before, "after {:?}", stepped.elapsed());
                }
                Err(Error::ElectionPending(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        tokio::time::sleep(ms(50)).await;
    }
    assert!(answered > 0);
    for (supervisor, before) in three.iter().zip(registered) {
        assert!(incarnation(supervisor) > before, "whoever saw the clock step said nothing that still counts");
    }
    for supervisor in &three {
        verdict(supervisor, before.as_str(), Verdict::Healthy).await;
        verdict(supervisor, other, Verdict::Unhealthy).await;
    }
    assert_eq!(changes(&world.store, id).await, 1, "nothing moved since it was first elected");
}

#[actix::test]
async fn d11_the_databases_clock_steps_ahead_and_no_primary_moves() {
    while_the_clock_steps(|clock| clock.forward(6_000)).await;
}

#[actix::test]
async fn d11_the_databases_clock_steps_back_an_hour_and_no_primary_moves() {
    while_the_clock_steps(|clock| clock.back(3_600_000)).await;
}

/// Neither does a step that no lapse betrays: too small for a heartbeat to be too old.
#[actix::test]
async fn d11_a_small_step_is_noticed_by_our_own_clock() {
    while_the_clock_steps(|clock| clock.forward(2_000)).await;
}

#[actix::test]
async fn d11_dead_voters_do_not_live_on_in_the_future() {
    let (clock, world) = Clock::world();
    let one = world.supervisor("s1").await;
    {
        let others = [world.supervisor("s2").await, world.supervisor("s3").await];
        for supervisor in others.iter().chain([&one]) {
            verdict(supervisor, "g1", Verdict::Healthy).await;
        }
        world.repository("r", &["g1", "g2"]).await;
        wait::until("both hold both up", LIMIT, || {
            ["s2", "s3"].iter().all(|by| ["g1", "g2"].iter().all(|of| world.opinion(by, of) == Some(Opinion::Up)))
        })
        .await;
    }
    let before = one.primary(&path("r")).await.unwrap().storage;
    // Both died this moment, without a word, and hold every node up. Then the clock is set back.
    clock.back(3_600_000);
    world.node(before.as_str()).answers(DEAD);
    verdict(&one, before.as_str(), Verdict::Unhealthy).await;
    let facts = world.store.health_facts().await.unwrap().facts;
    let ahead = facts.supervisors.iter().filter(|row| row.heartbeat_age < Age(-1_000_000)).count();
    let up = ["s2", "s3"].iter().filter(|name| world.opinion(name, before.as_str()) == Some(Opinion::Up)).count();
    // Contrast: whoever asks only whether a heartbeat is older than the voter time counts two votes that hold it up, for
    // an hour.
    assert_eq!((ahead, up), (2, 2));
    wait::until_async("another one leads", LIMIT, async || {
        one.primary(&path("r")).await.is_ok_and(|primary| primary.storage != before)
    })
    .await;
    assert_eq!(one.health_consensus().unwrap().verdict(&node(before.as_str())), Verdict::Unhealthy);
}
