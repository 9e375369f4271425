//! The acknowledgement of writes: who was current moves together, who was not stays behind.

use super::world::{World, done, ok, rows, storage, storages};
use crate::core::{election::Target, epoch::Generation, ids::RepositoryId};
use crate::store::{Outcome, Refused, Store};
use futures_util::future::join_all;
use std::{collections::BTreeSet, sync::Arc};

const ALL: [&str; 3] = ["g1", "g2", "g3"];

/// Those of the acknowledged that were current move with the repository; nobody else is touched.
pub async fn only_current_replicas_move(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    assert_eq!(world.write(id, &ALL).await, Generation(1));
    assert_eq!(world.write(id, &["g1", "g2"]).await, Generation(2), "g3 did not take this one");
    assert_eq!(world.generation_of(id, "g3").await, Some(Generation(1)));
    assert_eq!(world.write(id, &ALL).await, Generation(3), "g3 says it took it, but it lacks the one before");
    for (name, generation) in [("g1", 3), ("g2", 3), ("g3", 1)] {
        assert_eq!(world.generation_of(id, name).await, Some(Generation(generation)), "{name}");
    }
    assert_eq!(world.facts(id).await.generation, Some(Generation(3)));
}

/// A primary that is itself behind acknowledges nothing, whoever else is current.
pub async fn an_outdated_primary_acknowledges_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    world.write(id, &ALL).await;
    let fence = world.fence(id).await;
    done("lower g1", world.store.generation_set(id, Some(&fence), &storage("g1"), Generation(0)).await);
    let before = rows(&world.facts(id).await);
    for acknowledged in [storages(&ALL), storages(&["g1"])] {
        let outcome = ok("increment", world.store.generation_increment(id, Some(&fence), &acknowledged).await);
        assert_eq!(outcome, Outcome::Refused(Refused::OutdatedNodes), "{acknowledged:?}");
    }
    assert_eq!(rows(&world.facts(id).await), before, "a refused acknowledgement must change nothing");
}

/// The fence's primary orders the writes, so it must have this one.
pub async fn the_primary_must_have_acknowledged(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let fence = world.fence(id).await;
    let before = rows(&world.facts(id).await);
    for acknowledged in [storages(&["g2", "g3"]), BTreeSet::new()] {
        let outcome = ok("increment", world.store.generation_increment(id, Some(&fence), &acknowledged).await);
        assert_eq!(outcome, Outcome::Refused(Refused::PrimaryNotAcknowledged), "{acknowledged:?}");
    }
    assert_eq!(rows(&world.facts(id).await), before);
}

/// Naming a storage that holds no replica makes none.
pub async fn strangers_do_not_count(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    assert_eq!(world.write(id, &["g1", "g9"]).await, Generation(1));
    assert_eq!(world.generation_of(id, "g9").await, None);
    assert_eq!(world.facts(id).await.replicas.len(), 3);
}

/// Increments of one repository go one after the other, and each counts once.
pub async fn racing_increments_all_count(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let writes = join_all((0..8).map(|_| world.write(id, &ALL))).await;
    let distinct: BTreeSet<_> = writes.iter().copied().collect();
    assert_eq!(distinct, (1..=8).map(Generation).collect(), "{writes:?}");
    assert_eq!(world.generation_of(id, "g2").await, Some(Generation(8)));
    // One that includes g2 and one that does not: afterwards g2 is current only if no write went past it.
    let (_, _) = tokio::join!(world.write(id, &["g1", "g3"]), world.write(id, &["g1", "g2"]));
    let facts = world.facts(id).await;
    let current = facts.replicas.iter().filter(|r| Some(r.generation) == facts.generation).map(|r| r.storage.clone());
    assert_eq!(current.collect::<Vec<_>>(), [storage("g1")], "each of the others missed one: {:?}", facts.replicas);
}

