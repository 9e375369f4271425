//! How long a node is waited for, and that nobody who needs no waiting for is.

use super::*;
use crate::core::evidence::{Hard, Soft};

const MS: Duration = Duration::from_millis(1);
const REFUSED: Evidence = Evidence::Hard(Hard::Refused);
const SILENCE: Evidence = Evidence::Soft(Soft::Timeout);
const PATIENT: Patience = Patience {
    timeout: Duration::from_millis(300),
    timeout_floor: Duration::from_millis(300),
    restart_grace: Duration::from_millis(1_000),
};

/// A node that answered once, and is up.
struct Story {
    prober: Prober,
    now: Timestamp,
    /// The probe under way, and how long it may take.
    asked: Option<(u64, Via, Duration)>,
    look_again: Option<Duration>,
    said: Option<(Opinion, Evidence)>,
}

impl Story {
    fn new(patience: Patience) -> Self {
        let thresholds = Thresholds { fall: 3, rise: 3, first: 1, window: 10 };
        let prober = Prober::new(thresholds, patience, None);
        let mut story = Self { prober, now: Timestamp::default(), asked: None, look_again: None, said: None };
        story.probed(Evidence::Serving);
        story
    }
    fn feed(&mut self, input: Input) {
        for effect in self.prober.handle(self.now, input) {
            match effect {
                Effect::Probe { number, via, timeout } => self.asked = Some((number, via, timeout)),
                Effect::LookAgain { after } => self.look_again = Some(after),
                Effect::Report { opinion, evidence } => self.said = Some((opinion, evidence)),
                Effect::Reconnect | Effect::Watch { .. } | Effect::Unwatch => {}
            }
        }
    }
    fn answer(&mut self, evidence: Evidence) {
        let (number, ..) = self.asked.take().unwrap();
        self.feed(Input::Answer { number, evidence });
    }
    fn probed(&mut self, evidence: Evidence) {
        self.feed(Input::Due);
        self.answer(evidence);
    }
    /// Waits as it was told to, and answers this whatever is asked, until nothing more is asked for by itself. Answers how
    /// often it was asked, and when it ended.
    fn answers_always(&mut self, evidence: Evidence) -> (usize, Duration) {
        let began = self.now;
        let mut asked = 0_usize;
        self.feed(Input::Due);
        loop {
            while self.asked.is_some() {
                asked = asked.saturating_add(1);
                self.answer(evidence);
            }
            match self.look_again.take() {
                Some(after) => {
                    self.now = self.now.after(after);
                    self.feed(Input::Due);
                }
                None => return (asked, self.now.since(began)),
            }
        }
    }
    fn opinion(&self) -> Opinion {
        self.said.unwrap().0
    }
}

#[test]
fn a_node_that_comes_back_within_its_grace_was_never_down() {
    let mut story = Story::new(PATIENT);
    story.feed(Input::Due);
    story.answer(REFUSED);
    assert_eq!(story.asked.map(|(_, via, _)| via), Some(Via::Fresh), "confirmed");
    story.answer(REFUSED);
    assert_eq!(story.said, Some((Opinion::Up, REFUSED)), "what it found is told, and that it waits");
    for turn in 0..9 {
        assert_eq!(story.look_again.take(), Some(100 * MS), "turn {turn}");
        story.now = story.now.after(100 * MS);
        story.feed(Input::Due);
        assert_eq!(story.asked.map(|(_, via, _)| via), Some(Via::Fresh), "the kept connection tells nothing new");
        story.answer(if turn < 8 { REFUSED } else { Evidence::Serving });
        assert_eq!(story.opinion(), Opinion::Up);
    }
    assert_eq!(story.look_again, None, "back to its schedule");
    story.feed(Input::Due);
    assert_eq!(story.asked.map(|(_, via, _)| via), Some(Via::Kept));
    story.answer(Evidence::Serving);
    story.probed(REFUSED);
    story.answer(REFUSED);
    assert_eq!(story.opinion(), Opinion::Up, "the next restart has a grace of its own");
}

#[test]
fn a_node_that_does_not_come_back_is_down_when_its_grace_is_over() {
    let mut story = Story::new(PATIENT);
    let (asked, took) = story.answers_always(REFUSED);
    assert_eq!((asked, took, story.opinion()), (12, 1_000 * MS, Opinion::Down), "first, confirmation, and ten looks");
    story.feed(Input::Due);
    assert_eq!(story.asked.map(|(_, via, _)| via), Some(Via::Kept), "from then on it is any dead node");
    let mut hasty = Story::new(Patience { restart_grace: Duration::ZERO, ..PATIENT });
    assert_eq!((hasty.answers_always(REFUSED), hasty.opinion()), ((2, Duration::ZERO), Opinion::Down), "contrast");
}

