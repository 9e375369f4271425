//! Views, triggers and the refusals of repository operations.

use crate::support::{Database, DoneExt, create, elect, facts, lan, node, path, register, repository, set, storage, v};
use quorate::{
    core::{
        consensus::Opinion,
        epoch::Generation,
        settings::{Profile, Settings},
    },
    store::{
        CensusStore, ElectionStore, HealthStore, Heartbeat, Outcome, Refused, RepositoryStore, StorageChange, Target,
        VoteBatch, VotesWritten,
        sqlite::{SqliteOptions, SqliteStore},
    },
};
use std::{collections::BTreeSet, time::Duration};

/// Rows of `node_status`: voter, storage, ms since the attempt, ms since the sighting.
fn votes(rows: &[(&str, &str, i64, i64)]) -> String {
    let now = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    let row = |(voter, storage, contact, seen): &(&str, &str, i64, i64)| {
        format!("('{voter}', 'v', '{storage}', {now} - {contact}, {now} - {seen})")
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    format!(
        "DELETE FROM node_status; INSERT INTO node_status (praefect_name, shard_name, node_name, \
         last_contact_attempt_at, last_seen_active_at) VALUES {}",
        rows.join(", ")
    )
}

#[tokio::test]
async fn the_view_of_healthy_storages_counts_as_praefect_does() {
    let database = Database::new();
    drop(database.open().await);
    let mut hand = database.hand();
    for (rows, healthy) in [
        (vec![("p1", "g1", 0, 0), ("p1", "g2", 0, 11_000)], "g1"),
        (vec![("p1", "g1", 0, 0), ("p2", "g1", 0, 20_000)], "g1"),
        (vec![("p1", "g1", 0, 9_000), ("p2", "g1", 0, 20_000), ("p3", "g1", 0, 20_000)], "NULL"),
        (vec![("p1", "g1", 0, 0), ("p2", "g1", 59_000, 90_000), ("p3", "g1", 61_000, 90_000)], "g1"),
        // Somebody who never looked at g1 but looks at g2 is a voter about g1 all the same.
        (vec![("p1", "g1", 0, 0), ("p2", "g2", 0, 0), ("p3", "g2", 0, 0)], "g2"),
    ] {
        hand.run(&votes(&rows));
        assert_eq!(hand.ask("SELECT group_concat(storage) FROM healthy_storages"), healthy, "{rows:?}");
    }
}

#[tokio::test]
async fn the_view_of_valid_primaries_follows_generation_marks_and_assignments() {
    let database = Database::new();
    let (store, _) = database.started(&lan()).await;
    let id = create(&store, &repository("a")).await;
    let mut hand = database.hand();
    hand.run(&votes(&[("p1", "g1", 0, 0), ("p1", "g2", 0, 0), ("p1", "g3", 0, 20_000)]));
    let valid = "SELECT group_concat(storage) FROM (SELECT storage FROM valid_primaries ORDER BY storage)";
    assert_eq!(hand.ask(valid), "g1,g2", "the unhealthy one is none");
    hand.run("UPDATE storage_repositories SET generation = -1 WHERE storage = 'g1'");
    assert_eq!(hand.ask(valid), "g2", "nor is an outdated one");
    hand.run("UPDATE storage_repositories SET generation = 0");
    store.replica_mark(id, &storage("g2")).await.unwrap().done();
    assert_eq!(hand.ask(valid), "g1", "nor a marked one");
    hand.run("UPDATE replication_queue SET state = 'dead'");
    let version = facts(&store, id).await.facts.facts_version;
    store.assignments_replace(id, version, &set(&["g2"])).await.unwrap().done();
    assert_eq!(hand.ask(valid), "g2", "an assigned candidate keeps the unassigned out");
    let version = facts(&store, id).await.facts.facts_version;
    store.assignments_replace(id, version, &set(&["g3"])).await.unwrap().done();
    assert_eq!(hand.ask(valid), "g1,g2", "but not if it is no candidate");
    hand.run("UPDATE repositories SET generation = 5");
    assert_eq!(hand.ask(valid), "NULL", "the repository's generation counts, not the highest replica's");
}

#[tokio::test]
async fn a_foreign_row_that_we_would_not_write_blinds_nobody() {
    let database = Database::new();
    let (store, _) = database.started(&lan()).await;
    let id = create(&store, &repository("a")).await;
    database.hand().run(&votes(&[("", "g1", 0, 0), ("p\n", "g1", 0, 0), ("p", "", 0, 0), ("q", "g1", 0, 0)]));
    for votes in [store.health_facts().await.unwrap().facts.votes, facts(&store, id).await.facts.votes] {
        assert_eq!(votes.iter().map(|vote| vote.supervisor.as_str()).collect::<Vec<_>>(), ["q"]);
    }
}

#[tokio::test]
async fn every_change_of_a_fact_raises_its_version_whoever_made_it() {
    let database = Database::new();
    let (store, _) = database.started(&lan()).await;
    let id = create(&store, &repository("a")).await;
    let mut hand = database.hand();
    let mut last = facts(&store, id).await.facts.facts_version;
    for (change, raises) in [
        ("UPDATE storage_repositories SET generation = 1 WHERE storage = 'g1'", true),
        ("UPDATE storage_repositories SET generation = 1 WHERE storage = 'g1'", false),
        ("UPDATE storage_repositories SET verified_at = 1", false),
        ("UPDATE repositories SET generation = 1", true),
        ("UPDATE repositories SET replica_path = 'elsewhere'", false),
        ("DELETE FROM storage_repositories WHERE storage = 'g3'", true),
        (
            "INSERT INTO repository_assignments (virtual_storage, relative_path, storage, repository_id) \
             SELECT 'v', 'a', 'g1', repository_id FROM repositories",
            true,
        ),
        ("DELETE FROM repository_assignments", true),
        (
            "INSERT INTO replication_queue (job) SELECT json_object('change', 'update', 'repository_id', \
             repository_id) FROM repositories",
            false,
        ),
        (
            "INSERT INTO replication_queue (job) SELECT json_object('change', 'delete_replica', \
             'target_node_storage', 'g2', 'repository_id', repository_id) FROM repositories",
            true,
        ),
        ("UPDATE replication_queue SET state = 'completed'", true),
        ("DELETE FROM replication_queue", true),
    ] {
        hand.run(change);
        let now = facts(&store, id).await.facts.facts_version;
        assert_eq!(now > last, raises, "{change}");
        last = now;
    }
}

#[tokio::test]
async fn a_foreign_writer_gets_an_epoch_and_a_row_of_history() {
    let database = Database::new();
    let (store, s1) = database.started(&lan()).await;
    let id = create(&store, &repository("a")).await;
    let ours = elect(&store, id, "g1", &s1, "one").await;
    let mut hand = database.hand();
    hand.run("UPDATE repositories SET \"primary\" = 'g2'");
    let now = facts(&store, id).await.facts;
    assert!(now.epoch.unwrap() > ours.epoch);
    hand.run("UPDATE repositories SET \"primary\" = 'g2'");
    assert_eq!(facts(&store, id).await.facts.epoch, now.epoch, "nothing changed");
    hand.run("UPDATE repositories SET \"primary\" = NULL");
    hand.run("INSERT INTO repositories (virtual_storage, relative_path, \"primary\") VALUES ('v', 'b', 'g3')");
    let b = store.election_facts(&Target::Path(v(), path("b"))).await.unwrap().unwrap().facts;
    assert!(b.epoch.unwrap() > facts(&store, id).await.facts.epoch.unwrap());
    assert_eq!(b.generation, None);
    let history = store.primary_history(id, 10).await.unwrap();
    let seen: Vec<_> = history.iter().map(|change| (change.current.clone(), change.why.as_deref())).collect();
    assert_eq!(seen, [(None, None), (Some(storage("g2")), None), (Some(storage("g1")), Some("unhealthy"))]);
}

#[tokio::test]
async fn replicas_are_marked_and_deleted_but_never_the_primary() {
    let database = Database::new();
    let (store, s1) = database.started(&lan()).await;
    let id = create(&store, &repository("a")).await;
    let fence = elect(&store, id, "g1", &s1, "one").await;
    let (g1, g2, g3) = (storage("g1"), storage("g2"), storage("g3"));
    assert_eq!(store.replica_mark(id, &g1).await.unwrap(), Outcome::Refused(Refused::IsPrimary));
    assert_eq!(store.replica_mark(id, &storage("g9")).await.unwrap(), Outcome::Refused(Refused::ReplicaNotFound));
    store.replica_mark(id, &g2).await.unwrap().done();
    store.replica_mark(id, &g2).await.unwrap().done();
    assert_eq!(store.replica_mark(id, &g3).await.unwrap(), Outcome::Refused(Refused::DeletionPending));
    let marked: Vec<_> = facts(&store, id).await.facts.replicas.iter().map(|replica| replica.marked).collect();
    assert_eq!(marked, [false, true, false]);
    let primary = store.replica_delete(id, Some(&fence), &g1).await.unwrap();
    assert_eq!(primary, Outcome::Refused(Refused::IsPrimary));
    assert_eq!(store.replica_delete(id, None, &g2).await.unwrap(), Outcome::Refused(Refused::FenceRequired));
    store.replica_delete(id, Some(&fence), &g2).await.unwrap().done();
    assert_eq!(database.hand().ask("SELECT group_concat(state) FROM replication_queue"), "completed");
    let again = store.replica_delete(id, Some(&fence), &g2).await.unwrap();
    assert_eq!(again, Outcome::Refused(Refused::ReplicaNotFound));
}

#[tokio::test]
async fn an_increment_leaves_the_outdated_behind_and_tells_only_then() {
    let database = Database::new();
    let (store, s1) = database.started(&lan()).await;
    let id = create(&store, &repository("a")).await;
    let fence = elect(&store, id, "g1", &s1, "one").await;
    let told = "SELECT COUNT(*) FROM changes WHERE kind = 'replicas'";
    let increment =
        async |acknowledged: &[&str]| store.generation_increment(id, Some(&fence), &set(acknowledged)).await.unwrap();
    assert_eq!(increment(&["g2", "g3"]).await, Outcome::Refused(Refused::PrimaryNotAcknowledged));
    assert_eq!(increment(&["g1", "g2", "g3"]).await, Outcome::Done(Generation(1)));
    assert_eq!(database.hand().ask(told), "0", "everybody has it");
    assert_eq!(increment(&["g1", "g2"]).await, Outcome::Done(Generation(2)));
    assert_eq!(database.hand().ask(told), "1");
    assert_eq!(increment(&["g1", "g2", "g3"]).await, Outcome::Done(Generation(3)));
    let generations: Vec<_> = facts(&store, id).await.facts.replicas.iter().map(|r| r.generation.0).collect();
    assert_eq!(generations, [3, 3, 1], "g3 does not jump over what it missed");
    store.generation_set(id, Some(&fence), &storage("g1"), Generation(0)).await.unwrap().done();
    assert_eq!(increment(&["g1", "g2"]).await, Outcome::Refused(Refused::OutdatedNodes));
    let unfenced = store.generation_increment(id, None, &set(&["g1"])).await.unwrap();
    assert_eq!(unfenced, Outcome::Refused(Refused::FenceRequired));
}

#[tokio::test]
async fn an_operators_word_moves_the_primary_and_a_rename_takes_everything_along() {
    let database = Database::new();
    let (store, s1) = database.started(&lan()).await;
    let mut new = repository("a");
    (new.primary, new.assignments) = (Some(storage("g1")), vec![storage("g1")]);
    let id = create(&store, &new).await;
    store.replica_mark(id, &storage("g2")).await.unwrap().done();
    let before = facts(&store, id).await.facts;
    let old = before.facts_version;
    let epoch = store.authoritative_set(id, &storage("g2"), old, &s1).await.unwrap().done();
    assert!(epoch > before.epoch.unwrap());
    let after = facts(&store, id).await.facts;
    assert_eq!((after.primary, after.epoch, after.generation), (Some(storage("g2")), Some(epoch), Some(Generation(1))));
    assert!(after.replicas.iter().all(|r| !r.marked && (r.generation.0 == 1) == (r.storage == storage("g2"))));
    let moved = store.authoritative_set(id, &storage("g1"), old, &s1).await.unwrap();
    assert_eq!(moved, Outcome::Refused(Refused::FactsMoved));
    create(&store, &repository("taken")).await;
    let fence = quorate::core::election::Fence { epoch, primary: storage("g2") };
    let refused = store.repository_rename(id, Some(&fence), &path("taken")).await.unwrap();
    assert_eq!(refused, Outcome::Refused(Refused::PathTaken));
    store.repository_rename(id, Some(&fence), &path("b")).await.unwrap().done();
    let mut hand = database.hand();
    for table in ["storage_repositories", "repository_assignments"] {
        let paths = format!("SELECT group_concat(DISTINCT relative_path) FROM {table} WHERE repository_id = {id}");
        assert_eq!(hand.ask(&paths), "b", "{table}");
    }
}

#[tokio::test]
async fn profile_praefect_has_the_unfenced_forms_and_reads_members() {
    let database = Database::new();
    let (store, s1) = database.started(&Settings::of(Profile::Praefect)).await;
    let id = create(&store, &repository("a")).await;
    let done = store.generation_increment(id, None, &set(&["g2"])).await.unwrap();
    assert_eq!(done, Outcome::Done(Generation(1)));
    let batch = VoteBatch { number: 1, votes: vec![(node("g1"), Opinion::Up), (node("g2"), Opinion::None)] };
    assert_eq!(store.votes_write(&s1, &batch).await.unwrap(), VotesWritten::Written { changed: 1 });
    let read = facts(&store, id).await;
    assert_eq!(read.facts.members.len(), 1);
    assert_eq!(read.facts.votes.len(), 3);
    let seen: Vec<_> = read.facts.votes.iter().map(|vote| vote.seen_age.is_some()).collect();
    assert_eq!(seen, [true, false, false]);
    store.repository_delete(id, None).await.unwrap().done();
}

#[tokio::test]
async fn facts_hold_what_operators_say_and_settings_follow_the_database() {
    let database = Database::new();
    let (store, _) = database.started(&lan()).await;
    register(&store, "s2").await;
    let id = create(&store, &repository("a")).await;
    let change = StorageChange { priority: Some(0), draining: None };
    store.storage_update(&node("g1"), change).await.unwrap();
    store.storage_update(&node("g1"), StorageChange { priority: None, draining: Some(true) }).await.unwrap();
    database.hand().run("UPDATE storages SET penalty_until = CAST(unixepoch() * 1000 AS INTEGER) + 60000");
    let read = facts(&store, id).await;
    let of = |index: usize| read.facts.replicas[index].attributes;
    assert_eq!((of(0).priority, of(0).draining, of(0).penalised), (0, true, true));
    assert_eq!((of(1).priority, of(1).draining, of(1).penalised), (100, false, false));
    assert_eq!((read.facts.members.len(), read.facts.supervisors.len()), (0, 2));
    assert_eq!(read.settings.revision.0, 1);
    let updated = store.settings_update(&Settings::of(Profile::Default)).await.unwrap();
    assert_eq!((updated.revision.0, updated.settings), (2, Settings::of(Profile::Default)));
    assert_eq!(updated.cluster, read.settings.cluster);
    assert_eq!(store.settings_seed(&lan()).await.unwrap().revision.0, 2, "the database wins");
    assert!(store.election_facts(&Target::Path(v(), path("nowhere"))).await.unwrap().is_none());
}

#[tokio::test]
async fn the_primary_alone_is_read_as_the_facts_have_it() {
    let database = Database::new();
    let (store, s1) = database.started(&lan()).await;
    let id = create(&store, &repository("a")).await;
    elect(&store, id, "g1", &s1, "first").await;
    let read = facts(&store, id).await;
    for target in [Target::Id(id), Target::Path(v(), path("a"))] {
        let incumbent = store.incumbent(&target).await.unwrap();
        assert!(
            incumbent.is_some() && incumbent == quorate::core::election::Incumbent::of(&read.facts),
            "{incumbent:?}"
        );
    }
}

#[tokio::test]
async fn what_is_old_is_forgotten_when_somebody_registers() {
    let database = Database::new();
    let (store, s1) = database.started(&lan()).await;
    let id = create(&store, &repository("a")).await;
    elect(&store, id, "g1", &s1, "old").await;
    let mut hand = database.hand();
    hand.run(
        "UPDATE changes SET at = at - 3700000; UPDATE primary_changes SET at = at - 2600000000; \
         UPDATE decisions SET at = at - 2600000000; UPDATE supervisors SET heartbeat_at = heartbeat_at - 86500000",
    );
    register(&store, "s2").await;
    for (table, left) in [("changes", "1"), ("primary_changes", "0"), ("decisions", "0"), ("supervisors", "1")] {
        assert_eq!(hand.ask(&format!("SELECT COUNT(*) FROM {table}")), left, "{table}");
    }
    assert_eq!(hand.ask("SELECT group_concat(DISTINCT praefect_name) FROM node_status"), "s2");
}

#[tokio::test]
async fn the_first_heartbeat_of_a_minute_clears_away_what_is_old() {
    let database = Database::new();
    let patient = Settings { voter_ttl: Duration::from_secs(600), ..Settings::of(Profile::Default) };
    let (store, voter) = database.started(&patient).await;
    let mut hand = database.hand();
    hand.run(
        "INSERT INTO changes (kind, key, at) VALUES ('votes', 'old', CAST(unixepoch('subsec') * 1000 AS INTEGER) - 7200000);
         UPDATE supervisors SET heartbeat_at = heartbeat_at - 61000",
    );
    let old = "SELECT count(*) FROM changes WHERE key = 'old'";
    assert_eq!(hand.ask(old), "1");
    assert!(matches!(store.supervisor_heartbeat(&voter).await.unwrap(), Heartbeat::Alive { .. }));
    assert_eq!(hand.ask(old), "0");
}

/// A count that was given up runs on. More of them must not take every connection from those who vote.
#[tokio::test]
async fn counts_that_were_given_up_take_one_connection_however_many() {
    let database = Database::new();
    drop(database.started(&lan()).await);
    let options = SqliteOptions { pool_size: 2, busy_timeout: Duration::from_millis(100), ..SqliteOptions::default() };
    let store = SqliteStore::open(&database.url(), options).await.unwrap();
    create(&store, &repository("a")).await;
    // As slow as with a million repositories.
    database.hand().run(
        "PRAGMA legacy_alter_table = ON; ALTER TABLE repositories RENAME TO kept; CREATE VIEW repositories AS \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) \
         SELECT kept.* FROM kept WHERE (SELECT COUNT(*) FROM n) > 0",
    );
    let nobody = BTreeSet::new();
    for _ in 0..4 {
        let given_up = tokio::time::timeout(Duration::from_millis(20), store.repositories_count(&nobody)).await;
        assert!(given_up.is_err(), "it must take longer, or this shows nothing");
    }
    let last = tokio::spawn({
        let (store, nobody) = (store.clone(), nobody.clone());
        async move { store.repositories_count(&nobody).await }
    });
    for _ in 0..10 {
        store.health_facts().await.unwrap();
    }
    assert!(!last.is_finished(), "the first one runs on, and this one waits for its end");
    let counted = last.await.unwrap().unwrap();
    assert_eq!(counted.iter().map(|count| (count.repositories, count.unavailable)).collect::<Vec<_>>(), [(1, 1)]);
}
