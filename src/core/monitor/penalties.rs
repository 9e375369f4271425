//! A node that was deposed is not elected again at once: who dies once a minute must not lead once a minute.
//!
//! Every supervisor reads of a deposition, and one of them penalises: the penalty is raised only if it is still the one that
//! was read while the node was not deposed yet. It weighs on being elected, never on being healthy.

use super::{Effect, Monitor};
use crate::core::{
    consensus::NodeConsensus,
    ids::NodeId,
    penalty::{Penalties, lasting},
    quorum::Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// Who was deposed, and what is known of penalties.
#[derive(Debug, Default)]
pub(super) struct Depositions {
    /// As last read.
    penalties: Penalties,
    /// Who was healthy and has not been deposed since.
    fit: BTreeSet<NodeId>,
}

impl Depositions {
    pub(super) fn read(&mut self, penalties: Penalties) {
        self.penalties = penalties;
    }
}

impl Monitor {
    /// Penalises whom the quorum deposes now. What was read of penalties before is what counts.
    pub(super) fn depose(&mut self, nodes: &BTreeMap<NodeId, NodeConsensus>, effects: &mut Vec<Effect>) {
        if self.in_rounds() {
            return;
        }
        let Depositions { penalties, fit } = &mut self.depositions;
        fit.retain(|node| nodes.contains_key(node));
        for (node, known) in nodes {
            match known.verdict {
                Verdict::Healthy if !fit.contains(node) => drop(fit.insert(node.clone())),
                Verdict::Unhealthy if fit.remove(node) => {
                    let last = penalties.last.get(node).copied();
                    let (seen, lasting) = (last.map(|last| last.until), lasting(last, penalties.at));
                    effects.push(Effect::Penalise { node: node.clone(), seen, lasting });
                }
                Verdict::Healthy | Verdict::Unhealthy | Verdict::Undecided => {}
            }
        }
    }
}
