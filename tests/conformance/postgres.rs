//! PostgreSQL.

use crate::{live, runtime, support};
use futures_util::future::BoxFuture;
use quorate::{
    core::{
        epoch::Generation,
        ids::{NodeId, RepositoryId, Storage, SupervisorName, VirtualStorage},
    },
    store::{
        Store,
        postgres::{PostgresOptions, PostgresStore},
    },
    testing::{
        histories::ViewRows,
        store_suite::{self, Foreign, foreign},
    },
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio_postgres::Client;

async fn open(url: &str) -> Arc<dyn Store> {
    let options = PostgresOptions { pool_size: 4, ..PostgresOptions::default() };
    Arc::new(PostgresStore::connect(url, options).await.unwrap())
}

async fn fresh() -> String {
    support::cluster().database(true).await
}

struct Beside(Client);

impl Beside {
    fn run(&self, sql: String) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.0.batch_execute(&sql).await.unwrap() })
    }
}

fn stamp(age: Option<Duration>) -> String {
    age.map_or("NULL".to_owned(), |age| format!("clock_timestamp() - interval '{} microseconds'", age.as_micros()))
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
        self.run(format!(
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
        self.run(format!("UPDATE repositories SET \"primary\" = {value} WHERE repository_id = {repository}"))
    }
    fn shard<'a>(&'a self, virtual_storage: &'a VirtualStorage, primary: Option<&'a Storage>) -> BoxFuture<'a, ()> {
        self.run(match primary {
            Some(storage) => format!(
                "INSERT INTO shard_primaries AS s (shard_name, node_name, elected_by_praefect, elected_at)
                 VALUES ('{virtual_storage}', '{storage}', 'praefect', clock_timestamp())
                 ON CONFLICT (shard_name) DO UPDATE SET node_name = excluded.node_name, demoted = excluded.demoted,
                    elected_by_praefect = excluded.elected_by_praefect, elected_at = excluded.elected_at"
            ),
            None => format!("UPDATE shard_primaries SET demoted = true WHERE shard_name = '{virtual_storage}'"),
        })
    }
    fn generation(&self, repository: RepositoryId, generation: Option<Generation>) -> BoxFuture<'_, ()> {
        let value = generation.map_or("NULL".to_owned(), |generation| generation.to_string());
        self.run(format!("UPDATE repositories SET generation = {value} WHERE repository_id = {repository}"))
    }
    fn nameless_replica(&self, repository: RepositoryId) -> BoxFuture<'_, ()> {
        self.run(format!(
            "INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
             SELECT virtual_storage, relative_path, '', 0, repository_id FROM repositories WHERE repository_id = {repository}"
        ))
    }
    fn recuse<'a>(&'a self, supervisor: &'a SupervisorName, recused: bool) -> BoxFuture<'a, ()> {
        let since = if recused { "clock_timestamp()" } else { "NULL" };
        self.run(format!("UPDATE supervisors SET recused_since = {since} WHERE name = '{supervisor}'"))
    }
    fn silence(&self, lasting: Duration) -> BoxFuture<'_, ()> {
        let by = format!("interval '{} microseconds'", lasting.as_micros());
        self.run(format!(
            "UPDATE supervisors SET heartbeat_at = heartbeat_at - {by};
             UPDATE node_status SET last_contact_attempt_at = last_contact_attempt_at - {by},
                last_seen_active_at = last_seen_active_at - {by}"
        ))
    }
}

#[actix::test]
async fn it_keeps_every_promise() {
    store_suite::run_all(&|| Box::pin(async { open(&fresh().await).await })).await;
}

#[actix::test]
async fn it_lives_with_foreign_writers() {
    foreign::run_foreign(&|| {
        Box::pin(async {
            let url = fresh().await;
            let beside: Arc<dyn Foreign> = Arc::new(Beside(support::raw(&url).await));
            (open(&url).await, beside)
        })
    })
    .await;
}

async fn storages(client: &Client, sql: &str) -> BTreeSet<Storage> {
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| Storage::new(row.get::<_, String>(0)).unwrap()).collect()
}

#[test]
fn histories() {
    let runtime = runtime();
    let (store, client) = runtime.block_on(async {
        let url = fresh().await;
        (open(&url).await, Arc::new(support::raw(&url).await))
    });
    let views = move |repository: RepositoryId, vs: VirtualStorage| -> BoxFuture<'static, ViewRows> {
        let client = client.clone();
        Box::pin(async move {
            let primaries = format!("SELECT storage FROM valid_primaries WHERE repository_id = {repository}");
            let healthy = format!("SELECT storage::text FROM healthy_storages WHERE virtual_storage = '{vs}'");
            ViewRows {
                valid_primaries: storages(&client, &primaries).await,
                healthy_storages: storages(&client, &healthy).await,
            }
        })
    };
    live(&runtime, &store, &views, "tests/conformance/regressions/postgres.txt");
}
