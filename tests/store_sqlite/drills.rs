//! The drills that one process can play.

use crate::support::{
    Database, DoneExt, create, elect, epoch, facts, lan, node, path, proposal, register, registration, repository, set,
    storage, v,
};
use quorate::{
    core::{consensus::Opinion, election::Fence, ids::RepositoryId},
    store::{
        CasOutcome, ElectionStore, HealthStore, Heartbeat, Outcome, Refused, Registered, RepositoryStore, Target,
        VoteBatch, VotesWritten,
    },
};
use std::time::Duration;

#[tokio::test]
async fn d03_a_decision_that_waited_behind_a_change_of_its_candidate_is_lost() {
    let changes = [
        "UPDATE storage_repositories SET generation = -1 WHERE storage = 'g2'",
        "DELETE FROM storage_repositories WHERE storage = 'g2'",
        "UPDATE repositories SET generation = 1; UPDATE storage_repositories SET generation = 1 WHERE storage <> 'g2'",
        "INSERT INTO replication_queue (job) SELECT json_object('change', 'delete_replica', 'virtual_storage', 'v', \
         'relative_path', 'a', 'target_node_storage', 'g2', 'repository_id', repository_id) FROM repositories",
        "INSERT INTO repository_assignments (virtual_storage, relative_path, storage, repository_id) \
         SELECT 'v', 'a', 'g3', repository_id FROM repositories",
    ];
    for change in changes {
        let database = Database::new();
        let (store, s1) = database.started(&lan()).await;
        let id = create(&store, &repository("a")).await;
        let seen = facts(&store, id).await;
        let mut hand = database.hand();
        hand.run("BEGIN IMMEDIATE");
        hand.run(change);
        let waiting = tokio::spawn({
            let (store, proposal) = (store.clone(), proposal(&seen, "g2", &s1, "late"));
            async move { store.primary_cas(&proposal).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waiting.is_finished(), "it waits for the lock");
        hand.run("COMMIT");
        assert_eq!(waiting.await.unwrap().unwrap(), CasOutcome::Lost, "{change}");
        assert_eq!(facts(&store, id).await.facts.primary, None, "{change}");
        // The guard is what kept it: with fresh facts the same decision passes.
        elect(&store, id, "g2", &s1, "fresh").await;
    }
}

#[tokio::test]
async fn d04_old_facts_and_a_proposer_that_no_longer_counts_move_nothing() {
    let database = Database::new();
    let mut settings = lan();
    settings.decision_ttl = Duration::from_millis(100);
    let (store, s1) = database.started(&settings).await;
    let id = create(&store, &repository("a")).await;
    let mut seen = facts(&store, id).await;
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(store.primary_cas(&proposal(&seen, "g2", &s1, "old")).await.unwrap(), CasOutcome::Lost);
    seen = facts(&store, id).await;
    seen.facts.at.0 += 60_000_000;
    assert_eq!(store.primary_cas(&proposal(&seen, "g2", &s1, "ahead")).await.unwrap(), CasOutcome::Lost);
    let mut hand = database.hand();
    for (spoil, mend) in [
        ("recused_since = 1", "recused_since = NULL"),
        ("heartbeat_at = heartbeat_at - 2000", "heartbeat_at = heartbeat_at + 2000"),
        ("heartbeat_at = heartbeat_at + 90000", "heartbeat_at = heartbeat_at - 90000"),
        ("incarnation = incarnation + 1", "incarnation = incarnation - 1"),
    ] {
        hand.run(&format!("UPDATE supervisors SET {spoil}"));
        let seen = facts(&store, id).await;
        let lost = store.primary_cas(&proposal(&seen, "g2", &s1, spoil)).await.unwrap();
        assert_eq!(lost, CasOutcome::Lost, "{spoil}");
        hand.run(&format!("UPDATE supervisors SET {mend}"));
    }
    let seen = facts(&store, id).await;
    elect(&store, id, "g1", &s1, "first").await;
    let lost = store.primary_cas(&proposal(&seen, "g2", &s1, "second")).await.unwrap();
    assert_eq!(lost, CasOutcome::Lost, "another epoch");
}

#[tokio::test]
async fn d14_a_repository_made_again_keeps_nothing_of_its_former_life() {
    let database = Database::new();
    let (store, s1) = database.started(&lan()).await;
    let first = create(&store, &repository("a")).await;
    let stale = elect(&store, first, "g1", &s1, "one").await;
    store.replica_mark(first, &storage("g2")).await.unwrap().done();
    let seen = facts(&store, first).await.facts.facts_version;
    let gone = store.repository_delete(first, Some(&stale)).await.unwrap().done();
    assert_eq!((gone.replica_path.as_deref(), gone.storages.len()), (Some("a"), 3));

    let second = create(&store, &repository("a")).await;
    assert!(second > first, "ids are not given twice");
    assert_eq!(store.repository_delete(first, Some(&stale)).await.unwrap(), Outcome::NotFound);

    let mut again = repository("b");
    (again.id, again.primary) = (Some(first), Some(storage("g1")));
    assert_eq!(create(&store, &again).await, first);
    let now = facts(&store, first).await.facts;
    assert!(now.epoch.unwrap() > stale.epoch, "epochs go on rising");
    assert!(now.facts_version > seen, "and so do the versions of the facts");
    assert!(now.replicas.iter().all(|replica| !replica.marked), "no mark is left");
    let outcome = store.repository_delete(first, Some(&stale)).await.unwrap();
    assert!(matches!(outcome, Outcome::Stale(current) if current.epoch == now.epoch));
    assert_eq!(facts(&store, second).await.facts.relative_path, path("a"));
    let taken = store.repository_create(&again).await.unwrap();
    assert_eq!(taken, Outcome::Refused(Refused::PathTaken));
    again.relative_path = path("c");
    assert_eq!(store.repository_create(&again).await.unwrap(), Outcome::Refused(Refused::IdTaken));
}

#[tokio::test]
async fn d20_five_thousand_repositories_in_one_statement() {
    let database = Database::new();
    let (store, _) = database.started(&lan()).await;
    let mut hand = database.hand();
    hand.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
         INSERT INTO repositories (virtual_storage, relative_path, generation, \"primary\") \
         SELECT 'v', 'r' || i, 0, 'g1' FROM n; \
         INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id) \
         SELECT virtual_storage, relative_path, 'g1', 0, repository_id FROM repositories",
    );
    assert_eq!(hand.ask("SELECT COUNT(DISTINCT primary_epoch) FROM repositories"), "5000");
    assert_eq!(hand.ask("SELECT COUNT(*) FROM changes WHERE kind = 'primaries'"), "5000");
    let found = store.election_facts(&Target::Path(v(), path("r5000"))).await.unwrap().unwrap().facts;
    assert_eq!((found.primary, found.epoch), (Some(storage("g1")), Some(epoch(5000))));
}

#[tokio::test]
async fn d23_a_retry_whose_answer_was_lost_finds_its_own_decision() {
    let database = Database::new();
    let (store, s1) = database.started(&lan()).await;
    let id = create(&store, &repository("a")).await;
    let seen = facts(&store, id).await;
    let proposal = proposal(&seen, "g2", &s1, "mine");
    let first = store.primary_cas(&proposal).await.unwrap();
    assert!(matches!(first, CasOutcome::Won { .. }));
    assert_eq!(store.primary_cas(&proposal).await.unwrap(), first);
    elect(&store, id, "g3", &s1, "later").await;
    assert_eq!(store.primary_cas(&proposal).await.unwrap(), first, "what was committed was committed");
    let history = store.primary_history(id, 10).await.unwrap();
    assert_eq!(history.len(), 2, "once each: {history:?}");
    assert_eq!((history[0].previous.clone(), history[0].current.clone()), (Some(storage("g2")), Some(storage("g3"))));
    assert_eq!((history[1].why.as_deref(), history[1].supervisor.clone()), (Some("unhealthy"), Some(s1.name)));
    assert_eq!(facts(&store, id).await.facts.primary, Some(storage("g3")));
}

#[tokio::test]
async fn d27_votes_that_overtake_each_other_end_as_the_latest_opinion() {
    let database = Database::new();
    let (store, old) = database.started(&lan()).await;
    let opinion = |number, opinion| VoteBatch { number, votes: vec![(node("g1"), opinion)] };
    let mut again = registration("s1", &["g1", "g2", "g3"]);
    again.previous = Some(old.incarnation);
    let Registered::Registered { incarnation, .. } = store.supervisor_register(&again).await.unwrap() else { panic!() };
    let new = quorate::core::ids::Voter { name: old.name.clone(), incarnation };
    let written = store.votes_write(&new, &opinion(2, Opinion::Down)).await.unwrap();
    assert_eq!(written, VotesWritten::Written { changed: 1 });
    assert_eq!(store.votes_write(&old, &opinion(9, Opinion::Up)).await.unwrap(), VotesWritten::NotMine);
    let late = store.votes_write(&new, &opinion(1, Opinion::Up)).await.unwrap();
    assert_eq!(late, VotesWritten::Written { changed: 0 });
    let stored = store.health_facts().await.unwrap().facts.votes;
    let about_g1 = stored.iter().find(|vote| vote.node == node("g1")).unwrap();
    assert_eq!((about_g1.opinion, about_g1.incarnation), (Some(Opinion::Down), Some(incarnation)));
    assert!(about_g1.contact_age.is_some() && about_g1.seen_age.is_none(), "down is an attempt, not a sighting");
    let changes = "SELECT COUNT(*) FROM changes WHERE kind = 'votes'";
    let before = database.hand().ask(changes);
    store.votes_write(&new, &opinion(3, Opinion::Down)).await.unwrap();
    assert_eq!(database.hand().ask(changes), before, "the same opinion tells nobody");
}

#[tokio::test]
async fn a_name_is_taken_over_once_but_not_in_turns() {
    let database = Database::new();
    let (store, first) = database.started(&lan()).await;
    let second = register(&store, "s1").await;
    let by = second.incarnation;
    assert_eq!(store.supervisor_heartbeat(&first).await.unwrap(), Heartbeat::Superseded { by });
    assert!(!store.supervisor_remove(&first).await.unwrap(), "it is not its row any more");
    let refused = store.supervisor_register(&registration("s1", &["g1"])).await.unwrap();
    assert_eq!(refused, Registered::NameInUse { held_by: by });
    assert!(matches!(store.supervisor_heartbeat(&second).await.unwrap(), Heartbeat::Alive { .. }));
    let mut again = registration("s1", &["g1"]);
    again.previous = Some(by);
    assert!(matches!(store.supervisor_register(&again).await.unwrap(), Registered::Registered { .. }));
    let refused = store.supervisor_register(&registration("s1", &["g1"])).await.unwrap();
    assert!(matches!(refused, Registered::NameInUse { .. }), "taking its own place forgave nothing");
    let mut hand = database.hand();
    assert_eq!(hand.ask("SELECT group_concat(node_name) FROM node_status"), "g1", "unwatched rows went");
    hand.run("UPDATE supervisors SET heartbeat_at = heartbeat_at - 2000");
    assert_eq!(store.supervisor_heartbeat(&first).await.unwrap(), Heartbeat::Superseded { by: third(&mut hand) });
    let fourth = register(&store, "s1").await;
    hand.run("UPDATE supervisors SET heartbeat_at = heartbeat_at - 2000");
    assert_eq!(store.supervisor_heartbeat(&fourth).await.unwrap(), Heartbeat::Lapsed);
    hand.run("DELETE FROM supervisors");
    assert_eq!(store.supervisor_heartbeat(&fourth).await.unwrap(), Heartbeat::Gone);
}

fn third(hand: &mut crate::support::Hand) -> quorate::core::ids::Incarnation {
    quorate::core::ids::Incarnation(hand.ask("SELECT incarnation FROM supervisors").parse().unwrap())
}

#[tokio::test]
async fn d01_a_write_under_an_older_epoch_is_not_acknowledged() {
    let database = Database::new();
    let (store, s1) = database.started(&lan()).await;
    let id: RepositoryId = create(&store, &repository("a")).await;
    let old: Fence = elect(&store, id, "g1", &s1, "one").await;
    let new = elect(&store, id, "g2", &s1, "two").await;
    let stale = store.generation_increment(id, Some(&old), &set(&["g1", "g3"])).await.unwrap();
    assert!(matches!(stale, Outcome::Stale(current) if current.admits(&new)));
    let all = set(&["g2", "g3"]);
    assert_eq!(store.generation_increment(id, Some(&new), &all).await.unwrap().done().0, 1);
}
