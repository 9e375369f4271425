//! What a router asks of a supervisor, as one trait that a test can stand in for.
//!
//! Praefect's `Manager` answers for a whole virtual storage. Ours does too, and for one repository besides, for there a
//! primary is elected by default. Everything that it answers is a snapshot of names; the nodes in it are live.
//!
//! The trait is object safe and its answers are `Send`: `Arc<dyn Manager<C>>` goes where a request goes. Generic methods
//! with `impl Future` were rejected for that.

use crate::{
    actors::NodeHandle,
    core::{
        election::{Primary, Target},
        epoch::Epoch,
        ids::{Storage, VirtualStorage},
        shard,
    },
    error::Error,
    messages::health::HealthyNodes,
    store::UpToDate,
};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;

/// What an asking method returns.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// Knows who is in charge, who is up to date and who is up. `C` is what real traffic to a node goes over.
pub trait Manager<C: Clone>: Send + Sync {
    /// The primary of a whole virtual storage with its secondaries. Errors: [`Error::VirtualStorageNotFound`],
    /// [`Error::PrimaryPerRepository`] where each repository has a primary of its own, and those of
    /// [`Manager::primary`].
    fn shard<'a>(&'a self, virtual_storage: &'a VirtualStorage) -> Reply<'a, Shard<C>>;
    /// The primary of one repository with its other replicas. Errors: as [`Manager::primary`].
    fn shard_of<'a>(&'a self, target: &'a Target) -> Reply<'a, Shard<C>>;
    /// Who is primary? If a change is due, it is made first. Errors: see [`crate::messages::election::GetPrimary`].
    fn primary<'a>(&'a self, target: &'a Target) -> Reply<'a, Primary>;
    /// A node that may serve a read. Errors: [`Error::NoHealthyNodes`], those of [`ConsistentStorages`], and, if nobody is
    /// up to date, those of [`Manager::primary`].
    fn synced_node<'a>(&'a self, target: &'a Target) -> Reply<'a, NodeHandle<C>>;
    /// Who is up, as this supervisor itself sees it: every configured virtual storage is a key, with storages in order of
    /// configuration, perhaps none. (The HealthManager's answer leaves out virtual storages without any; both shapes are
    /// Praefect's.)
    fn healthy_nodes(&self) -> HealthyNodes;
    /// Every configured node by virtual storage, in order of configuration.
    fn nodes(&self) -> BTreeMap<VirtualStorage, Vec<NodeHandle<C>>>;
}

/// Says which storages hold the latest generation of a repository.
///
/// The default asks the database, through a memory that its notifications keep fresh. Give a supervisor another one with
/// [`Supervisor::with_consistent_storages`](crate::Supervisor::with_consistent_storages).
pub trait ConsistentStorages: Send + Sync {
    /// Who is up to date. Errors: [`Error::RepositoryNotFound`], after which a read falls back to the primary;
    /// [`Error::StoreUnavailable`], [`Error::Timeout`], [`Error::Busy`] and others, which the reader is told as they are.
    fn consistent_storages<'a>(&'a self, target: &'a Target) -> Reply<'a, UpToDate>;
}

/// A primary with its secondaries. A later election does not change it; the nodes in it are live.
#[derive(Debug)]
pub struct Shard<C> {
    /// The node that orders writes.
    pub primary: NodeHandle<C>,
    /// The others, in order of configuration, whether they are up or not.
    pub secondaries: Vec<NodeHandle<C>>,
    /// The fencing token of the primary; `None` where the elector has none, which a storage node's fence refuses.
    pub epoch: Option<Epoch>,
}

impl<C: Clone> Shard<C> {
    /// The node of this name, primary or secondary; `None` if it is not part of the shard.
    #[must_use]
    pub fn node(&self, storage: &Storage) -> Option<&NodeHandle<C>> {
        std::iter::once(&self.primary).chain(&self.secondaries).find(|node| node.storage() == storage)
    }
    /// The same as names, to compare, keep or send.
    #[must_use]
    pub fn names(&self) -> shard::Shard {
        let secondaries = self.secondaries.iter().map(|node| node.storage().clone());
        let of = self.primary.node().virtual_storage.clone();
        shard::Shard::new(of, self.primary.storage().clone(), secondaries, self.epoch)
    }
    /// The secondaries that are up as this supervisor itself sees it; perhaps none.
    #[must_use]
    pub fn healthy_secondaries(&self) -> Vec<&NodeHandle<C>> {
        self.secondaries.iter().filter(|node| node.is_healthy()).collect()
    }
}

impl<C> Clone for Shard<C> {
    fn clone(&self) -> Self {
        Self { primary: self.primary.clone(), secondaries: self.secondaries.clone(), epoch: self.epoch }
    }
}
