//! Health without the rest: node actors and a HealthManager, from a set of probes and a store.

use super::{
    settled, too_slow_for,
    watchers::{Found, Watchers, Watching},
};
use crate::{
    actors::{Cells, ElectorConfig, Guardian, Relay, healthy_nodes},
    config::{Config, ConfigError, Problem},
    core::{
        consensus::Consensus,
        evidence::Evidence,
        ids::{NodeId, SupervisorName, Voter},
        monitor::SettingsInForce,
        prober::Via,
        reports::{Behind, FenceReport},
    },
    error::Error,
    messages::{
        control::{Leave, StopAll},
        health::{HealthyNodes, Tick},
    },
    store::{ElectionStore, HealthStore},
    telemetry::Meter,
    transport::{HealthProbe, TrafficErrors, Words},
};
use actix::prelude::*;
use futures_util::future::BoxFuture;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};

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
/// let primary = elector.send(GetPrimary::of(Target::Path("default".parse()?, "group/project.git".parse()?))).await?;
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

impl Client {
    fn new(probe: Arc<dyn HealthProbe>) -> Self {
        Self(Arc::new(watch::Sender::new(probe)))
    }
    fn found(&self, node: &NodeId) -> Found {
        Found { node: node.clone(), probe: Arc::new(self.clone()), traffic: TrafficErrors::default() }
    }
}

impl HealthProbe for Client {
    fn check(&self, via: Via, timeout: Duration) -> BoxFuture<'static, Evidence> {
        self.0.borrow().check(via, timeout)
    }
    fn reconnect(&self) {
        self.0.borrow().reconnect();
    }
    fn host(&self) -> Option<String> {
        self.0.borrow().host()
    }
    fn report(&self, limit: Duration) -> BoxFuture<'static, Option<FenceReport>> {
        self.0.borrow().report(limit)
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
        clients.into_iter().fold(Self::default(), |all, (node, probe)| all.with(node, probe))
    }
}

impl HealthClients {
    /// The same clients; what is started from them tells its metrics there. Default: nobody.
    #[must_use]
    pub fn metered(self, meter: Meter) -> Self {
        Self { meter, ..self }
    }

    /// The same clients and this one, in the place of the node's former one if there is one. Whoever watches already
    /// follows with [`HealthWatch::reload`].
    #[must_use]
    pub fn with(mut self, node: NodeId, probe: Arc<dyn HealthProbe>) -> Self {
        self.clients.insert(node, Client::new(probe));
        self
    }

    /// The same clients without this node's, if there is one. Whoever watches already follows with
    /// [`HealthWatch::reload`].
    #[must_use]
    pub fn without(mut self, node: &NodeId) -> Self {
        self.clients.remove(node);
        self
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
    /// `listen`, `health`, `heartbeat`, `start_timeout`, `request_timeout` and `settings` are used; the nodes are those of
    /// the clients.
    ///
    /// Must be called inside an actix system. Errors: [`Error::Config`], [`Error::StoreUnavailable`],
    /// [`Error::NotReady`] if the store does not answer within `start_timeout`.
    pub async fn start(&self, config: &Config, store: Arc<dyn HealthStore>) -> Result<HealthWatch, Error> {
        let problems = problems(config);
        if !problems.is_empty() {
            return Err(ConfigError { problems }.into());
        }
        let name = super::wiring::supervisor_name(config)?;
        let stored = settled(config, store.as_ref()).await?;
        if let Some(problem) = too_slow_for(config.heartbeat, &stored.settings) {
            return Err(ConfigError { problems: vec![problem] }.into());
        }
        let cells = Cells::new(SettingsInForce { revision: stored.revision, settings: stored.settings.clone() });
        let watching = Watching {
            config,
            name: name.clone(),
            settings: &stored.settings,
            cluster: &stored.cluster,
            cells: &cells,
            store,
            latency: Arc::new(()),
            meter: self.meter.clone(),
        };
        let found = self.clients.iter().map(|(node, client)| client.found(node));
        let (watchers, children) = watching.of(found.collect());
        let (tick, leave) = (watchers.tick.clone(), watchers.leave.clone());
        let running = Running { clients: self.clients.clone(), config: used(config), watchers };
        let guardian = Guardian::new(children).metered(self.meter.clone()).start();
        let running = Arc::new(Mutex::new(running));
        Ok(HealthWatch { name, limit: config.request_timeout, cells, guardian, tick, leave, running })
    }
}

/// What is used here of a configuration; the rest as it is by default.
fn used(config: &Config) -> Config {
    let usual = Config::new(config.settings.profile, "");
    Config {
        name: config.name.clone(),
        listen: config.listen.clone(),
        health: config.health.clone(),
        heartbeat: config.heartbeat,
        start_timeout: config.start_timeout,
        request_timeout: config.request_timeout,
        settings: config.settings.clone(),
        ..usual
    }
}

/// What is wrong with what is used here of a configuration.
fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = used(config).validate().err().map(|error| error.problems).unwrap_or_default();
    // The nodes are those of the clients.
    problems.retain(|problem| problem.key != "virtual_storage");
    problems
}

