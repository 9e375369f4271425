//! Random facts: small enough that ties, shortages and contradictions are common.

use proptest::{collection::vec, option, prelude::*, sample::select};
use quorate::core::{
    consensus::{HealthFacts, Opinion, SupervisorRow, VoteRow},
    election::{ElectionFacts, ReplicaFacts, StorageAttributes},
    epoch::{Epoch, Era, FactsVersion, Generation},
    ids::{ClusterId, Incarnation, NodeId, RelativePath, RepositoryId, Storage, SupervisorName, VirtualStorage, Voter},
    settings::{Profile, Settings, WithoutCandidate},
    time::{Age, DatabaseTime},
};
use std::{collections::BTreeSet, time::Duration};

pub fn storage(n: usize) -> Storage {
    Storage::new(format!("g{n}")).unwrap()
}
pub fn virtual_storage() -> VirtualStorage {
    VirtualStorage::new("v").unwrap()
}
pub fn node(n: usize) -> NodeId {
    NodeId::new(virtual_storage(), storage(n))
}
pub fn supervisor(n: usize) -> SupervisorName {
    SupervisorName::new(format!("s{n}")).unwrap()
}
/// The proposer of every decision here: registered, live, and not alone in having just come.
pub fn proposer() -> Voter {
    Voter { name: supervisor(0), incarnation: Incarnation(7) }
}

fn age() -> impl Strategy<Value = Age> {
    select(vec![-2_000_000, -500_000, 0, 1_000_000, 4_999_999, 5_000_000, 9_000_000, 30_000_000, 90_000_000])
        .prop_map(Age)
}

pub fn opinion() -> impl Strategy<Value = Opinion> {
    select(vec![Opinion::Up, Opinion::Up, Opinion::Down, Opinion::Down, Opinion::None, Opinion::Misconfigured])
}

/// The rows of up to five supervisors, some lapsed, some recused.
pub fn supervisors() -> impl Strategy<Value = Vec<SupervisorRow>> {
    let row = (age(), age(), prop::bool::weighted(0.2));
    vec(row, 0..5).prop_map(|rows| {
        let row = |(n, (heartbeat_age, registered_age, recused)): (usize, (Age, Age, bool))| SupervisorRow {
            name: supervisor(n),
            incarnation: Incarnation(7),
            heartbeat_age,
            registered_age,
            recused,
        };
        rows.into_iter().enumerate().map(row).collect()
    })
}

/// Votes of supervisors and, as `s5`, of a Praefect.
pub fn votes() -> impl Strategy<Value = Vec<VoteRow>> {
    let vote = (opinion(), prop::bool::weighted(0.15), option::of(age()), option::of(age()));
    vec(option::weighted(0.8, vote), 24).prop_map(|cells| {
        let row = |n: usize, (opinion, old, contact_age, seen_age): (Opinion, bool, Option<Age>, Option<Age>)| {
            let foreign = n / 4 == 5;
            VoteRow {
                supervisor: supervisor(n / 4),
                node: node(n % 4),
                opinion: (!foreign).then_some(opinion),
                incarnation: (!foreign).then_some(Incarnation(if old { 6 } else { 7 })),
                contact_age,
                seen_age,
            }
        };
        cells.into_iter().enumerate().filter_map(|(n, cell)| cell.map(|cell| row(n, cell))).collect()
    })
}

pub fn health() -> impl Strategy<Value = HealthFacts> {
    (votes(), supervisors()).prop_map(|(votes, supervisors)| HealthFacts { votes, supervisors })
}

pub fn settings() -> impl Strategy<Value = Settings> {
    (any::<bool>(), any::<bool>(), option::of(1_u32..4)).prop_map(|(praefect, demote, expected)| {
        let mut settings = Settings::of(if praefect { Profile::Praefect } else { Profile::Default });
        settings.without_candidate = if demote { WithoutCandidate::Demote } else { WithoutCandidate::Keep };
        settings.expected_supervisors = expected.filter(|_| !praefect);
        settings
    })
}

/// Settings of profile `default` whose voters never lapse, so that votes alone decide.
pub fn majority() -> Settings {
    let mut settings = Settings::of(Profile::Default);
    settings.voter_ttl = Duration::from_secs(3_600);
    settings
}

prop_compose! {
    fn replica()(
        present in prop::bool::weighted(0.85),
        generation in select(vec![2_i64, 2, 2, 1]),
        marked in prop::bool::weighted(0.1),
        priority in select(vec![100, 100, 50, 0]),
        draining in prop::bool::weighted(0.25),
        penalised in prop::bool::weighted(0.25),
    ) -> Option<(i64, bool, StorageAttributes)> {
        present.then_some((generation, marked, StorageAttributes { priority, draining, penalised }))
    }
}

prop_compose! {
    /// Facts of one repository. The proposer is always `s0`, registered and live.
    pub fn facts()(
        replicas in vec(replica(), 4),
        assigned in vec(prop::bool::weighted(0.4), 5),
        primary in option::weighted(0.8, 0_usize..5),
        generation in option::weighted(0.95, Just(2_i64)),
        health in health(),
    ) -> ElectionFacts {
        let assignments: BTreeSet<Storage> = (0..5).filter(|n| assigned[*n]).map(storage).collect();
        let replicas: Vec<ReplicaFacts> = replicas.into_iter().enumerate().filter_map(|(n, replica)| {
            let (generation, marked, attributes) = replica?;
            let assigned = assignments.contains(&storage(n));
            Some(ReplicaFacts { storage: storage(n), generation: Generation(generation), marked, assigned, attributes })
        }).collect();
        let members = health.members();
        let mut supervisors: Vec<_> = health.supervisors.into_iter().filter(|row| row.name != supervisor(0)).collect();
        supervisors.push(SupervisorRow {
            name: supervisor(0),
            incarnation: Incarnation(7),
            heartbeat_age: Age(0),
            registered_age: Age(50_000_000),
            recused: false,
        });
        let holds = |node: &NodeId| replicas.iter().any(|replica| replica.storage == node.storage);
        ElectionFacts {
            cluster: ClusterId::new("c").unwrap(),
            repository: RepositoryId(1),
            virtual_storage: virtual_storage(),
            relative_path: RelativePath::new("a").unwrap(),
            generation: generation.map(Generation),
            epoch: primary.map(|_| Epoch::new(Era(1), 3).unwrap()),
            primary: primary.map(storage),
            era: Era(1),
            facts_version: FactsVersion(9),
            at: DatabaseTime(0),
            votes: health.votes.into_iter().filter(|vote| holds(&vote.node)).collect(),
            replicas,
            assignments: assignments.into_iter().collect(),
            supervisors,
            members,
        }
    }
}

/// A list in another order, by lot.
pub fn shuffled<T: Clone>(list: &[T], seed: u64) -> Vec<T> {
    let mut keyed: Vec<(u64, T)> = list
        .iter()
        .enumerate()
        .map(|(n, item)| ((seed ^ n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17), item.clone()))
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, item)| item).collect()
}
