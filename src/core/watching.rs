//! When to listen to what a node says by itself, and when to leave it be.
//!
//! There is no timer: a stream is opened by an answer that says SERVING, once its pause is over, so a node that is gone is
//! never asked to be watched and the rhythm of probes bounds the rest. A stream that ended though the node serves makes
//! the next pause twice as long; one that lasted makes the next loss a first one, and so does a death.

use super::{evidence::Evidence, time::Timestamp};
use std::time::Duration;

/// The first pause after a stream that ended although the node serves.
pub const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest such pause; a stream that lasted longer was a good one.
pub const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a node that offers no watch is not asked for one again, unless its connection is made anew.
pub const PAUSE_UNOFFERED: Duration = Duration::from_secs(300);
/// Doublings that exceed the longest pause in any case.
const DOUBLINGS_MAX: u32 = 16;

/// What a node said by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// How it is now: serving, or hard evidence that it is not.
    Says(Evidence),
    /// Nothing more will come, and why. [`Misconfigured::Unimplemented`](super::evidence::Misconfigured::Unimplemented):
    /// it offers no watch.
    Ended(Evidence),
}

/// What is known of the streams of one node.
#[derive(Debug, Clone)]
pub struct Watching {
    wanted: bool,
    next: u64,
    open: Option<Stream>,
    /// Streams in a row that ended early although the node serves.
    lost: u32,
    unoffered: bool,
    not_before: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    number: u64,
    opened: Timestamp,
}

impl Watching {
    /// No stream is open; none ever will be unless it is `wanted`.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        Self { wanted, next: 1, open: None, lost: 0, unoffered: false, not_before: Timestamp::default() }
    }

    /// Whether this is the stream that is listened to.
    #[must_use]
    pub fn is_open(&self, number: u64) -> bool {
        self.open.is_some_and(|stream| stream.number == number)
    }

    /// Whether there is one.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.open.is_some()
    }

    /// The node answered that it serves: the number of the stream to be opened now, if one is due.
    pub fn served(&mut self, now: Timestamp) -> Option<u64> {
        if !self.wanted || self.open.is_some() || now < self.not_before {
            return None;
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.open = Some(Stream { number, opened: now });
        Some(number)
    }

    /// The stream ended by itself. `lot` is drawn at random and makes the pause up to a half shorter, so that
    /// supervisors do not return in step.
    pub fn ended(&mut self, now: Timestamp, offered: bool, lot: u8) {
        let lasted = self.open.take().is_some_and(|stream| now.since(stream.opened) >= PAUSE_MAX);
        self.unoffered = !offered;
        self.lost = if lasted { 1 } else { self.lost.saturating_add(1) };
        let doubled = 1_u32 << self.lost.saturating_sub(1).min(DOUBLINGS_MAX);
        let pause = if offered { PAUSE_FIRST.saturating_mul(doubled).min(PAUSE_MAX) } else { PAUSE_UNOFFERED };
        let part = 512_u32.saturating_sub(u32::from(lot));
        self.not_before = now.after(pause.saturating_mul(part).checked_div(512).unwrap_or(pause));
    }

    /// The connection broke: what comes next may be another process, which may offer what this one did not.
    pub fn connection_lost(&mut self, now: Timestamp) {
        if std::mem::take(&mut self.unoffered) {
            self.not_before = now;
        }
    }

    /// Wants a stream from now on, or none. At another address everything begins anew. Answers whether one was open that
    /// is to be closed.
    pub fn reconfigure(&mut self, now: Timestamp, wanted: bool, moved: bool) -> bool {
        self.wanted = wanted;
        (moved || !wanted) && self.forget(now)
    }

    /// The node is gone, or its connection is replaced: begin anew. Answers whether a stream was open.
    pub fn forget(&mut self, now: Timestamp) -> bool {
        (self.lost, self.unoffered, self.not_before) = (0, false, now);
        self.open.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp(Duration::from_millis(millis))
    }

    /// How long after its end the stream is opened again, asked every 50 ms.
    fn pause(watching: &mut Watching, now: Timestamp) -> Duration {
        let mut asked = now;
        while watching.served(asked).is_none() {
            asked = asked.after(Duration::from_millis(50));
        }
        asked.since(now)
    }

    #[test]
    fn a_stream_that_keeps_ending_is_opened_ever_more_seldom_and_one_that_lasted_at_once() {
        let (mut watching, mut now) = (Watching::new(true), at(0));
        assert_eq!(watching.served(now), Some(1));
        assert_eq!(watching.served(now), None, "it is open");
        for expected in [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000] {
            watching.ended(now, true, 0);
            let paused = pause(&mut watching, now);
            assert_eq!(paused, Duration::from_millis(expected));
            now = now.after(paused);
        }
        now = now.after(PAUSE_MAX);
        watching.ended(now, true, 0);
        assert_eq!(pause(&mut watching, now), PAUSE_FIRST);
    }

    #[test]
    fn chance_shortens_a_pause_by_no_more_than_half() {
        for lot in 0..=u8::MAX {
            let mut watching = Watching::new(true);
            let _ = watching.served(at(0));
            watching.ended(at(0), true, lot);
            assert_eq!(watching.served(at(49)), None, "{lot}");
            assert_eq!(watching.served(at(100)), Some(2), "{lot}");
        }
    }

    #[test]
    fn a_node_without_a_watch_is_asked_again_after_a_long_pause_or_a_new_connection() {
        let mut watching = Watching::new(true);
        let _ = watching.served(at(0));
        watching.ended(at(0), false, 0);
        assert_eq!(watching.served(at(299_999)), None);
        assert_eq!(watching.served(at(300_000)), Some(2));
        watching.ended(at(300_000), false, 0);
        watching.connection_lost(at(300_001));
        assert_eq!(watching.served(at(300_001)), Some(3));
        watching.ended(at(300_002), true, 0);
        watching.connection_lost(at(300_003));
        assert_eq!(watching.served(at(300_003)), None, "a stream that ends is no reason to hurry");
    }

    #[test]
    fn whoever_does_not_want_a_stream_gets_none() {
        assert_eq!(Watching::new(false).served(at(1_000_000)), None);
    }

    #[test]
    fn a_stream_goes_when_it_is_wanted_no_more_or_the_node_moved_and_stays_otherwise() {
        for (wanted, moved, goes) in [(true, false, false), (true, true, true), (false, false, true)] {
            let mut watching = Watching::new(true);
            let _ = watching.served(at(0));
            assert_eq!(watching.reconfigure(at(1), wanted, moved), goes, "wanted: {wanted}, moved: {moved}");
            assert_eq!(watching.served(at(1)), (wanted && moved).then_some(2));
        }
    }
}
