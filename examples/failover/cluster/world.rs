//! The cluster as a whole: three nodes, some supervisors, one database, one repository.

use super::{
    Failure,
    client::{ASK, Client},
    node::{NodeProcess, free_port},
    supervisor::{Spec, SupervisorProcess},
    wire::{NodeSpec, Op},
};
use futures_util::future::try_join_all;
use quorate::core::ids::{RelativePath, RepositoryId, Storage};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The names of the nodes.
pub(crate) const NODES: [&str; 3] = ["g1", "g2", "g3"];

/// Where nodes listen that run in a network namespace: the first at this address, the next at the next.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 199, 0, 11);

/// A cluster to be started.
#[derive(Debug, Clone)]
pub(crate) struct Plan<'a> {
    /// The program that plays the parts.
    pub(crate) program: PathBuf,
    /// Where nodes keep their data, and SQLite its file.
    pub(crate) folder: PathBuf,
    pub(crate) supervisors: u32,
    /// `None`: SQLite, in the folder.
    pub(crate) database: Option<String>,
    pub(crate) profile: &'a str,
    /// The repository's path; a new one for each run in a database that outlives them.
    pub(crate) repository: &'a str,
    /// The primary to record; `None`: the first lookup elects one.
    pub(crate) primary: Option<&'a str>,
    /// The network namespace that the nodes run in, at [`OUTSIDE`] and up; `None`: on the loopback.
    pub(crate) namespace: Option<&'a str>,
    /// Further arguments of single nodes.
    pub(crate) faults: &'a [(&'a str, &'a [&'a str])],
}

pub(crate) struct World {
    pub(crate) program: PathBuf,
    pub(crate) nodes: BTreeMap<Storage, NodeProcess>,
    pub(crate) supervisors: Vec<Arc<SupervisorProcess>>,
    pub(crate) database: String,
    pub(crate) profile: String,
    pub(crate) repository: RepositoryId,
    pub(crate) client: Client,
}

impl World {
    /// Starts nodes, then supervisors, then creates the repository.
    pub(crate) async fn start(plan: Plan<'_>) -> Result<Self, Failure> {
        let Plan { program, folder, .. } = plan;
        let started = try_join_all(NODES.map(|name| {
            let faults = plan.faults.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, faults)| *faults);
            start_node(&program, &folder, name, faults, plan.namespace)
        }));
        let nodes: BTreeMap<Storage, NodeProcess> =
            started.await?.into_iter().map(|node| (node.storage().clone(), node)).collect();
        let file = || Ok::<_, Failure>(format!("sqlite:{}", path_text(&folder.join("quorate.sqlite"))?));
        let database = plan.database.map_or_else(file, Ok)?;
        let path = RelativePath::new(plan.repository)?;
        let clients = nodes.iter().map(|(storage, node)| (storage.clone(), node.client.clone())).collect();
        let client = Client { path: path.clone(), supervisors: Vec::new(), nodes: clients, turn: Arc::default() };
        let mut world = Self {
            program,
            nodes,
            supervisors: Vec::new(),
            database,
            profile: plan.profile.to_owned(),
            repository: RepositoryId(0),
            client,
        };
        let names = (1..=plan.supervisors).map(|number| format!("supervisor-{number}"));
        let supervisors = names.map(|name| world.spawn(&name)).collect::<Result<Vec<_>, _>>()?;
        try_join_all(supervisors.iter().map(|supervisor| supervisor.ready())).await?;
        world.supervisors.clone_from(&supervisors);
        world.client.supervisors = supervisors;
        let replicas = world.nodes.keys().cloned().collect();
        let primary = plan.primary.map(Storage::new).transpose()?;
        world.repository = world.first()?.ask(ASK, Op::RepositoryCreate { path, replicas, primary }).await?;
        Ok(world)
    }

    /// Starts a supervisor under a name, without waiting for it and without making the client know it.
    pub(crate) fn spawn(&self, name: &str) -> Result<Arc<SupervisorProcess>, Failure> {
        let spec = Spec {
            name: name.to_owned(),
            database: self.database.clone(),
            profile: self.profile.clone(),
            nodes: self.nodes.values().map(|node| node.spec.clone()).collect(),
        };
        Ok(Arc::new(SupervisorProcess::spawn(&self.program, &spec)?))
    }

    pub(crate) fn first(&self) -> Result<&Arc<SupervisorProcess>, Failure> {
        Ok(self.supervisors.first().ok_or("there is no supervisor")?)
    }

    pub(crate) fn node(&self, storage: &Storage) -> Result<&NodeProcess, Failure> {
        self.nodes.get(storage).ok_or_else(|| format!("{storage} is not a node of ours").into())
    }
    pub(crate) fn node_mut(&mut self, storage: &Storage) -> Result<&mut NodeProcess, Failure> {
        self.nodes.get_mut(storage).ok_or_else(|| format!("{storage} is not a node of ours").into())
    }

    /// What all children wrote to their standard errors, for whoever has to understand a failure.
    pub(crate) async fn complaints(&self) -> String {
        let mut all: Vec<String> = self.nodes.values().map(NodeProcess::complaints).collect();
        for supervisor in &self.supervisors {
            let within = tokio::time::timeout(Duration::from_secs(1), supervisor.complaints()).await;
            all.push(within.unwrap_or_else(|_| format!("{} is busy", supervisor.name)));
        }
        all.retain(|text| !text.is_empty());
        all.join("\n  ")
    }

    /// Lets every supervisor take its row and votes away. Dropping the world ends the rest.
    pub(crate) async fn stop(&self) -> Result<(), Failure> {
        let stops = self.supervisors.iter().map(|supervisor| supervisor.ask::<()>(ASK, Op::Stop));
        try_join_all(stops).await?;
        Ok(())
    }
}

async fn start_node(
    program: &Path,
    folder: &Path,
    name: &str,
    faults: &[&str],
    namespace: Option<&str>,
) -> Result<NodeProcess, Failure> {
    let data = folder.join(name);
    std::fs::create_dir_all(&data)?;
    let at = NODES.iter().position(|known| *known == name).and_then(|at| u32::try_from(at).ok()).unwrap_or(0);
    let ip = namespace.map_or(Ipv4Addr::LOCALHOST, |_| Ipv4Addr::from(u32::from(OUTSIDE).saturating_add(at)));
    let spec = NodeSpec { storage: Storage::new(name)?, address: (ip, free_port().await?).into() };
    NodeProcess::start(program, spec, &data, faults, namespace).await
}

fn path_text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()).into())
}
