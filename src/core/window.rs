//! The last K outcomes of one node as seen by one supervisor, and what follows from them.
//!
//! Down after `fall` misses in a row, up again after `rise` successes in a row (Envoy's and HAProxy's words and
//! rule). A node without an opinion yet needs `first` successes, by default one: a start must not be slower than it
//! need be, and a node that was never up cannot flap. Praefect's rule for the nodes of its old manager, the last three
//! checks and no fewer, is [`Thresholds::LAST_THREE`]. A ratio over the window was rejected: it makes the time to a verdict depend on
//! the past, which an operator cannot predict.

use super::consensus::Opinion;
use serde::Serialize;
use std::collections::VecDeque;

/// How a window turns outcomes into an opinion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Misses in a row that make a node down; at least 1, at most `window`.
    pub fall: u32,
    /// Successes in a row that bring a down node back; at least 1, at most `window`.
    pub rise: u32,
    /// Successes in a row that a node without an opinion needs; at least 1, at most `window`.
    pub first: u32,
    /// How many outcomes are remembered for those who ask; at most 1,000.
    pub window: u32,
}

impl Thresholds {
    /// Praefect's `IsHealthy`: three checks at least, and the last three all succeeded. One failure is enough to be
    /// down.
    pub const LAST_THREE: Thresholds = Thresholds { fall: 1, rise: 3, first: 3, window: 3 };
}

/// The rolling health window of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthWindow {
    #[serde(skip)]
    thresholds: Thresholds,
    outcomes: VecDeque<bool>,
    opinion: Opinion,
    misses: u32,
    successes: u32,
}

impl HealthWindow {
    /// An empty window without an opinion.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, outcomes: VecDeque::new(), opinion: Opinion::None, misses: 0, successes: 0 }
    }
    /// The opinion so far.
    #[must_use]
    pub fn opinion(&self) -> Opinion {
        self.opinion
    }
    /// The outcomes remembered, oldest first.
    pub fn outcomes(&self) -> impl Iterator<Item = bool> + '_ {
        self.outcomes.iter().copied()
    }
    /// Misses in a row so far.
    #[must_use]
    pub fn misses(&self) -> u32 {
        self.misses
    }
    /// Counts a success.
    pub fn success(&mut self) {
        self.remember(true);
        self.misses = 0;
        self.successes = self.successes.saturating_add(1);
        let needed = if self.opinion == Opinion::None { self.thresholds.first } else { self.thresholds.rise };
        if self.successes >= needed {
            self.opinion = Opinion::Up;
        }
    }
    /// Counts a miss.
    pub fn miss(&mut self) {
        self.remember(false);
        self.successes = 0;
        self.misses = self.misses.saturating_add(1);
        if self.misses >= self.thresholds.fall {
            self.opinion = Opinion::Down;
        }
    }
    /// Hard evidence: down at once.
    pub fn down(&mut self) {
        self.miss();
        self.opinion = Opinion::Down;
    }
    /// It answers as something else: misconfigured at once, and as far from up as a node that is down.
    pub fn misconfigured(&mut self) {
        self.miss();
        self.opinion = Opinion::Misconfigured;
    }
    /// Takes other thresholds. Outcomes and opinion stay, as far as the window still reaches.
    pub fn reconfigure(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
        self.forget();
    }
    /// The node is somewhere else now: what was counted so far counts no longer towards a change of mind. The opinion
    /// stays until something is seen there.
    pub fn start_over(&mut self) {
        self.misses = 0;
        self.successes = 0;
    }
    fn remember(&mut self, outcome: bool) {
        self.outcomes.push_back(outcome);
        self.forget();
    }
    fn forget(&mut self) {
        while self.outcomes.len() > usize::try_from(self.thresholds.window).unwrap_or(usize::MAX) {
            self.outcomes.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(fall: u32, rise: u32) -> HealthWindow {
        HealthWindow::new(Thresholds { fall, rise, first: 1, window: 10 })
    }

    #[test]
    fn the_first_success_is_enough_but_a_return_needs_rise() {
        let mut window = window(3, 3);
        window.success();
        assert_eq!(window.opinion(), Opinion::Up);
        window.down();
        assert_eq!(window.opinion(), Opinion::Down);
        window.success();
        window.success();
        assert_eq!(window.opinion(), Opinion::Down);
        window.success();
        assert_eq!(window.opinion(), Opinion::Up);
    }

    #[test]
    fn a_miss_between_starts_the_count_again() {
        let mut window = window(2, 2);
        window.down();
        window.success();
        window.miss();
        window.success();
        assert_eq!(window.opinion(), Opinion::Down);
        window.success();
        window.miss();
        assert_eq!(window.opinion(), Opinion::Up, "one miss of two");
        window.miss();
        assert_eq!(window.opinion(), Opinion::Down);
    }

    #[test]
    fn by_the_rule_of_three_up_is_exactly_the_last_three_checks() {
        // Every history of eight checks; Praefect's rule as its documentation has it.
        for history in 0_u32..256 {
            let mut window = HealthWindow::new(Thresholds::LAST_THREE);
            assert_eq!(window.opinion(), Opinion::None, "unchecked");
            let mut checks = Vec::new();
            for check in 0..8 {
                let served = history & (1 << check) != 0;
                checks.push(served);
                if served {
                    window.success()
                } else {
                    window.miss()
                }
                let healthy = checks.len() >= 3 && checks[checks.len() - 3..].iter().all(|served| *served);
                assert_eq!(window.opinion() == Opinion::Up, healthy, "{checks:?}");
                assert!(window.outcomes().eq(checks[checks.len().saturating_sub(3)..].iter().copied()));
            }
        }
    }

    #[test]
    fn the_default_rule_is_another_one() {
        let mut window = window(3, 3);
        window.success();
        assert_eq!(window.opinion(), Opinion::Up, "one success, not three");
        window.miss();
        assert_eq!(window.opinion(), Opinion::Up, "one failure is not enough");
    }

    #[test]
    fn it_remembers_no_more_than_it_should() {
        let mut window = window(3, 3);
        (0..50).for_each(|_| window.miss());
        assert_eq!(window.outcomes().count(), 10);
    }
}
