//! The memory of who is up to date: what it is told, by whomever, and what it makes of a listener that ended.

use super::*;
use crate::synced::{Following, Led};
use quorate::{
    Error,
    actors::FeedStatus,
    core::{
        lookup::{Freshness, Source},
        synced::Scope,
    },
    store::{Change, ChangeKind},
    testing::wait,
};
use std::sync::Arc;

const BEHIND: &str = "UPDATE storage_repositories SET generation = 1 WHERE storage = 'g1'; \
                      UPDATE repositories SET generation = 1";

async fn following(options: PostgresOptions) -> (Fixture, Following) {
    let fixture = Fixture::new().await;
    fixture.create("r", Some("g1")).await;
    let store = PostgresStore::connect(&fixture.url, options).await.unwrap();
    let following = Following::of(Arc::new(store));
    following.warm("r").await;
    assert_eq!(following.up_to_date("r").await, ["g1", "g2", "g3"]);
    (fixture, following)
}

#[actix::test]
async fn a_foreign_writers_change_is_heard() {
    let (fixture, following) = following(PostgresOptions::default()).await;
    assert_eq!(following.table.status(), FeedStatus::Listening);
    raw(&fixture.url).await.batch_execute(BEHIND).await.unwrap();
    following.becomes("r", &["g1"]).await;
    assert!(following.counts().evict >= 1);
}

#[actix::test]
async fn d20_five_thousand_rows_in_one_statement_are_told_without_an_error() {
    let (fixture, following) = following(PostgresOptions::default()).await;
    let client = raw(&fixture.url).await;
    client
        .batch_execute(
            "INSERT INTO repositories (virtual_storage, relative_path, generation) \
             SELECT 'v', repeat('long/', 20) || i, 0 FROM generate_series(1, 5000) i; \
             INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id) \
             SELECT virtual_storage, relative_path, 'g1', 0, repository_id FROM repositories WHERE relative_path <> 'r'",
        )
        .await
        .unwrap();
    let lines = "SELECT count(*) FROM changes WHERE kind = 'replicas' AND key = '{\"virtual_storage\" : \"v\"}'";
    assert_eq!(client.query_one(lines, &[]).await.unwrap().get::<_, i64>(0), 1, "one word for all of them");
    following.warm("r").await;
    client.batch_execute(BEHIND).await.unwrap();
    following.becomes("r", &["g1"]).await;
}

#[actix::test]
async fn a_notification_that_cannot_be_read_forgets_everything_and_ends_nothing() {
    for channel in ["quorate_replicas", "storage_repositories_updates", "repositories_updates"] {
        let (fixture, following) = following(PostgresOptions::default()).await;
        let told = format!("NOTIFY {channel}, 'nonsense'");
        raw(&fixture.url).await.batch_execute(&told).await.unwrap();
        quorate::testing::wait::until("it is forgotten", Duration::from_secs(60), || following.counts().evict == 1)
            .await;
        assert_eq!(following.table.status(), FeedStatus::Listening, "Praefect caches nothing until it reconnects");
        following.warm("r").await;
    }
}

#[actix::test]
async fn a_listener_that_the_server_ended_forgets_everything_and_listens_again() {
    let (fixture, following) = following(PostgresOptions::default()).await;
    let client = raw(&fixture.url).await;
    let mut told = following.table.watch_status();
    told.mark_unchanged();
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid() \
                 AND query LIKE '%pg_visible_in_snapshot%'";
    assert_eq!(client.query_one(ended, &[]).await.unwrap().get::<_, i64>(0), 1);
    told.wait_for(|status| *status != FeedStatus::Listening).await.unwrap();
    assert!(following.counts().evict >= 1, "what it knew is forgotten");
    wait::until("it listens again", std::time::Duration::from_secs(60), || {
        following.table.status() == FeedStatus::Listening
    })
    .await;
    following.warm("r").await;
    client.batch_execute(BEHIND).await.unwrap();
    following.becomes("r", &["g1"]).await;
}

