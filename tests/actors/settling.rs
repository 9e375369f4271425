//! What a dead node led is settled before anybody asks for it.

use crate::world::{LIMIT, World, ms, name, node, path, storage, verdict, vs};
use quorate::{
    Config, Supervisor,
    config::ElectionStrategy,
    core::{
        epoch::Generation,
        evidence::{Evidence, Hard},
        ids::{RelativePath, RepositoryId},
        quorum::Verdict,
        settings::Profile,
        settling::Progress,
    },
    store::{ElectionStore, NewRepository, Outcome, RepositoryStore, StoreErrorKind, StoreOp, memory::MemoryStore},
    testing::wait,
};
use std::time::Duration;

const DEAD: Evidence = Evidence::Hard(Hard::Refused);

fn settling(world: &World, name: &str, batch: u32) -> Config {
    let mut config = world.config(name);
    config.failover.settle_batch = batch;
    config
}

/// Repositories on all three nodes that `g1` leads.
pub(crate) async fn led_by_g1(store: &MemoryStore, many: usize) -> Vec<RepositoryId> {
    let mut ids = Vec::new();
    for number in 0..many {
        let at = RelativePath::new(format!("r{number}")).unwrap();
        let mut new = NewRepository::new(vs(), at, ["g1", "g2", "g3"].map(storage).to_vec());
        new.primary = Some(storage("g1"));
        match store.repository_create(&new).await.unwrap() {
            Outcome::Done(created) => ids.push(created.repository),
            other => panic!("{other:?}"),
        }
    }
    ids
}

pub(crate) fn calls(store: &MemoryStore, op: StoreOp) -> u64 {
    store.activity().get(&op).map_or(0, |activity| activity.calls)
}

fn progress(of: &Supervisor<u64>) -> Progress {
    of.settling().borrow().get(&node("g1")).copied().unwrap_or_default()
}

async fn rests(of: &Supervisor<u64>) {
    wait::until("the walk rests", LIMIT, || progress(of).rests).await;
}

/// How often each was changed since it was created.
pub(crate) async fn changes(store: &MemoryStore, ids: &[RepositoryId]) -> Vec<usize> {
    let mut changes = Vec::new();
    for id in ids {
        changes.push(store.primary_history(*id, 100).await.unwrap().len() - 1);
    }
    changes
}

#[actix::test]
async fn what_a_dead_node_led_is_settled_before_anybody_asks() {
    let world = World::new(Profile::Default);
    let one = world.assemble(settling(&world, "s1", 50)).await.unwrap();
    let ids = led_by_g1(&world.store, 120).await;
    let reads = calls(&world.store, StoreOp::SettleFacts);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(calls(&world.store, StoreOp::SettleFacts), reads, "at rest it asks the database nothing");
    assert_eq!(reads, 0);

    world.node("g1").answers(DEAD);
    rests(&one).await;
    assert_eq!(changes(&world.store, &ids).await, vec![1; 120]);
    let known = progress(&one);
    assert_eq!((known.settled, known.lost, known.without_candidate, known.batches), (120, 0, 0, 3));
    let history = world.store.primary_history(ids[0], 1).await.unwrap().remove(0);
    assert_eq!((history.why.as_deref(), history.supervisor), (Some("unhealthy"), Some(name("s1"))));
    let evidence: serde_json::Value = serde_json::from_str(history.evidence.as_deref().unwrap()).unwrap();
    assert_eq!((&evidence["settled"], &evidence["refused"]["g1"]["unhealthy"]), (&50.into(), &50.into()));
    assert_eq!(evidence["verdicts"]["g1"], "unhealthy");

    let (reads, elections) = (calls(&world.store, StoreOp::SettleFacts), calls(&world.store, StoreOp::PrimaryCas));
    for number in 0..120 {
        assert_ne!(one.primary(&path(&format!("r{number}"))).await.unwrap().storage, storage("g1"));
    }
    assert_eq!(calls(&world.store, StoreOp::PrimaryCas), elections, "nothing was left to elect");
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(calls(&world.store, StoreOp::SettleFacts), reads, "it rests, though the node stays dead");
}

