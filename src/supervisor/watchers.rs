//! Node actors and the HealthManager that hears them: built once, and told of another configuration as often as need be.
//! With handles and an elector they are a supervisor; alone they are a [`HealthWatch`](super::HealthWatch).

use crate::{
    actors::{
        Cells, Change, ChildKey, ChildSpec, EraKeeper, EraKeeperConfig, Guardian, HealthManager, HealthManagerConfig,
        NodeActor, NodeCell, NodeSpec, Reconfigure, Relay, WatchedNode, works_in_rounds,
    },
    config::Config,
    core::{
        ids::{ClusterId, NodeId, SupervisorName},
        settings::Settings,
    },
    error::Error,
    messages::{
        control::Leave,
        health::{CheckHealth, GetNodeHealth, NodeReport, RoundReport, Suspected, Tick, VotesChanged},
    },
    store::HealthStore,
    telemetry::{HEALTH_MANAGER, Meter, MeteredProbe},
    transport::{Fences, HealthProbe, LatencyRecorder, TrafficErrors},
};
use actix::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

/// How long one actor may take to hear of another configuration. One that takes longer is being rebuilt, and hears of it
/// then.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is needed to watch nodes and to vote on them.
pub(super) struct Watching<'a> {
    pub(super) config: &'a Config,
    pub(super) name: SupervisorName,
    pub(super) settings: &'a Settings,
    /// The one that the nodes' fences must belong to.
    pub(super) cluster: &'a ClusterId,
    pub(super) cells: &'a Arc<Cells>,
    pub(super) store: Arc<dyn HealthStore>,
    /// Who hears how long each probe took.
    pub(super) latency: Arc<dyn LatencyRecorder>,
    pub(super) meter: Meter,
}

/// A node to watch: how it is probed, and where its failed traffic is recorded.
pub(super) struct Found {
    pub(super) node: NodeId,
    pub(super) probe: Arc<dyn HealthProbe>,
    pub(super) traffic: TrafficErrors,
}

/// How a node's actor is asked what it knows, and to look again.
pub(super) type Asked = (Relay<GetNodeHealth>, Relay<CheckHealth>);

/// Actors that watch, how they are reached, and what they are built from.
pub(super) struct Watchers {
    nodes: BTreeMap<NodeId, Watched>,
    neighbours: Neighbours,
    /// What the HealthManager is built from, as often as need be.
    manager: watch::Sender<HealthManagerConfig>,
    reconfigure: Relay<Reconfigure<HealthManagerConfig>>,
    pub(super) tick: Relay<Tick>,
    pub(super) leave: Relay<Leave>,
    /// Reads everybody's votes again.
    pub(super) votes: Relay<VotesChanged>,
    /// Looks at nodes that missed somebody's probe.
    pub(super) suspicions: Relay<Suspected>,
}

/// What node actors have in common.
struct Neighbours {
    reports: Relay<NodeReport>,
    rounds: Relay<RoundReport>,
    /// Profile `praefect`: rounds probe, not the actors themselves.
    in_rounds: bool,
    /// Asked with each probe; in rounds, which ask what Praefect asks, not.
    fences: Option<Fences>,
    latency: Arc<dyn LatencyRecorder>,
    meter: Meter,
}

/// One node's actor.
struct Watched {
    reached: WatchedNode,
    asked: Asked,
    child: ChildKey,
    /// What its actor is built from, as often as need be.
    spec: watch::Sender<NodeSpec>,
    reconfigure: Relay<Reconfigure<NodeSpec>>,
}

/// What the actors are still to be told of another configuration.
pub(super) struct Following {
    manager: (Relay<Reconfigure<HealthManagerConfig>>, Reconfigure<HealthManagerConfig>),
    nodes: Vec<(Relay<Reconfigure<NodeSpec>>, Reconfigure<NodeSpec>)>,
    change: Change,
    gone: Vec<NodeId>,
    meter: Meter,
}

