//! When a supervisor must not be believed: not by the others, and not by itself (docs/protocol.md section 2).
//!
//! It abstains while its own event loop stood still or its clock jumped, and while it sees too little to say who is gone:
//! if more than half of the nodes fell silent together, and none of them said so, then it is more likely that this
//! supervisor lost the network than that they all died. Hard evidence is never silence: a refusal came from somewhere.
//!
//! Whoever abstains only after the fact has done the harm already, for nodes fall silent one after the other. So a vote
//! against a silent node is *held* for as long as that silence may be the beginning of blindness: until enough of the
//! others have answered since. They are asked at once, so the hold takes a round trip, and at most two timeouts.

use super::{evidence::Evidence, ids::NodeId, time::Timestamp};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Fewer silent nodes than this are no blindness.
const NODES_MIN: usize = 3;
/// Nor are those of a single host: that may well have died.
const HOSTS_MIN: usize = 2;
/// How far the wall clock may move against the monotonic one between two looks.
pub const JUMP_TOLERANCE: Duration = Duration::from_millis(500);

/// Why a supervisor abstains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distrust {
    /// Its own event loop stood still.
    Stalled,
    /// Its own clock jumped.
    ClockJumped,
    /// Most of the nodes fell silent together: it sees nothing any more.
    Blind,
}

impl Distrust {
    /// All of them.
    pub const ALL: [Distrust; 3] = [Distrust::Stalled, Distrust::ClockJumped, Distrust::Blind];

    /// The name, as stored, as a metric's label and a log field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Distrust::Stalled => "stalled",
            Distrust::ClockJumped => "clock_jumped",
            Distrust::Blind => "blind",
        }
    }
}

/// What a supervisor measures itself by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long its event loop may stand still. Default 250 ms.
    pub stall: Duration,
    /// In which time every node was asked, and a silent one as often as makes it down: what falls silent within one
    /// round fell silent together. Default 1,725 ms.
    pub round: Duration,
    /// How long one probe may take. Default 300 ms.
    pub timeout: Duration,
}

impl Limits {
    /// Those of a supervisor that probes like this.
    #[must_use]
    pub fn of(stall: Duration, interval: Duration, timeout: Duration, fall: u32) -> Self {
        let tenth = interval.checked_div(10).unwrap_or_default();
        let round = interval.saturating_add(tenth).saturating_add(timeout.saturating_mul(fall));
        Self { stall, round, timeout }
    }

    /// Time between two looks at the own clocks: two of them fit in a stall.
    #[must_use]
    pub fn pace(&self) -> Duration {
        self.stall.checked_div(2).unwrap_or(self.stall)
    }
}

impl Default for Limits {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self::of(ms(250), ms(750), ms(300), 3)
    }
}

/// What was last heard of one node.
#[derive(Debug, Clone, Default)]
struct Sight {
    host: Option<String>,
    answered: Option<Timestamp>,
    /// Since when it has been silent.
    silent: Option<Timestamp>,
    /// Since when a vote against it has been held.
    held: Option<Timestamp>,
    /// When it was last to be asked at once.
    asked: Option<Timestamp>,
}

impl Sight {
    /// Not known to be silent, and not heard since then either.
    fn is_unheard_since(&self, then: Timestamp) -> bool {
        self.silent.is_none() && self.answered.is_none_or(|at| at < then)
    }
}

/// What one supervisor knows of its own trustworthiness.
#[derive(Debug, Clone, Default)]
pub struct Recusal {
    limits: Limits,
    nodes: BTreeMap<NodeId, Sight>,
    /// How many of them are silent: most questions are answered by that alone.
    silent: usize,
    looked: Option<(Timestamp, i64)>,
    /// Its own trouble, and until when that counts.
    trouble: Option<(Distrust, Timestamp)>,
}

impl Recusal {
    /// Nothing was heard of these nodes yet, and nothing speaks against this supervisor.
    #[must_use]
    pub fn new(limits: Limits, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let nodes = nodes.into_iter().map(|node| (node, Sight::default())).collect();
        Self { limits, nodes, silent: 0, looked: None, trouble: None }
    }

    /// What it is measured by.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Is measured by other limits from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Watches exactly these nodes from now on.
    pub fn watch(&mut self, wanted: &BTreeSet<NodeId>) {
        self.nodes.retain(|node, _| wanted.contains(node));
        for node in wanted {
            self.nodes.entry(node.clone()).or_default();
        }
        self.silent = self.nodes.values().filter(|sight| sight.silent.is_some()).count();
    }

    /// A probe of a node ended. `host` is the machine that it is on; a node of which none is known is a machine of its own.
    pub fn saw(&mut self, now: Timestamp, node: &NodeId, host: Option<&str>, evidence: Evidence) {
        let Some(sight) = self.nodes.get_mut(node) else { return };
        if host.is_some() && sight.host.as_deref() != host {
            sight.host = host.map(str::to_owned);
        }
        match evidence {
            Evidence::Soft(_) if sight.silent.is_none() => {
                sight.silent = Some(now);
                self.silent = self.silent.saturating_add(1);
            }
            Evidence::Soft(_) | Evidence::Ours(_) => {}
            // Whatever it said, it was heard.
            Evidence::Serving
            | Evidence::Hard(_)
            | Evidence::Misconfigured(_)
            | Evidence::Graceful
            | Evidence::ErrorRate(_) => {
                self.silent = self.silent.saturating_sub(usize::from(sight.silent.is_some()));
                (sight.answered, sight.silent, sight.held) = (Some(now), None, None);
            }
        }
    }

