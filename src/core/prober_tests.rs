use super::*;
use crate::core::{
    error_tracker::{ErrorLimits, Traffic},
    evidence::{Hard, Misconfigured, Soft},
};

const TIMEOUT: Duration = Duration::from_millis(300);
const REFUSED: Evidence = Evidence::Hard(Hard::Refused);
const SILENCE: Evidence = Evidence::Soft(Soft::Timeout);

const LIMITS: ErrorLimits =
    ErrorLimits { window: Duration::from_secs(60), reads: 5, writes: 3, cool_down: Duration::from_secs(10) };
const TOO_MANY: Evidence = Evidence::ErrorRate(Traffic::Write);

struct Story {
    prober: Prober,
    now: Timestamp,
}

impl Story {
    fn new() -> Self {
        let thresholds = Thresholds { fall: 3, rise: 3, first: 1, window: 10 };
        Story { prober: Prober::new(thresholds, TIMEOUT, Some(LIMITS)), now: Timestamp::default() }
    }
    fn traffic_failed(&mut self, reads: u32, writes: u32) -> Vec<Effect> {
        self.prober.handle(self.now, Input::TrafficFailed { reads, writes })
    }
    /// One probe, sent and answered.
    fn probed(&mut self, evidence: Evidence) -> Vec<Effect> {
        let _ = self.due();
        self.answer(evidence)
    }
    fn due(&mut self) -> Vec<Effect> {
        self.prober.handle(self.now, Input::Due)
    }
    fn number(&self) -> u64 {
        self.prober.next.saturating_sub(1)
    }
    fn answer(&mut self, evidence: Evidence) -> Vec<Effect> {
        let number = self.number();
        self.prober.handle(self.now, Input::Answer { number, evidence })
    }
    fn up() -> Self {
        let mut story = Story::new();
        let _ = story.due();
        assert_eq!(
            story.answer(Evidence::Serving),
            vec![Effect::Report { opinion: Opinion::Up, evidence: Evidence::Serving }]
        );
        story
    }
    fn probe(&self, via: Via) -> Effect {
        Effect::Probe { number: self.number(), via, timeout: TIMEOUT }
    }
}

#[test]
fn a_refused_port_is_confirmed_once_on_a_fresh_connection_and_then_down() {
    let mut story = Story::up();
    let _ = story.due();
    let effects = story.answer(REFUSED);
    assert_eq!(effects, vec![story.probe(Via::Fresh)]);
    assert_eq!(story.answer(REFUSED), vec![Effect::Report { opinion: Opinion::Down, evidence: REFUSED }]);
}

#[test]
fn a_dropped_connection_with_an_open_port_is_survived() {
    let mut story = Story::up();
    let _ = story.due();
    let _ = story.answer(Evidence::Hard(Hard::Reset));
    let effects = story.answer(Evidence::Serving);
    assert_eq!(effects, vec![Effect::Report { opinion: Opinion::Up, evidence: Evidence::Serving }]);
}

#[test]
fn silence_is_retried_at_once_and_down_after_fall_misses() {
    let mut story = Story::up();
    let _ = story.due();
    for _ in 0..2 {
        let effects = story.answer(SILENCE);
        assert_eq!(effects, vec![story.probe(Via::Fresh), Effect::Report { opinion: Opinion::Up, evidence: SILENCE }]);
    }
    let effects = story.answer(SILENCE);
    assert_eq!(effects, vec![Effect::Reconnect, Effect::Report { opinion: Opinion::Down, evidence: SILENCE }]);
}

#[test]
fn a_node_that_stays_silent_is_probed_once_per_interval_only() {
    let mut story = Story::up();
    let _ = story.due();
    (0..3).for_each(|_| drop(story.answer(SILENCE)));
    let effects = story.due();
    assert_eq!(effects, vec![story.probe(Via::Kept)]);
    assert_eq!(story.answer(SILENCE), vec![Effect::Report { opinion: Opinion::Down, evidence: SILENCE }]);
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    let mut story = Story::up();
    let late = story.number();
    let _ = story.due();
    let dropped = story.prober.handle(story.now, Input::Answer { number: late, evidence: REFUSED });
    assert_eq!(dropped, vec![]);
    assert_eq!(story.prober.window().opinion(), Opinion::Up);
    assert_eq!(story.due(), vec![], "one probe in flight at most");
}

