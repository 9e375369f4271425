//! What one repository costs among a million, beside what it costs among ten thousand.
//!
//! Both databases are filled before anything is timed, and are asked in turn. What an index finds should cost the same in
//! both; what reads every row cannot.

use crate::{
    Result,
    ground::{Elections, Kind, node},
    sample::{Samples, Summary, machine},
};
use quorate::{
    Config, Ports, Supervisor,
    config::{NodeConfig, VirtualStorageConfig},
    core::{
        election::Target,
        ids::{NodeId, RelativePath, RepositoryId, VirtualStorage},
        settings::Profile,
    },
    testing::probe::ScriptedTransport,
};
use serde::Serialize;
use std::{collections::BTreeSet, time::Duration};

/// The nodes: more than a repository has replicas, so that a replication factor can grow.
pub const NODES: usize = 5;
/// The longest that anything here may take. Beyond it the harness ends with an error instead of a number.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two filled databases of one kind.
pub struct Pair {
    database: Kind,
    sizes: [usize; 2],
    scenes: [Elections; 2],
}

/// One operation, in the small database and in the large one.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// Which database.
    pub database: Kind,
    /// What was done.
    pub operation: &'static str,
    /// The repositories in each.
    pub repositories: [usize; 2],
    /// The times in each.
    pub times: [Summary; 2],
    /// The large one's median over the small one's.
    pub ratio: f64,
    /// What the machine was doing.
    pub machine: String,
}

impl Pair {
    /// Fills both.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn new(database: Kind, sizes: [usize; 2]) -> Result<Pair> {
        let small = Elections::at_rest(database, NODES, sizes[0]).await?;
        let large = Elections::at_rest(database, NODES, sizes[1]).await?;
        Ok(Pair { database, sizes, scenes: [small, large] })
    }

    fn cost(&self, operation: &'static str, times: &[Samples; 2]) -> Cost {
        let times = [times[0].summary(), times[1].summary()];
        let ratio = times[1].over(&times[0]);
        Cost { database: self.database, operation, repositories: self.sizes, times, ratio, machine: machine() }
    }

    /// A bare SELECT, the facts of an election by id and by path, and a whole lookup.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn lookups(&mut self, samples: usize) -> Result<Vec<Cost>> {
        let [mut bare, mut facts, mut by_path, mut lookup] = [(); 4].map(|()| <[Samples; 2]>::default());
        for turn in 0..samples + samples / 10 {
            if turn == samples / 10 {
                // Caches, plans and connections are warm from here on.
                [bare, facts, by_path, lookup] = Default::default();
            }
            for (index, scene) in self.scenes.iter_mut().enumerate() {
                let repository = scene.any();
                bare[index].time(scene.bare(repository)).await?;
                facts[index].time(scene.facts(repository)).await?;
                by_path[index].time(facts_by_path(scene, repository)).await?;
                lookup[index].time(scene.lookup(repository)).await?;
            }
        }
        Ok(vec![
            self.cost("bare SELECT", &bare),
            self.cost("facts by id", &facts),
            self.cost("facts by path", &by_path),
            self.cost("lookup", &lookup),
        ])
    }

    /// `Supervisor::replication_factor_set`, one up and one down again.
    ///
    /// # Errors
    /// Whatever the supervisor says; and if the factor that it set is another.
    pub async fn factors(&mut self, samples: usize) -> Result<Vec<Cost>> {
        let [mut grown, mut shrunk] = [(); 2].map(|()| <[Samples; 2]>::default());
        let supervisors = [supervisor(&self.scenes[0]).await?, supervisor(&self.scenes[1]).await?];
        for _ in 0..samples {
            for (index, supervisor) in supervisors.iter().enumerate() {
                let target = Target::Id(self.scenes[index].any());
                for (samples, factor) in [(&mut grown, 4), (&mut shrunk, 3)] {
                    let set = samples[index].time(supervisor.replication_factor_set(&target, factor)).await?;
                    if set.len() != factor as usize {
                        return Err(format!("{} storages instead of {factor}", set.len()).into());
                    }
                }
            }
        }
        for supervisor in supervisors {
            supervisor.stop().await;
        }
        Ok(vec![self.cost("replication factor 3 to 4", &grown), self.cost("replication factor 4 to 3", &shrunk)])
    }

    /// Everything counted, by primary, and what nobody could lead, with one node of five down.
    ///
    /// # Errors
    /// Whatever the database says, a count that takes too long among it; and if the numbers are wrong.
    pub async fn counts(&mut self, samples: usize) -> Result<Cost> {
        let healthy: BTreeSet<NodeId> = (1..NODES).map(node).collect::<Result<_>>()?;
        let mut count = <[Samples; 2]>::default();
        for _ in 0..samples {
            for (index, scene) in self.scenes.iter().enumerate() {
                let counted = count[index].time(scene.store.repositories_count(&healthy)).await?;
                let all: u64 = counted.iter().map(|count| count.repositories).sum();
                // Two of three replicas are elsewhere.
                let unavailable: u64 = counted.iter().map(|count| count.unavailable).sum();
                if (all, unavailable) != (u64::try_from(self.sizes[index])?, 0) {
                    return Err(format!("{all} repositories were counted, {unavailable} of them unavailable").into());
                }
            }
        }
        Ok(self.cost("repositories_count", &count))
    }
}

async fn facts_by_path(scene: &Elections, repository: RepositoryId) -> Result<()> {
    let target = Target::Path(VirtualStorage::new("v")?, RelativePath::new(format!("@hashed/{repository}"))?);
    scene.store.election_facts(&target).await?.map(drop).ok_or_else(|| "there is no such repository".into())
}

/// A supervisor over the same store, whose nodes always serve.
async fn supervisor(scene: &Elections) -> Result<Supervisor<u64>> {
    let mut config = Config::new(Profile::Default, "");
    config.name = Some("bench".parse()?);
    config.start_timeout = PATIENCE;
    let configured = |index| -> Result<NodeConfig> {
        let storage = node(index)?.storage;
        Ok(NodeConfig::new(storage.clone(), format!("tcp://{storage}:1")))
    };
    let nodes = (0..NODES).map(configured).collect::<Result<_>>()?;
    config.virtual_storages = vec![VirtualStorageConfig { name: VirtualStorage::new("v")?, nodes }];
    Ok(Supervisor::assemble(config, Ports::new(scene.store.clone(), ScriptedTransport::default())).await?)
}
