//! The configured nodes, in order of configuration and by name. A router asks for one of ten thousand at each request.

use super::nodes::Wire;
use crate::{
    actors::NodeHandle,
    core::ids::{NodeId, Storage, VirtualStorage},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(super) struct Roster<C> {
    in_order: Arc<[NodeHandle<C>]>,
    places: BTreeMap<NodeId, usize>,
}

impl<C: Clone> Roster<C> {
    /// Those of the running nodes that are configured, in this order.
    pub(super) fn new(order: &[NodeId], running: &BTreeMap<NodeId, Wire<C>>) -> Self {
        let handles = order.iter().filter_map(|node| running.get(node)).map(|wire| wire.handle.clone());
        let in_order: Arc<[NodeHandle<C>]> = handles.collect();
        let places = in_order.iter().enumerate().map(|(place, handle)| (handle.node().clone(), place)).collect();
        Self { in_order, places }
    }

    /// All, in order of configuration.
    pub(super) fn all(&self) -> &Arc<[NodeHandle<C>]> {
        &self.in_order
    }

    pub(super) fn node(&self, node: &NodeId) -> Option<&NodeHandle<C>> {
        self.places.get(node).and_then(|place| self.in_order.get(*place))
    }

    /// Those of a virtual storage's nodes that have these names, each once and in order of configuration.
    pub(super) fn named<'a>(
        &self,
        virtual_storage: &VirtualStorage,
        names: impl IntoIterator<Item = &'a Storage>,
    ) -> Vec<NodeHandle<C>> {
        let place = |name: &Storage| self.places.get(&NodeId::new(virtual_storage.clone(), name.clone()));
        let places: BTreeSet<usize> = names.into_iter().filter_map(place).copied().collect();
        places.into_iter().filter_map(|place| self.in_order.get(place)).cloned().collect()
    }
}
