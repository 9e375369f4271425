//! Which storages should host a repository.

use super::world::{World, done, ok, rows, storages};
use crate::core::epoch::FactsVersion;
use crate::store::{Outcome, Refused, Store};
use std::{collections::BTreeSet, sync::Arc};

/// What is replaced is replaced as a whole.
pub async fn replaced_as_a_whole(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    for wanted in [storages(&["g1", "g2"]), storages(&["g2", "g9"]), storages(&["g3"])] {
        let at = world.facts(id).await.facts_version;
        done("assign", world.store.assignments_replace(id, at, &wanted).await);
        let facts = world.facts(id).await;
        assert_eq!(facts.assignments.iter().cloned().collect::<BTreeSet<_>>(), wanted);
        for replica in &facts.replicas {
            assert_eq!(replica.assigned, wanted.contains(&replica.storage), "{replica:?}");
        }
    }
}

/// They were planned on what was shown; if that has moved they are not stored.
pub async fn moved_facts_refuse_them(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let at = world.facts(id).await.facts_version;
    world.write(id, &["g1"]).await;
    let before = rows(&world.facts(id).await);
    for expected in [at, FactsVersion(before.facts_version.0 + 1)] {
        let outcome = ok("assign", world.store.assignments_replace(id, expected, &storages(&["g1"])).await);
        assert_eq!(outcome, Outcome::Refused(Refused::FactsMoved));
    }
    assert_eq!(rows(&world.facts(id).await), before);
}

/// No assignments means every configured storage.
pub async fn none_is_allowed(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    for wanted in [storages(&["g1"]), storages(&[])] {
        let at = world.facts(id).await.facts_version;
        done("assign", world.store.assignments_replace(id, at, &wanted).await);
    }
    let facts = world.facts(id).await;
    assert!(facts.assignments.is_empty() && facts.replicas.iter().all(|replica| !replica.assigned));
}
