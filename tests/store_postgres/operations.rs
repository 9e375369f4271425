//! Operations as this server runs them: plans, locks, triggers, notifications.

use super::*;

#[tokio::test]
async fn every_operation_on_a_repository_answers() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let (id, epoch) = fixture.create("r", Some("g1")).await;
    let fence = Fence { epoch: epoch.unwrap(), primary: storage("g1") };
    let fenced = Some(&fence);
    let path = |path: &str| RelativePath::new(path).unwrap();
    fixture.create("taken", None).await;
    assert_eq!(
        store.repository_create(&new_repository("taken", None)).await.unwrap(),
        Outcome::Refused(Refused::PathTaken)
    );
    let mut same = new_repository("third", None);
    same.id = Some(id);
    assert_eq!(store.repository_create(&same).await.unwrap(), Outcome::Refused(Refused::IdTaken));
    assert_eq!(
        store.repository_rename(id, fenced, &path("taken")).await.unwrap(),
        Outcome::Refused(Refused::PathTaken)
    );
    assert_eq!(store.repository_rename(id, fenced, &path("renamed")).await.unwrap(), Outcome::Done(()));
    let client = raw(&fixture.url).await;
    let rows = "SELECT (SELECT count(*) FROM storage_repositories WHERE relative_path = 'renamed') \
                + (SELECT count(*) FROM repository_assignments WHERE relative_path = 'renamed')";
    assert_eq!(client.query_one(rows, &[]).await.unwrap().get::<_, i64>(0), 5);

    let increment = async |fence, names: &[&str]| store.generation_increment(id, fence, &set(names)).await.unwrap();
    assert_eq!(increment(None, &["g1"]).await, Outcome::Refused(Refused::FenceRequired));
    assert_eq!(increment(fenced, &["g2"]).await, Outcome::Refused(Refused::PrimaryNotAcknowledged));
    assert_eq!(increment(fenced, &["g1", "g2"]).await, Outcome::Done(Generation(1)));
    let none = store.generation_increment(RepositoryId(999), fenced, &set(&["g1"])).await.unwrap();
    assert_eq!(none, Outcome::NotFound);
    let set_generation = store.generation_set(id, fenced, &storage("g3"), Generation(2)).await.unwrap();
    assert_eq!(set_generation, Outcome::Done(()));
    assert_eq!(increment(fenced, &["g1", "g3"]).await, Outcome::Refused(Refused::OutdatedNodes));

    assert_eq!(store.replica_mark(id, &storage("g9")).await.unwrap(), Outcome::Refused(Refused::ReplicaNotFound));
    assert_eq!(store.replica_mark(id, &storage("g1")).await.unwrap(), Outcome::Refused(Refused::IsPrimary));
    for _ in 0..2 {
        assert_eq!(store.replica_mark(id, &storage("g3")).await.unwrap(), Outcome::Done(()));
    }
    assert_eq!(store.replica_mark(id, &storage("g2")).await.unwrap(), Outcome::Refused(Refused::DeletionPending));
    store.storage_update(&node("g3"), StorageChange { priority: Some(7), draining: None }).await.unwrap();
    store.storage_update(&node("g3"), StorageChange { priority: None, draining: Some(true) }).await.unwrap();
    let facts = fixture.facts(id).await.facts;
    let of = |name: &str| facts.replicas.iter().find(|replica| replica.storage == storage(name)).unwrap();
    let g3: &ReplicaFacts = of("g3");
    assert!(g3.marked && !g3.assigned && g3.generation == Generation(2));
    assert!(g3.attributes.priority == 7 && g3.attributes.draining && !g3.attributes.penalised);
    let incumbent = store.incumbent(&Target::Id(id)).await.unwrap();
    assert!(incumbent.is_some() && incumbent == quorate::core::election::Incumbent::of(&facts), "{incumbent:?}");
    assert!(!of("g1").marked && of("g1").assigned && facts.assignments == storages(&["g1", "g2"]));
    assert_eq!((facts.generation, facts.votes.len(), facts.members.len()), (Some(Generation(2)), 3, 0));
    let by_path = Target::Path(VirtualStorage::new("v").unwrap(), path("renamed"));
    assert_eq!(store.election_facts(&by_path).await.unwrap().unwrap().facts.facts_version, facts.facts_version);

    assert_eq!(store.replica_delete(id, fenced, &storage("g1")).await.unwrap(), Outcome::Refused(Refused::IsPrimary));
    assert_eq!(store.replica_delete(id, fenced, &storage("g3")).await.unwrap(), Outcome::Done(()));
    let moved = store.authoritative_set(id, &storage("g2"), facts.facts_version, &fixture.voter).await.unwrap();
    assert_eq!(moved, Outcome::Refused(Refused::FactsMoved));
    let version = fixture.facts(id).await.facts.facts_version;
    let Outcome::Done(second) = store.authoritative_set(id, &storage("g2"), version, &fixture.voter).await.unwrap()
    else {
        panic!()
    };
    let facts = fixture.facts(id).await.facts;
    assert_eq!(
        (facts.primary, facts.epoch, facts.generation),
        (Some(storage("g2")), Some(second), Some(Generation(3)))
    );
    let replaced = store.assignments_replace(id, facts.facts_version, &set(&["g2", "g3"])).await.unwrap();
    assert_eq!(replaced, Outcome::Done(()));
    assert!(matches!(increment(fenced, &["g1"]).await, Outcome::Stale(Current { epoch, .. }) if epoch == Some(second)));
    let history = store.primary_history(id, 1_000).await.unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!((history[0].epoch, history[0].why.as_deref()), (second, Some("authoritative")));
    assert_eq!((history[1].previous.clone(), history[1].why.clone()), (None, None));
    store.settings_update(&Settings::of(Profile::Praefect)).await.unwrap();
    assert_eq!(increment(None, &["g2"]).await, Outcome::Done(Generation(4)));
    assert_eq!(fixture.facts(id).await.facts.members.len(), 0);
    fixture.vote(1, &[("g1", Opinion::Up)]).await;
    assert_eq!(fixture.facts(id).await.facts.members.len(), 1);
}