/// Nodes under watch. Dropping it ends its actors without a goodbye: its votes lapse.
pub struct HealthWatch {
    name: SupervisorName,
    limit: Duration,
    cells: Arc<Cells>,
    guardian: Addr<Guardian>,
    tick: Relay<Tick>,
    leave: Relay<Leave>,
    /// Held by a reload from beginning to end.
    running: Arc<Mutex<Running>>,
}

/// What a watch works by now.
struct Running {
    clients: BTreeMap<NodeId, Client>,
    config: Config,
    watchers: Watchers,
}

impl HealthWatch {
    /// Follows other clients and another configuration, as [`Supervisor::reload`](crate::Supervisor::reload) does: an
    /// added node is probed at once, a removed one loses its votes, and one whose client is the same keeps its window and
    /// its votes. The clients are told apart by where they come from, so make the new ones of those that are used:
    /// `clients.clone().with(...)`. Their meter stays the first one's.
    ///
    /// All or nothing: with [`Error::Config`], which tells every reason, nothing was changed. Other errors:
    /// [`Error::Stopped`], [`Error::Superseded`]. A reload that is under way is waited for.
    pub async fn reload(&self, clients: &HealthClients, config: &Config) -> Result<(), Error> {
        let mut running = Arc::clone(&self.running).lock_owned().await;
        if let Some(end) = *self.cells.ended.borrow() {
            return Err(super::ended_as(end));
        }
        let config = used(config);
        let mut problems = problems(&config);
        problems.extend(running.config.not_live(&config));
        problems.extend(too_slow_for(config.heartbeat, &self.cells.settings.borrow().settings));
        if !problems.is_empty() {
            return Err(ConfigError { problems }.into());
        }
        let is_new = |node: &NodeId, client: &Client| {
            running.clients.get(node).is_none_or(|known| !Arc::ptr_eq(&known.0, &client.0))
        };
        let fresh = clients.clients.iter().filter(|(node, client)| is_new(node, client));
        let fresh: Vec<Found> = fresh.map(|(node, client)| client.found(node)).collect();
        let order: Vec<NodeId> = clients.clients.keys().cloned().collect();
        let following = running.watchers.follow(&config, &order, fresh);
        (running.clients, running.config) = (clients.clients.clone(), config);
        let guardian = self.guardian.clone();
        // In a task of its own, so that a caller who gives up does not leave it half-way.
        let telling = tokio::spawn(async move {
            let told = following.tell(&guardian).await;
            drop(running);
            told
        });
        telling.await.map_err(|_| Error::Stopped)?
    }

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
    /// What nodes know that the database does not, if it is behind them, as
    /// [`Supervisor::behind`](crate::Supervisor::behind).
    #[must_use]
    pub fn behind(&self) -> Option<Behind> {
        self.cells.behind.borrow().clone()
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
            behind: self.cells.behind.subscribe(),
            virtual_storages: None,
            memory: None,
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
