//! The tables of assignments and replication factors, on all three stores.

use crate::lab::{Kind, Lab, PROFILES, patient, storage};
use quorate::{
    Config, Error, Ports, Supervisor,
    config::{NodeConfig, VirtualStorageConfig},
    core::{
        election::Target,
        epoch::Generation,
        ids::{RelativePath, Storage, VirtualStorage},
        settings::{Profile, Settings},
    },
    store::{NewRepository, Outcome, Store, memory::MemoryStore},
    testing::probe::ScriptedTransport,
};
use std::{collections::BTreeSet, sync::Arc};

/// One test per store.
macro_rules! on_all {
    ($name:ident, $story:path) => {
        mod $name {
            use super::*;
            #[actix::test]
            async fn memory() {
                for profile in PROFILES {
                    $story(&World::of(profile, Arc::new(MemoryStore::default())).await).await;
                }
            }
            #[actix::test]
            async fn sqlite() {
                for profile in PROFILES {
                    let lab = Lab::new(Kind::Sqlite, &Settings::of(profile)).await;
                    $story(&World::of(profile, lab.store.inner.clone()).await).await;
                }
            }
            #[actix::test]
            async fn postgres() {
                for profile in PROFILES {
                    let lab = Lab::new(Kind::Postgres, &Settings::of(profile)).await;
                    $story(&World::of(profile, lab.store.inner.clone()).await).await;
                }
            }
        }
    };
}

/// One supervisor; virtual storage `v` with `g1` to `g3` configured, all of them up. `x` is a storage that no
/// configuration names.
struct World {
    store: Arc<dyn Store>,
    supervisor: Supervisor<u64>,
}

fn set(names: &[&str]) -> BTreeSet<Storage> {
    names.iter().map(|name| storage(name)).collect()
}
fn at(path: &str) -> Target {
    Target::Path(VirtualStorage::new("v").unwrap(), RelativePath::new(path).unwrap())
}

impl World {
    async fn of(profile: Profile, store: Arc<dyn Store>) -> World {
        let mut config = Config::new(profile, "sqlite:unused");
        config.name = Some("s1".parse().unwrap());
        let node = |name: &str| NodeConfig::new(storage(name), format!("tcp://{name}:1"));
        let nodes = ["g1", "g2", "g3"].map(node).into();
        config.virtual_storages =
            vec![VirtualStorageConfig { nodes, ..VirtualStorageConfig::new(VirtualStorage::new("v").unwrap()) }];
        patient(&mut config);
        let ports = Ports::new(store.clone(), ScriptedTransport::default());
        World { store, supervisor: Supervisor::assemble(config, ports).await.unwrap() }
    }

    /// A repository with a replica everywhere.
    async fn repository(&self, path: &str, primary: Option<&str>, assigned: &[&str]) {
        let replicas = ["g1", "g2", "g3"].map(storage).into();
        let mut new = NewRepository::new(VirtualStorage::new("v").unwrap(), RelativePath::new(path).unwrap(), replicas);
        new.primary = primary.map(storage);
        new.assignments = assigned.iter().map(|name| storage(name)).collect();
        assert!(matches!(self.store.repository_create(&new).await.unwrap(), Outcome::Done(_)));
    }

    async fn stored(&self, path: &str) -> BTreeSet<Storage> {
        self.supervisor.repository(&at(path)).await.unwrap().facts.assignments.into_iter().collect()
    }

    /// Sets a factor; what is answered is what is stored.
    async fn factor(&self, path: &str, factor: u32) -> BTreeSet<Storage> {
        let answered = self.supervisor.replication_factor_set(&at(path), factor).await.unwrap();
        assert_eq!(self.stored(path).await, answered, "what is answered is what is stored");
        answered
    }
}

async fn nothing_assigned_means_every_configured_storage(world: &World) {
    world.repository("r", None, &[]).await;
    world.repository("other", None, &["g1"]).await;
    assert_eq!(world.supervisor.assignments(&at("r")).await.unwrap(), set(&["g1", "g2", "g3"]));
}
on_all!(fallback_to_configured_without_rows, super::nothing_assigned_means_every_configured_storage);

async fn only_unconfigured_rows_mean_every_configured_storage(world: &World) {
    world.repository("r", None, &["x"]).await;
    assert_eq!(world.supervisor.assignments(&at("r")).await.unwrap(), set(&["g1", "g2", "g3"]));
}
on_all!(
    fallback_to_configured_with_only_unconfigured_rows,
    super::only_unconfigured_rows_mean_every_configured_storage
);

async fn those_assigned_that_are_configured(world: &World) {
    world.repository("r", None, &["g3", "g1", "x"]).await;
    assert_eq!(world.supervisor.assignments(&at("r")).await.unwrap(), set(&["g1", "g3"]));
}
on_all!(assignments_found, super::those_assigned_that_are_configured);

