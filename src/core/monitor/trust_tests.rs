//! A supervisor that does not trust itself.

use super::*;
use crate::core::recusal::Distrust;

const SILENT: Evidence = Evidence::Soft(Soft::Timeout);

/// `s1` watches four nodes, has said that all of them are up, and the database has taken it.
fn all_up() -> Story {
    all_of_them_up(&["g1", "g2", "g3", "g4"])
}

fn all_of_them_up(nodes: &[&str]) -> Story {
    let settings = SettingsInForce { revision: Revision(1), settings: Settings::of(Profile::Default) };
    let watched = nodes.iter().map(|name| node(name));
    let monitor = Monitor::new(SupervisorName::new("s1").unwrap(), settings.clone(), watched);
    let mut story = Story { monitor, now: Timestamp(Duration::from_secs(100)), settings };
    let _ = story.feed(Input::Tick);
    let _ = story.register(7);
    for name in nodes {
        let effects = story.report(name, Opinion::Up);
        let _ = story.taken(&effects);
    }
    story
}

impl Story {
    fn hears(&mut self, name: &str, opinion: Opinion, evidence: Evidence) -> Vec<Effect> {
        self.feed(Input::Reported { node: node(name), opinion, evidence, host: None })
    }
    /// Answers the write in these effects, and those that follow; answers all votes in them.
    fn taken(&mut self, effects: &[Effect]) -> Vec<(NodeId, Opinion)> {
        let Some((number, votes)) = written(effects) else { return Vec::new() };
        let batch = WrittenBatch { incarnation: Incarnation(7), number, votes: votes.clone() };
        let effects = self.feed(Input::VotesWritten { batch, mine: Some(true) });
        let later = self.taken(&effects);
        votes.into_iter().chain(later).collect()
    }
    fn told(&mut self, reason: Option<Distrust>, mine: Option<bool>) -> Vec<Effect> {
        let voter = self.monitor.voter().unwrap();
        self.feed(Input::TrustStored { voter, reason, mine })
    }
    fn goes_blind(&mut self) -> Vec<Effect> {
        self.wait(300);
        ["g1", "g2", "g3"].map(|name| self.hears(name, Opinion::Up, SILENT)).concat()
    }
}

fn stored(effects: &[Effect]) -> Option<Option<Distrust>> {
    effects.iter().find_map(|effect| match effect {
        Effect::StoreTrust { reason, .. } => Some(*reason),
        _ => None,
    })
}

#[test]
fn who_sees_nothing_abstains_and_votes_no_more() {
    let mut story = all_up();
    let effects = story.goes_blind();
    assert!(effects.contains(&Effect::Recused(Some(Distrust::Blind))), "{effects:?}");
    assert_eq!(stored(&effects), Some(Some(Distrust::Blind)));
    let _ = story.told(Some(Distrust::Blind), Some(true));
    for name in ["g1", "g2", "g3", "g4"] {
        let effects = story.hears(name, Opinion::Down, SILENT);
        assert_eq!((written(&effects), stored(&effects)), (None, None), "{effects:?}");
    }
    assert_eq!(written(&story.feed(Input::Tick)), None);
}

#[test]
fn who_sees_again_takes_back_what_it_said_and_votes_anew_before_it_takes_part() {
    let mut story = all_up();
    let _ = story.goes_blind();
    let _ = story.told(Some(Distrust::Blind), Some(true));
    for name in ["g1", "g2", "g3", "g4"] {
        let _ = story.hears(name, Opinion::Down, SILENT);
    }
    story.wait(5_000);
    assert_eq!(stored(&story.hears("g1", Opinion::Down, Evidence::Serving)), None, "one of four");
    let effects = story.hears("g2", Opinion::Down, Evidence::Serving);
    assert!(effects.contains(&Effect::ProbeAll), "{effects:?}");
    assert_eq!(stored(&effects), None, "not yet");
    let taken_back = story.taken(&effects);
    assert_eq!(taken_back, ["g1", "g2", "g3", "g4"].map(|name| (node(name), Opinion::None)));
    let effects = story.hears("g1", Opinion::Up, Evidence::Serving);
    assert_eq!((story.taken(&effects), stored(&effects)), (vec![(node("g1"), Opinion::Up)], None));
    let effects = story.hears("g2", Opinion::Up, Evidence::Serving);
    let (number, votes) = written(&effects).unwrap();
    assert_eq!(stored(&effects), None, "not before the vote is in");
    let batch = WrittenBatch { incarnation: Incarnation(7), number, votes };
    let effects = story.feed(Input::VotesWritten { batch, mine: Some(true) });
    assert!(effects.contains(&Effect::Recused(None)), "{effects:?}");
    assert_eq!(stored(&effects), Some(None));
}

#[test]
fn a_node_that_answers_while_its_window_still_says_down_is_not_voted_down_anew() {
    let mut story = all_up();
    let _ = story.goes_blind();
    story.wait(5_000);
    let effects = ["g1", "g2"].map(|name| story.hears(name, Opinion::Down, Evidence::Serving)).concat();
    let _ = story.taken(&effects);
    let effects = story.hears("g3", Opinion::Down, Evidence::Serving);
    assert!(!story.taken(&effects).contains(&(node("g3"), Opinion::Down)), "{effects:?}");
}

