use super::*;
use crate::core::{
    consensus::{SupervisorRow, VoteRow},
    evidence::{Evidence, Hard, Ours, Soft},
    ids::{Storage, VirtualStorage},
    quorum::Verdict,
    time::{Age, DatabaseTime},
};
use std::time::Duration;

fn node(name: &str) -> NodeId {
    NodeId::new(VirtualStorage::new("v").unwrap(), Storage::new(name).unwrap())
}

/// A supervisor `s1` that watches `g1` and `g2`, on a clock that the story moves.
struct Story {
    monitor: Monitor,
    now: Timestamp,
    settings: SettingsInForce,
}

impl Story {
    fn new(profile: Profile) -> Self {
        let settings = SettingsInForce { revision: Revision(1), settings: Settings::of(profile) };
        let monitor = Monitor::new(SupervisorName::new("s1").unwrap(), settings.clone(), [node("g1"), node("g2")]);
        Story { monitor, now: Timestamp(Duration::from_secs(100)), settings }
    }
    fn feed(&mut self, input: Input) -> Vec<Effect> {
        self.monitor.handle(self.now, input)
    }
    fn wait(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
    }
    fn db(&self) -> DatabaseTime {
        DatabaseTime(i64::try_from(self.now.0.as_micros()).unwrap())
    }
    fn register(&mut self, incarnation: i64) -> Vec<Effect> {
        let reply = RegisterReply::Registered { incarnation: Incarnation(incarnation), at: self.db() };
        self.feed(Input::Registered { sent: self.now, reply: Some(reply) })
    }
    fn voting() -> Self {
        let mut story = Story::new(Profile::Default);
        let effects = story.feed(Input::Tick);
        assert!(matches!(effects[..], [Effect::Register { previous: None, .. }]), "{effects:?}");
        let effects = story.register(7);
        assert!(effects.contains(&Effect::ProbeAll) && effects.contains(&Effect::ReadFacts), "{effects:?}");
        story
    }
    fn report(&mut self, name: &str, opinion: Opinion) -> Vec<Effect> {
        let evidence = if opinion == Opinion::Up { Evidence::Serving } else { Evidence::Hard(Hard::Refused) };
        self.feed(Input::Reported { node: node(name), opinion, evidence, host: None })
    }
    fn beat(&mut self, at: DatabaseTime) -> Vec<Effect> {
        let sent = self.now;
        self.feed(Input::HeartbeatAnswered { sent, reply: Some(HeartbeatReply::Alive { at }) })
    }
    fn facts(&mut self, votes: &[(&str, Opinion)]) -> Vec<Effect> {
        let name = SupervisorName::new("s1").unwrap();
        let row = |(about, opinion): &(&str, Opinion)| VoteRow {
            supervisor: name.clone(),
            node: node(about),
            opinion: Some(*opinion),
            incarnation: Some(Incarnation(7)),
            contact_age: Some(Age(0)),
            seen_age: Some(Age(0)),
        };
        let me = SupervisorRow {
            name: name.clone(),
            incarnation: Incarnation(7),
            heartbeat_age: Age(0),
            registered_age: Age(0),
            recused: false,
        };
        let facts = HealthFacts { votes: votes.iter().map(row).collect(), supervisors: vec![me] };
        let settings = self.settings.clone();
        self.feed(Input::FactsRead(Some((facts, settings))))
    }
}

fn written(effects: &[Effect]) -> Option<(i64, Vec<(NodeId, Opinion)>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::WriteVotes { batch, votes, .. } => Some((*batch, votes.clone())),
        _ => None,
    })
}

#[test]
fn a_vote_is_written_once_when_it_changes_and_never_at_rest() {
    let mut story = Story::voting();
    let effects = story.report("g1", Opinion::Up);
    let (number, votes) = written(&effects).unwrap();
    assert_eq!(votes, vec![(node("g1"), Opinion::Up)]);
    let batch = WrittenBatch { incarnation: Incarnation(7), number, votes };
    let _ = story.feed(Input::VotesWritten { batch, mine: Some(true) });
    for _ in 0..50 {
        story.wait(100);
        assert_eq!(written(&story.report("g1", Opinion::Up)), None);
        assert_eq!(written(&story.feed(Input::Tick)), None);
    }
}

