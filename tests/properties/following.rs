//! Repositories that follow the primary of their virtual storage.

use crate::{
    config,
    scene::{facts, proposer, settings, shuffled, storage},
};
use proptest::prelude::*;
use quorate::core::{
    election::{Decision, ElectionFacts, NoCandidate, Reason, decide, follow},
    epoch::{Epoch, Era},
    ids::Storage,
    settings::Settings,
};

fn followed(facts: &ElectionFacts, primary: &Storage, settings: &Settings) -> Decision {
    follow(facts, primary, settings, &proposer())
}

/// Whether a write to this storage could count: it holds all of the repository, and is not about to lose it.
fn fits(facts: &ElectionFacts, primary: &Storage) -> bool {
    let mut of = facts.replicas.iter().filter(|replica| replica.storage == *primary);
    of.any(|replica| facts.generation == Some(replica.generation) && !replica.marked)
}

proptest! {
    #![proptest_config(config(512, "tests/properties/regressions/following.txt"))]

    /// Nobody but the virtual storage's primary is elected, and not that one either while it is behind or marked. Who is
    /// recorded already is not elected again, so no epoch is taken for nothing.
    #[test]
    fn only_the_leader_is_followed_and_only_where_it_fits(facts in facts(), leader in 0_usize..5, settings in settings()) {
        let leader = storage(leader);
        if let Decision::Elect(election) = followed(&facts, &leader, &settings) {
            prop_assert!(fits(&facts, &leader));
            prop_assert_ne!(facts.primary.as_ref(), Some(&leader));
            prop_assert_eq!(&election.to, &leader);
            prop_assert_eq!(&election.equals, &vec![leader]);
            prop_assert_eq!(&election.from, &facts.primary);
            let why = if facts.primary.is_some() { Reason::VirtualStorage } else { Reason::NoneRecorded };
            prop_assert_eq!(election.why, why);
        }
    }

    /// A row that is as it should be stays, under its epoch, whoever asks, votes, drains or has just come.
    #[test]
    fn what_fits_is_never_changed(facts in facts(), leader in 0_usize..5, settings in settings()) {
        let leader = storage(leader);
        if facts.primary.as_ref() == Some(&leader) && fits(&facts, &leader) {
            let mut alone = facts.clone();
            (alone.votes, alone.supervisors, alone.members) = (vec![], vec![], vec![]);
            let kept = Decision::Keep { storage: leader.clone(), epoch: facts.epoch };
            prop_assert_eq!(&followed(&facts, &leader, &settings), &kept);
            prop_assert_eq!(&followed(&alone, &leader, &settings), &kept);
        }
    }

    /// Where it does not fit the row is left alone, and the answer names it: with the row's epoch if it is recorded, else
    /// with none, for an epoch of somebody else's would fence nothing.
    #[test]
    fn what_does_not_fit_is_left_alone_and_told(facts in facts(), leader in 0_usize..5, settings in settings()) {
        let leader = storage(leader);
        let decision = followed(&facts, &leader, &settings);
        prop_assert_eq!(matches!(decision, Decision::NoCandidate(_)), !fits(&facts, &leader), "{:?}", decision);
        prop_assert!(!matches!(decision, Decision::Demote { .. }), "{:?}", decision);
        if let Decision::NoCandidate(no) = decision {
            let replica = facts.replicas.iter().find(|replica| replica.storage == leader);
            let current = replica.is_some_and(|replica| facts.generation == Some(replica.generation));
            let epoch = facts.epoch.filter(|_| facts.primary.as_ref() == Some(&leader));
            let told = if current {
                NoCandidate::PrimaryMarked { storage: leader, epoch }
            } else {
                NoCandidate::PrimaryOutdated { storage: leader, epoch }
            };
            prop_assert_eq!(no, told);
        }
    }

    /// Following again after that was committed changes nothing more, and the epoch is the newer one.
    #[test]
    fn follow_apply_follow_is_keep(facts in facts(), leader in 0_usize..5, settings in settings()) {
        let leader = storage(leader);
        let Decision::Elect(election) = followed(&facts, &leader, &settings) else { return Ok(()) };
        let mut after = facts.clone();
        (after.primary, after.epoch) = (Some(election.to), Some(Epoch::new(Era(1), 4).unwrap()));
        prop_assert!(after.epoch > facts.epoch);
        prop_assert_eq!(followed(&after, &leader, &settings), Decision::Keep { storage: leader, epoch: after.epoch });
    }

    /// Who must wait with one kind of election must wait with the other.
    #[test]
    fn who_must_wait_waits_with_this_too(
        facts in facts(), leader in 0_usize..5, settings in settings(), seed in any::<u64>(),
    ) {
        match (followed(&facts, &storage(leader), &settings), decide(&facts, &settings, &proposer(), seed)) {
            (Decision::Wait(mine), Decision::Wait(theirs)) => prop_assert_eq!(mine, theirs),
            (Decision::Wait(_), other) | (other, Decision::Wait(_)) => {
                prop_assert!(!matches!(other, Decision::Elect(_) | Decision::Demote { .. }), "{:?}", other);
            }
            _ => {}
        }
    }

    #[test]
    fn follow_does_not_depend_on_row_order(
        facts in facts(), leader in 0_usize..5, settings in settings(), order in any::<u64>(),
    ) {
        let mut other = facts.clone();
        other.replicas = shuffled(&facts.replicas, order);
        other.supervisors = shuffled(&facts.supervisors, order ^ 1);
        let leader = storage(leader);
        prop_assert_eq!(followed(&facts, &leader, &settings), followed(&other, &leader, &settings));
    }
}
