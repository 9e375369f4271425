//! The facts of one decision: one snapshot, complete, and nothing written for it.

use super::world::{World, done, node, ok, path, rows, storage, storages, virtual_storage};
use crate::core::{
    consensus::Opinion,
    election::{Incumbent, StorageAttributes},
    epoch::{FactsVersion, Generation},
    ids::{NodeId, RepositoryId},
    settings::Profile,
};
use crate::store::{StorageChange, Store, Target};
use std::{collections::BTreeSet, sync::Arc};

/// No row, no facts: by id, by path, and in another virtual storage.
pub async fn unknown_repositories_have_none(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    world.repository("a").await;
    let targets = [
        Target::Id(RepositoryId(987_654)),
        Target::Path(virtual_storage("v"), path("b")),
        Target::Path(virtual_storage("w"), path("a")),
    ];
    for target in targets {
        let found = ok("read", world.store.election_facts(&target).await);
        assert!(found.is_none(), "{target:?} must have no facts, got {found:?}");
    }
}

/// The id and the path lead to the same row.
pub async fn id_and_path_find_the_same(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let by_path = ok("read", world.store.election_facts(&Target::Path(virtual_storage("v"), path("a"))).await);
    let by_path = by_path.map(|snapshot| rows(&snapshot.facts));
    assert_eq!(by_path, Some(rows(&world.facts(id).await)));
}

/// The votes are those about the storages that hold a replica; the supervisors are all there are.
pub async fn votes_are_those_about_the_replicas(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    for name in ["s1", "s2"] {
        let voter = world.voter(name).await;
        world.votes(&voter, 1, &[("g1", Opinion::Up), ("g3", Opinion::Down)]).await;
    }
    let elsewhere = NodeId::new(virtual_storage("w"), storage("g1"));
    let mut registration = world.registration("s3", None, &["g3"]);
    registration.nodes.push(elsewhere);
    ok("register", world.store.supervisor_register(&registration).await);
    let new = world.new_repository("a", &["g1", "g2"], Some("g1"));
    let id = done("create", world.store.repository_create(&new).await).repository;
    let facts = world.facts(id).await;
    let about: BTreeSet<_> = facts.votes.iter().map(|row| row.node.clone()).collect();
    assert_eq!(about, BTreeSet::from([node("g1"), node("g2")]), "{:?}", facts.votes);
    assert_eq!(facts.votes.len(), 4, "two voters, two nodes: {:?}", facts.votes);
    assert_eq!(facts.supervisors.len(), 3, "all supervisors, not only those with votes: {:?}", facts.supervisors);
    let up = facts.votes.iter().filter(|row| row.opinion == Some(Opinion::Up)).count();
    assert_eq!(up, 2);
}

/// Policy `half` needs to know who tried any node of the virtual storage; no other policy does.
pub async fn members_are_read_under_half_only(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    world.voter("s2").await;
    world.votes(&s1, 1, &[("g3", Opinion::Down)]).await;
    let new = world.new_repository("a", &["g1"], Some("g1"));
    let id = done("create", world.store.repository_create(&new).await).repository;
    assert!(world.facts(id).await.members.is_empty(), "under majority members are not read");
    world.profile(Profile::Praefect).await;
    let members = world.facts(id).await.members;
    let names: Vec<_> = members.iter().map(|row| (row.virtual_storage.as_str(), row.supervisor.as_str())).collect();
    assert_eq!(names, [("v", "s1")], "who tried any node there, also one without a replica; not who only registered");
}

/// What operators say of a storage shows at once; what they do not mention stays; the default is 100, not draining.
pub async fn storages_show_in_facts(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let attributes = async || {
        let replicas = world.facts(id).await.replicas;
        replicas.into_iter().find(|replica| replica.storage == storage("g2")).map(|replica| replica.attributes)
    };
    let default = StorageAttributes::default();
    assert_eq!(attributes().await, Some(default));
    let update = async |change: StorageChange| {
        ok("update a storage", world.store.storage_update(&node("g2"), change).await);
    };
    update(StorageChange { draining: Some(true), priority: None }).await;
    assert_eq!(attributes().await, Some(StorageAttributes { draining: true, ..default }));
    update(StorageChange { priority: Some(0), draining: None }).await;
    assert_eq!(attributes().await, Some(StorageAttributes { draining: true, priority: 0, ..default }));
    update(StorageChange::default()).await;
    assert_eq!(attributes().await, Some(StorageAttributes { draining: true, priority: 0, ..default }));
    update(StorageChange { priority: Some(200), draining: Some(false) }).await;
    assert_eq!(attributes().await, Some(StorageAttributes { priority: 200, ..default }));
    let others = world.facts(id).await.replicas;
    assert!(others.iter().filter(|r| r.storage != storage("g2")).all(|r| r.attributes == default), "{others:?}");
}

