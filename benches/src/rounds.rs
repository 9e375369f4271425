//! Health rounds: a real HealthManager over a real store, fed what its node actors would report.
//!
//! A round ends when the manager has read everybody's votes back. Probes are not in it: they are the network's.

use crate::{
    Result,
    ground::{Ground, Kind, SUPERVISORS, node, postgres_at},
    proxy,
    sample::{Samples, Summary},
};
use actix::prelude::*;
use quorate::{
    actors::{Cells, HealthManager, HealthManagerConfig, Relay, WatchedNode},
    core::{
        consensus::Opinion,
        evidence::Evidence,
        ids::{NodeId, SupervisorName, Voter},
        monitor::SettingsInForce,
        settings::{Profile, Settings},
    },
    messages::{
        consensus::GetHealthConsensus,
        health::{NodeReport, RoundReport, Tick},
    },
    store::{
        Answer, HealthSnapshot, HealthStore, Heartbeat, Registered, Registration, StoredSettings, VoteBatch,
        VotesWritten,
    },
};
use serde::Serialize;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// What happens in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Story {
    /// Profile `praefect`: every node was probed, every row is stamped, everybody's votes are read.
    Praefect,
    /// Profile `default`, nothing changed: a heartbeat, and everybody's votes are read.
    AtRest,
    /// Profile `default`, one opinion changed: one vote is written, and everybody's votes are read.
    OneVote,
}

impl Story {
    /// All.
    pub const ALL: [Story; 3] = [Story::Praefect, Story::AtRest, Story::OneVote];

    /// What it is, in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Story::Praefect => "praefect: every row stamped",
            Story::AtRest => "default: at rest",
            Story::OneVote => "default: one vote changed",
        }
    }

    fn profile(self) -> Profile {
        match self {
            Story::Praefect => Profile::Praefect,
            Story::AtRest | Story::OneVote => Profile::Default,
        }
    }
}

/// What the store was asked.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    calls: u64,
    under_way: u64,
    reads: u64,
    votes: u64,
}

/// A store that counts.
struct Counted {
    inner: Arc<dyn HealthStore>,
    asked: watch::Sender<Asked>,
}

impl Counted {
    fn count<'a, T: Send + 'a>(&'a self, is_read: bool, answer: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            self.asked.send_modify(|asked| {
                asked.calls += 1;
                asked.under_way += 1;
            });
            let answer = answer.await;
            self.asked.send_modify(|asked| {
                asked.under_way -= 1;
                asked.reads += u64::from(is_read);
            });
            answer
        })
    }
}

impl HealthStore for Counted {
    fn settings_seed<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        self.count(false, self.inner.settings_seed(wanted))
    }
    fn settings_update<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        self.count(false, self.inner.settings_update(wanted))
    }
    fn supervisor_register<'a>(&'a self, registration: &'a Registration) -> Answer<'a, Registered> {
        self.count(false, self.inner.supervisor_register(registration))
    }
    fn supervisor_heartbeat<'a>(&'a self, voter: &'a Voter) -> Answer<'a, Heartbeat> {
        self.count(false, self.inner.supervisor_heartbeat(voter))
    }
    fn supervisor_recuse<'a>(
        &'a self,
        voter: &'a Voter,
        reason: Option<quorate::core::recusal::Distrust>,
    ) -> Answer<'a, bool> {
        self.count(false, self.inner.supervisor_recuse(voter, reason))
    }
    fn penalty_raise<'a>(
        &'a self,
        node: &'a NodeId,
        seen: Option<quorate::core::time::DatabaseTime>,
        lasting: Duration,
    ) -> Answer<'a, bool> {
        self.count(false, self.inner.penalty_raise(node, seen, lasting))
    }
    fn penalty_lift<'a>(&'a self, node: &'a NodeId) -> Answer<'a, bool> {
        self.count(false, self.inner.penalty_lift(node))
    }
    fn supervisor_remove<'a>(&'a self, voter: &'a Voter) -> Answer<'a, bool> {
        self.count(false, self.inner.supervisor_remove(voter))
    }
    fn nodes_watch<'a>(&'a self, voter: &'a Voter, nodes: &'a [NodeId]) -> Answer<'a, bool> {
        self.count(false, self.inner.nodes_watch(voter, nodes))
    }
    fn votes_write<'a>(&'a self, voter: &'a Voter, batch: &'a VoteBatch) -> Answer<'a, VotesWritten> {
        self.asked.send_modify(|asked| asked.votes += batch.votes.len() as u64);
        self.count(false, self.inner.votes_write(voter, batch))
    }
    fn epochs_given(&self) -> Answer<'_, quorate::core::epoch::Given> {
        self.count(false, self.inner.epochs_given())
    }
    fn era_raise<'a>(
        &'a self,
        seen: quorate::core::epoch::Era,
        reported: Option<quorate::core::epoch::Epoch>,
        why: &'a str,
    ) -> Answer<'a, quorate::core::epoch::Era> {
        self.count(false, self.inner.era_raise(seen, reported, why))
    }
    fn health_facts(&self) -> Answer<'_, HealthSnapshot> {
        self.count(true, self.inner.health_facts())
    }
}