#[tokio::test]
async fn supervisors_come_and_go() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let mine = &fixture.voter;
    assert!(matches!(store.supervisor_heartbeat(mine).await.unwrap(), Heartbeat::Alive { .. }));
    let Registered::Registered { incarnation, .. } = store.supervisor_register(&registration("s1")).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(store.supervisor_heartbeat(mine).await.unwrap(), Heartbeat::Superseded { by: incarnation });
    assert_eq!(
        store.supervisor_register(&registration("s1")).await.unwrap(),
        Registered::NameInUse { held_by: incarnation }
    );
    assert!(!store.supervisor_remove(mine).await.unwrap());
    let newer = Voter { incarnation, ..mine.clone() };
    let client = raw(&fixture.url).await;
    client.batch_execute("UPDATE supervisors SET heartbeat_at = now() - interval '1 hour'").await.unwrap();
    assert_eq!(store.supervisor_heartbeat(&newer).await.unwrap(), Heartbeat::Lapsed);
    client.batch_execute("UPDATE supervisors SET heartbeat_at = now() - interval '2 days'").await.unwrap();
    store.supervisor_register(&registration("s2")).await.unwrap();
    assert_eq!(store.supervisor_heartbeat(&newer).await.unwrap(), Heartbeat::Gone);
    let facts = store.health_facts().await.unwrap().facts;
    assert_eq!((facts.supervisors.len(), facts.votes.len()), (1, 3), "the silent one is pruned with its votes");
    let seeds = (0..8).map(|_| store.settings_seed(mine_unlike()));
    let seeds = futures_util::future::join_all(seeds).await;
    assert!(seeds.iter().all(|seed| seed.as_ref().unwrap().settings == patient()));
}

#[tokio::test]
async fn the_first_heartbeat_of_a_minute_clears_away_what_is_old() {
    let fixture = Fixture::new().await;
    let client = raw(&fixture.url).await;
    let rows = async || -> i64 { client.query_one("SELECT count(*) FROM changes", &[]).await.unwrap().get(0) };
    client
        .batch_execute(
            "INSERT INTO changes (kind, key, at) VALUES ('votes', 'old', now() - interval '2 hours');
             UPDATE supervisors SET heartbeat_at = now() - interval '61 seconds'",
        )
        .await
        .unwrap();
    let before = rows().await;
    assert!(matches!(fixture.store.supervisor_heartbeat(&fixture.voter).await.unwrap(), Heartbeat::Alive { .. }));
    assert_eq!(rows().await, before - 1);
}