#[test]
fn an_answer_handled_late_is_no_evidence() {
    let mut story = Story::up();
    let _ = story.due();
    story.now = story.now.after(TIMEOUT + STALL_TOLERANCE + Duration::from_millis(1));
    let stalled = Evidence::Ours(Ours::Stalled);
    assert_eq!(story.answer(REFUSED), vec![Effect::Report { opinion: Opinion::Up, evidence: stalled }]);
}

#[test]
fn the_same_answer_in_time_is_evidence() {
    let mut story = Story::up();
    let _ = story.due();
    story.now = story.now.after(TIMEOUT + STALL_TOLERANCE);
    let effects = story.answer(REFUSED);
    assert_eq!(effects, vec![story.probe(Via::Fresh)]);
}

#[test]
fn our_own_trouble_is_no_evidence_however_often() {
    let mut story = Story::up();
    for _ in 0..20 {
        let _ = story.due();
        let evidence = Evidence::Ours(Ours::NoDescriptors);
        assert_eq!(story.answer(evidence), vec![Effect::Report { opinion: Opinion::Up, evidence }]);
    }
}

#[test]
fn a_polite_goodbye_costs_a_reconnect_and_nothing_else() {
    let mut story = Story::up();
    let _ = story.due();
    let effects = story.answer(Evidence::Graceful);
    assert_eq!(effects, vec![Effect::Reconnect, story.probe(Via::Fresh)]);
    assert_eq!(
        story.answer(Evidence::Serving),
        vec![Effect::Report { opinion: Opinion::Up, evidence: Evidence::Serving }]
    );
}

#[test]
fn a_node_of_another_cluster_is_shown_as_such_and_needs_rise_to_return() {
    let mut story = Story::up();
    let _ = story.due();
    let evidence = Evidence::Misconfigured(Misconfigured::Unauthenticated);
    assert_eq!(story.answer(evidence), vec![Effect::Report { opinion: Opinion::Misconfigured, evidence }]);
    for expected in [Opinion::Misconfigured, Opinion::Misconfigured, Opinion::Up] {
        let _ = story.due();
        assert_eq!(
            story.answer(Evidence::Serving),
            vec![Effect::Report { opinion: expected, evidence: Evidence::Serving }]
        );
    }
}

#[test]
fn failing_writes_take_a_node_out_at_once_though_it_says_that_it_serves() {
    let mut story = Story::up();
    assert_eq!(story.traffic_failed(4, 2), vec![], "one short of either threshold");
    assert_eq!(story.traffic_failed(0, 1), vec![Effect::Report { opinion: Opinion::Down, evidence: TOO_MANY }]);
    assert_eq!(story.traffic_failed(0, 9), vec![], "it is out already");
    for _ in 0..5 {
        let effects = story.probed(Evidence::Serving);
        assert_eq!(effects, vec![Effect::Report { opinion: Opinion::Down, evidence: TOO_MANY }], "the reason stays");
    }
}

#[test]
fn after_the_cool_down_one_healthy_probe_lets_it_back_and_one_error_takes_it_out_again() {
    let mut story = Story::up();
    let _ = story.traffic_failed(0, 3);
    story.now = story.now.after(LIMITS.cool_down);
    assert_eq!(story.prober.opinion(), Opinion::Down, "time alone does not");
    let silence = story.probed(SILENCE);
    assert_eq!(silence.last(), Some(&Effect::Report { opinion: Opinion::Down, evidence: SILENCE }));
    let back = story.answer(Evidence::Serving);
    assert_eq!(back, vec![Effect::Report { opinion: Opinion::Up, evidence: Evidence::Serving }]);
    assert_eq!(story.traffic_failed(0, 1), vec![Effect::Report { opinion: Opinion::Down, evidence: TOO_MANY }]);
}

