//! What is read ahead is used while it is young, by its own walk, where that goes on; and else not even read.

use super::*;
use crate::core::{
    election::Reason,
    ids::{Storage, VirtualStorage},
    quorum::Verdict,
    settling::Settlement,
};

const PAUSE: Duration = Duration::from_millis(5);
const A: RepositoryId = RepositoryId(10);

fn node(name: &str) -> NodeId {
    NodeId::new(VirtualStorage::new("v").unwrap(), Storage::new(name).unwrap())
}

fn at(ms: u64) -> Timestamp {
    Timestamp(Duration::from_millis(ms))
}

fn won(settled: u64) -> Turn {
    Turn::Done { until: Some(A), settled, lost: 0, without_candidate: 0, unreadable: 0 }
}

/// Asked for at 0, by a database whose decisions may be so old.
fn read(decision_ttl: u64, facts: &'static str) -> Option<ReadAhead<&'static str>> {
    Some(ReadAhead { after: A, asked: at(0), decision_ttl: Duration::from_millis(decision_ttl), facts })
}

fn kept(turn: &Turn, decision_ttl: u64) -> Ahead<&'static str> {
    let mut ahead = Ahead::new(PAUSE);
    ahead.keep(&node("g1"), turn, read(decision_ttl, "g1"));
    ahead
}

/// A batch with something due, if `due`, and more behind it.
fn batch(due: bool) -> Batch {
    let settlement = Settlement {
        why: Reason::Unhealthy,
        demotes: false,
        repositories: Vec::new(),
        shares: BTreeMap::new(),
        refused: BTreeMap::new(),
    };
    Batch {
        verdict: Verdict::Unhealthy,
        due: due.then_some(settlement).into_iter().collect(),
        kept: 0,
        without_candidate: 0,
        waits: None,
        until: Some(A),
        read: 1,
        verdicts: BTreeMap::new(),
    }
}

#[test]
fn it_is_used_once_by_its_own_walk_where_that_goes_on() {
    assert_eq!(kept(&won(1), 1_000).take(at(1), &node("g1"), RepositoryId(9)), None, "somewhere else in the walk");
    let mut ahead = kept(&won(1), 1_000);
    assert_eq!(ahead.take(at(1), &node("g2"), A), None);
    ahead.keep(&node("g2"), &won(1), read(1_000, "g2"));
    assert_eq!(ahead.take(at(2), &node("g1"), A), Some("g1"), "the other walk did not cost it");
    assert_eq!(ahead.take(at(3), &node("g1"), A), None);
    assert_eq!(ahead.take(at(4), &node("g2"), A), Some("g2"));
    let mut ahead = kept(&won(1), 1_000);
    ahead.clear();
    assert_eq!(ahead.take(at(1), &node("g1"), A), None);
}

#[test]
fn it_is_used_for_a_quarter_of_a_second_or_half_of_what_decisions_live() {
    for (decision_ttl, last) in [(1_000, 250), (500, 250), (100, 50), (10, 5)] {
        assert_eq!(kept(&won(1), decision_ttl).take(at(last), &node("g1"), A), Some("g1"), "{decision_ttl}");
        assert_eq!(kept(&won(1), decision_ttl).take(at(last + 1), &node("g1"), A), None, "{decision_ttl}");
    }
}

#[test]
fn a_walk_that_won_nothing_keeps_nothing() {
    for turn in [won(0), Turn::Busy, Turn::NotNow, Turn::Failed { settled: 3 }] {
        assert_eq!(kept(&turn, 1_000).take(at(1), &node("g1"), A), None, "{turn:?}");
    }
}

#[test]
fn nothing_is_read_that_would_not_be_used() {
    let ms = Duration::from_millis;
    let mut ahead = Ahead::<()>::new(PAUSE);
    assert_eq!(ahead.next(&batch(true)), Some(A));
    assert_eq!(ahead.next(&batch(false)), None, "nothing is committed beside which it could be read");
    assert_eq!(ahead.next(&Batch { until: None, ..batch(true) }), None, "nothing is behind it");
    for (took, next) in [(ms(244), Some(A)), (ms(245), None), (ms(1), Some(A))] {
        ahead.took(took);
        assert_eq!(ahead.next(&batch(true)), next, "after {took:?}: it would be too old");
    }
    assert_eq!(Ahead::<()>::new(ms(250)).next(&batch(true)), None, "so it would after such a pause");
}
