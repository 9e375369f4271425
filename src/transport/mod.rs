//! The port to storage nodes: where a node is, how it is probed, and the connection that real traffic goes over.
//!
//! A probe answers with [`Evidence`], never with an error: that a node cannot be reached is the most ordinary thing a
//! supervisor sees. Opening a link therefore cannot fail for a node's absence, only for a setting that could never
//! work. Connections are lazy and are made again whenever they are needed. Real traffic does not try again at once, but
//! probes always do: with growing pauses for them a node that was away for a minute would stay away for another one.
//!
//! A link also carries the other way what its traffic found: calls that the node failed ([`TrafficErrors`]).
//!
//! The adapter is `grpc`; tests bring scripted ones.

mod address;
mod fenced;
#[cfg(feature = "grpc")]
pub mod grpc;
mod latency;
mod traffic;
mod words;

pub use address::{DNS_PORT, InvalidAddress, NodeAddress, Place};
pub use fenced::Fences;
pub use latency::LatencyRecorder;
pub use traffic::{ByName, MethodClassifier, TrafficErrors};
pub use words::Words;

use crate::{
    config::{HealthConfig, Secret},
    core::{evidence::Evidence, prober::Via, reports::FenceReport},
};
use futures_util::future::BoxFuture;
use std::{error::Error, fmt, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How to reach nodes. Plain data; every field has a default that is right for a local network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialOptions {
    /// The most that making one connection may take: name resolution and the addresses tried in turn; again as much for
    /// TLS, and again for a handshaker. Default 1 s. Without it the kernel's own limit of minutes would hold.
    pub connect_timeout: Duration,
    /// How often an HTTP/2 PING is sent, on idle connections too; `None` sends none. Default 20 s: servers written in
    /// Go answer faster ones with GOAWAY. It heals connections of clients that do not probe; probing is faster.
    pub keepalive: Option<Duration>,
    /// How long a PING may stay unanswered before the connection is given up. Default 20 s.
    pub keepalive_timeout: Duration,
    /// The longest pause between two attempts to connect. The first is 50 ms, each next one twice as long. Meanwhile
    /// calls fail at once with what the last attempt said; a probe cuts the pause short. Default 1 s.
    pub reconnect_pause_max: Duration,
    /// How old a name server's answer for a `dns:` address may become. It is asked again earlier, once in a second,
    /// while one of the machines is not reached. Default 30 s.
    pub dns_refresh: Duration,
    /// PEM file with the certificates that `tls://` nodes are checked against, instead of the system's. Default none.
    pub tls_ca: Option<PathBuf>,
    /// What `tls://` nodes are shown if they ask who we are. Default nothing.
    pub tls_identity: Option<TlsIdentity>,
    /// The name that the certificates of `tls://` nodes must carry, if it is not the address's host. Default none.
    pub tls_server_name: Option<String>,
}

/// The two files that prove who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// PEM file with our certificate and those between it and its authority.
    pub certificate: PathBuf,
    /// PEM file with the certificate's key.
    pub key: PathBuf,
}

impl Default for DialOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            keepalive: Some(Duration::from_secs(20)),
            keepalive_timeout: Duration::from_secs(20),
            reconnect_pause_max: Duration::from_secs(1),
            dns_refresh: Duration::from_secs(30),
            tls_ca: None,
            tls_identity: None,
            tls_server_name: None,
        }
    }
}

impl From<&HealthConfig> for DialOptions {
    /// What an operator wrote. One of `tls_cert` and `tls_key` without the other counts as neither; a configuration
    /// that was checked never has that.
    fn from(config: &HealthConfig) -> Self {
        let identity = config.tls_cert.clone().zip(config.tls_key.clone());
        Self {
            connect_timeout: config.connect_timeout,
            keepalive: Some(config.keepalive),
            keepalive_timeout: config.keepalive_timeout,
            reconnect_pause_max: config.reconnect_pause_max,
            dns_refresh: config.dns_refresh,
            tls_ca: config.tls_ca.clone(),
            tls_identity: identity.map(|(certificate, key)| TlsIdentity { certificate, key }),
            tls_server_name: config.tls_server_name.clone(),
        }
    }
}

/// A setting with which no node could ever be reached. Nothing was opened.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Files cannot be used: all of them at once.
    #[error("{}", listed(problems))]
    Files {
        /// The files, at least one.
        problems: Vec<FileProblem>,
    },
    /// The client certificate and its key are no pair, or not of a kind that is known.
    #[error("the client certificate in {} and the key in {} cannot be used together", certificate.display(), key.display())]
    Identity {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The transport refuses the settings.
    #[error("no link to {address} can be made with these settings")]
    Settings {
        /// The node.
        address: NodeAddress,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {} cannot be used: {source}", path.display())]
pub struct FileProblem {
    /// Which setting names it: `tls_ca`, `tls_cert` or `tls_key`.
    pub setting: &'static str,
    /// The file. Its content is never repeated.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

fn listed(problems: &[FileProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Asks one node how it is.
pub trait HealthProbe: Send + Sync {
    /// One probe. It resolves within `timeout`, whatever the node does.
    fn check(&self, via: Via, timeout: Duration) -> BoxFuture<'static, Evidence>;
    /// Replaces the kept connection: a half-open one never heals by itself. Calls that are under way on the old one go
    /// on; new ones take the new one.
    fn reconnect(&self);
    /// What the node says by itself from now on, over the kept connection; [`Words::none_offered`] if it never does. Never
    /// waits, and ends at the latest with that connection.
    fn watch(&self) -> Words;
    /// The machine that the node is on, as far as it is known: its resolved IP, or its socket's path. Nodes of one machine
    /// may die together; default: not known, which counts as a machine of its own.
    fn host(&self) -> Option<String> {
        None
    }
    /// What the node's fence says of itself, within `limit`. `None`: it has none, or does not say. Default: it has none.
    fn report(&self, limit: Duration) -> BoxFuture<'static, Option<FenceReport>> {
        let _ = limit;
        Box::pin(std::future::ready(None))
    }
}

/// Opens links to nodes.
pub trait Transport: Send + Sync + 'static {
    /// What real traffic goes over.
    type Connection: Clone + Send + Sync + 'static;
    /// Opens a link to a node, whose calls are signed with its token, if it has one. Never waits, and an unreachable
    /// node is no error.
    fn open(&self, address: &NodeAddress, token: Option<&Secret>) -> Result<Link<Self::Connection>, DialError>;
    /// Who hears how long each probe took. Default nobody.
    fn latency(&self) -> Arc<dyn LatencyRecorder> {
        Arc::new(())
    }
}

/// One node, opened.
pub struct Link<C> {
    /// How it is probed.
    pub probe: Arc<dyn HealthProbe>,
    /// The kept connection; a new value each time it was replaced.
    pub connection: watch::Receiver<C>,
    /// Where calls over the connection that the node failed are recorded. One per link: two nodes of one name, or at
    /// one address, do not share it.
    pub traffic: TrafficErrors,
}

impl<C> fmt::Debug for Link<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}
