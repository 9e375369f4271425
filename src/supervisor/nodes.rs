//! One node's link, its place, and its handle: opened at start, and by a reload.

use super::watchers::{Found, Watchers};
use crate::{
    actors::{Cells, NodeHandle, NodePlace},
    config::{Config, ConfigError, NodeConfig, Problem},
    core::ids::NodeId,
    transport::{Link, NodeAddress, Transport},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// A node whose address was parsed and whose link was opened.
pub(super) struct Opened<C> {
    pub(super) node: NodeId,
    address: NodeAddress,
    config: NodeConfig,
    link: Link<C>,
}

/// One node as whoever has a handle sees it.
pub(super) struct Wire<C> {
    /// What it was opened for.
    pub(super) config: NodeConfig,
    pub(super) handle: NodeHandle<C>,
    place: watch::Sender<NodePlace<C>>,
}

/// Opens these nodes, or none of them: tells everything that is wrong with any.
pub(super) fn open<'a, C: Clone + Send + Sync + 'static>(
    transport: &dyn Transport<Connection = C>,
    nodes: impl IntoIterator<Item = (NodeId, &'a NodeConfig)>,
) -> Result<Vec<Opened<C>>, ConfigError> {
    let (mut opened, mut problems) = (Vec::new(), Vec::new());
    for (node, config) in nodes {
        let link = match config.address.parse::<NodeAddress>() {
            Err(error) => Err(error.to_string()),
            Ok(address) => match transport.open(&address, config.token.as_ref()) {
                Ok(link) => Ok((address, link)),
                Err(error) => Err(super::wiring::causes(&error)),
            },
        };
        match link {
            Ok((address, link)) => opened.push(Opened { node, address, config: config.clone(), link }),
            Err(what) => problems.push(Problem::new(format!("address of {node}"), what)),
        }
    }
    if problems.is_empty() { Ok(opened) } else { Err(ConfigError { problems }) }
}

impl<C> Opened<C> {
    /// What there is to watch.
    pub(super) fn found(&self) -> Found {
        let (probe, traffic) = (Arc::clone(&self.link.probe), self.link.traffic.clone());
        Found { node: self.node.clone(), probe, traffic }
    }

    fn place(&self, config: &Config) -> NodePlace<C> {
        let place = NodePlace::new(self.address.clone(), &self.link).with_token(self.config.token.clone());
        place.with_check_limit(check_limit(config))
    }
}

impl<C: Clone> Wire<C> {
    /// The handle of an opened node, which is watched already.
    pub(super) fn new(opened: Opened<C>, config: &Config, cells: &Cells, watchers: &Watchers) -> Self {
        let place = watch::Sender::new(opened.place(config));
        let (health, check) = watchers.asked(&opened.node);
        let handle = NodeHandle::new(opened.node, place.subscribe(), cells.local.subscribe(), health, check);
        Self { config: opened.config, handle, place }
    }

    /// Takes other times, and if it was opened anew another place.
    pub(super) fn change(&mut self, config: &Config, opened: Option<Opened<C>>) {
        if let Some(opened) = opened {
            self.place.send_replace(opened.place(config));
            self.config = opened.config;
        } else {
            self.place.send_modify(|place| *place = place.clone().with_check_limit(check_limit(config)));
        }
    }
}

/// Hard evidence is confirmed by a second probe; the second on top is for an actor that is being rebuilt.
fn check_limit(config: &Config) -> Duration {
    config.health.timeout.saturating_mul(2).saturating_add(Duration::from_secs(1))
}
