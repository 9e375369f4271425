//! Health without the rest: node actors and a HealthManager, from a set of probes and a store.

use super::{settled, too_slow_for};
use crate::{
    actors::{
        Cells, ChildSpec, ElectorConfig, Guardian, HealthManager, HealthManagerConfig, NodeActor, NodeCell, NodeSpec,
        Relay, WatchedNode, healthy_nodes, works_in_rounds,
    },
    config::{Config, ConfigError},
    core::{
        consensus::Consensus,
        evidence::Evidence,
        ids::{NodeId, SupervisorName, Voter},
        monitor::SettingsInForce,
        prober::Via,
        settings::Settings,
    },
    error::Error,
    messages::{
        control::{Leave, StopAll},
        health::{CheckHealth, GetNodeHealth, HealthyNodes, Tick},
    },
    store::{ElectionStore, HealthStore},
    telemetry::{HEALTH_MANAGER, Meter, MeteredProbe},
    transport::{HealthProbe, LatencyRecorder, TrafficErrors, Words},
};
use actix::prelude::*;
use futures_util::future::BoxFuture;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::watch, time::timeout};

/// What is needed to watch nodes and to vote on them.
pub(super) struct Watching<'a> {
    pub(super) config: &'a Config,
    pub(super) name: SupervisorName,
    pub(super) settings: &'a Settings,
    pub(super) cells: &'a Arc<Cells>,
    pub(super) store: Arc<dyn HealthStore>,
    pub(super) latency: Arc<dyn LatencyRecorder>,
    pub(super) meter: Meter,
}

/// A node to watch: how it is probed, where its failed traffic is recorded, and how its actor will be reached.
pub(super) struct Watched {
    pub(super) node: NodeId,
    pub(super) probe: Arc<dyn HealthProbe>,
    pub(super) traffic: TrafficErrors,
    pub(super) health: Relay<GetNodeHealth>,
    pub(super) check: Relay<CheckHealth>,
}

/// Actors that watch, not started yet, and how they will be reached.
#[derive(Default)]
pub(super) struct Watchers {
    pub(super) children: Vec<ChildSpec>,
    pub(super) tick: Relay<Tick>,
    pub(super) leave: Relay<Leave>,
}

impl Watching<'_> {
    pub(super) fn of(self, nodes: Vec<Watched>) -> Watchers {
        let Watching { config, name, settings, cells, store, latency, meter } = self;
        let rounds = works_in_rounds(settings.profile);
        let (reports, round_reports) = (Relay::vacant(), Relay::vacant());
        let (mut watchers, mut watched) = (Watchers::default(), Vec::new());
        for Watched { node, probe: probes, traffic, health, check } in nodes {
            let (probe, round) = (Relay::vacant(), Relay::vacant());
            watched.push(WatchedNode { node: node.clone(), probe: probe.clone(), round: round.clone() });
            let spec = NodeSpec {
                probe: MeteredProbe::around(probes, &node, &meter),
                node,
                thresholds: config.health.thresholds,
                timeout: config.health.timeout,
                interval: (!rounds).then_some(config.health.interval),
                bootstrap_interval: config.health.bootstrap_interval,
                watch: config.health.watch && !rounds,
                reports: reports.clone(),
                rounds: round_reports.clone(),
                errors: config.health.errors,
                traffic,
                latency: Arc::clone(&latency),
                cell: NodeCell::default(),
            };
            let label = format!("node {}", spec.node);
            watchers.children.push(ChildSpec::new(
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
            name,
            address: config.listen.clone(),
            heartbeat: Some(if rounds { config.health.interval } else { config.heartbeat }),
            // One call that hangs must not be a whole lapse.
            store_timeout: config.request_timeout.min(settings.voter_ttl / 2),
            round_timeout: config.health.timeout,
            store,
            cells: Arc::clone(cells),
            nodes: watched,
        };
        let (tick, leave) = (watchers.tick.clone(), watchers.leave.clone());
        watchers.children.push(ChildSpec::new(
            HEALTH_MANAGER,
            move || HealthManager::new(manager.clone()).metered(meter.clone()),
            move |address: &Addr<HealthManager>| {
                tick.set(address.clone().recipient());
                leave.set(address.clone().recipient());
                reports.set(address.clone().recipient());
                round_reports.set(address.clone().recipient());
            },
        ));
        watchers
    }
}

/// A probe for each node: all that is needed to watch nodes, vote on them and elect, without a [`Supervisor`].
///
/// ```no_run
/// # use quorate::{Config, HealthClients, actors::PerRepositoryElector, core::{election::Target, ids::NodeId, settings::Profile}};
/// # use quorate::{messages::election::GetPrimary, store::memory::MemoryStore, transport::HealthProbe};
/// # use actix::Actor;
/// # use std::sync::Arc;
/// # async fn alone(probe: Arc<dyn HealthProbe>) -> Result<(), Box<dyn std::error::Error>> {
/// let clients = HealthClients::from_iter([(NodeId::new("default".parse()?, "g1".parse()?), probe)]);
/// let store = Arc::new(MemoryStore::default());
/// let mut config = Config::new(Profile::Default, "");
/// config.name = Some("watcher".parse()?);
/// let health = clients.start(&config, store.clone()).await?;
/// let elector = PerRepositoryElector::new(health.elector(store)).start();
/// let primary = elector.send(GetPrimary(Target::Path("default".parse()?, "group/project.git".parse()?))).await?;
/// # Ok(())
/// # }
/// ```
///
/// [`Supervisor`]: crate::Supervisor
#[derive(Clone, Default)]
pub struct HealthClients {
    clients: BTreeMap<NodeId, Client>,
    meter: Meter,
}

/// One probe, which may be replaced while it is used.
#[derive(Clone)]
struct Client(Arc<watch::Sender<Arc<dyn HealthProbe>>>);

impl HealthProbe for Client {
    fn check(&self, via: Via, timeout: Duration) -> BoxFuture<'static, Evidence> {
        self.0.borrow().check(via, timeout)
    }
    fn reconnect(&self) {
        self.0.borrow().reconnect();
    }
    fn watch(&self) -> Words {
        let mut client = self.0.subscribe();
        let words = client.borrow_and_update().watch();
        // What replaces it has words of its own.
        words.until(async move { drop(client.changed().await) })
    }
}

