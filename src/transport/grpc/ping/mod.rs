//! Asks every configured node everything that can be asked, once: for a person before a start, or a check in a script.
//!
//! Per address: a connection, a health check, and, where the node offers Gitaly's `ServerInfo`, whether it has each
//! storage that is configured there and can read and write it. The last reaches further than the probes that go on all
//! the time, which ask nobody about disks. Nothing is voted on and nothing changes.
//!
//! Nodes are grouped by address *and* token, where Praefect lets the last token win: with the others every call would
//! fail, and nobody would have been told.

mod report;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::unwrap_used, reason = "generated")]
mod generated {
    include!("generated.rs");
}

pub use report::{PingError, PingProblem, PingReport, Served, ServedStorage};

use super::{Connection, GrpcTransport, health};
use crate::{
    config::{Config, Secret},
    core::ids::{Storage, VirtualStorage},
    transport::{DialError, DialOptions, NodeAddress},
};
use futures_util::{StreamExt as _, stream};
use generated::{ServerInfoRequest, ServerInfoResponse, server_service_client::ServerServiceClient};
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    time::Duration,
};
use tokio::time::{Instant, timeout_at};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

/// Bounds of a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingOptions {
    /// The most addresses asked at once; 0 counts as 1. Default 64: a connection each, far from any limit.
    pub max_in_flight: usize,
    /// How long one address may take, all steps together. Default 10 s, as Praefect's `dial-nodes`.
    pub timeout: Duration,
}

impl Default for PingOptions {
    fn default() -> Self {
        Self { max_in_flight: 64, timeout: Duration::from_secs(10) }
    }
}

/// Pings every node of a configuration, with default bounds. One report per address, in order of address. Errors: only
/// what keeps all nodes from being asked, a file of certificates that cannot be used.
pub async fn ping(config: &Config) -> Result<Vec<PingReport>, DialError> {
    let transport = GrpcTransport::new(DialOptions::from(&config.health))?;
    Ok(ping_with(&transport, config, PingOptions::default()).await)
}

/// The same over a transport of yours, with its hooks, its handshaker and its resolver.
pub async fn ping_with(transport: &GrpcTransport, config: &Config, options: PingOptions) -> Vec<PingReport> {
    let pings: Vec<_> = targets(config).into_iter().map(|target| one(transport, target, options.timeout)).collect();
    stream::iter(pings).buffered(options.max_in_flight.max(1)).collect().await
}

/// What is configured at one address.
struct Target {
    address: String,
    token: Option<Secret>,
    storages: BTreeMap<Storage, BTreeSet<VirtualStorage>>,
}

fn targets(config: &Config) -> Vec<Target> {
    let mut found: BTreeMap<(&str, Option<&str>), Target> = BTreeMap::new();
    for (id, node) in config.nodes() {
        let key = (node.address.as_str(), node.token.as_ref().map(Secret::expose));
        let target = found.entry(key).or_insert_with(|| Target {
            address: node.address.clone(),
            token: node.token.clone(),
            storages: BTreeMap::new(),
        });
        target.storages.entry(id.storage).or_default().insert(id.virtual_storage);
    }
    found.into_values().collect()
}

async fn one(transport: &GrpcTransport, target: Target, limit: Duration) -> PingReport {
    let started = Instant::now();
    let mut report = PingReport::new(target.address, target.storages);
    if let Err(problem) = steps(transport, target.token.as_ref(), &mut report, started + limit, limit).await {
        report.problems.push(problem);
    }
    report.took = started.elapsed();
    report
}

/// Each step needs the one before; what stops them is the answer's error.
async fn steps(
    transport: &GrpcTransport,
    token: Option<&Secret>,
    report: &mut PingReport,
    deadline: Instant,
    limit: Duration,
) -> Result<(), PingProblem> {
    let late = move |_| format!("no answer within {limit:?}");
    let address: NodeAddress = report.address.parse().map_err(PingProblem::Address)?;
    let dialer = transport.dialer(&address, token).map_err(|error| PingProblem::Dial(causes(&error)))?;
    let connection = timeout_at(deadline, dialer.connected()).await.map_err(late).map_err(PingProblem::Dial)?;
    let connection = connection.map_err(|error| PingProblem::Dial(causes(&error)))?;
    report.dialed = true;

    let id = uuid::Uuid::new_v4().simple().to_string();
    let status = timeout_at(deadline, health(connection.clone(), &id)).await.map_err(late);
    match status.map_err(PingProblem::Health)?.map_err(|status| PingProblem::Health(told(&status)))? {
        ServingStatus::Serving => report.healthy = true,
        other @ (ServingStatus::Unknown | ServingStatus::NotServing | ServingStatus::ServiceUnknown) => {
            return Err(PingProblem::NotServing(other.as_str_name()));
        }
    }

    match timeout_at(deadline, server_info(connection)).await.map_err(late).map_err(PingProblem::Info)? {
        Ok(answer) => report.compare(answer.storage_statuses.into_iter().map(|status| {
            let served = ServedStorage { readable: status.readable, writable: status.writeable };
            (status.storage_name, served)
        })),
        // What the node does not offer says nothing against it.
        Err(status) if status.code() == Code::Unimplemented => report.served = Served::NotOffered,
        Err(status) => return Err(PingProblem::Info(told(&status))),
    }
    Ok(())
}

async fn server_info(connection: Connection) -> Result<ServerInfoResponse, tonic::Status> {
    Ok(ServerServiceClient::new(connection).server_info(ServerInfoRequest {}).await?.into_inner())
}

fn told(status: &tonic::Status) -> String {
    match status.source() {
        Some(source) => format!("{}: {}", status.code(), causes(source)),
        None => format!("{}: {}", status.code(), status.message()),
    }
}

/// An error with everything beneath it, in one line.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let said = error.to_string();
        // Wrappers that only repeat what is beneath them add nothing.
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = error.source();
    }
    text
}