#[actix::test]
async fn behind_a_pooler_without_listen_it_polls_and_says_so() {
    let pooled = PostgresOptions { listen: false, ..PostgresOptions::default() };
    let (fixture, following) = following(pooled).await;
    assert!(matches!(following.table.status(), FeedStatus::Polling { .. }), "{:?}", following.table.status());
    raw(&fixture.url).await.batch_execute(BEHIND).await.unwrap();
    following.becomes("r", &["g1"]).await;
}

/// An election is told after its commit. Who dies between the two has told nobody.
#[tokio::test]
async fn an_election_that_nobody_told_is_found_by_the_next_check_once() {
    let fixture = Fixture::new().await;
    let mut listener = fixture.store.listen().await.unwrap().unwrap();
    let untold = "SELECT quorate_elected(quorate_key('v', 'r', 7))";
    raw(&fixture.url).await.batch_execute(untold).await.unwrap();
    let scope = Scope::Repository("v".parse().unwrap(), "r".parse().unwrap());
    assert_eq!(listener.check().await.unwrap(), [Change { kind: ChangeKind::Primaries, scope }]);
    assert_eq!(listener.check().await.unwrap(), []);
}

#[tokio::test]
async fn an_election_that_was_heard_is_not_told_again_by_the_check() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.create("r", Some("g1")).await;
    let mut listener = fixture.store.listen().await.unwrap().unwrap();
    let batch = settling::batch(&fixture).await;
    assert_eq!(settling::won(&fixture, &batch).await, [id]);
    let scope = Scope::Repository("v".parse().unwrap(), "r".parse().unwrap());
    assert_eq!(listener.next().await.unwrap(), [Change { kind: ChangeKind::Primaries, scope }]);
    assert_eq!(listener.check().await.unwrap(), []);
}

/// Word that only the database can give: none of these writers is ours.
#[actix::test]
async fn d15_whatever_a_foreign_writer_does_to_a_primary_is_heard() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.create("r", Some("g1")).await;
    let led = Led::of(Arc::new(PostgresStore::connect(&fixture.url, PostgresOptions::default()).await.unwrap()));
    led.remembers("r", "g1").await;
    let client = raw(&fixture.url).await;
    client.batch_execute("UPDATE repositories SET \"primary\" = 'g2'").await.unwrap();
    led.remembers("r", "g2").await;
    client
        .batch_execute("INSERT INTO storages (virtual_storage, storage, draining) VALUES ('v', 'g2', true)")
        .await
        .unwrap();
    wait::until_async("g2 drains", Duration::from_secs(60), async || {
        led.ask("r", Freshness::Cached).await.unwrap().source == Source::Fresh
    })
    .await;
    client.batch_execute("DELETE FROM storages").await.unwrap();
    led.remembers("r", "g2").await;
    client.batch_execute("DELETE FROM repository_assignments WHERE storage = 'g2'").await.unwrap();
    wait::until_async("g2 is not assigned", Duration::from_secs(60), async || {
        led.ask("r", Freshness::Cached).await.unwrap().source == Source::Fresh
    })
    .await;
    client.batch_execute("DELETE FROM repository_assignments").await.unwrap();
    led.remembers("r", "g2").await;
    let marked = format!(
        "INSERT INTO replication_queue_lock (id) VALUES ('q'); INSERT INTO replication_queue (lock_id, job) VALUES ('q', \
         '{{\"change\": \"delete_replica\", \"repository_id\": {id}, \"virtual_storage\": \"v\", \"relative_path\": \"r\", \
         \"target_node_storage\": \"g2\"}}')"
    );
    client.batch_execute(&marked).await.unwrap();
    wait::until_async("g2 is to go", Duration::from_secs(60), async || {
        matches!(led.ask("r", Freshness::Cached).await, Err(Error::PrimaryOutdated { .. }))
    })
    .await;
    client.batch_execute("DELETE FROM replication_queue").await.unwrap();
    led.remembers("r", "g2").await;
    client.batch_execute("UPDATE storage_repositories SET generation = 2 WHERE storage = 'g1'; UPDATE repositories SET generation = 2").await.unwrap();
    wait::until_async("g2 is behind", Duration::from_secs(60), async || {
        matches!(led.ask("r", Freshness::Cached).await, Err(Error::PrimaryOutdated { .. }))
    })
    .await;
}
