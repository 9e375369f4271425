//! A way back: storage nodes call the supervisor's application over the connections that it dialled to them.
//!
//! Nodes are behind firewalls and know no addresses of ours, and a call that comes back over the connection of the call
//! it belongs to is certain to reach the process that made it. So the dialling end says eleven magic bytes and makes a
//! yamux session of the connection: its own HTTP/2 runs over one stream, and the node opens others, over which it calls
//! the services of [`Backchannel::new`] or sends raw bytes ([`Sidechannels`]). The wire is Praefect's and Gitaly's.
//!
//! ```text
//!  application ── Channel ── HTTP/2 ─▶ stream 1 ┐              ┌ stream 1 ─▶ HTTP/2 ── the node's services
//!  its services ◀── HTTP/2 ── stream 2 ◀────────┤ yamux on TCP ├──── HTTP/2 ── Peer::channel
//!  Expected::opened ◀── bytes ── stream 4 ◀─────┘              └──── bytes ── Peer::sidechannel
//! ```
//!
//! | at the application | at the storage node |
//! |---|---|
//! | [`Backchannel`], given to [`GrpcTransport::with_handshaker`](super::GrpcTransport::with_handshaker) | [`accept`] in front of tonic's server, [`Backchannels`] to find one by its number |
//! | its services, as [`tonic::service::Routes`] | [`Peer::of`] a call, and its [`channel`](Peer::channel) |
//! | [`Sidechannels::expect`], and [`Expected::opened`] | [`Peer::sidechannel`] |
//!
//! A session lives as long as the HTTP/2 of its first stream: when the channel is dropped, or either end loses the
//! connection, everything on it ends, and the channel's next call makes another one. Nothing is resumed.
//!
//! Rejected: a second connection dialled by the node (addresses, firewalls, and which process?), and long-lived
//! streams of gRPC in the other direction (every service would have to be turned inside out). yamux's own keepalive is
//! off, as at Praefect's: HTTP/2 on the first stream has one.

mod client;
mod limits;
mod registry;
mod server;
mod session;
mod sidechannel;
mod sniff;
mod stream;

pub use client::Backchannel;
pub use limits::Limits;
pub use registry::{BackchannelId, Backchannels, NotMultiplexed, Peer, UnknownBackchannel};
pub use server::{ConnectionInfo, NodeConnection, accept, accept_after};
pub use sidechannel::{Expected, SIDECHANNEL_KEY, Sidechannel, SidechannelError, Sidechannels};
