//! How long a node that was deposed is passed over.

use crate::config;
use proptest::prelude::*;
use quorate::core::{
    penalty::{FIRST, LONGEST, Penalty, lasting},
    time::{DatabaseTime, micros},
};

const DAY: i64 = 86_400_000_000;

proptest! {
    #![proptest_config(config(1_000, "tests/properties/regressions/penalty.txt"))]

    /// However it came about, no penalty is longer than the longest.
    #[test]
    fn no_penalty_is_longer_than_the_longest(
        since in prop::option::of(-DAY..DAY), until in -DAY..DAY, now in -DAY..DAY,
    ) {
        let last = Penalty { since: since.map(DatabaseTime), until: DatabaseTime(until) };
        prop_assert!(lasting(Some(last), DatabaseTime(now)) <= LONGEST);
    }

    /// Deposed again and again, each less than ten minutes after the last: each penalty is twice the last, up to the longest.
    #[test]
    fn each_is_twice_the_last(pauses in prop::collection::vec(0..micros(LONGEST), 1..12)) {
        let (mut now, mut last, mut expected) = (0, None, FIRST);
        for pause in pauses {
            let length = lasting(last, DatabaseTime(now));
            prop_assert_eq!(length, expected);
            last = Some(Penalty { since: Some(DatabaseTime(now)), until: DatabaseTime(now + micros(length)) });
            (now, expected) = (now + pause, (length * 2).min(LONGEST));
        }
    }

    /// Ten minutes after the last one began, and after one that was set by hand, all begins anew.
    #[test]
    fn after_a_while_it_is_the_first_again(
        length in 0..micros(LONGEST), later in micros(LONGEST)..DAY, by_hand in any::<bool>(),
    ) {
        let since = (!by_hand).then_some(DatabaseTime(0));
        let last = Penalty { since, until: DatabaseTime(length) };
        prop_assert_eq!(lasting(Some(last), DatabaseTime(later)), FIRST);
        prop_assert_eq!(lasting(None, DatabaseTime(later)), FIRST);
    }
}
