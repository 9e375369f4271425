//! Who is primary of each virtual storage, as this supervisor last heard: what its gauge shows and its log told.

use crate::{
    core::{
        epoch::Epoch,
        ids::{Storage, SupervisorName, VirtualStorage},
    },
    telemetry::{self, Meter},
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;

/// The primaries that a supervisor knows of. It outlives the elector that writes it: a local elector that was rebuilt must
/// not fail back, and nothing is told twice.
#[derive(Debug, Clone)]
pub struct KnownPrimaries {
    heard: Arc<watch::Sender<BTreeMap<VirtualStorage, Heard>>>,
    name: SupervisorName,
    meter: Meter,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Heard {
    nodes: Vec<Storage>,
    primary: Option<Storage>,
    epoch: Option<Epoch>,
}

impl KnownPrimaries {
    /// Those of a supervisor that has heard of none yet. The meter is told `gitaly_praefect_primaries`.
    #[must_use]
    pub fn new(name: SupervisorName, meter: Meter) -> Self {
        Self { heard: Arc::default(), name, meter }
    }

    /// The last one heard of.
    pub(super) fn of(&self, virtual_storage: &VirtualStorage) -> Option<Storage> {
        self.heard.borrow().get(virtual_storage).and_then(|heard| heard.primary.clone())
    }

    /// Takes what was read now, under its epoch; lookups overtake each other, so what is older than the last is ignored.
    /// Until anything was heard the first configured node is primary, as in Praefect: that it is, is no change.
    pub(super) fn hear(
        &self,
        virtual_storage: &VirtualStorage,
        nodes: &[Storage],
        primary: Option<&Storage>,
        epoch: Option<Epoch>,
    ) {
        let now = Heard { nodes: nodes.to_vec(), primary: primary.cloned(), epoch };
        let last = self.heard.borrow().get(virtual_storage).cloned();
        if last.as_ref().is_some_and(|last| *last == now || now.epoch < last.epoch) {
            return;
        }
        let gone = last.iter().flat_map(|last| &last.nodes).filter(|node| !nodes.contains(node));
        self.meter.shard_primary(virtual_storage, nodes, gone, primary);
        let before = last.map_or_else(|| nodes.first().cloned(), |last| last.primary);
        if before.as_ref() != primary {
            telemetry::shard_primary_changed(virtual_storage, &self.name, before.as_ref(), primary);
        }
        self.heard.send_modify(|heard| {
            heard.insert(virtual_storage.clone(), now);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::epoch::Era;

    #[test]
    fn what_a_slower_lookup_read_before_does_not_come_back() {
        let known = KnownPrimaries::new(SupervisorName::new("s1").unwrap(), Meter::default());
        let of = VirtualStorage::new("v").unwrap();
        let nodes = ["g1", "g2"].map(|name| Storage::new(name).unwrap());
        let epoch = |number| Some(Epoch::new(Era(1), number).unwrap());
        known.hear(&of, &nodes, Some(&nodes[1]), epoch(2));
        known.hear(&of, &nodes, Some(&nodes[0]), epoch(1));
        assert_eq!(known.of(&of), Some(nodes[1].clone()));
        known.hear(&of, &nodes, None, epoch(3));
        assert_eq!(known.of(&of), None, "demoted");
    }
}
