//! Epochs in memory: for tests, and for nodes whose data does not survive a restart either.

use super::{
    metadata::Claim,
    store::{EpochStore, FenceReport, Observed, StoreAnswer},
    table::{Entry, EpochRecord, EpochTable},
};
use crate::core::{epoch::Epoch, ids::RepositoryId};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A store that forgets with its process.
///
/// A node that keeps its data over a restart must not use it: it would accept the deposed primary again.
#[derive(Debug, Default)]
pub struct MemoryEpochStore {
    table: Mutex<EpochTable>,
}

impl MemoryEpochStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The table is whole at every moment in which a thread could die, so a poisoned lock means nothing.
    fn table(&self) -> MutexGuard<'_, EpochTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EpochStore for MemoryEpochStore {
    fn observe<'a>(&'a self, claim: &'a Claim) -> StoreAnswer<'a, Observed> {
        Box::pin(async move {
            let mut table = self.table();
            let observed = match table.judge(claim) {
                Ok(entries) => {
                    entries.iter().for_each(|entry| table.apply(entry));
                    Observed::accepted(&table, claim)
                }
                Err(refusal) => Observed::Refused(refusal),
            };
            Ok(observed)
        })
    }

    fn adopted(&self, repository: RepositoryId, epoch: Epoch) -> StoreAnswer<'_, ()> {
        Box::pin(async move {
            let mut table = self.table();
            let entry: Option<Entry> = table.judge_adopted(repository, epoch);
            entry.iter().for_each(|entry| table.apply(entry));
            Ok(())
        })
    }

    fn record(&self, repository: RepositoryId) -> Option<EpochRecord> {
        self.table().record(repository)
    }

    fn report(&self) -> FenceReport {
        self.table().report()
    }
}
