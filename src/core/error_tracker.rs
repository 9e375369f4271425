//! What real traffic says about a node: how many of its calls failed lately, and whether that is too many.
//!
//! A probe asks a node whether it serves, and a node whose disk hangs says yes. So the errors of real calls are counted
//! too, reads and writes apart, in a window that slides. One that is full trips: the node is down to this supervisor,
//! for a reason of its own. After a cool-down a probe that finds it serving lets it back on trial; one more error
//! within a window's time trips it again at once, and a window's time without one ends the trial.
//!
//! Praefect's tracker differs: its verdict reaches nobody in the mode that is supported, it counts one expired error
//! too many, it counts the callers' own mistakes, and it lets a node back in full as soon as its window slid past,
//! which is whenever nobody has called it for a while. A ratio of errors to calls was rejected: it would need every
//! call counted, and at the rate of a write or two a minute it says less than a number does.

use super::time::Timestamp;
use serde::Serialize;
use std::{collections::VecDeque, time::Duration};

/// The most errors that a threshold may ask for: so many moments are remembered per node and kind while it errs.
pub const THRESHOLD_MAX: u32 = 10_000;

/// What a call does to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// It changes nothing (Praefect: an accessor).
    Read,
    /// It changes something (Praefect: a mutator).
    Write,
}

impl Traffic {
    /// The name, as a metric's label and a log field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Traffic::Read => "read",
            Traffic::Write => "write",
        }
    }
}

/// How many errors are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorLimits {
    /// How long an error counts, and how long a trial lasts. 100 ms to 1 h.
    pub window: Duration,
    /// Failed reads within a window that trip. 1 to 10,000.
    pub reads: u32,
    /// Failed writes within a window that trip. 1 to 10,000.
    pub writes: u32,
    /// How long a node stays out at least. 100 ms to 1 h.
    pub cool_down: Duration,
}

impl ErrorLimits {
    /// Everything that is wrong with these limits, each with the value and what is allowed. Empty: none.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (key, value) in [("error_threshold_window", self.window), ("error_cool_down", self.cool_down)] {
            if value < Duration::from_millis(100) || value > Duration::from_secs(3_600) {
                found.push((key, format!("{value:?} is not allowed: it must be 100 ms to 1 h")));
            }
        }
        for (key, value) in [("read_error_threshold_count", self.reads), ("write_error_threshold_count", self.writes)] {
            if value == 0 || value > THRESHOLD_MAX {
                found.push((key, format!("{value} is not allowed: it must be 1 to {THRESHOLD_MAX}")));
            }
        }
        found
    }
}

/// What is known of a node's real traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TrafficHealth {
    /// Which kind keeps the node out; reads if both do. `None`: neither.
    pub tripped: Option<Traffic>,
    /// Failed reads within the window; none are counted while reads keep it out.
    pub reads: u32,
    /// Failed writes within the window; none are counted while writes keep it out.
    pub writes: u32,
}

/// What has to outlive a tracker: which kinds keep the node out, or let it back on trial, and since when. The errors that
/// have not tripped anything yet are not in it: if they go on, whoever comes next finds out again. Default: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trips {
    reads: State,
    writes: State,
}

/// The errors of one node's real traffic.
#[derive(Debug, Clone)]
pub struct ErrorTracker {
    limits: ErrorLimits,
    reads: Breaker,
    writes: Breaker,
}

/// The errors of one kind.
#[derive(Debug, Clone)]
struct Breaker {
    threshold: u32,
    /// When the last errors came, oldest first; never more than the threshold.
    recent: VecDeque<Timestamp>,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Errors are counted.
    #[default]
    Closed,
    /// Too many: the node is out.
    Open { since: Timestamp },
    /// Let back; the next error is one too many.
    Trial { since: Timestamp },
}

impl ErrorTracker {
    /// A tracker that has seen nothing yet.
    #[must_use]
    pub fn new(limits: ErrorLimits) -> Self {
        let breaker = |threshold| Breaker { threshold, recent: VecDeque::new(), state: State::Closed };
        Self { limits, reads: breaker(limits.reads), writes: breaker(limits.writes) }
    }

    /// What has to outlive this tracker.
    #[must_use]
    pub fn trips(&self) -> Trips {
        Trips { reads: self.reads.state, writes: self.writes.state }
    }

    /// A tracker that takes over from another, whose times were of the same clock.
    #[must_use]
    pub fn resumed(mut self, trips: Trips) -> Self {
        (self.reads.state, self.writes.state) = (trips.reads, trips.writes);
        self
    }

    /// So many calls of this kind failed. While the kind keeps the node out, more of them say nothing new.
    pub fn failed(&mut self, now: Timestamp, kind: Traffic, count: u32) {
        let window = self.limits.window;
        match kind {
            Traffic::Read => self.reads.failed(now, count, window),
            Traffic::Write => self.writes.failed(now, count, window),
        }
    }

    /// A probe found the node serving.
    pub fn served(&mut self, now: Timestamp) {
        for breaker in [&mut self.reads, &mut self.writes] {
            match breaker.state {
                State::Open { since } if now.since(since) >= self.limits.cool_down => {
                    breaker.state = State::Trial { since: now };
                }
                State::Closed | State::Open { .. } | State::Trial { .. } => {}
            }
        }
    }

    /// Which kind keeps the node out; reads if both do.
    #[must_use]
    pub fn tripped(&self) -> Option<Traffic> {
        let kinds = [(Traffic::Read, &self.reads), (Traffic::Write, &self.writes)];
        kinds.into_iter().find(|(_, breaker)| matches!(breaker.state, State::Open { .. })).map(|(kind, _)| kind)
    }

    /// All of it, for those who ask.
    #[must_use]
    pub fn health(&self, now: Timestamp) -> TrafficHealth {
        let count = |breaker: &Breaker| {
            let young = breaker.recent.iter().filter(|at| now.since(**at) < self.limits.window).count();
            u32::try_from(young).unwrap_or(u32::MAX)
        };
        TrafficHealth { tripped: self.tripped(), reads: count(&self.reads), writes: count(&self.writes) }
    }
}

impl Breaker {
    fn failed(&mut self, now: Timestamp, count: u32, window: Duration) {
        if count == 0 {
            return;
        }
        match self.state {
            State::Open { .. } => return,
            State::Trial { since } if now.since(since) < window => return self.trip(now),
            State::Trial { .. } => self.state = State::Closed,
            State::Closed => {}
        }
        while self.recent.front().is_some_and(|at| now.since(*at) >= window) {
            self.recent.pop_front();
        }
        let known = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if known.saturating_add(count) >= self.threshold {
            return self.trip(now);
        }
        self.recent.extend((0..count).map(|_| now));
    }

    fn trip(&mut self, now: Timestamp) {
        self.recent.clear();
        self.state = State::Open { since: now };
    }
}

#[cfg(test)]
#[path = "error_tracker_tests.rs"]
mod tests;
