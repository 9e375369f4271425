//! The table of the unavailable-repositories metric, on all three stores: what counts as a repository that nobody could
//! lead.

use crate::lab::{Kind, Lab, node, storage};
use quorate::{
    core::{
        epoch::Generation,
        ids::{NodeId, RelativePath, RepositoryId, VirtualStorage},
        settings::{Profile, Settings},
    },
    store::{NewRepository, Outcome, RepositoriesCount, Store, memory::MemoryStore},
};
use std::{collections::BTreeSet, sync::Arc};

/// One test per store.
macro_rules! on_all {
    ($name:ident, $story:path) => {
        mod $name {
            use super::*;
            #[actix::test]
            async fn memory() {
                let store = Arc::new(MemoryStore::default());
                store.settings_seed(&unfenced()).await.unwrap();
                $story(&World(store)).await;
            }
            #[actix::test]
            async fn sqlite() {
                $story(&World(Lab::new(Kind::Sqlite, &unfenced()).await.store.inner.clone())).await;
            }
            #[actix::test]
            async fn postgres() {
                $story(&World(Lab::new(Kind::Postgres, &unfenced()).await.store.inner.clone())).await;
            }
        }
    };
}

/// Replicas are put on generations without asking who is primary.
fn unfenced() -> Settings {
    Settings::of(Profile::Praefect)
}

struct World(Arc<dyn Store>);

impl World {
    /// A repository in `v`, its replicas on these generations, these storages assigned.
    async fn repository(&self, path: &str, replicas: &[(&str, i64)], assigned: &[&str]) -> RepositoryId {
        let names = replicas.iter().map(|(name, _)| storage(name)).collect();
        let mut new = NewRepository::new(VirtualStorage::new("v").unwrap(), RelativePath::new(path).unwrap(), names);
        new.assignments = assigned.iter().map(|name| storage(name)).collect();
        let Outcome::Done(created) = self.0.repository_create(&new).await.unwrap() else { panic!("not created") };
        for (name, generation) in replicas {
            let set = self.0.generation_set(created.repository, None, &storage(name), Generation(*generation));
            assert_eq!(set.await.unwrap(), Outcome::Done(()));
        }
        created.repository
    }

    async fn counted(&self, healthy: &[&str]) -> Vec<RepositoriesCount> {
        let healthy: BTreeSet<NodeId> = healthy.iter().map(|name| node("v", name)).collect();
        self.0.repositories_count(&healthy).await.unwrap()
    }

    /// Repositories, and those of them that nobody could lead while these are healthy.
    async fn all(&self, healthy: &[&str]) -> (u64, u64) {
        let counts = self.counted(healthy).await;
        (counts.iter().map(|count| count.repositories).sum(), counts.iter().map(|count| count.unavailable).sum())
    }
}

async fn none(world: &World) {
    assert_eq!(world.counted(&["g1"]).await, []);
}
on_all!(no_repositories, super::none);

async fn deleted(world: &World) {
    let id = world.repository("r", &[("g1", 0)], &[]).await;
    assert_eq!(world.all(&[]).await, (1, 1));
    assert!(matches!(world.0.repository_delete(id, None).await.unwrap(), Outcome::Done(_)));
    assert_eq!(world.all(&[]).await, (0, 0));
}
on_all!(a_deleted_repository_is_not_counted, super::deleted);

async fn no_healthy_replica(world: &World) {
    world.repository("r", &[("g1", 0), ("g2", 0)], &[]).await;
    assert_eq!(world.all(&["g3"]).await, (1, 1));
    assert_eq!(world.all(&["g2", "g3"]).await, (1, 0), "a healthy one is enough");
}
on_all!(no_healthy_replica_is_counted, super::no_healthy_replica);

async fn only_outdated_healthy(world: &World) {
    world.repository("r", &[("g1", 1), ("g2", 0)], &[]).await;
    assert_eq!(world.all(&["g2"]).await, (1, 1));
    assert_eq!(world.all(&["g1", "g2"]).await, (1, 0));
}
on_all!(only_outdated_replicas_healthy_is_counted, super::only_outdated_healthy);

async fn unassigned_but_current(world: &World) {
    world.repository("r", &[("g1", 0), ("g2", 1)], &["g1"]).await;
    assert_eq!(world.all(&["g1", "g2"]).await, (1, 0));
}
on_all!(unassigned_but_current_and_healthy_is_not_counted, super::unassigned_but_current);

async fn marked(world: &World) {
    let id = world.repository("r", &[("g1", 0), ("g2", 0)], &[]).await;
    assert_eq!(world.0.replica_mark(id, &storage("g1")).await.unwrap(), Outcome::Done(()));
    assert_eq!(world.all(&["g1"]).await, (1, 1));
    assert_eq!(world.all(&["g1", "g2"]).await, (1, 0));
}
on_all!(a_replica_to_be_deleted_leads_nothing, super::marked);

async fn two(world: &World) {
    world.repository("a", &[("g1", 0)], &[]).await;
    world.repository("b", &[("g1", 0)], &[]).await;
    world.repository("c", &[("g2", 0)], &[]).await;
    assert_eq!(world.all(&["g2"]).await, (3, 2));
}
on_all!(two_unavailable_are_counted, super::two);

async fn by_primary(world: &World) {
    world.repository("a", &[("g1", 0)], &[]).await;
    let mut new = NewRepository::new(
        VirtualStorage::new("v").unwrap(),
        RelativePath::new("b").unwrap(),
        [storage("g2"), storage("g1")].into(),
    );
    new.primary = Some(storage("g2"));
    assert!(matches!(world.0.repository_create(&new).await.unwrap(), Outcome::Done(_)));
    new.virtual_storage = VirtualStorage::new("w").unwrap();
    assert!(matches!(world.0.repository_create(&new).await.unwrap(), Outcome::Done(_)));
    let count = |vs: &str, primary: Option<&str>, repositories, unavailable| RepositoriesCount {
        virtual_storage: VirtualStorage::new(vs).unwrap(),
        primary: primary.map(storage),
        repositories,
        unavailable,
    };
    // The healthy ones are nodes of `v`; a storage of the same name in `w` is another node.
    let expected = [count("v", None, 1, 0), count("v", Some("g2"), 1, 0), count("w", Some("g2"), 1, 1)];
    assert_eq!(world.counted(&["g1", "g2"]).await, expected);
}
on_all!(counted_by_virtual_storage_and_primary, super::by_primary);
