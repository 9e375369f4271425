//! Which nodes are watched, and what a change of that does to votes.

use super::*;

fn watching(effects: &[Effect]) -> Option<Vec<NodeId>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Watch { nodes, .. } => Some(nodes.clone()),
        _ => None,
    })
}

impl Story {
    fn watch(&mut self, names: &[&str]) -> Vec<Effect> {
        self.feed(Input::Watch(names.iter().map(|name| node(name)).collect()))
    }
    fn watched(&mut self, names: &[&str], mine: Option<bool>) -> Vec<Effect> {
        let voter = Voter { name: SupervisorName::new("s1").unwrap(), incarnation: Incarnation(7) };
        self.feed(Input::Watched { voter, nodes: names.iter().map(|name| node(name)).collect(), mine })
    }
    fn written(&mut self, number: i64, votes: Vec<(NodeId, Opinion)>) -> Vec<Effect> {
        let batch = WrittenBatch { incarnation: Incarnation(7), number, votes };
        self.feed(Input::VotesWritten { batch, mine: Some(true) })
    }
}

#[test]
fn a_node_that_stays_keeps_its_vote_and_one_that_goes_is_voted_on_no_more() {
    let mut story = Story::voting();
    let (number, votes) = written(&story.report("g1", Opinion::Up)).unwrap();
    let _ = story.written(number, votes);
    let (number, votes) = written(&story.report("g2", Opinion::Up)).unwrap();
    let _ = story.written(number, votes);
    let effects = story.watch(&["g1", "g3"]);
    assert_eq!(watching(&effects), Some(vec![node("g1"), node("g3")]));
    assert!(effects.contains(&Effect::PublishLocal([node("g1")].into())), "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Register { .. })), "the same incarnation");
    let effects = story.watched(&["g1", "g3"], Some(true));
    assert_eq!(written(&effects), None, "nothing about g1 is said again: {effects:?}");
    assert_eq!(written(&story.report("g2", Opinion::Down)), None, "nobody looks at g2 any more");
    assert_eq!(written(&story.report("g3", Opinion::Up)).unwrap().1, vec![(node("g3"), Opinion::Up)]);
    assert!(story.watch(&["g1", "g3"]).is_empty(), "nothing new");
}

#[test]
fn the_rows_change_after_the_votes_under_way_and_before_the_next() {
    let mut story = Story::voting();
    let (number, votes) = written(&story.report("g2", Opinion::Up)).unwrap();
    assert_eq!(
        watching(&story.watch(&["g1"])),
        None,
        "a vote on g2 is under way, and must not land after its row went"
    );
    let effects = story.written(number, votes);
    assert_eq!(watching(&effects), Some(vec![node("g1")]));
    assert_eq!(written(&story.report("g1", Opinion::Up)), None, "the rows are being changed");
    let effects = story.watched(&["g1"], Some(true));
    assert_eq!(written(&effects).unwrap().1, vec![(node("g1"), Opinion::Up)]);
}

#[test]
fn a_change_that_the_database_did_not_hear_of_is_told_again() {
    let mut story = Story::voting();
    assert!(watching(&story.watch(&["g1"])).is_some());
    let _ = story.watched(&["g1"], None);
    assert_eq!(watching(&story.feed(Input::Tick)), Some(vec![node("g1")]));
    // It changes once more before the answer: the database is told again at once.
    assert_eq!(watching(&story.watch(&["g1", "g4"])), None);
    assert_eq!(watching(&story.watched(&["g1"], Some(true))), Some(vec![node("g1"), node("g4")]));
    assert_eq!(watching(&story.watched(&["g1", "g4"], Some(true))), None);
    story.wait(100);
    assert_eq!(watching(&story.feed(Input::Tick)), None, "and no more at rest");
}

#[test]
fn a_change_while_nobody_is_registered_goes_with_the_registration() {
    let mut story = Story::new(Profile::Default);
    assert!(story.watch(&["g1"]).is_empty());
    let effects = story.feed(Input::Tick);
    assert!(matches!(&effects[..], [Effect::Register { nodes, .. }] if *nodes == [node("g1")]), "{effects:?}");
    // And one while the registration is under way follows it.
    assert!(story.watch(&["g1", "g5"]).is_empty());
    assert_eq!(watching(&story.register(7)), Some(vec![node("g1"), node("g5")]));
}

#[test]
fn a_late_vote_on_a_node_that_went_is_found_and_removed() {
    let mut story = Story::voting();
    let _ = story.watch(&["g1"]);
    let _ = story.watched(&["g1"], Some(true));
    // A write that was given up long ago was carried out after all; every tenth heartbeat compares.
    for _ in 0..10 {
        let _ = story.facts(&[]);
        story.wait(1_000);
        let at = story.db();
        assert!(story.feed(Input::Tick).iter().any(|effect| matches!(effect, Effect::Heartbeat { .. })));
        let _ = story.beat(at);
    }
    let effects = story.facts(&[("g1", Opinion::None), ("g2", Opinion::Up)]);
    assert_eq!(watching(&effects), Some(vec![node("g1")]), "{effects:?}");
}

#[test]
fn in_rounds_a_node_that_goes_is_waited_for_no_longer_and_one_that_comes_is_asked_in_the_next() {
    let mut story = Story::new(Profile::Praefect);
    let _ = story.feed(Input::Tick);
    let _ = story.register(7);
    let _ = story.feed(Input::RoundReported { round: 1, node: node("g1"), up: true });
    let effects = story.watch(&["g1", "g3"]);
    assert!(effects.contains(&Effect::PublishLocal([node("g1")].into())), "the round is complete: {effects:?}");
    let effects = story.watched(&["g1", "g3"], Some(true));
    let (_, votes) = written(&effects).unwrap();
    assert_eq!(votes, vec![(node("g1"), Opinion::Up)], "g3 was not asked, so nothing is said of it");
}
