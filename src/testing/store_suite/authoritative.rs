//! An operator's word that one replica is the truth: an acceptance of loss, by name.

use super::world::{World, done, ok, rows, storage};
use crate::core::epoch::{FactsVersion, Generation};
use crate::store::{Outcome, Refused, Store};
use std::sync::Arc;

/// It becomes primary under a new epoch, one generation above everybody else; who wrote before is stale.
pub async fn it_becomes_primary_and_the_only_current_one(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    world.write(id, &["g1"]).await;
    let old = world.fence(id).await;
    let at = world.facts(id).await.facts_version;
    let epoch = done("make g3 authoritative", world.store.authoritative_set(id, &storage("g3"), at, &s1).await);
    assert!(epoch > old.epoch, "{epoch} must be above {}", old.epoch);
    let facts = world.facts(id).await;
    assert_eq!((facts.primary, facts.epoch), (Some(storage("g3")), Some(epoch)));
    assert_eq!(facts.generation, Some(Generation(2)), "raised by one");
    for (name, generation) in [("g1", 1), ("g2", 0), ("g3", 2)] {
        assert_eq!(world.generation_of(id, name).await, Some(Generation(generation)), "{name}");
    }
    let stale = ok("set", world.store.generation_set(id, Some(&old), &storage("g1"), Generation(9)).await);
    assert!(matches!(stale, Outcome::Stale(_)), "{stale:?}");
    assert_eq!(world.write(id, &["g3"]).await, Generation(3));
}

/// The replica need not have been known.
pub async fn it_makes_the_row(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let at = world.facts(id).await.facts_version;
    done("make g9 authoritative", world.store.authoritative_set(id, &storage("g9"), at, &s1).await);
    assert_eq!(world.generation_of(id, "g9").await, Some(Generation(1)));
}

/// The operator decided on what was shown; if that has moved, it is not done.
pub async fn moved_facts_refuse_it(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let at = world.facts(id).await.facts_version;
    world.write(id, &["g1"]).await;
    let before = rows(&world.facts(id).await);
    for expected in [at, FactsVersion(before.facts_version.0 + 1)] {
        let outcome = ok("authoritative", world.store.authoritative_set(id, &storage("g3"), expected, &s1).await);
        assert_eq!(outcome, Outcome::Refused(Refused::FactsMoved));
    }
    assert_eq!(rows(&world.facts(id).await), before);
}

/// It is the way out when there is no primary, and no candidate either.
pub async fn it_needs_no_current_primary(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository_with("a", None).await;
    let at = world.facts(id).await.facts_version;
    done("make g2 authoritative", world.store.authoritative_set(id, &storage("g2"), at, &s1).await);
    assert_eq!(world.facts(id).await.primary, Some(storage("g2")));
    assert_eq!(world.write(id, &["g2"]).await, Generation(2), "writes go on from there");
}

/// What an operator calls the truth is not about to be deleted, whatever was planned before.
pub async fn it_is_not_to_be_deleted_any_more(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    done("mark", world.store.replica_mark(id, &storage("g2")).await);
    let at = world.facts(id).await.facts_version;
    done("make g2 authoritative", world.store.authoritative_set(id, &storage("g2"), at, &s1).await);
    let facts = world.facts(id).await;
    assert!(facts.replicas.iter().all(|replica| !replica.marked), "{:?}", facts.replicas);
}