#[test]
fn whoever_is_let_back_is_what_probes_found_it_to_be() {
    let mut story = Story::up();
    let _ = story.probed(REFUSED);
    let _ = story.answer(REFUSED);
    let _ = story.traffic_failed(5, 0);
    story.now = story.now.after(LIMITS.cool_down);
    for expected in [Opinion::Down, Opinion::Down, Opinion::Up] {
        let effects = story.probed(Evidence::Serving);
        assert_eq!(
            effects,
            vec![Effect::Report { opinion: expected, evidence: Evidence::Serving }],
            "rise still holds"
        );
    }
}

#[test]
fn a_node_that_is_gone_says_so_whatever_its_traffic_did() {
    let mut story = Story::up();
    let _ = story.traffic_failed(0, 3);
    let _ = story.probed(REFUSED);
    assert_eq!(story.answer(REFUSED), vec![Effect::Report { opinion: Opinion::Down, evidence: REFUSED }]);
    let evidence = Evidence::Misconfigured(Misconfigured::Tls);
    assert_eq!(story.probed(evidence), vec![Effect::Report { opinion: Opinion::Misconfigured, evidence }]);
}

#[test]
fn without_limits_failing_traffic_says_nothing() {
    let mut story = Story::up();
    story.prober = Prober::new(story.prober.thresholds, TIMEOUT, None);
    let _ = story.probed(Evidence::Serving);
    assert_eq!(story.traffic_failed(u32::MAX, u32::MAX), vec![]);
    assert_eq!((story.prober.opinion(), story.prober.traffic(story.now)), (Opinion::Up, None));
}

#[test]
fn in_rounds_too_failing_traffic_takes_a_node_out_and_a_round_lets_it_back() {
    let mut prober = Prober::new(Thresholds { fall: 1, rise: 1, first: 1, window: 1 }, TIMEOUT, Some(LIMITS));
    let at = |secs| Timestamp(Duration::from_secs(secs));
    assert_eq!(prober.round(at(0), Evidence::Serving), (Opinion::Up, Evidence::Serving));
    let _ = prober.handle(at(0), Input::TrafficFailed { reads: 0, writes: 3 });
    assert_eq!(prober.round(at(1), Evidence::Serving), (Opinion::Down, TOO_MANY));
    let no_descriptors = Evidence::Ours(Ours::NoDescriptors);
    assert_eq!(prober.round(at(10), no_descriptors), (Opinion::Down, no_descriptors), "not seen is not seen");
    assert_eq!(prober.round(at(11), Evidence::Serving), (Opinion::Up, Evidence::Serving));
}

#[test]
fn a_node_that_moved_keeps_its_opinion_and_nothing_that_was_counted_at_its_former_address() {
    let thresholds = Thresholds { fall: 3, rise: 3, first: 1, window: 10 };
    let mut story = Story::up();
    let _ = story.due();
    let _ = story.answer(SILENCE);
    let _ = story.answer(SILENCE);
    let late = story.number();
    story.prober.reconfigure(thresholds, TIMEOUT, Some(LIMITS), true);
    assert_eq!(story.prober.window().opinion(), Opinion::Up);
    assert!(story.prober.handle(story.now, Input::Answer { number: late, evidence: REFUSED }).is_empty(), "from there");
    let _ = story.due();
    let _ = story.answer(SILENCE);
    let effects = story.answer(SILENCE);
    assert!(effects.contains(&Effect::Report { opinion: Opinion::Up, evidence: SILENCE }), "two of three here");
    let effects = story.answer(SILENCE);
    assert!(effects.contains(&Effect::Report { opinion: Opinion::Down, evidence: SILENCE }), "{effects:?}");
    // Contrast: one that stays where it is needs only the third.
    let mut story = Story::up();
    let _ = story.due();
    let _ = story.answer(SILENCE);
    let _ = story.answer(SILENCE);
    story.prober.reconfigure(thresholds, TIMEOUT, Some(LIMITS), false);
    let effects = story.answer(SILENCE);
    assert!(effects.contains(&Effect::Report { opinion: Opinion::Down, evidence: SILENCE }), "{effects:?}");
}

