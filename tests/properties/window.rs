//! The health window of one node.

use crate::config;
use proptest::{collection::vec, prelude::*};
use quorate::core::{
    consensus::Opinion,
    window::{HealthWindow, Thresholds},
};

fn thresholds() -> impl Strategy<Value = Thresholds> {
    (1_u32..5, 1_u32..5, 1_u32..5, 5_u32..12).prop_map(|(fall, rise, first, window)| Thresholds {
        fall,
        rise,
        first,
        window,
    })
}

fn lived(thresholds: Thresholds, outcomes: &[bool]) -> HealthWindow {
    let mut window = HealthWindow::new(thresholds);
    for outcome in outcomes {
        if *outcome { window.success() } else { window.miss() }
    }
    window
}

proptest! {
    #![proptest_config(config(512, "tests/properties/regressions/window.txt"))]

    /// A node that is down comes back after `rise` successes in a row, not one fewer.
    #[test]
    fn a_return_needs_rise_successes(thresholds in thresholds(), before in vec(any::<bool>(), 0..30)) {
        let mut window = lived(thresholds, &before);
        window.down();
        for n in 1..=thresholds.rise {
            prop_assert_eq!(window.opinion(), Opinion::Down, "after {} successes", n - 1);
            window.success();
        }
        prop_assert_eq!(window.opinion(), Opinion::Up);
    }

    /// A node that is up goes down after `fall` misses in a row, not one fewer.
    #[test]
    fn a_fall_needs_fall_misses(thresholds in thresholds(), before in vec(any::<bool>(), 0..30)) {
        let mut window = lived(thresholds, &before);
        (0..thresholds.rise.max(thresholds.first)).for_each(|_| window.success());
        for n in 1..=thresholds.fall {
            prop_assert_eq!(window.opinion(), Opinion::Up, "after {} misses", n - 1);
            window.miss();
        }
        prop_assert_eq!(window.opinion(), Opinion::Down);
    }

    /// It remembers the last outcomes, at most as many as its length, oldest first.
    #[test]
    fn it_forgets_beyond_its_length(thresholds in thresholds(), outcomes in vec(any::<bool>(), 0..40)) {
        let window = lived(thresholds, &outcomes);
        let length = usize::try_from(thresholds.window).unwrap();
        let last: Vec<bool> = outcomes[outcomes.len().saturating_sub(length)..].to_vec();
        prop_assert_eq!(window.outcomes().collect::<Vec<_>>(), last);
    }

    /// Once it has an opinion it keeps one: silence about a node is the actor's to tell, not the window's.
    #[test]
    fn an_opinion_is_never_lost(thresholds in thresholds(), outcomes in vec(any::<bool>(), 1..40)) {
        let mut window = HealthWindow::new(thresholds);
        let mut had_one = false;
        for outcome in outcomes {
            if outcome { window.success() } else { window.miss() }
            prop_assert!(!had_one || window.opinion() != Opinion::None);
            had_one |= window.opinion() != Opinion::None;
        }
    }
}
