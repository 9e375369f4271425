//! What all electors share: how a lookup is bounded, and what a question names.

use crate::{
    core::{
        election::{Primary, Target},
        ids::{
            ClusterId, DecisionId, Incarnation, RelativePath, RepositoryId, Storage, SupervisorName, VirtualStorage,
            Voter,
        },
        lookup::Source,
        reports::Behind,
        shard::Shard,
    },
    error::Error,
    messages::election::PrimaryAnswer,
    store::{ElectionStore, StoreError},
};
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, watch};

/// How often facts are read again after others moved them, before the caller hears `Contended`.
pub(super) const ROUNDS_MAX: u32 = 3;
/// Lookups under way at once. More would only queue at the store's pool, where nobody could refuse them.
const LOOKUPS_MAX: usize = 1_024;
/// Lookups that may wait in the mailbox; their futures leave it at once.
pub(super) const MAILBOX: usize = 1_024;

/// The storages of each virtual storage, in order of configuration.
pub type NodeNames = BTreeMap<VirtualStorage, Vec<Storage>>;

/// The nodes that are configured now: a reload puts others into the cell.
#[derive(Debug, Clone)]
pub struct ConfiguredNodes(watch::Receiver<NodeNames>);

impl ConfiguredNodes {
    /// Those in this cell, whatever it holds when somebody asks.
    #[must_use]
    pub fn following(cell: watch::Receiver<NodeNames>) -> Self {
        Self(cell)
    }

    /// All of them, as of now.
    pub(super) fn names(&self) -> NodeNames {
        self.0.borrow().clone()
    }

    /// Whether a virtual storage is configured.
    pub(crate) fn has(&self, virtual_storage: &VirtualStorage) -> bool {
        self.0.borrow().contains_key(virtual_storage)
    }
}

impl From<NodeNames> for ConfiguredNodes {
    /// These, for good.
    fn from(names: NodeNames) -> Self {
        Self(watch::Sender::new(names).subscribe())
    }
}

/// The places for lookups of one elector.
#[derive(Clone)]
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(LOOKUPS_MAX)))
    }

    /// Runs a lookup in one of the places, no longer than `limit`.
    pub(super) async fn run<T>(
        &self,
        limit: Duration,
        lookup: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let _place = self.0.try_acquire().map_err(|_| Error::Busy)?;
        tokio::time::timeout(limit, lookup).await.unwrap_or(Err(Error::Timeout(limit)))
    }
}

/// Who proposes now. Without a registration an elector may still answer; what is due has to wait.
pub(super) fn proposer(voter: &watch::Receiver<Option<Voter>>, name: &SupervisorName) -> Voter {
    voter.borrow().clone().unwrap_or_else(|| Voter { name: name.clone(), incarnation: Incarnation(0) })
}

/// What stands in the cell of a database that is behind its nodes.
pub type BehindCell = watch::Receiver<Option<Behind>>;

/// Nothing is elected or acknowledged while the database is behind: its next epochs were given before.
pub(crate) fn abreast(behind: &BehindCell) -> Result<(), Error> {
    behind.borrow().clone().map_or(Ok(()), |behind| Err(Error::DatabaseBehind(behind)))
}

/// What was found out, and whether the database that said it is behind its nodes.
pub(super) fn found(primary: Primary, behind: &BehindCell) -> PrimaryAnswer {
    let source = if behind.borrow().is_some() { Source::Behind } else { Source::Fresh };
    PrimaryAnswer { source, ..PrimaryAnswer::fresh(primary) }
}

/// What spreads equals, of a lot: the lower half, which is as random as the whole.
pub(crate) fn seed(lot: u128) -> u64 {
    u64::try_from(lot & u128::from(u64::MAX)).unwrap_or_default()
}

/// The identity of a decision.
pub(crate) fn decision_id(lot: u128) -> Result<DecisionId, Error> {
    DecisionId::new(uuid::Uuid::from_u128(lot).to_string()).map_err(|_| Error::Stopped)
}

/// Commits a proposal. An answer that was lost is asked for again under the same decision, which finds its own commit if
/// there was one (D23).
pub(crate) async fn commit<T, F>(attempt: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    match attempt().await {
        Err(error) if error.is_transient() => attempt().await,
        answer => answer,
    }
}

/// The configured nodes of a virtual storage.
pub(super) fn nodes_of(nodes: &ConfiguredNodes, of: &VirtualStorage) -> Result<Vec<Storage>, Error> {
    nodes.0.borrow().get(of).cloned().ok_or_else(|| Error::VirtualStorageNotFound(of.clone()))
}

/// Which repository a question names, as far as an elector of whole virtual storages cares.
pub(super) struct Named {
    pub(super) virtual_storage: VirtualStorage,
    relative_path: RelativePath,
    repository: Option<RepositoryId>,
}

impl Named {
    /// A path is taken at its word. A number says nothing without the database.
    pub(super) async fn find(target: &Target, store: &dyn ElectionStore) -> Result<Named, Error> {
        match target {
            Target::Path(virtual_storage, relative_path) => Ok(Named {
                virtual_storage: virtual_storage.clone(),
                relative_path: relative_path.clone(),
                repository: None,
            }),
            Target::Id(_) => Named::look_up(target, store).await?.ok_or(Error::RepositoryNotFound),
        }
    }

    async fn look_up(target: &Target, store: &dyn ElectionStore) -> Result<Option<Named>, Error> {
        let read = store.election_facts(target).await?;
        Ok(read.map(|read| Named {
            virtual_storage: read.facts.virtual_storage,
            relative_path: read.facts.relative_path,
            repository: Some(read.facts.repository),
        }))
    }

    /// The primary of the whole virtual storage as this repository's.
    pub(super) fn primary(self, cluster: ClusterId, shard: Shard) -> Primary {
        Primary {
            cluster,
            repository: self.repository,
            virtual_storage: self.virtual_storage,
            relative_path: self.relative_path,
            storage: shard.primary,
            epoch: shard.epoch,
        }
    }
}
