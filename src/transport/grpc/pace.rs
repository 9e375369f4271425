//! How soon after one attempt to connect the next may begin.
//!
//! A call on a lazy channel connects, so a busy caller and a dead node would make a connection attempt per call. The
//! first pause is short, each next one twice as long up to a limit, until the node has answered a call: a connection
//! that breaks before it does (a refused handshake, a proxy without anything behind it) proves nothing. Within a pause
//! calls fail at once with what the last attempt said. Waiting out the pause instead was rejected: calls would queue
//! behind a dead node. Probes cut it short, for their own interval bounds them and a node's return must be seen.

use super::connector::ConnectFailure;
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The first pause.
const FIRST: Duration = Duration::from_millis(50);
/// Doublings after which no limit of use is exceeded any further.
const DOUBLINGS_MAX: u32 = 16;

/// The pauses of one connection.
pub(super) struct Pace {
    max: Duration,
    /// Whether an attempt was begun since the last answer. Read with every answer, so it costs no lock.
    begun: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    attempts: u32,
    next: Option<Instant>,
    last: Option<ConnectFailure>,
}

impl Pace {
    pub(super) fn new(max: Duration) -> Self {
        Self { max, begun: AtomicBool::new(false), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an attempt may begin.
    pub(super) fn due(&self, now: Instant) -> bool {
        self.state().next.is_none_or(|next| next <= now)
    }

    /// Begins an attempt, or says what the last one said.
    pub(super) fn begin(&self, now: Instant) -> Result<(), ConnectFailure> {
        let mut state = self.state();
        if state.next.is_some_and(|next| now < next) {
            return Err(state.last.clone().unwrap_or(ConnectFailure::Paused));
        }
        let pause = FIRST.saturating_mul(1 << state.attempts.min(DOUBLINGS_MAX)).min(self.max);
        state.attempts = state.attempts.saturating_add(1);
        state.next = now.checked_add(pause);
        state.last = None;
        self.begun.store(true, Ordering::Release);
        Ok(())
    }

    /// The attempt failed.
    pub(super) fn failed(&self, failure: &ConnectFailure) {
        self.state().last = Some(failure.clone());
    }

    /// What the last attempt said, if it failed.
    pub(super) fn last(&self) -> Option<ConnectFailure> {
        self.state().last.clone()
    }

    /// The node answered a call: the next loss is a first one.
    pub(super) fn answered(&self) {
        if self.begun.swap(false, Ordering::AcqRel) {
            *self.state() = State::default();
        }
    }

    /// A probe comes: the next attempt may begin at once. The pauses after it stay as long as they were.
    pub(super) fn cut(&self) {
        self.state().next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_up_to_the_limit_until_the_node_answers() {
        let (pace, mut now) = (Pace::new(300 * MS), Instant::now());
        for pause in [50, 100, 200, 300, 300] {
            pace.begin(now).unwrap();
            pace.failed(&ConnectFailure::TimedOut(MS));
            assert!(!pace.due(now + (pause - 1) * MS), "{pause}");
            assert!(matches!(pace.begin(now + (pause - 1) * MS), Err(ConnectFailure::TimedOut(_))), "{pause}");
            assert!(pace.due(now + pause * MS), "{pause}");
            now += pause * MS;
        }
        pace.begin(now).unwrap();
        pace.answered();
        assert!(pace.due(now), "the node had answered");
        pace.begin(now).unwrap();
        assert!(matches!(pace.begin(now), Err(ConnectFailure::Paused)), "nothing failed yet");
        assert!(pace.begin(now + 50 * MS).is_ok(), "the pauses begin anew");
    }

    #[test]
    fn a_probe_cuts_a_pause_short_and_leaves_the_next_ones_long() {
        let (pace, now) = (Pace::new(300 * MS), Instant::now());
        for _ in 0..4 {
            pace.cut();
            pace.begin(now).unwrap();
        }
        assert!(!pace.due(now + 299 * MS));
    }
}
