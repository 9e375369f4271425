//! Making, renaming and deleting repositories.

use super::world::{World, done, ok, path, rows, storage, storages, virtual_storage};
use crate::core::{
    election::Fence,
    epoch::{FactsVersion, Generation},
    ids::RepositoryId,
    settings::Profile,
};
use crate::store::{CasOutcome, Created, NewRepository, Outcome, Refused, Store, Target};
use std::{collections::BTreeSet, sync::Arc};

async fn create(world: &World, new: &NewRepository) -> Outcome<Created> {
    ok("create", world.store.repository_create(new).await)
}

/// Generation 0 everywhere, the primary under a new epoch, the assignments asked for.
pub async fn creating_records_everything(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let mut new = world.new_repository("a", &["g1", "g2"], Some("g2"));
    new.assignments = vec![storage("g2"), storage("g3")];
    let created = done("create", world.store.repository_create(&new).await);
    let facts = world.facts(created.repository).await;
    assert_eq!((facts.virtual_storage, facts.relative_path), (virtual_storage("v"), path("a")));
    assert_eq!(facts.generation, Some(Generation(0)));
    assert_eq!((facts.primary, facts.epoch), (Some(storage("g2")), created.epoch));
    assert!(facts.epoch.is_some(), "a primary comes with an epoch");
    let replicas: Vec<_> = facts.replicas.iter().map(|r| (r.storage.clone(), r.generation, r.marked)).collect();
    assert_eq!(replicas, [(storage("g1"), Generation(0), false), (storage("g2"), Generation(0), false)]);
    assert_eq!(facts.assignments.into_iter().collect::<BTreeSet<_>>(), storages(&["g2", "g3"]));
    let without = done("create", world.store.repository_create(&world.new_repository("b", &["g1"], None)).await);
    assert_eq!(without.epoch, None, "no primary, no epoch");
    let bare = done("create", world.store.repository_create(&world.new_repository("c", &[], None)).await);
    assert!(world.facts(bare.repository).await.replicas.is_empty());
}

/// A path is one repository's within its virtual storage.
pub async fn a_path_belongs_to_one(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let before = rows(&world.facts(id).await);
    let same = world.new_repository("a", &["g9"], Some("g9"));
    assert_eq!(create(&world, &same).await, Outcome::Refused(Refused::PathTaken));
    assert_eq!(rows(&world.facts(id).await), before, "a refused creation must change nothing");
    let elsewhere = NewRepository { virtual_storage: virtual_storage("w"), ..same };
    assert!(matches!(create(&world, &elsewhere).await, Outcome::Done(_)), "another virtual storage, another path");
}

/// An id is one repository's.
pub async fn an_id_belongs_to_one(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let same = NewRepository { id: Some(id), ..world.new_repository("b", &["g1"], Some("g1")) };
    assert_eq!(create(&world, &same).await, Outcome::Refused(Refused::IdTaken));
    let found = ok("read", world.store.election_facts(&Target::Path(virtual_storage("v"), path("b"))).await);
    assert!(found.is_none(), "a refused creation must leave nothing behind");
}

/// Who asks for an id gets it, and the sequence does not run into it.
pub async fn an_id_asked_for_is_not_given_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let first = world.repository("a").await;
    let asked = RepositoryId(first.0 + 2);
    let new = NewRepository { id: Some(asked), ..world.new_repository("b", &["g1"], None) };
    assert_eq!(done("create", world.store.repository_create(&new).await).repository, asked);
    let mut seen = BTreeSet::from([first, asked]);
    for name in ["c", "d", "e"] {
        assert!(seen.insert(world.repository(name).await), "an id was given twice: {seen:?}");
    }
}

/// D14: deleted and made again it has another id, epochs go on rising, and a stale client changes nothing.
pub async fn d14_a_repository_made_again_is_another(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let old = world.repository("a").await;
    let (stale, facts) = (world.fence(old).await, world.facts(old).await);
    done("delete", world.store.repository_delete(old, Some(&stale)).await);
    let new = world.repository("a").await;
    assert!(new > old, "{old} then {new}: an id is never given twice");
    let fence = world.fence(new).await;
    assert!(fence.epoch > stale.epoch, "{} then {}: epochs go on rising", stale.epoch, fence.epoch);
    let before = rows(&world.facts(new).await);
    let by_old_id = ok("delete", world.store.repository_delete(old, Some(&stale)).await);
    assert_eq!(by_old_id, Outcome::NotFound, "the old id is gone for ever");
    let by_new_id = ok("delete", world.store.repository_delete(new, Some(&stale)).await);
    assert!(matches!(by_new_id, Outcome::Stale(_)), "the old fence is stale: {by_new_id:?}");
    let late = world.proposal(&facts, Some("g2"), &s1);
    assert_eq!(world.cas(&late).await, CasOutcome::Lost, "facts of the old one elect nobody");
    assert_eq!(rows(&world.facts(new).await), before);
    // The same id, asked for again, is the hardest case: only the epoch tells the two apart.
    done("delete", world.store.repository_delete(new, Some(&fence)).await);
    let again = NewRepository { id: Some(new), ..world.new_repository("a", &["g1", "g2", "g3"], Some("g1")) };
    if let Outcome::Done(created) = create(&world, &again).await {
        assert!(created.epoch > Some(fence.epoch), "a client of the deleted one must be stale");
        let outcome = ok("delete", world.store.repository_delete(new, Some(&fence)).await);
        assert!(matches!(outcome, Outcome::Stale(_)), "{outcome:?}");
    }
}

