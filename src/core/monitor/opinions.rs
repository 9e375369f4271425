//! What this supervisor thinks of nodes, and what of that it says.

use super::{Effect, Monitor};
use crate::core::{consensus::Opinion, evidence::Evidence, ids::NodeId, time::Timestamp};

impl Monitor {
    pub(super) fn reported(
        &mut self,
        now: Timestamp,
        node: NodeId,
        opinion: Opinion,
        heard: (Evidence, Option<&str>),
        effects: &mut Vec<Effect>,
    ) {
        let (evidence, host) = heard;
        self.recusal.saw(now, &node, host, evidence);
        let Some(watched) = self.nodes.get_mut(&node) else { return };
        if matches!(evidence, Evidence::Ours(_)) {
            return;
        }
        watched.outcome_at = Some(now);
        // A window remembers longer than an incarnation lives: only a sighting makes a vote `up`, only a miss makes one
        // `down`; anything else at most keeps it.
        let is_remembered = (opinion == Opinion::Up && evidence != Evidence::Serving)
            || (opinion == Opinion::Down && evidence == Evidence::Serving);
        let vote = if is_remembered && watched.opinion != Some(opinion) { Opinion::None } else { opinion };
        let news = watched.opinion.replace(vote) != Some(vote);
        let local_changed = match opinion {
            Opinion::Up => !self.local.contains(&node) && self.local.insert(node.clone()),
            Opinion::Down | Opinion::None | Opinion::Misconfigured => self.local.remove(&node),
        };
        if local_changed && self.local_is_mine {
            effects.push(Effect::PublishOne { node: node.clone(), up: opinion == Opinion::Up });
        } else if local_changed {
            self.publish_local(effects);
        }
        if opinion == Opinion::Up && matches!(evidence, Evidence::Soft(_)) {
            self.missed(now, &node);
        }
        if news {
            self.hold_or_queue(now, node, vote, effects);
            self.write(effects);
        }
    }

    /// A node actor that died, or whose probes tell nothing, must not keep voting (D7).
    pub(super) fn retract_the_unseen(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.in_rounds() {
            return;
        }
        let mut local_changed = false;
        for (node, watched) in &mut self.nodes {
            if watched.outcome_at.is_some_and(|at| now.since(at) < self.settings.vote_ttl) {
                continue;
            }
            local_changed |= self.local.remove(node);
            if watched.opinion.is_some_and(|opinion| opinion != Opinion::None) {
                watched.opinion = Some(Opinion::None);
                self.held.remove(node);
                self.unwritten.insert(node.clone(), Opinion::None);
            }
        }
        if local_changed {
            self.publish_local(effects);
        }
    }
}
