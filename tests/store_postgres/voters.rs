//! Being a voter among others: what waits for whom, and rows that nobody of us has written.

use super::*;

const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND application_name = 'quorate' AND wait_event_type = 'Lock'";

/// As a supervisor does it, but in a transaction that stays open.
fn registering(name: &str, process: &str) -> String {
    format!(
        "BEGIN; SELECT quorate_supervisor_register('{name}', NULL, NULL, '1', \
         '[{{\"virtual_storage\": \"v\", \"storage\": \"g1\"}}]', '{process}', 1)"
    )
}

#[tokio::test]
async fn a_flood_of_lookups_holds_up_no_heartbeat() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.create("r", Some("g1")).await;
    let options = PostgresOptions {
        pool_size: 2,
        statement_timeout: Duration::from_secs(60),
        lock_timeout: Duration::from_secs(60),
        ..PostgresOptions::default()
    };
    let store = PostgresStore::connect(&fixture.url, options).await.unwrap();
    let holder = raw(&fixture.url).await;
    holder.batch_execute("BEGIN; SELECT 1 FROM repositories FOR UPDATE").await.unwrap();
    let watcher = raw(&fixture.url).await;
    let (g2, g3) = (storage("g2"), storage("g3"));
    let (one, two, ()) = tokio::join!(store.replica_mark(id, &g2), store.replica_mark(id, &g3), async {
        until(&watcher, WAITING, 2).await;
        let target = Target::Id(id);
        let lookup = tokio::time::timeout(Duration::from_millis(300), store.election_facts(&target)).await;
        assert!(lookup.is_err(), "both connections must be taken, or this shows nothing");
        let voting = async {
            assert!(matches!(store.supervisor_heartbeat(&fixture.voter).await.unwrap(), Heartbeat::Alive { .. }));
            let batch = VoteBatch { number: 1, votes: vec![(node("g1"), Opinion::Up)] };
            store.votes_write(&fixture.voter, &batch).await.unwrap();
            store.health_facts().await.unwrap();
            assert!(matches!(
                store.supervisor_register(&registration("s2")).await.unwrap(),
                Registered::Registered { .. }
            ));
        };
        tokio::time::timeout(Duration::from_secs(20), voting).await.expect("being a voter waits for no lookup");
        holder.batch_execute("COMMIT").await.unwrap();
    });
    one.unwrap();
    two.unwrap();
}

#[tokio::test]
async fn a_vote_that_meets_a_registration_waits_for_it_and_is_not_mine() {
    let fixture = Fixture::new().await;
    let newer = raw(&fixture.url).await;
    newer.batch_execute(&registering("s1", "another")).await.unwrap();
    let watcher = raw(&fixture.url).await;
    // A node without a row, so that nothing else is in the way.
    let batch = VoteBatch { number: 1, votes: vec![(node("g9"), Opinion::Up)] };
    let (written, ()) = tokio::join!(fixture.store.votes_write(&fixture.voter, &batch), async {
        tokio::time::timeout(Duration::from_millis(800), until(&watcher, WAITING, 1)).await.ok();
        newer.batch_execute("COMMIT").await.unwrap();
    });
    assert_eq!(written.unwrap(), VotesWritten::NotMine);
    let votes = fixture.store.health_facts().await.unwrap().facts.votes;
    assert!(votes.iter().all(|row| row.node != node("g9")), "{votes:?}");
}

#[tokio::test]
async fn two_first_registrations_of_a_name_see_each_other() {
    let fixture = Fixture::new().await;
    let first = raw(&fixture.url).await;
    first.batch_execute(&registering("fresh", "first")).await.unwrap();
    let watcher = raw(&fixture.url).await;
    let fresh = registration("fresh");
    let (second, ()) = tokio::join!(fixture.store.supervisor_register(&fresh), async {
        until(&watcher, WAITING, 1).await;
        first.batch_execute("COMMIT").await.unwrap();
    });
    let Registered::Registered { incarnation, .. } = second.unwrap() else { panic!("the second takes over") };
    let third = fixture.store.supervisor_register(&registration("fresh")).await.unwrap();
    assert_eq!(third, Registered::NameInUse { held_by: incarnation }, "it took over from a live one");
}

