//! One copy of each name for all entries. A million repositories have some ten storages: a name of each entry's own costs
//! memory, and costs every reader a wait for memory that no cache has.

use crate::core::{
    election::Primary,
    ids::{ClusterId, Storage, VirtualStorage},
};
use std::{collections::BTreeSet, sync::Arc};

/// The names that were kept so far: at most one of each cluster, virtual storage and storage that a primary had since
/// everything was last forgotten.
#[derive(Default)]
pub(super) struct Names {
    clusters: BTreeSet<ClusterId>,
    virtual_storages: BTreeSet<VirtualStorage>,
    storages: BTreeSet<Storage>,
}

impl Names {
    /// The same primary by names that others have, too.
    pub(super) fn shared(&mut self, primary: &Primary) -> Arc<Primary> {
        Arc::new(Primary {
            cluster: one(&mut self.clusters, &primary.cluster),
            repository: primary.repository,
            virtual_storage: one(&mut self.virtual_storages, &primary.virtual_storage),
            relative_path: primary.relative_path.clone(),
            storage: one(&mut self.storages, &primary.storage),
            epoch: primary.epoch,
        })
    }
}

fn one<T: Ord + Clone>(known: &mut BTreeSet<T>, name: &T) -> T {
    if let Some(known) = known.get(name) {
        return known.clone();
    }
    known.insert(name.clone());
    name.clone()
}