/// It reads by index, and so only what is old: or the clearing of four million young rows outlasts the server's limit of a
/// statement, the heartbeat fails with it, and so does every one after it.
#[tokio::test]
async fn clearing_away_what_is_old_reads_nothing_that_is_young() {
    let fixture = Fixture::new().await;
    let mut client = raw(&fixture.url).await;
    client
        .batch_execute(
            "INSERT INTO changes (kind, key) SELECT 'votes', 'young' FROM generate_series(1, 20000);
             INSERT INTO decisions (id, supervisor, incarnation, kind, why, evidence)
             SELECT i, 's1', 1, 'elect', 'young', '{}' FROM generate_series(1, 20000) i;
             INSERT INTO primary_changes (epoch, repository_id, decision) SELECT i, i, i FROM generate_series(1, 20000) i;
             ANALYZE",
        )
        .await
        .unwrap();
    let clearing = client.transaction().await.unwrap();
    clearing.batch_execute("SELECT quorate_prune('s1')").await.unwrap();
    let read = "SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables \
                WHERE relname IN ('changes', 'decisions', 'primary_changes')";
    let read = clearing.query(read, &[]).await.unwrap();
    let read: Vec<(String, i64)> = read.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(read.len() == 3 && read.iter().all(|(_, rows)| *rows < 100), "{read:?}");
}

fn mine_unlike() -> &'static Settings {
    static UNLIKE: std::sync::OnceLock<Settings> = std::sync::OnceLock::new();
    UNLIKE.get_or_init(|| Settings::of(Profile::Lan))
}

#[tokio::test]
async fn reading_the_facts_locks_nothing_and_writes_nothing() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.create("r", Some("g1")).await;
    let client = raw(&fixture.url).await;
    // A row lock, as a write, leaves its transaction's number in the row.
    let marks = "SELECT string_agg(mark, ' ' ORDER BY mark) FROM ( \
                 SELECT concat(tableoid, ctid, xmin, '/', xmax) AS mark FROM repositories UNION ALL \
                 SELECT concat(tableoid, ctid, xmin, '/', xmax) FROM storage_repositories UNION ALL \
                 SELECT concat(tableoid, ctid, xmin, '/', xmax) FROM node_status UNION ALL \
                 SELECT concat(tableoid, ctid, xmin, '/', xmax) FROM supervisors UNION ALL \
                 SELECT concat(tableoid, ctid, xmin, '/', xmax) FROM settings UNION ALL \
                 SELECT concat(tableoid, ctid, xmin, '/', xmax) FROM changes UNION ALL \
                 SELECT concat(tableoid, ctid, xmin, '/', xmax) FROM eras) rows";
    let before: String = client.query_one(marks, &[]).await.unwrap().get(0);
    for _ in 0..20 {
        fixture.facts(id).await;
        fixture.store.health_facts().await.unwrap();
    }
    let after: String = client.query_one(marks, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
    let holder = raw(&fixture.url).await;
    holder
        .batch_execute("BEGIN; SELECT 1 FROM repositories FOR UPDATE; SELECT 1 FROM supervisors FOR UPDATE")
        .await
        .unwrap();
    fixture.facts(id).await;
}

#[tokio::test]
async fn the_facts_of_one_of_ten_thousand_are_found_by_index() {
    let fixture = Fixture::new().await;
    let client = raw(&fixture.url).await;
    client
        .batch_execute(
            "INSERT INTO repositories (virtual_storage, relative_path, generation) \
             SELECT 'v', 'r' || i, 0 FROM generate_series(1, 10000) i; \
             INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id) \
             SELECT 'v', relative_path, 'g' || s, 0, repository_id FROM repositories, generate_series(1, 3) s; \
             INSERT INTO repository_assignments SELECT 'v', relative_path, 'g1', repository_id FROM repositories; \
             INSERT INTO replication_queue (job) SELECT jsonb_build_object('change', 'delete_replica', 'repository_id', \
             repository_id, 'virtual_storage', 'v', 'relative_path', relative_path, 'target_node_storage', 'g3') \
             FROM repositories WHERE repository_id % 2 = 0; \
             INSERT INTO node_status (praefect_name, shard_name, node_name, verdict) \
             SELECT 's' || s, 'v', 'n' || i, 'up' FROM generate_series(1, 1000) i, generate_series(1, 3) s; \
             ANALYZE",
        )
        .await
        .unwrap();
    // By name: an index that fits half of a condition is read as a whole, and no table is scanned.
    let found_by = [
        ("repositories", "repository_lookup_index"),
        ("storage_repositories", "storage_repositories_new_pkey"),
        ("repository_assignments", "repository_assignments_new_pkey"),
        ("replication_queue", "quorate_marks"),
        ("node_status", "shard_name_on_node_status_idx"),
    ];
    let scanned = async || -> Vec<i64> {
        let mut of_tables = Vec::new();
        for (table, _) in found_by {
            let sql = format!("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = '{table}'");
            of_tables.push(client.query_one(&sql, &[]).await.unwrap().get(0));
        }
        of_tables
    };
    let by_index = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = ";
    let used =
        async |index: &str| -> i64 { client.query_one(&format!("{by_index}'{index}'"), &[]).await.unwrap().get(0) };
    // What the fixture's own sessions read is published by their end.
    fixture.store.disconnect();
    let alone = "SELECT (count(*) = 1)::int::bigint FROM pg_stat_activity \
                 WHERE datname = current_database() AND backend_type = 'client backend'";
    until(&client, alone, 1).await;
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    let (before, mut expected) = (scanned().await, Vec::new());
    for (_, index) in found_by {
        expected.push((index, used(index).await));
    }
    look_up_twenty(&fixture.url).await;
    for (index, before) in expected {
        // A path is looked up by the first of these; an id by the primary key.
        let lookups = if index == found_by[0].1 { 20 } else { 40 };
        until(&client, &format!("{by_index}'{index}'"), before + lookups).await;
    }
    assert_eq!(scanned().await, before, "somebody read a whole table");
}

