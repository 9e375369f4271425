//! The process's monotonic clock, as the core's timestamps. Tokio's, so that tests can pause it. And the wall clock, which
//! is only ever compared with the system's own monotonic one.

use crate::core::time::Timestamp;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Time since it was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct MonotonicClock(Instant);

impl MonotonicClock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }
    pub(super) fn now(self) -> Timestamp {
        self.at(Instant::now())
    }
    /// A moment as this clock shows it; zero if it was before the clock was made.
    pub(super) fn at(self, moment: Instant) -> Timestamp {
        Timestamp(moment.saturating_duration_since(self.0))
    }
}

/// By how much the wall clock is ahead of the monotonic one, which stands still while the machine sleeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct WallClock {
    monotonic: std::time::Instant,
    wall: SystemTime,
}

#[expect(clippy::disallowed_methods, reason = "whether the clock was set, or the machine slept, only these two tell")]
impl WallClock {
    pub(super) fn new() -> Self {
        Self { monotonic: std::time::Instant::now(), wall: SystemTime::now() }
    }

    /// In microseconds, against when it was made.
    pub(super) fn ahead(self) -> i64 {
        let micros = |passed: Duration| i64::try_from(passed.as_micros()).unwrap_or(i64::MAX);
        let passed = match SystemTime::now().duration_since(self.wall) {
            Ok(forward) => micros(forward),
            Err(back) => micros(back.duration()).saturating_neg(),
        };
        passed.saturating_sub(micros(self.monotonic.elapsed()))
    }
}
