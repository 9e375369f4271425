//! Settling in sets, as only a server can show it: whom it keeps out, and whom it does not wait for.

use super::*;
use quorate::core::settling::SettlementOf;

const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('quorate settles v', 0))";

pub(crate) async fn batch(fixture: &Fixture) -> SettleBatch {
    batch_of(fixture, 1_000).await
}

async fn batch_of(fixture: &Fixture, most: u32) -> SettleBatch {
    let read = fixture.store.settle_facts(&node("g1"), RepositoryId(0), most).await.unwrap();
    let repositories = read.facts.repositories.iter().map(|led| SettlementOf {
        repository: led.repository,
        epoch: led.epoch,
        facts_version: led.facts_version,
        to: Some(storage("g2")),
    });
    SettleBatch {
        decision: DecisionId::new(uuid::Uuid::new_v4().to_string()).unwrap(),
        node: node("g1"),
        era: read.facts.era,
        at: read.facts.at,
        proposer: fixture.voter.clone(),
        why: "unhealthy".into(),
        evidence: "{}".into(),
        repositories: repositories.collect(),
    }
}

pub(crate) async fn won(fixture: &Fixture, batch: &SettleBatch) -> Vec<RepositoryId> {
    match fixture.store.settle_cas(batch).await.unwrap() {
        SettleOutcome::Done(won) => won.into_keys().collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_supervisor_at_a_time_settles_a_virtual_storage() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.create("r", Some("g1")).await;
    let batch = batch(&fixture).await;
    let other = raw(&fixture.url).await;
    other.batch_execute(&format!("BEGIN; {LOCK}")).await.unwrap();
    assert_eq!(fixture.store.settle_cas(&batch).await.unwrap(), SettleOutcome::Busy);
    assert_eq!(fixture.facts(id).await.facts.primary, Some(storage("g1")));
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(won(&fixture, &batch).await, [id], "a batch that was kept out is as good as before");
    other.batch_execute(&format!("BEGIN; {LOCK}")).await.unwrap();
    assert_eq!(won(&fixture, &batch).await, [id], "what was won is found again, whoever settles now");
}

#[tokio::test]
async fn rows_that_somebody_holds_are_passed_over_without_waiting() {
    let fixture = Fixture::new().await;
    let (held, _) = fixture.create("held", Some("g1")).await;
    let (free, _) = fixture.create("free", Some("g1")).await;
    let batch = batch(&fixture).await;
    let lookup = raw(&fixture.url).await;
    let lock = format!("BEGIN; SELECT 1 FROM repositories WHERE repository_id = {} FOR NO KEY UPDATE", held.0);
    lookup.batch_execute(&lock).await.unwrap();
    assert_eq!(won(&fixture, &batch).await, [free], "the server's lock_timeout would have been an error");
    lookup.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(fixture.facts(held).await.facts.primary, Some(storage("g1")));
    assert_eq!(won(&fixture, &self::batch(&fixture).await).await, [held], "it comes again");
}

#[tokio::test]
async fn another_server_raises_the_era_and_settles_nothing() {
    let fixture = Fixture::new().await;
    let (id, epoch) = fixture.create("r", Some("g1")).await;
    let first = batch(&fixture).await;
    raw(&fixture.url).await.batch_execute("UPDATE eras SET timeline = '0000FFFF'").await.unwrap();
    assert_eq!(fixture.store.settle_cas(&first).await.unwrap(), SettleOutcome::EraChanged);
    assert_eq!(won(&fixture, &first).await, [], "facts of the era before elect nobody");
    let again = batch(&fixture).await;
    assert_eq!(won(&fixture, &again).await, [id]);
    let now = fixture.facts(id).await.facts.epoch;
    assert!(now > epoch && now.is_some_and(|epoch| epoch.era() == again.era), "{now:?}");
}

#[tokio::test]
async fn a_large_batch_is_told_as_one() {
    let fixture = Fixture::new().await;
    let client = raw(&fixture.url).await;
    client
        .batch_execute(
            "INSERT INTO repositories (virtual_storage, relative_path, generation, \"primary\", replica_path)
             SELECT 'v', 'many/' || i, 0, 'g' || (i % 3 + 1), 'many/' || i FROM generate_series(1, 30000) i;
             INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
             SELECT virtual_storage, relative_path, 'g' || j, 0, repository_id
             FROM repositories, generate_series(1, 3) j;
             ANALYZE; DELETE FROM changes",
        )
        .await
        .unwrap();
    let batch = batch(&fixture).await;
    assert_eq!(won(&fixture, &batch).await.len(), 1_000);
    let told = client.query("SELECT key FROM changes WHERE kind = 'elected'", &[]).await.unwrap();
    let told: Vec<String> = told.iter().map(|row| row.get(0)).collect();
    assert_eq!(told, [r#"{"virtual_storage" : "v", "primary" : "g1"}"#]);
    let recorded = client.query_one("SELECT count(*) FROM decisions", &[]).await.unwrap();
    assert_eq!(recorded.get::<_, i64>(0), 1, "one record for all of them");
}

/// Few of very many are found, whatever stands between them, and by no statement that reads everything.
#[tokio::test]
async fn a_large_table_is_walked_in_steps() {
    let fixture = Fixture::new().await;
    let client = raw(&fixture.url).await;
    client
        .batch_execute(
            "INSERT INTO repositories (virtual_storage, relative_path, generation, \"primary\", replica_path)
             SELECT 'v', 'many/' || i, 0, CASE WHEN i IN (5, 99999, 100001, 200000, 210000) THEN 'g1' END, 'many/' || i
             FROM generate_series(1, 210000) i; ANALYZE repositories",
        )
        .await
        .unwrap();
    let first: i64 = client.query_one("SELECT min(repository_id) FROM repositories", &[]).await.unwrap().get(0);
    let (mut after, mut steps) = (RepositoryId(i64::MIN), Vec::new());
    loop {
        let read = fixture.store.settle_facts(&node("g1"), after, 3).await.unwrap().facts;
        let found = read.repositories.iter().map(|led| led.repository.0 - first + 1).collect::<Vec<_>>();
        steps.push((found, read.until.map(|until| until.0 - first + 1)));
        let Some(until) = read.until else { break };
        after = until;
    }
    let plan = client
        .query(
            "EXPLAIN SELECT repository_id FROM ( \
             SELECT * FROM repositories WHERE repository_id > 5 ORDER BY repository_id LIMIT 100000) looked \
             WHERE virtual_storage = 'v' AND \"primary\" = 'g1' ORDER BY repository_id LIMIT 500",
            &[],
        )
        .await
        .unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("Index Scan using repositories_pkey")), "{plan:#?}");
    assert!(!plan.iter().any(|line| line.contains("Sort")), "a full batch ends it early: {plan:#?}");
    let expected = [(vec![5, 99_999], Some(100_000)), (vec![100_001, 200_000], Some(200_000)), (vec![210_000], None)];
    assert_eq!(steps, expected);
}

/// An election costs a page of the table and of none of its indexes: by the server's own counters.
#[tokio::test]
async fn an_election_writes_to_no_index_of_the_repositories() {
    let fixture = Fixture::new().await;
    let mut client = raw(&fixture.url).await;
    client
        .batch_execute(
            "INSERT INTO repositories (virtual_storage, relative_path, generation, \"primary\", replica_path)
             SELECT 'v', 'many/' || i, 0, 'g' || (i % 3 + 1), 'many/' || i FROM generate_series(1, 3000) i",
        )
        .await
        .unwrap();
    let settling = client.transaction().await.unwrap();
    let cas = "SELECT quorate_settle_cas('d', 'v', (SELECT max(era) FROM eras), quorate_micros(clock_timestamp()), name, \
               incarnation, 'unhealthy', '{}', (SELECT json_agg(json_build_object('id', repository_id, \
               'epoch', primary_epoch, 'facts', facts_version, 'elected', 'g2')) FROM repositories \
               WHERE \"primary\" = 'g1')) ->> 'outcome' FROM supervisors";
    assert_eq!(settling.query_one(cas, &[]).await.unwrap().get::<_, String>(0), "done");
    let updated = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'repositories'";
    let updated = settling.query_one(updated, &[]).await.unwrap();
    assert_eq!((updated.get::<_, i64>(0), updated.get::<_, i64>(1)), (1_000, 1_000));
}

/// A session plans what its triggers do when it first needs it, for one row then. What that plan costs for thousands would
/// not end within the server's `statement_timeout`.
#[tokio::test]
async fn a_large_batch_costs_what_its_rows_do_though_its_session_elected_one_before() {
    let fixture = Fixture::new().await;
    let (one, _) = fixture.create("one", Some("g1")).await;
    let client = raw(&fixture.url).await;
    client
        .batch_execute(
            "INSERT INTO repositories (virtual_storage, relative_path, generation, \"primary\", replica_path)
             SELECT 'v', 'many/' || i, 0, 'g1', 'many/' || i FROM generate_series(1, 3000) i;
             INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
             SELECT virtual_storage, relative_path, 'g2', 0, repository_id FROM repositories WHERE relative_path <> 'one';
             ANALYZE",
        )
        .await
        .unwrap();
    fixture.elect(one, "first", "g2").await;
    let batch = batch_of(&fixture, 10_000).await;
    assert_eq!(won(&fixture, &batch).await.len(), 3_000);
    let history = "SELECT count(*), count(decision) FROM primary_changes WHERE previous = 'g1'";
    let history = client.query_one(history, &[]).await.unwrap();
    assert_eq!(
        (history.get::<_, i64>(0), history.get::<_, i64>(1)),
        (3_001, 3_001),
        "each has one line, with its decision"
    );
}
