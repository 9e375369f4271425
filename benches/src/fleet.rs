//! What supervisors of many nodes cost: how long they take to start, their memory, a round, and at rest their processor and
//! what they write.
//!
//! Nodes that always serve, without a network, show what the actors, the votes and the consensus cost; a few real gRPC
//! nodes whose addresses many share add what channels and probes cost. One process measures one fleet, for memory that
//! was used once does not come back.

use crate::{
    Result,
    ground::{Ground, Kind},
    sample::{Samples, Summary, machine},
};
use futures_util::future::BoxFuture;
use quorate::{
    Config, Ports, Supervisor,
    config::{NodeConfig, Secret, VirtualStorageConfig},
    core::{
        evidence::Evidence,
        ids::{Storage, VirtualStorage},
        prober::Via,
        quorum::Verdict,
        settings::Profile,
    },
    telemetry::{
        Meter, Recorder,
        metrics::{Metric, ROUND},
    },
    transport::{
        DialError, DialOptions, HealthProbe, LatencyRecorder, Link, NodeAddress, TrafficErrors, Transport, Words,
        grpc::GrpcTransport,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// A fleet that is not healthy after this long is an error.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which fleet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// Which database.
    pub database: Kind,
    /// How many supervisors, all in this process.
    pub supervisors: usize,
    /// Whose rules they go by.
    pub profile: Profile,
    /// How many virtual storages.
    pub virtual_storages: usize,
    /// How many nodes in each.
    pub each: usize,
    /// The addresses that they share; none: nodes without a network.
    pub addresses: Vec<String>,
    /// How long it is watched at rest.
    pub at_rest: Duration,
}

/// What it cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fleet {
    /// Which fleet.
    pub order: Order,
    /// Until the supervisors answered.
    pub start: Duration,
    /// Until the consensus held every node healthy.
    pub healthy: Duration,
    /// Memory of the process before, in KiB.
    pub before_kib: u64,
    /// When the rest began.
    pub resting_kib: u64,
    /// And at its end.
    pub after_kib: u64,
    /// Rows written each second of it, by the server's own count. SQLite does not count.
    pub rows_each_second: Option<f64>,
    /// Heartbeats until all votes were read back, at rest.
    pub round: Summary,
    /// Processor time of this process at rest, in percent of one processor. The database server's is not in it.
    pub busy_percent: f64,
    /// One `healthy_nodes`, and the health of the last node by its handle.
    pub healthy_nodes: Summary,
    /// Finding the last node's handle.
    pub node: Summary,
    /// What the machine was doing.
    pub machine: String,
}

/// Keeps the times of rounds and drops the rest.
#[derive(Clone, Default)]
struct Rounds(Arc<Mutex<Samples>>);

