//! The public error: one variant for each thing that a caller treats differently.
//!
//! Each says whether asking again may help and which gRPC code stands for it. Praefect reports "no healthy primary
//! right now" as Internal (defect M); a client cannot tell that from a bug.

use crate::{
    config::ConfigError,
    core::{
        assignment::InvalidReplicationFactor,
        election::WaitReason,
        epoch::Epoch,
        ids::{Incarnation, NodeId, Storage, VirtualStorage},
        reports::Behind,
    },
    store::{Current, Refused, StoreError, StoreErrorKind},
};
use std::time::Duration;

/// What can go wrong. Unless a variant says otherwise nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration has problems; all are told. Nothing was started.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The virtual storage is not configured here.
    #[error("virtual storage {0:?} does not exist")]
    VirtualStorageNotFound(VirtualStorage),
    /// The node is not configured here.
    #[error("node {0} is not configured here")]
    NodeNotFound(NodeId),
    /// There is no such repository.
    #[error("repository not found")]
    RepositoryNotFound,
    /// No primary was ever elected, or it was demoted, and nobody may become primary now.
    #[error("no primary")]
    NoPrimary,
    /// The recorded primary is held to be down and nobody else may become primary. It stays recorded.
    #[error("primary {storage} is not healthy")]
    PrimaryNotHealthy {
        /// The recorded primary.
        storage: Storage,
        /// Its epoch.
        epoch: Option<Epoch>,
    },
    /// The recorded primary's replica is behind, gone or to be deleted, and nobody else may become primary. An operator
    /// may accept the loss by name (`authoritative_set`).
    #[error("primary {storage} is not up to date")]
    PrimaryOutdated {
        /// The recorded primary.
        storage: Storage,
        /// Its epoch.
        epoch: Option<Epoch>,
    },
    /// Each repository has a primary of its own here (`failover.election_strategy = "per_repository"`), and a virtual
    /// storage as a whole has none: ask for the repository's.
    #[error("virtual storage {0:?} has a primary for each repository, and none of its own")]
    PrimaryPerRepository(VirtualStorage),
    /// Nobody who is up to date is up, as this supervisor itself sees it. (Praefect says `no healthy nodes: primary gitaly
    /// is not healthy`.)
    #[error("no healthy nodes: none of {} is up", names(up_to_date))]
    NoHealthyNodes {
        /// Who is up to date.
        up_to_date: Vec<Storage>,
    },
    /// An election is due, but this supervisor may not decide it now.
    #[error("an election is due but has to wait: {0}")]
    ElectionPending(WaitReason),
    /// Three times in a row others had changed the repository (or the virtual storage's row) before this could, or the
    /// server behind the connection was another one and a new era began. Nothing was changed.
    #[error("others kept changing the primary or the repository, or the database kept being replaced")]
    Contended,
    /// The epoch is not the repository's current one: the write does not count.
    #[error("stale epoch: the repository is now under {}", current(.0))]
    StaleEpoch(Current),
    /// Nodes know of later elections than the database: an older backup has taken its place, and what it would give now
    /// was given before. Put the right backup in its place, or go on with this one by
    /// [`Supervisor::repair`](crate::Supervisor::repair).
    #[error(
        "the database is behind its nodes: {0}; put the right backup in its place, or begin a new era with `repair`"
    )]
    DatabaseBehind(Behind),
    /// A rule forbids it.
    #[error("{0}")]
    Refused(Refused),
    /// The replication factor is out of range.
    #[error(transparent)]
    ReplicationFactor(#[from] InvalidReplicationFactor),
    /// The database cannot answer. After a timeout or a lost connection the change may have been made.
    #[error("the store is unavailable")]
    StoreUnavailable(#[source] StoreError),
    /// A newer process has this supervisor's name; this one has stopped voting.
    #[error("superseded by incarnation {by}")]
    Superseded {
        /// The newer one.
        by: Incarnation,
    },
    /// Another live process keeps this supervisor's name. Nothing was started.
    #[error("the supervisor's name is in use by incarnation {held_by}, which took it less than a minute ago")]
    NameInUse {
        /// The holder.
        held_by: Incarnation,
    },
    /// The start did not come to a first consensus in time. Everything was stopped again.
    #[error("not ready after {waited:?}: {reason}")]
    NotReady {
        /// How long it was waited.
        waited: Duration,
        /// What was missing.
        reason: String,
    },
    /// The answer did not come in time. A change may have been made.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Too many others ask the same already.
    #[error("too many others are asking already")]
    Busy,
    /// The supervisor was stopped, or the actor that answers is being rebuilt.
    #[error("the supervisor does not answer")]
    Stopped,
}

fn names(storages: &[Storage]) -> String {
    storages.iter().map(Storage::as_str).collect::<Vec<_>>().join(", ")
}

fn current(current: &Current) -> String {
    let epoch = current.epoch.map_or("no epoch".to_owned(), |epoch| epoch.to_string());
    let primary = current.primary.as_ref().map_or("no primary", Storage::as_str);
    format!("{epoch}, {primary}")
}

/// The gRPC status that stands for an error; the numbers are gRPC's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum GrpcCode {
    /// INVALID_ARGUMENT.
    InvalidArgument = 3,
    /// DEADLINE_EXCEEDED.
    DeadlineExceeded = 4,
    /// NOT_FOUND.
    NotFound = 5,
    /// RESOURCE_EXHAUSTED.
    ResourceExhausted = 8,
    /// FAILED_PRECONDITION.
    FailedPrecondition = 9,
    /// ABORTED.
    Aborted = 10,
    /// INTERNAL.
    Internal = 13,
    /// UNAVAILABLE.
    Unavailable = 14,
}

