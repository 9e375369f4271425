//! Settles what a dead node led before anybody asks for it: in sets, bounded and paced.
//!
//! Nobody waits for it. A lookup elects by itself what it finds due, and whichever of the two commits first, the other
//! loses the repository and reads again; rows that somebody holds are passed over and come again. Of several supervisors
//! one settles a virtual storage at a time, which the database sees to; the others wait and look again, so that another
//! goes on if that one dies.
//!
//! What it goes by is the watch cell of the consensus, never its mailbox, of which it has none to speak of; whether a node
//! is down is decided by the facts of each batch. It remembers where it stands in each walk and nothing else: one that is
//! built anew begins anew and finds what is left. At rest it waits for the cells and asks the database nothing.
//!
//! While a batch is committed the next one is read: a commit is one processor of the database's and a wait for its disk,
//! and the facts, a third of the work, hide behind both. More than one batch at once was rejected: two commits of one
//! supervisor would wait for each other's lock, and what lookups are left would be less.

use super::{
    cells::Cells,
    clock::MonotonicClock,
    elector::asked::{BehindCell, ConfiguredNodes, commit, decision_id, seed},
};
use crate::{
    core::{
        consensus::Consensus,
        epoch::Revision,
        ids::{NodeId, RepositoryId, VirtualStorage, Voter},
        quorum::Verdict,
        settling::{self, Ahead, Batch, Next, Pace, Progress, ReadAhead, Settlement, Settling, Turn},
    },
    store::{SettleBatch, SettleOutcome, SettleSnapshot, SettleStore, StoreError, StoreErrorKind, StoreOp},
    telemetry::{self, Meter},
};
use actix::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// How long lookups have the rows to themselves: whoever is written to all the time is asked for within this.
const HEAD_START: Duration = Duration::from_millis(200);
/// Pause before something is tried again, and the longest one: a row that is held, another supervisor at work, a
/// database that does not answer. The longest is how late another supervisor goes on where one has died.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Unreadable repositories that are told of, each once, as long as the settler lives; the rest are counted only.
const TOLD_MAX: usize = 1_000;

/// How far the settler has come with each dead node.
pub type SettleProgress = Arc<BTreeMap<NodeId, Progress>>;

/// What a settler is built from, as often as need be.
#[derive(Clone)]
pub struct SettlerConfig {
    /// The database.
    pub store: Arc<dyn SettleStore>,
    /// The consensus, and whether this supervisor may act.
    pub cells: Arc<Cells>,
    /// The virtual storages that are configured here.
    pub nodes: ConfiguredNodes,
    /// The most repositories of one batch.
    pub batch: u32,
    /// The pause between two batches.
    pub pause: Duration,
    /// How long the database may take to answer.
    pub timeout: Duration,
    /// Draws the identity of a decision, and what spreads successors and pauses.
    pub lot: fn() -> u128,
    /// Who hears the metrics.
    pub meter: Meter,
}

/// The actor.
pub struct Settler {
    config: SettlerConfig,
}

impl Settler {
    /// A settler that begins anew.
    #[must_use]
    pub fn new(config: SettlerConfig) -> Self {
        Self { config }
    }
}

impl Actor for Settler {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        let config = self.config.clone();
        ctx.spawn(async move { config.settle().await }.into_actor(self));
    }
}

/// What a settler remembers of its walks beside where they stand.
struct Memory {
    clock: MonotonicClock,
    ahead: Ahead<SettleSnapshot>,
    /// Repositories that cannot be read, of which it was told.
    unreadable: BTreeSet<RepositoryId>,
}

/// The cells that wake it.
struct Woken {
    consensus: watch::Receiver<Option<Arc<Consensus>>>,
    voter: watch::Receiver<Option<Voter>>,
    complaint: watch::Receiver<Option<String>>,
    behind: BehindCell,
}

impl Woken {
    /// Waits for a change of any of them.
    async fn changed(&mut self) {
        // The senders live in the cells, which the config keeps.
        tokio::select! {
            _ = self.consensus.changed() => {}
            _ = self.voter.changed() => {}
            _ = self.complaint.changed() => {}
            _ = self.behind.changed() => {}
        }
    }
}

