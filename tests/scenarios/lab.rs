//! A database with a door beside the store: raw SQL, to set what the original's tests set.

use crate::support;
use diesel::{Connection, RunQueryDsl, SqliteConnection, connection::SimpleConnection};
use futures_util::future::BoxFuture;
use quorate::{
    Config,
    core::{
        ids::{NodeId, RepositoryId, Storage, SupervisorName, VirtualStorage, Voter},
        settings::{Profile, Settings},
    },
    store::{
        Answer, CasOutcome, ElectionSnapshot, ElectionStore, HealthSnapshot, HealthStore, Heartbeat, PrimaryChange,
        Proposal, Registered, Registration, SettleBatch, SettleOutcome, SettleSnapshot, SettleStore, ShardProposal,
        ShardSnapshot, ShardStore, Store, StoredSettings, Target, VoteBatch, VotesWritten,
        sqlite::{SqliteOptions, SqliteStore},
    },
};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A machine that is busy with other tests is no reason for a supervisor to distrust itself. In rounds it never does.
pub(crate) fn patient(config: &mut Config) {
    if config.settings.profile == Profile::Praefect {
        // A story need not wait a second for each round.
        config.health.interval = Duration::from_millis(100);
    } else {
        config.health.stall_limit = Duration::from_secs(1);
    }
}

/// Each table is played under each of them. Under `lan` every row has the result that it has by default: only the times differ.
pub(crate) const PROFILES: [Profile; 3] = [Profile::Praefect, Profile::Default, Profile::Lan];

pub(crate) fn storage(name: &str) -> Storage {
    Storage::new(name).unwrap()
}
pub(crate) fn node(vs: &str, name: &str) -> NodeId {
    NodeId::new(VirtualStorage::new(vs).unwrap(), storage(name))
}
pub(crate) fn supervisor(name: &str) -> SupervisorName {
    SupervisorName::new(name).unwrap()
}

/// Which database a story runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// A fresh database.
pub(crate) struct Lab {
    pub(crate) store: Arc<Watched>,
    kind: Kind,
    file: PathBuf,
    url: String,
    _folder: tempfile::TempDir,
}