/// Reads the facts of repositories 1 to 20, each by id and by path, in a session of its own: its counts are published when
/// it ends. More than five, so that a generic plan would be among them.
async fn look_up_twenty(url: &str) {
    let reader = connect(url).await;
    for id in 1..=20 {
        let facts = fixture_facts(&reader, &Target::Id(RepositoryId(id))).await;
        assert_eq!((facts.replicas.len(), facts.replicas[2].marked), (3, id % 2 == 0));
        let path = RelativePath::new(format!("r{id}")).unwrap();
        fixture_facts(&reader, &Target::Path(VirtualStorage::new("v").unwrap(), path)).await;
    }
    reader.disconnect();
}

async fn fixture_facts(store: &PostgresStore, target: &Target) -> quorate::core::election::ElectionFacts {
    store.election_facts(target).await.unwrap().unwrap().facts
}

#[tokio::test]
async fn a_foreign_writer_cannot_forget_epoch_history_or_facts_version() {
    let fixture = Fixture::new().await;
    let (id, epoch) = fixture.create("r", Some("g1")).await;
    let client = raw(&fixture.url).await;
    let mut version = fixture.facts(id).await.facts.facts_version;
    for (change, moves) in [
        ("UPDATE storage_repositories SET verified_at = now()", false),
        ("UPDATE storage_repositories SET generation = 4 WHERE storage = 'g2'", true),
        ("DELETE FROM storage_repositories WHERE storage = 'g3'", true),
        ("UPDATE repositories SET generation = 4", true),
        ("DELETE FROM repository_assignments", true),
        (
            "INSERT INTO replication_queue (job) SELECT jsonb_build_object('change', 'update', 'repository_id', \
             repository_id) FROM repositories",
            false,
        ),
        (
            "INSERT INTO replication_queue (job) SELECT jsonb_build_object('change', 'delete_replica', \
             'repository_id', repository_id, 'target_node_storage', 'g2') FROM repositories",
            true,
        ),
        ("UPDATE replication_queue SET state = 'completed'", true),
    ] {
        client.batch_execute(change).await.unwrap();
        let now = fixture.facts(id).await.facts.facts_version;
        assert_eq!(now > version, moves, "{change}");
        version = now;
    }
    client.batch_execute("UPDATE repositories SET \"primary\" = 'g2'").await.unwrap();
    let facts = fixture.facts(id).await.facts;
    assert!(facts.epoch > epoch);
    client.batch_execute("UPDATE repositories SET \"primary\" = NULL").await.unwrap();
    let history = fixture.store.primary_history(id, 10).await.unwrap();
    let told: Vec<_> = history.iter().map(|change| (change.previous.clone(), change.current.clone())).collect();
    let (g1, g2) = (Some(storage("g1")), Some(storage("g2")));
    assert_eq!(told, [(g2.clone(), None), (g1.clone(), g2), (None, g1)]);
    assert!(history.iter().all(|change| change.why.is_none() && change.supervisor.is_none()));
}