#[test]
fn one_write_at_a_time_and_the_latest_opinion_wins() {
    let mut story = Story::voting();
    let (first, votes) = written(&story.report("g1", Opinion::Up)).unwrap();
    assert_eq!(written(&story.report("g1", Opinion::Down)), None, "one is under way");
    assert_eq!(written(&story.report("g2", Opinion::Up)), None);
    let batch = WrittenBatch { incarnation: Incarnation(7), number: first, votes };
    let (second, votes) = written(&story.feed(Input::VotesWritten { batch, mine: Some(true) })).unwrap();
    assert!(second > first);
    assert_eq!(votes, vec![(node("g1"), Opinion::Down), (node("g2"), Opinion::Up)]);
}

#[test]
fn a_write_that_failed_is_tried_again_with_the_latest_opinion() {
    let mut story = Story::voting();
    let (number, votes) = written(&story.report("g1", Opinion::Up)).unwrap();
    let batch = WrittenBatch { incarnation: Incarnation(7), number, votes };
    assert_eq!(written(&story.feed(Input::VotesWritten { batch, mine: None })), None);
    let (_, votes) = written(&story.feed(Input::Tick)).unwrap();
    assert_eq!(votes, vec![(node("g1"), Opinion::Up)]);
}

#[test]
fn a_node_nobody_hears_of_is_retracted_to_none() {
    let mut story = Story::voting();
    let (number, votes) = written(&story.report("g1", Opinion::Up)).unwrap();
    let batch = WrittenBatch { incarnation: Incarnation(7), number, votes };
    let _ = story.feed(Input::VotesWritten { batch, mine: Some(true) });
    story.wait(4_999);
    assert_eq!(written(&story.feed(Input::Tick)), None, "not yet");
    story.wait(1);
    let effects = story.feed(Input::Tick);
    assert_eq!(written(&effects).unwrap().1, vec![(node("g1"), Opinion::None)]);
    assert!(effects.contains(&Effect::PublishLocal(BTreeSet::new())));
}

/// What is published may be a predecessor's, so the first change replaces all of it; copying all for each of ten thousand
/// nodes that come up would take seconds.
#[test]
fn local_health_is_published_whole_once_and_then_node_by_node() {
    let mut story = Story::voting();
    let effects = story.report("g1", Opinion::Up);
    assert!(effects.contains(&Effect::PublishLocal([node("g1")].into())), "{effects:?}");
    for (opinion, up) in [(Opinion::Up, true), (Opinion::Down, false)] {
        let effects = story.report("g2", opinion);
        assert!(effects.contains(&Effect::PublishOne { node: node("g2"), up }), "{effects:?}");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::PublishLocal(_))), "{effects:?}");
    }
}

#[test]
fn a_probe_that_says_nothing_about_the_node_keeps_no_vote_alive() {
    let mut story = Story::voting();
    let (number, votes) = written(&story.report("g1", Opinion::Up)).unwrap();
    let batch = WrittenBatch { incarnation: Incarnation(7), number, votes };
    let _ = story.feed(Input::VotesWritten { batch, mine: Some(true) });
    story.wait(5_000);
    let evidence = Evidence::Ours(Ours::NoDescriptors);
    let _ = story.feed(Input::Reported { node: node("g1"), opinion: Opinion::Up, evidence, host: None });
    assert_eq!(written(&story.feed(Input::Tick)).unwrap().1, vec![(node("g1"), Opinion::None)]);
}

#[test]
fn a_lapse_is_a_death_and_the_new_incarnation_has_said_nothing() {
    let mut story = Story::voting();
    let _ = story.report("g1", Opinion::Up);
    let sent = story.now;
    let effects = story.feed(Input::HeartbeatAnswered { sent, reply: Some(HeartbeatReply::Lapsed) });
    assert!(
        effects.iter().any(|e| matches!(e, Effect::Register { previous: Some(Incarnation(7)), .. })),
        "{effects:?}"
    );
    let effects = story.register(8);
    assert_eq!(written(&effects), None, "it looks before it votes");
    assert!(effects.contains(&Effect::ProbeAll));
    assert_eq!(written(&story.report("g1", Opinion::Up)).unwrap(), (1, vec![(node("g1"), Opinion::Up)]));
}

#[test]
fn a_vote_that_was_never_written_dies_with_its_incarnation() {
    let mut story = Story::voting();
    let _ = story.report("g1", Opinion::Up);
    let sent = story.now;
    let _ = story.feed(Input::HeartbeatAnswered { sent, reply: Some(HeartbeatReply::Lapsed) });
    let _ = story.register(8);
    assert_eq!(written(&story.feed(Input::Tick)), None, "it has not looked yet");
    assert_eq!(written(&story.report("g2", Opinion::Up)), Some((1, vec![(node("g2"), Opinion::Up)])));
}

