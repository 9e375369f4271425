use super::*;
use crate::core::{
    evidence::{Hard, Ours, Soft},
    ids::{Storage, VirtualStorage},
};

const SILENT: Evidence = Evidence::Soft(Soft::Timeout);
const REFUSED: Evidence = Evidence::Hard(Hard::Refused);

fn node(number: usize) -> NodeId {
    NodeId::new(VirtualStorage::new("v").unwrap(), Storage::new(format!("g{number}")).unwrap())
}

fn at(millis: u64) -> Timestamp {
    Timestamp(Duration::from_secs(100).saturating_add(Duration::from_millis(millis)))
}

/// A supervisor that has just heard all of its nodes.
struct Story {
    recusal: Recusal,
}

impl Story {
    fn of(nodes: usize) -> Self {
        let mut story = Story { recusal: Recusal::new(Limits::default(), (0..nodes).map(node)) };
        (0..nodes).for_each(|number| story.sees(0, number, Evidence::Serving));
        story
    }
    fn sees(&mut self, millis: u64, number: usize, evidence: Evidence) {
        self.recusal.saw(at(millis), &node(number), None, evidence);
    }
    fn falls_silent(&mut self, millis: u64, numbers: impl IntoIterator<Item = usize>) {
        numbers.into_iter().for_each(|number| self.sees(millis, number, SILENT));
    }
}

#[test]
fn more_than_half_and_no_fewer_than_three_silent_nodes_are_blindness() {
    for (nodes, silent, blind) in [
        (1, 1, false),
        (2, 2, false),
        (3, 2, false),
        (3, 3, true),
        (4, 3, true),
        (6, 3, false),
        (6, 4, true),
        (100, 3, false),
    ] {
        let mut story = Story::of(nodes);
        story.falls_silent(300, 0..silent);
        assert_eq!(story.recusal.reason(at(300)).is_some(), blind, "{silent} of {nodes}");
    }
}

#[test]
fn hard_evidence_is_no_silence_and_neither_is_trouble_of_our_own() {
    for evidence in [REFUSED, Evidence::Ours(Ours::NetworkUnreachable), Evidence::Graceful] {
        let mut story = Story::of(3);
        story.falls_silent(300, 0..2);
        story.sees(300, 2, evidence);
        assert_eq!(story.recusal.reason(at(300)), None, "{evidence:?}");
    }
}

#[test]
fn nodes_of_one_machine_may_die_together() {
    for (hosts, blind) in [(["10.0.0.1"; 3], false), (["10.0.0.1", "10.0.0.1", "/run/g3.sock"], true)] {
        let mut recusal = Recusal::new(Limits::default(), (0..3).map(node));
        for (number, host) in hosts.into_iter().enumerate() {
            recusal.saw(at(0), &node(number), Some(host), SILENT);
        }
        assert_eq!(recusal.reason(at(0)).is_some(), blind, "{hosts:?}");
    }
}

#[test]
fn those_that_fell_silent_long_before_the_others_did_not_fall_silent_with_them() {
    let mut story = Story::of(3);
    story.falls_silent(300, 0..1);
    story.falls_silent(300 + 1_726, 1..3);
    assert_eq!(story.recusal.reason(at(300 + 1_726)), None);
    let mut story = Story::of(3);
    story.falls_silent(300, 0..1);
    story.falls_silent(300 + 1_725, 1..3);
    assert_eq!(story.recusal.reason(at(300 + 1_725)), Some(Distrust::Blind));
}

#[test]
fn it_is_over_once_half_of_all_answered_within_a_round() {
    let mut story = Story::of(4);
    story.falls_silent(300, 0..4);
    assert!(!story.recusal.is_over(at(9_000)));
    story.sees(10_000, 0, Evidence::Serving);
    assert!(!story.recusal.is_over(at(10_000)), "one of four");
    story.sees(10_100, 1, REFUSED);
    assert!(story.recusal.is_over(at(10_100)), "who refuses is heard, too");
    assert!(!story.recusal.is_over(at(12_000)), "too long ago");
}