impl Lab {
    pub(crate) async fn new(kind: Kind, settings: &Settings) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("quorate.db");
        let (url, store): (String, Arc<dyn Store>) = match kind {
            Kind::Sqlite => {
                let url = format!("sqlite:{}", file.display());
                let store = SqliteStore::open(&url, SqliteOptions::default()).await.unwrap();
                (url, Arc::new(store))
            }
            Kind::Postgres => {
                let url = support::cluster().database(true).await;
                let store = quorate::store::postgres::PostgresStore::connect(&url, Default::default()).await.unwrap();
                (url, Arc::new(store))
            }
        };
        store.settings_seed(settings).await.unwrap();
        let store = Arc::new(Watched { inner: store, reads: AtomicU64::new(0), commits: AtomicU64::new(0) });
        Lab { store, kind, file, url, _folder: folder }
    }

    /// Runs statements that both dialects understand.
    pub(crate) async fn sql(&self, text: &str) {
        match self.kind {
            Kind::Sqlite => self.sqlite().batch_execute(text).unwrap(),
            Kind::Postgres => support::raw(&self.url).await.batch_execute(text).await.unwrap(),
        }
    }

    /// As if so much time had gone by in which nobody wrote a vote or a heartbeat.
    pub(crate) async fn shift(&self, seconds: u64) {
        let by = match self.kind {
            Kind::Sqlite => format!("{}", seconds * 1_000),
            Kind::Postgres => format!("interval '{seconds} seconds'"),
        };
        self.sql(&format!(
            "UPDATE node_status SET last_contact_attempt_at = last_contact_attempt_at - {by},
                last_seen_active_at = last_seen_active_at - {by};
             UPDATE supervisors SET heartbeat_at = heartbeat_at - {by}, registered_at = registered_at - {by};"
        ))
        .await;
    }

    /// The original's helper: clears all votes and makes one Praefect see just these.
    pub(crate) async fn set_healthy_foreign(&self, healthy: &[&str]) {
        let now = match self.kind {
            Kind::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            Kind::Postgres => "clock_timestamp()",
        };
        let mut text = "DELETE FROM node_status;".to_owned();
        for storage in healthy {
            text += &format!(
                "INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at)
                 VALUES ('praefect', 'v', '{storage}', {now}, {now});"
            );
        }
        self.sql(&text).await;
    }

    /// One probe of a Praefect: a success stamps both times, a failure the attempt alone.
    pub(crate) async fn foreign_probe(&self, storage: &str, up: bool) {
        let now = match self.kind {
            Kind::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            Kind::Postgres => "clock_timestamp()",
        };
        let (seen, kept) = if up { (now, "excluded") } else { ("NULL", "ns") };
        self.sql(&format!(
            "INSERT INTO node_status AS ns (praefect_name, shard_name, node_name, last_contact_attempt_at,
                last_seen_active_at) VALUES ('praefect', 'v', '{storage}', {now}, {seen})
             ON CONFLICT (praefect_name, shard_name, node_name) DO UPDATE SET
                last_contact_attempt_at = excluded.last_contact_attempt_at,
                last_seen_active_at = {kept}.last_seen_active_at"
        ))
        .await;
    }

    /// Takes the lock that every commit about this repository needs, until the answer is dropped.
    pub(crate) async fn lock(&self, repository: RepositoryId) -> Lock {
        match self.kind {
            Kind::Sqlite => {
                let mut connection = self.sqlite();
                connection.batch_execute("BEGIN IMMEDIATE").unwrap();
                Lock::Sqlite(connection)
            }
            Kind::Postgres => {
                let client = support::raw(&self.url).await;
                client.batch_execute("BEGIN").await.unwrap();
                client
                    .batch_execute(&format!("SELECT 1 FROM repositories WHERE repository_id = {repository} FOR UPDATE"))
                    .await
                    .unwrap();
                Lock::Postgres(client)
            }
        }
    }

    /// As if a column of stamps had been written so many seconds earlier.
    pub(crate) async fn age(&self, table: &str, column: &str, seconds: u64, condition: &str) {
        let by = match self.kind {
            Kind::Sqlite => format!("{}", seconds * 1_000),
            Kind::Postgres => format!("interval '{seconds} seconds'"),
        };
        self.sql(&format!("UPDATE {table} SET {column} = {column} - {by} WHERE {condition}")).await;
    }

    /// How many rows a table has.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        let text = format!("SELECT count(*) AS n FROM {table}");
        match self.kind {
            Kind::Sqlite => diesel::sql_query(text).get_result::<Count>(&mut self.sqlite()).unwrap().n,
            Kind::Postgres => support::raw(&self.url).await.query_one(&text, &[]).await.unwrap().get(0),
        }
    }

    /// Takes the lock that every commit about virtual storage `v` needs.
    pub(crate) async fn lock_shard(&self) -> Lock {
        match self.kind {
            Kind::Sqlite => self.lock(RepositoryId(0)).await,
            Kind::Postgres => {
                let client = support::raw(&self.url).await;
                let lock = "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('quorate:shard:v', 0))";
                client.batch_execute(lock).await.unwrap();
                Lock::Postgres(client)
            }
        }
    }

    /// Takes the locks that every write of votes needs.
    pub(crate) async fn lock_votes(&self) -> Lock {
        match self.kind {
            Kind::Sqlite => self.lock(RepositoryId(0)).await,
            Kind::Postgres => {
                let client = support::raw(&self.url).await;
                client.batch_execute("BEGIN; SELECT 1 FROM node_status FOR UPDATE").await.unwrap();
                Lock::Postgres(client)
            }
        }
    }

    fn sqlite(&self) -> SqliteConnection {
        let mut connection = SqliteConnection::establish(&self.file.display().to_string()).unwrap();
        connection.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
        connection
    }
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

pub(crate) enum Lock {
    Sqlite(SqliteConnection),
    Postgres(tokio_postgres::Client),
}

impl Lock {
    pub(crate) async fn release(self) {
        match self {
            Lock::Sqlite(mut connection) => connection.batch_execute("ROLLBACK").unwrap(),
            Lock::Postgres(client) => client.batch_execute("ROLLBACK").await.unwrap(),
        }
    }
}

/// A store that counts: reads of everybody's votes that ended, and commits that began.
pub(crate) struct Watched {
    pub(crate) inner: Arc<dyn Store>,
    reads: AtomicU64,
    commits: AtomicU64,
}

impl Watched {
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }
}

