//! What outlives the actor that writes it: watch cells, each with one writer and any number of readers.

use super::clock::MonotonicClock;
use crate::core::{
    consensus::Consensus,
    epoch::{Epoch, Revision},
    error_tracker::Trips,
    ids::{Incarnation, NodeId, ProcessToken, Voter},
    monitor::{SettingsInForce, Worry},
    penalty::Penalties,
    recusal::Distrust,
    reports::{Behind, Reported},
    settling::Progress,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::{Notify, watch};

/// Who is up, as this supervisor itself sees it.
pub type LocalView = Arc<BTreeSet<NodeId>>;

/// What one node's actor leaves to the next: a node that is out for its failing traffic stays out as long as it should,
/// though its actor died. A clone is the same cell.
#[derive(Debug, Clone)]
pub struct NodeCell {
    /// The clock that the times in it are of.
    pub(super) clock: MonotonicClock,
    trips: Arc<watch::Sender<Trips>>,
}

impl NodeCell {
    pub(super) fn trips(&self) -> Trips {
        *self.trips.borrow()
    }
    /// Nothing has tripped: the node is somewhere else now, or other limits hold.
    pub(crate) fn forget(&self) {
        self.keep(Trips::default());
    }
    pub(super) fn keep(&self, trips: Trips) {
        self.trips.send_if_modified(|kept| std::mem::replace(kept, trips) != trips);
    }
}

impl Default for NodeCell {
    /// Nothing has tripped.
    fn default() -> Self {
        Self { clock: MonotonicClock::new(), trips: Arc::new(watch::Sender::new(Trips::default())) }
    }
}

/// The cells of one supervisor.
#[derive(Debug)]
pub struct Cells {
    /// The last published consensus; `None` before the first.
    pub consensus: watch::Sender<Option<Arc<Consensus>>>,
    /// Who is up, as this supervisor itself sees it.
    pub local: watch::Sender<LocalView>,
    /// The registration that may act; `None` while there is none.
    pub voter: watch::Sender<Option<Voter>>,
    /// The settings in force.
    pub settings: watch::Sender<SettingsInForce>,
    /// Why the supervisor ended for good, if it did.
    pub ended: watch::Sender<Option<Worry>>,
    /// Why this supervisor abstains; `None`: it takes part.
    pub recused: watch::Sender<Option<Distrust>>,
    /// Which storages are penalised, as last read.
    pub penalties: watch::Sender<Penalties>,
    /// The database's last complaint; `None` while it answers.
    pub complaint: watch::Sender<Option<String>>,
    /// How far what dead nodes led has been settled, by node; nothing of a node that is not held down.
    pub settling: watch::Sender<Arc<BTreeMap<NodeId, Progress>>>,
    /// The highest epoch that nodes of this cluster report.
    pub reported: watch::Sender<Option<Reported>>,
    /// What nodes know that the database does not; `None`: nothing is known to be missing.
    pub behind: watch::Sender<Option<Behind>>,
    /// The highest report that the database is known to have reached.
    pub reached: watch::Sender<Option<Epoch>>,
    /// This process has just begun a new era.
    pub(crate) repaired: Notify,
    last_incarnation: watch::Sender<Option<Incarnation>>,
    ignored: watch::Sender<Vec<String>>,
    process: ProcessToken,
    attempts: watch::Sender<i64>,
}

impl Cells {
    /// Cells of a supervisor that has seen nothing yet.
    #[must_use]
    pub fn new(settings: SettingsInForce) -> Arc<Self> {
        Arc::new(Cells {
            consensus: watch::Sender::new(None),
            local: watch::Sender::new(LocalView::default()),
            voter: watch::Sender::new(None),
            settings: watch::Sender::new(settings),
            ended: watch::Sender::new(None),
            recused: watch::Sender::new(None),
            penalties: watch::Sender::new(Penalties::default()),
            complaint: watch::Sender::new(None),
            settling: watch::Sender::new(Arc::default()),
            reported: watch::Sender::new(None),
            behind: watch::Sender::new(None),
            reached: watch::Sender::new(None),
            repaired: Notify::new(),
            last_incarnation: watch::Sender::new(None),
            ignored: watch::Sender::new(Vec::new()),
            process: random_process(),
            attempts: watch::Sender::new(0),
        })
    }
    /// Takes the names of rows that count as nobody; answers those that the last read did not have.
    pub(super) fn ignored(&self, names: Vec<String>) -> Vec<String> {
        let before = self.ignored.send_replace(names);
        self.ignored.borrow().iter().filter(|name| !before.contains(name)).cloned().collect()
    }
    /// Who this process is to the database, for as long as it runs.
    pub(super) fn process(&self) -> &ProcessToken {
        &self.process
    }
    /// The number of the next registration. It outlives the HealthManager, so that none of its successors' is older.
    pub(super) fn next_attempt(&self) -> i64 {
        self.attempts.send_modify(|attempts| *attempts = attempts.saturating_add(1));
        *self.attempts.borrow()
    }
    /// The revision of the last published consensus.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.consensus.borrow().as_ref().map_or(Revision::default(), |consensus| consensus.revision)
    }
    /// The last incarnation of this process, which its next registration takes over.
    #[must_use]
    pub fn last_incarnation(&self) -> Option<Incarnation> {
        *self.last_incarnation.borrow()
    }
    pub(super) fn registered(&self, voter: Option<Voter>) {
        if let Some(voter) = &voter {
            self.last_incarnation.send_replace(Some(voter.incarnation));
        }
        self.voter.send_replace(voter);
    }
}

fn random_process() -> ProcessToken {
    match ProcessToken::new(uuid::Uuid::new_v4().to_string()) {
        Ok(token) => token,
        Err(error) => unreachable!("a uuid is a name: {error}"),
    }
}
