//! The rule itself: what a node remembers, what it accepts, what it has yet to adopt. No I/O.
//!
//! Stores keep a table and make its [`Entry`]s durable; so every store refuses the same things.

use super::{metadata::Claim, refusal::FenceRefusal, store::FenceReport};
use crate::core::{
    epoch::Epoch,
    ids::{ClusterId, RepositoryId, Storage},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a node remembers of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRecord {
    /// The highest epoch accepted.
    pub epoch: Epoch,
    /// Its primary.
    pub primary: Storage,
    /// The last epoch under which this node adopted its primary's state.
    pub adopted: Option<Epoch>,
}

impl EpochRecord {
    /// Whether the node named must adopt the primary's state before it acknowledges under this epoch.
    ///
    /// The primary never does: its own tail becomes part of the state. Anybody else does once per epoch, under the
    /// first it ever sees of a repository too: an empty disk and a lost epoch store look alike.
    #[must_use]
    pub fn adoption_due(&self, me: &Storage) -> bool {
        self.primary != *me && self.adopted < Some(self.epoch)
    }
}

/// One durable fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// The node belongs to this cluster.
    Cluster(ClusterId),
    /// An epoch was accepted.
    Accepted {
        /// The repository.
        repository: RepositoryId,
        /// The epoch.
        epoch: Epoch,
        /// Its primary.
        primary: Storage,
    },
    /// A primary's state was adopted.
    Adopted {
        /// The repository.
        repository: RepositoryId,
        /// The epoch.
        epoch: Epoch,
    },
}

/// Everything that a node remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochTable {
    cluster: Option<ClusterId>,
    highest: Option<Epoch>,
    records: BTreeMap<RepositoryId, EpochRecord>,
}

impl EpochTable {
    /// What is to be made durable before the claim is answered: nothing if it is known already.
    pub fn judge(&self, claim: &Claim) -> Result<Vec<Entry>, FenceRefusal> {
        let mut entries = Vec::new();
        match &self.cluster {
            Some(cluster) if *cluster != claim.cluster => {
                return Err(FenceRefusal::ForeignCluster {
                    presented: claim.cluster.clone(),
                    current: cluster.clone(),
                });
            }
            Some(_) => {}
            None => entries.push(Entry::Cluster(claim.cluster.clone())),
        }
        if let Some(record) = self.records.get(&claim.repository) {
            if claim.epoch < record.epoch {
                return Err(FenceRefusal::StaleEpoch {
                    repository: claim.repository,
                    presented: claim.epoch,
                    current: record.epoch,
                    primary: record.primary.clone(),
                });
            }
            if claim.epoch == record.epoch {
                if claim.primary != record.primary {
                    return Err(FenceRefusal::PrimaryConflict {
                        repository: claim.repository,
                        epoch: claim.epoch,
                        presented: claim.primary.clone(),
                        current: record.primary.clone(),
                    });
                }
                return Ok(entries);
            }
        }
        entries.push(Entry::Accepted {
            repository: claim.repository,
            epoch: claim.epoch,
            primary: claim.primary.clone(),
        });
        Ok(entries)
    }

    /// What is to be made durable once a primary's state was adopted: nothing if it is known, or no longer of use.
    #[must_use]
    pub fn judge_adopted(&self, repository: RepositoryId, epoch: Epoch) -> Option<Entry> {
        let record = self.records.get(&repository)?;
        (record.epoch == epoch && record.adopted < Some(epoch)).then_some(Entry::Adopted { repository, epoch })
    }

    /// Takes in a fact. Never goes back: an entry older than what is known changes nothing.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Cluster(cluster) => self.cluster = Some(cluster.clone()),
            Entry::Accepted { repository, epoch, primary } => {
                self.highest = self.highest.max(Some(*epoch));
                let adopted = match self.records.get(repository) {
                    Some(record) if record.epoch >= *epoch => return,
                    Some(record) => record.adopted,
                    None => None,
                };
                self.records.insert(*repository, EpochRecord { epoch: *epoch, primary: primary.clone(), adopted });
            }
            Entry::Adopted { repository, epoch } => {
                if let Some(record) = self.records.get_mut(repository) {
                    record.adopted = record.adopted.max(Some(*epoch));
                }
            }
        }
    }

    /// What is remembered of a repository.
    #[must_use]
    pub fn record(&self, repository: RepositoryId) -> Option<EpochRecord> {
        self.records.get(&repository).cloned()
    }

    /// What a supervisor is told.
    #[must_use]
    pub fn report(&self) -> FenceReport {
        FenceReport { cluster: self.cluster.clone(), highest: self.highest }
    }

    /// The fewest entries that make this table.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let cluster = self.cluster.clone().map(Entry::Cluster);
        let records = self.records.iter().flat_map(|(repository, record)| {
            let (repository, epoch, primary) = (*repository, record.epoch, record.primary.clone());
            let adopted = record.adopted.map(|epoch| Entry::Adopted { repository, epoch });
            std::iter::once(Entry::Accepted { repository, epoch, primary }).chain(adopted)
        });
        cluster.into_iter().chain(records)
    }

    /// How many entries that is, at most.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.records.len().saturating_mul(2).saturating_add(1)
    }
}
