//! Who may be primary.

use crate::{
    config,
    scene::{facts, proposer, settings, shuffled, storage},
};
use proptest::prelude::*;
use quorate::core::{
    election::{Decision, ElectionFacts, Incumbent, candidates_of, decide, refusals, stands_alone, verdicts},
    epoch::{Epoch, Era},
    ids::Storage,
    quorum::{QuorumPolicy, Verdict},
    settings::Settings,
};
use std::collections::BTreeSet;

fn reordered(facts: &ElectionFacts, seed: u64) -> ElectionFacts {
    let mut other = facts.clone();
    other.replicas = shuffled(&facts.replicas, seed);
    other.assignments = shuffled(&facts.assignments, seed ^ 1);
    other.votes = shuffled(&facts.votes, seed ^ 2);
    other.supervisors = shuffled(&facts.supervisors, seed ^ 3);
    other.members = shuffled(&facts.members, seed ^ 4);
    other
}

/// What the commit of a decision makes of the facts.
fn applied(facts: &ElectionFacts, to: Option<Storage>) -> ElectionFacts {
    let mut after = facts.clone();
    (after.primary, after.epoch) = (to, Some(Epoch::new(Era(1), 4).unwrap()));
    after
}

fn decided(facts: &ElectionFacts, settings: &Settings, seed: u64) -> Decision {
    decide(facts, settings, &proposer(), seed)
}