impl GrpcCode {
    /// The name, as a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            GrpcCode::InvalidArgument => "invalid_argument",
            GrpcCode::DeadlineExceeded => "deadline_exceeded",
            GrpcCode::NotFound => "not_found",
            GrpcCode::ResourceExhausted => "resource_exhausted",
            GrpcCode::FailedPrecondition => "failed_precondition",
            GrpcCode::Aborted => "aborted",
            GrpcCode::Internal => "internal",
            GrpcCode::Unavailable => "unavailable",
        }
    }
}

impl Error {
    /// The gRPC code that stands for this.
    #[must_use]
    pub fn grpc_code(&self) -> GrpcCode {
        match self {
            Error::Config(_)
            | Error::ReplicationFactor(_)
            | Error::VirtualStorageNotFound(_)
            | Error::PrimaryPerRepository(_)
            | Error::NodeNotFound(_) => GrpcCode::InvalidArgument,
            Error::RepositoryNotFound => GrpcCode::NotFound,
            Error::NoPrimary
            | Error::PrimaryNotHealthy { .. }
            | Error::NoHealthyNodes { .. }
            | Error::ElectionPending(_)
            | Error::Superseded { .. }
            | Error::NameInUse { .. }
            | Error::NotReady { .. }
            | Error::Stopped => GrpcCode::Unavailable,
            Error::PrimaryOutdated { .. } | Error::StaleEpoch(_) | Error::DatabaseBehind(_) | Error::Refused(_) => {
                GrpcCode::FailedPrecondition
            }
            Error::Contended => GrpcCode::Aborted,
            Error::Busy => GrpcCode::ResourceExhausted,
            Error::Timeout(_) => GrpcCode::DeadlineExceeded,
            Error::StoreUnavailable(error) if error.is_transient() => GrpcCode::Unavailable,
            Error::StoreUnavailable(_) => GrpcCode::Internal,
        }
    }

    /// Whether the same question may be answered later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.grpc_code() {
            GrpcCode::Unavailable | GrpcCode::Aborted | GrpcCode::ResourceExhausted | GrpcCode::DeadlineExceeded => {
                true
            }
            GrpcCode::InvalidArgument | GrpcCode::NotFound | GrpcCode::FailedPrecondition | GrpcCode::Internal => false,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        Error::StoreUnavailable(error)
    }
}

/// The kind of store error beneath, for those who match on it.
impl Error {
    /// The store's error kind, if the store is what failed.
    #[must_use]
    pub fn store_kind(&self) -> Option<&StoreErrorKind> {
        if let Error::StoreUnavailable(error) = self { Some(error.kind()) } else { None }
    }
}
