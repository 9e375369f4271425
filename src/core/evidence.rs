//! What the outcome of one probe says about a node, and about us (docs/protocol.md section 3). Real traffic has a word
//! of its own in it, [`Evidence::ErrorRate`].
//!
//! A crash announces itself; a timeout is only silence; and some failures are our own. Praefect counts every one of
//! them alike, as "not seen".

use super::error_tracker::Traffic;
use serde::Serialize;

/// The outcome of one probe, or what stands against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// It answered SERVING.
    Serving,
    /// It says, or its kernel says, that it is gone. Confirmed once on a fresh connection, then acted on at once.
    Hard(Hard),
    /// Silence. Acted on after `fall` misses in a row.
    Soft(Soft),
    /// Our own trouble: says nothing about the node.
    Ours(Ours),
    /// It answers, but not as a node of this cluster.
    Misconfigured(Misconfigured),
    /// It closed the connection politely (GOAWAY with NO_ERROR): reconnect, nothing else.
    Graceful,
    /// It may say that it serves, but too many real calls of this kind failed. No probe finds this; the error tracker
    /// says so.
    ErrorRate(Traffic),
}

/// Evidence of a death that announced itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hard {
    /// Nobody listens there.
    Refused,
    /// An established connection was reset or ended.
    Reset,
    /// The node says that it does not serve.
    NotServing,
    /// The node does not know the service that was asked for.
    ServiceUnknown,
}

impl Hard {
    /// Whether nobody was there to say it, so that it may be a restart.
    #[must_use]
    pub fn is_gone(self) -> bool {
        match self {
            Hard::Refused | Hard::Reset => true,
            Hard::NotServing | Hard::ServiceUnknown => false,
        }
    }
}

/// Evidence by silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Soft {
    /// No answer in time.
    Timeout,
    /// A unix socket whose backlog is full.
    WouldBlock,
    /// No route to the host.
    HostUnreachable,
    /// UNAVAILABLE, or any other error without a socket error behind it.
    Unavailable,
}

/// Trouble of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ours {
    /// No file descriptors left.
    NoDescriptors,
    /// No socket buffers left.
    NoBuffers,
    /// Our own network is down.
    NetworkUnreachable,
    /// The node's name could not be resolved.
    NameResolution,
    /// The answer was handled so late that it says more about us than about the node.
    Stalled,
}

/// An answer that is not of this cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Misconfigured {
    /// The TLS handshake failed.
    Tls,
    /// The node wants credentials that we do not have.
    Unauthenticated,
    /// The node refuses our credentials.
    PermissionDenied,
    /// The node offers no health service.
    Unimplemented,
    /// The node's fence belongs to another cluster.
    ForeignFence,
}

impl Evidence {
    /// The name, as a metric's label and a log field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Evidence::Serving => "serving",
            Evidence::Hard(Hard::Refused) => "refused",
            Evidence::Hard(Hard::Reset) => "reset",
            Evidence::Hard(Hard::NotServing) => "not_serving",
            Evidence::Hard(Hard::ServiceUnknown) => "service_unknown",
            Evidence::Soft(Soft::Timeout) => "timeout",
            Evidence::Soft(Soft::WouldBlock) => "would_block",
            Evidence::Soft(Soft::HostUnreachable) => "host_unreachable",
            Evidence::Soft(Soft::Unavailable) => "unavailable",
            Evidence::Ours(Ours::NoDescriptors) => "no_descriptors",
            Evidence::Ours(Ours::NoBuffers) => "no_buffers",
            Evidence::Ours(Ours::NetworkUnreachable) => "network_unreachable",
            Evidence::Ours(Ours::NameResolution) => "name_resolution",
            Evidence::Ours(Ours::Stalled) => "stalled",
            Evidence::Misconfigured(Misconfigured::Tls) => "tls",
            Evidence::Misconfigured(Misconfigured::Unauthenticated) => "unauthenticated",
            Evidence::Misconfigured(Misconfigured::PermissionDenied) => "permission_denied",
            Evidence::Misconfigured(Misconfigured::Unimplemented) => "unimplemented",
            Evidence::Misconfigured(Misconfigured::ForeignFence) => "foreign_fence",
            Evidence::Graceful => "graceful",
            Evidence::ErrorRate(Traffic::Read) => "read_error_rate",
            Evidence::ErrorRate(Traffic::Write) => "write_error_rate",
        }
    }
}