/// D14: made again under the id that it had, it was changed as often as the one before, and has had no primary either.
/// Still nothing that was decided about the one before is done to it.
pub async fn d14_facts_of_the_one_before_fit_no_other(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    world.profile(Profile::Praefect).await;
    let id = world.repository_with("a", None).await;
    let facts = world.facts(id).await;
    done("delete", world.store.repository_delete(id, None).await);
    let again = NewRepository { id: Some(id), ..world.new_repository("a", &["g1"], None) };
    // A store may as well never give an id again.
    if let Outcome::Done(_) = create(&world, &again).await {
        let before = rows(&world.facts(id).await);
        let late = world.proposal(&facts, Some("g2"), &s1);
        assert_eq!(world.cas(&late).await, CasOutcome::Lost, "g2 holds no replica of the new one");
        let at = facts.facts_version;
        let late = ok("authoritative", world.store.authoritative_set(id, &storage("g2"), at, &s1).await);
        assert_eq!(late, Outcome::Refused(Refused::FactsMoved));
        assert_eq!(rows(&world.facts(id).await), before);
    }
}

/// Deleting answers where everything was, so that somebody can clean up.
pub async fn deleting_answers_what_was_there(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let new = NewRepository {
        replica_path: Some("@cluster/1".to_owned()),
        ..world.new_repository("a", &["g3", "g1", "g2"], Some("g1"))
    };
    let id = done("create", world.store.repository_create(&new).await).repository;
    let fence = world.fence(id).await;
    let deleted = done("delete", world.store.repository_delete(id, Some(&fence)).await);
    assert_eq!(deleted.replica_path.as_deref(), Some("@cluster/1"));
    assert_eq!(deleted.storages, [storage("g1"), storage("g2"), storage("g3")], "in order of name");
    assert!(ok("read", world.store.election_facts(&Target::Id(id)).await).is_none(), "it is gone");
    let id = world.repository("b").await;
    let fence = world.fence(id).await;
    let deleted = done("delete", world.store.repository_delete(id, Some(&fence)).await);
    assert_eq!(deleted.replica_path.as_deref(), Some("b"), "without a path of its own it lies at its relative path");
}

/// A new path, the same repository: id, epoch, replicas and assignments stay.
pub async fn renaming_keeps_the_replicas(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let mut new = world.new_repository("a", &["g1", "g2"], Some("g1"));
    new.assignments = vec![storage("g1")];
    let id = done("create", world.store.repository_create(&new).await).repository;
    world.repository("taken").await;
    let fence = world.fence(id).await;
    let before = rows(&world.facts(id).await);
    let taken = ok("rename", world.store.repository_rename(id, Some(&fence), &path("taken")).await);
    assert_eq!(taken, Outcome::Refused(Refused::PathTaken));
    assert_eq!(rows(&world.facts(id).await), before, "a refused rename must change nothing");
    done("rename", world.store.repository_rename(id, Some(&fence), &path("b")).await);
    let mut after = rows(&world.facts(id).await);
    assert_eq!(after.relative_path, path("b"));
    (after.relative_path, after.facts_version) = (path("a"), before.facts_version);
    assert_eq!(after, before, "only the path changes");
    let old = ok("read", world.store.election_facts(&Target::Path(virtual_storage("v"), path("a"))).await);
    assert!(old.is_none(), "the old path leads nowhere");
    world.write(id, &["g1", "g2"]).await;
    world.repository("a").await;
    done("rename to its own path", world.store.repository_rename(id, Some(&fence), &path("b")).await);
}

/// Every operation on a repository that does not exist says so.
pub async fn the_unknown_is_not_found(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let known = world.repository("a").await;
    let fence: &Fence = &world.fence(known).await;
    let (no, g1, store) = (RepositoryId(known.0 + 500), storage("g1"), &world.store);
    let (fence, zero) = (Some(fence), FactsVersion(0));
    assert_eq!(ok("delete", store.repository_delete(no, fence).await), Outcome::NotFound);
    assert_eq!(ok("rename", store.repository_rename(no, fence, &path("b")).await), Outcome::NotFound);
    let increment = store.generation_increment(no, fence, &storages(&["g1"])).await;
    assert_eq!(ok("increment", increment), Outcome::NotFound);
    assert_eq!(ok("set", store.generation_set(no, fence, &g1, Generation(1)).await), Outcome::NotFound);
    assert_eq!(ok("mark", store.replica_mark(no, &g1).await), Outcome::NotFound);
    assert_eq!(ok("delete a replica", store.replica_delete(no, fence, &g1).await), Outcome::NotFound);
    assert_eq!(ok("authoritative", store.authoritative_set(no, &g1, zero, &s1).await), Outcome::NotFound);
    assert_eq!(ok("assign", store.assignments_replace(no, zero, &storages(&["g1"])).await), Outcome::NotFound);
    assert!(ok("history", store.primary_history(no, 10).await).is_empty());
}
