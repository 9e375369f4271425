//! A database that a Praefect made becomes ours too: nothing is lost, and one that is not what it should be is left alone.

use super::{praefect::Praefect, *};

pub(crate) const SCHEMA: &str = include_str!("praefect_16_7.sql");
pub(crate) const DATA: &str = include_str!("praefect_data.sql");

/// A database as a Praefect left it.
pub(crate) async fn left_by_a_praefect() -> String {
    let url = cluster().database(false).await;
    let client = raw(&url).await;
    client.batch_execute(SCHEMA).await.unwrap();
    client.batch_execute(DATA).await.unwrap();
    url
}

/// Every row of every table of Praefect's, in the columns that are Praefect's.
async fn everything(url: &str) -> Vec<String> {
    let client = raw(url).await;
    let columns = [
        ("schema_migrations", "*"),
        ("hello_world", "*"),
        ("virtual_storages", "*"),
        ("node_status", "id, praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at"),
        (
            "shard_primaries",
            "id, shard_name, node_name, elected_by_praefect, elected_at, read_only, demoted, \
             previous_writable_primary",
        ),
        ("repositories", "virtual_storage, relative_path, generation, \"primary\", repository_id, replica_path"),
        ("storage_repositories", "*"),
        ("repository_assignments", "*"),
        ("replication_queue_lock", "*"),
        ("replication_queue", "*"),
        ("replication_queue_job_lock", "*"),
        ("storage_cleanups", "*"),
    ];
    let mut all = Vec::new();
    for (table, columns) in columns {
        let sql = format!("SELECT row_to_json(x)::text FROM (SELECT {columns} FROM {table}) x ORDER BY 1");
        let rows = client.query(&sql, &[]).await.unwrap();
        assert!(!rows.is_empty(), "the fixture has something of everything, but nothing in {table}");
        all.extend(rows.iter().map(|row| format!("{table} {}", row.get::<_, String>(0))));
    }
    all
}

/// Everything in the catalog that has a name, to show that nothing was changed.
async fn objects(url: &str) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM pg_class) + (SELECT count(*) FROM pg_attribute) + (SELECT count(*) FROM pg_proc) \
               + (SELECT count(*) FROM pg_trigger) + (SELECT count(*) FROM pg_namespace)";
    raw(url).await.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn what_a_praefect_left_is_adopted_without_loss() {
    let url = left_by_a_praefect().await;
    let before = everything(&url).await;
    let (one, two) = tokio::join!(
        PostgresStore::connect(&url, PostgresOptions::default()),
        PostgresStore::connect(&url, PostgresOptions::default())
    );
    let (store, _) = (one.unwrap(), two.unwrap());
    assert_eq!(everything(&url).await, before, "nothing of what was there has changed, its book least of all");
    assert_eq!(
        PostgresStore::connect(&url, PostgresOptions::default()).await.map(drop).map_err(|e| e.to_string()),
        Ok(())
    );
    store.settings_seed(&patient()).await.unwrap();
    assert_eq!(everything(&url).await, before);

    let facts = async |id| store.election_facts(&Target::Id(RepositoryId(id))).await.unwrap().unwrap().facts;
    let led = facts(1).await;
    assert_eq!((led.primary.clone(), led.generation), (Some(storage("g1")), Some(Generation(3))));
    let generations: Vec<_> = led.replicas.iter().map(|replica| replica.generation.0).collect();
    assert_eq!(generations, [3, 3, 2]);
    let history = store.primary_history(RepositoryId(1), 10).await.unwrap();
    let [first] = &history[..] else { panic!("{history:?}") };
    assert_eq!((Some(first.epoch), &first.current, &first.supervisor), (led.epoch, &Some(storage("g1")), &None));
    let (never, without, assigned) = (facts(2).await, facts(3).await, facts(4).await);
    assert_eq!((never.primary, never.epoch), (None, None), "nobody leads it, so no epoch either");
    assert_eq!(without.generation, None);
    assert_eq!(assigned.assignments, storages(&["g2", "g3"]));
    let marked: Vec<_> = assigned.replicas.iter().filter(|r| r.marked).map(|r| r.storage.to_string()).collect();
    assert_eq!(marked, ["g1"], "a job that was waiting is a mark");
    let epochs: BTreeSet<_> = [led.epoch, without.epoch, assigned.epoch].into_iter().flatten().collect();
    assert_eq!(epochs.len(), 3, "every primary has an epoch of its own");

    // Writes count from the first moment, under the epoch that the recorded primary was given.
    let fence = Fence { epoch: led.epoch.unwrap(), primary: storage("g1") };
    let written = store.generation_increment(RepositoryId(1), Some(&fence), &set(&["g1", "g2"])).await.unwrap();
    assert_eq!(written, Outcome::Done(Generation(4)));
    let next = store.repository_create(&new_repository("new", Some("g1"))).await.unwrap();
    let Outcome::Done(next) = next else { panic!("{next:?}") };
    assert_eq!(next.repository, RepositoryId(5), "its ids go on");
}

