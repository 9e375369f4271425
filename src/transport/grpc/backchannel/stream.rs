//! One stream of a session.

use super::session::{Session, Shared};
use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
};
use tokio_util::{
    compat::{Compat, FuturesAsyncReadCompatExt},
    sync::WaitForCancellationFutureOwned,
};
use tonic::transport::server::Connected;

/// A stream's share of the session's limit, given back when the stream is dropped.
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: permit }
    }
}

/// Bytes both ways. `shutdown` ends our direction and leaves the other one open; dropping it ends both, for the peer as
/// a reset unless it had ended its own direction before.
///
/// The end of what the peer sends is told as such only if the peer said it. If the stream was reset, or the session
/// died, reading fails.
pub(super) struct MuxStream {
    inner: Compat<yamux::Stream>,
    shared: Arc<Shared>,
    /// The session's end wakes nobody inside the multiplexer, so each stream waits for it itself.
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    shut: bool,
    _slot: Slot,
    _ends: Option<Ends>,
}

/// Ends a session when it is dropped.
pub(super) struct Ends(pub(super) Session);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for MuxStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MuxStream").field("id", &self.inner.get_ref().id()).finish_non_exhaustive()
    }
}

impl MuxStream {
    pub(super) fn new(stream: yamux::Stream, slot: Slot, shared: Arc<Shared>) -> Self {
        let ended = Box::pin(shared.ended().cancelled_owned());
        Self { inner: stream.compat(), shared, ended, shut: false, _slot: slot, _ends: None }
    }

    /// The same, and the session ends with it: the one that HTTP/2 runs over is what the connection was made for.
    pub(super) fn ending(mut self, session: Ends) -> Self {
        self._ends = Some(session);
        self
    }

    /// Why reading came to an end that the peer did not say, if it did.
    fn broken(&self) -> Option<io::Error> {
        if let Some(died) = self.shared.died() {
            return Some(died);
        }
        // Closed in both directions although we closed none: reset. Once ours is closed a reset cannot be told from
        // the end any more, as little as on a socket of a process that ended.
        let reset = !self.shut && self.inner.get_ref().is_closed();
        reset.then(|| io::Error::new(io::ErrorKind::ConnectionReset, "the peer reset the stream"))
    }

    /// Fails a wait that the session's end has made pointless.
    fn waiting<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match self.ended.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(self.lost())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn lost(&self) -> io::Error {
        self.broken().unwrap_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, "the stream is closed"))
    }
}

impl Connected for MuxStream {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for MuxStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let before = buffer.filled().len();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut stream.inner).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => Poll::Ready(Ok(())),
            Poll::Ready(Ok(())) => Poll::Ready(stream.broken().map_or(Ok(()), Err)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(stream.lost())),
            Poll::Pending => stream.waiting(cx),
        }
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        match Pin::new(&mut stream.inner).poll_write(cx, bytes) {
            Poll::Ready(written) => Poll::Ready(written.map_err(|_| stream.lost())),
            Poll::Pending => stream.waiting(cx),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        match Pin::new(&mut stream.inner).poll_flush(cx) {
            Poll::Ready(flushed) => Poll::Ready(flushed.map_err(|_| stream.lost())),
            Poll::Pending => stream.waiting(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if !stream.shut {
            match Pin::new(&mut stream.inner).poll_shutdown(cx) {
                Poll::Ready(closed) => closed.map_err(|_| stream.lost())?,
                Poll::Pending => return stream.waiting(cx),
            }
            stream.shut = true;
        }
        Poll::Ready(Ok(()))
    }
}
