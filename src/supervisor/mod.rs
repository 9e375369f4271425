//! The composition root and the handle: wiring only, and the one place that names adapters.
//!
//! A supervisor is a guest in somebody's actix application: no `SystemService`, no registry, no global, no signal
//! handler, no runtime of its own. All its actors live on the arbiter that started it, for waking another thread costs
//! a hundred times what a message on the same one does. Two supervisors fit in one process.

mod electing;
mod eras;
mod gate;
mod manager;
mod nodes;
mod open;
mod primaries;
mod reload;
mod repositories;
mod roster;
mod storages;
mod synced;
mod watchers;
mod watching;
mod wiring;

pub use synced::CachedStorages;
pub use watching::{HealthClients, HealthWatch};
pub use wiring::Ports;

use crate::{
    actors::{Cells, Guardian, NodeHandle, PrimaryTable, Relay, SettleProgress, SyncedTable, works_in_rounds},
    config::{Config, ConfigError, Problem},
    core::{
        consensus::Consensus,
        ids::{ClusterId, NodeId, SupervisorName, Voter},
        monitor::Worry,
        quorum::Verdict,
        recusal::Distrust,
        settings::Settings,
    },
    error::Error,
    manager::ConsistentStorages,
    messages::{
        consensus::{ConsensusChanged, Subscribe},
        control::{GetRestarts, Leave, StopAll},
        election::{GetPrimary, GetShard},
        health::{HealthyNodes, Tick},
    },
    store::{HealthStore, Store, StoredSettings},
    telemetry::{self, Meter, MeteredStore},
    transport::Transport,
};
use actix::prelude::*;
use gate::Gate;
use roster::Roster;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, Semaphore, watch},
    time::{Instant, timeout, timeout_at},
};

#[cfg(feature = "grpc")]
use crate::transport::grpc::GrpcTransport;
#[cfg(feature = "grpc")]
type DefaultConnection = <GrpcTransport as Transport>::Connection;
#[cfg(not(feature = "grpc"))]
type DefaultConnection = ();

/// The handle of one running supervisor: a cheap clone, for any thread. `C` is what real traffic to a node goes over.
///
/// Dropping the last clone ends its actors without a goodbye: its votes lapse after `voter_ttl`. [`Supervisor::stop`]
/// takes its row and votes away at once.
pub struct Supervisor<C = DefaultConnection> {
    inner: Arc<Inner<C>>,
    storages: Arc<dyn ConsistentStorages>,
    lot: manager::Lot,
}

struct Inner<C> {
    name: SupervisorName,
    request_timeout: Duration,
    store: Arc<dyn Store>,
    transport: Arc<dyn Transport<Connection = C>>,
    cells: Arc<Cells>,
    /// What it works by now.
    config: watch::Sender<Arc<Config>>,
    nodes: watch::Sender<Roster<C>>,
    /// Held by a reload from beginning to end.
    wires: Mutex<reload::Wires<C>>,
    guardian: Addr<Guardian>,
    gate: Gate,
    tick: Relay<Tick>,
    leave: Relay<Leave>,
    elector: Relay<GetPrimary>,
    shards: Relay<GetShard>,
    subscribe: Relay<Subscribe>,
    meter: Meter,
    /// Repositories are counted for one caller at a time.
    counting: Semaphore,
    synced: Arc<SyncedTable>,
    primaries: Arc<PrimaryTable>,
    /// Places for those who wait for a primary.
    waiting: Semaphore,
    cluster: ClusterId,
}

impl<C> Drop for Inner<C> {
    /// Nothing of a supervisor outlives its last handle.
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "the last message ever: a full mailbox must not keep it out")]
        self.guardian.do_send(StopAll);
    }
}

#[cfg(feature = "grpc")]
impl Supervisor {
    /// Starts a supervisor over gRPC on the database that the configuration names, and waits until it has looked.
    ///
    /// Must be called inside an actix system. A node that cannot be reached delays nothing. Errors:
    /// [`Error::Config`] (all problems at once, malformed addresses among them), [`Error::StoreUnavailable`],
    /// [`Error::NameInUse`], [`Error::NotReady`] after `start_timeout`; nothing is left running then.
    pub async fn start(config: Config) -> Result<Supervisor, Error> {
        Self::start_with(config, Meter::default(), |transport| transport).await
    }

