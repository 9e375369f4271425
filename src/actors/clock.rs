//! The process's monotonic clock, as the core's timestamps. Tokio's, so that tests can pause it.

use crate::core::time::Timestamp;
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
