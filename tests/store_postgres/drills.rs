//! Drills of the protocol, at the store's level, and what they rest on.

use super::*;

const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND application_name = 'quorate' AND wait_event_type = 'Lock'";

#[tokio::test]
async fn d03_a_compare_and_set_that_waited_sees_what_it_waited_for() {
    for change in [
        "UPDATE storage_repositories SET generation = generation - 1 WHERE storage = 'g2'",
        "DELETE FROM storage_repositories WHERE storage = 'g2'",
        "UPDATE storage_repositories SET generation = 1 WHERE storage <> 'g2'; UPDATE repositories SET generation = 1",
        "INSERT INTO replication_queue (job) SELECT jsonb_build_object('change', 'delete_replica', 'repository_id', \
         repository_id, 'virtual_storage', virtual_storage, 'relative_path', relative_path, 'target_node_storage', 'g2') \
         FROM repositories",
        "DELETE FROM repository_assignments WHERE storage = 'g2'",
    ] {
        let fixture = Fixture::new().await;
        let (id, _) = fixture.create("r", Some("g1")).await;
        let snapshot = fixture.facts(id).await;
        let holder = raw(&fixture.url).await;
        holder.batch_execute("BEGIN; SELECT 1 FROM repositories FOR NO KEY UPDATE").await.unwrap();
        let watcher = raw(&fixture.url).await;
        let proposal = fixture.proposal(&snapshot, "d", Some("g2"));
        let (outcome, ()) = tokio::join!(fixture.store.primary_cas(&proposal), async {
            until(&watcher, WAITING, 1).await;
            holder.batch_execute(change).await.unwrap();
            holder.batch_execute("COMMIT").await.unwrap();
        });
        assert_eq!(outcome.unwrap(), CasOutcome::Lost, "{change}");
        assert_eq!(fixture.facts(id).await.facts.primary, Some(storage("g1")), "{change}");
    }
}

#[tokio::test]
async fn d04_old_facts_and_lapsed_or_recused_proposers_move_nothing() {
    let mut settings = patient();
    settings.decision_ttl = Duration::from_millis(300);
    let fixture = Fixture::with(&settings).await;
    let (id, _) = fixture.create("r", Some("g1")).await;
    let snapshot = fixture.facts(id).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let old = fixture.proposal(&snapshot, "old", Some("g2"));
    assert_eq!(fixture.store.primary_cas(&old).await.unwrap(), CasOutcome::Lost);
    fixture.store.settings_update(&patient()).await.unwrap();
    let mut future = fixture.proposal(&fixture.facts(id).await, "future", Some("g2"));
    future.expected.at.0 += 60_000_000;
    assert_eq!(fixture.store.primary_cas(&future).await.unwrap(), CasOutcome::Lost);
    let client = raw(&fixture.url).await;
    for (state, undo) in [
        ("recused_since = now()", "recused_since = NULL"),
        ("heartbeat_at = now() - interval '1 hour'", "heartbeat_at = now()"),
        ("incarnation = incarnation + 1", "incarnation = incarnation - 1"),
    ] {
        client.batch_execute(&format!("UPDATE supervisors SET {state}")).await.unwrap();
        let proposal = fixture.proposal(&fixture.facts(id).await, "mine", Some("g2"));
        assert_eq!(fixture.store.primary_cas(&proposal).await.unwrap(), CasOutcome::Lost, "{state}");
        client.batch_execute(&format!("UPDATE supervisors SET {undo}")).await.unwrap();
    }
    fixture.elect(id, "now", "g2").await;
}

#[tokio::test]
async fn d12_another_server_or_timeline_raises_the_era_first() {
    let fixture = Fixture::new().await;
    let (id, epoch) = fixture.create("r", Some("g1")).await;
    let client = raw(&fixture.url).await;
    client.batch_execute("UPDATE eras SET timeline = '0000FFFF'").await.unwrap();
    let fence = Fence { epoch: epoch.unwrap(), primary: storage("g1") };
    let answer = fixture.store.generation_increment(id, Some(&fence), &set(&["g1"])).await.unwrap();
    assert_eq!(answer, Outcome::EraChanged);
    assert_eq!(fixture.facts(id).await.facts.generation, Some(Generation(0)));
    let second = fixture.elect(id, "d", "g2").await;
    assert!(second > epoch.unwrap() && second.era() > Era(400_000), "{second}");
}