#[actix::test]
async fn of_two_supervisors_each_batch_is_settled_by_one() {
    let world = World::new(Profile::Default);
    let one = world.assemble(settling(&world, "s1", 10)).await.unwrap();
    let two = world.assemble(settling(&world, "s2", 10)).await.unwrap();
    let ids = led_by_g1(&world.store, 200).await;
    // So slow that they meet: both read before either commits.
    world.store.delay(ms(3));
    world.node("g1").answers(DEAD);
    rests(&one).await;
    rests(&two).await;
    assert_eq!(changes(&world.store, &ids).await, vec![1; 200], "nothing is elected twice");
    assert_eq!(progress(&one).settled + progress(&two).settled, 200);
}

#[actix::test]
async fn another_at_work_is_waited_for_and_followed() {
    let world = World::new(Profile::Default);
    let one = world.assemble(settling(&world, "s1", 10)).await.unwrap();
    let ids = led_by_g1(&world.store, 25).await;
    world.store.settle_elsewhere(&vs(), true);
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    let before = calls(&world.store, StoreOp::SettleCas);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tried = calls(&world.store, StoreOp::SettleCas) - before;
    assert!((10..40).contains(&tried), "tried {tried} times in a minute");
    assert_eq!(changes(&world.store, &ids).await, vec![0; 25]);
    world.store.settle_elsewhere(&vs(), false);
    rests(&one).await;
    assert_eq!(changes(&world.store, &ids).await, vec![1; 25]);
}

#[actix::test]
async fn a_lookup_in_the_middle_is_not_delayed_and_wins() {
    let world = World::new(Profile::Default);
    let one = world.assemble(settling(&world, "s1", 500)).await.unwrap();
    let ids = led_by_g1(&world.store, 30).await;
    world.store.hold(StoreOp::SettleCas);
    world.node("g1").answers(DEAD);
    wait::until("a batch is about to be committed", LIMIT, || world.store.held(StoreOp::SettleCas) == 1).await;
    let began = tokio::time::Instant::now();
    let primary = one.primary(&path("r7")).await.unwrap();
    assert!(began.elapsed() < ms(5), "it waited for the batch: {:?}", began.elapsed());
    assert_ne!(primary.storage, storage("g1"));
    world.store.release(StoreOp::SettleCas);
    rests(&one).await;
    assert_eq!(changes(&world.store, &ids).await, vec![1; 30]);
    assert_eq!(one.primary(&path("r7")).await.unwrap(), primary, "the lookup's election stands");
    assert_eq!((progress(&one).settled, progress(&one).lost), (29, 1));
}

#[actix::test]
async fn what_others_hold_is_passed_over_and_comes_again() {
    let world = World::new(Profile::Default);
    let one = world.assemble(settling(&world, "s1", 10)).await.unwrap();
    let ids = led_by_g1(&world.store, 30).await;
    world.store.hold(StoreOp::SettleCas);
    world.node("g1").answers(DEAD);
    wait::until("a batch is about to be committed", LIMIT, || world.store.held(StoreOp::SettleCas) == 1).await;
    // A writer was there meanwhile: what was read of these two holds no more.
    for id in [ids[3], ids[4]] {
        world.store.foreign_generation(id, Some(Generation(0)));
    }
    world.store.release(StoreOp::SettleCas);
    rests(&one).await;
    assert_eq!(changes(&world.store, &ids).await, vec![1; 30]);
    assert_eq!((progress(&one).settled, progress(&one).lost), (30, 2));
}

#[actix::test]
async fn a_node_that_returns_keeps_what_was_not_settled_yet() {
    let world = World::new(Profile::Default);
    let mut config = settling(&world, "s1", 10);
    config.failover.settle_pause = Duration::from_secs(30);
    let one = world.assemble(config).await.unwrap();
    let ids = led_by_g1(&world.store, 30).await;
    world.node("g1").answers(DEAD);
    wait::until("the first batch", LIMIT, || progress(&one).settled == 10).await;
    world.node("g1").answers(Evidence::Serving);
    verdict(&one, "g1", Verdict::Healthy).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(changes(&world.store, &ids).await, [vec![1; 10], vec![0; 20]].concat());
    assert!(one.settling().borrow().is_empty(), "{:?}", one.settling().borrow());
    assert_eq!(one.primary(&path("r20")).await.unwrap().storage, storage("g1"));
}

