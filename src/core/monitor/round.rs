//! One round of profile `praefect`: every node is asked once, and whoever has not answered by the end is not seen.

use crate::core::ids::NodeId;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(super) struct Round {
    number: u64,
    closed: u64,
    waiting: Option<BTreeSet<NodeId>>,
    asked: BTreeSet<NodeId>,
    up: BTreeSet<NodeId>,
}

impl Round {
    /// Opens the next round, unless one is open: late ticks are skipped, never queued (F9).
    pub(super) fn open(&mut self, nodes: BTreeSet<NodeId>) -> Option<u64> {
        if self.waiting.is_some() {
            return None;
        }
        self.number = self.number.saturating_add(1);
        self.asked.clone_from(&nodes);
        self.waiting = Some(nodes);
        self.up.clear();
        Some(self.number)
    }
    pub(super) fn is_open(&self, round: u64) -> bool {
        self.number == round && self.waiting.is_some()
    }
    pub(super) fn any_closed(&self) -> bool {
        self.closed > 0
    }
    /// Takes one report; answers whether it was the last one missing. A report of another round is dropped.
    pub(super) fn report(&mut self, round: u64, node: NodeId, up: bool) -> bool {
        if !self.is_open(round) {
            return false;
        }
        let Some(waiting) = &mut self.waiting else { return false };
        if waiting.remove(&node) && up {
            self.up.insert(node);
        }
        waiting.is_empty()
    }
    /// A node that is watched no longer is waited for no longer; answers whether it was the last one missing.
    pub(super) fn forget(&mut self, node: &NodeId) -> bool {
        self.asked.remove(node);
        self.up.remove(node);
        self.waiting.as_mut().is_some_and(|waiting| waiting.remove(node) && waiting.is_empty())
    }
    /// Closes the round; answers who was asked and is watched still, and who of them was seen.
    pub(super) fn close(&mut self) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
        self.waiting = None;
        self.closed = self.closed.saturating_add(1);
        (::core::mem::take(&mut self.asked), ::core::mem::take(&mut self.up))
    }
}