/// One supervisor's HealthManager among others that vote, ready for rounds.
pub struct Manager {
    story: Story,
    nodes: Vec<NodeId>,
    address: Addr<HealthManager>,
    store: Arc<Counted>,
    ticks: u64,
    flipped: bool,
}

impl Manager {
    /// Starts it in the place of the last supervisor, registered and with all its votes written.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn start(story: Story, nodes: usize, inner: Arc<dyn HealthStore>) -> Result<Manager> {
        let store = Arc::new(Counted { inner, asked: watch::Sender::new(Asked::default()) });
        let stored = store.settings_seed(&Settings::of(story.profile())).await?;
        let nodes = (0..nodes).map(node).collect::<Result<Vec<NodeId>>>()?;
        let watched =
            |node: &NodeId| WatchedNode { node: node.clone(), probe: Relay::vacant(), round: Relay::vacant() };
        let config = HealthManagerConfig {
            recusal: quorate::core::recusal::Limits::default(),
            name: SupervisorName::new(format!("s{SUPERVISORS}"))?,
            address: None,
            heartbeat: None,
            store_timeout: Duration::from_secs(60),
            round_timeout: Duration::from_secs(60),
            store: store.clone(),
            cells: Cells::new(SettingsInForce { revision: stored.revision, settings: stored.settings }),
            nodes: nodes.iter().map(watched).collect(),
        };
        let address = HealthManager::new(config).start();
        let mut manager = Manager { story, nodes, address, store, ticks: 0, flipped: false };
        manager.address.send(Tick).await?;
        manager.ticks = 1;
        if story == Story::Praefect {
            // The first round is open already, but nothing is written before the registration's answer.
            manager.settled(|asked| asked.calls >= 2).await?;
        } else {
            manager.settled(|asked| asked.reads > 0).await?;
        }
        manager.report_all().await?;
        let all = manager.nodes.len() as u64;
        manager.settled(|asked| asked.votes >= all && asked.reads > 0).await?;
        Ok(manager)
    }

    async fn report_all(&self) -> Result<()> {
        for node in self.nodes.iter().cloned() {
            match self.story {
                Story::Praefect => {
                    let report =
                        RoundReport { round: self.ticks, node, opinion: Opinion::Up, evidence: Evidence::Serving };
                    self.address.send(report).await?;
                }
                Story::AtRest | Story::OneVote => self.report(node, Opinion::Up).await?,
            }
        }
        Ok(())
    }

    async fn report(&self, node: NodeId, opinion: Opinion) -> Result<()> {
        Ok(self.address.send(NodeReport { node, opinion, evidence: Evidence::Serving, host: None }).await?)
    }

    /// Waits until this holds and nothing is under way, and the manager has taken in the last answer.
    async fn settled(&self, holds: impl Fn(&Asked) -> bool) -> Result<()> {
        let mut asked = self.store.asked.subscribe();
        loop {
            let wait = asked.wait_for(|asked| holds(asked) && asked.under_way == 0);
            drop(tokio::time::timeout(Duration::from_secs(60), wait).await??);
            self.address.send(GetHealthConsensus).await?;
            if self.store.asked.borrow().under_way == 0 {
                return Ok(());
            }
        }
    }

    /// One round.
    ///
    /// # Errors
    /// If it does not end within a minute.
    pub async fn round(&mut self) -> Result<()> {
        let reads = self.store.asked.borrow().reads;
        match (self.story, self.nodes.first().cloned()) {
            (Story::Praefect, _) => {
                self.address.send(Tick).await?;
                self.ticks += 1;
                self.report_all().await?;
            }
            (Story::OneVote, Some(node)) => {
                self.flipped = !self.flipped;
                self.report(node, if self.flipped { Opinion::Down } else { Opinion::Up }).await?;
            }
            (Story::AtRest | Story::OneVote, _) => self.address.send(Tick).await?,
        }
        self.settled(|asked| asked.reads > reads).await
    }

    fn calls(&self) -> u64 {
        self.store.asked.borrow().calls
    }
}

/// What rounds of one kind cost.
#[derive(Debug, Clone, Serialize)]
pub struct RoundCost {
    /// The database.
    pub database: Kind,
    /// What happens.
    pub story: Story,
    /// How many nodes.
    pub nodes: usize,
    /// The time of one round.
    pub time: Summary,
    /// Calls of the store per round.
    pub calls: f64,
    /// Statements per round, as seen on the wire; `None` for SQLite, which has no wire.
    pub statements: Option<f64>,
    /// Rows inserted, updated or deleted per round, as the server counts them.
    pub rows: Option<f64>,
    /// Bytes per round to the server.
    pub sent: Option<f64>,
    /// Bytes per round from the server.
    pub received: Option<f64>,
    /// Bytes per round that reach the log of the database.
    pub log: f64,
}

