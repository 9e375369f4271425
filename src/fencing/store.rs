//! The port to a node's memory of epochs.
//!
//! What implementers owe: what `observe` accepts, and what `adopted` takes, survives a crash and a power loss before
//! the future resolves; `record` never shows more than that, and never goes back; concurrent callers are put in one
//! order. [`EpochTable`](super::EpochTable) is the rule; an implementation only adds durability to it.

use super::{
    metadata::Claim,
    refusal::FenceRefusal,
    table::{EpochRecord, EpochTable},
};
pub use crate::core::reports::FenceReport;
use crate::core::{epoch::Epoch, ids::RepositoryId};
use futures_util::future::BoxFuture;
use std::{io, path::PathBuf};

/// What every asking method returns.
pub type StoreAnswer<'a, T> = BoxFuture<'a, Result<T, EpochStoreError>>;

/// A node's memory of epochs. A node has exactly one; opening it loads all of it.
pub trait EpochStore: Send + Sync + 'static {
    /// Accepts or refuses a claim. What is accepted is durable when this resolves.
    fn observe<'a>(&'a self, claim: &'a Claim) -> StoreAnswer<'a, Observed>;
    /// Remembers that this node adopted the state of the primary of `epoch`. Durable when this resolves. Changes
    /// nothing if a higher epoch was accepted meanwhile.
    fn adopted(&self, repository: RepositoryId, epoch: Epoch) -> StoreAnswer<'_, ()>;
    /// What is durably known of a repository, from memory.
    fn record(&self, repository: RepositoryId) -> Option<EpochRecord>;
    /// What a supervisor is told, from memory.
    fn report(&self) -> FenceReport;
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// The claim holds; this is what is known of its repository now.
    Accepted(EpochRecord),
    /// It does not, and nothing was changed.
    Refused(FenceRefusal),
}

impl Observed {
    /// What an accepted claim is answered with, once the table has taken it in.
    #[must_use]
    pub fn accepted(table: &EpochTable, claim: &Claim) -> Self {
        Observed::Accepted(table.record(claim.repository).unwrap_or_else(|| EpochRecord {
            epoch: claim.epoch,
            primary: claim.primary.clone(),
            adopted: None,
        }))
    }
}

/// A store that cannot answer. No claim was accepted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EpochStoreError {
    /// Another process has it open.
    #[error("the epoch log {} is in use by another process", path.display())]
    InUse {
        /// The log.
        path: PathBuf,
    },
    /// A record that was once written whole is damaged. Which epochs it held cannot be known, so the node must not
    /// serve: restore the file, or remove it and let supervisors raise a new era.
    #[error("the epoch log {} is damaged at byte {offset}: {problem}", path.display())]
    Damaged {
        /// The log.
        path: PathBuf,
        /// Where the damaged record begins.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Reading or writing failed. After a failed write nothing more is accepted until the store is opened again: what
    /// of it reached the disk is unknown.
    #[error("the epoch log {} cannot be {operation}", path.display())]
    Io {
        /// The log.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// Why it failed. Shared, for everybody who waited for the write is told.
        source: std::sync::Arc<io::Error>,
    },
    /// The store was closed, or an earlier write failed.
    #[error("the epoch store takes no writes any more")]
    Closed,
}
