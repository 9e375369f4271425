//! How long a node is waited for: for an answer, and for a restart.
//!
//! A refused port is a death at once by default, for nothing says so as surely, and a planned restart drains first. Whoever
//! restarts nodes without draining them may prefer to wait a moment. That delays the end of a real death by as much, so it
//! is a choice. What is delayed is only the verdict, and only a refusal or a reset: the node is looked at all the more
//! often, and one that *says* that it does not serve is believed at once.
//!
//! A grace for each *miss* was rejected: misses are silence, which has its own measure, `fall`.

use super::time::Timestamp;
use std::time::Duration;

/// Between two looks at a node that may be restarting. A refusal costs a round trip, and a node that is back is to be seen
/// before anybody misses it much.
pub const RESTART_PACE: Duration = Duration::from_millis(100);

/// How long a node is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The longest that one probe may take.
    pub timeout: Duration,
    /// The shortest time that one probe is given, however fast the node has answered so far
    /// ([`RoundTrips`](super::round_trips::RoundTrips)); at least `timeout`: each is given all of that.
    pub timeout_floor: Duration,
    /// How long a node whose port is closed may take to come back before it is down. Zero: it is down at once.
    pub restart_grace: Duration,
}

/// Each probe may take so long, and nobody waits for a restart.
impl From<Duration> for Patience {
    fn from(timeout: Duration) -> Self {
        Self { timeout, timeout_floor: timeout, restart_grace: Duration::ZERO }
    }
}

/// Whether a node is given time to restart.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Restart {
    /// When it was first found gone.
    since: Option<Timestamp>,
}

impl Restart {
    /// The node was found gone; only the first time counts.
    pub(super) fn began(&mut self, now: Timestamp, grace: Duration) {
        if !grace.is_zero() {
            self.since.get_or_insert(now);
        }
    }

    /// The node was found, or given up.
    pub(super) fn ended(&mut self) {
        self.since = None;
    }

    pub(super) fn is_under_way(self) -> bool {
        self.since.is_some()
    }

    /// Whether its time is not over.
    pub(super) fn is_within(self, now: Timestamp, grace: Duration) -> bool {
        self.since.is_some_and(|since| now.since(since) < grace)
    }

    /// When to look again, if it is to be waited for: soon, and once more when its time is over.
    pub(super) fn pause(self, now: Timestamp, grace: Duration) -> Option<Duration> {
        let left = grace.saturating_sub(now.since(self.since?));
        Some(if left.is_zero() { RESTART_PACE } else { left.min(RESTART_PACE) })
    }
}
