//! What passes through the port.

use crate::core::{
    consensus::{HealthFacts, Opinion},
    election::{ElectionFacts, Fence},
    epoch::{Epoch, Era, FactsVersion, Revision},
    ids::{
        ClusterId, DecisionId, Incarnation, NodeId, ProcessToken, RelativePath, RepositoryId, Storage, SupervisorName,
        VirtualStorage, Voter,
    },
    penalty::Penalty,
    settings::Settings,
    time::{Age, DatabaseTime},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The settings row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSettings {
    /// The cluster's random identity.
    pub cluster: ClusterId,
    /// Grows by one per change.
    pub revision: Revision,
    /// The settings in force.
    pub settings: Settings,
}

/// A supervisor that wants to vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Its stable name.
    pub name: SupervisorName,
    /// The incarnation this same process had before, if any: taking its own place is no takeover, and whoever
    /// registered after that is its successor.
    pub previous: Option<Incarnation>,
    /// Which process asks: it finds its own registration again, even if the answer to that was lost.
    pub process: ProcessToken,
    /// The number of this registration among the process's own, growing from 1: one that lands late, after a later one,
    /// changes nothing.
    pub attempt: i64,
    /// Where it listens, for those who read the table.
    pub address: Option<String>,
    /// Its version, for those who read the table.
    pub version: String,
    /// The nodes it watches.
    pub nodes: Vec<NodeId>,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Registered {
    /// It votes under this incarnation from now on.
    Registered {
        /// The new incarnation.
        incarnation: Incarnation,
        /// The database's time of the heartbeat.
        at: DatabaseTime,
    },
    /// Refused: the live holder of the name took it from a live one less than 60 s ago. Nothing was changed.
    NameInUse {
        /// The holder.
        held_by: Incarnation,
    },
    /// Refused: a newer process has taken the name from this one, or this is an older registration of this process than
    /// the one in force. Nothing was changed.
    Superseded {
        /// Whose the name is.
        by: Incarnation,
    },
}

/// What became of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Heartbeat {
    /// It was stamped.
    Alive {
        /// The database's time of the stamp.
        at: DatabaseTime,
        /// The settings' revision.
        settings_revision: Revision,
    },
    /// The last one is older than `voter_ttl`: register anew. Nothing was changed.
    Lapsed,
    /// The row is gone: register anew.
    Gone,
    /// A newer process has the name: stop voting.
    Superseded {
        /// Its incarnation.
        by: Incarnation,
    },
}

/// Votes of one supervisor, in one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoteBatch {
    /// The batch's number, growing within an incarnation, so that writes that overtake each other do no harm (D27).
    pub number: i64,
    /// The votes, at most one per node.
    pub votes: Vec<(NodeId, Opinion)>,
}

/// What became of a batch of votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum VotesWritten {
    /// Stored, except for what a later batch had stored already.
    Written {
        /// How many opinions changed; 0 notifies nobody.
        changed: u32,
    },
    /// The incarnation is not the registered one. Nothing was changed.
    NotMine,
}

/// What one read says about everybody's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSnapshot {
    /// The database's time of the read.
    pub at: DatabaseTime,
    /// The settings in force.
    pub settings: StoredSettings,
    /// Votes and supervisors.
    pub facts: HealthFacts,
    /// The last penalty of each storage; those that ended are among them.
    pub penalties: BTreeMap<NodeId, Penalty>,
    /// Names of supervisors' rows that nobody of us can have written; they count as nobody.
    pub ignored: Vec<String>,
}

/// What one read says about one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionSnapshot {
    /// The facts.
    pub facts: ElectionFacts,
    /// The settings in force.
    pub settings: StoredSettings,
}

/// What must not have moved since the facts were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The epoch seen; `None` is seen, too.
    pub epoch: Option<Epoch>,
    /// The era seen.
    pub era: Era,
    /// The facts version seen.
    pub facts_version: FactsVersion,
    /// When the facts were read.
    pub at: DatabaseTime,
}

/// A decision to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Made by the proposer, so that a retry finds its own.
    pub decision: DecisionId,
    /// The repository.
    pub repository: RepositoryId,
    /// Its virtual storage. Told to metrics; the repository's row alone decides.
    pub virtual_storage: VirtualStorage,
    /// The primary that goes; `None` if none is recorded. Told to metrics; `expected` alone decides.
    pub from: Option<Storage>,
    /// What it rests on.
    pub expected: Expected,
    /// The new primary; `None` demotes.
    pub to: Option<Storage>,
    /// Who proposes.
    pub proposer: Voter,
    /// Why, in one word.
    pub why: String,
    /// Votes, candidates and why each lost, as JSON.
    pub evidence: String,
}

/// What became of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CasOutcome {
    /// Committed, under this epoch.
    Won {
        /// The new epoch.
        #[serde(with = "super::types::raw_epoch")]
        epoch: Epoch,
    },
    /// Something had moved. Nothing was changed: read again.
    Lost,
    /// The database is not the one the era was recorded for. Nothing was changed: read again.
    EraChanged,
}