#[tokio::test]
async fn changes_are_told_once_and_silence_is_kept() {
    let fixture = Fixture::new().await;
    let client = raw(&fixture.url).await;
    let count = async |kind: &str| -> i64 {
        client.query_one("SELECT count(*) FROM changes WHERE kind = $1", &[&kind]).await.unwrap().get(0)
    };
    let votes = count("votes").await;
    fixture.vote(1, &[("g1", Opinion::Up), ("g2", Opinion::Up)]).await;
    assert_eq!(count("votes").await, votes + 1);
    fixture.vote(2, &[("g1", Opinion::Up), ("g2", Opinion::Up)]).await;
    fixture.store.supervisor_heartbeat(&fixture.voter).await.unwrap();
    assert_eq!(count("votes").await, votes + 1, "the same opinion is no news");
    let (id, epoch) = fixture.create("r", Some("g1")).await;
    let primaries = count("primaries").await;
    let fence = Fence { epoch: epoch.unwrap(), primary: storage("g1") };
    let all = set(&["g1", "g2", "g3"]);
    fixture.store.generation_increment(id, Some(&fence), &all).await.unwrap();
    assert_eq!(count("primaries").await, primaries, "a write that everybody took tells nobody");
    fixture.elect(id, "d", "g2").await;
    assert_eq!((count("primaries").await, count("elected").await), (primaries, 1), "told after the commit");
}

/// Praefect's columns hold more than our names allow, and stamps without an end.
#[tokio::test]
async fn a_foreign_row_that_we_would_not_write_blinds_nobody() {
    for profile in [Profile::Default, Profile::Praefect] {
        let fixture = Fixture::with(&Settings { voter_ttl: Duration::from_secs(120), ..Settings::of(profile) }).await;
        let (id, _) = fixture.create("r", None).await;
        fixture.vote(1, &[("g1", Opinion::Up)]).await;
        let client = raw(&fixture.url).await;
        client
            .batch_execute(
                "INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at)
                 VALUES ('', 'v', 'g1', now(), now()), (E'p\\n', 'v', 'g1', now(), now()), ('p', '', 'g1', now(), now()),
                        ('p', 'v', '', now(), now()), ('p', 'v', 'g1', 'infinity', '-infinity'),
                        ('q', 'v', 'g1', now(), now())",
            )
            .await
            .unwrap();
        let about_g1 = |votes: Vec<quorate::core::consensus::VoteRow>| -> Vec<String> {
            votes
                .into_iter()
                .filter(|vote| vote.node == node("g1") && vote.contact_age.is_some())
                .map(|vote| vote.supervisor.to_string())
                .collect()
        };
        let health = fixture.store.health_facts().await.unwrap();
        assert_eq!(about_g1(health.facts.votes), ["s1", "q"]);
        let facts = fixture.facts(id).await.facts;
        assert_eq!(about_g1(facts.votes), ["s1", "q"]);
        let members = facts.members.iter().map(|member| member.supervisor.as_str()).collect::<BTreeSet<_>>();
        assert_eq!(members, if profile == Profile::Praefect { ["p", "q", "s1"].into() } else { BTreeSet::new() });
    }
}

#[tokio::test]
async fn a_table_emptied_at_once_moves_the_facts() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.create("r", None).await;
    let client = raw(&fixture.url).await;
    for table in ["repository_assignments", "replication_queue CASCADE", "storage_repositories"] {
        let snapshot = fixture.facts(id).await;
        client.batch_execute(&format!("TRUNCATE {table}")).await.unwrap();
        let proposal = fixture.proposal(&snapshot, table, Some("g2"));
        assert_eq!(fixture.store.primary_cas(&proposal).await.unwrap(), CasOutcome::Lost, "{table}");
    }
}

/// A mark left behind would fall on the next repository of this id, and stand in the way of the path's next owner.
#[tokio::test]
async fn deleting_a_repository_ends_its_marks() {
    let fixture = Fixture::new().await;
    let (id, epoch) = fixture.create("r", Some("g1")).await;
    assert_eq!(fixture.store.replica_mark(id, &storage("g3")).await.unwrap(), Outcome::Done(()));
    let fence = Fence { epoch: epoch.unwrap(), primary: storage("g1") };
    assert!(matches!(fixture.store.repository_delete(id, Some(&fence)).await.unwrap(), Outcome::Done(_)));
    let (again, _) = fixture.create("r", Some("g1")).await;
    assert_eq!(fixture.store.replica_mark(again, &storage("g2")).await.unwrap(), Outcome::Done(()));
}