proptest! {
    #![proptest_config(config(512, "tests/properties/regressions/election.txt"))]

    #[test]
    fn decide_does_not_depend_on_row_order(
        facts in facts(), settings in settings(), seed in any::<u64>(), order in any::<u64>(),
    ) {
        let other = reordered(&facts, order);
        prop_assert_eq!(decided(&facts, &settings, seed), decided(&other, &settings, seed));
        prop_assert_eq!(refusals(&facts, &settings), refusals(&other, &settings));
        prop_assert_eq!(candidates_of(&facts, &settings), candidates_of(&other, &settings));
    }

    /// Nobody unhealthy, undecided, outdated, marked or of priority 0 is elected, and never who was primary before.
    #[test]
    fn only_the_fit_are_elected(facts in facts(), settings in settings(), seed in any::<u64>()) {
        let Decision::Elect(election) = decided(&facts, &settings, seed) else { return Ok(()) };
        for to in election.equals.iter().chain([&election.to]) {
            let replica = facts.replicas.iter().find(|replica| replica.storage == *to).unwrap();
            prop_assert_eq!(verdicts(&facts, &settings)[to], Verdict::Healthy);
            prop_assert_eq!(Some(replica.generation), facts.generation);
            prop_assert!(!replica.marked);
            prop_assert!(settings.policy == QuorumPolicy::Half || replica.attributes.priority > 0);
            prop_assert!(candidates_of(&facts, &settings).contains(to), "unassigned though an assigned one qualifies");
            prop_assert!(!refusals(&facts, &settings).contains_key(to));
            prop_assert_ne!(Some(to), facts.primary.as_ref(), "deposed and elected in one breath");
        }
    }

    /// Deciding again after a decision was applied keeps it: failover does not chase its own tail.
    #[test]
    fn decide_apply_decide_is_keep(facts in facts(), settings in settings(), seed in any::<u64>(), next in any::<u64>()) {
        match decided(&facts, &settings, seed) {
            Decision::Elect(election) => {
                let after = applied(&facts, Some(election.to.clone()));
                let again = decided(&after, &settings, next);
                prop_assert_eq!(again, Decision::Keep { storage: election.to, epoch: after.epoch });
            }
            Decision::Demote { .. } => {
                let again = decided(&applied(&facts, None), &settings, next);
                prop_assert!(matches!(again, Decision::NoCandidate(_)), "demoted once, not again: {:?}", again);
            }
            Decision::Keep { .. } | Decision::NoCandidate(_) | Decision::Wait(_) => {}
        }
    }

    /// In doubt the recorded primary stays: to be undecided is no reason.
    #[test]
    fn an_undecided_fit_primary_is_never_deposed(facts in facts(), settings in settings(), seed in any::<u64>()) {
        let Some(primary) = facts.primary.clone() else { return Ok(()) };
        let Some(replica) = facts.replicas.iter().find(|replica| replica.storage == primary) else { return Ok(()) };
        let somebody_assigned = facts.replicas.iter().any(|replica| replica.assigned);
        let fit = Some(replica.generation) == facts.generation
            && !replica.marked
            && replica.attributes.priority > 0
            && !replica.attributes.draining
            && (replica.assigned || !somebody_assigned);
        if fit && verdicts(&facts, &settings)[&primary] != Verdict::Unhealthy {
            let decision = decided(&facts, &settings, seed);
            prop_assert_eq!(decision, Decision::Keep { storage: primary, epoch: facts.epoch });
        }
    }

    /// Who stands alone stays whatever becomes of the others: that is what makes it an answer that may be remembered.
    #[test]
    fn who_stands_alone_stays_whatever_becomes_of_the_others(
        facts in facts(), others in self::facts(), settings in settings(), seed in any::<u64>(),
    ) {
        let Decision::Keep { storage, epoch } = decided(&facts, &settings, seed) else { return Ok(()) };
        if !stands_alone(&facts, &settings, &storage) {
            return Ok(());
        }
        let mut after = facts.clone();
        let about_others = others.votes.into_iter().filter(|vote| vote.node.storage != storage);
        after.votes.retain(|vote| vote.node.storage == storage);
        after.votes.extend(about_others.filter(|vote| facts.replicas.iter().any(|r| r.storage == vote.node.storage)));
        for replica in after.replicas.iter_mut().filter(|replica| replica.storage != storage) {
            if let Some(other) = others.replicas.iter().find(|other| other.storage == replica.storage) {
                replica.attributes = other.attributes;
            }
        }
        prop_assert_eq!(decided(&after, &settings, seed), Decision::Keep { storage, epoch });
    }

    /// What is read of the primary alone says of it what all facts say.
    #[test]
    fn a_fit_incumbent_that_is_not_held_down_stands_alone(facts in facts(), settings in settings(), seed in any::<u64>()) {
        let Some(incumbent) = Incumbent::of(&facts) else { return Ok(()) };
        let storage = incumbent.primary.storage.clone();
        let held_down = verdicts(&facts, &settings)[&storage] == Verdict::Unhealthy;
        prop_assert_eq!(incumbent.is_fit() && !held_down, stands_alone(&facts, &settings, &storage));
        if incumbent.is_fit() && !held_down {
            prop_assert_eq!(decided(&facts, &settings, seed), Decision::Keep { storage, epoch: incumbent.primary.epoch });
        }
    }

    /// The seed picks among exactly the equals, and every one of them can be picked.
    #[test]
    fn the_seed_picks_among_the_equals(facts in facts(), settings in settings(), seed in any::<u64>()) {
        let Decision::Elect(election) = decided(&facts, &settings, seed) else { return Ok(()) };
        let mut picked = BTreeSet::new();
        for seed in (0..16).chain([seed, u64::MAX]) {
            let Decision::Elect(other) = decided(&facts, &settings, seed) else { panic!("a seed is no reason") };
            prop_assert_eq!(&other.equals, &election.equals);
            picked.insert(other.to);
        }
        prop_assert_eq!(picked, election.equals.iter().cloned().collect::<BTreeSet<_>>());
    }

    /// Nobody that ranks better is left standing: the order of docs/protocol.md, told another way.
    #[test]
    fn nobody_better_is_passed_over(facts in facts(), settings in settings(), seed in any::<u64>()) {
        let Decision::Elect(election) = decided(&facts, &settings, seed) else { return Ok(()) };
        let of = |storage: &Storage| facts.replicas.iter().find(|replica| replica.storage == *storage).unwrap();
        let mine = of(&election.to);
        for other in candidates_of(&facts, &settings).iter().map(of) {
            let (mine, other, same) = (mine.attributes, other.attributes, mine.assigned == other.assigned);
            prop_assert!(same, "candidates are all assigned or all not");
            if settings.policy == QuorumPolicy::Majority {
                prop_assert!(!mine.draining || other.draining);
                prop_assert!(mine.draining != other.draining || !mine.penalised || other.penalised);
                let level = (mine.draining, mine.penalised) == (other.draining, other.penalised);
                prop_assert!(!level || mine.priority >= other.priority);
            }
        }
    }

    /// With a candidate and a proposer that may propose, a repository without a primary gets one.
    #[test]
    fn who_needs_a_primary_gets_one(facts in facts(), settings in settings(), seed in any::<u64>()) {
        let facts = ElectionFacts { primary: None, epoch: None, ..facts };
        let decision = decided(&facts, &settings, seed);
        if candidates_of(&facts, &settings).is_empty() {
            prop_assert!(matches!(decision, Decision::NoCandidate(_)), "{:?}", decision);
        } else {
            prop_assert!(matches!(decision, Decision::Elect(_) | Decision::Wait(_)), "{:?}", decision);
        }
        prop_assert!(!candidates_of(&facts, &settings).contains(&storage(9)));
    }
}