#[test]
fn other_thresholds_hold_from_the_next_outcome_on_and_the_window_stays() {
    let mut story = Story::up();
    for _ in 0..4 {
        let _ = story.due();
        let _ = story.answer(Evidence::Serving);
    }
    story.prober.reconfigure(
        Thresholds { fall: 1, rise: 1, first: 1, window: 3 },
        Duration::from_millis(50),
        None,
        false,
    );
    assert_eq!(story.prober.window().outcomes().collect::<Vec<_>>(), [true; 3], "as far as the window reaches");
    let effects = story.due();
    assert!(matches!(effects[..], [Effect::Probe { timeout, .. }] if timeout == Duration::from_millis(50)));
    let effects = story.answer(SILENCE);
    assert!(effects.contains(&Effect::Report { opinion: Opinion::Down, evidence: SILENCE }), "{effects:?}");
}

#[test]
fn other_limits_or_another_address_count_errors_afresh_and_the_same_ones_do_not() {
    let thresholds = Thresholds { fall: 3, rise: 3, first: 1, window: 10 };
    let more = ErrorLimits { writes: 9, ..LIMITS };
    for (limits, moved, expected) in [
        (Some(LIMITS), false, Opinion::Down),
        (Some(more), false, Opinion::Up),
        (None, false, Opinion::Up),
        (Some(LIMITS), true, Opinion::Up),
    ] {
        let mut story = Story::up();
        let _ = story.traffic_failed(0, 3);
        story.prober.reconfigure(thresholds, TIMEOUT, limits, moved);
        assert_eq!(story.prober.opinion(), expected, "{limits:?} moved: {moved}");
    }
}

const STREAM_ENDED: Word = Word::Ended(Evidence::Hard(Hard::Reset));
const UNOFFERED: Word = Word::Ended(Evidence::Misconfigured(Misconfigured::Unimplemented));

impl Story {
    /// Up, and listened to: stream 1 is open.
    fn heard() -> Self {
        let mut story = Story::new();
        story.prober = story.prober.watching(true);
        let report = Effect::Report { opinion: Opinion::Up, evidence: Evidence::Serving };
        assert_eq!(story.probed(Evidence::Serving), vec![report, Effect::Watch { number: 1 }]);
        story
    }
    fn hears(&mut self, number: u64, word: Word) -> Vec<Effect> {
        self.prober.handle(self.now, Input::Heard { number, word, lot: 0 })
    }
    fn later(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
    }
}

#[test]
fn a_node_that_dies_is_down_by_its_stream_and_one_confirmation_without_any_probe_being_due() {
    let mut story = Story::heard();
    let effects = story.hears(1, STREAM_ENDED);
    assert_eq!(effects, vec![story.probe(Via::Fresh)]);
    assert_eq!(story.answer(REFUSED), vec![Effect::Report { opinion: Opinion::Down, evidence: REFUSED }]);
}

#[test]
fn a_stream_that_ends_while_the_node_serves_moves_nothing_and_is_opened_again_after_its_pause() {
    let mut story = Story::heard();
    let _ = story.hears(1, STREAM_ENDED);
    let serves = Effect::Report { opinion: Opinion::Up, evidence: Evidence::Serving };
    assert_eq!(story.answer(Evidence::Serving), vec![serves], "not at once");
    story.later(99);
    assert_eq!(story.probed(Evidence::Serving), vec![serves]);
    story.later(1);
    assert_eq!(story.probed(Evidence::Serving), vec![serves, Effect::Watch { number: 2 }]);
}

#[test]
fn hard_evidence_does_not_wait_for_a_probe_that_is_under_way_and_that_ones_answer_is_dropped() {
    let mut story = Story::heard();
    let _ = story.due();
    let hanging = story.number();
    let effects = story.hears(1, Word::Says(Evidence::Hard(Hard::NotServing)));
    assert_eq!(effects, vec![story.probe(Via::Fresh)]);
    let late = Input::Answer { number: hanging, evidence: Evidence::Serving };
    assert_eq!(story.prober.handle(story.now, late), vec![]);
    assert_eq!(story.hears(1, Word::Says(REFUSED)), vec![], "confirmed once");
    let not_serving = Evidence::Hard(Hard::NotServing);
    assert_eq!(story.answer(not_serving), vec![Effect::Report { opinion: Opinion::Down, evidence: not_serving }]);
    assert!(story.prober.is_watching(), "it will say when it serves again");
}