#[tokio::test]
async fn nobody_is_given_an_id_while_another_moves_the_sequence() {
    let fixture = Fixture::new().await;
    let mover = raw(&fixture.url).await;
    let by_hand = "BEGIN; SELECT quorate_repository_create('v', 'by hand', NULL, 1000, '[\"g1\"]', NULL, '[]')";
    mover.batch_execute(by_hand).await.unwrap();
    let watcher = raw(&fixture.url).await;
    let new = new_repository("next", None);
    let (next, ()) = tokio::join!(fixture.store.repository_create(&new), async {
        until(&watcher, WAITING, 1).await;
        mover.batch_execute("COMMIT").await.unwrap();
    });
    let Outcome::Done(next) = next.unwrap() else { panic!() };
    assert_eq!(next.repository, RepositoryId(1_001));
}

/// The same from the other side, many at once: no id is given twice, not even one whose repository has gone again.
#[tokio::test]
async fn ids_picked_by_hand_and_ids_of_the_sequence_never_meet() {
    let fixture = Fixture::new().await;
    let creates = (0..60_i64).map(|n| {
        let store = &fixture.store;
        async move {
            let mut new = new_repository(&format!("r{n}"), None);
            // Each just ahead of where the others have come to.
            new.id = (n % 3 == 0).then_some(RepositoryId(n + 5));
            match store.repository_create(&new).await.unwrap() {
                Outcome::Done(created) => {
                    fixture_delete(store, created.repository).await;
                    Some(created.repository)
                }
                Outcome::Refused(Refused::IdTaken) => None,
                other => panic!("{other:?}"),
            }
        }
    });
    let given: Vec<RepositoryId> = futures_util::future::join_all(creates).await.into_iter().flatten().collect();
    let of_sequence: Vec<_> =
        given.iter().enumerate().filter(|(_, id)| given.iter().filter(|other| other == id).count() > 1).collect();
    assert!(of_sequence.is_empty(), "given twice: {of_sequence:?}");
}

/// Without a trace, so that only the sequence can tell that the id was given.
async fn fixture_delete(store: &PostgresStore, id: RepositoryId) {
    let facts = store.election_facts(&Target::Id(id)).await.unwrap().unwrap().facts;
    let fence = facts.epoch.zip(facts.primary).map(|(epoch, primary)| Fence { epoch, primary });
    let _ = store.repository_delete(id, fence.as_ref()).await.unwrap();
}

#[tokio::test]
async fn a_row_of_supervisors_that_we_would_not_write_costs_only_itself() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.create("r", Some("g1")).await;
    let client = raw(&fixture.url).await;
    client
        .batch_execute(
            "INSERT INTO supervisors (name, incarnation, registered_at, heartbeat_at, version) VALUES
             (E'bad\\nname', 1000, now(), now(), '1'), ('', 1001, now(), now(), '1'),
             ('endless', 1002, now(), 'infinity', '1');
             INSERT INTO node_status (praefect_name, shard_name, node_name, verdict, incarnation)
             VALUES ('endless', 'v', 'g1', 'down', 1002)",
        )
        .await
        .unwrap();
    let health = fixture.store.health_facts().await.unwrap();
    assert_eq!(health.ignored, [r#""""#, r#""bad\nname""#, r#""endless""#]);
    let mine = |rows: &[quorate::core::consensus::SupervisorRow]| rows.iter().all(|row| row.name == fixture.voter.name);
    assert!(mine(&health.facts.supervisors), "{:?}", health.facts.supervisors);
    let facts = fixture.facts(id).await.facts;
    assert!(mine(&facts.supervisors), "{:?}", facts.supervisors);
    fixture.vote(1, &[("g1", Opinion::Up)]).await;
    let health = fixture.store.health_facts().await.unwrap();
    let tally = health.facts.evaluate(&patient())[&node("g1")].tally;
    assert_eq!((tally.electorate, tally.up, tally.down), (1, 1, 0), "nobody is no voter");
    fixture.elect(id, "d", "g2").await;
}
