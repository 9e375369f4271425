//! What others say is a reason to look, never to vote.

use super::{Effect, Monitor};
use crate::core::consensus::{HealthFacts, Opinion};
use std::collections::BTreeSet;

impl Monitor {
    /// Whom somebody else votes down, and this supervisor holds up, is probed at once: once for each accusation that is
    /// new, so that one which stands for ever costs nothing.
    pub(super) fn suspect(&mut self, facts: &HealthFacts, effects: &mut Vec<Effect>) {
        if self.in_rounds() {
            return;
        }
        let accused =
            facts.votes.iter().filter(|vote| vote.opinion == Some(Opinion::Down) && vote.supervisor != self.name);
        let accused: BTreeSet<_> = accused.map(|vote| vote.node.clone()).collect();
        let held_up = |node: &&_| self.nodes.get(*node).is_some_and(|known| known.opinion == Some(Opinion::Up));
        let look: BTreeSet<_> = accused.difference(&self.suspected).filter(held_up).cloned().collect();
        self.suspected = accused;
        if !look.is_empty() {
            effects.push(Effect::Probe(look));
        }
    }
}
