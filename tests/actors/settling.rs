//! What a dead node led is settled before anybody asks for it.

use crate::world::{LIMIT, World, ms, name, node, path, storage, verdict, vs};
use actix::Actor;
use quorate::{
    Config, Supervisor,
    actors::{Cells, ChildSpec, ConfiguredNodes, ElectorConfig, Guardian, NodeNames, Settler, SettlerConfig},
    config::ElectionStrategy,
    core::{
        consensus::{Consensus, NodeConsensus, Opinion},
        epoch::{Generation, Revision},
        evidence::{Evidence, Hard},
        ids::{NodeId, RelativePath, RepositoryId, Voter},
        monitor::SettingsInForce,
        quorum::{Tally, Verdict},
        settings::{Profile, Settings, WithoutCandidate},
        settling::Progress,
    },
    messages::control::GetRestarts,
    store::{
        Answer, ElectionStore, HealthStore, NewRepository, Outcome, Registered, Registration, RepositoryStore,
        SettleBatch, SettleOutcome, SettleSnapshot, SettleStore, StoreError, StoreErrorKind, StoreOp, VoteBatch,
        memory::MemoryStore,
    },
    telemetry::Meter,
    testing::wait,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

const DEAD: Evidence = Evidence::Hard(Hard::Refused);

fn settling(world: &World, name: &str, batch: u32) -> Config {
    let mut config = world.config(name);
    config.failover.settle_batch = batch;
    config
}

/// Repositories on all three nodes that `g1` leads.
async fn led_by_g1(store: &MemoryStore, many: usize) -> Vec<RepositoryId> {
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

fn calls(store: &MemoryStore, op: StoreOp) -> u64 {
    store.activity().get(&op).map_or(0, |activity| activity.calls)
}

fn progress(of: &Supervisor<u64>) -> Progress {
    of.settling().borrow().get(&node("g1")).copied().unwrap_or_default()
}

async fn rests(of: &Supervisor<u64>) {
    wait::until("the walk rests", LIMIT, || progress(of).rests).await;
}

/// How often each was changed since it was created.
async fn changes(store: &MemoryStore, ids: &[RepositoryId]) -> Vec<usize> {
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

/// A settler without the rest: its cells are the test's.
struct Alone {
    store: Arc<MemoryStore>,
    cells: Arc<Cells>,
    voter: Voter,
}

/// Panics when it is asked for the second time, once.
struct Panicking {
    inner: Arc<MemoryStore>,
    asked: AtomicU32,
}

impl SettleStore for Panicking {
    fn settle_facts<'a>(&'a self, node: &'a NodeId, after: RepositoryId, limit: u32) -> Answer<'a, SettleSnapshot> {
        assert_ne!(self.asked.fetch_add(1, Ordering::SeqCst), 1, "as ordered");
        self.inner.settle_facts(node, after, limit)
    }
    fn settle_cas<'a>(&'a self, batch: &'a SettleBatch) -> Answer<'a, SettleOutcome> {
        self.inner.settle_cas(batch)
    }
}

impl Alone {
    async fn new() -> Alone {
        tokio::time::pause();
        let store = Arc::new(MemoryStore::default());
        let mut settings = Settings::of(Profile::Default);
        settings.voter_ttl = Duration::from_secs(100_000);
        let stored = store.settings_seed(&settings).await.unwrap();
        let cells = Cells::new(SettingsInForce { revision: stored.revision, settings: stored.settings });
        let registration = Registration {
            name: name("s1"),
            previous: None,
            process: "p".parse().unwrap(),
            attempt: 1,
            address: None,
            version: "1".to_owned(),
            nodes: ["g1", "g2", "g3"].map(node).to_vec(),
        };
        let Registered::Registered { incarnation, .. } = store.supervisor_register(&registration).await.unwrap() else {
            panic!("refused")
        };
        let voter = Voter { name: name("s1"), incarnation };
        let votes = [("g1", Opinion::Down), ("g2", Opinion::Up), ("g3", Opinion::Up)];
        let votes = votes.map(|(about, opinion)| (node(about), opinion)).to_vec();
        store.votes_write(&voter, &VoteBatch { number: 1, votes }).await.unwrap();
        cells.voter.send_replace(Some(voter.clone()));
        Alone { store, cells, voter }
    }

    /// Publishes that `g1` is down, as a revision of its own.
    fn publish(&self, revision: u64) {
        let known = NodeConsensus { verdict: Verdict::Unhealthy, tally: Tally::default() };
        let nodes = [(node("g1"), known)].into();
        self.cells.consensus.send_replace(Some(Arc::new(Consensus { revision: Revision(revision), nodes })));
    }

    fn config(&self, store: Arc<dyn SettleStore>) -> SettlerConfig {
        let names: NodeNames = [(vs(), ["g1", "g2", "g3"].map(storage).to_vec())].into();
        SettlerConfig {
            store,
            cells: Arc::clone(&self.cells),
            nodes: ConfiguredNodes::from(names),
            batch: 10,
            pause: ms(5),
            timeout: ms(1_000),
            lot: ElectorConfig::random_lot,
            meter: Meter::default(),
        }
    }

    fn progress(&self) -> Progress {
        self.cells.settling.borrow().get(&node("g1")).copied().unwrap_or_default()
    }
}

#[actix::test]
async fn a_settler_that_died_is_built_anew_and_goes_on() {
    let alone = Alone::new().await;
    let ids = led_by_g1(&alone.store, 30).await;
    let store = Arc::new(Panicking { inner: alone.store.clone(), asked: AtomicU32::new(0) });
    let config = alone.config(store);
    let guardian = Guardian::new(vec![ChildSpec::new("settler", move || Settler::new(config.clone()), |_| {})]).start();
    alone.publish(1);
    wait::until("it rests", LIMIT, || alone.progress().rests).await;
    assert_eq!(guardian.send(GetRestarts).await.unwrap()["settler"], 1);
    assert_eq!(changes(&alone.store, &ids).await, vec![1; 30]);
    assert_eq!(alone.progress().settled, 20, "the ten before were its predecessor's");
}

#[actix::test]
async fn without_a_registration_or_an_answering_database_it_asks_nothing() {
    let alone = Alone::new().await;
    led_by_g1(&alone.store, 5).await;
    alone.cells.voter.send_replace(None);
    Settler::new(alone.config(alone.store.clone())).start();
    alone.publish(1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&alone.store, StoreOp::SettleFacts), 0, "it is not registered");
    alone.cells.complaint.send_replace(Some("gone".to_owned()));
    alone.cells.voter.send_replace(Some(alone.voter.clone()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&alone.store, StoreOp::SettleFacts), 0, "the database does not answer");
    alone.cells.complaint.send_replace(None);
    wait::until("it rests", LIMIT, || alone.progress().rests).await;
    assert_eq!(alone.progress().settled, 5);
}

/// Its first commit is held for so long, and `then` happens meanwhile.
async fn held(alone: &Alone, wait: Duration, then: impl AsyncFnOnce()) {
    alone.store.hold(StoreOp::SettleCas);
    Settler::new(alone.config(alone.store.clone())).start();
    alone.publish(1);
    wait::until("a batch is about to be committed", LIMIT, || alone.store.held(StoreOp::SettleCas) == 1).await;
    wait::until("the next was read", LIMIT, || calls(&alone.store, StoreOp::SettleFacts) == 2).await;
    then().await;
    tokio::time::sleep(wait).await;
    alone.store.release(StoreOp::SettleCas);
}

#[actix::test]
async fn the_next_batch_is_read_while_one_is_committed() {
    let alone = Alone::new().await;
    let ids = led_by_g1(&alone.store, 25).await;
    held(&alone, ms(50), async || {}).await;
    wait::until("it rests", LIMIT, || alone.progress().rests).await;
    assert_eq!(changes(&alone.store, &ids).await, vec![1; 25]);
    assert_eq!((alone.progress().settled, alone.progress().batches), (25, 3));
    assert_eq!(calls(&alone.store, StoreOp::SettleFacts), 3, "each batch once");
}

/// The commit takes less than decisions may be old, and yet what was read ahead of it is not what the next one rests on.
#[actix::test]
async fn a_node_that_returns_during_a_slow_commit_keeps_what_was_read_ahead() {
    let alone = Alone::new().await;
    let ids = led_by_g1(&alone.store, 25).await;
    held(&alone, ms(300), async || {
        let healthy = VoteBatch { number: 2, votes: vec![(node("g1"), Opinion::Up)] };
        alone.store.votes_write(&alone.voter, &healthy).await.unwrap();
    })
    .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(changes(&alone.store, &ids).await, [vec![1; 10], vec![0; 15]].concat());
}

/// The published consensus only says where to look: what is changed rests on the facts of the moment.
#[actix::test]
async fn a_node_that_the_database_holds_healthy_keeps_everything() {
    let alone = Alone::new().await;
    let ids = led_by_g1(&alone.store, 25).await;
    let healthy = VoteBatch { number: 2, votes: vec![(node("g1"), Opinion::Up)] };
    alone.store.votes_write(&alone.voter, &healthy).await.unwrap();
    Settler::new(alone.config(alone.store.clone())).start();
    alone.publish(1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(changes(&alone.store, &ids).await, vec![0; 25]);
    assert_eq!(calls(&alone.store, StoreOp::SettleCas), 0);
    let read = calls(&alone.store, StoreOp::SettleFacts);
    assert!((5..40).contains(&read), "it looks again now and then: {read} times in a minute");
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

/// Fails the second of the commits that one batch is made of, once.
struct FailsHalfway {
    inner: Arc<MemoryStore>,
    asked: AtomicU32,
}

impl SettleStore for FailsHalfway {
    fn settle_facts<'a>(&'a self, node: &'a NodeId, after: RepositoryId, limit: u32) -> Answer<'a, SettleSnapshot> {
        self.inner.settle_facts(node, after, limit)
    }
    fn settle_cas<'a>(&'a self, batch: &'a SettleBatch) -> Answer<'a, SettleOutcome> {
        match self.asked.fetch_add(1, Ordering::SeqCst) {
            1 => Box::pin(async { Err(StoreError::new(StoreOp::SettleCas, StoreErrorKind::Other)) }),
            _ => self.inner.settle_cas(batch),
        }
    }
}

#[actix::test]
async fn a_batch_that_failed_half_way_counts_what_it_committed() {
    let alone = Alone::new().await;
    let ids = led_by_g1(&alone.store, 10).await;
    // Half of them have nobody else who could lead them, and are demoted: two commits for two reasons.
    let mut settings = Settings::of(Profile::Default);
    settings.voter_ttl = Duration::from_secs(100_000);
    settings.without_candidate = WithoutCandidate::Demote;
    alone.store.settings_update(&settings).await.unwrap();
    for id in &ids[5..] {
        alone.store.foreign_generation(*id, Some(Generation(1)));
    }
    let store = Arc::new(FailsHalfway { inner: alone.store.clone(), asked: AtomicU32::new(0) });
    Settler::new(alone.config(store)).start();
    alone.publish(1);
    wait::until("it rests", LIMIT, || alone.progress().rests).await;
    assert_eq!(changes(&alone.store, &ids).await, vec![1; 10]);
    let known = alone.progress();
    assert_eq!((known.settled, known.batches), (10, 2), "what was committed before the failure is counted");
}
