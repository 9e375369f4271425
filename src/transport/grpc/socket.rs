//! Either kind of stream, with an eye on the first bytes.

use crate::transport::DialOptions;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// How an alert record of TLS begins. As the head of a first HTTP/2 frame it would announce a megabyte of settings.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];

/// How the kernel tells that a machine is gone, on connections over which nothing is being said. HTTP/2's own PINGs ask
/// the process; the kernel's also end what a dead machine left unacknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keepalive {
    idle: Duration,
    limit: Duration,
}

impl Keepalive {
    pub(super) fn of(options: &DialOptions) -> Option<Self> {
        options.keepalive.map(|idle| Self { idle, limit: idle.saturating_add(options.keepalive_timeout) })
    }

    /// Whole seconds are the kernel's grain.
    pub(super) fn set(self, stream: &TcpStream) -> io::Result<()> {
        let socket = socket2::SockRef::from(stream);
        let idle = self.idle.max(Duration::from_secs(1));
        socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(idle).with_interval(idle))?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(self.limit))?;
        Ok(())
    }
}

/// The socket of one connection.
pub(super) struct Socket {
    stream: Stream,
    /// Whom to tell of an alert; `None` once something else was read, or if TLS is meant.
    ///
    /// A TLS server answers plain text with a short alert and closes, which HTTP/2 takes for a dead peer: the node
    /// would be voted down where it is only misconfigured. So the alert is looked for here. An error alone would not
    /// do: it ends the connection's task, and the call that waits is told of a broken pipe.
    alert: Option<Arc<AtomicBool>>,
}

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(super) fn new(stream: Stream, alert: Option<Arc<AtomicBool>>) -> Self {
        Self { stream, alert }
    }
}

impl Stream {
    fn read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl Socket {
    /// Looks at the first bytes that came.
    fn look(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(alert) = self.alert.take()
            && bytes.starts_with(&TLS_ALERT)
        {
            alert.store(true, Ordering::Release);
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer speaks TLS"));
        }
        Ok(())
    }

    /// A write failed before anything was read: the peer may have said why before it closed, and nobody reads after a
    /// failed write. A closed socket becomes readable at once, so this waits for nothing but the wake-up.
    fn written<T>(&mut self, cx: &mut Context<'_>, result: io::Result<T>) -> Poll<io::Result<T>> {
        if result.is_err() && self.alert.is_some() {
            let mut bytes = [0; 16];
            let mut buffer = ReadBuf::new(&mut bytes);
            if ready!(self.stream.read(cx, &mut buffer)).is_ok() {
                self.look(buffer.filled())?;
            }
            self.alert = None;
        }
        Poll::Ready(result)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let before = buffer.filled().len();
        ready!(socket.stream.read(cx, buffer))?;
        Poll::Ready(socket.look(buffer.filled().get(before..).unwrap_or_default()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let result = ready!(match &mut socket.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        });
        socket.written(cx, result)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let result = ready!(match &mut socket.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        });
        socket.written(cx, result)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
