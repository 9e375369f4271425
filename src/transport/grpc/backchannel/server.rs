//! The storage node's end: one listener for ordinary clients and for those that can be called back.

use super::{
    limits::Limits,
    registry::{Backchannels, Peer},
    session::{Mode, Session},
    sniff::{BACKCHANNEL, begins_with},
    stream::Ends,
};
use crate::transport::grpc::{RawConnection, RawIo};
use futures_util::{Stream, StreamExt, pin_mut};
use hyper_util::rt::TokioIo;
use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tonic::transport::{Channel, Endpoint, server::Connected};

/// Connections that may be on their way at once, from the socket to the first byte of HTTP/2. Further ones wait in the
/// listener's backlog, for `setup_timeout` at most.
const SETTING_UP: usize = 1024;
/// Connections that wait for the server, which takes them at once.
const READY: usize = 64;
/// The pause after a listener failed, for one without descriptors fails again at once.
const PAUSE: Duration = Duration::from_millis(20);

/// Sorts connections by what they say first, for [`tonic::transport::Server`]'s `serve_with_incoming`: those that begin
/// with the backchannel's magic bytes become sessions, and their peers are kept in `backchannels` for as long as they
/// last; all others are passed on untouched. A connection that has not said what it is within `setup_timeout` is
/// dropped.
///
/// With TLS use [`accept_after`]: tonic's own would come too late. Must be called within a tokio runtime; what it
/// spawns ends with the stream that it returns.
pub fn accept<S, C, E>(
    incoming: S,
    backchannels: &Backchannels,
    limits: Limits,
) -> impl Stream<Item = Result<NodeConnection, E>> + Send + use<S, C, E>
where
    S: Stream<Item = Result<C, E>> + Send + 'static,
    C: RawIo + Connected,
    E: Send + 'static,
{
    accept_after(incoming, |connection| std::future::ready(Ok(connection)), backchannels, limits)
}

/// As [`accept`], after `prepare` was done with each connection: TLS, say. Connections are prepared side by side, each
/// within its `setup_timeout`, and one that fails is dropped.
pub fn accept_after<S, R, P, F, C, E>(
    incoming: S,
    prepare: P,
    backchannels: &Backchannels,
    limits: Limits,
) -> impl Stream<Item = Result<NodeConnection, E>> + Send + use<S, R, P, F, C, E>
where
    S: Stream<Item = Result<R, E>> + Send + 'static,
    R: Send + 'static,
    P: Fn(R) -> F + Send + 'static,
    F: Future<Output = io::Result<C>> + Send + 'static,
    C: RawIo + Connected,
    E: Send + 'static,
{
    let (ready, mut taken) = mpsc::channel(READY);
    let setting_up = Arc::new(Semaphore::new(SETTING_UP));
    let backchannels = backchannels.clone();
    tokio::spawn(async move {
        pin_mut!(incoming);
        loop {
            let next = async {
                let permit = Arc::clone(&setting_up).acquire_owned().await.ok()?;
                Some((permit, incoming.next().await?))
            };
            let next = tokio::select! {
                next = next => next,
                () = ready.closed() => None,
            };
            match next {
                Some((permit, Ok(raw))) => {
                    let sorted = sorted(prepare(raw), backchannels.clone(), limits);
                    tokio::spawn(hand_over(sorted, ready.clone(), permit));
                }
                Some((_, Err(error))) => {
                    if ready.send(Err(error)).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                None => return,
            }
        }
    });
    futures_util::stream::poll_fn(move |cx| taken.poll_recv(cx))
}

/// Hands a connection to the server once it is known what it is, and to nobody if it fails or the server is gone.
async fn hand_over<E>(
    sorted: impl Future<Output = io::Result<NodeConnection>>,
    ready: mpsc::Sender<Result<NodeConnection, E>>,
    _setting_up: OwnedSemaphorePermit,
) {
    let sorted = tokio::select! {
        sorted = sorted => sorted,
        () = ready.closed() => return,
    };
    match sorted {
        Ok(connection) => drop(ready.send(Ok(connection)).await),
        Err(error) => tracing::debug!(%error, "a connection ended before it was clear what it is"),
    }
}

async fn sorted<C: RawIo + Connected>(
    prepared: impl Future<Output = io::Result<C>>,
    backchannels: Backchannels,
    limits: Limits,
) -> io::Result<NodeConnection> {
    let sorting = async {
        let connection = prepared.await?;
        let mut inner = http::Extensions::new();
        inner.insert(connection.connect_info());
        let (multiplexed, connection) = begins_with(connection, BACKCHANNEL).await?;
        if !multiplexed {
            return Ok(NodeConnection { raw: Box::new(connection), info: ConnectionInfo { peer: None, inner } });
        }
        let (session, mut inbound) = Session::start(Box::new(connection), Mode::Server, limits);
        // If this is waited for no more, nobody else would end the session.
        let ends = Ends(session.clone());
        let Some(stream) = inbound.recv().await else {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the session ended before its first stream"));
        };
        let peer = backchannels.register(session.clone(), back(session));
        Ok(NodeConnection { raw: Box::new(stream.ending(ends)), info: ConnectionInfo { peer: Some(peer), inner } })
    };
    match timeout(limits.setup_timeout, sorting).await {
        Ok(sorted) => sorted,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it said too little in time")),
    }
}

/// The channel over which the peer is called.
fn back(session: Session) -> Channel {
    // Never resolved: the connector opens a stream. The name is what the peer's server sees as authority.
    Endpoint::from_static("http://backchannel").connect_with_connector_lazy(tower::service_fn(move |_: http::Uri| {
        let session = session.clone();
        async move { session.open().await.map(TokioIo::new) }
    }))
}

/// What tonic puts into the extensions of each request over a [`NodeConnection`].
#[derive(Clone)]
pub struct ConnectionInfo {
    peer: Option<Peer>,
    inner: http::Extensions,
}

impl fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionInfo").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl ConnectionInfo {
    /// The caller, if it can be called back.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// What the connection beneath says of itself, [`TcpConnectInfo`](tonic::transport::server::TcpConnectInfo) for
    /// one. `Request::remote_addr` does not find it there.
    #[must_use]
    pub fn inner<I: Clone + Send + Sync + 'static>(&self) -> Option<&I> {
        self.inner.get()
    }
}

/// A connection that was sorted. Dropping one that can be called back over ends its session.
pub struct NodeConnection {
    raw: RawConnection,
    info: ConnectionInfo,
}

impl fmt::Debug for NodeConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeConnection").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Connected for NodeConnection {
    type ConnectInfo = ConnectionInfo;
    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl AsyncRead for NodeConnection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().raw).poll_read(cx, buffer)
    }
}

impl AsyncWrite for NodeConnection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().raw).poll_write(cx, bytes)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().raw).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.raw.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().raw).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().raw).poll_shutdown(cx)
    }
}
