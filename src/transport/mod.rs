//! The port to storage nodes: where a node is, how it is probed, and the connection that real traffic goes over.
//!
//! A probe answers with [`Evidence`], never with an error: that a node cannot be reached is the most ordinary thing a
//! supervisor sees. Opening a link therefore cannot fail for a node's absence, only for a setting that could never
//! work. Connections are lazy, are made again whenever they are needed, and never wait longer for having failed
//! before: with growing pauses a node that was away for a minute would stay away for another one.
//!
//! A link also carries the other way what its traffic found: calls that the node failed ([`TrafficErrors`]).
//!
//! The adapter is `grpc`; tests bring scripted ones.

mod address;
#[cfg(feature = "grpc")]
pub mod grpc;
mod latency;
mod traffic;

pub use address::{DNS_PORT, InvalidAddress, NodeAddress, Place};
pub use latency::LatencyRecorder;
pub use traffic::{ByName, MethodClassifier, TrafficErrors};

use crate::core::{evidence::Evidence, prober::Via};
use futures_util::future::BoxFuture;
use std::{error::Error, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How to reach nodes. Plain data; every field has a default that is right for a local network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialOptions {
    /// The most that making one connection may take: name resolution, the addresses tried in turn, and (again as much)
    /// the TLS handshake. Default 1 s. Without it the kernel's own limit of minutes would hold.
    pub connect_timeout: Duration,
    /// How often an HTTP/2 PING is sent, on idle connections too; `None` sends none. Default 20 s: servers written in
    /// Go answer faster ones with GOAWAY. It heals connections of clients that do not probe; probing is faster.
    pub keepalive: Option<Duration>,
    /// How long a PING may stay unanswered before the connection is given up. Default 20 s.
    pub keepalive_timeout: Duration,
    /// PEM file with the certificates that `tls://` nodes are checked against, instead of the system's. Default none.
    pub tls_ca: Option<PathBuf>,
    /// The name that the certificates of `tls://` nodes must carry, if it is not the address's host. Default none.
    pub tls_server_name: Option<String>,
}

impl Default for DialOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            keepalive: Some(Duration::from_secs(20)),
            keepalive_timeout: Duration::from_secs(20),
            tls_ca: None,
            tls_server_name: None,
        }
    }
}

/// A setting with which no node could ever be reached. Nothing was opened.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The file of certificates cannot be read.
    #[error("the certificates in {} cannot be read", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
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

/// Asks one node how it is.
pub trait HealthProbe: Send + Sync {
    /// One probe. It resolves within `timeout`, whatever the node does.
    fn check(&self, via: Via, timeout: Duration) -> BoxFuture<'static, Evidence>;
    /// Replaces the kept connection: a half-open one never heals by itself. Calls that are under way on the old one go
    /// on; new ones take the new one.
    fn reconnect(&self);
}

/// Opens links to nodes.
pub trait Transport: Send + Sync + 'static {
    /// What real traffic goes over.
    type Connection: Clone + Send + Sync + 'static;
    /// Opens a link. Never waits, and an unreachable node is no error.
    fn open(&self, address: &NodeAddress) -> Result<Link<Self::Connection>, DialError>;
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

impl<C> std::fmt::Debug for Link<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}
