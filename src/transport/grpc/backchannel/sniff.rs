//! What a connection says first, without taking it away from whoever reads next.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What a connection begins with that is going to be a session; not terminated, as Praefect's.
pub(super) const BACKCHANNEL: &[u8; MAGIC] = b"backchannel";
/// What a stream begins with that is going to be a sidechannel.
pub(super) const SIDECHANNEL: &[u8; MAGIC] = b"sidechannel";
/// How many bytes either is.
const MAGIC: usize = 11;

/// Whether the first bytes are `magic`. They are taken if so; if not, the answer's stream says them again.
///
/// It reads no further than needed: the first byte that differs decides, so a client that says less than `magic` and
/// waits is not kept waiting. HTTP/2 begins with `PRI`, TLS with 22, and both differ at once.
pub(super) async fn begins_with<S: AsyncRead + Unpin>(
    mut stream: S,
    magic: &[u8; MAGIC],
) -> io::Result<(bool, Rewound<S>)> {
    let mut head = Vec::with_capacity(MAGIC);
    while head.len() < MAGIC && magic.starts_with(&head) {
        let left = MAGIC - head.len();
        if (&mut stream).take(left as u64).read_buf(&mut head).await? == 0 {
            break;
        }
    }
    if head == magic {
        return Ok((true, Rewound { head: Vec::new(), stream }));
    }
    Ok((false, Rewound { head, stream }))
}

/// A stream, some of whose bytes are read once more.
#[derive(Debug)]
pub(super) struct Rewound<S> {
    head: Vec<u8>,
    stream: S,
}

impl<S> Rewound<S> {
    /// The stream, whose magic bytes were taken.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: Connected> Connected for Rewound<S> {
    type ConnectInfo = S::ConnectInfo;
    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.head.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let taken = this.head.len().min(buffer.remaining());
        buffer.put_slice(this.head.drain(..taken).as_slice());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
