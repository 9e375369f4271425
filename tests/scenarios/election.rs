//! The table of the per-repository elector: two callers at once, both under way before either commits.

use crate::lab::{Kind, LIMIT, Lab, node, on_both, storage, supervisor};
use actix::Actor;
use quorate::{
    Error,
    actors::{ElectorConfig, PerRepositoryElector},
    core::{
        consensus::Opinion,
        election::Target,
        ids::{Incarnation, RelativePath, RepositoryId, VirtualStorage, Voter},
        settings::{Profile, Settings, WithoutCandidate},
    },
    messages::election::GetPrimary,
    store::{ElectionStore, HealthStore, Registered, Registration, VoteBatch},
    testing::wait,
};
use std::time::Duration;
use tokio::sync::watch;

/// What a lookup answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    /// One of these is primary.
    Primary(&'static [&'static str]),
    /// There is none.
    NoPrimary,
    /// This one is recorded, but held to be down.
    NotHealthy(&'static str),
    /// There is no such repository.
    Missing,
}
use Is::{Missing, NoPrimary, NotHealthy, Primary};

/// Who is healthy, and what is answered under each rule: 14.4, later, and ours.
struct Step {
    healthy: &'static [&'static str],
    demote: Is,
    keep: Is,
    ours: Is,
}

/// The same answer under every rule.
const fn step(healthy: &'static [&'static str], is: Is) -> Step {
    Step { healthy, demote: is, keep: is, ours: is }
}

/// Nobody may take the place of `recorded`: 14.4 demotes it, later releases answer it as a success, and ours answers
/// which is true, that it is recorded and down. A success would send the client into a timeout.
const fn stuck(healthy: &'static [&'static str], recorded: &'static str, kept: &'static [&'static str]) -> Step {
    Step { healthy, demote: NoPrimary, keep: Primary(kept), ours: NotHealthy(recorded) }
}

/// A replica: its storage, its generation, whether it is assigned.
type Replica = (&'static str, i64, bool);

struct Scenario {
    replicas: &'static [Replica],
    /// Rows of the replication queue: virtual storage, path, target, state, repository id.
    jobs: &'static [(&'static str, &'static str, &'static str, &'static str, i64)],
    steps: &'static [Step],
}

const ALL: &[&str] = &["g1", "g2", "g3"];
const R: i64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Demote,
    Keep,
    Ours,
    OursInALan,
}

impl Rule {
    fn profile(self) -> Profile {
        match self {
            Rule::Demote | Rule::Keep => Profile::Praefect,
            Rule::Ours => Profile::Default,
            Rule::OursInALan => Profile::Lan,
        }
    }
}

async fn play(kind: Kind, scenario: Scenario) {
    for rule in [Rule::Demote, Rule::Keep, Rule::Ours, Rule::OursInALan] {
        let mut settings = Settings::of(rule.profile());
        settings.voter_ttl = Duration::from_secs(60);
        if rule == Rule::Demote {
            settings.without_candidate = WithoutCandidate::Demote;
        }
        let lab = Lab::new(kind, &settings).await;
        prepare(&lab, &scenario).await;
        let voter = register(&lab, rule).await;
        let mut before: Option<String> = None;
        for (number, step) in scenario.steps.iter().enumerate() {
            let what = format!("{kind:?} {rule:?} step {number}");
            set_healthy(&lab, rule, &voter, i64::try_from(number).unwrap() + 1, step.healthy).await;
            let expected = match rule {
                Rule::Demote => step.demote,
                Rule::Keep => step.keep,
                Rule::Ours | Rule::OursInALan => step.ours,
            };
            before = overlapping(&lab, &voter, expected, before, &what).await;
        }
    }
}