#[tokio::test]
async fn d14_created_again_the_epochs_rise_and_a_stale_client_deletes_nothing() {
    let fixture = Fixture::new().await;
    let (first, epoch) = fixture.create("r", Some("g1")).await;
    let fence = Fence { epoch: epoch.unwrap(), primary: storage("g1") };
    let deleted = fixture.store.repository_delete(first, Some(&fence)).await.unwrap();
    assert!(matches!(deleted, Outcome::Done(Deleted { ref storages, .. }) if storages.len() == 3), "{deleted:?}");
    let (second, again) = fixture.create("r", Some("g1")).await;
    assert!(second > first && again > epoch);
    assert_eq!(fixture.store.repository_delete(first, Some(&fence)).await.unwrap(), Outcome::NotFound);
    let stale = fixture.store.repository_delete(second, Some(&fence)).await.unwrap();
    assert!(matches!(stale, Outcome::Stale(_)), "{stale:?}");
    let mut same_id = new_repository("other", Some("g1"));
    same_id.id = Some(first);
    let Outcome::Done(third) = fixture.store.repository_create(&same_id).await.unwrap() else { panic!() };
    assert!(third.repository == first && third.epoch > again);
    let stale = fixture.store.repository_delete(first, Some(&fence)).await.unwrap();
    assert!(matches!(stale, Outcome::Stale(_)), "{stale:?}");
}

#[tokio::test]
async fn d20_five_thousand_repositories_in_one_statement() {
    for notifications in [false, true] {
        let mut settings = patient();
        settings.praefect_notifications = notifications;
        let fixture = Fixture::with(&settings).await;
        let client = raw(&fixture.url).await;
        client
            .batch_execute(
                "INSERT INTO repositories (virtual_storage, relative_path, generation, \"primary\", facts_version) \
                 SELECT 'v', repeat('long/', 20) || i, 0, 'g1', 7 FROM generate_series(1, 5000) i; \
                 INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id) \
                 SELECT 'v', relative_path, 'g1', 0, repository_id FROM repositories",
            )
            .await
            .unwrap();
        let counted = client
            .query_one(
                "SELECT count(DISTINCT primary_epoch), min(facts_version), (SELECT count(*) FROM primary_changes), \
                 (SELECT count(*) FROM changes WHERE kind = 'primaries') FROM repositories",
                &[],
            )
            .await
            .unwrap();
        assert_eq!((counted.get::<_, i64>(0), counted.get::<_, i64>(1), counted.get::<_, i64>(2)), (5_000, 8, 5_000));
        assert_eq!(counted.get::<_, i64>(3), 1, "very many become one: re-read the virtual storage");
        client.batch_execute("UPDATE storage_repositories SET generation = 1; DELETE FROM repositories").await.unwrap();
    }
}

#[tokio::test]
async fn d23_a_retry_finds_its_own_decision() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.create("r", Some("g1")).await;
    let proposal = fixture.proposal(&fixture.facts(id).await, "d", Some("g2"));
    let first = fixture.store.primary_cas(&proposal).await.unwrap();
    let moved = fixture.elect(id, "other", "g3").await;
    assert_eq!(fixture.store.primary_cas(&proposal).await.unwrap(), first);
    assert_eq!(fixture.facts(id).await.facts.epoch, Some(moved));
}