#[tokio::test]
async fn a_praefects_caches_go_on_hearing_of_changes() {
    let url = left_by_a_praefect().await;
    let store = connect(&url).await;
    let seeded = store.settings_seed(&Settings::of(Profile::Default)).await.unwrap();
    assert!(seeded.settings.praefect_notifications, "though the default is to be silent");
    let silent = Settings::of(Profile::Default);
    let updated = store.settings_update(&silent).await.unwrap();
    assert!(!updated.settings.praefect_notifications, "until an operator says so");
    let alone = connect(&cluster().database(true).await).await;
    assert!(!alone.settings_seed(&silent).await.unwrap().settings.praefect_notifications);
}

#[tokio::test]
async fn a_database_that_differs_is_refused_with_every_difference_and_left_alone() {
    let url = left_by_a_praefect().await;
    raw(&url)
        .await
        .batch_execute(
            "ALTER TABLE storage_repositories DROP COLUMN verified_at;
             ALTER TABLE shard_primaries ALTER COLUMN elected_by_praefect TYPE text, ALTER COLUMN demoted DROP DEFAULT;
             ALTER TABLE repository_assignments ALTER COLUMN repository_id DROP NOT NULL;
             ALTER TABLE repositories ADD COLUMN object_format text;
             DROP INDEX delete_replica_unique_index;
             DROP INDEX repository_lookup_index CASCADE;
             ALTER TABLE storage_repositories DROP CONSTRAINT storage_repositories_repository_id_fkey;
             ALTER TABLE storage_repositories ADD FOREIGN KEY (repository_id) REFERENCES repositories ON DELETE SET NULL;
             ALTER TABLE replication_queue ADD CHECK (attempt < 4);
             CREATE UNIQUE INDEX one_each ON storage_cleanups (storage);
             CREATE INDEX harmless ON storage_cleanups (storage);
             DROP INDEX replication_queue_target_index;
             CREATE INDEX replication_queue_target_index ON replication_queue
                 ((job ->> 'virtual_storage'), (job ->> 'relative_path'), (job ->> 'target_node_storage'), (job ->> 'change'))
                 WHERE state NOT IN ('completed', 'dead');
             ALTER TYPE replication_job_state ADD VALUE 'acknowledged';
             DROP VIEW repository_generations;
             DROP TRIGGER notify_on_insert ON storage_repositories;
             ALTER TABLE repositories DISABLE TRIGGER notify_on_delete;
             DROP TABLE hello_world;
             CREATE TABLE partitions (id bigint)",
        )
        .await
        .unwrap();
    let before = objects(&url).await;
    let refused = PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap_err();
    assert_eq!(objects(&url).await, before, "nothing was changed");
    let StoreErrorKind::SchemaDiffers(differences) = refused.kind() else { panic!("{refused}") };
    let expected = [
        "hello_world is missing",
        "partitions is unknown",
        "replication_job_state: itself is an enumeration of ready, in_progress, completed, cancelled, failed, dead, \
         acknowledged, not an enumeration of ready, in_progress, completed, cancelled, failed, dead",
        "replication_queue: check CHECK ((attempt < 4)) is unknown (there)",
        "replication_queue: index delete_replica_unique_index is missing (unique btree \
         (job ->> 'virtual_storage'::text), (job ->> 'relative_path'::text), for cancelled change completed dead \
         delete_replica job state)",
        "replication_queue: index replication_queue_target_index is plain btree (job ->> 'virtual_storage'::text), \
         (job ->> 'relative_path'::text), (job ->> 'target_node_storage'::text), (job ->> 'change'::text), for \
         completed dead state, not plain btree (job ->> 'virtual_storage'::text), (job ->> 'relative_path'::text), \
         (job ->> 'target_node_storage'::text), (job ->> 'change'::text), for cancelled completed dead state",
        "repositories: column object_format is unknown (text)",
        "repositories: index repository_lookup_index is missing (unique btree virtual_storage, relative_path)",
        "repositories: trigger notify_on_delete is after delete, disabled, not after delete",
        "repository_assignments: column repository_id is bigint, not bigint, not null",
        "repository_assignments: foreign key FOREIGN KEY (virtual_storage, relative_path) REFERENCES \
         repositories(virtual_storage, relative_path) ON UPDATE CASCADE ON DELETE CASCADE is missing (there)",
        "repository_generations is missing",
        "shard_primaries: column demoted is boolean, not null, not boolean, not null, default false",
        "shard_primaries: column elected_by_praefect is text, not null, not character varying(255), not null",
        "storage_cleanups: index one_each is unknown (unique btree storage)",
        "storage_repositories: column verified_at is missing (timestamp with time zone)",
        "storage_repositories: foreign key FOREIGN KEY (repository_id) REFERENCES repositories(repository_id) \
         ON DELETE CASCADE is missing (there)",
        "storage_repositories: foreign key FOREIGN KEY (repository_id) REFERENCES repositories(repository_id) \
         ON DELETE SET NULL is unknown (there)",
        "storage_repositories: index verification_queue is missing (plain btree verified_at nulls first, for \
         verification_leased_until)",
        "storage_repositories: trigger notify_on_insert is missing (after insert)",
    ];
    assert_eq!(differences, &expected, "{differences:#?}");
    let text = refused.to_string();
    assert!(expected.iter().all(|difference| text.contains(difference)), "{text}");
    let forbidden = PostgresOptions { migrate: false, ..PostgresOptions::default() };
    let outstanding = PostgresStore::connect(&url, forbidden).await.unwrap_err();
    assert!(matches!(outstanding.kind(), StoreErrorKind::NotMigrated(_)), "{outstanding}");
}