#[test]
fn a_vote_against_a_silent_node_waits_for_the_others_and_asks_them() {
    let mut story = all_up();
    story.wait(300);
    let _ = story.hears("g1", Opinion::Up, SILENT);
    story.wait(600);
    let effects = story.hears("g1", Opinion::Down, SILENT);
    assert!(effects.contains(&Effect::Probe(["g2", "g3", "g4"].map(node).into())), "{effects:?}");
    assert_eq!(written(&effects), None);
    assert_eq!(written(&story.hears("g2", Opinion::Up, Evidence::Serving)), None, "three may be silent yet");
    let effects = story.hears("g3", Opinion::Up, Evidence::Serving);
    assert_eq!(written(&effects).unwrap().1, vec![(node("g1"), Opinion::Down)]);
}

/// Each of them would have all held votes of a cluster weighed against all of its nodes: with ten thousand nodes, ten minutes.
#[test]
fn in_a_large_cluster_held_votes_are_weighed_now_and_then_and_not_at_every_answer() {
    let names: Vec<String> = (0..2_000).map(|number| format!("g{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut story = all_of_them_up(&names);
    story.wait(300);
    for name in &names[..100] {
        let _ = story.hears(name, Opinion::Up, SILENT);
    }
    story.wait(600);
    for name in &names[..100] {
        assert_eq!(written(&story.hears(name, Opinion::Down, SILENT)), None);
    }
    let mut answers = 0;
    let told = names[100..].iter().find_map(|name| {
        answers += 1;
        written(&story.hears(name, Opinion::Up, Evidence::Serving))
    });
    assert_eq!(told.expect("at most half can be silent by now").1.len(), 100);
    // Half of them are enough to know; then it is the next time that the votes are weighed.
    assert!((901..=901 + 100 * 2_000 / super::super::trust::LOOKS).contains(&answers), "{answers}");
}

#[test]
fn a_stall_is_told_and_over_one_round_later() {
    let mut story = all_up();
    let _ = story.feed(Input::Looked { wall: 0 });
    story.wait(1_000);
    let effects = story.feed(Input::Looked { wall: 0 });
    assert_eq!(stored(&effects), Some(Some(Distrust::Stalled)));
    let _ = story.told(Some(Distrust::Stalled), Some(true));
    story.wait(1_000);
    for name in ["g1", "g2", "g3", "g4"] {
        assert_eq!(stored(&story.hears(name, Opinion::Up, Evidence::Serving)), None);
    }
    story.wait(725);
    let effects = story.feed(Input::Tick);
    assert!(effects.contains(&Effect::ProbeAll), "{effects:?}");
    let _ = story.taken(&effects);
    for name in ["g1", "g2"] {
        let effects = story.hears(name, Opinion::Up, Evidence::Serving);
        let _ = story.taken(&effects);
    }
    assert_eq!(story.monitor.trust, Trust::Full);
}

#[test]
fn a_row_that_could_not_be_written_is_written_by_the_next_tick_and_not_at_once() {
    let mut story = all_up();
    let _ = story.goes_blind();
    assert_eq!(stored(&story.told(Some(Distrust::Blind), None)), None, "a database that fails at once is left alone");
    assert_eq!(stored(&story.feed(Input::Tick)), Some(Some(Distrust::Blind)));
}

#[test]
fn a_new_registration_says_again_that_it_abstains() {
    let mut story = all_up();
    let _ = story.goes_blind();
    let _ = story.told(Some(Distrust::Blind), Some(true));
    let _ = story.feed(Input::HeartbeatAnswered { sent: story.now, reply: Some(HeartbeatReply::Lapsed) });
    assert_eq!(stored(&story.register(8)), Some(Some(Distrust::Blind)));
}

#[test]
fn in_rounds_nobody_abstains() {
    let mut story = Story::new(Profile::Praefect);
    let _ = story.feed(Input::Tick);
    let _ = story.register(7);
    let _ = story.feed(Input::Looked { wall: 0 });
    story.wait(60_000);
    assert_eq!(stored(&story.feed(Input::Looked { wall: 9_000_000_000 })), None);
}

#[test]
fn a_change_of_votes_is_read_at_once_and_who_is_accused_is_looked_at_once() {
    let mut story = all_up();
    let _ = story.facts(&[]);
    let _ = story.facts(&[]);
    assert!(story.feed(Input::VotesChanged).contains(&Effect::ReadFacts));
    let accusation = |story: &mut Story| {
        let vote = VoteRow {
            supervisor: SupervisorName::new("s2").unwrap(),
            node: node("g1"),
            opinion: Some(Opinion::Down),
            incarnation: Some(Incarnation(3)),
            contact_age: Some(Age(0)),
            seen_age: None,
        };
        let facts = HealthFacts { votes: vec![vote], supervisors: Vec::new() };
        let settings = story.settings.clone();
        story.feed(Input::FactsRead(Some((facts, settings))))
    };
    let look = Effect::Probe([node("g1")].into());
    assert!(accusation(&mut story).contains(&look));
    assert!(!accusation(&mut story).contains(&look), "once");
    let _ = story.facts(&[]);
    assert!(accusation(&mut story).contains(&look), "it is new again");
}