#[test]
fn a_stall_and_a_jump_count_for_one_round() {
    for (wait, wall, expected) in [
        (125, 0, None),
        (375, 400_000, None),
        (376, 0, Some(Distrust::Stalled)),
        (125, 600_000, Some(Distrust::ClockJumped)),
        (125, -600_000, Some(Distrust::ClockJumped)),
        (9_000, 9_000_000, Some(Distrust::ClockJumped)),
    ] {
        let mut story = Story::of(2);
        story.recusal.looked(at(1_000), 5);
        let looked = at(1_000).after(Duration::from_millis(wait));
        story.recusal.looked(looked, 5_i64.saturating_add(wall));
        assert_eq!(story.recusal.reason(looked), expected, "{wait} ms, {wall} us");
        let later = looked.after(Duration::from_millis(1_725));
        assert_eq!(story.recusal.reason(later), None, "{wait} ms, {wall} us");
    }
}

#[test]
fn a_vote_against_a_silent_node_waits_until_the_others_were_heard_since() {
    let mut story = Story::of(3);
    story.falls_silent(300, 0..1);
    let Hold::Began(asked) = story.recusal.holds(at(900), &node(0)) else { panic!("it may be blind") };
    assert_eq!(asked, [node(1), node(2)]);
    assert_eq!(story.recusal.holds(at(901), &node(0)), Hold::Goes);
    story.sees(902, 1, Evidence::Serving);
    assert_eq!(story.recusal.holds(at(902), &node(0)), Hold::No, "two at most can be silent now");
    // Contrast: whoever heard them meanwhile need not wait at all.
    let mut story = Story::of(3);
    story.falls_silent(300, 0..1);
    story.sees(800, 1, Evidence::Serving);
    assert_eq!(story.recusal.holds(at(900), &node(0)), Hold::No);
}

#[test]
fn a_vote_waits_no_longer_than_two_timeouts_and_a_refused_one_never() {
    let mut story = Story::of(3);
    story.falls_silent(300, 0..1);
    assert!(matches!(story.recusal.holds(at(900), &node(0)), Hold::Began(_)));
    assert_eq!(story.recusal.holds(at(1_499), &node(0)), Hold::Goes);
    assert_eq!(story.recusal.holds(at(1_500), &node(0)), Hold::No);
    story.sees(1_600, 1, REFUSED);
    assert_eq!(story.recusal.holds(at(1_600), &node(1)), Hold::No);
}

#[test]
fn three_of_a_hundred_wait_for_nobody_once_the_others_answered() {
    let mut story = Story::of(100);
    story.falls_silent(300, 0..3);
    (3..60).for_each(|number| story.sees(500, number, Evidence::Serving));
    for number in 0..3 {
        assert_eq!(story.recusal.holds(at(900), &node(number)), Hold::No);
    }
    assert_eq!(story.recusal.reason(at(900)), None);
}

#[test]
fn those_who_were_asked_just_now_are_not_asked_again_for_the_next_one() {
    let mut story = Story::of(10_000);
    story.falls_silent(300, 0..100);
    let mut asked = 0;
    for number in 0..100 {
        let Hold::Began(ask) = story.recusal.holds(at(900), &node(number)) else { panic!("it may be blind") };
        asked += ask.len();
    }
    assert_eq!(asked, 9_900, "each of the others once");
    story.falls_silent(800, 100..101);
    let Hold::Began(again) = story.recusal.holds(at(1_200), &node(100)) else { panic!("it may be blind") };
    assert_eq!(again.len(), 9_899, "a timeout later they are");
}

#[test]
fn a_node_that_is_watched_no_more_is_silent_no_more() {
    let mut story = Story::of(4);
    story.falls_silent(300, 0..3);
    assert_eq!(story.recusal.reason(at(300)), Some(Distrust::Blind));
    story.recusal.watch(&[node(2), node(3)].into());
    assert_eq!(story.recusal.reason(at(300)), None);
    assert!(story.recusal.is_over(at(300)), "half of them are heard");
}
