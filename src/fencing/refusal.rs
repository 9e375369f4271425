//! Why a fence refused, as a type on both sides of the wire.

use super::metadata::InvalidMetadata;
use crate::core::{
    epoch::Epoch,
    ids::{ClusterId, RepositoryId, Storage},
};
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, ErrorInfo, StatusExt};

/// The domain of every [`tonic_types::ErrorInfo`] that a fence sends.
pub const ERROR_DOMAIN: &str = "quorate";

const STALE: &str = "STALE_EPOCH";
const CONFLICT: &str = "PRIMARY_CONFLICT";
const FOREIGN: &str = "FOREIGN_CLUSTER";
const MISSING: &str = "MISSING_EPOCH";
const INVALID: &str = "INVALID_METADATA";

/// Why a fence refused a call. Nothing was done.
///
/// Sent as `FAILED_PRECONDITION` with an `ErrorInfo`: repeating the same call is of no use, asking for the primary
/// again may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FenceRefusal {
    /// The node knows a higher epoch of the repository. Reason `STALE_EPOCH`.
    #[error("epoch {presented} of repository {repository} is over: {current} with primary {primary} is current here")]
    StaleEpoch {
        /// The repository.
        repository: RepositoryId,
        /// The epoch of the call.
        presented: Epoch,
        /// The highest one known.
        current: Epoch,
        /// Its primary.
        primary: Storage,
    },
    /// The node knows the same epoch with another primary, which no elector ever gives. Reason `PRIMARY_CONFLICT`.
    #[error("epoch {epoch} of repository {repository} belongs to primary {current}, not {presented}")]
    PrimaryConflict {
        /// The repository.
        repository: RepositoryId,
        /// The epoch.
        epoch: Epoch,
        /// The primary of the call.
        presented: Storage,
        /// The primary known.
        current: Storage,
    },
    /// The node belongs to another cluster. Reason `FOREIGN_CLUSTER`.
    #[error("the call is of cluster {presented}, this node belongs to {current}")]
    ForeignCluster {
        /// The cluster of the call.
        presented: ClusterId,
        /// The node's.
        current: ClusterId,
    },
    /// The call carries no epoch. Reason `MISSING_EPOCH`.
    #[error("the call carries no epoch, and this node requires one")]
    MissingEpoch,
    /// The call's fencing metadata cannot be read. Reason `INVALID_METADATA`.
    #[error("{problem}")]
    InvalidMetadata {
        /// What is wrong with it.
        problem: String,
    },
}

impl From<InvalidMetadata> for FenceRefusal {
    fn from(error: InvalidMetadata) -> Self {
        match error {
            InvalidMetadata::Absent => FenceRefusal::MissingEpoch,
            InvalidMetadata::Missing { key: super::EPOCH_KEY } => FenceRefusal::MissingEpoch,
            InvalidMetadata::Missing { .. } | InvalidMetadata::Repeated { .. } | InvalidMetadata::Unreadable { .. } => {
                FenceRefusal::InvalidMetadata { problem: error.to_string() }
            }
        }
    }
}

impl FenceRefusal {
    /// The reason, as it stands in the `ErrorInfo` and in metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            FenceRefusal::StaleEpoch { .. } => STALE,
            FenceRefusal::PrimaryConflict { .. } => CONFLICT,
            FenceRefusal::ForeignCluster { .. } => FOREIGN,
            FenceRefusal::MissingEpoch => MISSING,
            FenceRefusal::InvalidMetadata { .. } => INVALID,
        }
    }

    /// The status to answer a call with.
    #[must_use]
    pub fn to_status(&self) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info(self.reason(), ERROR_DOMAIN, self.details());
        Status::with_error_details(Code::FailedPrecondition, self.to_string(), details)
    }

    /// Reads a refusal out of a call's status; `None` if it is something else.
    #[must_use]
    pub fn from_status(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        if status.code() != Code::FailedPrecondition || info.domain != ERROR_DOMAIN {
            return None;
        }
        match info.reason.as_str() {
            STALE => Some(FenceRefusal::StaleEpoch {
                repository: repository(&info)?,
                presented: text(&info, "presented_epoch")?.parse().ok()?,
                current: text(&info, "current_epoch")?.parse().ok()?,
                primary: text(&info, "current_primary")?.parse().ok()?,
            }),
            CONFLICT => Some(FenceRefusal::PrimaryConflict {
                repository: repository(&info)?,
                epoch: text(&info, "current_epoch")?.parse().ok()?,
                presented: text(&info, "presented_primary")?.parse().ok()?,
                current: text(&info, "current_primary")?.parse().ok()?,
            }),
            FOREIGN => Some(FenceRefusal::ForeignCluster {
                presented: text(&info, "presented_cluster")?.parse().ok()?,
                current: text(&info, "current_cluster")?.parse().ok()?,
            }),
            MISSING => Some(FenceRefusal::MissingEpoch),
            INVALID => Some(FenceRefusal::InvalidMetadata { problem: text(&info, "problem")?.to_owned() }),
            // A reason that a newer node knows and we do not.
            _ => None,
        }
    }

    fn details(&self) -> HashMap<String, String> {
        let pairs: Vec<(&str, String)> = match self {
            FenceRefusal::StaleEpoch { repository, presented, current, primary } => vec![
                ("repository", repository.to_string()),
                ("presented_epoch", presented.to_string()),
                ("current_epoch", current.to_string()),
                ("current_primary", primary.to_string()),
            ],
            FenceRefusal::PrimaryConflict { repository, epoch, presented, current } => vec![
                ("repository", repository.to_string()),
                ("current_epoch", epoch.to_string()),
                ("presented_primary", presented.to_string()),
                ("current_primary", current.to_string()),
            ],
            FenceRefusal::ForeignCluster { presented, current } => {
                vec![("presented_cluster", presented.to_string()), ("current_cluster", current.to_string())]
            }
            FenceRefusal::MissingEpoch => vec![],
            FenceRefusal::InvalidMetadata { problem } => vec![("problem", problem.clone())],
        };
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

impl From<FenceRefusal> for Status {
    fn from(refusal: FenceRefusal) -> Status {
        refusal.to_status()
    }
}

fn text<'a>(info: &'a ErrorInfo, key: &str) -> Option<&'a str> {
    info.metadata.get(key).map(String::as_str)
}

fn repository(info: &ErrorInfo) -> Option<RepositoryId> {
    text(info, "repository")?.parse().ok().map(RepositoryId)
}
