//! The error tracker against the plainest reading of its rules: keep every moment, count on demand.

use crate::config;
use proptest::{collection::vec, prelude::*};
use quorate::core::{
    error_tracker::{ErrorLimits, ErrorTracker, Traffic},
    time::Timestamp,
};
use std::time::Duration;

/// What happens, and so many milliseconds after what happened before.
#[derive(Debug, Clone, Copy)]
enum Step {
    Failed(u64, Traffic, u32),
    Served(u64),
    /// Whoever tracks died; another takes over.
    Rebuilt,
}

/// One kind, remembered in full.
#[derive(Default)]
struct Plain {
    errors: Vec<u64>,
    out_since: Option<u64>,
    trial_since: Option<u64>,
}

impl Plain {
    fn failed(&mut self, now: u64, count: u32, threshold: u32, window: u64) {
        if self.out_since.is_some() || count == 0 {
            return;
        }
        let on_trial = self.trial_since.is_some_and(|since| now - since < window);
        self.errors.extend((0..count).map(|_| now));
        let young = self.errors.iter().filter(|at| now - **at < window).count();
        if on_trial || young >= usize::try_from(threshold).unwrap() {
            (self.out_since, self.trial_since) = (Some(now), None);
            self.errors.clear();
        }
    }
    fn served(&mut self, now: u64, cool_down: u64) {
        if self.out_since.is_some_and(|since| now - since >= cool_down) {
            (self.out_since, self.trial_since) = (None, Some(now));
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(Traffic::Read), Just(Traffic::Write)];
    prop_oneof![
        3 => (0_u64..400, kind, 0_u32..4).prop_map(|(wait, kind, count)| Step::Failed(wait, kind, count)),
        1 => (0_u64..400).prop_map(Step::Served),
        1 => Just(Step::Rebuilt),
    ]
}

proptest! {
    #![proptest_config(config(1_024, "tests/properties/regressions/error_tracker.txt"))]

    /// It trips exactly when as many errors as the threshold are young, and lets back exactly as it promises.
    #[test]
    fn it_agrees_with_whoever_forgets_nothing(
        reads in 1_u32..8,
        writes in 1_u32..8,
        window in 100_u64..1_000,
        cool_down in 100_u64..1_000,
        steps in vec(step(), 0..80),
    ) {
        let ms = Duration::from_millis;
        let limits = ErrorLimits { window: ms(window), reads, writes, cool_down: ms(cool_down) };
        let mut tracker = ErrorTracker::new(limits);
        let (mut read, mut write, mut now) = (Plain::default(), Plain::default(), 0);
        for step in steps {
            match step {
                Step::Failed(wait, kind, count) => {
                    now += wait;
                    tracker.failed(Timestamp(ms(now)), kind, count);
                    match kind {
                        Traffic::Read => read.failed(now, count, reads, window),
                        Traffic::Write => write.failed(now, count, writes, window),
                    }
                }
                Step::Rebuilt => {
                    tracker = ErrorTracker::new(limits).resumed(tracker.trips());
                    read.errors.clear();
                    write.errors.clear();
                }
                Step::Served(wait) => {
                    now += wait;
                    tracker.served(Timestamp(ms(now)));
                    read.served(now, cool_down);
                    write.served(now, cool_down);
                }
            }
            let expected = match (read.out_since, write.out_since) {
                (Some(_), _) => Some(Traffic::Read),
                (None, Some(_)) => Some(Traffic::Write),
                (None, None) => None,
            };
            prop_assert_eq!(tracker.tripped(), expected, "at {} ms", now);
            let health = tracker.health(Timestamp(ms(now)));
            prop_assert!(health.reads < reads && health.writes < writes, "{health:?} never reaches a threshold");
        }
    }
}