#[tokio::test]
async fn an_operators_word_is_not_taken_by_another_server() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.create("r", Some("g1")).await;
    let before = fixture.facts(id).await.facts;
    raw(&fixture.url).await.batch_execute("UPDATE eras SET timeline = 'another'").await.unwrap();
    let (store, by) = (&fixture.store, &fixture.voter);
    let word = store.authoritative_set(id, &storage("g2"), before.facts_version, by).await.unwrap();
    assert_eq!(word, Outcome::EraChanged);
    let word = store.authoritative_set(id, &storage("g2"), before.facts_version, by).await.unwrap();
    assert!(matches!(word, Outcome::Done(epoch) if epoch.era() > before.era), "{word:?}");
}

/// At the server's default costs the planner reads the votes about all nodes instead of looking up those of a
/// repository's three: a lookup with 100 nodes then costs a quarter more than with three.
#[tokio::test]
async fn a_lookup_reads_the_votes_of_its_own_nodes_only() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.create("r", Some("g1")).await;
    let client = raw(&fixture.url).await;
    client
        .batch_execute(
            "INSERT INTO node_status (praefect_name, shard_name, node_name, verdict, incarnation) \
             SELECT 's' || s, 'v', 'n' || n, 'up', 1 FROM generate_series(1, 3) s, generate_series(1, 100) n; \
             ANALYZE",
        )
        .await
        .unwrap();
    let scans = async |kind: &str| -> i64 {
        let sql = format!("SELECT {kind} FROM pg_stat_user_tables WHERE relname = 'node_status'");
        client.query_one(&sql, &[]).await.unwrap().get(0)
    };
    // Sessions hand in their counts when they end.
    fixture.store.disconnect();
    let (by_index, whole) = (scans("idx_scan").await, scans("seq_scan").await);
    let reader = connect(&fixture.url).await;
    for _ in 0..50 {
        reader.election_facts(&Target::Id(id)).await.unwrap().unwrap();
    }
    reader.disconnect();
    until(
        &client,
        "SELECT sum(idx_scan + seq_scan)::bigint FROM pg_stat_user_tables WHERE relname = 'node_status'",
        by_index + whole + 50,
    )
    .await;
    let (by_index, whole) = (scans("idx_scan").await - by_index, scans("seq_scan").await - whole);
    assert!(by_index >= 40 && whole <= 10, "{by_index} lookups by index, {whole} readings of the whole table");
}

/// It reads everything, so its deadline is its own, and goes with it: whoever has the session next is as impatient as ever.
#[tokio::test]
async fn a_count_has_a_deadline_of_its_own_and_leaves_it_to_nobody() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.create("r", Some("g1")).await;
    let with = |count_timeout| PostgresOptions {
        pool_size: 1,
        statement_timeout: Duration::from_millis(500),
        lock_timeout: Duration::from_secs(60),
        count_timeout,
        ..PostgresOptions::default()
    };
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'quorate' AND wait_event_type = 'Lock'";
    let (holder, watcher) = (raw(&fixture.url).await, raw(&fixture.url).await);
    let store = PostgresStore::connect(&fixture.url, with(Duration::from_secs(60))).await.unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE repositories").await.unwrap();
    let (healthy, target) = (BTreeSet::from([node("g1")]), Target::Id(id));
    let (counted, ()) = tokio::join!(store.repositories_count(&healthy), async {
        until(&watcher, waiting, 1).await;
        // Longer than any other statement may take.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        holder.batch_execute("COMMIT").await.unwrap();
    });
    let counted = counted.unwrap();
    assert_eq!(counted.iter().map(|count| (count.repositories, count.unavailable)).collect::<Vec<_>>(), [(1, 0)]);

    holder.batch_execute("BEGIN; LOCK TABLE repositories").await.unwrap();
    let late = store.election_facts(&target).await.unwrap_err();
    assert_eq!(*late.kind(), StoreErrorKind::Timeout, "the session that counted");
    let hasty = PostgresStore::connect(&fixture.url, with(Duration::from_millis(200))).await.unwrap();
    let began = std::time::Instant::now();
    assert_eq!(*hasty.repositories_count(&healthy).await.unwrap_err().kind(), StoreErrorKind::Timeout);
    assert!(began.elapsed() >= Duration::from_millis(200));
    until(&watcher, &waiting.replace("count(*)", "(count(*) = 0)::int::bigint"), 1).await;
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(hasty.repositories_count(&healthy).await.unwrap(), counted, "its session was thrown away");
}