#[actix::test]
async fn without_a_candidate_it_waits_until_one_comes_back() {
    let world = World::new(Profile::Default);
    let one = world.assemble(settling(&world, "s1", 10)).await.unwrap();
    let ids = led_by_g1(&world.store, 15).await;
    for dead in ["g2", "g3"] {
        world.node(dead).answers(DEAD);
        verdict(&one, dead, Verdict::Unhealthy).await;
    }
    world.node("g1").answers(DEAD);
    rests(&one).await;
    assert_eq!((progress(&one).settled, progress(&one).without_candidate), (0, 15));
    world.node("g3").answers(Evidence::Serving);
    wait::until("all are settled", LIMIT, || progress(&one).settled == 15 && progress(&one).rests).await;
    assert_eq!(changes(&world.store, &ids).await, vec![1; 15]);
    assert_eq!(progress(&one).without_candidate, 0);
}

#[actix::test]
async fn a_database_that_is_gone_is_asked_seldom_and_then_it_goes_on() {
    let world = World::new(Profile::Default);
    let one = world.assemble(settling(&world, "s1", 10)).await.unwrap();
    let ids = led_by_g1(&world.store, 30).await;
    world.store.fail(Some(StoreOp::SettleFacts), StoreErrorKind::Unreachable);
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(changes(&world.store, &ids).await, vec![0; 30]);
    world.store.heal();
    world.store.lose_answer(Some(StoreOp::SettleCas));
    rests(&one).await;
    assert_eq!(changes(&world.store, &ids).await, vec![1; 30], "an answer that was lost is asked for again (D23)");
    assert_eq!((progress(&one).settled, progress(&one).lost), (30, 0));
}

/// A dead node keeps what it led, and nobody even reads what that is.
async fn nobody_settles(world: &World, config: Config) {
    let one = world.assemble(config).await.unwrap();
    let ids = led_by_g1(&world.store, 3).await;
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(calls(&world.store, StoreOp::SettleFacts), 0);
    assert_eq!(changes(&world.store, &ids).await, vec![0; 3]);
    assert!(one.settling().borrow().is_empty());
}

#[actix::test]
async fn a_batch_of_nothing_settles_nothing() {
    let world = World::new(Profile::Default);
    nobody_settles(&world, settling(&world, "s1", 0)).await;
}

#[actix::test]
async fn with_failover_off_nobody_settles() {
    let world = World::new(Profile::Default);
    let mut config = settling(&world, "s1", 10);
    config.failover.enabled = false;
    nobody_settles(&world, config).await;
}

#[actix::test]
async fn where_a_virtual_storage_has_one_primary_nobody_settles() {
    let world = World::new(Profile::Default);
    let mut config = settling(&world, "s1", 10);
    config.failover.election_strategy = ElectionStrategy::Sql;
    nobody_settles(&world, config).await;
}

#[actix::test]
async fn in_profile_praefect_nobody_settles_and_nobody_may_ask_for_it() {
    let world = World::new(Profile::Praefect);
    let error = world.assemble(settling(&world, "s1", 10)).await.unwrap_err();
    assert!(error.to_string().contains("failover.settle_batch"), "{error}");
    nobody_settles(&world, settling(&world, "s1", 0)).await;
}

#[actix::test]
async fn what_cannot_be_read_holds_nobody_up_and_is_told_and_counted() {
    let world = World::new(Profile::Default);
    let one = world.assemble(settling(&world, "s1", 10)).await.unwrap();
    let ids = led_by_g1(&world.store, 25).await;
    // Before, between and behind others, and at the very end of a batch.
    let unreadable = [0, 9, 12, 24];
    unreadable.iter().for_each(|at| world.store.foreign_nameless_replica(ids[*at]));
    world.node("g1").answers(DEAD);
    rests(&one).await;
    let expected: Vec<usize> = (0..25).map(|at| usize::from(!unreadable.contains(&at))).collect();
    assert_eq!(changes(&world.store, &ids).await, expected);
    let known = progress(&one);
    assert_eq!((known.settled, known.unreadable, known.lost), (21, 4, 0));
    let reads = calls(&world.store, StoreOp::SettleFacts);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(calls(&world.store, StoreOp::SettleFacts), reads, "it is not tried for ever");
}
