//! What is counted over all repositories; above all, what counts as one that nobody could lead.

use super::world::{World, done, node, ok, storage, virtual_storage};
use crate::{
    core::ids::NodeId,
    store::{RepositoriesCount, Store},
};
use std::{collections::BTreeSet, sync::Arc};

impl World {
    async fn counted(&self, healthy: &[&str]) -> Vec<RepositoriesCount> {
        let healthy: BTreeSet<NodeId> = healthy.iter().map(|name| node(name)).collect();
        ok("count the repositories", self.store.repositories_count(&healthy).await)
    }

    /// All repositories, and those of them that nobody could lead while just these are healthy.
    async fn totals(&self, healthy: &[&str]) -> (u64, u64) {
        let counts = self.counted(healthy).await;
        (counts.iter().map(|count| count.repositories).sum(), counts.iter().map(|count| count.unavailable).sum())
    }

    async fn replicated(&self, at: &str, replicas: &[&str]) {
        let new = self.new_repository(at, replicas, None);
        done("create a repository", self.store.repository_create(&new).await);
    }
}

/// Nothing to count.
pub async fn no_repositories_no_rows(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    assert_eq!(world.counted(&["g1"]).await, []);
}

/// What is deleted is neither there nor unavailable.
pub async fn a_deleted_repository_is_not_counted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    assert_eq!(world.totals(&[]).await, (1, 1));
    let fence = world.fence(id).await;
    done("delete it", world.store.repository_delete(id, Some(&fence)).await);
    assert_eq!(world.totals(&[]).await, (0, 0));
}

/// All of its nodes are down.
pub async fn without_a_healthy_replica_it_is_counted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    world.replicated("a", &["g1", "g2"]).await;
    assert_eq!(world.totals(&["g3"]).await, (1, 1));
}

/// One of its nodes is up.
pub async fn a_healthy_current_one_is_enough(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    world.replicated("a", &["g1", "g2"]).await;
    assert_eq!(world.totals(&["g2", "g3"]).await, (1, 0));
}

/// The latest write is on a node that is down.
pub async fn only_outdated_ones_healthy_is_counted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    world.write(id, &["g1"]).await;
    assert_eq!(world.totals(&["g2", "g3"]).await, (1, 1));
    assert_eq!(world.totals(&["g1", "g2"]).await, (1, 0));
}

/// An assignment is a preference and no condition.
pub async fn unassigned_but_current_and_healthy_is_not_counted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let at = world.facts(id).await.facts_version;
    done("assign", world.store.assignments_replace(id, at, &[storage("g1")].into()).await);
    assert_eq!(world.totals(&["g2"]).await, (1, 0));
}

/// A replica that is marked may not be elected, so it makes nothing available.
pub async fn a_replica_to_be_deleted_leads_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    done("mark", world.store.replica_mark(id, &storage("g2")).await);
    assert_eq!(world.totals(&["g2"]).await, (1, 1));
    assert_eq!(world.totals(&["g2", "g3"]).await, (1, 0));
}

/// Each is counted once, whoever else is fine.
pub async fn two_are_counted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    world.replicated("a", &["g1"]).await;
    world.replicated("b", &["g1", "g3"]).await;
    world.replicated("c", &["g2"]).await;
    assert_eq!(world.totals(&["g2"]).await, (3, 2));
}

/// One row for each leader, in order; storages of the same name in two virtual storages are two nodes.
pub async fn counted_by_virtual_storage_and_primary(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    world.replicated("a", &["g1"]).await;
    let mut new = world.new_repository("b", &["g1", "g2"], Some("g2"));
    done("create a repository", world.store.repository_create(&new).await);
    new.virtual_storage = virtual_storage("w");
    done("create another elsewhere", world.store.repository_create(&new).await);
    let count = |named: &str, primary: Option<&str>, unavailable| RepositoriesCount {
        virtual_storage: virtual_storage(named),
        primary: primary.map(storage),
        repositories: 1,
        unavailable,
    };
    // The healthy ones are nodes of `v`.
    let expected = [count("v", None, 0), count("v", Some("g2"), 0), count("w", Some("g2"), 1)];
    assert_eq!(world.counted(&["g1", "g2"]).await, expected);
}