async fn prepare(lab: &Lab, scenario: &Scenario) {
    let mut text = String::new();
    if let Some(generation) = scenario.replicas.iter().map(|(_, generation, _)| generation).max() {
        text += &format!(
            "INSERT INTO repositories (virtual_storage, relative_path, generation, repository_id, replica_path)
             VALUES ('v', 'r', {generation}, {R}, 'r');"
        );
    }
    for (storage, generation, assigned) in scenario.replicas {
        text += &format!(
            "INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
             VALUES ('v', 'r', '{storage}', {generation}, {R});"
        );
        if *assigned {
            text += &format!(
                "INSERT INTO repository_assignments (virtual_storage, relative_path, storage, repository_id)
                 VALUES ('v', 'r', '{storage}', {R});"
            );
        }
    }
    for (vs, path, target, state, id) in scenario.jobs {
        text += &format!(
            "INSERT INTO replication_queue (state, lock_id, job) VALUES ('{state}', 'lock', '{{\"change\": \"delete_replica\",
             \"virtual_storage\": \"{vs}\", \"relative_path\": \"{path}\", \"target_node_storage\": \"{target}\",
             \"repository_id\": {id}}}');"
        );
    }
    lab.sql(&text).await;
}

/// Under our rules votes are those of a registered supervisor; Praefect's need no registration at all.
async fn register(lab: &Lab, rule: Rule) -> Voter {
    let name = supervisor("praefect");
    if rule.profile() == Profile::Praefect {
        return Voter { name, incarnation: Incarnation(0) };
    }
    let nodes = ALL.iter().map(|name| node("v", name)).collect();
    let registration = Registration {
        name: name.clone(),
        previous: None,
        process: name.as_str().parse().unwrap(),
        attempt: 1,
        address: None,
        version: "1".into(),
        nodes,
    };
    match lab.store.supervisor_register(&registration).await.unwrap() {
        Registered::Registered { incarnation, .. } => Voter { name, incarnation },
        other @ (Registered::NameInUse { .. } | Registered::Superseded { .. }) => panic!("{other:?}"),
    }
}

async fn set_healthy(lab: &Lab, rule: Rule, voter: &Voter, number: i64, healthy: &[&str]) {
    if rule.profile() == Profile::Praefect {
        return lab.set_healthy_foreign(healthy).await;
    }
    let opinion = |name: &str| if healthy.contains(&name) { Opinion::Up } else { Opinion::Down };
    let votes = ALL.iter().map(|name| (node("v", name), opinion(name))).collect();
    lab.store.votes_write(voter, &VoteBatch { number, votes }).await.unwrap();
}

/// Two lookups that overlap: whatever commits, commits while the other is waiting for the same row. Answers who is
/// recorded now.
async fn overlapping(lab: &Lab, voter: &Voter, expected: Is, before: Option<String>, what: &str) -> Option<String> {
    let repository = RepositoryId(R);
    let changes = lab.store.primary_history(repository, 100).await.unwrap().len();
    let commits = lab.store.commits();
    let (_cell, registered) = watch::channel(Some(voter.clone()));
    let elector = PerRepositoryElector::new(ElectorConfig {
        store: lab.store.clone(),
        name: voter.name.clone(),
        voter: registered,
        behind: watch::Sender::new(None).subscribe(),
        virtual_storages: None,
        memory: None,
        timeout: LIMIT,
        lot: ElectorConfig::random_lot,
    })
    .start();
    let target = Target::Path(VirtualStorage::new("v").unwrap(), RelativePath::new("r").unwrap());
    let lock = lab.lock(repository).await;
    let asking = [0, 1].map(|_| {
        let (elector, target) = (elector.clone(), target.clone());
        actix::spawn(async move { elector.send(GetPrimary::of(target)).await.unwrap() })
    });
    let both_wait = || lab.store.commits() - commits == 2 || asking.iter().all(|asked| asked.is_finished());
    wait::until(&format!("{what}: both are under way"), LIMIT, both_wait).await;
    let due = lab.store.commits() - commits;
    lock.release().await;
    let mut answers = Vec::new();
    for asked in asking {
        answers.push(asked.await.unwrap());
    }
    for answer in &answers {
        match (expected, answer) {
            (Primary(allowed), Ok(primary)) => {
                assert!(
                    allowed.contains(&primary.storage.as_str()),
                    "{what}: {primary:?}, expected one of {allowed:?}"
                );
            }
            (NoPrimary, Err(Error::NoPrimary)) | (Missing, Err(Error::RepositoryNotFound)) => {}
            (NotHealthy(recorded), Err(Error::PrimaryNotHealthy { storage: told, .. }))
                if *told == storage(recorded) => {}
            (expected, answer) => panic!("{what}: expected {expected:?}, got {answer:?}"),
        }
    }
    let primaries: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    assert!(primaries.windows(2).all(|pair| pair[0] == pair[1]), "{what}: both answer the same: {primaries:?}");
    let now = lab.store.election_facts(&target).await.unwrap().and_then(|read| read.facts.primary);
    let now = now.map(|storage| storage.to_string());
    let changed = lab.store.primary_history(repository, 100).await.unwrap().len() - changes;
    assert_eq!(changed, usize::from(now != before), "{what}: exactly one change, if any: {before:?} to {now:?}");
    assert_eq!(due > 0, now != before, "{what}: nothing is written where nothing changes");
    now
}

