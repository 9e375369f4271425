//! The word to those who keep in mind who is primary: whenever a primary changes or ceases to be valid, and never else.

use super::world::{World, done, ok, path, storage, storages, virtual_storage};
use crate::core::{
    epoch::Generation,
    ids::{NodeId, RepositoryId},
    synced::Scope,
};
use crate::store::{Change, ChangeKind, FeedPosition, StorageChange, Store};
use std::sync::Arc;

/// Whether a change may be about the primary of this path.
fn concerns(change: &Change, at: &str) -> bool {
    change.kind == ChangeKind::Primaries
        && match &change.scope {
            Scope::Repository(of, relative_path) => (of, relative_path) == (&virtual_storage("v"), &path(at)),
            Scope::VirtualStorage(of) | Scope::LedBy(NodeId { virtual_storage: of, .. }) => *of == virtual_storage("v"),
            Scope::Everything => true,
        }
}

/// One who keeps in mind who is primary of one repository.
struct Keeper<'a> {
    world: &'a World,
    position: FeedPosition,
}

impl<'a> Keeper<'a> {
    async fn of(world: &'a World) -> Keeper<'a> {
        let position = ok("begin to poll", world.store.changes_since(None).await).position;
        Keeper { world, position }
    }
    /// Whether it has been told since it last asked that the primary of this path may be another.
    async fn was_told_of(&mut self, at: &str) -> bool {
        let polled = ok("poll", self.world.store.changes_since(Some(&self.position)).await);
        self.position = polled.position;
        polled.changes.iter().any(|change| concerns(change, at))
    }
}

async fn assign(world: &World, id: RepositoryId, to: &[&str]) {
    let version = world.facts(id).await.facts_version;
    done("assign", world.store.assignments_replace(id, version, &storages(to)).await);
}

async fn change(world: &World, name: &str, change: StorageChange) {
    let node = NodeId::new(virtual_storage("v"), storage(name));
    ok("change a storage", world.store.storage_update(&node, change).await);
}

/// Another primary, another epoch, another name, a replica left behind, another assignment, a storage that drains or may lead
/// nothing: all are told.
pub async fn whatever_unfits_a_primary_is_told(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository_with("a", Some("g1")).await;
    let s1 = world.voter("s1").await;
    let mut keeper = Keeper::of(&world).await;
    world.elect(id, Some("g2"), &s1).await;
    assert!(keeper.was_told_of("a").await, "g2 was elected");
    let fence = world.fence(id).await;
    done("raise", world.store.generation_set(id, Some(&fence), &storage("g1"), Generation(3)).await);
    assert!(keeper.was_told_of("a").await, "g2 fell behind");
    let version = world.facts(id).await.facts_version;
    done("authoritative", world.store.authoritative_set(id, &storage("g2"), version, &s1).await);
    assert!(keeper.was_told_of("a").await, "the same primary under another epoch");
    assign(&world, id, &["g1", "g3"]).await;
    assert!(keeper.was_told_of("a").await, "g2 is not assigned, others are");
    change(&world, "g2", StorageChange { draining: Some(true), priority: None }).await;
    assert!(keeper.was_told_of("a").await, "g2 drains");
    change(&world, "g2", StorageChange { draining: None, priority: Some(0) }).await;
    assert!(keeper.was_told_of("a").await, "g2 may lead nothing");
    world.elect(id, None, &s1).await;
    assert!(keeper.was_told_of("a").await, "g2 was demoted");
    let other = world.repository_with("b", Some("g1")).await;
    assert!(keeper.was_told_of("b").await, "b is there");
    let fence = world.fence(other).await;
    done("rename", world.store.repository_rename(other, Some(&fence), &path("c")).await);
    let mut second = Keeper { world: &world, position: keeper.position.clone() };
    assert!(keeper.was_told_of("b").await, "b is no more");
    assert!(second.was_told_of("c").await, "c means something now");
    done("delete", world.store.repository_delete(other, Some(&fence)).await);
    assert!(keeper.was_told_of("c").await, "the repository went");
}

/// NOTIFY takes a lock at commit, and each word costs a read: who is primary is not touched by writes.
pub async fn what_leaves_a_primary_fit_is_told_to_nobody(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository_with("a", Some("g1")).await;
    assign(&world, id, &["g1", "g2"]).await;
    let mut keeper = Keeper::of(&world).await;
    world.write(id, &["g1", "g2", "g3"]).await;
    assert!(!keeper.was_told_of("a").await, "all acknowledged");
    world.write(id, &["g1", "g2"]).await;
    assert!(!keeper.was_told_of("a").await, "g3 was left behind, which is no primary");
    world.write(id, &["g1", "g2"]).await;
    done("mark", world.store.replica_mark(id, &storage("g3")).await);
    assert!(!keeper.was_told_of("a").await, "g3 is to go");
    let fence = world.fence(id).await;
    done("delete a replica", world.store.replica_delete(id, Some(&fence), &storage("g3")).await);
    assert!(!keeper.was_told_of("a").await, "g3 went");
}

/// An operator makes another storage the truth, drains the primary, and assigns others: each by itself is told.
pub async fn d15_what_an_operator_does_to_a_primary_is_told(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository_with("a", Some("g1")).await;
    let mut keeper = Keeper::of(&world).await;
    let version = world.facts(id).await.facts_version;
    done("authoritative", world.store.authoritative_set(id, &storage("g2"), version, &s1).await);
    assert!(keeper.was_told_of("a").await, "g2 is the truth");
    let id = world.repository_with("b", Some("g1")).await;
    assert!(keeper.was_told_of("b").await);
    change(&world, "g1", StorageChange { draining: Some(true), priority: None }).await;
    assert!(keeper.was_told_of("b").await, "g1 drains");
    assign(&world, id, &["g2"]).await;
    assert!(keeper.was_told_of("b").await, "g2 is assigned");
}
