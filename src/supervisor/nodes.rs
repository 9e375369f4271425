//! The configured nodes, and finding them: among ten thousand a lookup must not read all names.

use crate::{
    actors::NodeHandle,
    core::ids::{NodeId, Storage, VirtualStorage},
};
use std::collections::BTreeMap;

/// All nodes in order of configuration, and where each name stands among them.
pub(super) struct Nodes<C> {
    all: Vec<NodeHandle<C>>,
    places: BTreeMap<VirtualStorage, BTreeMap<Storage, usize>>,
}

impl<C: Clone> Nodes<C> {
    pub(super) fn new(all: Vec<NodeHandle<C>>) -> Self {
        let mut places = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (place, handle) in all.iter().enumerate() {
            let NodeId { virtual_storage, storage } = handle.node().clone();
            places.entry(virtual_storage).or_default().insert(storage, place);
        }
        Self { all, places }
    }

    /// All, in order of configuration.
    pub(super) fn all(&self) -> &[NodeHandle<C>] {
        &self.all
    }

    pub(super) fn get(&self, virtual_storage: &VirtualStorage, storage: &Storage) -> Option<&NodeHandle<C>> {
        self.places.get(virtual_storage)?.get(storage).and_then(|place| self.all.get(*place))
    }

    /// Those of these that are configured, in order of configuration.
    pub(super) fn among<'a>(
        &self,
        virtual_storage: &VirtualStorage,
        storages: impl IntoIterator<Item = &'a Storage>,
    ) -> impl Iterator<Item = &NodeHandle<C>> {
        let here = self.places.get(virtual_storage);
        let find = |storage| here.and_then(|here| here.get(storage)).copied();
        let mut places: Vec<usize> = storages.into_iter().filter_map(find).collect();
        places.sort_unstable();
        places.into_iter().filter_map(|place| self.all.get(place))
    }

    /// The storages of a virtual storage by name; `None` if it is not configured.
    pub(super) fn storages(&self, virtual_storage: &VirtualStorage) -> Option<impl Iterator<Item = &Storage>> {
        self.places.get(virtual_storage).map(BTreeMap::keys)
    }
}
