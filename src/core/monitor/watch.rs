//! Which nodes are watched may change while it votes.
//!
//! A registration says which they are, but a new incarnation has said nothing yet, so registering anew would take every
//! healthy node's vote away for as long as it takes to look again. Therefore the rows of the nodes that come and go are
//! changed on their own, under the same incarnation and by the same ordered writer: a vote on a node that goes must not
//! be stored after its row was removed.

use super::{Effect, Monitor};
use crate::core::{
    consensus::HealthFacts,
    ids::{Incarnation, NodeId, Voter},
    time::Timestamp,
};
use std::collections::BTreeSet;

impl Monitor {
    /// Watches these from now on. What is known of those that stay, and their votes, stay.
    pub(super) fn watch(&mut self, now: Timestamp, wanted: BTreeSet<NodeId>, effects: &mut Vec<Effect>) {
        let gone: Vec<NodeId> = self.nodes.keys().filter(|node| !wanted.contains(node)).cloned().collect();
        if gone.is_empty() && wanted.len() == self.nodes.len() {
            return;
        }
        let (mut local_changed, mut round_is_complete) = (false, false);
        for node in &gone {
            self.nodes.remove(node);
            self.unwritten.remove(node);
            self.held.remove(node);
            self.suspicions.forget(node);
            local_changed |= self.local.remove(node);
            round_is_complete |= self.round.forget(node);
        }
        self.recusal.watch(&wanted);
        for node in wanted {
            self.nodes.entry(node).or_default();
        }
        if local_changed {
            self.publish_local(effects);
        }
        self.watch_due = true;
        self.write(effects);
        if round_is_complete {
            self.close_round(now, effects);
        }
    }

    /// The database was told, or did not answer; then the next tick tells it again.
    pub(super) fn watched(
        &mut self,
        now: Timestamp,
        voter: &Voter,
        nodes: &[NodeId],
        mine: Option<bool>,
        effects: &mut Vec<Effect>,
    ) {
        if self.voter().as_ref() != Some(voter) {
            return;
        }
        self.writing = false;
        match mine {
            None => {}
            Some(false) => self.beat(now, effects),
            Some(true) => {
                // They may have changed again meanwhile.
                self.watch_due = !self.nodes.keys().eq(nodes);
                self.write(effects);
                self.read(effects);
            }
        }
    }

    /// A write of votes that was given up may have been carried out after all, and after its node had gone.
    pub(super) fn watch_again(&mut self, mine: Incarnation, facts: &HealthFacts) {
        let ours =
            |vote: &&crate::core::consensus::VoteRow| vote.supervisor == self.name && vote.incarnation == Some(mine);
        let strays = facts.votes.iter().filter(ours).any(|vote| !self.nodes.contains_key(&vote.node));
        self.watch_due |= strays;
    }
}
