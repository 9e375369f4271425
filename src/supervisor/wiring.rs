//! Builds the actors from a configuration and its ports, and hands each its neighbours.

use super::{
    Inner, electing,
    watching::{Watched, Watchers, Watching},
};
use crate::{
    actors::{
        Cells, ChildSpec, Follower, FollowerConfig, Guardian, NodeHandle, Notifier, Relay, Subscribers, SyncedTable,
    },
    config::{Config, ConfigError, Problem, Secret},
    core::{
        ids::{NodeId, SupervisorName},
        monitor::SettingsInForce,
    },
    error::Error,
    store::{Store, StoredSettings},
    telemetry::Meter,
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
    let watching = Watching {
        config,
        name: name.clone(),
        settings: &stored.settings,
        cells: &cells,
        store: ports.store.clone(),
        latency: ports.transport.latency(),
        meter: meter.clone(),
    };
    // Hard evidence is confirmed by a second probe; the second on top is for an actor that is being rebuilt.
    let check_limit = config.health.timeout * 2 + Duration::from_secs(1);
    let (mut handles, mut watched) = (Vec::new(), Vec::new());
    for OpenedNode { node, address, token, link } in opened {
        let (health, check) = (Relay::vacant(), Relay::vacant());
        let local = cells.local.subscribe();
        let handle = NodeHandle::new(node.clone(), address, &link, local, health.clone(), check.clone());
        handles.push(handle.with_token(token).with_check_limit(check_limit));
        watched.push(Watched { node, probe: link.probe, traffic: link.traffic, health, check });
    }
    let Watchers { mut children, tick, leave } = watching.of(watched);
    let (elector, shards, subscribe) = (Relay::vacant(), Relay::vacant(), Relay::vacant());
    let (subscribers, notifier_cells, place) = (Subscribers::default(), Arc::clone(&cells), subscribe.clone());
    let skips = meter.clone();
    children.push(ChildSpec::new(
        "notifier",
        move || Notifier::new(Arc::clone(&notifier_cells), subscribers.clone()).metered(skips.clone()),
        move |address: &Addr<Notifier>| place.set(address.clone().recipient()),
    ));
    children.push(electing::child(
        config,
        &ports.store,
        &stored.cluster,
        name,
        &cells,
        (elector.clone(), shards.clone()),
    ));
    let feed = &config.feed;
    let synced = SyncedTable::new(feed.entries as usize, feed.ttl, meter.clone());
    if feed.entries > 0 {
        let following = FollowerConfig {
            feed: ports.store.clone(),
            table: Arc::clone(&synced),
            ttl: feed.ttl,
            check: feed.check,
            poll: feed.poll,
            connect: config.request_timeout,
        };
        children.push(ChildSpec::new("change feed", move || Follower::new(following.clone()), |_| {}));
    }
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
        shards,
        subscribe,
        synced,
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
pub(super) fn supervisor_name(config: &Config) -> Result<SupervisorName, ConfigError> {
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
