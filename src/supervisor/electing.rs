//! Which elector a configuration means.

use crate::{
    actors::{
        Cells, ChildSpec, ConfiguredNodes, ElectorConfig, FixedElector, FixedElectorConfig, LocalElector,
        LocalElectorConfig, LocalPrimaries, PerRepositoryElector, Relay, VirtualStorageElector,
        VirtualStorageElectorConfig,
    },
    config::{Config, ElectionStrategy},
    core::ids::{ClusterId, SupervisorName},
    messages::election::{GetPrimary, GetShard},
    store::Store,
};
use actix::{Actor, Context, Handler, dev::ToEnvelope};
use std::sync::Arc;

type Places = (Relay<GetPrimary>, Relay<GetShard>);

/// The one elector of a supervisor, which takes both places.
pub(super) fn child(
    config: &Config,
    store: &Arc<dyn Store>,
    cluster: &ClusterId,
    name: SupervisorName,
    cells: &Cells,
    places: Places,
) -> ChildSpec {
    let clusters = config.virtual_storages.iter();
    let nodes: ConfiguredNodes =
        clusters.map(|of| (of.name.clone(), of.nodes.iter().map(|node| node.storage.clone()).collect())).collect();
    let (timeout, lot) = (config.request_timeout, ElectorConfig::random_lot);
    let (voter, local) = (cells.voter.subscribe(), cells.local.subscribe());
    match (config.failover.election_strategy, config.failover.enabled) {
        (ElectionStrategy::PerRepository, enabled) => {
            let virtual_storages = Some(nodes.keys().cloned().collect());
            let config = ElectorConfig { store: store.clone(), name, voter, virtual_storages, timeout, lot };
            let make = if enabled { PerRepositoryElector::new } else { PerRepositoryElector::frozen };
            spec(move || make(config.clone()), places)
        }
        (ElectionStrategy::Sql, true) => {
            let repositories = store.clone();
            let config =
                VirtualStorageElectorConfig { store: store.clone(), repositories, name, voter, nodes, timeout, lot };
            spec(move || VirtualStorageElector::new(config.clone()), places)
        }
        (ElectionStrategy::Local, true) => {
            let (cluster, primaries) = (cluster.clone(), LocalPrimaries::default());
            let config = LocalElectorConfig { store: store.clone(), cluster, nodes, local, primaries, timeout };
            spec(move || LocalElector::new(config.clone()), places)
        }
        (ElectionStrategy::Sql | ElectionStrategy::Local, false) => {
            let config = FixedElectorConfig { store: store.clone(), cluster: cluster.clone(), nodes, local, timeout };
            spec(move || FixedElector::new(config.clone()), places)
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
