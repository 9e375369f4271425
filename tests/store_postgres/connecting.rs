//! Each way in which a database can be wrong has its own kind.

use super::*;

async fn kind(url: &str, options: PostgresOptions) -> StoreErrorKind {
    let error = PostgresStore::connect(url, options).await.expect_err("must fail");
    let mut told = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        told.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    assert!(!told.contains("hunter2"), "{told}");
    error.kind().clone()
}

#[tokio::test]
async fn every_connection_error_has_its_kind() {
    let options = PostgresOptions::default;
    let good = cluster().database(true).await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("postgres://u:hunter2@127.0.0.1:{}/d", listener.local_addr().unwrap().port())
    };
    assert_eq!(kind(&closed, options()).await, StoreErrorKind::Unreachable);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("postgres://u:hunter2@127.0.0.1:{}/d", silent.local_addr().unwrap().port());
    let hasty = PostgresOptions { connect_timeout: Duration::from_millis(200), ..options() };
    assert_eq!(kind(&silent, hasty).await, StoreErrorKind::Unreachable);
    let wrong = cluster().guarded_url("postgres", Some("hunter2"));
    assert_eq!(kind(&wrong, options()).await, StoreErrorKind::Authentication);
    let none = cluster().guarded_url("postgres", None);
    assert_eq!(kind(&none, options()).await, StoreErrorKind::Authentication);
    let missing = cluster().url("no_such_database");
    assert_eq!(kind(&missing, options()).await, StoreErrorKind::DatabaseMissing);
    assert!(matches!(kind("postgres://u:hunter2@h/d?sslmode=require", options()).await, StoreErrorKind::InvalidUrl(_)));

    // The first of several hosts does not answer: the second is taken.
    let several = good.replace("127.0.0.1:", "127.0.0.1:1,127.0.0.1:");
    assert!(PostgresStore::connect(&several, options()).await.is_ok());

    let guarded = cluster().guarded_url("postgres", Some(PASSWORD));
    let store = PostgresStore::connect(&guarded, PostgresOptions { migrate: false, ..options() }).await;
    assert!(matches!(store.unwrap_err().kind(), StoreErrorKind::NotMigrated(_)), "{GUARDED} is let in");
}

#[tokio::test]
async fn a_read_only_server_is_told_as_such() {
    let url = cluster().database(true).await;
    let store = connect(&url).await;
    let client = raw(&url).await;
    let name: String = client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    client.batch_execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await.unwrap();
    assert_eq!(kind(&url, PostgresOptions::default()).await, StoreErrorKind::ReadOnly);
    let error = store.settings_seed(&patient()).await.unwrap_err();
    assert_eq!((error.kind(), error.op()), (&StoreErrorKind::ReadOnly, StoreOp::SettingsSeed));
}

#[tokio::test]
async fn an_outdated_schema_and_a_newer_one_are_named() {
    let url = cluster().database(false).await;
    let strict = PostgresOptions { migrate: false, ..PostgresOptions::default() };
    let names = [
        "2026-11-23-000001_praefect",
        "2026-11-23-000002_quorate",
        "2026-11-23-000003_operations",
        "2026-11-24-000004_shards",
        "2026-11-24-000005_changes",
        "2026-11-24-000006_penalties",
        "2026-11-24-000007_settling",
        "2026-11-25-000008_eras",
    ];
    assert_eq!(
        kind(&url, strict.clone()).await,
        StoreErrorKind::NotMigrated(names.iter().map(|name| (*name).to_owned()).collect())
    );
    let client = raw(&url).await;
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(client.query_one(tables, &[]).await.unwrap().get::<_, i64>(0), 0, "asking wrote something");
    connect(&url).await;
    assert!(PostgresStore::connect(&url, strict.clone()).await.is_ok());
    client.batch_execute("INSERT INTO __diesel_schema_migrations VALUES ('20990101000000')").await.unwrap();
    for options in [strict, PostgresOptions::default()] {
        assert_eq!(kind(&url, options).await, StoreErrorKind::NewerSchema(vec!["20990101000000".into()]));
    }
}

/// What only looks like the database (a pooler that knows no sessions, say) is not asked to migrate.
#[tokio::test]
async fn migrations_go_the_way_that_keeps_a_session() {
    let url = cluster().database(false).await;
    let nowhere = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("postgres://u:hunter2@127.0.0.1:{}/d", listener.local_addr().unwrap().port())
    };
    let error = PostgresStore::connect_through(&url, &nowhere, PostgresOptions::default()).await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::Unreachable);
    let client = raw(&url).await;
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(client.query_one(tables, &[]).await.unwrap().get::<_, i64>(0), 0, "nothing went the other way");
    let named = |application: &str| format!("{url}?application_name={application}");
    let store = PostgresStore::connect_through(&named("pooled"), &named("session"), PostgresOptions::default()).await;
    store.unwrap().settings_seed(&patient()).await.unwrap();
}

#[tokio::test]
async fn eight_supervisors_may_migrate_at_once() {
    let url = cluster().database(false).await;
    let all = (0..8).map(|_| PostgresStore::connect(&url, PostgresOptions::default()));
    for store in futures_util::future::join_all(all).await {
        store.unwrap();
    }
    let client = raw(&url).await;
    let applied = client.query_one("SELECT count(*) FROM __diesel_schema_migrations", &[]).await.unwrap();
    assert_eq!(applied.get::<_, i64>(0), 8);
}

#[tokio::test]
async fn locks_timeouts_and_lost_connections_are_told_apart_by_their_codes() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.create("r", Some("g1")).await;
    let holder = raw(&fixture.url).await;
    holder.batch_execute("BEGIN; SELECT 1 FROM repositories FOR UPDATE").await.unwrap();
    let mark = |store: PostgresStore| async move { store.replica_mark(id, &storage("g2")).await.unwrap_err() };
    let quick = PostgresOptions { lock_timeout: Duration::from_millis(100), ..PostgresOptions::default() };
    let locked = mark(PostgresStore::connect(&fixture.url, quick).await.unwrap()).await;
    assert_eq!(*locked.kind(), StoreErrorKind::Locked);
    let slow = PostgresOptions {
        statement_timeout: Duration::from_millis(200),
        lock_timeout: Duration::from_secs(9),
        ..PostgresOptions::default()
    };
    let late = mark(PostgresStore::connect(&fixture.url, slow).await.unwrap()).await;
    assert_eq!(*late.kind(), StoreErrorKind::Timeout);

    let killer = raw(&fixture.url).await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'quorate' AND wait_event_type = 'Lock'";
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                AND application_name = 'quorate'";
    let g2 = storage("g2");
    let (lost, ()) = tokio::join!(fixture.store.replica_mark(id, &g2), async {
        until(&killer, waiting, 1).await;
        killer.batch_execute(kill).await.unwrap();
    });
    assert_eq!(*lost.unwrap_err().kind(), StoreErrorKind::ConnectionLost);
    // Nothing of what was killed is handed out again.
    for _ in 0..10 {
        fixture.facts(id).await;
    }
    // One that was idle may find out by its next use, but by no later one.
    let idle = fixture.store.health_facts().await;
    assert!(idle.is_ok() || fixture.store.health_facts().await.is_ok());
    assert!(!format!("{:?}", fixture.store).contains("127.0.0.1"));
}
