//! SQLite.

use crate::{live, runtime};
use diesel::{
    Connection, QueryableByName, RunQueryDsl, SqliteConnection, connection::SimpleConnection, sql_types::Text,
};
use futures_util::future::BoxFuture;
use quorate::{
    core::{
        epoch::Generation,
        ids::{NodeId, RepositoryId, Storage, SupervisorName, VirtualStorage},
    },
    store::{
        Store,
        sqlite::{SqliteOptions, SqliteStore},
    },
    testing::{
        histories::ViewRows,
        store_suite::{self, Foreign, foreign},
    },
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

/// Folders live as long as the binary: a store has no moment at which it is surely done with its file.
static FOLDERS: Mutex<Vec<tempfile::TempDir>> = Mutex::new(Vec::new());

fn fresh() -> PathBuf {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("quorate.db");
    FOLDERS.lock().unwrap().push(folder);
    file
}

async fn open(file: &Path) -> Arc<dyn Store> {
    let options = SqliteOptions { busy_timeout: Duration::from_secs(5), ..SqliteOptions::default() };
    Arc::new(SqliteStore::open(&format!("sqlite:{}", file.display()), options).await.unwrap())
}

fn raw(file: &Path) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON").unwrap();
    connection
}

struct Beside(PathBuf);

impl Beside {
    fn run(&self, sql: &str) -> BoxFuture<'_, ()> {
        raw(&self.0).batch_execute(sql).unwrap();
        Box::pin(async {})
    }
}

fn stamp(age: Option<Duration>) -> String {
    age.map_or("NULL".to_owned(), |age| format!("CAST(unixepoch('subsec') * 1000 AS INTEGER) - {}", age.as_millis()))
}

impl Foreign for Beside {
    fn vote<'a>(
        &'a self,
        praefect: &'a SupervisorName,
        node: &'a NodeId,
        contact_age: Option<Duration>,
        seen_age: Option<Duration>,
    ) -> BoxFuture<'a, ()> {
        let (contact, seen) = (stamp(contact_age), stamp(seen_age));
        self.run(&format!(
            "INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at)
             VALUES ('{praefect}', '{}', '{}', {contact}, {seen})
             ON CONFLICT (praefect_name, shard_name, node_name) DO UPDATE SET
                last_contact_attempt_at = excluded.last_contact_attempt_at,
                last_seen_active_at = excluded.last_seen_active_at",
            node.virtual_storage, node.storage
        ))
    }
    fn primary<'a>(&'a self, repository: RepositoryId, primary: Option<&'a Storage>) -> BoxFuture<'a, ()> {
        let value = primary.map_or("NULL".to_owned(), |storage| format!("'{storage}'"));
        self.run(&format!("UPDATE repositories SET \"primary\" = {value} WHERE repository_id = {repository}"))
    }
    fn shard<'a>(&'a self, virtual_storage: &'a VirtualStorage, primary: Option<&'a Storage>) -> BoxFuture<'a, ()> {
        let sql = match primary {
            Some(storage) => format!(
                "INSERT INTO shard_primaries AS s (shard_name, node_name, elected_by_praefect, elected_at)
                 VALUES ('{virtual_storage}', '{storage}', 'praefect', CAST(unixepoch('subsec') * 1000 AS INTEGER))
                 ON CONFLICT (shard_name) DO UPDATE SET node_name = excluded.node_name, demoted = excluded.demoted,
                    elected_by_praefect = excluded.elected_by_praefect, elected_at = excluded.elected_at"
            ),
            None => format!("UPDATE shard_primaries SET demoted = true WHERE shard_name = '{virtual_storage}'"),
        };
        self.run(&sql)
    }
    fn generation(&self, repository: RepositoryId, generation: Option<Generation>) -> BoxFuture<'_, ()> {
        let value = generation.map_or("NULL".to_owned(), |generation| generation.to_string());
        self.run(&format!("UPDATE repositories SET generation = {value} WHERE repository_id = {repository}"))
    }
    fn nameless_replica(&self, repository: RepositoryId) -> BoxFuture<'_, ()> {
        self.run(&format!(
            "INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
             SELECT virtual_storage, relative_path, '', 0, repository_id FROM repositories WHERE repository_id = {repository}"
        ))
    }
    fn recuse<'a>(&'a self, supervisor: &'a SupervisorName, recused: bool) -> BoxFuture<'a, ()> {
        let since = if recused { stamp(Some(Duration::ZERO)) } else { "NULL".to_owned() };
        self.run(&format!("UPDATE supervisors SET recused_since = {since} WHERE name = '{supervisor}'"))
    }
    fn silence(&self, lasting: Duration) -> BoxFuture<'_, ()> {
        let millis = lasting.as_millis();
        self.run(&format!(
            "UPDATE supervisors SET heartbeat_at = heartbeat_at - {millis};
             UPDATE node_status SET last_contact_attempt_at = last_contact_attempt_at - {millis},
                last_seen_active_at = last_seen_active_at - {millis}"
        ))
    }
}

#[actix::test]
async fn it_keeps_every_promise() {
    store_suite::run_all(&|| Box::pin(async { open(&fresh()).await })).await;
}

#[actix::test]
async fn it_lives_with_foreign_writers() {
    foreign::run_foreign(&|| {
        Box::pin(async {
            let file = fresh();
            (open(&file).await, Arc::new(Beside(file)) as Arc<dyn Foreign>)
        })
    })
    .await;
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    storage: String,
}

fn storages(connection: &mut SqliteConnection, sql: &str) -> BTreeSet<Storage> {
    let rows: Vec<Named> = diesel::sql_query(sql).load(connection).unwrap();
    rows.into_iter().map(|row| Storage::new(row.storage).unwrap()).collect()
}

#[test]
fn histories() {
    let runtime = runtime();
    let file = fresh();
    let store = runtime.block_on(open(&file));
    let connection = Arc::new(Mutex::new(raw(&file)));
    let views = move |repository: RepositoryId, vs: VirtualStorage| -> BoxFuture<'static, ViewRows> {
        let connection = connection.clone();
        Box::pin(async move {
            let mut connection = connection.lock().unwrap();
            let primaries = format!("SELECT storage FROM valid_primaries WHERE repository_id = {repository}");
            let healthy = format!("SELECT storage FROM healthy_storages WHERE virtual_storage = '{vs}'");
            ViewRows {
                valid_primaries: storages(&mut connection, &primaries),
                healthy_storages: storages(&mut connection, &healthy),
            }
        })
    };
    live(&runtime, &store, &views, "tests/conformance/regressions/sqlite.txt");
}
