//! The tables of the router, as far as they ask who is primary, up to date, assigned and up.
//!
//! Requests are routed by whoever embeds this. What he needs for that are the answers of one supervisor, and these are
//! what the rows are about: that supervisor itself reaches some of the nodes, while two others hold the quorum.

use crate::lab::{Kind, LIMIT, Lab, PROFILES, node, on_both, patient, storage};
use quorate::{
    Config, Error, Ports, Supervisor,
    config::{NodeConfig, VirtualStorageConfig},
    core::{
        election::Target,
        evidence::{Evidence, Hard},
        ids::{RelativePath, Storage, VirtualStorage},
        quorum::Verdict,
        settings::{Profile, Settings},
    },
    store::{NewRepository, Outcome},
    testing::{probe::ScriptedTransport, wait},
};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const NODES: &[&str] = &["g1", "g2", "g3", "g4"];

/// One repository, whose recorded primary is `g1`, and who sees which of the nodes up.
struct Row {
    /// Storages with a replica, and their generation.
    replicas: &'static [(&'static str, i64)],
    /// None: every configured storage.
    assigned: &'static [&'static str],
    /// By the quorum.
    healthy: &'static [&'static str],
    /// By the supervisor that is asked.
    local: &'static [&'static str],
}

/// Replicas as the table of the accessor has them: primary, one that is consistent, one that is not, one that is down.
const READ: Row = Row {
    replicas: &[("g1", 1), ("g2", 1), ("g3", 0), ("g4", 1)],
    assigned: &[],
    healthy: &["g1", "g2", "g3"],
    local: &["g1", "g2", "g3"],
};

/// The same for the mutator: a primary and two secondaries, all of them up and consistent.
const WRITE: Row =
    Row { replicas: &[("g1", 1), ("g2", 1), ("g3", 1)], assigned: &["g1", "g2", "g3"], healthy: NODES, local: NODES };

struct Scene {
    _lab: Lab,
    asked: Supervisor<u64>,
    _others: [Supervisor<u64>; 2],
}

fn settings(profile: Profile) -> Settings {
    // Votes that a busy machine does not let lapse.
    let patient = Duration::from_secs(60);
    Settings { voter_ttl: patient, vote_ttl: patient, ..Settings::of(profile) }
}

fn vs() -> VirtualStorage {
    VirtualStorage::new("v").unwrap()
}
fn repository() -> Target {
    Target::Path(vs(), RelativePath::new("r").unwrap())
}
fn elsewhere() -> Target {
    Target::Path(VirtualStorage::new("w").unwrap(), RelativePath::new("r").unwrap())
}
fn set(names: &[&str]) -> BTreeSet<Storage> {
    names.iter().map(|name| storage(name)).collect()
}

/// A supervisor that sees just these nodes up.
async fn supervisor(lab: &Lab, profile: Profile, name: &str, up: &[&str]) -> Supervisor<u64> {
    let mut config = Config::new(profile, "sqlite:unused");
    config.name = Some(name.parse().unwrap());
    config.settings = settings(profile);
    (config.start_timeout, config.request_timeout) = (LIMIT, LIMIT);
    patient(&mut config);
    let address = |name: &str| format!("tcp://{name}:1");
    let nodes = NODES.iter().map(|name| NodeConfig::new(storage(name), address(name))).collect();
    config.virtual_storages = vec![VirtualStorageConfig { nodes, ..VirtualStorageConfig::new(vs()) }];
    let transport = ScriptedTransport::default();
    for down in NODES.iter().filter(|name| !up.contains(name)) {
        transport.node(&address(down)).answers(Evidence::Hard(Hard::Refused));
    }
    Supervisor::assemble(config, Ports::new(lab.store.inner.clone(), transport)).await.unwrap()
}

