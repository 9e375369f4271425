//! Marking a replica for deletion, and deleting it.

use super::world::{World, done, ok, rows, storage, storages};
use crate::core::epoch::Generation;
use crate::store::{Outcome, Refused, Store};
use std::{collections::BTreeSet, sync::Arc};

/// A mark shows, on this replica only.
pub async fn a_mark_shows_in_facts(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    done("mark", world.store.replica_mark(id, &storage("g2")).await);
    let marked = world.facts(id).await.replicas.into_iter().filter(|replica| replica.marked);
    assert_eq!(marked.map(|replica| replica.storage).collect::<Vec<_>>(), [storage("g2")]);
    let missing = ok("mark", world.store.replica_mark(id, &storage("g9")).await);
    assert!(matches!(missing, Outcome::Refused(_)), "what is not there cannot be marked: {missing:?}");
    let other = world.repository("b").await;
    let missing = ok("mark", world.store.replica_mark(other, &storage("g9")).await);
    assert_eq!(missing, Outcome::Refused(Refused::ReplicaNotFound));
    done("another repository has marks of its own", world.store.replica_mark(other, &storage("g3")).await);
}

/// Whatever removes a replica refuses the recorded primary's.
pub async fn the_primary_is_not_marked(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let outcome = ok("mark", world.store.replica_mark(id, &storage("g1")).await);
    assert_eq!(outcome, Outcome::Refused(Refused::IsPrimary));
    world.elect(id, Some("g2"), &s1).await;
    done("it is no primary any more", world.store.replica_mark(id, &storage("g1")).await);
}

/// Only one replica of a repository may be on its way out.
pub async fn one_mark_at_a_time(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    done("mark", world.store.replica_mark(id, &storage("g2")).await);
    let before = rows(&world.facts(id).await);
    let outcome = ok("mark", world.store.replica_mark(id, &storage("g3")).await);
    assert_eq!(outcome, Outcome::Refused(Refused::DeletionPending));
    assert_eq!(rows(&world.facts(id).await), before);
}

/// Marking twice is done once.
pub async fn marking_twice_is_done_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    done("mark", world.store.replica_mark(id, &storage("g2")).await);
    let before = rows(&world.facts(id).await);
    done("mark again", world.store.replica_mark(id, &storage("g2")).await);
    assert_eq!(rows(&world.facts(id).await), before, "nothing was left to do");
}

/// The row goes, the mark with it, and the next replica may be marked. A replica made anew is not marked.
pub async fn deleting_completes_the_mark(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let fence = world.fence(id).await;
    done("mark", world.store.replica_mark(id, &storage("g2")).await);
    done("delete", world.store.replica_delete(id, Some(&fence), &storage("g2")).await);
    assert_eq!(world.generation_of(id, "g2").await, None);
    let again = ok("delete again", world.store.replica_delete(id, Some(&fence), &storage("g2")).await);
    assert_eq!(again, Outcome::Refused(Refused::ReplicaNotFound));
    done("make it anew", world.store.generation_set(id, Some(&fence), &storage("g2"), Generation(0)).await);
    assert!(world.facts(id).await.replicas.iter().all(|replica| !replica.marked), "the mark was completed");
    done("mark another", world.store.replica_mark(id, &storage("g3")).await);
}

/// The recorded primary's row stays.
pub async fn the_primary_is_not_deleted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let fence = world.fence(id).await;
    let before = rows(&world.facts(id).await);
    let outcome = ok("delete", world.store.replica_delete(id, Some(&fence), &storage("g1")).await);
    assert_eq!(outcome, Outcome::Refused(Refused::IsPrimary));
    assert_eq!(rows(&world.facts(id).await), before);
}

/// Deleting a replica touches neither the repository nor its assignments.
pub async fn deleting_touches_nothing_else(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let mut new = world.new_repository("a", &["g1", "g2", "g3"], Some("g1"));
    new.assignments = vec![storage("g1"), storage("g2")];
    let id = done("create", world.store.repository_create(&new).await).repository;
    let fence = world.fence(id).await;
    done("raise", world.store.generation_set(id, Some(&fence), &storage("g2"), Generation(4)).await);
    done("delete", world.store.replica_delete(id, Some(&fence), &storage("g2")).await);
    let facts = world.facts(id).await;
    assert_eq!(facts.generation, Some(Generation(4)), "what was acknowledged is expected still");
    assert_eq!(facts.assignments.into_iter().collect::<BTreeSet<_>>(), storages(&["g1", "g2"]));
    assert_eq!(facts.replicas.len(), 2);
    assert_eq!((facts.primary, facts.epoch), (Some(storage("g1")), Some(fence.epoch)));
}
