//! One node's actor, the cells behind it, and its handle: built at start, and by a reload.

use crate::{
    actors::{
        Cells, ChildKey, ChildSpec, NodeActor, NodeCell, NodeHandle, NodePlace, NodeSpec, Reconfigure, Relay,
        WatchedNode,
    },
    config::{Config, ConfigError, NodeConfig, Problem},
    core::ids::NodeId,
    messages::health::{NodeReport, RoundReport},
    telemetry::{Meter, MeteredProbe},
    transport::{LatencyRecorder, Link, NodeAddress, Transport},
};
use actix::prelude::*;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// What node actors have in common.
pub(super) struct Neighbours {
    pub(super) reports: Relay<NodeReport>,
    pub(super) rounds: Relay<RoundReport>,
    /// Profile `praefect`: rounds probe, not the actors themselves.
    pub(super) in_rounds: bool,
    /// Who hears how long each probe took.
    pub(super) latency: Arc<dyn LatencyRecorder>,
    pub(super) meter: Meter,
}

/// A node whose address was parsed and whose link was opened.
pub(super) struct Opened<C> {
    pub(super) node: NodeId,
    address: NodeAddress,
    config: NodeConfig,
    link: Link<C>,
}

/// One running node.
pub(super) struct Wire<C> {
    /// What it was opened for.
    pub(super) config: NodeConfig,
    pub(super) watched: WatchedNode,
    pub(super) handle: NodeHandle<C>,
    pub(super) child: ChildKey,
    place: watch::Sender<NodePlace<C>>,
    /// What its actor is built from, as often as need be.
    spec: watch::Sender<NodeSpec>,
    reconfigure: Relay<Reconfigure<NodeSpec>>,
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
    fn place(&self, config: &Config) -> NodePlace<C> {
        let place = NodePlace::new(self.address.clone(), &self.link).with_token(self.config.token.clone());
        place.with_check_limit(check_limit(config))
    }
}

impl<C: Clone + Send + Sync + 'static> Wire<C> {
    /// Wires an opened node; its actor runs once the guardian has the spec.
    pub(super) fn new(opened: Opened<C>, config: &Config, cells: &Cells, to: &Neighbours) -> (Self, ChildSpec) {
        let place = watch::Sender::new(opened.place(config));
        let Opened { node, config: node_config, link, .. } = opened;
        let (probe, round, health, check) = (Relay::vacant(), Relay::vacant(), Relay::vacant(), Relay::vacant());
        let reconfigure: Relay<Reconfigure<NodeSpec>> = Relay::vacant();
        let local = cells.local.subscribe();
        let handle = NodeHandle::new(node.clone(), place.subscribe(), local, health.clone(), check.clone());
        let spec = timed(
            NodeSpec {
                node: node.clone(),
                probe: MeteredProbe::around(link.probe, &node, &to.meter),
                thresholds: config.health.thresholds,
                timeout: config.health.timeout,
                interval: None,
                bootstrap_interval: config.health.bootstrap_interval,
                watch: false,
                reports: to.reports.clone(),
                rounds: to.rounds.clone(),
                errors: config.health.errors,
                traffic: link.traffic,
                latency: Arc::clone(&to.latency),
                cell: NodeCell::default(),
            },
            config,
            to.in_rounds,
        );
        let spec = watch::Sender::new(spec);
        let (built_from, places) =
            (spec.subscribe(), (probe.clone(), round.clone(), health, check, reconfigure.clone()));
        let child = ChildSpec::new(
            format!("node {node}"),
            move || NodeActor::new(built_from.borrow().clone()),
            move |address: &Addr<NodeActor>| {
                places.0.set(address.clone().recipient());
                places.1.set(address.clone().recipient());
                places.2.set(address.clone().recipient());
                places.3.set(address.clone().recipient());
                places.4.set(address.clone().recipient());
            },
        );
        let watched = WatchedNode { node, probe, round };
        let wire = Wire { config: node_config, watched, handle, child: child.key(), place, spec, reconfigure };
        (wire, child)
    }

    /// Takes other times, and if it was opened anew another place. Answers what tells its actor, which a rebuilt one
    /// need not be told.
    pub(super) fn change(
        &mut self,
        config: &Config,
        to: &Neighbours,
        opened: Option<Opened<C>>,
    ) -> (Relay<Reconfigure<NodeSpec>>, Reconfigure<NodeSpec>) {
        let mut spec = timed(self.spec.borrow().clone(), config, to.in_rounds);
        if opened.is_some() || spec.errors != self.spec.borrow().errors {
            spec.cell.forget();
        }
        if let Some(opened) = opened {
            self.place.send_replace(opened.place(config));
            let Opened { node, config, link, .. } = opened;
            (spec.probe, spec.traffic) = (MeteredProbe::around(link.probe, &node, &to.meter), link.traffic);
            self.config = config;
        } else {
            self.place.send_modify(|place| *place = place.clone().with_check_limit(check_limit(config)));
        }
        self.spec.send_replace(spec.clone());
        (self.reconfigure.clone(), Reconfigure(spec))
    }
}

fn timed(mut spec: NodeSpec, config: &Config, in_rounds: bool) -> NodeSpec {
    let health = &config.health;
    (spec.thresholds, spec.timeout) = (health.thresholds, health.timeout);
    spec.interval = (!in_rounds).then_some(health.interval);
    spec.bootstrap_interval = health.bootstrap_interval;
    spec.watch = health.watch && !in_rounds;
    spec.errors = health.errors;
    spec
}

/// Hard evidence is confirmed by a second probe; the second on top is for an actor that is being rebuilt.
fn check_limit(config: &Config) -> Duration {
    config.health.timeout.saturating_mul(2).saturating_add(Duration::from_secs(1))
}