impl Scene {
    async fn of(kind: Kind, profile: Profile, row: &Row) -> Scene {
        let lab = Lab::new(kind, &settings(profile)).await;
        let replicas = row.replicas.iter().map(|(name, _)| storage(name)).collect();
        let mut new = NewRepository::new(vs(), RelativePath::new("r").unwrap(), replicas);
        (new.primary, new.assignments) = (Some(storage("g1")), set(row.assigned).into_iter().collect());
        assert!(matches!(lab.store.inner.repository_create(&new).await.unwrap(), Outcome::Done(_)));
        for (name, generation) in row.replicas {
            lab.sql(&format!("UPDATE storage_repositories SET generation = {generation} WHERE storage = '{name}'"))
                .await;
        }
        let latest = row.replicas.iter().map(|(_, generation)| generation).max().unwrap();
        lab.sql(&format!("UPDATE repositories SET generation = {latest}")).await;
        let others =
            [supervisor(&lab, profile, "s2", row.healthy).await, supervisor(&lab, profile, "s3", row.healthy).await];
        let asked = supervisor(&lab, profile, "s1", row.local).await;
        let verdict = |name: &&str| if row.healthy.contains(name) { Verdict::Healthy } else { Verdict::Unhealthy };
        wait::until("the quorum is as the row has it, and so is what s1 sees", LIMIT, || {
            let agreed = |known: &std::sync::Arc<quorate::core::consensus::Consensus>| {
                NODES.iter().all(|name| known.verdict(&node("v", name)) == verdict(name))
            };
            asked.health_consensus().is_some_and(|known| agreed(&known)) && reaches(&asked) == set(row.local)
        })
        .await;
        Scene { _lab: lab, asked, _others: others }
    }

    /// Who serves reads, over as many lots as there are nodes.
    async fn reads(&self) -> Result<Vec<String>, Error> {
        let counter = AtomicU64::new(0);
        let in_turn = self.asked.clone().with_lot(move || counter.fetch_add(1 << 32, Ordering::SeqCst));
        let mut served = Vec::new();
        for _ in NODES {
            served.push(in_turn.synced_node(&repository()).await?.storage().to_string());
        }
        Ok(served)
    }

    /// Whom one write goes to: the primary, those who take part at once, and those who are to follow.
    async fn write(&self) -> Result<(String, BTreeSet<Storage>, BTreeSet<Storage>), Error> {
        let shard = self.asked.shard_of(&repository()).await?;
        if !shard.primary.is_healthy() {
            return Err(Error::PrimaryNotHealthy { storage: shard.primary.storage().clone(), epoch: shard.epoch });
        }
        let assigned = self.asked.assignments(&repository()).await?;
        let facts = self.asked.repository(&repository()).await?.facts;
        let current = |name: &Storage| {
            facts
                .replicas
                .iter()
                .any(|replica| replica.storage == *name && Some(replica.generation) == facts.generation)
        };
        let up = shard.healthy_secondaries().into_iter().map(|handle| handle.storage().clone());
        let at_once: BTreeSet<Storage> = up.filter(|name| assigned.contains(name) && current(name)).collect();
        let primary = shard.primary.storage();
        let later = assigned.iter().filter(|name| *name != primary && !at_once.contains(*name)).cloned().collect();
        Ok((primary.to_string(), at_once, later))
    }

    /// Whom upkeep of a repository goes to, whoever is its primary.
    async fn maintenance(&self) -> Result<BTreeSet<Storage>, Error> {
        let assigned = self.asked.assignments(&repository()).await?;
        let replicas = self.asked.repository(&repository()).await?.facts.replicas.into_iter();
        let up = reaches(&self.asked);
        Ok(replicas
            .map(|replica| replica.storage)
            .filter(|name| assigned.contains(name) && up.contains(name))
            .collect())
    }
}

/// Where this supervisor would send a request.
fn reaches(asked: &Supervisor<u64>) -> BTreeSet<Storage> {
    asked.healthy_nodes().0.into_values().flatten().collect()
}

