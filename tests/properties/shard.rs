//! Who may be primary of a whole virtual storage.

use crate::{
    config,
    scene::{facts, proposer, settings, shuffled, storage},
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use quorate::core::{
    consensus::HealthFacts,
    election::{
        ElectionFacts, Lags, NoCandidate, RecordedShard, ShardDecision, ShardFacts, StorageAttributes, WaitReason,
        decide_shard, shard_refusals,
    },
    epoch::{Epoch, Era},
    ids::Storage,
    quorum::QuorumPolicy,
    settings::Settings,
    time::Age,
};
use std::collections::BTreeMap;

prop_compose! {
    /// Facts of one virtual storage, and who is configured. Voters and attributes are those of a repository's scene.
    fn shard()(
        scene in facts(),
        recorded in option::weighted(0.8, (0_usize..5, prop::bool::weighted(0.2))),
        elected_age in option::weighted(0.9, select(vec![0, 4_000_000, 12_000_000, 90_000_000])),
        held in vec(option::weighted(0.8, 0_i64..4), 4),
        expected in option::weighted(0.8, Just(3_i64)),
        configured in vec(prop::bool::weighted(0.85), 4),
    ) -> (ShardFacts, Vec<Storage>) {
        let ElectionFacts { cluster, virtual_storage, era, at, replicas, votes, supervisors, .. } = scene;
        let attributes: BTreeMap<Storage, StorageAttributes> =
            replicas.into_iter().map(|replica| (replica.storage, replica.attributes)).collect();
        let held = held.into_iter().enumerate().filter_map(|(n, held)| Some((storage(n), held?))).collect();
        let recorded = recorded.map(|(n, demoted)| RecordedShard {
            storage: storage(n),
            demoted,
            epoch: Some(Epoch::new(Era(1), 3).unwrap()),
            elected_age: elected_age.map(Age),
        });
        let lags = Some(Lags { expected, held });
        let health = HealthFacts { votes, supervisors };
        let facts = ShardFacts { cluster, virtual_storage, recorded, era, at, attributes, lags, health };
        (facts, (0..4).filter(|n| configured[*n]).map(storage).collect())
    }
}

fn decided(facts: &ShardFacts, configured: &[Storage], settings: &Settings) -> ShardDecision {
    decide_shard(facts, configured, settings, &proposer())
}

proptest! {
    #![proptest_config(config(512, "tests/properties/regressions/shard.txt"))]

    /// Deciding again after a decision was applied keeps it; demoted once is not demoted again.
    #[test]
    fn decide_apply_decide_is_keep((facts, configured) in shard(), settings in settings()) {
        let mut after = facts.clone();
        let epoch = Some(Epoch::new(Era(1), 4).unwrap());
        match decided(&facts, &configured, &settings) {
            ShardDecision::Elect(election) => {
                let storage = election.to.clone();
                after.recorded = Some(RecordedShard { storage, demoted: false, epoch, elected_age: Some(Age(0)) });
                after.lags = None;
                let again = decided(&after, &configured, &settings);
                prop_assert_eq!(again, ShardDecision::Keep { storage: election.to, epoch });
            }
            ShardDecision::Demote { from, .. } => {
                let recorded = after.recorded.as_mut().unwrap();
                prop_assert_eq!(&recorded.storage, &from);
                (recorded.demoted, recorded.epoch) = (true, epoch);
                let stands = NoCandidate::PrimaryNotHealthy { storage: from, epoch };
                prop_assert_eq!(decided(&after, &configured, &settings), ShardDecision::NoCandidate(stands));
            }
            ShardDecision::Keep { .. } | ShardDecision::NoCandidate(_) | ShardDecision::Wait(_) | ShardDecision::Count => {}
        }
    }

    /// Without the lags the rule says the same, or asks for them exactly where it elects.
    #[test]
    fn it_counts_exactly_where_it_elects((facts, configured) in shard(), settings in settings()) {
        let with = decided(&facts, &configured, &settings);
        let without = decided(&ShardFacts { lags: None, ..facts }, &configured, &settings);
        if matches!(with, ShardDecision::Elect(_)) {
            prop_assert_eq!(without, ShardDecision::Count);
        } else {
            prop_assert_eq!(without, with);
        }
    }

    /// Only who is configured and fit is elected, nobody who lacks less is passed over for the same standing, and not the
    /// one that was just deposed.
    #[test]
    fn the_fittest_is_elected((facts, configured) in shard(), settings in settings()) {
        let ShardDecision::Elect(election) = decided(&facts, &configured, &settings) else { return Ok(()) };
        let refused = shard_refusals(&facts, &configured, &settings);
        prop_assert!(configured.contains(&election.to) && !refused.contains_key(&election.to));
        prop_assert_ne!(Some(&election.to), election.from.as_ref(), "deposed and elected in one breath");
        prop_assert_eq!(election.candidates.len() + refused.len(), configured.len());
        let draining = |storage: &Storage| {
            settings.policy == QuorumPolicy::Majority && facts.attributes.get(storage).is_some_and(|of| of.draining)
        };
        let mine = (draining(&election.to), election.candidates[&election.to]);
        for (other, lag) in &election.candidates {
            prop_assert!(mine <= (draining(other), *lag), "{} is passed over for {}", other, election.to);
        }
    }

    #[test]
    fn it_does_not_depend_on_row_order((facts, configured) in shard(), settings in settings(), order in any::<u64>()) {
        let mut other = facts.clone();
        other.health.votes = shuffled(&facts.health.votes, order);
        other.health.supervisors = shuffled(&facts.health.supervisors, order ^ 1);
        let configured_too = shuffled(&configured, order ^ 2);
        prop_assert_eq!(decided(&facts, &configured, &settings), decided(&other, &configured_too, &settings));
    }

    /// Within `vote_ttl` of an election there is no other, whoever falls.
    #[test]
    fn no_second_election_too_soon((mut facts, configured) in shard(), settings in settings()) {
        let Some(recorded) = facts.recorded.as_mut() else { return Ok(()) };
        recorded.elected_age = Some(Age(0));
        let decision = decided(&facts, &configured, &settings);
        prop_assert!(!matches!(decision, ShardDecision::Elect(_)), "{:?}", decision);
        if settings.policy == QuorumPolicy::Half {
            prop_assert_ne!(decision, ShardDecision::Wait(WaitReason::TooSoon), "Praefect has no such answer");
        }
    }
}