impl FromIterator<(NodeId, Arc<dyn HealthProbe>)> for HealthClients {
    fn from_iter<I: IntoIterator<Item = (NodeId, Arc<dyn HealthProbe>)>>(clients: I) -> Self {
        let client = |(node, probe)| (node, Client(Arc::new(watch::Sender::new(probe))));
        Self { clients: clients.into_iter().map(client).collect(), meter: Meter::default() }
    }
}

impl HealthClients {
    /// The same clients; what is started from them tells its metrics there. Default: nobody.
    #[must_use]
    pub fn metered(self, meter: Meter) -> Self {
        Self { meter, ..self }
    }

    /// Probes this node in another way from now on, wherever these clients are used: the next probe takes the new one.
    /// Answers `false`, and changes nothing, if there is no such node.
    pub fn replace(&self, node: &NodeId, probe: Arc<dyn HealthProbe>) -> bool {
        let client = self.clients.get(node);
        client.is_some_and(|client| {
            client.0.send_replace(probe);
            true
        })
    }

    /// Starts a node actor for each client and a HealthManager, which registers and votes. Of the configuration `name`,
    /// `listen`, `health`, `heartbeat`, `request_timeout` and `settings` are used; the nodes are those of the clients.
    ///
    /// Must be called inside an actix system. Errors: [`Error::Config`], [`Error::StoreUnavailable`],
    /// [`Error::NotReady`] if the store does not answer within `start_timeout`.
    pub async fn start(&self, config: &Config, store: Arc<dyn HealthStore>) -> Result<HealthWatch, Error> {
        let name = super::wiring::supervisor_name(config)?;
        let stored = settled(config, store.as_ref()).await?;
        if let Some(problem) = too_slow_for(config.heartbeat, &stored.settings) {
            return Err(ConfigError { problems: vec![problem] }.into());
        }
        let cells = Cells::new(SettingsInForce { revision: stored.revision, settings: stored.settings.clone() });
        let watched = self.clients.iter().map(|(node, client)| Watched {
            node: node.clone(),
            probe: Arc::new(client.clone()),
            traffic: TrafficErrors::default(),
            health: Relay::vacant(),
            check: Relay::vacant(),
        });
        let watching = Watching {
            config,
            name: name.clone(),
            settings: &stored.settings,
            cells: &cells,
            store,
            latency: Arc::new(()),
            meter: self.meter.clone(),
        };
        let Watchers { children, tick, leave } = watching.of(watched.collect());
        let guardian = Guardian::new(children).metered(self.meter.clone()).start();
        Ok(HealthWatch { name, limit: config.request_timeout, cells, guardian, tick, leave })
    }
}

/// Nodes under watch. Dropping it ends its actors without a goodbye: its votes lapse.
pub struct HealthWatch {
    name: SupervisorName,
    limit: Duration,
    cells: Arc<Cells>,
    guardian: Addr<Guardian>,
    tick: Relay<Tick>,
    leave: Relay<Leave>,
}

impl HealthWatch {
    /// Who is up as this watcher itself sees it, as the HealthManager says it: a virtual storage without a node that is up
    /// has no key.
    #[must_use]
    pub fn healthy_nodes(&self) -> HealthyNodes {
        healthy_nodes(&self.cells)
    }
    /// The last published consensus; `None` before the first.
    #[must_use]
    pub fn health_consensus(&self) -> Option<Arc<Consensus>> {
        self.cells.consensus.borrow().clone()
    }
    /// The last published consensus as a cell, which also tells when the first is there.
    #[must_use]
    pub fn updated(&self) -> watch::Receiver<Option<Arc<Consensus>>> {
        self.cells.consensus.subscribe()
    }
    /// The registration under which it votes; `None` while it has none.
    #[must_use]
    pub fn voter(&self) -> Option<Voter> {
        self.cells.voter.borrow().clone()
    }
    /// Beats now (in profile `praefect`: opens a round), whatever the schedule says.
    pub fn tick(&self) {
        self.tick.try_send(Tick);
    }
    /// What an elector that proposes under this watcher's registration is built from.
    #[must_use]
    pub fn elector(&self, store: Arc<dyn ElectionStore>) -> ElectorConfig {
        ElectorConfig {
            store,
            name: self.name.clone(),
            voter: self.cells.voter.subscribe(),
            virtual_storages: None,
            timeout: self.limit,
            lot: ElectorConfig::random_lot,
        }
    }
    /// Stops gracefully: the row and the votes are removed, all actors end.
    pub async fn stop(self) {
        let _ = timeout(self.limit, self.leave.send(Leave)).await;
        let _ = timeout(self.limit, self.guardian.send(StopAll)).await;
    }
}

impl Drop for HealthWatch {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "the last message ever: a full mailbox must not keep it out")]
        self.guardian.do_send(StopAll);
    }
}

impl std::fmt::Debug for HealthClients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.clients.keys()).finish()
    }
}
impl std::fmt::Debug for HealthWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthWatch").field("name", &self.name).finish_non_exhaustive()
    }
}