impl SettlerConfig {
    async fn settle(&self) {
        let mut walks = Settling::new(Pace { head_start: HEAD_START, pause: self.pause, retry: RETRY });
        let clock = MonotonicClock::new();
        let mut memory = Memory { clock, ahead: Ahead::new(self.pause), unreadable: BTreeSet::new() };
        let mut told = BTreeMap::new();
        let mut woken = Woken {
            consensus: self.cells.consensus.subscribe(),
            voter: self.cells.voter.subscribe(),
            complaint: self.cells.complaint.subscribe(),
            behind: self.cells.behind.subscribe(),
        };
        loop {
            let (revision, down) = self.down(&mut woken);
            let (ended, begun) = walks.observe(clock.now(), revision, &down);
            begun.iter().for_each(telemetry::settling_begins);
            ended.iter().for_each(telemetry::settling_ended);
            self.publish(&walks, &mut told);
            let next = if self.may_act(&mut woken) { walks.next(clock.now()) } else { Next::Rest };
            match next {
                Next::Rest => {
                    memory.ahead.clear();
                    woken.changed().await;
                }
                Next::At(due) => {
                    let _ = timeout(due.since(clock.now()), woken.changed()).await;
                }
                Next::Batch(node, after) => {
                    let began = Instant::now();
                    let turn = self.turn(&node, after, &mut memory).await;
                    let took = began.elapsed();
                    memory.ahead.took(took);
                    self.meter.settle_batch(took);
                    if let Some(end) = walks.done(clock.now(), &node, turn, took, self.draw()) {
                        telemetry::settling_ended(&end);
                    }
                }
            }
        }
    }

    /// The nodes of our virtual storages that the quorum holds down.
    fn down(&self, woken: &mut Woken) -> (Revision, BTreeSet<NodeId>) {
        let Some(consensus) = woken.consensus.borrow_and_update().clone() else { return Default::default() };
        let down = consensus.nodes.iter().filter(|(_, known)| known.verdict == Verdict::Unhealthy);
        let ours = down.filter(|(node, _)| self.nodes.has(&node.virtual_storage));
        (consensus.revision, ours.map(|(node, _)| node.clone()).collect())
    }

    /// Whether this supervisor is registered, and the database answers and is not behind its nodes.
    fn may_act(&self, woken: &mut Woken) -> bool {
        let registered = woken.voter.borrow_and_update().is_some();
        let answers = woken.complaint.borrow_and_update().is_none();
        let abreast = woken.behind.borrow_and_update().is_none();
        registered && answers && abreast && self.cells.ended.borrow().is_none()
    }

    fn publish(&self, walks: &Settling, told: &mut BTreeMap<VirtualStorage, u32>) {
        let now = walks.progress();
        let walking = now.iter().filter(|(_, progress)| !progress.rests);
        self.meter.settling(walking.map(|(node, _)| node.virtual_storage.clone()), told);
        self.cells.settling.send_if_modified(|before| {
            let differs = **before != now;
            if differs {
                *before = Arc::new(now);
            }
            differs
        });
    }

    fn draw(&self) -> u64 {
        seed((self.lot)())
    }