/// Views are asked, for their text may differ: one bound of each, moved by as little as it goes.
#[tokio::test]
async fn a_view_that_answers_otherwise_is_named_and_left_alone() {
    for (view, from, to, told) in [
        ("healthy_storages", "'00:00:10'", "'00:00:11'", "answers otherwise than in release 16.7"),
        ("healthy_storages", "'00:01:00'", "'00:00:59'", "answers otherwise than in release 16.7"),
        ("healthy_storages", "ceil(", "floor(", "answers otherwise than in release 16.7"),
        ("healthy_storages", "ceil(", "public.half(", "does not fit the tables of release 16.7"),
        ("repository_generations", "max(", "min(", "answers otherwise than in release 16.7"),
        ("valid_primaries", "'cancelled'", "'failed'", "answers otherwise than in release 16.7"),
        (
            "valid_primaries",
            "sr.generation = r.generation",
            "sr.generation >= 0",
            "answers otherwise than in release 16.7",
        ),
        ("valid_primaries", "(c.assigned OR ", "(", "answers otherwise than in release 16.7"),
    ] {
        let url = left_by_a_praefect().await;
        let client = raw(&url).await;
        let text = format!("SELECT pg_get_viewdef('{view}'::regclass)");
        let before: String = client.query_one(&text, &[]).await.unwrap().get(0);
        assert!(before.contains(from), "{view}: {before}");
        // A function of another schema, which the tables that are compared with do not see.
        let half = "CREATE FUNCTION half(x numeric) RETURNS numeric LANGUAGE sql AS 'SELECT ceil(x)'";
        client.batch_execute(half).await.unwrap();
        client.batch_execute(&format!("CREATE OR REPLACE VIEW {view} AS {}", before.replace(from, to))).await.unwrap();
        let (changed, objects_before): (String, i64) =
            (client.query_one(&text, &[]).await.unwrap().get(0), objects(&url).await);
        let refused = PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap_err();
        let expected = StoreErrorKind::SchemaDiffers(vec![format!("{view}: itself {told}")]);
        assert_eq!(refused.kind(), &expected, "{from} to {to}");
        assert_eq!(client.query_one(&text, &[]).await.unwrap().get::<_, String>(0), changed);
        assert_eq!(objects(&url).await, objects_before, "nothing was changed");
    }
}