#[test]
fn serving_again_by_its_own_word_hurries_a_probe_and_replaces_none() {
    let mut story = Story::heard();
    let not_serving = Evidence::Hard(Hard::NotServing);
    let _ = story.hears(1, Word::Says(not_serving));
    let _ = story.answer(not_serving);
    let effects = story.hears(1, Word::Says(Evidence::Serving));
    assert_eq!(effects, vec![story.probe(Via::Kept)]);
    assert_eq!(story.hears(1, Word::Says(Evidence::Serving)), vec![], "one probe in flight at most");
    for expected in [Opinion::Down, Opinion::Down, Opinion::Up] {
        assert_eq!(
            story.answer(Evidence::Serving),
            vec![Effect::Report { opinion: expected, evidence: Evidence::Serving }]
        );
        let _ = story.due();
    }
    let _ = story.answer(Evidence::Serving);
    assert_eq!(story.hears(1, Word::Says(Evidence::Serving)), vec![], "known");
}

#[test]
fn a_stream_that_ends_with_a_polite_goodbye_costs_a_reconnect_and_nothing_else() {
    let mut story = Story::heard();
    assert_eq!(story.hears(1, Word::Ended(Evidence::Graceful)), vec![Effect::Reconnect]);
    assert_eq!((story.prober.opinion(), story.prober.in_flight.is_none()), (Opinion::Up, true));
}

#[test]
fn trouble_of_our_own_and_silence_on_a_stream_are_left_to_the_probes() {
    for evidence in [Evidence::Ours(Ours::NoDescriptors), SILENCE] {
        assert_eq!(Story::heard().hears(1, Word::Ended(evidence)), vec![]);
    }
}

#[test]
fn a_node_without_a_watch_is_probed_as_ever_and_asked_again_once_its_connection_was_made_anew() {
    let mut story = Story::heard();
    assert_eq!(story.hears(1, UNOFFERED), vec![]);
    let serves = Effect::Report { opinion: Opinion::Up, evidence: Evidence::Serving };
    for _ in 0..100 {
        story.later(750);
        assert_eq!(story.probed(Evidence::Serving), vec![serves]);
    }
    let _ = story.probed(Evidence::Hard(Hard::Reset));
    assert_eq!(story.answer(Evidence::Serving), vec![serves, Effect::Watch { number: 2 }]);
}

#[test]
fn a_frozen_node_goes_down_by_the_probes_that_it_misses_and_its_stream_goes_with_its_connection() {
    let mut story = Story::heard();
    let _ = story.due();
    (0..2).for_each(|_| drop(story.answer(SILENCE)));
    assert!(story.prober.is_watching());
    let down = Effect::Report { opinion: Opinion::Down, evidence: SILENCE };
    assert_eq!(story.answer(SILENCE), vec![Effect::Reconnect, down]);
    assert!(!story.prober.is_watching());
    assert_eq!(story.hears(1, Word::Says(Evidence::Serving)), vec![], "a word from the old stream");
}

#[test]
fn the_stream_of_a_node_that_refuses_is_closed_and_a_new_one_is_opened_by_its_first_answer() {
    let mut story = Story::heard();
    let _ = story.probed(REFUSED);
    let down = Effect::Report { opinion: Opinion::Down, evidence: REFUSED };
    assert_eq!(story.answer(REFUSED), vec![Effect::Unwatch, down], "else a node that stops politely waits for us");
    let back = Effect::Report { opinion: Opinion::Down, evidence: Evidence::Serving };
    assert_eq!(story.probed(Evidence::Serving), vec![back, Effect::Watch { number: 2 }]);
}

#[test]
fn rounds_know_no_watch() {
    let mut prober = Prober::new(Thresholds { fall: 1, rise: 1, first: 1, window: 1 }, TIMEOUT, None).watching(true);
    let _ = prober.round(Timestamp::default(), Evidence::Serving);
    assert!(!prober.is_watching());
}