#[test]
fn the_last_look_is_when_the_grace_ends_and_not_later() {
    let mut story = Story::new(Patience { restart_grace: 250 * MS, ..PATIENT });
    assert_eq!(story.answers_always(REFUSED).1, 250 * MS);
    assert_eq!(story.opinion(), Opinion::Down);
}

#[test]
fn whoever_says_that_it_does_not_serve_is_not_waited_for() {
    for said in [Hard::NotServing, Hard::ServiceUnknown] {
        let mut story = Story::new(PATIENT);
        story.probed(Evidence::Hard(said));
        story.answer(Evidence::Hard(said));
        assert_eq!((story.opinion(), story.look_again), (Opinion::Down, None));
    }
    let mut story = Story::new(PATIENT);
    story.probed(REFUSED);
    story.answer(REFUSED);
    story.probed(Evidence::Hard(Hard::NotServing));
    assert_eq!(story.opinion(), Opinion::Down, "it is back, and says that it does not serve");
}

#[test]
fn a_stream_that_ends_begins_the_grace_as_a_probe_does() {
    let thresholds = Thresholds { fall: 3, rise: 3, first: 1, window: 10 };
    let mut story = Story::new(PATIENT);
    story.prober = Prober::new(thresholds, PATIENT, None).watching(true);
    story.probed(Evidence::Serving);
    story.feed(Input::Heard { number: 1, word: Word::Ended(Evidence::Hard(Hard::Reset)), lot: 0 });
    story.now = story.now.after(200 * MS);
    story.answer(REFUSED);
    assert_eq!(story.opinion(), Opinion::Up);
    assert_eq!(story.answers_always(REFUSED).1, 800 * MS, "since the stream ended");
    assert_eq!(story.opinion(), Opinion::Down);
}

#[test]
fn silence_meanwhile_counts_as_ever() {
    let mut story = Story::new(PATIENT);
    story.probed(REFUSED);
    story.answer(REFUSED);
    story.feed(Input::Due);
    (0..3).for_each(|_| story.answer(SILENCE));
    assert_eq!((story.opinion(), story.asked), (Opinion::Down, None));
}

#[test]
fn the_first_look_adapts_to_round_trips_and_what_follows_a_miss_has_all_the_time_there_is() {
    let mut story = Story::new(Patience { timeout_floor: 50 * MS, ..PATIENT });
    let mut given = Vec::new();
    for _ in 0..60 {
        story.feed(Input::Due);
        given.push(story.asked.unwrap().2);
        story.now = story.now.after(10 * MS);
        story.answer(Evidence::Serving);
    }
    assert!(given.iter().all(|given| (50 * MS..300 * MS).contains(given)), "{given:?}");
    assert_eq!(given.last(), Some(&(50 * MS)), "{given:?}");
    story.feed(Input::Due);
    for expected in [Some(300 * MS), Some(300 * MS), None] {
        story.answer(SILENCE);
        assert_eq!(story.asked.map(|(.., timeout)| timeout), expected);
    }
    story.feed(Input::Due);
    assert_eq!(story.asked.unwrap().2, 300 * MS, "nothing was measured since");
    story.now = story.now.after(200 * MS);
    story.answer(Evidence::Serving);
    story.feed(Input::Due);
    assert_eq!(story.asked.unwrap().2, 300 * MS, "it has become slow");
}

#[test]
fn a_retry_that_succeeds_does_not_bring_the_short_time_back() {
    let mut story = Story::new(Patience { timeout_floor: 50 * MS, ..PATIENT });
    (0..60).for_each(|_| story.probed(Evidence::Serving));
    for _ in 0..5 {
        story.probed(SILENCE);
        story.answer(Evidence::Serving);
        story.feed(Input::Due);
        assert_eq!(story.asked.unwrap().2, 300 * MS, "a fresh connection tells nothing of round trips (Karn)");
        story.answer(SILENCE);
        story.answer(Evidence::Serving);
    }
}

#[test]
fn an_answer_is_late_by_the_time_that_its_own_probe_was_given() {
    let mut story = Story::new(Patience { timeout_floor: 50 * MS, ..PATIENT });
    (0..60).for_each(|_| story.probed(Evidence::Serving));
    story.feed(Input::Due);
    assert_eq!(story.asked.unwrap().2, 50 * MS);
    story.now = story.now.after(101 * MS);
    story.answer(SILENCE);
    assert_eq!(story.said, Some((Opinion::Up, Evidence::Ours(Ours::Stalled))));
}
