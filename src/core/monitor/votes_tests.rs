//! Very many votes at once.

use super::*;

/// A supervisor of this many nodes, registered, that has heard of each that it is up.
fn a_fleet(size: usize) -> (Story, Vec<Effect>) {
    let mut story = Story::new(Profile::Default);
    let nodes = (0..size).map(|number| node(&format!("n{number:05}")));
    story.monitor = Monitor::new(SupervisorName::new("s1").unwrap(), story.settings.clone(), nodes);
    let _ = story.feed(Input::Tick);
    let _ = story.register(7);
    let mut effects = Vec::new();
    for number in 0..size {
        effects.extend(story.report(&format!("n{number:05}"), Opinion::Up));
    }
    (story, effects)
}

/// Answers every write, and answers what was written; `between` is fed before each answer.
fn written_until_rest(story: &mut Story, effects: &[Effect], mut between: impl FnMut(&mut Story)) -> Vec<Vec<NodeId>> {
    let (mut writes, mut next) = (Vec::new(), written(effects));
    while let Some((number, votes)) = next {
        writes.push(votes.iter().map(|(node, _)| node.clone()).collect());
        between(story);
        let batch = WrittenBatch { incarnation: Incarnation(7), number, votes };
        next = written(&story.feed(Input::VotesWritten { batch, mine: Some(true) }));
        assert!(writes.len() < 100, "it never rests");
    }
    writes
}

/// What one statement cannot carry in its time it cannot carry when it is tried again, and then nobody ever votes.
#[test]
fn ten_thousand_votes_are_written_a_thousand_at_a_time_and_each_once() {
    let (mut story, effects) = a_fleet(10_000);
    assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::PublishLocal(_))).count(), 1, "all once");
    let writes = written_until_rest(&mut story, &effects, |_| {});
    assert!(
        writes.iter().all(|write| write.len() <= VOTES_MAX),
        "{:?}",
        writes.iter().map(Vec::len).collect::<Vec<_>>()
    );
    assert_eq!(writes.len(), 11, "the first report's alone, and ten");
    let mut nodes = writes.concat();
    nodes.sort();
    assert!(nodes.iter().eq(story.monitor.nodes.keys()));
}

#[test]
fn a_queue_that_is_filled_again_at_its_beginning_keeps_its_end_waiting_no_longer() {
    let (mut story, effects) = a_fleet(3 * VOTES_MAX);
    let mut opinions = [Opinion::Down, Opinion::Up].into_iter().cycle().take(6);
    let writes = written_until_rest(&mut story, &effects, |story| {
        if let Some(opinion) = opinions.next() {
            for number in 0..VOTES_MAX {
                let _ = story.report(&format!("n{number:05}"), opinion);
            }
        }
    });
    let last = node(&format!("n{:05}", 3 * VOTES_MAX - 1));
    let reached = writes.iter().position(|write| write.contains(&last));
    assert_eq!(reached, Some(3), "{:?}", writes.iter().map(Vec::len).collect::<Vec<_>>());
}