#[test]
fn the_answer_to_a_batch_that_was_given_up_frees_nobody() {
    let mut story = Story::voting();
    let (number, votes) = written(&story.report("g1", Opinion::Up)).unwrap();
    let batch = WrittenBatch { incarnation: Incarnation(7), number, votes };
    let _ = story.feed(Input::VotesWritten { batch: batch.clone(), mine: None });
    let _ = story.feed(Input::Tick);
    assert_eq!(story.feed(Input::VotesWritten { batch, mine: Some(true) }), vec![], "the second is under way");
    assert_eq!(written(&story.report("g2", Opinion::Up)), None);
}

#[test]
fn every_row_is_stamped_while_a_praefect_reads_along() {
    let mut story = Story::voting();
    let (number, votes) = written(&story.report("g1", Opinion::Up)).unwrap();
    let batch = WrittenBatch { incarnation: Incarnation(7), number, votes };
    let _ = story.feed(Input::VotesWritten { batch, mine: Some(true) });
    let praefect = VoteRow {
        supervisor: SupervisorName::new("p1").unwrap(),
        node: node("g1"),
        opinion: None,
        incarnation: None,
        contact_age: Some(Age(0)),
        seen_age: None,
    };
    let facts = HealthFacts { votes: vec![praefect], supervisors: vec![] };
    let settings = story.settings.clone();
    let _ = story.feed(Input::FactsRead(Some((facts, settings))));
    story.wait(1_000);
    assert_eq!(written(&story.feed(Input::Tick)).unwrap().1, vec![(node("g1"), Opinion::Up)]);
}

/// D6: the window of a node's actor outlives the incarnation, its `up` does not.
#[test]
fn a_miss_does_not_carry_an_up_into_the_next_incarnation() {
    let mut story = Story::voting();
    let _ = story.report("g1", Opinion::Up);
    let sent = story.now;
    let _ = story.feed(Input::HeartbeatAnswered { sent, reply: Some(HeartbeatReply::Lapsed) });
    let _ = story.register(8);
    let evidence = Evidence::Soft(Soft::Timeout);
    let effects = story.feed(Input::Reported { node: node("g1"), opinion: Opinion::Up, evidence, host: None });
    assert_eq!(written(&effects).unwrap(), (1, vec![(node("g1"), Opinion::None)]));
    let batch = WrittenBatch { incarnation: Incarnation(8), number: 1, votes: vec![(node("g1"), Opinion::None)] };
    let _ = story.feed(Input::VotesWritten { batch, mine: Some(true) });
    let (number, votes) = written(&story.report("g1", Opinion::Up)).unwrap();
    assert_eq!(votes, vec![(node("g1"), Opinion::Up)], "it was seen");
    let batch = WrittenBatch { incarnation: Incarnation(8), number, votes };
    let _ = story.feed(Input::VotesWritten { batch, mine: Some(true) });
    let effects = story.feed(Input::Reported { node: node("g1"), opinion: Opinion::Up, evidence, host: None });
    assert_eq!(written(&effects), None, "one miss takes no sighting back");
}

/// D23 for a name: the store knows a registration of this process whose answer was lost. So a refusal is about another.
#[test]
fn a_lost_answer_to_a_registration_is_asked_for_again() {
    let mut story = Story::new(Profile::Default);
    for _ in 0..3 {
        assert!(matches!(story.feed(Input::Tick)[..], [Effect::Register { .. }]));
        let sent = story.now;
        assert_eq!(story.feed(Input::Registered { sent, reply: None }), vec![]);
        story.wait(1_000);
    }
    let _ = story.feed(Input::Tick);
    let reply = Some(RegisterReply::NameInUse { held_by: Incarnation(2) });
    let effects = story.feed(Input::Registered { sent: story.now, reply });
    assert_eq!(effects, vec![Effect::Ended(Worry::NameInUse { held_by: Incarnation(2) })]);
}

#[test]
fn an_older_process_does_not_take_its_name_back_because_an_answer_was_lost() {
    let mut story = Story::new(Profile::Default);
    let _ = story.feed(Input::Tick);
    let _ = story.feed(Input::Registered { sent: story.now, reply: None });
    let _ = story.feed(Input::Tick);
    let _ = story.register(7);
    story.wait(1_000);
    let superseded = Some(HeartbeatReply::Superseded { by: Incarnation(8) });
    let effects = story.feed(Input::HeartbeatAnswered { sent: story.now, reply: superseded });
    assert_eq!(effects, vec![Effect::Ended(Worry::Superseded { by: Incarnation(8) })]);
}

