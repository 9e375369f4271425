//! What happens on a connection before HTTP/2: TLS, and then a handshake of the embedder's.
//!
//! tonic would put its own TLS between a connector and HTTP/2 and leave no place behind it. A handshake in front of TLS
//! would be readable on the wire and would reach servers that expect TLS first. So TLS is made here, for all links
//! alike, and tonic is handed what came of it.

use super::{connector::ConnectFailure, tls::NodeTls};
use crate::transport::NodeAddress;
use futures_util::future::BoxFuture;
use std::{future::Future, io, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};

/// The bytes of a connection, whatever carries them: TCP, a unix socket, TLS over TCP, or what a handshaker made.
pub trait RawIo: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> RawIo for T {}

/// A connection before HTTP/2.
pub type RawConnection = Box<dyn RawIo>;

/// Takes each new connection to a node in hand before HTTP/2 begins, and hands back what HTTP/2 shall run over: the
/// same connection after an exchange of bytes, or another one that it made over it.
///
/// It is called for every connection to a node: the kept one, each time it is made again; each machine's of a `dns:`
/// name; each fresh one of a probe; and a ping's. So what is probed is what traffic gets, and a node that demands the
/// handshake is never asked without it. It has `connect_timeout` for its work, after the same time for the connection
/// and the same for TLS. One that does not end in time makes the attempt fail as silence does; an error of it counts as
/// an error of the socket, by its number or kind, with `InvalidData` for a node that speaks something else. Each
/// failure lengthens the pause before the next attempt of real traffic.
pub trait Handshaker: Send + Sync + 'static {
    /// Hands back what HTTP/2 shall run over. `address` is the node's, as it was configured.
    fn handshake(
        &self,
        address: &NodeAddress,
        connection: RawConnection,
    ) -> BoxFuture<'static, io::Result<RawConnection>>;
}

/// What connections to one node begin with.
pub(super) struct Handshake {
    pub(super) address: NodeAddress,
    pub(super) tls: Option<NodeTls>,
    pub(super) handshaker: Option<Arc<dyn Handshaker>>,
}

impl Handshake {
    /// Each step within `timeout`.
    pub(super) async fn perform(&self, raw: RawConnection, timeout: Duration) -> Result<RawConnection, ConnectFailure> {
        let raw = match &self.tls {
            Some(tls) => within(timeout, tls.connect(raw)).await?,
            None => raw,
        };
        match &self.handshaker {
            Some(handshaker) => within(timeout, handshaker.handshake(&self.address, raw)).await,
            None => Ok(raw),
        }
    }
}

async fn within<T>(timeout: Duration, step: impl Future<Output = io::Result<T>>) -> Result<T, ConnectFailure> {
    match tokio::time::timeout(timeout, step).await {
        Ok(done) => done.map_err(|error| ConnectFailure::Socket(Arc::new(error))),
        Err(_) => Err(ConnectFailure::TimedOut(timeout)),
    }
}