/// Epochs in their database form.
pub(crate) mod raw_epoch {
    use crate::core::epoch::Epoch;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(epoch: &Epoch, serializer: S) -> Result<S::Ok, S::Error> {
        epoch.to_i64().serialize(serializer)
    }
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Epoch, D::Error> {
        Epoch::from_i64(i64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// One change of a repository's primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrimaryChange {
    /// The epoch it began.
    pub epoch: Epoch,
    /// Who was primary.
    pub previous: Option<Storage>,
    /// Who is.
    pub current: Option<Storage>,
    /// How long ago.
    pub age: Age,
    /// Why, in one word; `None` for a foreign writer.
    pub why: Option<String>,
    /// Who proposed it; `None` for a foreign writer.
    pub supervisor: Option<SupervisorName>,
    /// The decision's evidence, as JSON; `None` for a foreign writer.
    pub evidence: Option<String>,
}

/// A repository to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRepository {
    /// Its virtual storage.
    pub virtual_storage: VirtualStorage,
    /// The path that clients know.
    pub relative_path: RelativePath,
    /// Its path on disk; `None`: the relative path.
    pub replica_path: Option<String>,
    /// An id to use; `None`: the next of the sequence.
    pub id: Option<RepositoryId>,
    /// The storages that hold a replica from the start.
    pub replicas: Vec<Storage>,
    /// The primary to record, under a new epoch; `None`: the first lookup elects one.
    pub primary: Option<Storage>,
    /// The storages to assign; empty: every configured one, without rows.
    pub assignments: Vec<Storage>,
}

impl NewRepository {
    /// A repository at this path, with replicas on these storages, nothing assigned and no primary yet.
    #[must_use]
    pub fn new(virtual_storage: VirtualStorage, relative_path: RelativePath, replicas: Vec<Storage>) -> Self {
        NewRepository {
            virtual_storage,
            relative_path,
            replica_path: None,
            id: None,
            replicas,
            primary: None,
            assignments: Vec::new(),
        }
    }
}

/// A repository that was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// Its id, never given before.
    pub repository: RepositoryId,
    /// The epoch of its primary, if one was recorded.
    pub epoch: Option<Epoch>,
}

/// A repository that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Its path on disk.
    pub replica_path: Option<String>,
    /// Where replicas were, in order of name.
    pub storages: Vec<Storage>,
}

/// The repositories of one virtual storage that one storage leads, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoriesCount {
    /// The virtual storage.
    pub virtual_storage: VirtualStorage,
    /// Their recorded primary; `None`: those without one.
    pub primary: Option<Storage>,
    /// How many there are.
    pub repositories: u64,
    /// How many of them nobody could lead: no replica is on a healthy storage, up to date and not to be deleted.
    pub unavailable: u64,
}

/// The outcome of an operation on a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was done.
    Done(T),
    /// There is no such repository. Nothing was changed.
    NotFound,
    /// The fence is not the repository's. Nothing was changed.
    Stale(Current),
    /// The database is not the one the era was recorded for. Nothing was changed: try again.
    EraChanged,
    /// A rule forbids it. Nothing was changed.
    Refused(Refused),
}

impl<T> Outcome<T> {
    /// Changes what was done.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Outcome::Done(done) => Outcome::Done(change(done)),
            Outcome::NotFound => Outcome::NotFound,
            Outcome::Stale(current) => Outcome::Stale(current),
            Outcome::EraChanged => Outcome::EraChanged,
            Outcome::Refused(why) => Outcome::Refused(why),
        }
    }
}

/// Under whom a repository is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Its epoch.
    pub epoch: Option<Epoch>,
    /// Its primary.
    pub primary: Option<Storage>,
}

impl Current {
    /// Whether a fence is this.
    #[must_use]
    pub fn admits(&self, fence: &Fence) -> bool {
        self.epoch == Some(fence.epoch) && self.primary.as_ref() == Some(&fence.primary)
    }
}

/// Why an operation was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// No participant (with a fence: not the primary) was on the repository's generation.
    OutdatedNodes,
    /// The primary is not among those that acknowledged.
    PrimaryNotAcknowledged,
    /// There is no such replica.
    ReplicaNotFound,
    /// The storage is the recorded primary.
    IsPrimary,
    /// Another replica of the repository is marked for deletion.
    DeletionPending,
    /// The path belongs to another repository.
    PathTaken,
    /// The id belongs to another repository.
    IdTaken,
    /// Something changed since the facts were read.
    FactsMoved,
    /// Only profile `praefect` has the unfenced form.
    FenceRequired,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Refused::OutdatedNodes => "write to outdated nodes",
            Refused::PrimaryNotAcknowledged => "the primary is not among those that acknowledged",
            Refused::ReplicaNotFound => "there is no such replica",
            Refused::IsPrimary => "the storage is the recorded primary",
            Refused::DeletionPending => "another replica is marked for deletion",
            Refused::PathTaken => "the path belongs to another repository",
            Refused::IdTaken => "the id belongs to another repository",
            Refused::FactsMoved => "the repository changed since it was read",
            Refused::FenceRequired => "an epoch and its primary are required",
        })
    }
}

/// A change of what operators say of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StorageChange {
    /// Higher is preferred, 0 means never primary.
    pub priority: Option<i32>,
    /// Whether it is being emptied of primaries.
    pub draining: Option<bool>,
}
