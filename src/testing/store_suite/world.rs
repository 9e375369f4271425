//! The scene of every story: one virtual storage `v` with storages `g1` to `g3`, and short ways to say things.

use crate::core::{
    consensus::{NodeConsensus, Opinion, VoteRow},
    election::{ElectionFacts, Fence},
    epoch::{Epoch, Generation},
    ids::{
        DecisionId, Incarnation, NodeId, ProcessToken, RelativePath, RepositoryId, Storage, SupervisorName,
        VirtualStorage, Voter,
    },
    settings::{Profile, Settings},
    time::DatabaseTime,
};
use crate::store::{
    CasOutcome, Expected, HealthSnapshot, NewRepository, Outcome, Proposal, Registered, Registration, Store,
    StoreError, Target, VoteBatch, VotesWritten,
};
use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

/// How long a story waits for something to become true.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// What a store answered, or a panic that says what was asked of it.
pub(super) fn ok<T>(what: &str, result: Result<T, StoreError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: the store failed: {error} ({error:?})"),
    }
}

/// What was done, or a panic that says what became of it instead.
pub(super) fn done<T: Debug>(what: &str, result: Result<Outcome<T>, StoreError>) -> T {
    match ok(what, result) {
        Outcome::Done(done) => done,
        other @ (Outcome::NotFound | Outcome::Stale(_) | Outcome::EraChanged | Outcome::Refused(_)) => {
            panic!("{what}: expected it to be done, got {other:?}")
        }
    }
}

fn named<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(name) => name,
        Err(error) => panic!("the story uses a name that is not allowed: {error}"),
    }
}

pub(super) fn storage(name: &str) -> Storage {
    named(Storage::new(name))
}
pub(super) fn storages(names: &[&str]) -> BTreeSet<Storage> {
    names.iter().map(|name| storage(name)).collect()
}
pub(super) fn path(name: &str) -> RelativePath {
    named(RelativePath::new(name))
}
pub(super) fn supervisor(name: &str) -> SupervisorName {
    named(SupervisorName::new(name))
}
pub(super) fn virtual_storage(name: &str) -> VirtualStorage {
    named(VirtualStorage::new(name))
}
pub(super) fn named_target(at: &str) -> Target {
    Target::Path(virtual_storage("v"), path(at))
}
/// A process that nobody else is.
pub(super) fn token() -> ProcessToken {
    named(ProcessToken::new(uuid::Uuid::new_v4().to_string()))
}
pub(super) fn node(name: &str) -> NodeId {
    NodeId::new(virtual_storage("v"), storage(name))
}

/// A decision of its own.
pub(super) fn decision() -> DecisionId {
    named(DecisionId::new(uuid::Uuid::new_v4().to_string()))
}

/// The rows behind the facts, without what time and voters change.
pub(super) fn rows(facts: &ElectionFacts) -> ElectionFacts {
    let mut rows = facts.clone();
    rows.at = DatabaseTime(0);
    rows.votes.clear();
    rows.supervisors.clear();
    rows.members.clear();
    rows
}

/// A store with calm settings: nothing grows old while a slow database answers.
pub(super) struct World {
    pub(super) store: Arc<dyn Store>,
}

impl World {
    pub(super) async fn new(store: Arc<dyn Store>) -> Self {
        let mut settings = Settings::of(Profile::Default);
        settings.voter_ttl = Duration::from_secs(120);
        settings.vote_ttl = Duration::from_secs(120);
        settings.decision_ttl = Duration::from_secs(60);
        ok("seed the settings", store.settings_seed(&settings).await);
        Self { store }
    }

    /// Changes the settings in force.
    pub(super) async fn set(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.health().await.settings.settings;
        change(&mut settings);
        ok("update the settings", self.store.settings_update(&settings).await);
    }
    pub(super) async fn profile(&self, profile: Profile) {
        self.set(|settings| *settings = Settings::of(profile)).await;
    }
    pub(super) async fn voter_ttl(&self, ttl: Duration) {
        self.set(|settings| settings.voter_ttl = ttl).await;
    }

    pub(super) fn registration(&self, name: &str, previous: Option<Incarnation>, nodes: &[&str]) -> Registration {
        Registration {
            name: supervisor(name),
            previous,
            process: token(),
            attempt: 1,
            address: Some("127.0.0.1:2305".to_owned()),
            version: "1.0.0".to_owned(),
            nodes: nodes.iter().map(|name| node(name)).collect(),
        }
    }
    pub(super) async fn register(&self, name: &str, previous: Option<Incarnation>) -> Registered {
        let registration = self.registration(name, previous, &["g1", "g2", "g3"]);
        ok("register", self.store.supervisor_register(&registration).await)
    }
    /// Registers and expects it to succeed.
    pub(super) async fn voter(&self, name: &str) -> Voter {
        self.voter_again(name, None).await
    }
    pub(super) async fn voter_again(&self, name: &str, previous: Option<Incarnation>) -> Voter {
        match self.register(name, previous).await {
            Registered::Registered { incarnation, .. } => Voter { name: supervisor(name), incarnation },
            Registered::NameInUse { held_by: by } | Registered::Superseded { by } => {
                panic!("{name} was refused its name, held by {by}")
            }
        }
    }
    pub(super) async fn votes(&self, voter: &Voter, number: i64, votes: &[(&str, Opinion)]) -> VotesWritten {
        let votes = votes.iter().map(|(name, opinion)| (node(name), *opinion)).collect();
        ok("write votes", self.store.votes_write(voter, &VoteBatch { number, votes }).await)
    }
    pub(super) async fn health(&self) -> HealthSnapshot {
        ok("read everybody's health", self.store.health_facts().await)
    }
    /// One stored vote.
    pub(super) async fn vote_row(&self, name: &str, about: &str) -> Option<VoteRow> {
        let votes = self.health().await.facts.votes;
        votes.into_iter().find(|row| row.supervisor == supervisor(name) && row.node == node(about))
    }
    /// The opinion that stands in one row; panics if there is no such row.
    pub(super) async fn opinion(&self, name: &str, about: &str) -> Option<Opinion> {
        match self.vote_row(name, about).await {
            Some(row) => row.opinion,
            None => panic!("{name} has no row about {about}"),
        }
    }
    pub(super) async fn consensus(&self, about: &str) -> NodeConsensus {
        let health = self.health().await;
        match health.facts.evaluate(&health.settings.settings).remove(&node(about)) {
            Some(known) => known,
            None => panic!("nobody votes on {about}"),
        }
    }

