//! The fixture, and one file per topic.

mod adoption;
mod beside_a_praefect;
mod clock;
mod connecting;
mod drills;
#[cfg(feature = "grpc")]
mod eras;
mod feed;
mod migrations;
mod operations;
mod praefect;
mod settling;
mod voters;

pub(crate) use crate::postgres::{GUARDED, PASSWORD, cluster, raw};
pub(crate) use quorate::{
    core::{
        consensus::Opinion,
        election::{Fence, ReplicaFacts},
        epoch::*,
        ids::*,
        settings::*,
    },
    store::{postgres::*, *},
};
pub(crate) use std::{collections::BTreeSet, time::Duration};

pub(crate) struct Fixture {
    pub(crate) url: String,
    pub(crate) store: PostgresStore,
    pub(crate) voter: Voter,
}

pub(crate) fn storage(name: &str) -> Storage {
    Storage::new(name).unwrap()
}
pub(crate) fn storages(names: &[&str]) -> Vec<Storage> {
    names.iter().map(|name| storage(name)).collect()
}
pub(crate) fn set(names: &[&str]) -> BTreeSet<Storage> {
    names.iter().map(|name| storage(name)).collect()
}
pub(crate) fn node(name: &str) -> NodeId {
    NodeId::new(VirtualStorage::new("v").unwrap(), storage(name))
}
pub(crate) fn new_repository(path: &str, primary: Option<&str>) -> NewRepository {
    NewRepository {
        virtual_storage: VirtualStorage::new("v").unwrap(),
        relative_path: RelativePath::new(path).unwrap(),
        replica_path: None,
        id: None,
        replicas: storages(&["g1", "g2", "g3"]),
        primary: primary.map(storage),
        assignments: storages(&["g1", "g2"]),
    }
}
pub(crate) fn registration(name: &str) -> Registration {
    Registration {
        name: SupervisorName::new(name).unwrap(),
        previous: None,
        process: uuid::Uuid::new_v4().to_string().parse().unwrap(),
        attempt: 1,
        address: Some("127.0.0.1:1".into()),
        version: "1".into(),
        nodes: vec![node("g2"), node("g1"), node("g3")],
    }
}
/// The default rules, with so much time that a busy machine cannot disturb a test that is not about time.
pub(crate) fn patient() -> Settings {
    let mut settings = Settings::of(Profile::Default);
    (settings.voter_ttl, settings.vote_ttl) = (Duration::from_secs(120), Duration::from_secs(120));
    settings.decision_ttl = Duration::from_secs(60);
    settings
}
pub(crate) async fn connect(url: &str) -> PostgresStore {
    PostgresStore::connect(url, PostgresOptions::default()).await.unwrap()
}

impl Fixture {
    pub(crate) async fn new() -> Fixture {
        Fixture::with(&patient()).await
    }
    pub(crate) async fn with(settings: &Settings) -> Fixture {
        let url = cluster().database(true).await;
        let store = connect(&url).await;
        store.settings_seed(settings).await.unwrap();
        let Registered::Registered { incarnation, .. } = store.supervisor_register(&registration("s1")).await.unwrap()
        else {
            panic!("refused")
        };
        let voter = Voter { name: SupervisorName::new("s1").unwrap(), incarnation };
        Fixture { url, store, voter }
    }
    pub(crate) async fn create(&self, path: &str, primary: Option<&str>) -> (RepositoryId, Option<Epoch>) {
        match self.store.repository_create(&new_repository(path, primary)).await.unwrap() {
            Outcome::Done(created) => (created.repository, created.epoch),
            other => panic!("{other:?}"),
        }
    }
    pub(crate) async fn facts(&self, repository: RepositoryId) -> ElectionSnapshot {
        self.store.election_facts(&Target::Id(repository)).await.unwrap().unwrap()
    }
    pub(crate) fn proposal(&self, snapshot: &ElectionSnapshot, id: &str, to: Option<&str>) -> Proposal {
        let facts = &snapshot.facts;
        Proposal {
            decision: DecisionId::new(id).unwrap(),
            repository: facts.repository,
            virtual_storage: facts.virtual_storage.clone(),
            from: facts.primary.clone(),
            expected: Expected { epoch: facts.epoch, era: facts.era, facts_version: facts.facts_version, at: facts.at },
            to: to.map(storage),
            proposer: self.voter.clone(),
            why: "unhealthy".into(),
            evidence: "{\"votes\": []}".into(),
        }
    }
    pub(crate) async fn elect(&self, repository: RepositoryId, id: &str, to: &str) -> Epoch {
        let snapshot = self.facts(repository).await;
        match self.store.primary_cas(&self.proposal(&snapshot, id, Some(to))).await.unwrap() {
            CasOutcome::Won { epoch } => epoch,
            other => panic!("{other:?}"),
        }
    }
    pub(crate) async fn vote(&self, number: i64, votes: &[(&str, Opinion)]) -> VotesWritten {
        let votes = votes.iter().map(|(name, opinion)| (node(name), *opinion)).collect();
        self.store.votes_write(&self.voter, &VoteBatch { number, votes }).await.unwrap()
    }
}

/// Waits until a query's one number reaches `wanted`.
pub(crate) async fn until(client: &tokio_postgres::Client, sql: &str, wanted: i64) {
    for attempt in 0.. {
        let found: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        if found >= wanted {
            return;
        }
        assert!(attempt < 1_500, "{sql}: {found} instead of {wanted}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