#[test]
fn a_registration_that_finds_a_successor_ends_the_process() {
    let mut story = Story::voting();
    let reply = Some(HeartbeatReply::Lapsed);
    let _ = story.feed(Input::HeartbeatAnswered { sent: story.now, reply });
    let reply = Some(RegisterReply::Superseded { by: Incarnation(8) });
    let effects = story.feed(Input::Registered { sent: story.now, reply });
    assert_eq!(effects, vec![Effect::Ended(Worry::Superseded { by: Incarnation(8) })]);
}

#[test]
fn a_stop_while_a_registration_is_on_its_way_takes_the_row_away_all_the_same() {
    let registered = RegisterReply::Registered { incarnation: Incarnation(8), at: DatabaseTime(0) };
    for (reply, left) in [
        (Some(registered), Some(8)),
        // Not known to have been carried out: then the row of the registration before may still stand.
        (None, Some(7)),
        (Some(RegisterReply::NameInUse { held_by: Incarnation(9) }), None),
        (Some(RegisterReply::Superseded { by: Incarnation(9) }), None),
    ] {
        let mut story = Story::voting();
        let _ = story.feed(Input::HeartbeatAnswered { sent: story.now, reply: Some(HeartbeatReply::Lapsed) });
        assert_eq!(story.feed(Input::Stop), vec![]);
        assert!(story.monitor.is_leaving());
        assert_eq!(story.feed(Input::Tick), vec![], "nothing new is begun");
        let effects = story.feed(Input::Registered { sent: story.now, reply });
        let name = SupervisorName::new("s1").unwrap();
        let leave = left.map(|it| Effect::Leave(Voter { name, incarnation: Incarnation(it) }));
        assert_eq!(effects, leave.into_iter().collect::<Vec<_>>(), "{reply:?}");
        assert!(!story.monitor.is_leaving());
        assert_eq!(story.feed(Input::Tick), vec![]);
    }
}

#[test]
fn an_answer_to_the_incarnation_before_changes_nothing() {
    let mut story = Story::voting();
    let (number, votes) = written(&story.report("g1", Opinion::Up)).unwrap();
    let sent = story.now;
    let _ = story.feed(Input::HeartbeatAnswered { sent, reply: Some(HeartbeatReply::Gone) });
    let _ = story.register(8);
    let _ = story.report("g1", Opinion::Down);
    let batch = WrittenBatch { incarnation: Incarnation(7), number, votes };
    let effects = story.feed(Input::VotesWritten { batch, mine: Some(true) });
    assert_eq!(effects, vec![], "incarnation 8's write is still under way");
}

#[test]
fn the_superseded_ends_for_good_and_removes_nothing() {
    let mut story = Story::voting();
    let sent = story.now;
    let reply = Some(HeartbeatReply::Superseded { by: Incarnation(9) });
    let effects = story.feed(Input::HeartbeatAnswered { sent, reply });
    assert_eq!(effects, vec![Effect::Ended(Worry::Superseded { by: Incarnation(9) })]);
    assert_eq!(story.feed(Input::Tick), vec![]);
    assert_eq!(story.feed(Input::Stop), vec![]);
    assert_eq!(story.monitor.voter(), None);
}

#[test]
fn a_step_of_the_databases_clock_is_a_new_registration() {
    for step in [6_000_000, -3_600_000_000] {
        let mut story = Story::voting();
        story.wait(1_000);
        let honest = story.db();
        assert!(story.beat(honest).contains(&Effect::ReadFacts) || story.monitor.read_again);
        story.wait(1_000);
        let stepped = DatabaseTime(story.db().0 + step);
        let effects = story.beat(stepped);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Register { .. })), "{effects:?}");
    }
}

#[test]
fn every_tenth_heartbeat_rewrites_a_vote_that_the_database_lost() {
    let mut story = Story::voting();
    let (number, votes) = written(&story.report("g1", Opinion::Up)).unwrap();
    let batch = WrittenBatch { incarnation: Incarnation(7), number, votes };
    let _ = story.feed(Input::VotesWritten { batch, mine: Some(true) });
    let mut rewritten_at = None;
    for beat in 1..=10 {
        story.wait(400);
        let at = story.db();
        let _ = story.beat(at);
        let effects = story.facts(&[("g1", Opinion::Down)]);
        if let Some((_, votes)) = written(&effects) {
            assert_eq!(votes, vec![(node("g1"), Opinion::Up)]);
            rewritten_at = Some(beat);
        }
    }
    assert_eq!(rewritten_at, Some(10));
}