    pub(super) fn new_repository(&self, at: &str, replicas: &[&str], primary: Option<&str>) -> NewRepository {
        NewRepository {
            virtual_storage: virtual_storage("v"),
            relative_path: path(at),
            replica_path: None,
            id: None,
            replicas: replicas.iter().map(|name| storage(name)).collect(),
            primary: primary.map(storage),
            assignments: Vec::new(),
        }
    }
    /// A repository on `g1`, `g2` and `g3`, without assignments; `g1` is its primary.
    pub(super) async fn repository(&self, at: &str) -> RepositoryId {
        self.repository_with(at, Some("g1")).await
    }
    pub(super) async fn repository_with(&self, at: &str, primary: Option<&str>) -> RepositoryId {
        let new = self.new_repository(at, &["g1", "g2", "g3"], primary);
        done("create a repository", self.store.repository_create(&new).await).repository
    }
    pub(super) async fn facts(&self, id: RepositoryId) -> ElectionFacts {
        match ok("read the facts", self.store.election_facts(&Target::Id(id)).await) {
            Some(snapshot) => snapshot.facts,
            None => panic!("repository {id} has no facts"),
        }
    }
    pub(super) async fn fence(&self, id: RepositoryId) -> Fence {
        let facts = self.facts(id).await;
        match (facts.epoch, facts.primary) {
            (Some(epoch), Some(primary)) => Fence { epoch, primary },
            other => panic!("repository {id} has no fence: {other:?}"),
        }
    }
    pub(super) async fn generation_of(&self, id: RepositoryId, of: &str) -> Option<Generation> {
        let replicas = self.facts(id).await.replicas;
        replicas.into_iter().find(|replica| replica.storage == storage(of)).map(|replica| replica.generation)
    }
    /// Acknowledges one write under the current fence.
    pub(super) async fn write(&self, id: RepositoryId, acknowledged: &[&str]) -> Generation {
        let fence = self.fence(id).await;
        let by = storages(acknowledged);
        done("increment", self.store.generation_increment(id, Some(&fence), &by).await)
    }

    /// A proposal that rests on these facts, with a decision id of its own.
    pub(super) fn proposal(&self, facts: &ElectionFacts, to: Option<&str>, proposer: &Voter) -> Proposal {
        Proposal {
            decision: decision(),
            repository: facts.repository,
            virtual_storage: facts.virtual_storage.clone(),
            from: facts.primary.clone(),
            expected: Expected { epoch: facts.epoch, era: facts.era, facts_version: facts.facts_version, at: facts.at },
            to: to.map(storage),
            proposer: proposer.clone(),
            why: "unhealthy".to_owned(),
            evidence: r#"{"votes":[]}"#.to_owned(),
        }
    }
    pub(super) async fn cas(&self, proposal: &Proposal) -> CasOutcome {
        ok("propose", self.store.primary_cas(proposal).await)
    }
    /// Makes a storage primary, and expects to win.
    pub(super) async fn elect(&self, id: RepositoryId, to: Option<&str>, proposer: &Voter) -> Epoch {
        let proposal = self.proposal(&self.facts(id).await, to, proposer);
        match self.cas(&proposal).await {
            CasOutcome::Won { epoch } => epoch,
            other @ (CasOutcome::Lost | CasOutcome::EraChanged) => {
                panic!("an election that nothing stood against came to {other:?}")
            }
        }
    }
    /// Proposes, expects to lose, and that nothing has changed.
    pub(super) async fn loses(&self, why: &str, proposal: &Proposal) {
        let before = rows(&self.facts(proposal.repository).await);
        let outcome = self.cas(proposal).await;
        assert_eq!(outcome, CasOutcome::Lost, "{why}");
        assert_eq!(rows(&self.facts(proposal.repository).await), before, "{why}: it lost, yet something changed");
    }

    /// Waits until the database itself says that a registration's heartbeat is older than `voter_ttl`.
    pub(super) async fn lapse(&self, voter: &Voter) {
        wait_until("the heartbeat is older than voter_ttl", async || {
            let health = self.health().await;
            let mut rows = health.facts.supervisors.iter();
            rows.any(|row| row.name == voter.name && !row.is_live(&health.settings.settings))
        })
        .await;
    }
}

/// Asks until it is so, or panics.
pub(super) async fn wait_until(what: &str, so: impl AsyncFn() -> bool) {
    let asking = async {
        while !so().await {
            tokio::time::sleep(POLL).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, asking).await;
    assert!(ended.is_ok(), "waited {PATIENCE:?} in vain until {what}");
}