macro_rules! rows {
    ($($name:ident: $row:expr, $story:expr;)*) => {
        $(on_both!($name, |kind| async move {
            #[allow(unused_imports, reason = "not every row needs them")]
            use super::*;
            for profile in PROFILES {
                let scene = Scene::of(kind, profile, &$row).await;
                ($story)(&scene).await;
            }
        });)*
    };
}

// Reads.
rows! {
    accessor_unknown_virtual_storage: READ, async |scene: &Scene| {
        let error = scene.asked.synced_node(&elsewhere()).await.unwrap_err();
        assert!(matches!(error, Error::VirtualStorageNotFound(_)), "{error}");
    };
    accessor_nobody_healthy: Row { local: &[], ..READ }, async |scene: &Scene| {
        let error = scene.reads().await.unwrap_err();
        assert_eq!(error.to_string(), "no healthy nodes: none of g1, g2, g4 is up");
        assert_eq!(reaches(&scene.asked), set(&[]));
    };
    accessor_the_index_decides_between_the_two: Row { local: &["g1", "g2"], ..READ }, async |scene: &Scene| {
        assert_eq!(scene.reads().await.unwrap(), ["g1", "g2", "g1", "g2"]);
    };
    accessor_the_only_consistent_one_that_is_up: Row { local: &["g2"], ..READ }, async |scene: &Scene| {
        assert_eq!(scene.reads().await.unwrap(), ["g2"; 4]);
    };
    // Praefect says here that no node is suitable; ours is one error, which names those who would be.
    accessor_only_the_inconsistent_one_is_up: Row { local: &["g3"], ..READ }, async |scene: &Scene| {
        assert!(matches!(scene.reads().await.unwrap_err(), Error::NoHealthyNodes { .. }));
    };
    accessor_primary_only_and_it_is_up: READ, async |scene: &Scene| {
        let primary = scene.asked.shard_of(&repository()).await.unwrap().primary;
        assert_eq!((primary.storage().as_str(), primary.is_healthy()), ("g1", true));
    };
    // The quorum holds it up, so it stays primary: that this supervisor cannot reach it is told by its handle.
    accessor_primary_only_and_it_is_out_of_reach: Row { local: &["g2"], ..READ }, async |scene: &Scene| {
        let primary = scene.asked.shard_of(&repository()).await.unwrap().primary;
        assert_eq!((primary.storage().as_str(), primary.is_healthy()), ("g1", false));
    };
}

fn unreachable(written: Result<(String, BTreeSet<Storage>, BTreeSet<Storage>), Error>) -> String {
    match written {
        Err(Error::PrimaryNotHealthy { storage, .. }) => storage.to_string(),
        other => panic!("{other:?}"),
    }
}

