//! A clock that moves when it is told to.

use super::Clock;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A database's clock in the hands of a test. Starts a day after its own beginning, so that it can be stepped back.
#[derive(Debug, Clone)]
pub struct ManualClock {
    micros: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that stands still.
    #[must_use]
    pub fn new() -> Self {
        Self { micros: Arc::new(AtomicU64::new(whole(Duration::from_secs(86_400)))) }
    }
    /// The time it shows.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::SeqCst))
    }
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.change(|now| now.saturating_add(whole(by)));
    }
    /// Sets the clock back, as an operator or a time daemon may; never below zero.
    pub fn step_back(&self, by: Duration) {
        self.change(|now| now.saturating_sub(whole(by)));
    }
    /// The form that a store takes.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let own = self.clone();
        Arc::new(move || own.now())
    }
    fn change(&self, to: impl Fn(u64) -> u64) {
        // The closure always answers `Some`, so the update cannot be refused.
        let _was = self.micros.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| Some(to(now)));
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

fn whole(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
