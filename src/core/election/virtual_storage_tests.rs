//! Where exactly the rule of whole virtual storages begins to hold.

use super::*;
use crate::core::{
    consensus::{Opinion, SupervisorRow, VoteRow},
    ids::{Incarnation, SupervisorName},
    settings::Profile,
};

fn storage(name: &str) -> Storage {
    Storage::new(name).unwrap()
}

fn named(name: &str) -> SupervisorName {
    SupervisorName::new(name).unwrap()
}

fn me() -> Voter {
    Voter { name: named("s1"), incarnation: Incarnation(1) }
}

fn vote(supervisor: &str, about: &str, opinion: Opinion) -> VoteRow {
    let up = opinion == Opinion::Up;
    VoteRow {
        supervisor: named(supervisor),
        node: NodeId::new(VirtualStorage::new("v").unwrap(), storage(about)),
        opinion: Some(opinion),
        incarnation: Some(Incarnation(1)),
        contact_age: Some(Age(0)),
        seen_age: up.then_some(Age(0)),
    }
}

/// `g1` was elected long ago; `s1`, alone, sees `g1`, `g2` and `g3` up; `g3` lacks less than `g2`.
fn facts() -> ShardFacts {
    let supervisor = SupervisorRow {
        name: named("s1"),
        incarnation: Incarnation(1),
        heartbeat_age: Age(0),
        registered_age: Age(60_000_000),
        recused: false,
    };
    let held = [("g1", 20), ("g2", 17), ("g3", 18)].map(|(name, held)| (storage(name), held));
    ShardFacts {
        cluster: ClusterId::new("c").unwrap(),
        virtual_storage: VirtualStorage::new("v").unwrap(),
        recorded: Some(RecordedShard {
            storage: storage("g1"),
            demoted: false,
            epoch: Some(Epoch::new(Era(1), 3).unwrap()),
            elected_age: Some(Age(60_000_000)),
        }),
        era: Era(1),
        at: DatabaseTime(0),
        attributes: BTreeMap::new(),
        lags: Some(Lags { expected: Some(20), held: held.into() }),
        health: HealthFacts {
            votes: ["g1", "g2", "g3"].map(|name| vote("s1", name, Opinion::Up)).to_vec(),
            supervisors: vec![supervisor],
        },
    }
}

fn configured() -> Vec<Storage> {
    ["g1", "g2", "g3"].map(storage).to_vec()
}

fn settings(profile: Profile) -> Settings {
    Settings::of(profile)
}

fn decided(facts: &ShardFacts, profile: Profile) -> ShardDecision {
    decide_shard(facts, &configured(), &settings(profile), &me())
}

fn down(facts: &mut ShardFacts, name: &str) {
    facts.health.votes.retain(|vote| vote.node.storage != storage(name));
    facts.health.votes.push(vote("s1", name, Opinion::Down));
}

fn elected(decision: &ShardDecision) -> &ShardElection {
    match decision {
        ShardDecision::Elect(election) => election,
        other => panic!("expected an election, got {other:?}"),
    }
}

const BOTH: [Profile; 2] = [Profile::Default, Profile::Praefect];

#[test]
fn the_least_lag_wins_then_the_name_and_without_a_measure_the_first() {
    for profile in BOTH {
        let mut facts = facts();
        assert!(matches!(decided(&facts, profile), ShardDecision::Keep { .. }));
        down(&mut facts, "g1");
        let decision = decided(&facts, profile);
        let election = elected(&decision);
        assert_eq!((election.to.as_str(), election.fallback, election.why), ("g3", false, Reason::Unhealthy));
        assert_eq!(election.candidates, [(storage("g2"), 3), (storage("g3"), 2)].into());
        facts.lags.as_mut().unwrap().held.insert(storage("g2"), 18);
        assert_eq!(elected(&decided(&facts, profile)).to, storage("g2"), "a tie goes by name");
        facts.lags = Some(Lags { expected: None, held: [(storage("g3"), 5)].into() });
        let decision = decided(&facts, profile);
        assert_eq!((elected(&decision).to.as_str(), elected(&decision).fallback), ("g2", true));
        facts.lags = None;
        assert_eq!(decided(&facts, profile), ShardDecision::Count, "the lags are read only when they are needed");
    }
}

#[test]
fn between_two_elections_votes_have_time_to_settle() {
    let mut facts = facts();
    down(&mut facts, "g1");
    let recent = |facts: &mut ShardFacts, age| facts.recorded.as_mut().unwrap().elected_age = age;
    for (age, waits) in [(0, true), (4_999_999, true), (5_000_000, false), (-1_000_001, false)] {
        recent(&mut facts, Some(Age(age)));
        let decision = decided(&facts, Profile::Default);
        assert_eq!(decision == ShardDecision::Wait(WaitReason::TooSoon), waits, "{age}: {decision:?}");
    }
    // Praefect answers what the row says, and counts an age of exactly the limit.
    for (age, keeps) in [(10_000_000, true), (10_000_001, false)] {
        recent(&mut facts, Some(Age(age)));
        let decision = decided(&facts, Profile::Praefect);
        assert_eq!(matches!(decision, ShardDecision::Keep { .. }), keeps, "{age}: {decision:?}");
    }
    recent(&mut facts, None);
    elected(&decided(&facts, Profile::Default));
}

