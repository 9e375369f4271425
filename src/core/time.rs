//! Two kinds of time that never meet.
//!
//! [`Timestamp`] is monotonic and lives inside one process. [`Age`] comes from the database: how long ago a row was
//! stamped, by the database's own clock. Supervisors' clocks are never compared, so skew between them cannot matter
//! (Praefect's views do the same with `NOW()`).

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A stamp this far in the future still counts: `statement_timestamp()` may trail `clock_timestamp()` of a
/// neighbour's statement. One further ahead is a clock that was set back, and counts for nothing.
pub const FUTURE_TOLERANCE: Duration = Duration::from_secs(1);

/// Monotonic time since some moment before this process's first use of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(pub Duration);

impl Timestamp {
    /// The time from `earlier` to this; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
    /// This time moved forward.
    #[must_use]
    pub fn after(self, wait: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(wait))
    }
}

/// Microseconds of the database's clock since its own beginning of time. Only differences mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DatabaseTime(pub i64);

/// How long ago the database stamped a row, in microseconds; negative if the stamp lies in the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Age(pub i64);

impl Age {
    /// An age as a duration.
    #[must_use]
    pub fn of(duration: Duration) -> Age {
        Age(micros(duration))
    }
    /// Whether the stamp is younger than `limit` and not from a clock that was set back.
    #[must_use]
    pub fn is_within(self, limit: Duration) -> bool {
        self.0 < micros(limit) && self.0 >= micros(FUTURE_TOLERANCE).saturating_neg()
    }
    /// Praefect's reading (`stamp >= now() - limit`): exactly `limit` old still counts, and so does any future stamp.
    #[must_use]
    pub fn is_within_as_praefect(self, limit: Duration) -> bool {
        self.0 <= micros(limit)
    }
}

/// Whole microseconds of a duration, at most `i64::MAX`.
#[must_use]
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_counts_from_a_second_ahead_up_to_its_limit() {
        let limit = Duration::from_secs(5);
        for (age, counts) in [(-1_000_001, false), (-1_000_000, true), (0, true), (4_999_999, true), (5_000_000, false)]
        {
            assert_eq!(Age(age).is_within(limit), counts, "{age}");
        }
        assert!(Age(5_000_000).is_within_as_praefect(limit) && Age(-9_000_000).is_within_as_praefect(limit));
        assert!(!Age(5_000_001).is_within_as_praefect(limit));
    }
}
