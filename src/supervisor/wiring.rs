//! Builds the actors from a configuration and its ports, and hands each its neighbours.

use super::Inner;
use crate::{
    actors::{
        Cells, ChildSpec, ElectorConfig, Guardian, HealthManager, HealthManagerConfig, NodeActor, NodeCell, NodeHandle,
        NodeSpec, Notifier, PerRepositoryElector, Relay, Subscribers, WatchedNode, works_in_rounds,
    },
    config::{Config, ConfigError, Problem, Secret},
    core::{
        ids::{NodeId, SupervisorName},
        monitor::SettingsInForce,
    },
    error::Error,
    store::{Store, StoredSettings},
    telemetry::{HEALTH_MANAGER, Meter, MeteredProbe},
    transport::{Link, NodeAddress, Transport},
};
use actix::prelude::*;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// The outside world of one supervisor.
pub struct Ports<T> {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The way to the nodes.
    pub transport: T,
    /// Who hears the metrics. Default: nobody.
    pub meter: Meter,
}

impl<T> Ports<T> {
    /// These two, and nobody who hears the metrics.
    pub fn new(store: Arc<dyn Store>, transport: T) -> Self {
        Self { store, transport, meter: Meter::default() }
    }

    /// Metrics go there.
    #[must_use]
    pub fn metered(self, meter: Meter) -> Self {
        Self { meter, ..self }
    }
}

struct OpenedNode<C> {
    node: NodeId,
    address: NodeAddress,
    token: Option<Secret>,
    link: Link<C>,
}

/// Starts everything; nothing if an address or the name is not allowed.
pub(super) fn wire<T: Transport>(
    config: &Config,
    ports: Ports<T>,
    stored: StoredSettings,
) -> Result<Inner<T::Connection>, Error> {
    let opened = open_nodes(config, &ports.transport)?;
    let meter = ports.meter;
    let name = supervisor_name(config)?;
    let cells = Cells::new(SettingsInForce { revision: stored.revision, settings: stored.settings.clone() });
    let rounds = works_in_rounds(stored.settings.profile);
    let (tick, leave, elector, subscribe) = (Relay::vacant(), Relay::vacant(), Relay::vacant(), Relay::vacant());
    let (reports, round_reports) = (Relay::vacant(), Relay::vacant());

    let (mut children, mut handles, mut watched) = (Vec::new(), Vec::new(), Vec::new());
    // Hard evidence is confirmed by a second probe; the second on top is for an actor that is being rebuilt.
    let check_limit = config.health.timeout * 2 + Duration::from_secs(1);
    let latency = ports.transport.latency();
    for OpenedNode { node, address, token, link } in opened {
        let (probe, round, health, check) = (Relay::vacant(), Relay::vacant(), Relay::vacant(), Relay::vacant());
        let local = cells.local.subscribe();
        let handle = NodeHandle::new(node.clone(), address, &link, local, health.clone(), check.clone());
        handles.push(handle.with_token(token).with_check_limit(check_limit));
        watched.push(WatchedNode { node: node.clone(), probe: probe.clone(), round: round.clone() });
        let probes = MeteredProbe::around(link.probe, &node, &meter);
        let spec = NodeSpec {
            node,
            probe: probes,
            thresholds: config.health.thresholds,
            timeout: config.health.timeout,
            interval: (!rounds).then_some(config.health.interval),
            watch: !rounds,
            reports: reports.clone(),
            rounds: round_reports.clone(),
            errors: config.health.errors,
            traffic: link.traffic,
            latency: Arc::clone(&latency),
            cell: NodeCell::default(),
        };
        let label = format!("node {}", spec.node);
        children.push(ChildSpec::new(
            label,
            move || NodeActor::new(spec.clone()),
            move |address: &Addr<NodeActor>| {
                probe.set(address.clone().recipient());
                round.set(address.clone().recipient());
                health.set(address.clone().recipient());
                check.set(address.clone().recipient());
            },
        ));
    }
    let manager = HealthManagerConfig {
        name: name.clone(),
        address: config.listen.clone(),
        heartbeat: Some(if rounds { config.health.interval } else { config.heartbeat }),
        // One call that hangs must not be a whole lapse.
        store_timeout: config.request_timeout.min(stored.settings.voter_ttl / 2),
        round_timeout: config.health.timeout,
        store: ports.store.clone(),
        cells: Arc::clone(&cells),
        nodes: watched,
    };
    let places = (tick.clone(), leave.clone(), reports, round_reports);
    let beats = meter.clone();
    children.push(ChildSpec::new(
        HEALTH_MANAGER,
        move || HealthManager::new(manager.clone()).metered(beats.clone()),
        move |address: &Addr<HealthManager>| {
            places.0.set(address.clone().recipient());
            places.1.set(address.clone().recipient());
            places.2.set(address.clone().recipient());
            places.3.set(address.clone().recipient());
        },
    ));
    let (subscribers, notifier_cells, place) = (Subscribers::default(), Arc::clone(&cells), subscribe.clone());
    let skips = meter.clone();
    children.push(ChildSpec::new(
        "notifier",
        move || Notifier::new(Arc::clone(&notifier_cells), subscribers.clone()).metered(skips.clone()),
        move |address: &Addr<Notifier>| place.set(address.clone().recipient()),
    ));
    let electing = ElectorConfig {
        store: ports.store.clone(),
        name,
        voter: cells.voter.subscribe(),
        virtual_storages: Some(config.virtual_storages.iter().map(|cluster| cluster.name.clone()).collect()),
        timeout: config.request_timeout,
        lot: ElectorConfig::random_lot,
    };
    let place = elector.clone();
    children.push(ChildSpec::new(
        "elector",
        move || PerRepositoryElector::new(electing.clone()),
        move |address: &Addr<PerRepositoryElector>| place.set(address.clone().recipient()),
    ));
    Ok(Inner {
        heartbeat: config.heartbeat,
        request_timeout: config.request_timeout,
        store: ports.store,
        cells,
        nodes: handles,
        guardian: Guardian::new(children).metered(meter.clone()).start(),
        meter,
        counting: Semaphore::new(1),
        tick,
        leave,
        elector,
        subscribe,
        cluster: stored.cluster,
    })
}

fn open_nodes<T: Transport>(config: &Config, transport: &T) -> Result<Vec<OpenedNode<T::Connection>>, ConfigError> {
    let (mut opened, mut problems) = (Vec::new(), Vec::new());
    for (node, configured) in config.nodes() {
        match configured.address.parse::<NodeAddress>() {
            Err(error) => problems.push(Problem::new(format!("address of {node}"), error.to_string())),
            Ok(address) => match transport.open(&address, configured.token.as_ref()) {
                Ok(link) => opened.push(OpenedNode { node, address, token: configured.token.clone(), link }),
                Err(error) => problems.push(Problem::new(format!("address of {node}"), causes(&error))),
            },
        }
    }
    if problems.is_empty() { Ok(opened) } else { Err(ConfigError { problems }) }
}

/// An error with everything beneath it, in one line.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    crate::telemetry::Causes(error).to_string()
}

/// The configured name, else `host:listen` (seed: `GeneratePraefectName`).
fn supervisor_name(config: &Config) -> Result<SupervisorName, ConfigError> {
    if let Some(name) = &config.name {
        return Ok(name.clone());
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let listen = config.listen.as_deref().unwrap_or_default();
    SupervisorName::new(format!("{host}:{listen}"))
        .map_err(|error| ConfigError { problems: vec![Problem::new("name", error.to_string())] })
}

impl<T> std::fmt::Debug for Ports<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}