// Writes.
rows! {
    mutator_unknown_virtual_storage: WRITE, async |scene: &Scene| {
        let error = scene.asked.primary(&elsewhere()).await.unwrap_err();
        assert!(matches!(error, Error::VirtualStorageNotFound(_)), "{error}");
        let error = scene.asked.assignments(&elsewhere()).await.unwrap_err();
        assert!(matches!(error, Error::VirtualStorageNotFound(_)), "{error}");
    };
    mutator_primary_moves_to_one_that_is_out_of_reach:
        Row { replicas: &[("g1", 0), ("g2", 1), ("g3", 0)], local: &["g1", "g3"], ..WRITE }, async |scene: &Scene| {
            assert_eq!(unreachable(scene.write().await), "g2");
        };
    mutator_primary_out_of_reach: Row { local: &["g2", "g3"], ..WRITE }, async |scene: &Scene| {
        assert_eq!(unreachable(scene.write().await), "g1");
    };
    mutator_all_consistent: WRITE, async |scene: &Scene| {
        assert_eq!(scene.write().await.unwrap(), ("g1".into(), set(&["g2", "g3"]), set(&[])));
    };
    mutator_one_inconsistent: Row { replicas: &[("g1", 1), ("g2", 1), ("g3", 0)], ..WRITE }, async |scene: &Scene| {
        assert_eq!(scene.write().await.unwrap(), ("g1".into(), set(&["g2"]), set(&["g3"])));
    };
    mutator_only_the_primary_in_reach: Row { local: &["g1"], ..WRITE }, async |scene: &Scene| {
        assert_eq!(scene.write().await.unwrap(), ("g1".into(), set(&[]), set(&["g2", "g3"])));
    };
    mutator_an_unassigned_one_is_ignored: Row { assigned: &["g1", "g2"], ..WRITE }, async |scene: &Scene| {
        assert_eq!(scene.write().await.unwrap(), ("g1".into(), set(&["g2"]), set(&[])));
    };
    mutator_an_unassigned_one_is_ignored_though_it_lags:
        Row { replicas: &[("g1", 1), ("g2", 1), ("g3", 0)], assigned: &["g1", "g2"], ..WRITE }, async |scene: &Scene| {
            assert_eq!(scene.write().await.unwrap(), ("g1".into(), set(&["g2"]), set(&[])));
        };
    // In Praefect "primary node is not assigned" (defect S).
    mutator_an_unassigned_primary_writes_and_those_assigned_follow:
        Row { replicas: &[("g1", 1), ("g2", 0), ("g3", 0)], assigned: &["g2", "g3"], ..WRITE }, async |scene: &Scene| {
            assert_eq!(scene.write().await.unwrap(), ("g1".into(), set(&[]), set(&["g2", "g3"])));
        };
}

// Upkeep.
rows! {
    maintenance_without_the_primary: Row { local: &["g2", "g3"], ..WRITE }, async |scene: &Scene| {
        assert_eq!(scene.maintenance().await.unwrap(), set(&["g2", "g3"]));
    };
    maintenance_skips_the_unassigned: Row { assigned: &["g1", "g2"], ..WRITE }, async |scene: &Scene| {
        assert_eq!(scene.maintenance().await.unwrap(), set(&["g1", "g2"]));
    };
    maintenance_skips_those_without_a_replica:
        Row { replicas: &[("g1", 1), ("g2", 1)], ..WRITE }, async |scene: &Scene| {
            assert_eq!(scene.maintenance().await.unwrap(), set(&["g1", "g2"]));
        };
    maintenance_takes_every_generation:
        Row { replicas: &[("g1", 2), ("g2", 1), ("g3", 0)], ..WRITE }, async |scene: &Scene| {
            assert_eq!(scene.maintenance().await.unwrap(), set(&["g1", "g2", "g3"]));
        };
    maintenance_nobody_healthy: Row { local: &[], ..WRITE }, async |scene: &Scene| {
        assert_eq!(scene.maintenance().await.unwrap(), set(&[]));
    };
}

// Creation: who holds a new repository is chosen by whoever embeds this. What he chooses from, and what he is refused.
rows! {
    creation_nobody_healthy: Row { local: &[], ..WRITE }, async |scene: &Scene| {
        assert_eq!(scene.asked.healthy_nodes().0[&vs()], []);
    };
    creation_unknown_virtual_storage: WRITE, async |scene: &Scene| {
        let new = NewRepository::new(VirtualStorage::new("w").unwrap(), RelativePath::new("new").unwrap(), set(&["g1"]).into_iter().collect());
        let error = scene.asked.repository_create(&new).await.unwrap_err();
        assert!(matches!(error, Error::VirtualStorageNotFound(_)), "{error}");
    };
    creation_already_exists: WRITE, async |scene: &Scene| {
        let new = NewRepository::new(vs(), RelativePath::new("r").unwrap(), set(&["g1"]).into_iter().collect());
        let error = scene.asked.repository_create(&new).await.unwrap_err();
        assert!(matches!(error, Error::Refused(quorate::store::Refused::PathTaken)), "{error}");
    };
}