impl HealthStore for Watched {
    fn settings_seed<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        self.inner.settings_seed(wanted)
    }
    fn settings_update<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        self.inner.settings_update(wanted)
    }
    fn supervisor_register<'a>(&'a self, registration: &'a Registration) -> Answer<'a, Registered> {
        self.inner.supervisor_register(registration)
    }
    fn supervisor_heartbeat<'a>(&'a self, voter: &'a Voter) -> Answer<'a, Heartbeat> {
        self.inner.supervisor_heartbeat(voter)
    }
    fn supervisor_recuse<'a>(
        &'a self,
        voter: &'a Voter,
        reason: Option<quorate::core::recusal::Distrust>,
    ) -> Answer<'a, bool> {
        self.inner.supervisor_recuse(voter, reason)
    }
    fn penalty_raise<'a>(
        &'a self,
        node: &'a NodeId,
        seen: Option<quorate::core::time::DatabaseTime>,
        lasting: Duration,
    ) -> Answer<'a, bool> {
        self.inner.penalty_raise(node, seen, lasting)
    }
    fn penalty_lift<'a>(&'a self, node: &'a NodeId) -> Answer<'a, bool> {
        self.inner.penalty_lift(node)
    }
    fn supervisor_remove<'a>(&'a self, voter: &'a Voter) -> Answer<'a, bool> {
        self.inner.supervisor_remove(voter)
    }
    fn nodes_watch<'a>(&'a self, voter: &'a Voter, nodes: &'a [NodeId]) -> Answer<'a, bool> {
        self.inner.nodes_watch(voter, nodes)
    }
    fn votes_write<'a>(&'a self, voter: &'a Voter, batch: &'a VoteBatch) -> Answer<'a, VotesWritten> {
        self.inner.votes_write(voter, batch)
    }
    fn epochs_given(&self) -> Answer<'_, quorate::core::epoch::Given> {
        self.inner.epochs_given()
    }
    fn era_raise<'a>(
        &'a self,
        seen: quorate::core::epoch::Era,
        reported: Option<quorate::core::epoch::Epoch>,
        why: &'a str,
    ) -> Answer<'a, quorate::core::epoch::Era> {
        self.inner.era_raise(seen, reported, why)
    }
    fn health_facts(&self) -> Answer<'_, HealthSnapshot> {
        let read = self.inner.health_facts();
        let counted: BoxFuture<'_, _> = Box::pin(async move {
            let answer = read.await;
            self.reads.fetch_add(1, Ordering::SeqCst);
            answer
        });
        counted
    }
}

impl ElectionStore for Watched {
    fn election_facts<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<ElectionSnapshot>> {
        self.inner.election_facts(target)
    }
    fn incumbent<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<quorate::core::election::Incumbent>> {
        self.inner.incumbent(target)
    }
    fn primary_cas<'a>(&'a self, proposal: &'a Proposal) -> Answer<'a, CasOutcome> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.primary_cas(proposal)
    }
    fn primary_history(&self, repository: RepositoryId, limit: u32) -> Answer<'_, Vec<PrimaryChange>> {
        self.inner.primary_history(repository, limit)
    }
}

impl SettleStore for Watched {
    fn settle_facts<'a>(&'a self, node: &'a NodeId, after: RepositoryId, limit: u32) -> Answer<'a, SettleSnapshot> {
        self.inner.settle_facts(node, after, limit)
    }
    fn settle_cas<'a>(&'a self, batch: &'a SettleBatch) -> Answer<'a, SettleOutcome> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.settle_cas(batch)
    }
}

impl ShardStore for Watched {
    fn shard_facts<'a>(&'a self, virtual_storage: &'a VirtualStorage, lags: bool) -> Answer<'a, ShardSnapshot> {
        self.inner.shard_facts(virtual_storage, lags)
    }
    fn shard_cas<'a>(&'a self, proposal: &'a ShardProposal) -> Answer<'a, CasOutcome> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.shard_cas(proposal)
    }
    fn shard_history<'a>(&'a self, of: &'a VirtualStorage, limit: u32) -> Answer<'a, Vec<PrimaryChange>> {
        self.inner.shard_history(of, limit)
    }
}

/// One test per database and profile.
macro_rules! on_both {
    ($name:ident, $story:expr) => {
        mod $name {
            #[actix::test]
            async fn sqlite() {
                ($story)(crate::lab::Kind::Sqlite).await;
            }
            #[actix::test]
            async fn postgres() {
                ($story)(crate::lab::Kind::Postgres).await;
            }
        }
    };
}
pub(crate) use on_both;