impl Recorder for Rounds {
    fn count(&self, _: &'static Metric, _: &[&str], _: u64) {}
    fn set(&self, _: &'static Metric, _: &[&str], _: f64) {}
    fn forget(&self, _: &'static Metric, _: &[&str]) {}
    fn observe(&self, metric: &'static Metric, _: &[&str], took: Duration) {
        if metric == &ROUND {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        }
    }
}

/// A transport to nodes that always serve.
#[derive(Clone)]
struct Serving;

struct Serves;

impl HealthProbe for Serves {
    fn check(&self, _: Via, _: Duration) -> BoxFuture<'static, Evidence> {
        Box::pin(std::future::ready(Evidence::Serving))
    }
    fn reconnect(&self) {}
    fn watch(&self) -> Words {
        Words::none_offered()
    }
}

impl Transport for Serving {
    type Connection = ();
    fn open(&self, _: &NodeAddress, _: Option<&Secret>) -> std::result::Result<Link<()>, DialError> {
        Ok(Link { probe: Arc::new(Serves), connection: watch::channel(()).1, traffic: TrafficErrors::default() })
    }
    fn latency(&self) -> Arc<dyn LatencyRecorder> {
        Arc::new(())
    }
}

/// A line of `/proc/self/status`, in KiB.
pub(crate) fn memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Processor time of this process so far, its threads' and the kernel's for it. The kernel counts in hundredths.
fn processor() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no name")?.1.split_whitespace().collect();
    let ticks = |index: usize| -> Result<u64> { Ok(fields.get(index).ok_or("too short")?.parse()?) };
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

/// Starts a fleet, waits until all of it is healthy, watches it at rest, and stops it.
///
/// # Errors
/// Whatever the supervisor says; and if it is not healthy in time, or not any more at the end.
pub async fn measure(order: Order) -> Result<Fleet> {
    if order.addresses.is_empty() {
        return run(order, Serving).await;
    }
    let transport = GrpcTransport::new(DialOptions::default())?;
    run(order, transport).await
}

async fn run<T: Transport + Clone>(order: Order, transport: T) -> Result<Fleet>
where
    T::Connection: Clone + Send + Sync + 'static,
{
    let ground = Ground::new(order.database, order.profile).await?;
    let mut config = Config::new(order.profile, "");
    config.start_timeout = PATIENCE;
    config.virtual_storages = virtual_storages(&order)?;
    let nodes: Vec<_> = config.nodes().map(|(node, _)| node).collect();
    let last = nodes.last().cloned().ok_or("no nodes")?;
    let rounds = Rounds::default();

    let (before_kib, began) = (memory()?, Instant::now());
    let mut supervisors = Vec::new();
    for number in 1..=order.supervisors {
        config.name = Some(format!("s{number}").parse()?);
        let ports = Ports::new(ground.store(), transport.clone()).metered(Meter::new(rounds.clone()));
        supervisors.push(Supervisor::assemble(config.clone(), ports).await?);
    }
    let supervisor = supervisors.first().ok_or("no supervisors")?;
    let start = began.elapsed();
    for supervisor in &supervisors {
        let mut consensus = supervisor.consensus();
        let all_healthy = consensus.wait_for(|known| {
            known.as_ref().is_some_and(|known| nodes.iter().all(|node| known.verdict(node) == Verdict::Healthy))
        });
        tokio::time::timeout(PATIENCE, all_healthy).await.map_err(|_| "not healthy in time")??;
    }
    let healthy = began.elapsed();

    // What the start left to do is no rest yet.
    tokio::time::sleep(order.at_rest / 4).await;
    *rounds.0.lock().unwrap_or_else(PoisonError::into_inner) = Samples::default();
    let written_before = written(&ground).await?;
    let (resting_kib, busy_before, resting) = (memory()?, processor()?, Instant::now());
    tokio::time::sleep(order.at_rest).await;
    let (rested, busy) = (resting.elapsed().as_secs_f64(), processor()?.saturating_sub(busy_before).as_secs_f64());
    let written = written(&ground).await?.zip(written_before).map(|(after, before)| (after - before) as f64 / rested);
    let round = rounds.0.lock().unwrap_or_else(PoisonError::into_inner).summary();
    let after_kib = memory()?;

    let [mut views, mut found] = [(); 2].map(|()| Samples::default());
    for _ in 0..100 {
        let start = Instant::now();
        let healthy = supervisor.healthy_nodes().0.values().map(Vec::len).sum::<usize>();
        views.push(start.elapsed());
        let start = Instant::now();
        let is_known = supervisor.node(&last).is_some();
        found.push(start.elapsed());
        if (healthy, is_known) != (nodes.len(), true) {
            return Err(format!("{healthy} of {} nodes are healthy after a rest", nodes.len()).into());
        }
    }
    for supervisor in &supervisors {
        supervisor.stop().await;
    }
    Ok(Fleet {
        order,
        start,
        healthy,
        before_kib,
        resting_kib,
        after_kib,
        rows_each_second: written,
        round,
        busy_percent: busy / rested * 100.0,
        healthy_nodes: views.summary(),
        node: found.summary(),
        machine: machine(),
    })
}

/// Rows that were written to the database so far. Sessions report theirs once a second.
async fn written(ground: &Ground) -> Result<Option<i64>> {
    if ground.kind() != Kind::PostgreSQL {
        return Ok(None);
    }
    let rows = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables";
    Ok(Some(ground.raw().await.query_one(rows, &[]).await?.get(0)))
}

fn virtual_storages(order: &Order) -> Result<Vec<VirtualStorageConfig>> {
    let mut number = 0_usize;
    let mut one = |cluster: usize| -> Result<VirtualStorageConfig> {
        let mut nodes = Vec::new();
        for index in 0..order.each {
            let shared = order.addresses.get(number % order.addresses.len().max(1)).cloned();
            let address = shared.unwrap_or_else(|| format!("tcp://node-{number}:1"));
            nodes.push(NodeConfig::new(Storage::new(format!("g{index}"))?, address));
            number += 1;
        }
        Ok(VirtualStorageConfig { nodes, ..VirtualStorageConfig::new(VirtualStorage::new(format!("v{cluster}"))?) })
    };
    (0..order.virtual_storages).map(&mut one).collect()
}
