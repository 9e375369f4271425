//! How long a node takes to answer, and so how long to wait for it.
//!
//! The estimate is TCP's (RFC 6298, after Jacobson 1988): a smoothed round trip and a smoothed deviation, of gains 1/8 and
//! 1/4; an answer is due after the first plus four times the second. A probe is given twice that, within a floor
//! and a ceiling. And Karn's rule: after a miss the estimate is not believed until a probe that was given all of the time
//! measured anew. Else round trips that rose above the timeout would never be learned of, for nothing that is missed is
//! measured.
//!
//! Only the first look over the kept connection is measured and shortened. A retry and a confirmation make a connection
//! first, so they say little about round trips, and they decide: each of them is given the whole ceiling. So adapting brings
//! the *first* miss forward, by which others are told and a fresh connection is tried, and `fall` misses still take
//! `fall - 1` ceilings and a floor. A retransmission timer doubles with each miss; here the second try already has all there
//! is, because a false verdict costs more than a packet.
//!
//! What round trips cannot tell is how long a node may pause (garbage collection, a stalled disk) and still be well: between
//! two pauses it answers within a millisecond. On a local network the estimate is therefore always below any sensible floor,
//! and the floor is what an operator decides. A lost packet belongs to it too: TCP sends it again after 200 ms at the
//! soonest (Linux), so below some 250 ms each lost packet is a miss. That is why the floor is the ceiling unless it is set.
//!
//! Rejected: *phi accrual* (Hayashibara 2004), a suspicion level from the distribution of arrivals. It answers how unlikely
//! a silence is given what was seen, needs many samples before its tail means anything, and its tail is what a false alarm
//! consists of; an operator cannot say in advance when a node will be down. *A percentile of a window* has the same tail
//! and needs the window. *Shortening all tries alike*: three floors are then all that a pausing node has.

use std::time::Duration;

/// How many times the time in which an answer is due it may take. The estimate is one of the usual, and a probe is not
/// repeated as cheaply as a packet.
const MARGIN: u32 = 2;
/// Deviations smaller than this are not told apart from none.
const GRANULARITY: Duration = Duration::from_millis(1);

/// What is known of one node's round trips.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundTrips {
    estimate: Option<Estimate>,
    /// The estimate is not believed until it was measured anew.
    doubted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Estimate {
    smoothed: Duration,
    deviation: Duration,
}

/// `old` but for one part in so many, which is `new`.
fn blend(old: Duration, new: Duration, parts: u32) -> Duration {
    let part = |of: Duration, many: u32| of.checked_div(many).unwrap_or(of);
    old.saturating_sub(part(old, parts)).saturating_add(part(new, parts))
}

impl RoundTrips {
    /// An answer came after so long.
    pub fn answered(&mut self, took: Duration) {
        self.doubted = false;
        let estimate = match self.estimate {
            None => Estimate { smoothed: took, deviation: took.checked_div(2).unwrap_or(took) },
            Some(Estimate { smoothed, deviation }) => {
                Estimate { smoothed: blend(smoothed, took, 8), deviation: blend(deviation, smoothed.abs_diff(took), 4) }
            }
        };
        self.estimate = Some(estimate);
    }

    /// No answer came, or the connection is another one: what was known may be too little.
    pub fn doubt(&mut self) {
        self.doubted = true;
    }

    /// How long to wait for the next answer: never longer than the ceiling, never shorter than the floor unless that is
    /// above it. Nothing known, or nothing believed, is the ceiling.
    #[must_use]
    pub fn timeout(&self, floor: Duration, ceiling: Duration) -> Duration {
        let Some(Estimate { smoothed, deviation }) = self.estimate.filter(|_| !self.doubted) else { return ceiling };
        let due = smoothed.saturating_add(deviation.saturating_mul(4).max(GRANULARITY));
        due.saturating_mul(MARGIN).max(floor).min(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Duration = Duration::from_millis(20);
    const CEILING: Duration = Duration::from_millis(300);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }
    fn after(answers: &[u64]) -> RoundTrips {
        let mut trips = RoundTrips::default();
        answers.iter().for_each(|took| trips.answered(ms(*took)));
        trips
    }

    #[test]
    fn nothing_known_is_the_ceiling_and_a_steady_node_comes_down_to_twice_its_round_trip() {
        assert_eq!(after(&[]).timeout(FLOOR, CEILING), CEILING);
        assert_eq!(after(&[40]).timeout(FLOOR, CEILING), ms(240), "one answer says little: 2 × (40 + 4 × 20)");
        let steady = after(&[40; 50]).timeout(FLOOR, CEILING);
        assert!(steady >= ms(80) && steady < ms(85), "{steady:?}");
        assert_eq!(after(&[1; 50]).timeout(FLOOR, CEILING), FLOOR);
        assert_eq!(after(&[1; 50]).timeout(CEILING, CEILING), CEILING, "without a floor below it nothing adapts");
    }

    #[test]
    fn a_node_that_varies_is_given_more_than_one_that_does_not() {
        let varies: Vec<u64> = (0..50).map(|turn| if turn % 2 == 0 { 20 } else { 60 }).collect();
        assert!(after(&varies).timeout(FLOOR, CEILING) > ms(200), "{:?}", after(&varies));
    }

    #[test]
    fn after_a_miss_the_estimate_counts_no_more_until_it_was_measured_anew() {
        let mut trips = after(&[5; 50]);
        assert_eq!(trips.timeout(FLOOR, CEILING), FLOOR);
        trips.doubt();
        assert_eq!(trips.timeout(FLOOR, CEILING), CEILING);
        trips.answered(ms(200));
        assert_eq!(trips.timeout(FLOOR, CEILING), CEILING, "round trips that rose above the timeout are learned of");
        (0..60).for_each(|_| trips.answered(ms(5)));
        assert_eq!(trips.timeout(FLOOR, CEILING), FLOOR, "and forgotten again");
    }
}
