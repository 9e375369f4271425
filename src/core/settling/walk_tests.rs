//! How a walk goes on, rests, and begins again.

use super::*;
use crate::core::ids::{Storage, VirtualStorage};

fn node(name: &str) -> NodeId {
    NodeId::new(VirtualStorage::new("v").unwrap(), Storage::new(name).unwrap())
}

fn at(ms: u64) -> Timestamp {
    Timestamp(Duration::from_millis(ms))
}

fn settling() -> Settling {
    let ms = Duration::from_millis;
    Settling::new(Pace { head_start: ms(0), pause: ms(5), retry: (ms(100), ms(400)) })
}

fn down(settling: &mut Settling, now: Timestamp, revision: u64, names: &[&str]) -> (Vec<Ended>, Vec<NodeId>) {
    settling.observe(now, Revision(revision), &names.iter().map(|name| node(name)).collect())
}

/// So quick that the pause is the configured one.
const QUICK: Duration = Duration::from_millis(1);

fn batch(until: i64, settled: u64, lost: u64) -> Turn {
    Turn::Done { until: Some(RepositoryId(until)), settled, lost, without_candidate: 0, unreadable: 0 }
}

fn last_batch(settled: u64, lost: u64) -> Turn {
    Turn::Done { until: None, settled, lost, without_candidate: 0, unreadable: 0 }
}

#[test]
fn a_walk_goes_from_batch_to_batch_and_rests_where_nothing_is_left() {
    let mut settling = settling();
    assert_eq!(settling.next(at(0)), Next::Rest);
    let (ended, begun) = down(&mut settling, at(0), 1, &["g1"]);
    assert_eq!((ended, begun), (vec![], vec![node("g1")]));
    assert_eq!(settling.next(at(0)), Next::Batch(node("g1"), START));
    assert_eq!(settling.done(at(1), &node("g1"), batch(10, 10, 0), QUICK, 0), None);
    assert_eq!(settling.next(at(1)), Next::At(at(6)), "paced");
    assert_eq!(settling.next(at(6)), Next::Batch(node("g1"), RepositoryId(10)));
    let ended = settling.done(at(7), &node("g1"), last_batch(4, 0), QUICK, 0).unwrap();
    assert_eq!((ended.progress.settled, ended.progress.batches, ended.took), (14, 2, Duration::from_millis(7)));
    assert_eq!(settling.next(at(1_000_000)), Next::Rest);
    assert_eq!(down(&mut settling, at(9), 1, &["g1"]), (vec![], vec![]), "the same revision wakes nobody");
    assert_eq!(settling.next(at(9)), Next::Rest);
    down(&mut settling, at(9), 2, &["g1"]);
    assert_eq!(settling.next(at(9)), Next::Batch(node("g1"), START), "a candidate may have come back");
}

#[test]
fn what_was_lost_is_tried_again_from_the_start_with_growing_pauses() {
    let mut settling = settling();
    down(&mut settling, at(0), 1, &["g1"]);
    settling.done(at(0), &node("g1"), batch(10, 9, 1), QUICK, 0);
    assert_eq!(settling.next(at(5)), Next::Batch(node("g1"), RepositoryId(10)), "one that is held delays no other");
    assert_eq!(settling.done(at(5), &node("g1"), last_batch(1, 0), QUICK, 0), None);
    let mut now = at(5);
    for pause in [50, 100, 200, 200] {
        let due = Timestamp(now.0 + Duration::from_millis(pause));
        assert_eq!(settling.next(now), Next::At(due));
        assert_eq!(settling.next(due), Next::Batch(node("g1"), START));
        assert_eq!(settling.done(due, &node("g1"), last_batch(0, 1), QUICK, 0), None);
        now = due;
    }
    let late = Timestamp(now.0 + Duration::from_secs(1));
    assert!(settling.done(late, &node("g1"), last_batch(1, 0), QUICK, 0).is_some());
}

#[test]
fn whoever_finds_another_at_work_waits_and_goes_on_behind_it() {
    let mut settling = settling();
    down(&mut settling, at(0), 1, &["g1"]);
    settling.done(at(0), &node("g1"), batch(10, 0, 10), QUICK, 49_999);
    assert_eq!(
        settling.next(at(0)),
        Next::At(Timestamp(Duration::from_micros(99_999))),
        "jittered, up to the whole pause"
    );
    assert_eq!(settling.next(at(100)), Next::Batch(node("g1"), RepositoryId(10)));
    for turn in [Turn::Busy, Turn::Failed { settled: 0 }, Turn::NotNow] {
        assert_eq!(settling.done(at(100), &node("g1"), turn, QUICK, 0), None);
        assert!(matches!(settling.next(at(100)), Next::At(_)), "{turn:?}");
        assert_eq!(settling.next(at(500)), Next::Batch(node("g1"), RepositoryId(10)), "{turn:?} loses no place");
    }
}

