//! What may happen on a connection before HTTP/2: TLS, and then a handshake of the embedder's.
//!
//! tonic puts its own TLS between a connector and HTTP/2 and leaves no place behind it. A handshake in front of TLS
//! would be readable on the wire and would reach servers that expect TLS first. So links with a handshaker make TLS
//! here, with the same roots and the same demand for HTTP/2, and tonic is handed what the handshaker made of it.

use super::{
    connector::{ConnectFailure, Connector},
    tls::Tls,
};
use crate::transport::NodeAddress;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use std::{
    future::Future,
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// The bytes of a connection, whatever carries them: TCP, a unix socket, TLS over TCP, or what a handshaker made.
pub trait RawIo: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> RawIo for T {}

/// A connection before HTTP/2.
pub type RawConnection = Box<dyn RawIo>;

/// Takes each new connection to a node in hand before HTTP/2 begins, and hands back what HTTP/2 shall run over: the
/// same connection after an exchange of bytes, or another one that it made over it.
///
/// It is called for every connection: the kept one, each time it is made again, and each fresh one of a probe; so what
/// is probed is what traffic gets. It has `connect_timeout` for its work, after the same time for the connection and
/// for TLS. One that does not end in time makes the attempt fail as silence does; an error of it counts as an error of
/// the socket, by its number or kind, with `InvalidData` for a node that speaks something else.
pub trait Handshaker: Send + Sync + 'static {
    /// Hands back what HTTP/2 shall run over. `address` is the node's, as it was configured.
    fn handshake(
        &self,
        address: &NodeAddress,
        connection: RawConnection,
    ) -> BoxFuture<'static, io::Result<RawConnection>>;
}

/// The handshake of one link.
#[derive(Clone)]
pub(super) struct Handshake {
    pub(super) handshaker: Arc<dyn Handshaker>,
    pub(super) address: NodeAddress,
    pub(super) tls: Option<Tls>,
}

/// A connector, and what follows it.
#[derive(Clone)]
pub(super) struct Dialler {
    pub(super) connector: Connector,
    pub(super) handshake: Option<Handshake>,
}

impl Handshake {
    async fn perform(self, raw: RawConnection, timeout: Duration) -> Result<RawConnection, ConnectFailure> {
        let raw = match self.tls {
            Some(tls) => within(timeout, tls.connect(raw)).await?,
            None => raw,
        };
        within(timeout, self.handshaker.handshake(&self.address, raw)).await
    }
}

async fn within<T>(timeout: Duration, step: impl Future<Output = io::Result<T>>) -> Result<T, ConnectFailure> {
    match tokio::time::timeout(timeout, step).await {
        Ok(done) => done.map_err(ConnectFailure::Socket),
        Err(_) => Err(ConnectFailure::TimedOut(timeout)),
    }
}

impl tower::Service<http::Uri> for Dialler {
    type Response = TokioIo<RawConnection>;
    type Error = ConnectFailure;
    type Future = BoxFuture<'static, Result<TokioIo<RawConnection>, ConnectFailure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectFailure>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let timeout = self.connector.timeout();
        let connecting = self.connector.call(uri);
        let handshake = self.handshake.clone();
        Box::pin(async move {
            let raw: RawConnection = Box::new(connecting.await?.into_inner());
            let raw = match handshake {
                Some(handshake) => handshake.perform(raw, timeout).await?,
                None => raw,
            };
            Ok(TokioIo::new(raw))
        })
    }
}
