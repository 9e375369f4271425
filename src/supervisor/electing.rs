//! Which elector a configuration means.

use crate::{
    actors::{
        Cells, ChildSpec, ConfiguredNodes, ElectorConfig, FixedElector, FixedElectorConfig, KnownPrimaries,
        LocalElector, LocalElectorConfig, NodeNames, PerRepositoryElector, PrimaryTable, Relay, Settler, SettlerConfig,
        VirtualStorageElector, VirtualStorageElectorConfig,
    },
    config::{Config, ElectionStrategy, VirtualStorageConfig},
    core::{
        ids::{ClusterId, SupervisorName},
        settings::Profile,
    },
    messages::election::{GetPrimary, GetShard},
    store::Store,
    telemetry::Meter,
};
use actix::{Actor, Context, Handler, dev::ToEnvelope};
use std::sync::Arc;

/// The nodes of a configuration, by name.
pub(super) fn names(config: &Config) -> NodeNames {
    let storages = |of: &VirtualStorageConfig| of.nodes.iter().map(|node| node.storage.clone()).collect();
    config.virtual_storages.iter().map(|of| (of.name.clone(), storages(of))).collect()
}

type Places = (Relay<GetPrimary>, Relay<GetShard>);

/// What the elector of a supervisor is built from.
pub(super) struct Electing<'a> {
    pub(super) config: &'a Config,
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) cluster: &'a ClusterId,
    pub(super) name: SupervisorName,
    pub(super) cells: &'a Arc<Cells>,
    pub(super) meter: &'a Meter,
    pub(super) nodes: ConfiguredNodes,
    pub(super) memory: &'a Arc<PrimaryTable>,
}

impl Electing<'_> {
    /// The settler, where there is anything for it to do: each repository has a primary of its own that may be replaced.
    /// Praefect has none.
    pub(super) fn settler(&self, profile: Profile) -> Option<ChildSpec> {
        let failover = self.config.failover;
        let elects = failover.enabled && failover.election_strategy == ElectionStrategy::PerRepository;
        if !elects || failover.settle_batch == 0 || profile == Profile::Praefect {
            return None;
        }
        let config = SettlerConfig {
            store: self.store.clone(),
            cells: Arc::clone(self.cells),
            nodes: self.nodes.clone(),
            batch: failover.settle_batch,
            pause: failover.settle_pause,
            timeout: self.config.request_timeout,
            lot: ElectorConfig::random_lot,
            meter: self.meter.clone(),
        };
        Some(ChildSpec::new("settler", move || Settler::new(config.clone()), |_| {}))
    }

    /// The one elector, which takes both places.
    pub(super) fn child(self, places: Places) -> ChildSpec {
        let Electing { config, store, cluster, name, cells, meter, nodes, memory } = self;
        let (timeout, lot) = (config.request_timeout, ElectorConfig::random_lot);
        let (voter, local) = (cells.voter.subscribe(), cells.local.subscribe());
        let behind = cells.behind.subscribe();
        let primaries = KnownPrimaries::new(name.clone(), meter.clone());
        match (config.failover.election_strategy, config.failover.enabled) {
            (ElectionStrategy::PerRepository, enabled) => {
                let virtual_storages = Some(nodes);
                let memory = Some(Arc::clone(memory));
                let config =
                    ElectorConfig { store: store.clone(), name, voter, behind, virtual_storages, memory, timeout, lot };
                let make = if enabled { PerRepositoryElector::new } else { PerRepositoryElector::frozen };
                spec(move || make(config.clone()), places)
            }
            (ElectionStrategy::Sql, true) => {
                let repositories = store.clone();
                let config = VirtualStorageElectorConfig {
                    store: store.clone(),
                    repositories,
                    name,
                    voter,
                    behind,
                    nodes,
                    primaries,
                    timeout,
                    lot,
                };
                spec(move || VirtualStorageElector::new(config.clone()), places)
            }
            (ElectionStrategy::Local, true) => {
                let cluster = cluster.clone();
                let config = LocalElectorConfig { store: store.clone(), cluster, nodes, local, primaries, timeout };
                spec(move || LocalElector::new(config.clone()), places)
            }
            (ElectionStrategy::Sql | ElectionStrategy::Local, false) => {
                let config = FixedElectorConfig {
                    store: store.clone(),
                    cluster: cluster.clone(),
                    nodes,
                    local,
                    primaries,
                    timeout,
                };
                spec(move || FixedElector::new(config.clone()), places)
            }
        }
    }
}

fn spec<A>(make: impl Fn() -> A + Send + 'static, places: Places) -> ChildSpec
where
    A: Actor<Context = Context<A>> + Handler<GetPrimary> + Handler<GetShard>,
    Context<A>: ToEnvelope<A, GetPrimary> + ToEnvelope<A, GetShard>,
{
    ChildSpec::new("elector", make, move |address: &actix::Addr<A>| {
        places.0.set(address.clone().recipient());
        places.1.set(address.clone().recipient());
    })
}
