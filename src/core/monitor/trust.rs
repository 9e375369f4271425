//! Whether this supervisor may be believed, and what it does while it may not.
//!
//! While it abstains it writes no votes, and its row says why. Once it sees again it takes back all that it said, looks,
//! votes anew, and only then takes part again: what it thought of nodes that were silent to it alone is worth nothing.

use super::{Effect, Monitor};
use crate::core::{
    consensus::Opinion,
    ids::{NodeId, Voter},
    recusal::{Distrust, Hold},
    time::Timestamp,
};

/// How many nodes are looked at for one input, on average, to say what need not wait any more: all of a cluster of forty
/// half of which is held, and of one of ten thousand so many that it does not stand still.
pub(super) const LOOKS: usize = 1 << 10;

/// Whether it may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Trust {
    /// It may.
    #[default]
    Full,
    /// It abstains.
    Recused(Distrust),
    /// It sees again since then, and votes anew before it takes part.
    Returning(Distrust, Timestamp),
}

/// What the database was told of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TrustRow {
    stored: Option<Distrust>,
    writing: bool,
    failed: bool,
}

impl TrustRow {
    /// A write that failed is tried again.
    pub(super) fn retry(&mut self) {
        self.failed = false;
    }
}

impl Monitor {
    pub(super) fn is_recused(&self) -> bool {
        matches!(self.trust, Trust::Recused(_))
    }

    /// Asks itself whether it may be believed, and does what follows.
    pub(super) fn weigh(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.in_rounds() {
            return;
        }
        match self.trust {
            Trust::Full => match self.recusal.reason(now) {
                Some(reason) => self.recuse(reason, effects),
                None => self.release(now, effects),
            },
            Trust::Recused(reason) if self.recusal.is_over(now) => self.come_back(now, reason, effects),
            Trust::Recused(_) => {}
            Trust::Returning(_, since) => match self.recusal.reason(now) {
                Some(reason) => self.recuse(reason, effects),
                None if self.has_voted_anew(now, since) => {
                    self.trust = Trust::Full;
                    effects.push(Effect::Recused(None));
                }
                None => self.release(now, effects),
            },
        }
        self.store_trust(effects);
    }

    fn recuse(&mut self, reason: Distrust, effects: &mut Vec<Effect>) {
        self.trust = Trust::Recused(reason);
        effects.push(Effect::Recused(Some(reason)));
    }

    /// Takes back all that it said, and looks.
    fn come_back(&mut self, now: Timestamp, reason: Distrust, effects: &mut Vec<Effect>) {
        self.trust = Trust::Returning(reason, now);
        self.held.clear();
        for (node, watched) in &mut self.nodes {
            watched.opinion = None;
            self.unwritten.insert(node.clone(), Opinion::None);
        }
        effects.push(Effect::ProbeAll);
        self.write(effects);
    }

    /// Its votes are stored, and they are about most of the nodes, or a round has passed.
    fn has_voted_anew(&self, now: Timestamp, since: Timestamp) -> bool {
        let said = || self.nodes.values().filter(|node| node.opinion.is_some_and(|said| said != Opinion::None)).count();
        self.unwritten.is_empty()
            && !self.writing
            && (now.since(since) >= self.recusal.limits().round || said().saturating_mul(2) >= self.nodes.len())
    }

    /// A vote that is news. One against a silent node waits while the silence may be this supervisor's own.
    pub(super) fn hold_or_queue(&mut self, now: Timestamp, node: NodeId, vote: Opinion, effects: &mut Vec<Effect>) {
        let hold = if vote == Opinion::Down { self.recusal.holds(now, &node) } else { Hold::No };
        match hold {
            Hold::No => {
                self.held.remove(&node);
                self.unwritten.insert(node, vote);
            }
            Hold::Began(ask) => {
                self.unwritten.remove(&node);
                self.held.insert(node);
                effects.push(Effect::Probe(ask.into_iter().collect()));
            }
            Hold::Goes => {
                self.unwritten.remove(&node);
                self.held.insert(node);
            }
        }
    }

    /// Says what waited and need not wait any more.
    fn release(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.looks = if self.held.is_empty() { 0 } else { self.looks.saturating_add(LOOKS) };
        if self.held.is_empty() || self.looks < self.held.len().saturating_mul(self.nodes.len()) {
            return;
        }
        self.looks = 0;
        for node in std::mem::take(&mut self.held) {
            if self.nodes.get(&node).is_some_and(|watched| watched.opinion == Some(Opinion::Down)) {
                self.hold_or_queue(now, node, Opinion::Down, effects);
            }
        }
        self.write(effects);
    }

    fn store_trust(&mut self, effects: &mut Vec<Effect>) {
        let reason = match self.trust {
            Trust::Full => None,
            Trust::Recused(reason) | Trust::Returning(reason, _) => Some(reason),
        };
        let Some(voter) = self.voter() else { return };
        let row = &mut self.trust_row;
        if row.writing || row.failed || row.stored == reason {
            return;
        }
        row.writing = true;
        effects.push(Effect::StoreTrust { voter, reason });
    }

    /// The database was told, or did not answer; then the next tick tells it again.
    pub(super) fn trust_stored(
        &mut self,
        now: Timestamp,
        voter: &Voter,
        reason: Option<Distrust>,
        mine: Option<bool>,
        effects: &mut Vec<Effect>,
    ) {
        if self.voter().as_ref() != Some(voter) {
            return;
        }
        self.trust_row.writing = false;
        match mine {
            None => self.trust_row.failed = true,
            Some(false) => {
                self.trust_row.failed = true;
                self.beat(now, effects);
            }
            Some(true) => {
                self.trust_row.stored = reason;
                self.read(effects);
            }
        }
    }
}
