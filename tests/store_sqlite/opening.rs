//! What keeps a database from being opened, each with its own error, and many openers at once.

use crate::support::{Database, lan, options};
use quorate::store::{
    HealthStore, StoreErrorKind,
    sqlite::{SqliteOptions, SqliteStore},
};
use std::time::Duration;

async fn kind_of(url: &str, options: SqliteOptions) -> StoreErrorKind {
    SqliteStore::open(url, options).await.unwrap_err().kind().clone()
}

#[tokio::test]
async fn an_address_that_cannot_work_is_refused_with_its_reason() {
    for (url, reason) in [
        ("postgres://x", "sqlite:PATH"),
        ("sqlite:", "missing"),
        ("sqlite://", "missing"),
        ("sqlite::memory:", "in memory"),
        ("sqlite://:memory:", "in memory"),
        ("sqlite:file:x?mode=memory", "in memory"),
        ("sqlite:x.db?mode=ro", "parameters"),
    ] {
        match kind_of(url, options()).await {
            StoreErrorKind::InvalidUrl(why) => assert!(why.contains(reason), "{url}: {why}"),
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn both_forms_of_the_address_name_the_same_file() {
    let database = Database::new();
    let one = database.open().await;
    let two = SqliteStore::open(&format!("sqlite://{}", database.path().display()), options()).await.unwrap();
    let stored = one.settings_seed(&lan()).await.unwrap();
    assert_eq!(two.settings_seed(&lan()).await.unwrap(), stored);
}

#[tokio::test]
async fn a_missing_folder_a_folder_and_a_foreign_file_each_have_their_error() {
    let database = Database::new();
    let folder = database.path().parent().unwrap().to_owned();
    let missing = kind_of(&format!("sqlite:{}/no/such.db", folder.display()), options()).await;
    assert_eq!(missing, StoreErrorKind::DatabaseMissing);
    let is_folder = kind_of(&format!("sqlite:{}", folder.display()), options()).await;
    assert!(matches!(&is_folder, StoreErrorKind::InvalidUrl(why) if why.contains("folder")), "{is_folder:?}");
    for content in ["no database at all, whatever its name says", "short"] {
        std::fs::write(database.path(), content).unwrap();
        let foreign = kind_of(&database.url(), options()).await;
        assert!(matches!(&foreign, StoreErrorKind::InvalidUrl(why) if why.contains("no SQLite")), "{foreign:?}");
        assert_eq!(std::fs::read_to_string(database.path()).unwrap(), content, "left as it was");
    }
}

#[tokio::test]
async fn without_leave_to_migrate_the_outstanding_ones_are_named() {
    let database = Database::new();
    let forbidden = SqliteOptions { migrate: false, ..options() };
    let StoreErrorKind::NotMigrated(names) = kind_of(&database.url(), forbidden).await else { panic!() };
    let known = [
        "11-23-000001_praefect",
        "11-23-000002_quorate",
        "11-23-000003_operations",
        "11-24-000004_shards",
        "11-24-000005_changes",
        "11-24-000006_penalties",
        "11-24-000007_settling",
        "11-25-000008_eras",
    ];
    assert_eq!(names, known.map(|name| format!("2026-{name}")));
    assert_eq!(SqliteStore::pending_migrations(&database.url(), options()).await.unwrap(), names);
    drop(database.open().await);
    SqliteStore::open(&database.url(), forbidden).await.expect("nothing is outstanding any more");
    assert!(SqliteStore::pending_migrations(&database.url(), options()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let database = Database::new();
    drop(database.open().await);
    database.hand().run("INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')");
    let found = kind_of(&database.url(), options()).await;
    assert_eq!(found, StoreErrorKind::NewerSchema(vec!["29990101000000".into()]));
}

#[tokio::test]
async fn a_lock_in_the_way_of_the_first_migration_is_told_as_one() {
    let database = Database::new();
    let mut hand = database.hand();
    hand.run("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE");
    let impatient = SqliteOptions { busy_timeout: Duration::from_millis(100), ..options() };
    let error = SqliteStore::open(&database.url(), impatient).await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::Locked);
    assert!(error.is_transient());
    hand.run("ROLLBACK");
    SqliteStore::open(&database.url(), impatient).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_openers_of_a_fresh_file_all_succeed() {
    for round in 0..8 {
        let database = Database::new();
        let url = database.url();
        let openers: Vec<_> = (0..8)
            .map(|_| {
                let url = url.clone();
                tokio::spawn(async move {
                    let store = SqliteStore::open(&url, SqliteOptions::default()).await?;
                    store.settings_seed(&lan()).await
                })
            })
            .collect();
        let mut clusters = std::collections::BTreeSet::new();
        for opener in openers {
            clusters.insert(opener.await.unwrap().unwrap_or_else(|e| panic!("round {round}: {e:?}")).cluster);
        }
        assert_eq!(clusters.len(), 1, "one cluster id for all");
    }
}

#[tokio::test]
async fn a_file_that_was_replaced_under_an_open_store_is_noticed() {
    let (one, two) = (Database::new(), Database::new());
    let store = one.open().await;
    let before = store.settings_seed(&lan()).await.unwrap();
    let after = two.open().await.settings_seed(&lan()).await.unwrap();
    two.hand().run("PRAGMA wal_checkpoint(TRUNCATE)");

    let aside = one.path().with_extension("aside");
    std::fs::rename(one.path(), &aside).unwrap();
    let gone = store.settings_update(&lan()).await.unwrap_err();
    assert_eq!(*gone.kind(), StoreErrorKind::DatabaseMissing);
    assert!(!one.path().exists(), "no empty database is put in its place");

    for log in ["quorate.db-wal", "quorate.db-shm"] {
        let _ = std::fs::remove_file(one.path().with_file_name(log));
    }
    std::fs::copy(two.path(), one.path()).unwrap();
    let found = store.settings_seed(&lan()).await.unwrap();
    assert_ne!(found.cluster, before.cluster, "the old file is no longer asked");
    assert_eq!(found.cluster, after.cluster);
}

#[tokio::test]
async fn a_path_may_hold_what_an_address_would_take_for_its_own() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["50%25 off.db", "a b&c=d.db", "naïve.db"] {
        let url = format!("sqlite:{}/{name}", folder.path().display());
        let store = SqliteStore::open(&url, options()).await.unwrap();
        store.settings_seed(&lan()).await.unwrap();
        assert!(folder.path().join(name).is_file(), "{name}");
    }
}