    /// As [`Supervisor::start`], with somebody who hears the metrics, and over a transport that was told more than a
    /// configuration can say: which methods write (`GrpcTransport::with_classifier`), who hears how long probes take
    /// (`GrpcTransport::with_latency`), or what connections begin with (`GrpcTransport::with_handshaker`).
    pub async fn start_with(
        config: Config,
        meter: Meter,
        told: impl FnOnce(GrpcTransport) -> GrpcTransport,
    ) -> Result<Supervisor, Error> {
        config.validate()?;
        let transport = told(open::transport(&config)?);
        let deadline = Instant::now() + config.start_timeout;
        let waited = config.start_timeout;
        let store = timeout_at(deadline, open::store(&config))
            .await
            .map_err(|_| Error::NotReady { waited, reason: "the database did not open in time".to_owned() })??;
        Self::assemble(config.clone(), Ports { store, transport, meter }).await
    }
}

impl<C: Clone + Send + Sync + 'static> Supervisor<C> {
    /// Starts a supervisor on ports of your own. See `start`.
    pub async fn assemble<T: Transport<Connection = C>>(config: Config, ports: Ports<T>) -> Result<Self, Error> {
        config.validate()?;
        let began = Instant::now();
        let ports = Ports { store: MeteredStore::around(ports.store, &ports.meter), ..ports };
        let stored = settled(&config, ports.store.as_ref()).await?;
        if let Some(problem) = too_slow_for(config.heartbeat, &stored.settings) {
            return Err(ConfigError { problems: vec![problem] }.into());
        }
        let inner = Arc::new(wiring::wire(config.clone(), ports, stored)?);
        let storages = synced::CachedStorages::new(inner.store.clone(), inner.synced.clone(), inner.request_timeout);
        let supervisor = Supervisor { inner, storages: Arc::new(storages), lot: Arc::new(repositories::lot) };
        if let Err(error) = supervisor.ready(began + config.start_timeout, &config).await {
            supervisor.stop().await;
            return Err(error);
        }
        Ok(supervisor)
    }

    /// Waits for the first consensus, and then, no longer than silence takes to be heard, for a verdict on every node, and
    /// until the database was compared with what they report.
    async fn ready(&self, deadline: Instant, config: &Config) -> Result<(), Error> {
        let cells = &self.inner.cells;
        let (mut consensus, mut ended) = (cells.consensus.subscribe(), cells.ended.subscribe());
        let first = async {
            tokio::select! {
                biased;
                _ = ended.wait_for(Option::is_some) => {}
                _ = consensus.wait_for(Option::is_some) => {}
            }
        };
        let in_time = timeout_at(deadline, first).await.is_ok();
        if let Some(end) = self.ended() {
            return Err(end);
        }
        if !in_time {
            let complaint = cells.complaint.borrow().clone();
            let reason = complaint.unwrap_or_else(|| "no first consensus was read back".to_owned());
            return Err(Error::NotReady { waited: config.start_timeout, reason });
        }
        let silence = config.health.timeout.saturating_mul(config.health.thresholds.fall) + Duration::from_millis(500);
        let nodes: Vec<NodeId> = config.nodes().map(|(node, _)| node).collect();
        let decided = |known: &Option<Arc<Consensus>>| {
            known.as_ref().is_some_and(|known| nodes.iter().all(|node| known.verdict(node) != Verdict::Undecided))
        };
        let _ = timeout_at(deadline.min(Instant::now() + silence), consensus.wait_for(decided)).await;
        // Nodes that were heard have said how far their epochs have come.
        let _ = timeout_at(deadline.min(Instant::now() + silence), self.compared()).await;
        Ok(())
    }

    /// Stops gracefully: no lookup begins any more, those under way are waited for, no longer than
    /// `graceful_stop_timeout`; then the row and the votes are removed, and all actors end. Stopping twice is harmless.
    pub async fn stop(&self) {
        let patience = self.inner.config.borrow().graceful_stop_timeout;
        self.inner.gate.close(patience).await;
        let _ = timeout(self.inner.request_timeout, self.inner.leave.send(Leave)).await;
        let _ = timeout(self.inner.request_timeout, self.inner.guardian.send(StopAll)).await;
    }

    /// The elector keeps its own deadline; this one is for an elector that is being rebuilt.
    async fn asked<T>(&self, question: impl Future<Output = Option<Result<T, Error>>>) -> Result<T, Error> {
        let limit = self.inner.request_timeout + Duration::from_millis(100);
        match timeout(limit, question).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(Error::Stopped),
            Err(_) => Err(Error::Timeout(limit)),
        }
    }

    /// Who is up, as this supervisor itself sees it. Routing uses this. Every configured virtual storage is a key, with
    /// its storages in order of configuration, perhaps none; the HealthManager's own answer ([`GetHealthyNodes`]) leaves
    /// out virtual storages without any.
    ///
    /// [`GetHealthyNodes`]: crate::messages::health::GetHealthyNodes
    #[must_use]
    pub fn healthy_nodes(&self) -> HealthyNodes {
        let up = Arc::clone(&self.inner.cells.local.borrow());
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for node in self.nodes().iter() {
            let here = all.entry(node.node().virtual_storage.clone()).or_default();
            here.extend(up.contains(node.node()).then(|| node.storage().clone()));
        }
        HealthyNodes(all)
    }

    /// The last published consensus. Election uses this, read afresh from the database.
    #[must_use]
    pub fn health_consensus(&self) -> Option<Arc<Consensus>> {
        self.inner.cells.consensus.borrow().clone()
    }

    /// The last published consensus as a cell: state for those who want no events.
    #[must_use]
    pub fn consensus(&self) -> watch::Receiver<Option<Arc<Consensus>>> {
        self.inner.cells.consensus.subscribe()
    }

    /// How far what dead nodes led has been settled by this supervisor, by node, as a cell; nothing of a node that is not
    /// held down, and nothing at all where nobody settles (`failover.settle_batch = 0`, other electors, profile
    /// `praefect`). Others' work shows in the database alone.
    #[must_use]
    pub fn settling(&self) -> watch::Receiver<SettleProgress> {
        self.inner.cells.settling.subscribe()
    }

    /// Every configured node, in order of configuration. A reload changes which they are.
    #[must_use]
    pub fn nodes(&self) -> Arc<[NodeHandle<C>]> {
        Arc::clone(self.inner.nodes.borrow().all())
    }

    /// One node; `None` if it is not configured here.
    #[must_use]
    pub fn node(&self, node: &NodeId) -> Option<NodeHandle<C>> {
        self.inner.nodes.borrow().node(node).cloned()
    }

    /// What this supervisor works by now: what it was started with, or the last reload.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.inner.config.borrow())
    }

    /// The registration under which this supervisor votes; `None` while it has none.
    #[must_use]
    pub fn voter(&self) -> Option<Voter> {
        self.inner.cells.voter.borrow().clone()
    }

    /// Why this supervisor abstains now, because it does not trust itself; `None`: it takes part. Its votes count for
    /// nothing meanwhile, and it elects nobody.
    #[must_use]
    pub fn recused(&self) -> Option<Distrust> {
        *self.inner.cells.recused.borrow()
    }

    /// Why this supervisor has stopped voting for good; `None` while it goes on. A newer process of its name is the only
    /// ordinary reason ([`Error::Superseded`]).
    #[must_use]
    pub fn ended(&self) -> Option<Error> {
        self.inner.cells.ended.borrow().map(ended_as)
    }

    /// Tells this recipient of every change of the consensus, and of the last one at once. Errors: [`Error::Busy`] with
    /// too many subscribers, [`Error::Stopped`].
    pub async fn subscribe(&self, recipient: Recipient<ConsensusChanged>) -> Result<(), Error> {
        match timeout(self.inner.request_timeout, self.inner.subscribe.send(Subscribe(recipient))).await {
            Ok(Some(true)) => Ok(()),
            Ok(Some(false)) => Err(Error::Busy),
            Ok(None) | Err(_) => Err(Error::Stopped),
        }
    }

    /// The cluster's identity, which the fences of its nodes know.
    #[must_use]
    pub fn cluster(&self) -> &ClusterId {
        &self.inner.cluster
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.inner.cells.settings.borrow().settings.clone()
    }

    /// Changes the settings of the whole cluster; running supervisors follow with their next heartbeat. The profile
    /// cannot be changed while supervisors run. Errors: [`Error::Config`], [`Error::StoreUnavailable`].
    pub async fn settings_update(&self, wanted: &Settings) -> Result<StoredSettings, Error> {
        let mut problems: Vec<Problem> =
            wanted.problems().into_iter().map(|what| Problem::new("settings", what)).collect();
        let current = self.settings().profile;
        if wanted.profile != current {
            let what = format!("{:?} is not allowed: a running cluster stays {:?}", wanted.profile, current);
            problems.push(Problem::new("settings.profile", what));
        }
        problems.extend(too_slow_for(self.inner.config.borrow().heartbeat, wanted));
        if !problems.is_empty() {
            return Err(ConfigError { problems }.into());
        }
        self.within(self.inner.store.settings_update(wanted)).await
    }

    /// Beats now (in profile `praefect`: opens a round), whatever the schedule says.
    pub fn tick(&self) {
        self.inner.tick.try_send(Tick);
    }

    /// How often each actor was rebuilt after it died.
    pub async fn restarts(&self) -> BTreeMap<String, u64> {
        timeout(self.inner.request_timeout, self.inner.guardian.send(GetRestarts))
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default()
    }
}