#[tokio::test]
async fn a_database_of_somebody_elses_tables_is_nobodys_to_adopt() {
    let url = cluster().database(false).await;
    raw(&url).await.batch_execute("CREATE TABLE orders (id bigint)").await.unwrap();
    connect(&url).await;
    let url = cluster().database(false).await;
    raw(&url).await.batch_execute("CREATE TABLE node_status (id bigint)").await.unwrap();
    let refused = PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap_err();
    assert!(matches!(refused.kind(), StoreErrorKind::SchemaDiffers(_)), "{refused}");
}

/// Each of its statements, unchanged, on what it has become.
#[tokio::test]
async fn its_own_statements_run_afterwards() {
    use super::praefect::Incremented;
    let url = left_by_a_praefect().await;
    let store = connect(&url).await;
    store.settings_seed(&Settings::of(Profile::Praefect)).await.unwrap();
    let praefect = Praefect::new(&url, "p1").await;
    praefect.client.batch_execute("DELETE FROM node_status").await.unwrap();
    praefect.round("v", &[("g3", false), ("g2", true), ("g1", false)]).await;
    let facts = async |id| store.election_facts(&Target::Id(RepositoryId(id))).await.unwrap().unwrap().facts;

    let before = facts(1).await;
    let elected = praefect.primary(1).await.unwrap();
    assert_eq!(elected, (Some("g2".into()), Some("g1".into())));
    let after = facts(1).await;
    assert_eq!(after.primary, Some(storage("g2")));
    assert!(after.epoch > before.epoch, "{:?} after {:?}", after.epoch, before.epoch);
    let history = store.primary_history(RepositoryId(1), 10).await.unwrap();
    assert_eq!((Some(history[0].epoch), &history[0].previous), (after.epoch, &Some(storage("g1"))));
    assert_eq!((&history[0].supervisor, &history[0].why), (&None, &None), "a foreign change has no decision");
    assert_eq!(praefect.primary(1).await.unwrap(), (Some("g2".into()), Some("g2".into())));
    assert_eq!(facts(1).await.epoch, after.epoch, "a steady lookup takes no epoch");
    assert_eq!(praefect.primary(99).await, None);

    let moved = async |id, before: i64| facts(id).await.facts_version.0 > before;
    let version = after.facts_version.0;
    assert_eq!(praefect.increment(1, &["g2", "g1", "g3"]).await, Incremented::To(4));
    assert!(moved(1, version).await, "an increment moves the facts");
    assert_eq!(praefect.increment(1, &["g3"]).await, Incremented::WriteToOutdatedNodes);
    assert_eq!(praefect.increment(99, &["g3"]).await, Incremented::NotFound);
    let version = facts(1).await.facts_version.0;
    praefect.set_generation(1, "g3", "led", 6).await;
    assert!(moved(1, version).await && facts(1).await.generation == Some(Generation(6)));
    praefect.set_generation(1, "g3", "led", 2).await;
    assert_eq!(facts(1).await.generation, Some(Generation(6)), "never lowered");
    praefect.set_generation(99, "g3", "led", 2).await;
    assert!(praefect.authoritative("v", "led", "g1").await);
    assert!(!praefect.authoritative("v", "unknown", "g1").await);
    let now = facts(1).await;
    let current: Vec<_> = now.replicas.iter().filter(|r| Some(r.generation) == now.generation).collect();
    assert_eq!((now.generation, current.len(), &current[0].storage), (Some(Generation(7)), 1, &storage("g1")));

    let id = praefect.create("v", "created", Some("g1"), &["g1", "g2"]).await;
    let created = facts(id).await;
    assert!(created.epoch > after.epoch && created.primary == Some(storage("g1")));
    praefect.assign(id, "g3").await;
    assert_eq!(facts(id).await.assignments, storages(&["g1", "g2", "g3"]));
    praefect.delete_replica_later(id, "g2").await;
    assert!(facts(id).await.replicas.iter().any(|r| r.storage == storage("g2") && r.marked));
    assert_eq!(praefect.primary(id).await.unwrap().0, Some("g1".into()), "the only healthy one is to be deleted");
    praefect.replica_deleted(id).await;
    assert!(facts(id).await.replicas.iter().all(|r| r.storage != storage("g2")));
    assert_eq!(praefect.delete("v", "created").await, Some(vec!["g1".to_owned()]));
    assert_eq!(praefect.delete("v", "created").await, None);
    assert_eq!(store.election_facts(&Target::Id(RepositoryId(id))).await.unwrap(), None);
}