macro_rules! scenarios {
    ($($name:ident: $replicas:expr, $jobs:expr, $steps:expr;)*) => {
        $(on_both!($name, |kind| super::play(kind, super::Scenario {
            replicas: { use super::*; const REPLICAS: &[Replica] = $replicas; REPLICAS },
            jobs: { #[allow(unused_imports, reason = "most scenarios have no jobs")] use super::*; const JOBS: &[(&str, &str, &str, &str, i64)] = $jobs; JOBS },
            steps: { use super::*; const STEPS: &[Step] = $steps; STEPS },
        }));)*
    };
}

scenarios! {
    elects_the_most_up_to_date: &[("g1", 1, false), ("g2", 0, false)], &[], &[step(ALL, Primary(&["g1"]))];
    ignores_healthy_outdated: &[("g1", 1, false), ("g2", 0, false)], &[], &[step(&["g2", "g3"], NoPrimary)];
    no_valid_primary: &[("g1", 0, false)], &[], &[step(&["g2", "g3"], NoPrimary)];
    random_among_latest: &[("g1", 0, false), ("g2", 0, false)], &[], &[step(ALL, Primary(&["g1", "g2"]))];
    fails_over_to_up_to_date_healthy: &[("g1", 1, false), ("g2", 1, false), ("g3", 0, false)], &[],
        &[step(&["g1", "g3"], Primary(&["g1"])), step(&["g2", "g3"], Primary(&["g2"]))];
    no_failover_to_outdated: &[("g1", 1, false), ("g3", 0, false)], &[],
        &[step(ALL, Primary(&["g1"])), stuck(&["g2", "g3"], "g1", &["g1"])];
    prefers_assigned: &[("g1", 2, true), ("g2", 2, true), ("g3", 2, false)], &[],
        &[step(&["g1", "g3"], Primary(&["g1"])), step(&["g2", "g3"], Primary(&["g2"]))];
    unassigned_if_no_valid_assigned: &[("g1", 2, true), ("g2", 2, false)], &[],
        &[step(ALL, Primary(&["g1"])), step(&["g2", "g3"], Primary(&["g2"]))];
    an_unassigned_primary_yields_to_an_assigned_candidate: &[("g1", 2, true), ("g2", 2, false)], &[],
        &[step(&["g2", "g3"], Primary(&["g2"])), step(ALL, Primary(&["g1"]))];
    no_candidate: &[("g1", 1, true), ("g2", 0, false)], &[],
        &[step(ALL, Primary(&["g1"])), stuck(&["g2", "g3"], "g1", &["g1"])];
    a_demoted_primary_can_be_elected_again: &[("g1", 1, true)], &[],
        &[step(ALL, Primary(&["g1"])), stuck(&["g2"], "g1", &["g1"]), step(ALL, Primary(&["g1"]))];
    pending_deletion_ready: &[("g1", 0, true)], &[("v", "r", "g1", "ready", R)], &[step(&["g1"], NoPrimary)];
    pending_deletion_in_progress: &[("g1", 0, true)], &[("v", "r", "g1", "in_progress", R)], &[step(&["g1"], NoPrimary)];
    pending_deletion_failed: &[("g1", 0, true)], &[("v", "r", "g1", "failed", R)], &[step(&["g1"], NoPrimary)];
    irrelevant_delete_jobs_are_ignored: &[("g1", 0, true)],
        &[("w", "r", "g1", "ready", 0), ("v", "other", "g1", "ready", 0), ("v", "third", "g2", "ready", R),
          ("v", "r", "g1", "cancelled", R), ("v", "r", "g1", "dead", R), ("v", "r", "g1", "completed", R)],
        &[step(&["g1"], Primary(&["g1"]))];
    repository_does_not_exist: &[], &[], &[step(ALL, Missing)];
}
