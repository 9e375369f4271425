//! What a handler knows about the call that it serves, and asks again when it commits.

use super::{
    metadata::Claim,
    refusal::FenceRefusal,
    store::{EpochStore, EpochStoreError},
};
use crate::core::{
    epoch::Epoch,
    ids::{RepositoryId, Storage},
};
use std::{fmt, future::Future, sync::Arc, time::Duration};
use tonic::Status;

/// The permission of one call, found in its request's extensions.
///
/// It was true when the call came in. A handler that slept since, because its process was frozen or its disk was slow,
/// asks [`check`](EpochGuard::check) again **while it holds whatever orders the repository's writes**, and writes
/// before it lets go; adoption takes the same lock. Then either the write comes first and adoption replaces it, or the
/// check sees the epoch that made adoption due.
#[derive(Clone)]
pub struct EpochGuard {
    claim: Claim,
    me: Storage,
    store: Arc<dyn EpochStore>,
    timeout: Duration,
}

impl fmt::Debug for EpochGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochGuard").field("claim", &self.claim).field("me", &self.me).finish_non_exhaustive()
    }
}

impl EpochGuard {
    pub(super) fn new(claim: Claim, me: Storage, store: Arc<dyn EpochStore>, timeout: Duration) -> Self {
        Self { claim, me, store, timeout }
    }

    /// The guard of a call; refuses a call that came without one, which only `FenceMode::Optional` and exempt paths let
    /// through.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        Self::find(request).cloned().ok_or_else(|| FenceRefusal::MissingEpoch.to_status())
    }

    /// The guard of a call, if it came with one.
    #[must_use]
    pub fn find<T>(request: &tonic::Request<T>) -> Option<&Self> {
        request.extensions().get::<Self>()
    }

    /// The repository that the call is about.
    #[must_use]
    pub fn repository(&self) -> RepositoryId {
        self.claim.repository
    }

    /// The epoch of the call.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.claim.epoch
    }

    /// The primary of that epoch.
    #[must_use]
    pub fn primary(&self) -> &Storage {
        &self.claim.primary
    }

    /// The whole claim, to pass on to other nodes.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Whether this node is the primary of the call's epoch.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.claim.primary == self.me
    }

    /// Whether this node must adopt the primary's state before it acknowledges under the call's epoch. As of now:
    /// another call may have done it meanwhile.
    #[must_use]
    pub fn adoption_due(&self) -> bool {
        match self.store.record(self.claim.repository) {
            Some(record) if record.epoch == self.claim.epoch => record.adoption_due(&self.me),
            // Overtaken: `check` refuses, whatever this says.
            Some(_) | None => !self.is_primary(),
        }
    }

    /// Whether the call may still commit. Reads memory, waits for nothing.
    pub fn check(&self) -> Result<(), Status> {
        match self.store.record(self.claim.repository) {
            Some(record) if record.epoch > self.claim.epoch => Err(FenceRefusal::StaleEpoch {
                repository: self.claim.repository,
                presented: self.claim.epoch,
                current: record.epoch,
                primary: record.primary,
            }
            .to_status()),
            Some(record) if record.epoch == self.claim.epoch && record.primary == self.claim.primary => Ok(()),
            // The layer had this claim recorded before it made the guard.
            Some(_) | None => Err(Status::internal("the epoch store went back")),
        }
    }

    /// Remembers durably that this node adopted the primary's state. Refuses if the epoch was overtaken meanwhile: what
    /// was adopted is then already out of date.
    pub async fn adopted(&self) -> Result<(), Status> {
        self.check()?;
        bounded(self.timeout, self.store.adopted(self.claim.repository, self.claim.epoch)).await?;
        self.check()
    }
}

/// A store's answer within a deadline, with its failures as `UNAVAILABLE`: another node may do better.
pub(super) async fn bounded<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, EpochStoreError>>,
) -> Result<T, Status> {
    match tokio::time::timeout(timeout, answer).await {
        Ok(Ok(value)) => Ok(value),
        // The text has a path of this node, which is nobody's business but the log's.
        Ok(Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the epoch store failed");
            Err(Status::unavailable("the node's epoch store failed"))
        }
        Err(_) => Err(Status::unavailable("the node's epoch store did not answer in time")),
    }
}
