//! Batches of what a dead node led.

use crate::{
    config,
    scene::{health, node, proposer, settings, storage},
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use quorate::core::{
    consensus::{HealthFacts, Opinion, SupervisorRow, VoteRow},
    election::{Decision, StorageAttributes, decide as decide_one},
    epoch::{Epoch, Era, FactsVersion, Generation},
    ids::{ClusterId, Incarnation, RelativePath, RepositoryId},
    settings::{Profile, Settings},
    settling::{LedRepository, SettleFacts, decide},
    time::{Age, DatabaseTime},
};
use std::collections::{BTreeMap, BTreeSet};

prop_compose! {
    fn led()(
        replicas in vec(option::weighted(0.85, select(vec![2_i64, 2, 2, 1])), 4),
        marked in vec(prop::bool::weighted(0.1), 4),
        assigned in vec(prop::bool::weighted(0.4), 5),
        generation in option::weighted(0.95, Just(2_i64)),
        epoch in option::weighted(0.9, 1_i64..9),
    ) -> LedRepository {
        let held = replicas.into_iter().enumerate();
        LedRepository {
            repository: RepositoryId(0),
            relative_path: RelativePath::new("a").unwrap(),
            generation: generation.map(Generation),
            epoch: epoch.map(|number| Epoch::new(Era(1), number).unwrap()),
            facts_version: FactsVersion(9),
            replicas: held.filter_map(|(n, held)| Some((storage(n), Generation(held?)))).collect(),
            marked: (0..4).filter(|n| marked[*n]).map(storage).collect(),
            assignments: (0..5).filter(|n| assigned[*n]).map(storage).collect(),
        }
    }
}

prop_compose! {
    fn attributes()(
        known in any::<bool>(),
        priority in select(vec![100, 100, 50, 0]),
        draining in prop::bool::weighted(0.25),
        penalised in prop::bool::weighted(0.25),
    ) -> Option<StorageAttributes> {
        known.then_some(StorageAttributes { priority, draining, penalised })
    }
}

fn supervisor_row() -> SupervisorRow {
    SupervisorRow {
        name: proposer().name,
        incarnation: proposer().incarnation,
        heartbeat_age: Age(0),
        registered_age: Age(50_000_000),
        recused: false,
    }
}

fn facts_of(health: HealthFacts, attributes: Vec<Option<StorageAttributes>>, led: Vec<LedRepository>) -> SettleFacts {
    let numbered = led.into_iter().zip(1..).map(|(led, id)| LedRepository { repository: RepositoryId(id), ..led });
    let members = health.members();
    let mut supervisors: Vec<_> = health.supervisors.into_iter().filter(|row| row.name != proposer().name).collect();
    supervisors.push(supervisor_row());
    SettleFacts {
        cluster: ClusterId::new("c").unwrap(),
        node: node(0),
        era: Era(1),
        at: DatabaseTime(0),
        attributes: attributes.into_iter().enumerate().filter_map(|(n, known)| Some((storage(n), known?))).collect(),
        votes: health.votes,
        supervisors,
        members,
        repositories: numbered.collect(),
        unreadable: BTreeMap::new(),
        until: None,
    }
}

prop_compose! {
    fn facts()(health in health(), attributes in vec(attributes(), 4), led in vec(led(), 0..12)) -> SettleFacts {
        facts_of(health, attributes, led)
    }
}

proptest! {
    #![proptest_config(config(512, "tests/properties/regressions/settling.txt"))]

    /// A batch decides about each repository what a lookup of it would; among equals each may be drawn.
    #[test]
    fn a_batch_decides_what_lookups_would(facts in facts(), settings in settings(), lot in any::<u64>()) {
        let batch = decide(&facts, &settings, &proposer(), lot);
        let (mut kept, mut without_candidate, mut waiting, mut due) = (0, 0, BTreeSet::new(), BTreeSet::new());
        for led in &facts.repositories {
            let alone = decide_one(&facts.election(led), &settings, &proposer(), lot);
            let settled = batch.due.iter().find_map(|settlement| {
                let of = settlement.repositories.iter().find(|of| of.repository == led.repository)?;
                Some((settlement, of))
            });
            match (alone, settled) {
                (Decision::Keep { .. }, None) => kept += 1,
                (Decision::NoCandidate(_), None) => without_candidate += 1,
                (Decision::Wait(why), None) => { waiting.insert(why); }
                (Decision::Elect(election), Some((settlement, of))) => {
                    prop_assert_eq!((settlement.why, settlement.demotes), (election.why, false));
                    prop_assert!(of.to.as_ref().is_some_and(|to| election.equals.contains(to)), "{:?} {:?}", of, election);
                    due.insert(led.repository);
                }
                (Decision::Demote { why, .. }, Some((settlement, of))) => {
                    prop_assert_eq!((settlement.why, settlement.demotes, &of.to), (why, true, &None));
                    due.insert(led.repository);
                }
                (alone, settled) => prop_assert!(false, "alone {:?}, in the batch {:?}", alone, settled),
            }
        }
        prop_assert_eq!((batch.kept, batch.without_candidate, batch.read), (kept, without_candidate, facts.repositories.len()));
        prop_assert_eq!(batch.waits.into_iter().collect::<BTreeSet<_>>(), waiting);
        let all: Vec<_> = batch.due.iter().flat_map(|settlement| &settlement.repositories).collect();
        prop_assert_eq!(all.len(), due.len(), "nothing else is changed, and nothing twice");
        for of in all {
            let led = facts.repositories.iter().find(|led| led.repository == of.repository).unwrap();
            prop_assert_eq!((of.epoch, of.facts_version), (led.epoch, led.facts_version));
        }
    }
}

/// Who holds a replica may depend on the repository's number; successors' shares must not.
#[test]
fn successors_get_even_shares() {
    let vote = |n| VoteRow {
        supervisor: proposer().name,
        node: node(n),
        opinion: Some(if n == 0 { Opinion::Down } else { Opinion::Up }),
        incarnation: Some(Incarnation(7)),
        contact_age: Some(Age(0)),
        seen_age: Some(Age(0)),
    };
    let health = HealthFacts { votes: (0..4).map(vote).collect(), supervisors: vec![] };
    let mut shares = BTreeMap::<_, i64>::new();
    for lot in 0..40_u64 {
        let led = |n: usize| LedRepository {
            repository: RepositoryId(0),
            relative_path: RelativePath::new("a").unwrap(),
            generation: Some(Generation(0)),
            epoch: None,
            facts_version: FactsVersion(1),
            // g0 and two of g1 to g3, in turn.
            replicas: (0..4).filter(|g| *g == 0 || *g != n % 3 + 1).map(|g| (storage(g), Generation(0))).collect(),
            marked: vec![],
            assignments: vec![],
        };
        let facts = facts_of(health.clone(), vec![], (0..500).map(led).collect());
        let batch = decide(&facts, &Settings::of(Profile::Default), &proposer(), lot);
        for of in batch.due.iter().flat_map(|settlement| &settlement.repositories) {
            *shares.entry(of.to.clone().unwrap()).or_default() += 1;
        }
    }
    assert_eq!(shares.values().sum::<i64>(), 20_000);
    for share in shares.values() {
        assert!((share * 3 - 20_000).abs() < 2_000, "{shares:?}");
    }
}