#[test]
fn a_consensus_is_published_once_per_change_with_the_next_revision() {
    let mut story = Story::voting();
    let revision = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match effect {
            Effect::Publish(consensus) => Some((consensus.revision.0, consensus.verdict(&node("g1")))),
            _ => None,
        })
    };
    assert_eq!(revision(&story.facts(&[])), Some((1, Verdict::Undecided)), "the first is news even if it is empty");
    assert_eq!(revision(&story.facts(&[("g1", Opinion::Up)])), Some((2, Verdict::Healthy)));
    assert_eq!(revision(&story.facts(&[("g1", Opinion::Up)])), None);
    assert_eq!(revision(&story.facts(&[("g1", Opinion::Down)])), Some((3, Verdict::Unhealthy)));
}

#[test]
fn other_votes_behind_the_same_verdict_are_shown_and_tell_nobody() {
    let mut story = Story::voting();
    let _ = story.facts(&[("g1", Opinion::Down)]);
    let effects = story.facts(&[("g1", Opinion::Misconfigured)]);
    let [Effect::Refresh(consensus)] = &effects[..] else { panic!("{effects:?}") };
    let known = &consensus.nodes[&node("g1")];
    assert_eq!((consensus.revision.0, known.verdict, known.tally.misconfigured), (1, Verdict::Unhealthy, 1));
    assert_eq!(story.facts(&[("g1", Opinion::Misconfigured)]), vec![], "shown once");
}

#[test]
fn a_read_that_failed_publishes_nothing() {
    let mut story = Story::voting();
    assert_eq!(story.feed(Input::FactsRead(None)), vec![]);
}

#[test]
fn stored_settings_win_over_ours() {
    let mut story = Story::voting();
    story.settings.settings.vote_ttl = Duration::from_millis(50);
    story.settings.revision = Revision(2);
    let effects = story.facts(&[]);
    assert!(effects.contains(&Effect::SettingsChanged(story.settings.clone())), "{effects:?}");
    let effects = story.facts(&[]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::SettingsChanged(_))), "told once");
}

#[test]
fn a_round_asks_everybody_once_and_takes_silence_for_down() {
    let mut story = Story::new(Profile::Praefect);
    let effects = story.feed(Input::Tick);
    assert!(effects.contains(&Effect::OpenRound { round: 1 }), "{effects:?}");
    let _ = story.register(7);
    assert_eq!(story.feed(Input::RoundReported { round: 1, node: node("g1"), up: true }), vec![]);
    let tick = story.feed(Input::Tick);
    assert!(!tick.iter().any(|effect| matches!(effect, Effect::OpenRound { .. })), "late ticks are skipped: {tick:?}");
    let effects = story.feed(Input::RoundOver { round: 1 });
    assert!(effects.contains(&Effect::PublishLocal([node("g1")].into())));
    assert_eq!(written(&effects).unwrap().1, vec![(node("g1"), Opinion::Up), (node("g2"), Opinion::Down)]);
    assert_eq!(story.feed(Input::RoundReported { round: 1, node: node("g2"), up: true }), vec![], "too late");
    let effects = story.feed(Input::Tick);
    assert!(effects.contains(&Effect::OpenRound { round: 2 }));
    assert_eq!(
        story.feed(Input::RoundReported { round: 1, node: node("g2"), up: true }),
        vec![],
        "of the round before"
    );
}

#[test]
fn a_round_that_ends_before_the_registration_is_not_lost() {
    let mut story = Story::new(Profile::Praefect);
    let _ = story.feed(Input::Tick);
    let _ = story.feed(Input::RoundReported { round: 1, node: node("g1"), up: true });
    let effects = story.feed(Input::RoundReported { round: 1, node: node("g2"), up: true });
    assert_eq!(written(&effects), None);
    let effects = story.register(7);
    assert_eq!(written(&effects).unwrap().1.len(), 2);
}

#[path = "trust_tests.rs"]
mod trust;
#[path = "votes_tests.rs"]
mod votes;
#[path = "watch_tests.rs"]
mod watch;
