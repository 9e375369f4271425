use super::*;
use crate::core::{
    evidence::{Evidence, Soft},
    monitor::{Input, Monitor, RegisterReply, SettingsInForce},
    recusal::Limits,
    settings::{Profile, Settings},
    time::DatabaseTime,
};

const SILENT: Evidence = Evidence::Soft(Soft::Timeout);

struct Story {
    monitor: Monitor,
    now: Timestamp,
}

fn node(number: usize) -> NodeId {
    NodeId::new("v".parse().unwrap(), format!("g{number}").parse().unwrap())
}
fn named(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<NodeId> {
    numbers.into_iter().map(node).collect()
}
fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A supervisor that holds so many nodes up.
fn all_up(nodes: usize, profile: Profile) -> Story {
    let settings = SettingsInForce { revision: Default::default(), settings: Settings::of(profile) };
    let monitor = Monitor::new("s1".parse().unwrap(), settings, (0..nodes).map(node));
    let mut story = Story { monitor, now: Timestamp(Duration::from_secs(100)) };
    story.feed(Input::Tick);
    let reply = Some(RegisterReply::Registered { incarnation: Default::default(), at: DatabaseTime(0) });
    story.feed(Input::Registered { sent: story.now, reply });
    for number in 0..nodes {
        story.hears(number, Evidence::Serving);
    }
    story
}

impl Story {
    fn feed(&mut self, input: Input) -> Vec<Effect> {
        self.monitor.handle(self.now, input)
    }
    fn hears(&mut self, number: usize, evidence: Evidence) -> Vec<Effect> {
        self.feed(Input::Reported { node: node(number), opinion: Opinion::Up, evidence, host: None })
    }
    fn suspected(&mut self, by: &str, numbers: impl IntoIterator<Item = usize>) -> Option<BTreeSet<NodeId>> {
        let effects = self.feed(Input::Suspected(Suspicion { by: by.parse().unwrap(), nodes: named(numbers) }));
        effects.into_iter().find_map(|effect| match effect {
            Effect::Probe(nodes) => Some(nodes),
            _ => None,
        })
    }
}

fn told(effects: &[Effect]) -> Option<BTreeSet<NodeId>> {
    effects.iter().find_map(|effect| match effect {
        Effect::TellSuspicion(suspicion) => Some(suspicion.nodes.clone()),
        _ => None,
    })
}

#[test]
fn the_first_miss_is_told_at_once_and_once_in_a_round() {
    let mut story = all_up(10, Profile::Default);
    assert_eq!(told(&story.hears(1, SILENT)), Some(named([1])));
    story.feed(Input::SuspicionTold);
    for _ in 0..2 {
        story.now = story.now.after(ms(300));
        assert_eq!(told(&story.hears(1, SILENT)), None, "the second and the third");
    }
    story.now = story.now.after(Limits::default().round);
    assert_eq!(told(&story.hears(1, SILENT)), Some(named([1])), "a round later it is news");
}

#[test]
fn a_storm_is_gathered_capped_and_paced() {
    let mut story = all_up(10_000, Profile::Default);
    // Few enough of them not to make this supervisor doubt itself.
    let mut notifications = Vec::new();
    for number in 0..4_000 {
        // Two thousand in a second.
        story.now = story.now.after(Duration::from_micros(500));
        if let Some(nodes) = told(&story.hears(number, SILENT)) {
            notifications.push(nodes.len());
            story.feed(Input::SuspicionTold);
        }
    }
    assert!(notifications.len() <= 20, "one each 100 ms for two seconds: {}", notifications.len());
    assert!(notifications.iter().all(|names| *names <= NAMES_MAX), "{notifications:?}");
    assert!(notifications.contains(&NAMES_MAX), "{notifications:?}");
}

#[test]
fn one_notification_is_under_way_at_most_and_what_waits_goes_with_the_next() {
    let mut story = all_up(10, Profile::Default);
    assert_eq!(told(&story.hears(1, SILENT)), Some(named([1])));
    story.now = story.now.after(ms(5_000));
    assert_eq!(told(&story.hears(2, SILENT)), None, "the database has not answered");
    assert_eq!(told(&story.feed(Input::SuspicionTold)), Some(named([2])));
}

#[test]
fn whoever_hears_of_a_suspicion_looks_once_though_it_has_just_looked_and_says_nothing_itself() {
    let mut story = all_up(10, Profile::Default);
    story.hears(1, Evidence::Serving);
    assert_eq!(story.suspected("s2", [1, 4_711]), Some(named([1])), "a node that is watched here");
    assert_eq!(story.suspected("s3", [1]), None, "that look is under way");
    assert_eq!(told(&story.hears(1, SILENT)), None, "all who listen know it already");
    story.now = story.now.after(Limits::default().timeout);
    assert_eq!(story.suspected("s3", [1]), Some(named([1])), "this one is news");
    assert_eq!(story.suspected("s1", [2]), None, "its own word");
}

#[test]
fn a_suspicion_is_no_evidence() {
    let mut story = all_up(10, Profile::Default);
    let heard = Suspicion { by: "s2".parse().unwrap(), nodes: named(0..10) };
    let effects = story.feed(Input::Suspected(heard));
    assert_eq!(effects, [Effect::Probe(named(0..10))], "nothing is voted, published or stored");
}

#[test]
fn who_must_not_be_believed_tells_nothing_and_rounds_know_no_suspicion() {
    let mut story = all_up(4, Profile::Default);
    story.feed(Input::Looked { wall: 0 });
    story.now = story.now.after(ms(60_000));
    story.feed(Input::Looked { wall: 0 });
    assert_eq!(told(&story.hears(1, SILENT)), None, "it stood still for a minute");
    let mut rounds = all_up(4, Profile::Praefect);
    assert_eq!((told(&rounds.hears(1, SILENT)), rounds.suspected("s2", [1])), (None, None));
}
