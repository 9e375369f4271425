//! How long a node is waited for, whatever it did so far.

use crate::config;
use proptest::prelude::*;
use quorate::core::round_trips::RoundTrips;
use std::time::Duration;

fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// What happened to one node's probes: an answer after so long, or none.
fn history() -> impl Strategy<Value = Vec<Option<u64>>> {
    prop::collection::vec(prop_oneof![4 => (0_u64..2_000_000).prop_map(Some), 1 => Just(None)], 0..60)
}

fn after(history: &[Option<u64>], times: u64) -> RoundTrips {
    let mut trips = RoundTrips::default();
    for answer in history {
        match answer {
            Some(took) => trips.answered(us(took * times)),
            None => trips.doubt(),
        }
    }
    trips
}

proptest! {
    #![proptest_config(config(512, "tests/properties/regressions/round_trips.txt"))]

    #[test]
    fn it_is_never_below_the_floor_and_never_above_the_ceiling(
        history in history(), floor in 1_u64..1_000_000, more in 0_u64..1_000_000,
    ) {
        let (floor, ceiling) = (us(floor), us(floor + more));
        let timeout = after(&history, 1).timeout(floor, ceiling);
        prop_assert!((floor..=ceiling).contains(&timeout), "{timeout:?}");
        // A floor above the ceiling is nobody's wish; the ceiling holds.
        prop_assert_eq!(after(&history, 1).timeout(ceiling + us(1), ceiling), ceiling);
    }

    /// Not of any two histories, answer by answer: one that varies is given more than a steady one, for that is why a
    /// deviation is kept.
    #[test]
    fn slower_round_trips_are_given_no_less(history in history(), times in 1_u64..20, floor in 1_u64..1_000_000) {
        let (floor, ceiling) = (us(floor), us(3_600_000_000));
        let (one, slower) = (after(&history, 1).timeout(floor, ceiling), after(&history, times).timeout(floor, ceiling));
        // Whole nanoseconds are cut off at each step.
        prop_assert!(slower + us(1) >= one, "{slower:?} after {times} times {one:?}");
    }

    #[test]
    fn the_slower_the_last_answer_was_the_more_is_given(
        history in history(), one in 0_u64..2_000_000, more in 0_u64..2_000_000,
    ) {
        // Of answers that are no faster than any before; one that is faster than usual is news of another kind.
        let slowest = history.iter().flatten().max().copied().unwrap_or(0);
        let last = |took: u64| {
            let mut trips = after(&history, 1);
            trips.answered(us(slowest + took));
            trips.timeout(us(1), us(3_600_000_000))
        };
        prop_assert!(last(one + more) >= last(one));
    }

    #[test]
    fn a_miss_gives_the_whole_ceiling_until_the_next_answer(history in history(), ceiling in 2_u64..1_000_000) {
        let mut trips = after(&history, 1);
        trips.doubt();
        prop_assert_eq!(trips.timeout(us(1), us(ceiling)), us(ceiling));
    }
}
