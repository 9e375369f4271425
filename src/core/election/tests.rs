//! What the properties leave open: where exactly a rule begins to hold.

use super::*;
use crate::core::{
    consensus::{Opinion, SupervisorRow, VoteRow},
    epoch::{Era, FactsVersion, Generation},
    ids::{ClusterId, Incarnation, RelativePath, RepositoryId, SupervisorName, VirtualStorage},
    settings::Profile,
    time::{Age, DatabaseTime},
};

fn storage(name: &str) -> Storage {
    Storage::new(name).unwrap()
}

fn me() -> Voter {
    Voter { name: SupervisorName::new("s1").unwrap(), incarnation: Incarnation(1) }
}

fn row(name: &str, heartbeat_age: i64, registered_age: i64) -> SupervisorRow {
    SupervisorRow {
        name: SupervisorName::new(name).unwrap(),
        incarnation: Incarnation(1),
        heartbeat_age: Age(heartbeat_age),
        registered_age: Age(registered_age),
        recused: false,
    }
}

/// `g1` is primary, and `s1`, alone, sees it and `g2` up.
fn facts() -> ElectionFacts {
    let virtual_storage = VirtualStorage::new("v").unwrap();
    let replica = |name| ReplicaFacts {
        storage: storage(name),
        generation: Generation(0),
        marked: false,
        assigned: false,
        attributes: StorageAttributes::default(),
    };
    let vote = |name| VoteRow {
        supervisor: me().name,
        node: NodeId::new(virtual_storage.clone(), storage(name)),
        opinion: Some(Opinion::Up),
        incarnation: Some(Incarnation(1)),
        contact_age: Some(Age(0)),
        seen_age: Some(Age(0)),
    };
    ElectionFacts {
        cluster: ClusterId::new("c").unwrap(),
        repository: RepositoryId(1),
        relative_path: RelativePath::new("a").unwrap(),
        generation: Some(Generation(0)),
        primary: Some(storage("g1")),
        epoch: Some(Epoch::new(Era(1), 1).unwrap()),
        era: Era(1),
        facts_version: FactsVersion(1),
        at: DatabaseTime(0),
        replicas: vec![replica("g1"), replica("g2")],
        assignments: vec![],
        votes: vec![vote("g1"), vote("g2")],
        supervisors: vec![row("s1", 0, 60_000_000)],
        members: vec![],
        virtual_storage,
    }
}

fn decided(facts: &ElectionFacts) -> Decision {
    decide(facts, &Settings::of(Profile::Default), &me(), 0)
}

fn elects_g2(facts: &ElectionFacts, why: Reason) {
    let decision = decided(facts);
    assert!(matches!(&decision, Decision::Elect(to) if to.to == storage("g2") && to.why == why), "{decision:?}");
}

/// D10: of two supervisors one alone is no majority, however well it sees.
#[test]
fn the_first_to_return_waits_for_the_others_even_if_it_is_half_of_them() {
    let mut facts = facts();
    facts.replicas[0].marked = true;
    let (gone, new, old) = (9_000_000, 4_999_999, 5_000_000);
    for (rows, waits) in [
        (vec![row("s1", 0, new), row("s2", gone, 60_000_000)], true),
        (vec![row("s1", 0, old), row("s2", gone, 60_000_000)], false),
        (vec![row("s1", 0, new)], false),
        (vec![row("s1", 0, new), row("s2", 0, new), row("s3", gone, 60_000_000)], false),
    ] {
        facts.votes.retain(|vote| vote.supervisor == me().name);
        for other in rows.iter().filter(|other| other.name != me().name && other.heartbeat_age == Age(0)) {
            let more: Vec<_> =
                facts.votes.iter().map(|vote| VoteRow { supervisor: other.name.clone(), ..vote.clone() }).collect();
            facts.votes.extend(more);
        }
        facts.supervisors = rows;
        if waits {
            assert_eq!(decided(&facts), Decision::Wait(WaitReason::OthersMayReturn), "{:?}", facts.supervisors);
        } else {
            elects_g2(&facts, Reason::Marked);
        }
    }
}

#[test]
fn an_assigned_primary_does_not_leave_for_a_stranger_because_it_drains() {
    let mut facts = facts();
    facts.replicas[0].attributes.draining = true;
    elects_g2(&facts, Reason::Draining);
    facts.replicas[0].assigned = true;
    assert!(matches!(decided(&facts), Decision::Keep { .. }));
    facts.replicas[1].assigned = true;
    elects_g2(&facts, Reason::Draining);
}
