//! A settler without the rest of a supervisor: its cells are the test's.

use crate::{
    settling::{calls, changes, led_by_g1},
    world::{LIMIT, ms, name, node, storage, vs},
};
use actix::Actor;
use quorate::{
    actors::{Cells, ChildSpec, ConfiguredNodes, ElectorConfig, Guardian, NodeNames, Settler, SettlerConfig},
    core::{
        consensus::{Consensus, NodeConsensus, Opinion},
        epoch::{Generation, Revision},
        ids::{NodeId, RepositoryId, Voter},
        monitor::SettingsInForce,
        quorum::{Tally, Verdict},
        settings::{Profile, Settings, WithoutCandidate},
        settling::Progress,
    },
    messages::control::GetRestarts,
    store::{
        Answer, HealthStore, Registered, Registration, SettleBatch, SettleOutcome, SettleSnapshot, SettleStore,
        StoreError, StoreErrorKind, StoreOp, VoteBatch, memory::MemoryStore,
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

/// The settler's world.
struct Alone {
    store: Arc<MemoryStore>,
    cells: Arc<Cells>,
    voter: Voter,
}

/// Does something odd when one thing is asked of it for the second time, once.
struct Odd {
    inner: Arc<MemoryStore>,
    /// Panics by it, or fails by it.
    op: StoreOp,
    asked: AtomicU32,
}

impl Odd {
    fn by(op: StoreOp, inner: &Arc<MemoryStore>) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), op, asked: AtomicU32::new(0) })
    }
    fn second(&self, op: StoreOp) -> bool {
        self.op == op && self.asked.fetch_add(1, Ordering::SeqCst) == 1
    }
}

impl SettleStore for Odd {
    fn settle_facts<'a>(&'a self, node: &'a NodeId, after: RepositoryId, limit: u32) -> Answer<'a, SettleSnapshot> {
        assert!(!self.second(StoreOp::SettleFacts), "as ordered");
        self.inner.settle_facts(node, after, limit)
    }
    fn settle_cas<'a>(&'a self, batch: &'a SettleBatch) -> Answer<'a, SettleOutcome> {
        if self.second(StoreOp::SettleCas) {
            return Box::pin(async { Err(StoreError::new(StoreOp::SettleCas, StoreErrorKind::Other)) });
        }
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
        self.publish_down(revision, &["g1"]);
    }

    fn publish_down(&self, revision: u64, names: &[&str]) {
        let known = NodeConsensus { verdict: Verdict::Unhealthy, tally: Tally::default() };
        let nodes = names.iter().map(|name| (node(name), known.clone())).collect();
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
    let config = alone.config(Odd::by(StoreOp::SettleFacts, &alone.store));
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

/// As where the node leads few of very many: some reads find one, some none, and there is more behind them.
#[actix::test]
async fn a_walk_goes_on_where_it_found_little_or_nothing() {
    let alone = Alone::new().await;
    alone.store.look_at_once(4);
    let ids = led_by_g1(&alone.store, 40).await;
    let its = [2, 3, 21, 39];
    for id in ids.iter().enumerate().filter(|(number, _)| !its.contains(number)).map(|(_, id)| *id) {
        alone.store.foreign_primary(id, Some(storage("g2")));
    }
    let before = changes(&alone.store, &ids).await;
    Settler::new(alone.config(alone.store.clone())).start();
    alone.publish(1);
    wait::until("it rests", LIMIT, || alone.progress().rests).await;
    let settled: Vec<usize> = (0..40).filter(|number| its.contains(number)).collect();
    let after = changes(&alone.store, &ids).await;
    let changed: Vec<usize> = (0..40).filter(|number| after[*number] > before[*number]).collect();
    assert_eq!(changed, settled);
    assert_eq!(alone.progress().settled, 4);
}

#[actix::test]
async fn two_walks_in_turn_read_each_batch_once() {
    let alone = Alone::new().await;
    let votes = VoteBatch { number: 2, votes: vec![(node("g2"), Opinion::Down)] };
    alone.store.votes_write(&alone.voter, &votes).await.unwrap();
    for (number, id) in led_by_g1(&alone.store, 50).await.into_iter().enumerate().filter(|(number, _)| number % 2 == 0)
    {
        assert!(alone.store.foreign_primary(id, Some(storage("g2"))).is_some(), "r{number}");
    }
    Settler::new(alone.config(alone.store.clone())).start();
    alone.publish_down(1, &["g1", "g2"]);
    let settled = || alone.cells.settling.borrow().clone();
    wait::until("both rest", LIMIT, || settled().len() == 2 && settled().values().all(|walk| walk.rests)).await;
    assert!(settled().values().all(|walk| (walk.settled, walk.batches) == (25, 3)), "{:?}", settled());
    assert_eq!(calls(&alone.store, StoreOp::SettleFacts), 6);
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
    Settler::new(alone.config(Odd::by(StoreOp::SettleCas, &alone.store))).start();
    alone.publish(1);
    wait::until("it rests", LIMIT, || alone.progress().rests).await;
    assert_eq!(changes(&alone.store, &ids).await, vec![1; 10]);
    let known = alone.progress();
    assert_eq!((known.settled, known.batches), (10, 2), "what was committed before the failure is counted");
}