/// The settings in force, seeded if they are the first.
async fn settled<S: HealthStore + ?Sized>(config: &Config, store: &S) -> Result<StoredSettings, Error> {
    let waited = config.start_timeout;
    let answer = timeout(waited, store.settings_seed(&config.settings)).await;
    let stored = answer.map_err(|_| Error::NotReady { waited, reason: "the database did not answer".to_owned() })??;
    report_differences(&config.settings, &stored.settings);
    Ok(stored)
}

/// A heartbeat that the settings in force would take for a death. Rounds have their own relation.
fn too_slow_for(heartbeat: Duration, settings: &Settings) -> Option<Problem> {
    let late = heartbeat.saturating_mul(3) >= settings.voter_ttl && !works_in_rounds(settings.profile);
    late.then(|| {
        let what = format!("{heartbeat:?} × 3 must be below the cluster's voter_ttl = {:?}", settings.voter_ttl);
        Problem::new("heartbeat", what)
    })
}

/// Tells which stored settings differ from ours; the stored ones hold.
fn report_differences(ours: &Settings, stored: &Settings) {
    let (Ok(ours), Ok(stored)) = (serde_json::to_value(ours), serde_json::to_value(stored)) else { return };
    let (Some(ours), Some(stored)) = (ours.as_object(), stored.as_object()) else { return };
    let problems: Vec<Problem> = ours
        .iter()
        .filter(|(key, value)| stored.get(*key) != Some(value))
        .map(|(key, value)| {
            let holds = stored.get(key).map(ToString::to_string).unwrap_or_default();
            Problem::new(key.clone(), format!("configured {value}, stored {holds}"))
        })
        .collect();
    if !problems.is_empty() {
        telemetry::settings_differ(&ConfigError { problems });
    }
}

fn ended_as(end: Worry) -> Error {
    match end {
        Worry::NameInUse { held_by } => Error::NameInUse { held_by },
        Worry::Superseded { by } => Error::Superseded { by },
        Worry::Lapsed | Worry::ClockStep { .. } => Error::Stopped,
    }
}

impl<C> Clone for Supervisor<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), storages: Arc::clone(&self.storages), lot: Arc::clone(&self.lot) }
    }
}

impl<C> std::fmt::Debug for Supervisor<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("voter", &*self.inner.cells.voter.borrow()).finish_non_exhaustive()
    }
}
