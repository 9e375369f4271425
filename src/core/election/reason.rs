//! Every reason that a decision can give, so that it can explain itself in a log, a row and a metric.

use crate::core::{epoch::Epoch, ids::Storage};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a recorded primary may not stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is none.
    NoneRecorded,
    /// The quorum holds it to be down.
    Unhealthy,
    /// Its replica is behind the repository.
    Outdated,
    /// Its replica's row is gone.
    ReplicaGone,
    /// Its replica is to be deleted.
    Marked,
    /// It is not assigned, and an assigned candidate exists.
    Unassigned,
    /// Its storage's priority became 0, and another candidate exists.
    NeverPrimary,
    /// Its storage is draining, and a candidate exists that is not.
    Draining,
    /// Of a whole virtual storage: its storage is configured no more.
    NotConfigured,
}

impl Reason {
    /// The name, as stored and as a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NoneRecorded => "none_recorded",
            Reason::Unhealthy => "unhealthy",
            Reason::Outdated => "outdated",
            Reason::ReplicaGone => "replica_gone",
            Reason::Marked => "marked",
            Reason::Unassigned => "unassigned",
            Reason::NeverPrimary => "never_primary",
            Reason::Draining => "draining",
            Reason::NotConfigured => "not_configured",
        }
    }
}

/// Why a replica is no candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The quorum holds its storage to be down.
    Unhealthy,
    /// The quorum has no verdict about its storage.
    Undecided,
    /// It is behind the repository.
    Outdated,
    /// It is to be deleted.
    Marked,
    /// Its storage has priority 0.
    NeverPrimary,
}

/// What stands when nobody may become primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoCandidate {
    /// No primary is recorded.
    NeverElected,
    /// The recorded primary is held to be down.
    PrimaryNotHealthy {
        /// The recorded primary.
        storage: Storage,
        /// Its epoch.
        epoch: Option<Epoch>,
    },
    /// The recorded primary's replica is behind or gone.
    PrimaryOutdated {
        /// The recorded primary.
        storage: Storage,
        /// Its epoch.
        epoch: Option<Epoch>,
    },
    /// The recorded primary's replica is to be deleted: a write to it would be lost.
    PrimaryMarked {
        /// The recorded primary.
        storage: Storage,
        /// Its epoch.
        epoch: Option<Epoch>,
    },
}

/// Why a supervisor must leave a due change alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// It is not registered (yet, or any more).
    NotRegistered,
    /// A newer process of its name is registered.
    Superseded,
    /// It was silent for longer than the voter time.
    Lapsed,
    /// It does not trust itself.
    Recused,
    /// After an outage the first to return must not rule alone: too few are live, and somebody has just registered.
    OthersMayReturn,
    /// The primary of this virtual storage was elected less than `vote_ttl` ago.
    TooSoon,
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WaitReason::NotRegistered => "this supervisor is not registered",
            WaitReason::Superseded => "a newer process has this supervisor's name",
            WaitReason::Lapsed => "this supervisor was silent for longer than voter_ttl",
            WaitReason::Recused => "this supervisor abstains",
            WaitReason::OthersMayReturn => "most supervisors are not back yet",
            WaitReason::TooSoon => "the last election of this virtual storage was less than vote_ttl ago",
        })
    }
}