#[tokio::test]
async fn d27_overtaking_votes_end_as_the_latest_opinion() {
    let fixture = Fixture::new().await;
    let told = |snapshot: HealthSnapshot| {
        let row = snapshot.facts.votes.into_iter().find(|row| row.node == node("g1")).unwrap();
        (row.opinion, row.incarnation, row.contact_age.is_some(), row.seen_age.is_some())
    };
    let mine = Some(fixture.voter.incarnation);
    assert_eq!(told(fixture.store.health_facts().await.unwrap()), (Some(Opinion::None), mine, false, false));
    assert_eq!(fixture.vote(2, &[("g1", Opinion::Down)]).await, VotesWritten::Written { changed: 1 });
    assert_eq!(fixture.vote(1, &[("g1", Opinion::Up)]).await, VotesWritten::Written { changed: 0 });
    assert_eq!(told(fixture.store.health_facts().await.unwrap()), (Some(Opinion::Down), mine, true, false));
    let mut again = registration("s1");
    again.previous = mine;
    let Registered::Registered { incarnation, .. } = fixture.store.supervisor_register(&again).await.unwrap() else {
        panic!()
    };
    assert_eq!(fixture.vote(9, &[("g1", Opinion::Up)]).await, VotesWritten::NotMine);
    let newer = Voter { incarnation, ..fixture.voter.clone() };
    let batch = VoteBatch { number: 1, votes: vec![(node("g1"), Opinion::Up), (node("g9"), Opinion::Down)] };
    assert_eq!(fixture.store.votes_write(&newer, &batch).await.unwrap(), VotesWritten::Written { changed: 2 });
    assert_eq!(told(fixture.store.health_facts().await.unwrap()), (Some(Opinion::Up), Some(incarnation), true, true));
    // Many at once, each batch in another order: no deadlock, and the highest number is what stays.
    let writes = (2..40_i64).map(|number| {
        let (store, newer) = (&fixture.store, &newer);
        async move {
            let opinion = if number == 39 { Opinion::Misconfigured } else { Opinion::Up };
            let mut votes = vec![(node("g1"), opinion), (node("g2"), opinion), (node("g3"), opinion)];
            votes.rotate_left(usize::try_from(number % 3).unwrap());
            store.votes_write(newer, &VoteBatch { number, votes }).await.unwrap()
        }
    });
    futures_util::future::join_all(writes).await;
    assert_eq!(told(fixture.store.health_facts().await.unwrap()).0, Some(Opinion::Misconfigured));
}

#[tokio::test]
async fn d28_a_session_frozen_in_a_transaction_holds_nobody_up() {
    for ours in [true, false] {
        let fixture = Fixture::new().await;
        let (id, _) = fixture.create("r", Some("g1")).await;
        let snapshot = fixture.facts(id).await;
        let frozen = raw(&fixture.url).await;
        if ours {
            frozen.batch_execute(&PostgresOptions::default().session_settings()).await.unwrap();
        }
        frozen.batch_execute("BEGIN; SELECT 1 FROM repositories FOR UPDATE").await.unwrap();
        let started = tokio::time::Instant::now();
        let mut won = false;
        for attempt in 0..2 {
            let proposal = fixture.proposal(&snapshot, &format!("d{attempt}"), Some("g2"));
            match fixture.store.primary_cas(&proposal).await {
                Ok(outcome) => won = matches!(outcome, CasOutcome::Won { .. }),
                Err(error) => assert_eq!(*error.kind(), StoreErrorKind::Locked),
            }
            if won {
                break;
            }
        }
        assert_eq!(won, ours, "without the timeout it must fail, or this shows nothing");
        assert!(!ours || started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_hundred_at_once_have_one_winner() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.create("r", Some("g1")).await;
    let snapshot = fixture.facts(id).await;
    let patient = PostgresOptions {
        pool_size: 25,
        statement_timeout: Duration::from_secs(60),
        lock_timeout: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(30),
        ..PostgresOptions::default()
    };
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(PostgresStore::connect(&fixture.url, patient.clone()).await.unwrap());
    }
    let holder = raw(&fixture.url).await;
    holder.batch_execute("BEGIN; SELECT 1 FROM repositories FOR UPDATE").await.unwrap();
    let watcher = raw(&fixture.url).await;
    let contest = (0..100).map(|n| {
        let (fixture, snapshot, store) = (&fixture, &snapshot, &stores[n % 4]);
        async move {
            let to = ["g2", "g3"][n % 2];
            store.primary_cas(&fixture.proposal(snapshot, &format!("d{n}"), Some(to))).await.unwrap()
        }
    });
    let (outcomes, ()) = tokio::join!(futures_util::future::join_all(contest), async {
        until(&watcher, WAITING, 100).await;
        holder.batch_execute("COMMIT").await.unwrap();
    });
    let won = outcomes.iter().filter(|outcome| matches!(outcome, CasOutcome::Won { .. })).count();
    let lost = outcomes.iter().filter(|outcome| **outcome == CasOutcome::Lost).count();
    assert_eq!((won, lost), (1, 99));
    let mut seen = BTreeSet::new();
    for store in &stores {
        let facts = store.election_facts(&Target::Id(id)).await.unwrap().unwrap().facts;
        seen.insert((facts.primary, facts.epoch));
    }
    assert_eq!(seen.len(), 1);
    assert_eq!(fixture.store.primary_history(id, 10).await.unwrap().len(), 2);
}
