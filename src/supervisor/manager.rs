//! Shards, reads and nodes: what a router asks.

use super::Supervisor;
use crate::{
    actors::{FeedStatus, NodeHandle},
    core::{
        election::{Primary, Target},
        ids::{NodeId, VirtualStorage},
        shard,
        synced::Counts,
    },
    error::Error,
    manager::{ConsistentStorages, Manager, Reply, Shard},
    messages::{election::GetShard, health::HealthyNodes},
};
use std::{collections::BTreeMap, sync::Arc};

/// Draws lots for choices among equals.
pub(super) type Lot = Arc<dyn Fn() -> u64 + Send + Sync>;

impl<C: Clone + Send + Sync + 'static> Supervisor<C> {
    /// The same supervisor, asking another source who is up to date. Clones made before keep theirs.
    #[must_use]
    pub fn with_consistent_storages(mut self, source: Arc<dyn ConsistentStorages>) -> Self {
        self.storages = source;
        self
    }

    /// The same supervisor, drawing its lots for reads from this source instead of the system's randomness.
    #[must_use]
    pub fn with_lot(mut self, lot: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.lot = Arc::new(lot);
        self
    }

    /// The primary of a whole virtual storage with its secondaries. Errors: see [`GetShard`], and as
    /// [`Supervisor::primary`]; under strategy `per_repository` [`Error::PrimaryPerRepository`]
    /// ([`Supervisor::shard_of`] answers there).
    pub async fn shard(&self, virtual_storage: &VirtualStorage) -> Result<Shard<C>, Error> {
        if let Some(end) = self.ended() {
            return Err(end);
        }
        let names = self.asked(self.inner.shards.send(GetShard(virtual_storage.clone()))).await?;
        self.paired(&names)
    }

    /// The primary of one repository, elected now if that is due, with its other replicas as secondaries. Replicas on
    /// storages that are not configured here are left out. Errors: as [`Supervisor::primary`].
    pub async fn shard_of(&self, target: &Target) -> Result<Shard<C>, Error> {
        let primary = self.primary(target).await?;
        let facts = self.repository(&primary.repository.map_or_else(|| target.clone(), Target::Id)).await?.facts;
        let replicas = facts.replicas.into_iter().map(|replica| replica.storage);
        self.paired(&shard::Shard::new(primary.virtual_storage, primary.storage, replicas, primary.epoch))
    }

    /// Names become nodes, in order of configuration.
    fn paired(&self, names: &shard::Shard) -> Result<Shard<C>, Error> {
        let nodes = self.inner.nodes.borrow();
        let primary = NodeId::new(names.virtual_storage.clone(), names.primary.clone());
        let not_here = || Error::PrimaryNotHealthy { storage: names.primary.clone(), epoch: names.epoch };
        Ok(Shard {
            primary: nodes.node(&primary).cloned().ok_or_else(not_here)?,
            secondaries: nodes.named(&names.virtual_storage, &names.secondaries),
            epoch: names.epoch,
        })
    }

    /// A node that may serve a read: up as this supervisor itself sees it, and up to date; by lot among several. Who is up
    /// to date is answered from memory while changes are heard of ([`Supervisor::feed_status`]).
    ///
    /// If nobody is up to date, or the repository is unknown to the source, the primary, if it is up. Errors:
    /// [`Error::NoHealthyNodes`], [`Error::PrimaryNotHealthy`], and those of the source and of [`Supervisor::primary`].
    pub async fn synced_node(&self, target: &Target) -> Result<NodeHandle<C>, Error> {
        self.known(target)?;
        let found = match self.storages.consistent_storages(target).await {
            Ok(found) if !found.storages.is_empty() => found,
            Ok(_) | Err(Error::RepositoryNotFound) => return self.healthy_primary(target).await,
            Err(error) => return Err(error),
        };
        let mut up = self.inner.nodes.borrow().named(&found.virtual_storage, found.storages.iter());
        up.retain(NodeHandle::is_healthy);
        let lot = usize::try_from((self.lot)() >> 32).unwrap_or(0).checked_rem(up.len()).unwrap_or(0);
        match up.get(lot) {
            Some(handle) => Ok(self.routed(handle)),
            None => Err(Error::NoHealthyNodes { up_to_date: found.storages.iter().cloned().collect() }),
        }
    }

    async fn healthy_primary(&self, target: &Target) -> Result<NodeHandle<C>, Error> {
        let primary = self.primary(target).await?;
        let node = NodeId::new(primary.virtual_storage, primary.storage.clone());
        let handle = self.node(&node).filter(NodeHandle::is_healthy).map(|handle| self.routed(&handle));
        handle.ok_or(Error::PrimaryNotHealthy { storage: primary.storage, epoch: primary.epoch })
    }

    fn routed(&self, handle: &NodeHandle<C>) -> NodeHandle<C> {
        self.inner.meter.read_routed(handle.node());
        handle.clone()
    }

    /// How changes of the database are heard of, and so whether anything is answered from memory.
    #[must_use]
    pub fn feed_status(&self) -> FeedStatus {
        self.inner.synced.status()
    }

    /// What became of the lookups of who is up to date, by virtual storage.
    #[must_use]
    pub fn synced_counts(&self) -> BTreeMap<VirtualStorage, Counts> {
        self.inner.synced.counts()
    }
}

impl<C: Clone + Send + Sync + 'static> Manager<C> for Supervisor<C> {
    fn shard<'a>(&'a self, virtual_storage: &'a VirtualStorage) -> Reply<'a, Shard<C>> {
        Box::pin(Supervisor::shard(self, virtual_storage))
    }
    fn shard_of<'a>(&'a self, target: &'a Target) -> Reply<'a, Shard<C>> {
        Box::pin(Supervisor::shard_of(self, target))
    }
    fn primary<'a>(&'a self, target: &'a Target) -> Reply<'a, Primary> {
        Box::pin(Supervisor::primary(self, target))
    }
    fn synced_node<'a>(&'a self, target: &'a Target) -> Reply<'a, NodeHandle<C>> {
        Box::pin(Supervisor::synced_node(self, target))
    }
    fn healthy_nodes(&self) -> HealthyNodes {
        Supervisor::healthy_nodes(self)
    }
    fn nodes(&self) -> BTreeMap<VirtualStorage, Vec<NodeHandle<C>>> {
        let mut nodes = BTreeMap::<_, Vec<_>>::new();
        for node in Supervisor::nodes(self).iter() {
            nodes.entry(node.node().virtual_storage.clone()).or_default().push(node.clone());
        }
        nodes
    }
}