#[test]
fn without_a_candidate_praefect_demotes_once_and_ours_as_the_settings_say() {
    let mut facts = facts();
    for name in ["g1", "g2", "g3"] {
        down(&mut facts, name);
    }
    let stuck = NoCandidate::PrimaryNotHealthy { storage: storage("g1"), epoch: facts.recorded.clone().unwrap().epoch };
    assert_eq!(decided(&facts, Profile::Default), ShardDecision::NoCandidate(stuck.clone()));
    let demote = ShardDecision::Demote { from: storage("g1"), why: Reason::Unhealthy };
    assert_eq!(decided(&facts, Profile::Praefect), demote);
    let demoting = Settings { without_candidate: WithoutCandidate::Demote, ..settings(Profile::Default) };
    assert_eq!(decide_shard(&facts, &configured(), &demoting, &me()), demote);
    facts.recorded.as_mut().unwrap().demoted = true;
    for profile in BOTH {
        assert_eq!(decided(&facts, profile), ShardDecision::NoCandidate(stuck.clone()), "once");
        facts.recorded.as_mut().unwrap().demoted = true;
    }
    facts.recorded = None;
    assert_eq!(decided(&facts, Profile::Default), ShardDecision::NoCandidate(NoCandidate::NeverElected));
}

#[test]
fn in_doubt_the_recorded_primary_stays_but_not_if_nobody_looks_at_it_any_more() {
    let mut facts = facts();
    let others = vec![storage("g2"), storage("g3")];
    let ours = settings(Profile::Default);
    let decide = |facts: &ShardFacts, settings: &Settings| decide_shard(facts, &others, settings, &me());
    assert!(matches!(decide(&facts, &ours), ShardDecision::Keep { .. }), "others may know a node that is not ours");
    assert_eq!(elected(&decide(&facts, &settings(Profile::Praefect))).why, Reason::NotConfigured);
    facts.health.votes.retain(|vote| vote.node.storage != storage("g1"));
    let expecting = Settings { expected_supervisors: Some(1), ..ours.clone() };
    assert_eq!(elected(&decide(&facts, &expecting)).why, Reason::NotConfigured);
    assert!(matches!(decided(&facts, Profile::Default), ShardDecision::Keep { .. }), "it is ours: wait for its votes");
}

#[test]
fn what_operators_say_weighs_in_its_order_and_not_under_half() {
    let say = |facts: &mut ShardFacts, name: &str, priority, draining, penalised| {
        facts.attributes.insert(storage(name), StorageAttributes { priority, draining, penalised });
    };
    let mut facts = facts();
    say(&mut facts, "g1", 100, true, false);
    assert_eq!(elected(&decided(&facts, Profile::Default)).why, Reason::Draining);
    say(&mut facts, "g3", 100, true, false);
    assert_eq!(elected(&decided(&facts, Profile::Default)).to, storage("g2"), "draining goes before any lag");
    say(&mut facts, "g2", 0, false, false);
    assert!(matches!(decided(&facts, Profile::Default), ShardDecision::Keep { .. }), "nobody better");
    say(&mut facts, "g1", 0, false, false);
    assert_eq!(elected(&decided(&facts, Profile::Default)).why, Reason::NeverPrimary);
    assert!(matches!(decided(&facts, Profile::Praefect), ShardDecision::Keep { .. }));
    say(&mut facts, "g2", 1, false, true);
    say(&mut facts, "g3", 1, false, false);
    facts.lags.as_mut().unwrap().held.insert(storage("g2"), 18);
    assert_eq!(elected(&decided(&facts, Profile::Default)).to, storage("g3"), "penalised after its equals");
    say(&mut facts, "g2", 2, false, false);
    assert_eq!(elected(&decided(&facts, Profile::Default)).to, storage("g2"), "then by priority");
}

#[test]
fn who_may_not_propose_waits() {
    let mut facts = facts();
    down(&mut facts, "g1");
    let stranger = Voter { name: named("s9"), ..me() };
    let decide = |facts: &ShardFacts, profile| decide_shard(facts, &configured(), &settings(profile), &stranger);
    assert_eq!(decide(&facts, Profile::Default), ShardDecision::Wait(WaitReason::NotRegistered));
    elected(&decide(&facts, Profile::Praefect));
}

#[test]
fn under_half_the_most_votes_break_a_tie_of_lags() {
    let mut facts = facts();
    facts.recorded = None;
    facts.lags = Some(Lags::default());
    facts.health.votes = vec![
        vote("s1", "g1", Opinion::Up),
        vote("s2", "g1", Opinion::Down),
        vote("s1", "g2", Opinion::Up),
        vote("s2", "g2", Opinion::Up),
    ];
    assert_eq!(elected(&decided(&facts, Profile::Praefect)).to, storage("g2"));
    facts.health.votes.remove(3);
    assert_eq!(elected(&decided(&facts, Profile::Praefect)).to, storage("g1"));
}
