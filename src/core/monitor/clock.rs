//! Whether the database's clock went the way our monotonic clock did.
//!
//! Between two heartbeats the database's clock must have moved by what passed between the last sending and this
//! receipt, give or take half a second. Anything else is a step, and every age read before it is worthless (D11).

use crate::core::time::{DatabaseTime, Timestamp, micros};
use std::time::Duration;

/// How far the two clocks may drift apart between two heartbeats.
const TOLERANCE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct ClockCheck {
    last: Option<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    sent: Timestamp,
    received: Timestamp,
    at: DatabaseTime,
}

impl ClockCheck {
    pub(super) fn start(&mut self, sent: Timestamp, received: Timestamp, at: DatabaseTime) {
        self.last = Some(Reading { sent, received, at });
    }

    /// Takes a new reading; answers by how many microseconds the database's clock stepped, if it did.
    pub(super) fn step(&mut self, sent: Timestamp, received: Timestamp, at: DatabaseTime) -> Option<i64> {
        let last = self.last.replace(Reading { sent, received, at })?;
        let moved = at.0.saturating_sub(last.at.0);
        let least = micros(sent.since(last.received)).saturating_sub(micros(TOLERANCE));
        let most = micros(received.since(last.sent)).saturating_add(micros(TOLERANCE));
        if moved < least {
            Some(moved.saturating_sub(least))
        } else if moved > most {
            Some(moved.saturating_sub(most))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp(Duration::from_millis(millis))
    }

    #[test]
    fn a_slow_answer_is_no_step_but_a_jump_is() {
        let mut clock = ClockCheck::default();
        clock.start(at(0), at(10), DatabaseTime(1_000_000));
        assert_eq!(clock.step(at(1_000), at(1_900), DatabaseTime(2_700_000)), None, "the answer took 900 ms");
        assert!(clock.step(at(2_900), at(2_910), DatabaseTime(9_700_000)).is_some_and(|step| step > 0), "+6 s");
        assert!(clock.step(at(3_900), at(3_910), DatabaseTime(-3_600_000_000)).is_some_and(|step| step < 0), "-1 h");
        assert_eq!(clock.step(at(4_900), at(4_910), DatabaseTime(-3_599_000_000)), None, "on from there");
    }
}