/// A database where the other supervisors have voted, and a manager.
///
/// # Errors
/// Whatever the database says.
pub async fn scene(kind: Kind, story: Story, nodes: usize) -> Result<Ground> {
    let ground = Ground::new(kind, story.profile()).await?;
    ground.vote(nodes, |_, _| Opinion::Up).await?;
    // Nobody holds the last place: the manager takes it.
    ground.sql(&vacate()).await?;
    Ok(ground)
}

/// Takes the manager's predecessor away.
fn vacate() -> String {
    format!("DELETE FROM supervisors WHERE name = 's{SUPERVISORS}'")
}

/// Measures rounds: first their time, then, through a relay that counts, what they cost.
///
/// # Errors
/// Whatever the database says.
pub async fn measure(kind: Kind, story: Story, nodes: usize, rounds: u32) -> Result<RoundCost> {
    let ground = scene(kind, story, nodes).await?;
    let mut manager = Manager::start(story, nodes, ground.store()).await?;
    for _ in 0..(rounds / 10).max(2) {
        manager.round().await?;
    }
    let mut samples = Samples::default();
    let before = manager.calls();
    for _ in 0..rounds {
        let start = Instant::now();
        manager.round().await?;
        samples.push(start.elapsed());
    }
    let per = |count: u64| count as f64 / f64::from(rounds);
    let (calls, time) = (per(manager.calls() - before), samples.summary());
    let mut cost = RoundCost {
        database: kind,
        story,
        nodes,
        time,
        calls,
        statements: None,
        rows: None,
        sent: None,
        received: None,
        log: 0.0,
    };
    match kind {
        Kind::SQLite => cost.log = sqlite_log(&ground, &mut manager).await?,
        Kind::PostgreSQL => {
            let ground = scene(kind, story, nodes).await?;
            let (url, passed) = proxy::before(ground.url()).await?;
            let store = Arc::new(postgres_at(&url).await?);
            let mut manager = Manager::start(story, nodes, Arc::clone(&store) as Arc<dyn HealthStore>).await?;
            manager.round().await?;
            let raw = ground.raw().await;
            let log = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
            let rows = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables";
            let (log_before, before) = (raw.query_one(log, &[]).await?.get::<_, i64>(0), passed.counts());
            for _ in 0..rounds {
                manager.round().await?;
            }
            let (log_after, after) = (raw.query_one(log, &[]).await?.get::<_, i64>(0), passed.counts());
            let [sent, received, statements, _] = [0, 1, 2, 3].map(|i| after[i] - before[i]);
            cost.log = per(u64::try_from(log_after - log_before)?);
            (cost.sent, cost.received, cost.statements) = (Some(per(sent)), Some(per(received)), Some(per(statements)));
            // A session tells the server's statistics when it ends, the rounds before included: so twice as many rounds
            // are run, and the difference of two sessions is taken.
            store.disconnect();
            tokio::time::sleep(Duration::from_millis(200)).await;
            let first = raw.query_one(rows, &[]).await?.get::<_, i64>(0);
            // Twice within a minute nobody may take a name from the living.
            ground.sql(&vacate()).await?;
            let store = Arc::new(postgres_at(ground.url()).await?);
            let mut manager = Manager::start(story, nodes, Arc::clone(&store) as Arc<dyn HealthStore>).await?;
            manager.round().await?;
            store.disconnect();
            tokio::time::sleep(Duration::from_millis(200)).await;
            let start = raw.query_one(rows, &[]).await?.get::<_, i64>(0) - first;
            // Twice within a minute nobody may take a name from the living.
            ground.sql(&vacate()).await?;
            let store = Arc::new(postgres_at(ground.url()).await?);
            let mut manager = Manager::start(story, nodes, Arc::clone(&store) as Arc<dyn HealthStore>).await?;
            for _ in 0..=rounds {
                manager.round().await?;
            }
            store.disconnect();
            tokio::time::sleep(Duration::from_millis(200)).await;
            let all = raw.query_one(rows, &[]).await?.get::<_, i64>(0) - first - start;
            cost.rows = Some(per(u64::try_from((all - start).max(0))?));
        }
    }
    Ok(cost)
}

/// What one round adds to a log that was empty.
async fn sqlite_log(ground: &Ground, manager: &mut Manager) -> Result<f64> {
    ground.sql("PRAGMA wal_checkpoint(TRUNCATE)").await?;
    manager.round().await?;
    let mut log = ground.file().into_os_string();
    log.push("-wal");
    Ok(std::fs::metadata(log)?.len() as f64)
}