    /// One batch: read unless that was done ahead, decided and committed. Each repository that cannot be read is told once.
    async fn turn(&self, node: &NodeId, after: RepositoryId, memory: &mut Memory) -> Turn {
        let Some(voter) = self.cells.voter.borrow().clone() else { return Turn::NotNow };
        let Memory { clock, ahead, unreadable: told } = memory;
        let read = match ahead.take(clock.now(), node, after) {
            Some(known) => Ok(known),
            None => self.read(node, after).await,
        };
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                telemetry::settling_failed(node, &error);
                return Turn::Failed { settled: 0 };
            }
        };
        for (repository, why) in &read.facts.unreadable {
            if told.len() < TOLD_MAX && told.insert(*repository) {
                telemetry::settling_unreadable(node, *repository, why);
            }
        }
        let batch = settling::decide(&read.facts, &read.settings.settings, &voter, self.draw());
        if batch.read > 0 && (batch.verdict != Verdict::Unhealthy || batch.waits.is_some()) {
            return Turn::NotNow;
        }
        let next = self.read_ahead(node, ahead.next(&batch), *clock);
        let (turn, next) = tokio::join!(self.commit(&read, &batch, &voter), next);
        ahead.keep(node, &turn, next);
        turn
    }

    async fn read(&self, node: &NodeId, after: RepositoryId) -> Result<SettleSnapshot, StoreError> {
        let answer = timeout(self.timeout, self.store.settle_facts(node, after, self.batch)).await;
        answer.unwrap_or_else(|elapsed| Err(silent(StoreOp::SettleFacts, elapsed)))
    }

    /// The facts of the next batch. If they cannot be read it says so when it is due.
    async fn read_ahead(
        &self,
        node: &NodeId,
        after: Option<RepositoryId>,
        clock: MonotonicClock,
    ) -> Option<ReadAhead<SettleSnapshot>> {
        let (after, asked) = (after?, clock.now());
        let facts = self.read(node, after).await.ok()?;
        Some(ReadAhead { after, asked, decision_ttl: facts.settings.settings.decision_ttl, facts })
    }

    async fn commit(&self, read: &SettleSnapshot, batch: &Batch, voter: &Voter) -> Turn {
        let (mut settled, mut proposed) = (0_u64, 0_u64);
        for settlement in &batch.due {
            if self.cells.behind.borrow().is_some() {
                return Turn::Failed { settled };
            }
            let Some(proposal) = proposal(read, batch, settlement, voter, (self.lot)()) else {
                return Turn::Failed { settled };
            };
            let answer = timeout(self.timeout, commit(|| self.store.settle_cas(&proposal))).await;
            proposed = proposed.saturating_add(len(settlement.repositories.len()));
            match answer.unwrap_or_else(|elapsed| Err(silent(StoreOp::SettleCas, elapsed))) {
                Ok(SettleOutcome::Done(won)) => settled = settled.saturating_add(len(won.len())),
                Ok(SettleOutcome::Busy) if settled == 0 => return Turn::Busy,
                Ok(SettleOutcome::Busy | SettleOutcome::EraChanged) => {}
                Err(error) => {
                    telemetry::settling_failed(&read.facts.node, &error);
                    return Turn::Failed { settled };
                }
            }
        }
        Turn::Done {
            until: batch.until,
            settled,
            lost: proposed.saturating_sub(settled),
            without_candidate: len(batch.without_candidate),
            unreadable: len(read.facts.unreadable.len()),
        }
    }
}

/// A settlement to be committed, with what it rests on.
fn proposal(
    read: &SettleSnapshot,
    batch: &Batch,
    settlement: &Settlement,
    proposer: &Voter,
    lot: u128,
) -> Option<SettleBatch> {
    let facts = &read.facts;
    let evidence = serde_json::json!({
        "settled": settlement.repositories.len(),
        "shares": settlement.shares,
        "refused": settlement.refused,
        "verdicts": batch.verdicts,
        "votes": facts.votes,
    });
    Some(SettleBatch {
        decision: decision_id(lot).ok()?,
        node: facts.node.clone(),
        era: facts.era,
        at: facts.at,
        proposer: proposer.clone(),
        why: settlement.why.as_str().to_owned(),
        evidence: evidence.to_string(),
        repositories: settlement.repositories.clone(),
    })
}

fn silent(op: StoreOp, elapsed: tokio::time::error::Elapsed) -> StoreError {
    StoreError::with_source(op, StoreErrorKind::Timeout, elapsed)
}

fn len(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Settler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settler").field("config", &self.config).finish()
    }
}
impl std::fmt::Debug for SettlerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SettlerConfig").field("batch", &self.batch).field("pause", &self.pause).finish_non_exhaustive()
    }
}