#[test]
fn a_node_that_returns_ends_its_walk_and_disturbs_no_other() {
    let mut settling = settling();
    down(&mut settling, at(0), 1, &["g1", "g2"]);
    settling.done(at(1), &node("g1"), batch(10, 10, 0), QUICK, 0);
    assert_eq!(settling.next(at(1)), Next::Batch(node("g2"), START), "in turn");
    let (ended, begun) = down(&mut settling, at(2), 2, &["g2"]);
    assert_eq!((ended.len(), begun.len()), (1, 0));
    assert!(ended[0].back && ended[0].progress.settled == 10);
    assert_eq!(settling.done(at(3), &node("g1"), batch(20, 10, 0), QUICK, 0), None, "what lands late is nobody's");
    assert_eq!(settling.progress().keys().cloned().collect::<Vec<_>>(), [node("g2")]);
}

#[test]
fn without_a_candidate_it_rests_until_something_changes() {
    let mut settling = settling();
    down(&mut settling, at(0), 1, &["g1"]);
    let stuck = Turn::Done { until: None, settled: 0, lost: 0, without_candidate: 3, unreadable: 0 };
    let ended = settling.done(at(1), &node("g1"), stuck, QUICK, 0).unwrap();
    assert_eq!(ended.progress.without_candidate, 3);
    assert_eq!(settling.next(at(99)), Next::Rest);
}

#[test]
fn who_is_asked_for_has_the_rows_to_itself_for_a_while() {
    let ms = Duration::from_millis;
    let mut settling = Settling::new(Pace { head_start: ms(200), pause: ms(5), retry: (ms(100), ms(400)) });
    down(&mut settling, at(7), 1, &["g1"]);
    assert_eq!(settling.next(at(7)), Next::At(at(207)));
    assert_eq!(settling.next(at(207)), Next::Batch(node("g1"), START));
}

#[test]
fn a_slow_database_gets_a_rest_in_proportion_and_no_longer_than_a_second() {
    let ms = Duration::from_millis;
    let mut settling = settling();
    down(&mut settling, at(0), 1, &["g1"]);
    for (took, pause) in [(ms(40), 5), (ms(80), 10), (ms(2_000), 250), (ms(60_000), 1_000)] {
        let full = batch(10, 10, 0);
        assert_eq!(settling.done(at(0), &node("g1"), full, took, 0), None);
        assert_eq!(settling.next(at(0)), Next::At(at(pause)), "after {took:?}");
    }
}

#[test]
fn what_was_committed_before_a_failure_is_counted_and_its_place_kept() {
    let mut settling = settling();
    down(&mut settling, at(0), 1, &["g1"]);
    settling.done(at(0), &node("g1"), Turn::Failed { settled: 7 }, QUICK, 0);
    settling.done(at(100), &node("g1"), Turn::Failed { settled: 0 }, QUICK, 0);
    let known = settling.progress()[&node("g1")];
    assert_eq!((known.settled, known.batches, known.rests), (7, 1, false));
    assert_eq!(settling.next(at(500)), Next::Batch(node("g1"), START));
}

#[test]
fn what_cannot_be_read_is_counted_and_holds_nothing_up() {
    let mut settling = settling();
    down(&mut settling, at(0), 1, &["g1"]);
    let stuck = |until, unreadable| Turn::Done { until, settled: 0, lost: 0, without_candidate: 0, unreadable };
    assert_eq!(settling.done(at(0), &node("g1"), stuck(Some(RepositoryId(10)), 10), QUICK, 0), None);
    assert_eq!(settling.next(at(5)), Next::Batch(node("g1"), RepositoryId(10)));
    let ended = settling.done(at(6), &node("g1"), stuck(None, 2), QUICK, 0).unwrap();
    assert_eq!((ended.progress.unreadable, ended.progress.rests), (12, true));
    down(&mut settling, at(9), 2, &["g1"]);
    assert_eq!(settling.progress()[&node("g1")].unreadable, 0, "counted anew");
}
