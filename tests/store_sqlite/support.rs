//! A database in a folder of its own, hands to meddle with it, and names to write tests in.

use diesel::{
    Connection, QueryableByName, RunQueryDsl, SqliteConnection, connection::SimpleConnection, sql_types::Text,
};
use quorate::{
    core::{
        election::Fence,
        epoch::{Epoch, Era},
        ids::{DecisionId, NodeId, RelativePath, RepositoryId, Storage, SupervisorName, VirtualStorage, Voter},
        settings::{Profile, Settings},
    },
    store::{
        CasOutcome, ElectionSnapshot, ElectionStore, Expected, HealthStore, NewRepository, Outcome, Proposal,
        Registered, Registration, RepositoryStore, Target,
        sqlite::{SqliteOptions, SqliteStore},
    },
};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

pub struct Database {
    folder: tempfile::TempDir,
}

impl Database {
    pub fn new() -> Database {
        Database { folder: tempfile::tempdir().unwrap() }
    }
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("quorate.db")
    }
    pub fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }
    pub async fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.url(), options()).await.unwrap()
    }
    /// A store whose settings are seeded and with whom `s1` is registered.
    pub async fn started(&self, settings: &Settings) -> (SqliteStore, Voter) {
        let store = self.open().await;
        store.settings_seed(settings).await.unwrap();
        let voter = register(&store, "s1").await;
        (store, voter)
    }
    /// A connection of its own, as a foreign writer has one.
    pub fn hand(&self) -> Hand {
        let mut connection = SqliteConnection::establish(self.path().to_str().unwrap()).unwrap();
        connection.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON").unwrap();
        Hand(connection)
    }
}

pub fn options() -> SqliteOptions {
    SqliteOptions { busy_timeout: Duration::from_secs(5), ..SqliteOptions::default() }
}

pub struct Hand(SqliteConnection);

#[derive(QueryableByName)]
struct Value {
    #[diesel(sql_type = Text)]
    value: String,
}

impl Hand {
    pub fn run(&mut self, sql: &str) {
        self.0.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    /// What `SELECT group_concat(x)` of an expression and its source gives, or one value.
    pub fn ask(&mut self, sql: &str) -> String {
        let sql = format!("SELECT CAST(COALESCE(({sql}), 'NULL') AS TEXT) AS value");
        diesel::sql_query(&sql).get_result::<Value>(&mut self.0).unwrap_or_else(|error| panic!("{sql}: {error}")).value
    }
}

pub fn storage(name: &str) -> Storage {
    Storage::new(name).unwrap()
}
pub fn set(names: &[&str]) -> BTreeSet<Storage> {
    names.iter().map(|name| storage(name)).collect()
}
pub fn v() -> VirtualStorage {
    VirtualStorage::new("v").unwrap()
}
pub fn node(name: &str) -> NodeId {
    NodeId::new(v(), storage(name))
}
pub fn path(path: &str) -> RelativePath {
    RelativePath::new(path).unwrap()
}

pub fn registration(name: &str, nodes: &[&str]) -> Registration {
    Registration {
        name: SupervisorName::new(name).unwrap(),
        previous: None,
        process: uuid::Uuid::new_v4().to_string().parse().unwrap(),
        attempt: 1,
        address: Some("127.0.0.1:1".into()),
        version: "0".into(),
        nodes: nodes.iter().map(|name| node(name)).collect(),
    }
}

pub async fn register(store: &SqliteStore, name: &str) -> Voter {
    let registration = registration(name, &["g1", "g2", "g3"]);
    match store.supervisor_register(&registration).await.unwrap() {
        Registered::Registered { incarnation, .. } => Voter { name: registration.name, incarnation },
        Registered::NameInUse { held_by: by } | Registered::Superseded { by } => panic!("in use by {by}"),
    }
}

/// A repository with replicas on g1, g2 and g3, all up to date, and without a primary.
pub fn repository(relative_path: &str) -> NewRepository {
    NewRepository {
        virtual_storage: v(),
        relative_path: path(relative_path),
        replica_path: None,
        id: None,
        replicas: vec![storage("g1"), storage("g2"), storage("g3")],
        primary: None,
        assignments: Vec::new(),
    }
}

pub async fn create(store: &SqliteStore, new: &NewRepository) -> RepositoryId {
    store.repository_create(new).await.unwrap().done().repository
}

pub async fn facts(store: &SqliteStore, id: RepositoryId) -> ElectionSnapshot {
    store.election_facts(&Target::Id(id)).await.unwrap().expect("the repository exists")
}

pub fn proposal(facts: &ElectionSnapshot, to: &str, proposer: &Voter, decision: &str) -> Proposal {
    let facts = &facts.facts;
    Proposal {
        decision: DecisionId::new(decision).unwrap(),
        repository: facts.repository,
        virtual_storage: facts.virtual_storage.clone(),
        from: facts.primary.clone(),
        expected: Expected { epoch: facts.epoch, era: facts.era, facts_version: facts.facts_version, at: facts.at },
        to: Some(storage(to)),
        proposer: proposer.clone(),
        why: "unhealthy".into(),
        evidence: "{}".into(),
    }
}

/// Elects, with fresh facts.
pub async fn elect(store: &SqliteStore, id: RepositoryId, to: &str, proposer: &Voter, decision: &str) -> Fence {
    let facts = facts(store, id).await;
    match store.primary_cas(&proposal(&facts, to, proposer, decision)).await.unwrap() {
        CasOutcome::Won { epoch } => Fence { epoch, primary: storage(to) },
        CasOutcome::Lost | CasOutcome::EraChanged => panic!("lost"),
    }
}

pub fn epoch(number: i64) -> Epoch {
    Epoch::new(Era(1), number).unwrap()
}
pub fn lan() -> Settings {
    Settings::of(Profile::Lan)
}

pub trait DoneExt<T> {
    fn done(self) -> T;
}
impl<T: std::fmt::Debug> DoneExt<T> for Outcome<T> {
    fn done(self) -> T {
        match self {
            Outcome::Done(done) => done,
            Outcome::NotFound | Outcome::Stale(_) | Outcome::EraChanged | Outcome::Refused(_) => panic!("{self:?}"),
        }
    }
}