impl Watching<'_> {
    /// The actors of these nodes, in this order, with the HealthManager last. They run once a guardian has the specs.
    pub(super) fn of(self, found: Vec<Found>) -> (Watchers, Vec<ChildSpec>) {
        let Watching { config, name, settings, cluster, cells, store, latency, meter } = self;
        let in_rounds = works_in_rounds(settings.profile);
        let (reports, rounds) = (Relay::vacant(), Relay::vacant());
        let fences = (!in_rounds).then(|| Fences { cluster: cluster.clone(), highest: cells.reported.clone() });
        let keeper = EraKeeperConfig {
            store: Arc::clone(&store),
            cells: Arc::clone(cells),
            timeout: config.request_timeout,
            meter: meter.clone(),
        };
        let neighbours = Neighbours { reports, rounds, in_rounds, fences, latency, meter };
        let order: Vec<NodeId> = found.iter().map(|found| found.node.clone()).collect();
        let (nodes, mut children): (BTreeMap<_, _>, Vec<_>) = found
            .into_iter()
            .map(|found| {
                let (node, (watched, child)) = (found.node.clone(), Watched::new(found, config, &neighbours));
                ((node, watched), child)
            })
            .unzip();
        let manager = watch::Sender::new(HealthManagerConfig {
            name,
            address: config.listen.clone(),
            heartbeat: None,
            // One call that hangs must not be a whole lapse.
            store_timeout: config.request_timeout.min(settings.voter_ttl / 2),
            round_timeout: config.health.timeout,
            store,
            cells: Arc::clone(cells),
            nodes: Vec::new(),
            recusal: config.health.recusal(),
        });
        let (tick, leave, reconfigure) = (Relay::vacant(), Relay::vacant(), Relay::vacant());
        let (votes, suspicions) = (Relay::vacant(), Relay::vacant());
        let watchers = Watchers { nodes, neighbours, manager, reconfigure, tick, leave, votes, suspicions };
        watchers.manager.send_replace(watchers.manager_under(config, &order));
        children.push(ChildSpec::new("era keeper", move || EraKeeper::new(keeper.clone()), |_| {}));
        children.push(watchers.manager_child());
        (watchers, children)
    }
}

impl Watchers {
    /// How this node's actor is asked; never answered if it is not watched.
    pub(super) fn asked(&self, node: &NodeId) -> Asked {
        self.nodes.get(node).map(|watched| watched.asked.clone()).unwrap_or_default()
    }

    /// Takes another configuration, under which exactly these nodes are watched, in this order. `fresh` are those that
    /// are new or are probed in another way. Who is rebuilt from now on is built by it; the others have yet to be told.
    pub(super) fn follow(&mut self, config: &Config, order: &[NodeId], fresh: Vec<Found>) -> Following {
        let Watchers { nodes, neighbours, .. } = self;
        let wanted: BTreeSet<&NodeId> = order.iter().collect();
        let mut change = Change { add: Vec::new(), remove: Vec::new() };
        let (mut moved, mut added) = (BTreeMap::new(), Vec::new());
        for found in fresh {
            if nodes.contains_key(&found.node) {
                moved.insert(found.node.clone(), found);
            } else {
                added.push(found);
            }
        }
        let gone: Vec<NodeId> = nodes
            .extract_if(.., |node, _| !wanted.contains(node))
            .map(|(node, watched)| {
                change.remove.push(watched.child);
                node
            })
            .collect();
        let told = nodes.iter_mut().map(|(node, watched)| watched.change(config, neighbours, moved.remove(node)));
        let told = told.collect();
        for found in added {
            let (node, (watched, child)) = (found.node.clone(), Watched::new(found, config, neighbours));
            nodes.insert(node, watched);
            change.add.push(child);
        }
        let meter = neighbours.meter.clone();
        let manager = self.manager_under(config, order);
        self.manager.send_replace(manager.clone());
        Following { manager: (self.reconfigure.clone(), Reconfigure(manager)), nodes: told, change, gone, meter }
    }

    /// What the HealthManager works by under a configuration: its times, and who is watched, in order of configuration.
    fn manager_under(&self, config: &Config, order: &[NodeId]) -> HealthManagerConfig {
        let mut manager = self.manager.borrow().clone();
        manager.heartbeat = Some(if self.neighbours.in_rounds { config.health.interval } else { config.heartbeat });
        manager.round_timeout = config.health.timeout;
        manager.recusal = config.health.recusal();
        let watched = order.iter().filter_map(|node| self.nodes.get(node));
        manager.nodes = watched.map(|watched| watched.reached.clone()).collect();
        manager
    }