    /// A look at the own clocks, which was due [`Limits::pace`] after the last. `wall` is by how many microseconds the wall
    /// clock is ahead of the monotonic one, from an arbitrary beginning.
    pub fn looked(&mut self, now: Timestamp, wall: i64) {
        let Some((last, before)) = self.looked.replace((now, wall)) else { return };
        let stood_still = now.since(last) > self.limits.pace().saturating_add(self.limits.stall);
        let jumped = Duration::from_micros(wall.saturating_sub(before).unsigned_abs()) > JUMP_TOLERANCE;
        let reason = match (jumped, stood_still) {
            (true, _) => Distrust::ClockJumped,
            (false, true) => Distrust::Stalled,
            (false, false) => return,
        };
        self.trouble = Some((reason, now.after(self.limits.round)));
    }

    /// Why it must begin to abstain; `None`: nothing speaks against it.
    #[must_use]
    pub fn reason(&self, now: Timestamp) -> Option<Distrust> {
        self.trouble(now).or_else(|| self.is_blind(now).then_some(Distrust::Blind))
    }

    /// Whether one that abstains may come back: the trouble is one round past, and at least half of the nodes were heard
    /// within the last round.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        if self.is_majority(self.silent) {
            return false;
        }
        let heard = self.nodes.values().filter(|sight| self.was_heard(now, sight)).count();
        self.trouble(now).is_none() && heard.saturating_mul(2) >= self.nodes.len()
    }

    fn is_majority(&self, many: usize) -> bool {
        many.saturating_mul(2) > self.nodes.len()
    }

    fn was_heard(&self, now: Timestamp, sight: &Sight) -> bool {
        sight.silent.is_none() && sight.answered.is_some_and(|at| now.since(at) <= self.limits.round)
    }

    fn trouble(&self, now: Timestamp) -> Option<Distrust> {
        self.trouble.filter(|(_, until)| now < *until).map(|(reason, _)| reason)
    }

    fn is_blind(&self, now: Timestamp) -> bool {
        let lately = |sight: &Sight| sight.silent.is_some_and(|since| now.since(since) <= self.limits.round);
        self.is_majority(self.silent) && self.would_blind(self.nodes.iter().filter(|(_, sight)| lately(sight)))
    }

    /// Whether it could see nothing of the cluster if these were silent together.
    fn would_blind<'a>(&self, silent: impl Iterator<Item = (&'a NodeId, &'a Sight)>) -> bool {
        let (mut many, mut hosts) = (0_usize, BTreeSet::new());
        for (node, sight) in silent {
            many = many.saturating_add(1);
            if hosts.len() < HOSTS_MIN {
                hosts.insert(sight.host.as_deref().ok_or(node));
            }
        }
        many >= NODES_MIN && self.is_majority(many) && hosts.len() >= HOSTS_MIN
    }

    /// Whether a vote against this silent node has to wait. Answers whom to ask at once, when it begins to.
    pub fn holds(&mut self, now: Timestamp, node: &NodeId) -> Hold {
        let Some(silent) = self.nodes.get(node).and_then(|sight| sight.silent) else { return Hold::No };
        // Silent for longer than a round before it: that one is known to be gone.
        let unheard = |sight: &Sight| match sight.silent {
            Some(since) => silent.since(since) <= self.limits.round,
            None => sight.is_unheard_since(silent),
        };
        if !self.would_blind(self.nodes.iter().filter(|(_, sight)| unheard(sight))) {
            return Hold::No;
        }
        let Some(sight) = self.nodes.get_mut(node) else { return Hold::No };
        match sight.held {
            None => {
                sight.held = Some(now);
                Hold::Began(self.ask(now, silent))
            }
            Some(since) if now.since(since) < self.limits.timeout.saturating_mul(2) => Hold::Goes,
            Some(_) => Hold::No,
        }
    }

    /// Those of whom nothing was heard since, and who were not asked just now: of a thousand that fall silent each would have
    /// all the others asked.
    fn ask(&mut self, now: Timestamp, since: Timestamp) -> Vec<NodeId> {
        let mut ask = Vec::new();
        for (node, sight) in &mut self.nodes {
            if sight.is_unheard_since(since) && sight.asked.is_none_or(|at| now.since(at) >= self.limits.timeout) {
                sight.asked = Some(now);
                ask.push(node.clone());
            }
        }
        ask
    }
}

/// Whether a vote has to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// It need not, or not any more.
    No,
    /// It does from now on; these are to be asked at once.
    Began(Vec<NodeId>),
    /// It still does.
    Goes,
}

#[cfg(test)]
#[path = "recusal_tests.rs"]
mod tests;
