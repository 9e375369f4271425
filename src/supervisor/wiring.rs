//! Builds the actors from a configuration and its ports, and hands each its neighbours.

use super::{
    Inner,
    electing::{self, Electing},
    gate::Gate,
    nodes::{self, Opened, Wire},
    primaries::WAITING_MAX,
    reload::Wires,
    roster::Roster,
    watchers::Watching,
};
use crate::{
    actors::{
        Beliefs, Cells, ChildSpec, ConfiguredNodes, Follower, FollowerConfig, Guardian, Notifier, PrimaryTable, Relay,
        Subscribers, SyncedTable,
    },
    config::{Config, ConfigError, Problem},
    core::{
        ids::{NodeId, SupervisorName},
        lookup::Trust,
        monitor::SettingsInForce,
    },
    error::Error,
    store::{Store, StoredSettings},
    telemetry::Meter,
    transport::Transport,
};
use actix::prelude::*;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::{Mutex, Semaphore, watch};

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

/// Starts everything; nothing if an address or the name is not allowed.
pub(super) fn wire<T: Transport>(
    config: Config,
    ports: Ports<T>,
    stored: StoredSettings,
) -> Result<Inner<T::Connection>, Error> {
    let opened = nodes::open(&ports.transport, config.nodes())?;
    let meter = ports.meter;
    let name = supervisor_name(&config)?;
    let cells = Cells::new(SettingsInForce { revision: stored.revision, settings: stored.settings.clone() });
    let (subscribe, elector, shards) = (Relay::vacant(), Relay::vacant(), Relay::vacant());
    let watching = Watching {
        config: &config,
        name: name.clone(),
        settings: &stored.settings,
        cluster: &stored.cluster,
        cells: &cells,
        store: ports.store.clone(),
        latency: ports.transport.latency(),
        meter: meter.clone(),
    };
    let (watchers, mut children) = watching.of(opened.iter().map(Opened::found).collect());
    let order: Vec<NodeId> = config.nodes().map(|(node, _)| node).collect();
    let wire = |opened: Opened<_>| (opened.node.clone(), Wire::new(opened, &config, &cells, &watchers));
    let running: BTreeMap<NodeId, Wire<_>> = opened.into_iter().map(wire).collect();
    let (tick, leave) = (watchers.tick.clone(), watchers.leave.clone());
    let (votes, suspicions) = (watchers.votes.clone(), watchers.suspicions.clone());
    let (subscribers, notifier_cells, place) = (Subscribers::default(), Arc::clone(&cells), subscribe.clone());
    let skips = meter.clone();
    children.push(ChildSpec::new(
        "notifier",
        move || Notifier::new(Arc::clone(&notifier_cells), subscribers.clone()).metered(skips.clone()),
        move |address: &Addr<Notifier>| place.set(address.clone().recipient()),
    ));
    let feed = &config.feed;
    let beliefs = Beliefs::of(&cells);
    let trust = Trust { ttl: feed.ttl, failsafe_ttl: feed.failsafe_ttl };
    let primaries = PrimaryTable::new(feed.entries as usize, trust, beliefs);
    let names = watch::Sender::new(electing::names(&config));
    let electing = Electing {
        config: &config,
        store: &ports.store,
        cluster: &stored.cluster,
        name: name.clone(),
        cells: &cells,
        meter: &meter,
        nodes: ConfiguredNodes::following(names.subscribe()),
        memory: &primaries,
    };
    children.extend(electing.settler(stored.settings.profile));
    children.push(electing.child((elector.clone(), shards.clone())));
    let synced = SyncedTable::new(feed.entries as usize, feed.ttl, meter.clone());
    if feed.entries > 0 {
        let following = FollowerConfig {
            feed: ports.store.clone(),
            table: Arc::clone(&synced),
            primaries: Some(Arc::clone(&primaries)),
            ttl: feed.ttl,
            check: feed.check,
            poll: feed.poll,
            connect: config.request_timeout,
            votes,
            suspicions,
        };
        children.push(ChildSpec::new("change feed", move || Follower::new(following.clone()), |_| {}));
    }
    Ok(Inner {
        name,
        request_timeout: config.request_timeout,
        store: ports.store,
        transport: Arc::new(ports.transport),
        cells,
        nodes: watch::Sender::new(Roster::new(&order, &running)),
        wires: Mutex::new(Wires { nodes: running, names, watchers }),
        config: watch::Sender::new(Arc::new(config)),
        guardian: Guardian::new(children).metered(meter.clone()).start(),
        gate: Gate::new(),
        meter,
        counting: Semaphore::new(1),
        tick,
        leave,
        elector,
        shards,
        subscribe,
        synced,
        primaries,
        waiting: Semaphore::new(WAITING_MAX),
        cluster: stored.cluster,
    })
}

/// An error with everything beneath it, in one line.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    crate::telemetry::Causes(error).to_string()
}

/// The configured name, else `host:listen` (seed: `GeneratePraefectName`).
pub(super) fn supervisor_name(config: &Config) -> Result<SupervisorName, ConfigError> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    SupervisorName::generate(config.name.as_ref(), &host, config.listen.as_deref())
        .map_err(|error| ConfigError { problems: vec![Problem::new("name", error.to_string())] })
}

impl<T> std::fmt::Debug for Ports<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}