    fn manager_child(&self) -> ChildSpec {
        let (built_from, meter) = (self.manager.subscribe(), self.neighbours.meter.clone());
        let Neighbours { reports, rounds, .. } = &self.neighbours;
        let (tick, leave, reconfigure) = (self.tick.clone(), self.leave.clone(), self.reconfigure.clone());
        let (reports, rounds) = (reports.clone(), rounds.clone());
        let (votes, suspicions) = (self.votes.clone(), self.suspicions.clone());
        ChildSpec::new(
            HEALTH_MANAGER,
            move || HealthManager::new(built_from.borrow().clone()).metered(meter.clone()),
            move |address: &Addr<HealthManager>| {
                tick.set(address.clone().recipient());
                leave.set(address.clone().recipient());
                reports.set(address.clone().recipient());
                rounds.set(address.clone().recipient());
                reconfigure.set(address.clone().recipient());
                votes.set(address.clone().recipient());
                suspicions.set(address.clone().recipient());
            },
        )
    }
}

impl Neighbours {
    /// A node's probe with all that is asked and told around it.
    fn around(&self, probe: Arc<dyn HealthProbe>, node: &NodeId) -> Arc<dyn HealthProbe> {
        let probe = match &self.fences {
            Some(fences) => fences.around(probe, node),
            None => probe,
        };
        MeteredProbe::around(probe, node, &self.meter)
    }
}

impl Watched {
    fn new(found: Found, config: &Config, to: &Neighbours) -> (Self, ChildSpec) {
        let Found { node, probe: probes, traffic } = found;
        let spec = NodeSpec {
            node: node.clone(),
            probe: to.around(probes, &node),
            thresholds: config.health.thresholds,
            patience: config.health.patience(),
            interval: None,
            bootstrap_interval: config.health.bootstrap_interval,
            watch: false,
            reports: to.reports.clone(),
            rounds: to.rounds.clone(),
            errors: config.health.errors,
            traffic,
            latency: Arc::clone(&to.latency),
            cell: NodeCell::default(),
        };
        let spec = watch::Sender::new(timed(spec, config, to.in_rounds));
        let (probe, round, reconfigure) = (Relay::vacant(), Relay::vacant(), Relay::vacant());
        let asked = Asked::default();
        let built_from = spec.subscribe();
        let places = (probe.clone(), round.clone(), asked.clone(), reconfigure.clone());
        let child = ChildSpec::new(
            format!("node {node}"),
            move || NodeActor::new(built_from.borrow().clone()),
            move |address: &Addr<NodeActor>| {
                let (probe, round, (health, check), reconfigure) = &places;
                probe.set(address.clone().recipient());
                round.set(address.clone().recipient());
                health.set(address.clone().recipient());
                check.set(address.clone().recipient());
                reconfigure.set(address.clone().recipient());
            },
        );
        let reached = WatchedNode { node, probe, round };
        (Self { reached, asked, child: child.key(), spec, reconfigure }, child)
    }

    /// Takes other times, and if it is probed in another way that. Answers what tells its actor, which a rebuilt one need
    /// not be told.
    fn change(
        &mut self,
        config: &Config,
        to: &Neighbours,
        moved: Option<Found>,
    ) -> (Relay<Reconfigure<NodeSpec>>, Reconfigure<NodeSpec>) {
        let mut spec = timed(self.spec.borrow().clone(), config, to.in_rounds);
        if moved.is_some() || spec.errors != self.spec.borrow().errors {
            spec.cell.forget();
        }
        if let Some(Found { node, probe, traffic }) = moved {
            (spec.probe, spec.traffic) = (to.around(probe, &node), traffic);
        }
        self.spec.send_replace(spec.clone());
        (self.reconfigure.clone(), Reconfigure(spec))
    }
}

impl Following {
    /// Tells them all. One that is being rebuilt need not be told. Errors: [`Error::Stopped`] if there is nobody left.
    pub(super) async fn tell(self, guardian: &Addr<Guardian>) -> Result<(), Error> {
        // The HealthManager first: it does not listen to actors whose node it does not watch yet.
        let (manager, config) = self.manager;
        let _ = timeout(PATIENCE, manager.send(config)).await;
        for (actor, spec) in self.nodes {
            let _ = timeout(PATIENCE, actor.send(spec)).await;
        }
        guardian.send(self.change).await.map_err(|_| Error::Stopped)?;
        // Only now is there nobody left who would set them again.
        self.gone.iter().for_each(|node| self.meter.watched_no_more(node));
        Ok(())
    }
}

fn timed(mut spec: NodeSpec, config: &Config, in_rounds: bool) -> NodeSpec {
    let health = &config.health;
    (spec.thresholds, spec.patience) = (health.thresholds, health.patience());
    spec.interval = (!in_rounds).then_some(health.interval);
    spec.bootstrap_interval = health.bootstrap_interval;
    spec.errors = health.errors;
    spec.watch = health.watch && !in_rounds;
    spec
}