async fn what_does_not_exist_is_named(world: &World) {
    let elsewhere = Target::Path(VirtualStorage::new("w").unwrap(), RelativePath::new("r").unwrap());
    let (supervisor, missing) = (&world.supervisor, at("missing"));
    let unknown = supervisor.assignments(&elsewhere).await.unwrap_err();
    assert_eq!(unknown.to_string(), r#"virtual storage "w" does not exist"#);
    let unknown = supervisor.replication_factor_set(&elsewhere, 1).await.unwrap_err();
    assert!(matches!(unknown, Error::VirtualStorageNotFound(_)), "{unknown:?}");
    assert!(matches!(supervisor.assignments(&missing).await, Err(Error::RepositoryNotFound)));
    assert!(matches!(supervisor.replication_factor_set(&missing, 1).await, Err(Error::RepositoryNotFound)));
}
on_all!(unknown_virtual_storage_and_missing_repository, super::what_does_not_exist_is_named);

async fn the_primary_comes_first(world: &World) {
    for primary in ["g1", "g2", "g3"] {
        world.repository(primary, Some(primary), &[]).await;
        assert_eq!(world.factor(primary, 1).await, set(&[primary]));
    }
}
on_all!(factor_primary_first, super::the_primary_comes_first);

async fn growing_takes_one_more_and_in_the_end_all(world: &World) {
    world.repository("r", Some("g1"), &["g1"]).await;
    let two = world.factor("r", 2).await;
    assert!(two.len() == 2 && two.contains(&storage("g1")), "{two:?}");
    assert_eq!(world.factor("r", 2).await, two, "the same factor again changes nothing");
    assert_eq!(world.factor("r", 3).await, set(&["g1", "g2", "g3"]));
}
on_all!(factor_grows, super::growing_takes_one_more_and_in_the_end_all);

async fn shrinking_never_takes_the_primary(world: &World) {
    world.repository("r", Some("g2"), &["g1", "g2", "g3"]).await;
    let two = world.factor("r", 2).await;
    assert!(two.len() == 2 && two.contains(&storage("g2")), "{two:?}");
    assert_eq!(world.factor("r", 1).await, set(&["g2"]));
}
on_all!(factor_shrinks_and_keeps_the_primary, super::shrinking_never_takes_the_primary);

async fn the_unconfigured_are_neither_counted_nor_touched(world: &World) {
    world.repository("grows", Some("g1"), &["g1", "x"]).await;
    let grown = world.factor("grows", 2).await;
    assert!(grown.len() == 3 && grown.is_superset(&set(&["g1", "x"])), "{grown:?}");
    world.repository("shrinks", Some("g1"), &["g1", "g2", "x"]).await;
    assert_eq!(world.factor("shrinks", 1).await, set(&["g1", "x"]));
}
on_all!(factor_ignores_the_unconfigured, super::the_unconfigured_are_neither_counted_nor_touched);

async fn a_factor_out_of_range_changes_nothing(world: &World) {
    world.repository("r", Some("g1"), &["g1", "g2"]).await;
    for (factor, told) in [
        (0, "attempted to set replication factor 0 but minimum is 1"),
        (4, "attempted to set replication factor 4 but virtual storage only contains 3 storages"),
    ] {
        let error = world.supervisor.replication_factor_set(&at("r"), factor).await.unwrap_err();
        assert_eq!(error.to_string(), told);
        assert_eq!(world.stored("r").await, set(&["g1", "g2"]));
    }
}
on_all!(factor_out_of_range, super::a_factor_out_of_range_changes_nothing);

/// In Praefect `storage != primary` holds of nothing while the primary is NULL (defect W).
async fn it_shrinks_without_a_primary(world: &World) {
    world.repository("r", None, &["g1", "g2", "g3"]).await;
    assert_eq!(world.factor("r", 1).await.len(), 1);
}
on_all!(defect_w_without_a_primary_it_shrinks_too, super::it_shrinks_without_a_primary);

/// Primary, assignments and generations come from one snapshot. In Praefect from three reads, and a writer was told
/// "primary node is not assigned" (defect S).
async fn an_unassigned_primary_leads_while_no_assigned_replica_is_current(world: &World) {
    world.repository("r", Some("g1"), &["g2", "g3"]).await;
    let facts = world.supervisor.repository(&at("r")).await.unwrap().facts;
    let fence = facts.epoch.map(|epoch| quorate::core::election::Fence { epoch, primary: storage("g1") });
    let written = world.supervisor.generation_increment(facts.repository, fence.as_ref(), &set(&["g1"])).await.unwrap();
    assert_eq!(written, Generation(1));
    assert_eq!(world.supervisor.primary(&at("r")).await.unwrap().storage, storage("g1"));
    // The contrast: as soon as an assigned one has caught up it leads.
    let id = facts.repository;
    world.supervisor.generation_set(id, fence.as_ref(), &storage("g3"), Generation(1)).await.unwrap();
    assert_eq!(world.supervisor.primary(&at("r")).await.unwrap().storage, storage("g3"));
}
on_all!(
    defect_s_an_unassigned_primary_is_no_error,
    super::an_unassigned_primary_leads_while_no_assigned_replica_is_current
);
