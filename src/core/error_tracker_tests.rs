use super::*;

const WINDOW: Duration = Duration::from_secs(10);
const COOL_DOWN: Duration = Duration::from_secs(3);
const BOTH: [Traffic; 2] = [Traffic::Read, Traffic::Write];

fn tracker(reads: u32, writes: u32) -> ErrorTracker {
    ErrorTracker::new(ErrorLimits { window: WINDOW, reads, writes, cool_down: COOL_DOWN })
}

fn at(millis: u64) -> Timestamp {
    Timestamp(Duration::from_millis(millis))
}

#[test]
fn as_many_errors_as_the_threshold_trip_and_one_fewer_do_not() {
    for kind in BOTH {
        let mut tracker = tracker(10, 10);
        for error in 0..9 {
            tracker.failed(at(error), kind, 1);
            assert_eq!(tracker.tripped(), None, "{kind:?} {error}");
        }
        tracker.failed(at(9), kind, 1);
        assert_eq!(tracker.tripped(), Some(kind));
    }
}

#[test]
fn reads_and_writes_are_counted_apart() {
    let mut tracker = tracker(2, 3);
    tracker.failed(at(0), Traffic::Read, 1);
    tracker.failed(at(0), Traffic::Write, 2);
    assert_eq!(tracker.health(at(1)), TrafficHealth { tripped: None, reads: 1, writes: 2 });
    tracker.failed(at(1), Traffic::Write, 1);
    assert_eq!(tracker.health(at(1)), TrafficHealth { tripped: Some(Traffic::Write), reads: 1, writes: 0 });
}

#[test]
fn an_expired_error_is_not_counted_with_the_young_ones() {
    // Praefect counts one entry before the window, too.
    let mut tracker = tracker(3, 3);
    tracker.failed(at(0), Traffic::Write, 1);
    tracker.failed(at(9_999), Traffic::Write, 1);
    tracker.failed(at(10_000), Traffic::Write, 1);
    assert_eq!(tracker.tripped(), None, "the first one is a window old");
    let mut contrast = self::tracker(3, 3);
    contrast.failed(at(1), Traffic::Write, 1);
    contrast.failed(at(9_999), Traffic::Write, 1);
    contrast.failed(at(10_000), Traffic::Write, 1);
    assert_eq!(contrast.tripped(), Some(Traffic::Write), "a millisecond younger, and it counts");
}

#[test]
fn what_left_the_window_is_forgotten() {
    let mut tracker = tracker(10, 10);
    for kind in BOTH {
        tracker.failed(at(0), kind, 1);
        tracker.failed(at(20), kind, 1);
    }
    assert_eq!(tracker.health(at(10_010)), TrafficHealth { tripped: None, reads: 1, writes: 1 });
    assert_eq!(tracker.health(at(10_020)), TrafficHealth { tripped: None, reads: 0, writes: 0 });
}

#[test]
fn no_storm_makes_it_remember_more_than_the_threshold() {
    let mut tracker = tracker(100, 100);
    for error in 0..100_000 {
        tracker.failed(at(error), Traffic::Read, 1);
        tracker.served(at(error));
        assert!(tracker.reads.recent.len() < 100);
    }
    tracker.failed(at(0), Traffic::Write, u32::MAX);
    assert!(tracker.writes.recent.is_empty());
    assert_eq!(tracker.health(at(1)).tripped, Some(Traffic::Read));
}

#[test]
fn before_the_cool_down_no_probe_lets_it_back_and_after_it_the_first_one_does() {
    let mut tracker = tracker(1, 1);
    tracker.failed(at(0), Traffic::Write, 1);
    tracker.served(at(2_999));
    assert_eq!(tracker.tripped(), Some(Traffic::Write));
    tracker.served(at(3_000));
    assert_eq!(tracker.tripped(), None);
}

#[test]
fn time_alone_lets_nobody_back() {
    let mut tracker = tracker(1, 1);
    tracker.failed(at(0), Traffic::Read, 1);
    tracker.failed(at(86_400_000), Traffic::Write, 0);
    assert_eq!(tracker.health(at(86_400_000)).tripped, Some(Traffic::Read));
}

#[test]
fn on_trial_one_error_is_enough_and_after_it_the_threshold_holds_again() {
    let mut tracker = tracker(5, 5);
    tracker.failed(at(0), Traffic::Read, 5);
    tracker.served(at(4_000));
    tracker.failed(at(13_999), Traffic::Read, 1);
    assert_eq!(tracker.tripped(), Some(Traffic::Read), "within the trial");
    tracker.served(at(16_998));
    assert_eq!(tracker.tripped(), Some(Traffic::Read), "out for a whole cool-down again");
    tracker.served(at(17_000));
    tracker.failed(at(27_000), Traffic::Read, 4);
    assert_eq!(tracker.tripped(), None, "the trial is over");
    tracker.failed(at(27_000), Traffic::Read, 1);
    assert_eq!(tracker.tripped(), Some(Traffic::Read));
}

#[test]
fn a_trial_is_the_kinds_own() {
    let mut tracker = tracker(2, 2);
    tracker.failed(at(0), Traffic::Read, 2);
    tracker.served(at(3_000));
    tracker.failed(at(3_001), Traffic::Write, 1);
    assert_eq!(tracker.tripped(), None, "writes are not on trial");
}

#[test]
fn limits_that_could_not_work_are_all_told_at_once() {
    let second = Duration::from_secs(1);
    let sound = ErrorLimits { window: second, reads: 1, writes: THRESHOLD_MAX, cool_down: second };
    assert_eq!(sound.problems(), vec![]);
    let wrong = ErrorLimits { window: Duration::ZERO, reads: 0, writes: 10_001, cool_down: second * 3_601 };
    let keys: Vec<&str> = wrong.problems().into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        ["error_threshold_window", "error_cool_down", "read_error_threshold_count", "write_error_threshold_count"]
    );
}
