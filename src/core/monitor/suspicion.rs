//! Who misses one probe is suspected, and that is told before it is a vote: the others look at once, and so a node that
//! really fell silent is found by all of them together, not by each when its own probe is due.
//!
//! A suspicion is a reason to look and nothing else. It is stored nowhere, weighs in no quorum, and whoever hears of one
//! looks even if it has just seen the node serve: that was before. It goes by notification alone, so where the database
//! cannot speak first (SQLite, a pooler) nobody hears of it, and the votes that follow are all that is told.
//!
//! It must not become a load of its own: one notification is under way at most, one begins each [`PAUSE`] at most, with at
//! most [`NAMES_MAX`] names in it, and a node is named once in a round, by whoever comes first: those who hear of it say
//! nothing about it themselves. What does not fit is forgotten, for when a thousand nodes fall silent no hint is needed.

use super::{Effect, Monitor};
use crate::core::{
    consensus::Opinion,
    ids::{NodeId, SupervisorName},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Nodes in one notification.
pub const NAMES_MAX: usize = 32;
/// Between two notifications of one supervisor.
pub const PAUSE: Duration = Duration::from_millis(100);

/// Some nodes missed a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// Whose probe.
    pub by: SupervisorName,
    /// Which nodes; at most [`NAMES_MAX`].
    pub nodes: BTreeSet<NodeId>,
}

/// What was told and heard of late.
#[derive(Debug, Default)]
pub(super) struct Suspicions {
    /// When each was last named, by whomever.
    named: BTreeMap<NodeId, Timestamp>,
    /// When each was last looked at because of it.
    looked: BTreeMap<NodeId, Timestamp>,
    waiting: BTreeSet<NodeId>,
    telling: bool,
    not_before: Timestamp,
}

/// Whether it is as long ago as this, or never was.
fn is_past(times: &BTreeMap<NodeId, Timestamp>, node: &NodeId, now: Timestamp, wait: Duration) -> bool {
    times.get(node).is_none_or(|at| now.since(*at) >= wait)
}

impl Suspicions {
    pub(super) fn forget(&mut self, node: &NodeId) {
        self.named.remove(node);
        self.looked.remove(node);
        self.waiting.remove(node);
    }

    /// What was to be told was, or could not be; it is not told again.
    pub(super) fn told(&mut self) {
        self.telling = false;
    }
}

impl Monitor {
    /// A node that this supervisor holds up missed a probe.
    pub(super) fn missed(&mut self, now: Timestamp, node: &NodeId) {
        let round = self.recusal.limits().round;
        let suspicions = &mut self.suspicions;
        if suspicions.waiting.len() < NAMES_MAX && is_past(&suspicions.named, node, now, round) {
            suspicions.named.insert(node.clone(), now);
            suspicions.waiting.insert(node.clone());
        }
    }

    /// Tells what waits, if it may be told by now.
    pub(super) fn tell_suspicions(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.suspicions.waiting.is_empty() {
            return;
        }
        if self.in_rounds() || self.is_recused() || self.voter().is_none() {
            self.suspicions.waiting.clear();
        } else if !self.suspicions.telling && now >= self.suspicions.not_before {
            self.suspicions.telling = true;
            self.suspicions.not_before = now.after(PAUSE);
            let nodes = std::mem::take(&mut self.suspicions.waiting);
            effects.push(Effect::TellSuspicion(Suspicion { by: self.name.clone(), nodes }));
        }
    }

    /// Somebody's probe was missed. Each node is looked at once per probe's time, however often it is named.
    pub(super) fn suspect_with(&mut self, now: Timestamp, heard: Suspicion, effects: &mut Vec<Effect>) {
        if self.in_rounds() || self.voter().is_none() || heard.by == self.name {
            return;
        }
        let wait = self.recusal.limits().timeout;
        let mut look = BTreeSet::new();
        for node in heard.nodes {
            if self.nodes.get(&node).is_none_or(|known| known.opinion != Some(Opinion::Up)) {
                continue;
            }
            self.suspicions.named.insert(node.clone(), now);
            if is_past(&self.suspicions.looked, &node, now, wait) {
                self.suspicions.looked.insert(node.clone(), now);
                look.insert(node);
            }
        }
        if !look.is_empty() {
            effects.push(Effect::Probe(look));
        }
    }
}

#[cfg(test)]
#[path = "suspicion_tests.rs"]
mod tests;