/// Assignments show per replica and as a whole, those without a replica included.
pub async fn assignments_show_in_facts(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let mut new = world.new_repository("a", &["g1", "g2"], Some("g1"));
    new.assignments = vec![storage("g3"), storage("g2")];
    let id = done("create", world.store.repository_create(&new).await).repository;
    let facts = world.facts(id).await;
    assert_eq!(facts.assignments.iter().cloned().collect::<BTreeSet<_>>(), storages(&["g2", "g3"]));
    let assigned: Vec<_> = facts.replicas.iter().filter(|r| r.assigned).map(|r| r.storage.clone()).collect();
    assert_eq!(assigned, [storage("g2")]);
    let without = world.repository("b").await;
    let facts = world.facts(without).await;
    assert!(facts.assignments.is_empty() && facts.replicas.iter().all(|replica| !replica.assigned));
}

/// A lookup reads, and writes nothing.
pub async fn reading_changes_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let before = world.facts(id).await;
    for _ in 0..3 {
        assert_eq!(rows(&world.facts(id).await), rows(&before));
    }
    assert!(ok("history", world.store.primary_history(id, 10).await).len() == 1, "reading is no change of primary");
}

/// Every change of a replica, generation, mark or assignment raises the version; nothing else need.
pub async fn everything_a_decision_rests_on_raises_the_version(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let fence = world.fence(id).await;
    let mut last = world.facts(id).await.facts_version;
    let mut raised = |what: &str, now: FactsVersion| {
        assert!(now > last, "{what} must raise facts_version, which went from {last} to {now}");
        last = now;
    };
    let (store, fence) = (&world.store, Some(&fence));
    world.write(id, &["g1", "g2"]).await;
    raised("an increment", world.facts(id).await.facts_version);
    done("set", store.generation_set(id, fence, &storage("g3"), Generation(1)).await);
    raised("setting a generation", world.facts(id).await.facts_version);
    done("set back", store.generation_set(id, fence, &storage("g3"), Generation(0)).await);
    raised("lowering a replica", world.facts(id).await.facts_version);
    done("set", store.generation_set(id, fence, &storage("g4"), Generation(1)).await);
    raised("a new replica", world.facts(id).await.facts_version);
    let at = world.facts(id).await.facts_version;
    done("assign", store.assignments_replace(id, at, &storages(&["g1", "g2"])).await);
    raised("assigning", world.facts(id).await.facts_version);
    let at = world.facts(id).await.facts_version;
    done("unassign", store.assignments_replace(id, at, &storages(&[])).await);
    raised("unassigning", world.facts(id).await.facts_version);
    done("mark", store.replica_mark(id, &storage("g3")).await);
    raised("marking", world.facts(id).await.facts_version);
    done("delete", store.replica_delete(id, fence, &storage("g3")).await);
    raised("deleting a replica", world.facts(id).await.facts_version);
    let operator = world.voter("operator").await;
    let at = world.facts(id).await.facts_version;
    done("make authoritative", store.authoritative_set(id, &storage("g2"), at, &operator).await);
    raised("an operator's word", world.facts(id).await.facts_version);
}

/// Ages grow with the database's time and are not negative.
pub async fn time_is_the_databases(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    world.votes(&s1, 1, &[("g1", Opinion::Up)]).await;
    let id = world.repository("a").await;
    let (first, health) = (world.facts(id).await, world.health().await);
    let second = world.facts(id).await;
    assert!(first.at <= health.at && health.at <= second.at, "{:?} {:?} {:?}", first.at, health.at, second.at);
    let passed = second.at.0 - first.at.0;
    let age =
        |facts: &crate::core::election::ElectionFacts| facts.supervisors.first().map_or(-1, |r| r.heartbeat_age.0);
    assert_eq!(age(&second) - age(&first), passed, "ages must be taken at the time that the facts carry");
    assert!(age(&first) >= 0, "a stamp of the past is in the past");
}

/// What a store says of the recorded primary alone, if it says anything, is what the facts say of it.
pub async fn the_incumbent_is_as_the_facts_have_it(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository_with("a", Some("g1")).await;
    let same = async |when: &str| {
        for target in [Target::Id(id), Target::Path(virtual_storage("v"), path("a"))] {
            let found = ok("read", world.store.incumbent(&target).await);
            let known = Incumbent::of(&world.facts(id).await);
            assert!(found.is_none() || found == known, "{when}, {target:?}: {found:#?} instead of {known:#?}");
        }
    };
    same("nothing is against it").await;
    let attributes = async |change| ok("update a storage", world.store.storage_update(&node("g1"), change).await);
    attributes(StorageChange { draining: Some(true), priority: Some(7) }).await;
    same("it drains").await;
    attributes(StorageChange { draining: Some(false), priority: Some(0) }).await;
    same("it is never to be primary").await;
    for assigned in [&["g2"][..], &["g1", "g2"]] {
        let at = world.facts(id).await.facts_version;
        done("assign", world.store.assignments_replace(id, at, &storages(assigned)).await);
        same("somebody is assigned").await;
    }
    done("mark", world.store.replica_mark(id, &storage("g2")).await);
    same("another is marked").await;
    ok("set", world.store.generation_set(id, Some(&world.fence(id).await), &storage("g2"), Generation(9)).await);
    same("another is ahead").await;
    let voter = world.voter("s1").await;
    world.elect(id, None, &voter).await;
    assert_eq!(ok("read", world.store.incumbent(&Target::Id(id)).await), None, "nobody is recorded");
    assert_eq!(ok("read", world.store.incumbent(&Target::Id(RepositoryId(987_654))).await), None, "nothing is there");
}
