//! What operators say of a storage. It stands in the database, where every supervisor's elections read it; files, which
//! may differ from one supervisor to the next, say nothing of it.

use super::Supervisor;
use crate::{
    core::{ids::NodeId, synced::Scope},
    error::Error,
    store::StorageChange,
};
use std::{collections::BTreeMap, time::Duration};

impl<C: Clone + Send + Sync + 'static> Supervisor<C> {
    /// Prefers a storage in elections, or keeps it out of them: higher is preferred, 0 is never primary, the default is
    /// 100. A recorded primary that is set to 0 is replaced by the next lookup, if anybody can take its place. Errors:
    /// [`Error::NodeNotFound`], [`Error::StoreUnavailable`].
    pub async fn storage_priority(&self, node: &NodeId, priority: u16) -> Result<(), Error> {
        self.storage_update(node, StorageChange { priority: Some(i32::from(priority)), draining: None }).await
    }

    /// Empties a storage of primaries: each repository that it leads gets another one with its next lookup, if one that
    /// is not draining can take its place; else it stays. Its replicas stay and serve reads. Until [`Supervisor::undrain`].
    /// Errors: [`Error::NodeNotFound`], [`Error::StoreUnavailable`].
    pub async fn drain(&self, node: &NodeId) -> Result<(), Error> {
        self.storage_update(node, StorageChange { priority: None, draining: Some(true) }).await
    }

    /// Lets a storage lead again. Nothing moves back by itself. Errors: as [`Supervisor::drain`].
    pub async fn undrain(&self, node: &NodeId) -> Result<(), Error> {
        self.storage_update(node, StorageChange { priority: None, draining: Some(false) }).await
    }

    /// Forgives a storage that was penalised because it was deposed: it is as fit to be elected as any other. Answers whether
    /// it was penalised. Errors: as [`Supervisor::drain`].
    pub async fn forgive(&self, node: &NodeId) -> Result<bool, Error> {
        if self.node(node).is_none() {
            return Err(Error::NodeNotFound(node.clone()));
        }
        self.within(self.inner.store.penalty_lift(node)).await
    }

    /// Which storages are penalised because they were deposed, and for how much longer, as last read. Such a one is elected
    /// only if no other can be. 10 s, twice as long each time within 10 minutes, 10 minutes at most.
    #[must_use]
    pub fn penalties(&self) -> BTreeMap<NodeId, Duration> {
        self.inner.cells.penalties.borrow().left()
    }

    /// Sets a storage's priority or draining; what is `None` stays. Errors: as [`Supervisor::drain`].
    pub async fn storage_update(&self, node: &NodeId, change: StorageChange) -> Result<(), Error> {
        // A row of a storage that nobody has would wait there for whoever gets the name.
        if self.node(node).is_none() {
            return Err(Error::NodeNotFound(node.clone()));
        }
        let done = self.within(self.inner.store.storage_update(node, change)).await;
        // Whoever made the change does not wait to be told of it.
        self.inner.primaries.forget([Scope::VirtualStorage(node.virtual_storage.clone())]);
        done
    }
}
