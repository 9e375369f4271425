//! One ordered writer of votes: they are written when they change, bounded in each write, and again until accepted.

use super::{Effect, Monitor, Standing, WrittenBatch};
use crate::core::{
    consensus::{HealthFacts, Opinion},
    ids::NodeId,
    time::Timestamp,
};
use std::{collections::BTreeMap, ops::Bound};

/// Votes in one write. Ten thousand took a busy PostgreSQL 1.2 s of the 2 s that a statement may take, and a write that is
/// too large is too large whenever it is tried again.
pub const VOTES_MAX: usize = 1_000;

impl Monitor {
    pub(super) fn queue_every_vote(&mut self) {
        for (node, watched) in &self.nodes {
            if let Some(opinion) = watched.opinion {
                self.unwritten.entry(node.clone()).or_insert(opinion);
            }
        }
    }

    pub(super) fn write(&mut self, effects: &mut Vec<Effect>) {
        let Some(voter) = self.voter() else { return };
        if self.writing || (self.unwritten.is_empty() && !self.watch_due) {
            return;
        }
        self.writing = true;
        if self.watch_due {
            effects.push(Effect::Watch { voter, nodes: self.nodes.keys().cloned().collect() });
            return;
        }
        self.batches = self.batches.saturating_add(1);
        let mut votes = self.next_votes();
        self.written_up_to = votes.last().map(|(node, _)| node.clone());
        votes.sort_unstable();
        effects.push(Effect::WriteVotes { voter, batch: self.batches, votes });
    }

    /// Votes for one write, from where the last one ended.
    fn next_votes(&self) -> Vec<(NodeId, Opinion)> {
        let after = self.written_up_to.as_ref();
        let later = self.unwritten.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let earlier = after.into_iter().flat_map(|after| self.unwritten.range(..=after));
        later.chain(earlier).take(VOTES_MAX).map(|(node, opinion)| (node.clone(), *opinion)).collect()
    }

    pub(super) fn votes_written(
        &mut self,
        now: Timestamp,
        batch: WrittenBatch,
        mine: Option<bool>,
        effects: &mut Vec<Effect>,
    ) {
        if self.voter().map(|voter| voter.incarnation) != Some(batch.incarnation) || batch.number != self.batches {
            return;
        }
        self.writing = false;
        match mine {
            // Retried by the next tick, or sooner by the next opinion; the latest opinion per node waits here.
            None => {}
            Some(false) => self.beat(now, effects),
            Some(true) => {
                for (node, opinion) in batch.votes {
                    if self.unwritten.get(&node) == Some(&opinion) {
                        self.unwritten.remove(&node);
                    }
                }
                self.write(effects);
                self.read(effects);
            }
        }
    }

    pub(super) fn rewrite_what_differs(&mut self, facts: &HealthFacts) {
        let Standing::Voting(mine) = self.standing else { return };
        self.watch_again(mine, facts);
        let stored: BTreeMap<&NodeId, Option<Opinion>> = facts
            .votes
            .iter()
            .filter(|vote| vote.supervisor == self.name && vote.incarnation == Some(mine))
            .map(|vote| (&vote.node, vote.opinion))
            .collect();
        for (node, watched) in &self.nodes {
            let Some(opinion) = watched.opinion else { continue };
            if stored.get(node) != Some(&Some(opinion)) {
                self.unwritten.entry(node.clone()).or_insert(opinion);
            }
        }
    }
}