/// A replica is set to exactly what was said; the repository is raised to it, never lowered.
pub async fn setting_raises_but_never_lowers_the_repository(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let fence = world.fence(id).await;
    for (set, replica, repository) in [(5, 5, 5), (2, 2, 5), (5, 5, 5), (6, 6, 6)] {
        done("set", world.store.generation_set(id, Some(&fence), &storage("g2"), Generation(set)).await);
        assert_eq!(world.generation_of(id, "g2").await, Some(Generation(replica)), "set to {set}");
        assert_eq!(world.facts(id).await.generation, Some(Generation(repository)), "set to {set}");
    }
    assert_eq!(world.generation_of(id, "g1").await, Some(Generation(0)), "the others stay");
}

/// Replication to a storage that held nothing makes its row.
pub async fn setting_makes_the_row(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let fence = world.fence(id).await;
    done("set", world.store.generation_set(id, Some(&fence), &storage("g4"), Generation(0)).await);
    assert_eq!(world.generation_of(id, "g4").await, Some(Generation(0)));
    assert_eq!(world.write(id, &["g1", "g4"]).await, Generation(1));
    assert_eq!(world.generation_of(id, "g4").await, Some(Generation(1)), "from now on it counts");
}

/// Nothing is recorded of what does not exist, neither by a write nor by a replication.
pub async fn an_unknown_repository_gets_no_records(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let known = world.repository("a").await;
    let (fence, unknown) = (world.fence(known).await, RepositoryId(known.0 + 1_000));
    let written = ok("increment", world.store.generation_increment(unknown, Some(&fence), &storages(&ALL)).await);
    assert_eq!(written, Outcome::NotFound);
    let set = world.store.generation_set(unknown, Some(&fence), &storage("g1"), Generation(1)).await;
    assert_eq!(ok("set", set), Outcome::NotFound);
    assert_eq!(ok("facts", world.store.election_facts(&Target::Id(unknown)).await), None);
}

/// Of two writes at once the second looks again who is current: a secondary that took only the second missed the first,
/// whichever that was, and a repeated write never makes up for one that was missed.
pub async fn a_secondary_that_missed_the_first_of_two_stays_behind(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let (alone, with_g2) = tokio::join!(world.write(id, &["g1"]), world.write(id, &["g1", "g2"]));
    assert_eq!([alone, with_g2].iter().max(), Some(&Generation(2)), "both count: {alone:?}, {with_g2:?}");
    assert_eq!(world.generation_of(id, "g1").await, Some(Generation(2)));
    let g2 = if with_g2 < alone { 1 } else { 0 };
    assert_eq!(world.generation_of(id, "g2").await, Some(Generation(g2)), "{alone:?}, {with_g2:?}");
    assert_eq!(world.write(id, &["g1", "g2"]).await, Generation(3));
    assert_eq!(world.generation_of(id, "g2").await, Some(Generation(g2)), "outdated for good, until it is set");
}

/// Who may serve reads are the replicas on the repository's generation: not an outdated primary, and nobody where the
/// highest generation is one that no replica holds. A storage that is not assigned counts like any other.
pub async fn who_is_consistent_shows_in_facts(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let fence = world.fence(id).await;
    let current = async || {
        let facts = world.facts(id).await;
        let on = facts.replicas.iter().filter(|replica| Some(replica.generation) == facts.generation);
        on.map(|replica| replica.storage.to_string()).collect::<Vec<_>>()
    };
    let set = async |name: &str, to: i64| {
        done("set", world.store.generation_set(id, Some(&fence), &storage(name), Generation(to)).await);
    };
    assert_eq!(current().await, ALL);
    set("g2", 4).await;
    assert_eq!((world.facts(id).await.primary, current().await), (Some(storage("g1")), vec!["g2".to_owned()]));
    set("g9", 5).await;
    assert_eq!(current().await, ["g9"], "wherever the highest is");
    set("g9", 1).await;
    assert_eq!(current().await, [""; 0], "the repository is never lowered to what is left");
}
