//! Committing a decision: only if nothing it rested on has moved.

use super::world::{World, done, ok, rows, storage, storages, wait_until};
use crate::core::{
    epoch::{Epoch, Era, Generation},
    ids::{Incarnation, RepositoryId, Voter},
    settings::Profile,
    time::micros,
};
use crate::store::{CasOutcome, Store};
use futures_util::future::join_all;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// The primary changes, under a new and higher epoch; nothing else does.
pub async fn an_election_is_committed(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let before = world.facts(id).await;
    let epoch = world.elect(id, Some("g2"), &s1).await;
    assert!(Some(epoch) > before.epoch, "{epoch} must be above {:?}", before.epoch);
    assert_eq!(epoch.era(), Era(1), "eras start at 1");
    let mut expected = rows(&before);
    (expected.primary, expected.epoch) = (Some(storage("g2")), Some(epoch));
    let mut after = rows(&world.facts(id).await);
    after.facts_version = expected.facts_version;
    assert_eq!(after, expected);
}

/// To NULL is a change like any other: it takes an epoch.
pub async fn a_demotion_is_committed(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let before = world.facts(id).await.epoch;
    let epoch = world.elect(id, None, &s1).await;
    let after = world.facts(id).await;
    assert_eq!((after.primary, after.epoch), (None, Some(epoch)));
    assert!(Some(epoch) > before);
}

/// D25: "no epoch" is an expectation like any other, both ways.
pub async fn d25_expectations_are_null_safe(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let fresh = world.repository_with("fresh", None).await;
    let facts = world.facts(fresh).await;
    assert_eq!((facts.primary.clone(), facts.epoch), (None, None), "no primary was asked for");
    let mut wrong = world.proposal(&facts, Some("g1"), &s1);
    wrong.expected.epoch = Some(some_epoch());
    world.loses("an epoch is expected where there is none", &wrong).await;
    let right = world.proposal(&facts, Some("g2"), &s1);
    assert!(matches!(world.cas(&right).await, CasOutcome::Won { .. }), "NULL was expected and is there");
    let mut wrong = world.proposal(&world.facts(fresh).await, Some("g1"), &s1);
    wrong.expected.epoch = None;
    world.loses("no epoch is expected where there is one", &wrong).await;
    world.elect(fresh, None, &s1).await;
    assert!(world.facts(fresh).await.epoch.is_some(), "after a demotion there is an epoch without a primary");
    world.elect(fresh, Some("g3"), &s1).await;
}

fn some_epoch() -> Epoch {
    match Epoch::new(Era(1), 77_777) {
        Ok(epoch) => epoch,
        Err(error) => panic!("{error}"),
    }
}

/// D3: whatever lowers, removes, marks, unassigns or overtakes the candidate first makes the election fail.
pub async fn d03_what_moved_is_not_elected(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    for (number, what) in
        ["increment", "lower", "remove", "mark", "assign", "elect", "authoritative"].iter().enumerate()
    {
        let id = world.repository(&format!("r{number}")).await;
        let facts = world.facts(id).await;
        let proposal = world.proposal(&facts, Some("g2"), &s1);
        let fence = world.fence(id).await;
        let (store, g2) = (&world.store, storage("g2"));
        match *what {
            "increment" => {
                world.write(id, &["g1", "g3"]).await;
            }
            "lower" => done("lower", store.generation_set(id, Some(&fence), &g2, Generation(-1)).await),
            "remove" => done("remove", store.replica_delete(id, Some(&fence), &g2).await),
            "mark" => done("mark", store.replica_mark(id, &g2).await),
            "assign" => {
                done("assign", store.assignments_replace(id, facts.facts_version, &storages(&["g3"])).await);
            }
            "elect" => {
                world.elect(id, Some("g3"), &s1).await;
            }
            // The last of the list.
            authoritative => {
                let set = store.authoritative_set(id, &storage("g3"), facts.facts_version, &s1).await;
                done(authoritative, set);
            }
        }
        world.loses(&format!("after `{what}` the facts have moved"), &proposal).await;
    }
}

/// Facts of another life of the database elect nobody.
pub async fn another_era_loses(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let mut proposal = world.proposal(&world.facts(id).await, Some("g2"), &s1);
    proposal.expected.era = Era(2);
    world.loses("the era is another", &proposal).await;
}

/// D4: whoever slept between facts and commit commits nothing, by the database's clock.
pub async fn d04_old_facts_lose(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let proposal = world.proposal(&world.facts(id).await, Some("g2"), &s1);
    let ttl = Duration::from_millis(50);
    world.set(|settings| settings.decision_ttl = ttl).await;
    let read_at = proposal.expected.at.0;
    wait_until("the facts are too old", async || world.health().await.at.0 - read_at >= micros(ttl)).await;
    world.loses("the facts are older than decision_ttl", &proposal).await;
}

/// Facts from the future: the clock was set back since they were read.
pub async fn facts_of_the_future_lose(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let mut proposal = world.proposal(&world.facts(id).await, Some("g2"), &s1);
    proposal.expected.at.0 += micros(Duration::from_secs(50));
    world.loses("the facts are of the future", &proposal).await;
}

