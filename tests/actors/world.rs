//! A cluster in one process: the memory store, scripted nodes, and as many supervisors as a story needs.

use quorate::{
    Config, Error, HealthClients, Ports, Supervisor,
    core::{
        consensus::Opinion,
        election::Target,
        epoch::Generation,
        ids::{NodeId, RelativePath, RepositoryId, Storage, SupervisorName, VirtualStorage},
        quorum::Verdict,
        settings::{Profile, Settings},
    },
    store::{NewRepository, RepositoryStore, memory::MemoryStore},
    telemetry::Meter,
    testing::probe::{ScriptedNode, ScriptedTransport},
    testing::wait,
    transport::HealthProbe,
};
use std::{sync::Arc, time::Duration};

pub(crate) const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn vs() -> VirtualStorage {
    VirtualStorage::new("v").unwrap()
}
pub(crate) fn storage(name: &str) -> Storage {
    Storage::new(name).unwrap()
}
pub(crate) fn node(name: &str) -> NodeId {
    NodeId::new(vs(), storage(name))
}
pub(crate) fn name(text: &str) -> SupervisorName {
    SupervisorName::new(text).unwrap()
}
pub(crate) fn path(text: &str) -> Target {
    Target::Path(vs(), RelativePath::new(text).unwrap())
}
pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) transport: ScriptedTransport,
    pub(crate) settings: Settings,
    pub(crate) nodes: Vec<&'static str>,
    pub(crate) meter: Meter,
}

impl World {
    /// Three nodes that serve, on a paused clock.
    pub(crate) fn new(profile: Profile) -> World {
        tokio::time::pause();
        World {
            store: Arc::new(MemoryStore::default()),
            transport: ScriptedTransport::default(),
            settings: Settings::of(profile),
            nodes: vec!["g1", "g2", "g3"],
            meter: Meter::default(),
        }
    }

    pub(crate) fn config(&self, name: &str) -> Config {
        let mut config = Config::new(self.settings.profile, "sqlite:unused");
        config.name = Some(name.parse().unwrap());
        config.settings = self.settings.clone();
        // Most stories are about who asks; those about the settler switch it on.
        config.failover.settle_batch = 0;
        let nodes =
            self.nodes.iter().map(|node| quorate::config::NodeConfig::new(storage(node), format!("tcp://{node}:1")));
        let mut cluster = quorate::config::VirtualStorageConfig::new(vs());
        cluster.nodes = nodes.collect();
        config.virtual_storages = vec![cluster];
        config
    }

    pub(crate) fn node(&self, name: &str) -> ScriptedNode {
        self.transport.node(&format!("tcp://{name}:1"))
    }

    /// A probe for each node, for those who watch without a supervisor.
    pub(crate) fn clients(&self) -> HealthClients {
        let probe = |name: &&str| {
            let probe: Arc<dyn HealthProbe> = Arc::new(self.node(name));
            (node(name), probe)
        };
        self.nodes.iter().map(probe).collect()
    }

    pub(crate) async fn start(&self, name: &str) -> Result<Supervisor<u64>, Error> {
        self.assemble(self.config(name)).await
    }

    pub(crate) async fn assemble(&self, config: Config) -> Result<Supervisor<u64>, Error> {
        let ports = Ports::new(self.store.clone(), self.transport.clone());
        Supervisor::assemble(config, ports.metered(self.meter.clone())).await
    }

    pub(crate) async fn supervisor(&self, name: &str) -> Supervisor<u64> {
        self.start(name).await.unwrap()
    }

    /// A repository with replicas on these storages, all at generation 0.
    pub(crate) async fn repository(&self, at: &str, replicas: &[&str]) -> RepositoryId {
        let path = RelativePath::new(at).unwrap();
        let new = NewRepository::new(vs(), path, replicas.iter().map(|name| storage(name)).collect());
        match self.store.repository_create(&new).await.unwrap() {
            quorate::store::Outcome::Done(created) => created.repository,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn opinion(&self, voter: &str, about: &str) -> Option<Opinion> {
        let votes = self.store.stored_votes();
        votes
            .into_iter()
            .find(|vote| vote.supervisor == name(voter) && vote.node == node(about))
            .and_then(|v| v.opinion)
    }
}

/// Waits until a supervisor reads this verdict back.
pub(crate) async fn verdict(of: &Supervisor<u64>, about: &str, verdict: Verdict) {
    let what = format!("{about} {verdict:?}; known is {:?}", of.health_consensus());
    wait::until(&what, LIMIT, || of.health_consensus().is_some_and(|known| known.verdict(&node(about)) == verdict))
        .await;
}

/// Writes once as a client would: asks for the primary, and acknowledges with these.
pub(crate) async fn write(on: &Supervisor<u64>, target: &Target, acknowledged: &[&str]) -> Result<Generation, Error> {
    let primary = on.primary(target).await?;
    let names = acknowledged.iter().map(|name| storage(name)).collect();
    on.generation_increment(primary.repository.unwrap(), primary.fence().as_ref(), &names).await
}