/// Nobody, or somebody who has gone, proposes nothing.
pub async fn a_strangers_proposal_loses(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let stranger = Voter { name: super::world::supervisor("s9"), incarnation: s1.incarnation };
    let proposal = world.proposal(&world.facts(id).await, Some("g2"), &stranger);
    world.loses("the proposer never registered", &proposal).await;
    let proposal = world.proposal(&world.facts(id).await, Some("g2"), &s1);
    ok("stop", world.store.supervisor_remove(&s1).await);
    world.loses("the proposer has stopped", &proposal).await;
}

/// A superseded process proposes nothing, and neither does an incarnation that never was.
pub async fn a_superseded_proposal_loses(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let old = world.voter("s1").await;
    let new = world.voter("s1").await;
    let id = world.repository("a").await;
    let facts = world.facts(id).await;
    world.loses("the proposer is superseded", &world.proposal(&facts, Some("g2"), &old)).await;
    let future = Voter { incarnation: Incarnation(new.incarnation.0 + 1), ..new.clone() };
    world.loses("no such incarnation", &world.proposal(&facts, Some("g2"), &future)).await;
    assert!(matches!(world.cas(&world.proposal(&facts, Some("g2"), &new)).await, CasOutcome::Won { .. }));
}

/// A lapsed process proposes nothing, though its facts are young.
pub async fn a_lapsed_proposal_loses(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    world.voter_ttl(Duration::from_millis(50)).await;
    world.lapse(&s1).await;
    world.loses("the proposer has lapsed", &world.proposal(&world.facts(id).await, Some("g2"), &s1)).await;
}

/// Praefect has no registered proposers, so under policy `half` nobody is asked for a registration.
pub async fn under_half_anybody_may_propose(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    world.profile(Profile::Praefect).await;
    world.set(|settings| settings.decision_ttl = Duration::from_secs(50)).await;
    let stranger = Voter { name: super::world::supervisor("s9"), incarnation: Incarnation(0) };
    let id = world.repository("a").await;
    world.elect(id, Some("g2"), &stranger).await;
}

/// D23: a retry finds its own decision, also after others decided anew, and changes nothing.
pub async fn d23_the_same_decision_wins_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let proposal = world.proposal(&world.facts(id).await, Some("g2"), &s1);
    let first = world.cas(&proposal).await;
    assert!(matches!(first, CasOutcome::Won { .. }), "{first:?}");
    let before = rows(&world.facts(id).await);
    assert_eq!(world.cas(&proposal).await, first, "the answer was lost; the retry must get the same");
    assert_eq!(rows(&world.facts(id).await), before, "the retry must change nothing");
    world.elect(id, Some("g3"), &s1).await;
    assert_eq!(world.cas(&proposal).await, first, "it did win, under that epoch, whatever came after");
    assert_eq!(world.facts(id).await.primary, Some(storage("g3")));
    assert_eq!(ok("history", world.store.primary_history(id, 10).await).len(), 3, "creation and two elections");
}

/// Many decide on the same facts: one wins.
pub async fn a_race_has_one_winner(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let facts = world.facts(id).await;
    let proposals: Vec<_> =
        (0..8).map(|n| world.proposal(&facts, Some(if n % 2 == 0 { "g2" } else { "g3" }), &s1)).collect();
    let outcomes = join_all(proposals.iter().map(|proposal| world.cas(proposal))).await;
    let won: Vec<_> = outcomes.iter().zip(&proposals).filter(|(o, _)| matches!(o, CasOutcome::Won { .. })).collect();
    assert_eq!(won.len(), 1, "{outcomes:?}");
    let after = world.facts(id).await;
    assert_eq!(won.first().map(|(_, proposal)| proposal.to.clone()), Some(after.primary), "the winner's row stands");
}

/// Epochs come from one counter: no two changes of any repositories share one.
pub async fn epochs_are_cluster_wide(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let mut seen = BTreeSet::new();
    for name in ["a", "b", "c"] {
        let id = world.repository(name).await;
        assert!(seen.insert(world.facts(id).await.epoch), "{seen:?}");
    }
    let [a, b] = [world.repository("d").await, world.repository("e").await];
    let (first, second) = tokio::join!(world.elect(a, Some("g2"), &s1), world.elect(b, Some("g3"), &s1));
    assert!(seen.insert(Some(first)) && seen.insert(Some(second)), "{first} and {second} among {seen:?}");
    assert!(seen.first().is_some_and(Option::is_some), "a repository with a primary has an epoch");
}

/// What was deleted meanwhile has no primary.
pub async fn an_unknown_repository_loses(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let mut proposal = world.proposal(&world.facts(id).await, Some("g2"), &s1);
    proposal.repository = RepositoryId(id.0 + 1_000);
    assert_eq!(world.cas(&proposal).await, CasOutcome::Lost);
    let proposal = world.proposal(&world.facts(id).await, Some("g2"), &s1);
    let fence = world.fence(id).await;
    done("delete", world.store.repository_delete(id, Some(&fence)).await);
    assert_eq!(world.cas(&proposal).await, CasOutcome::Lost, "the repository is gone");
}
