//! What HTTP/2 runs over, counted.

use super::handshake::RawConnection;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many connections HTTP/2 holds. A socket may outlive its connection: a session says goodbye on it.
#[derive(Clone, Default)]
pub(super) struct Open(Arc<AtomicUsize>);

impl Open {
    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

/// One connection, whatever was made of the socket. Counts for as long as it lives.
pub(super) struct Carried {
    raw: RawConnection,
    counted: Open,
}

impl Carried {
    pub(super) fn new(raw: RawConnection, open: Open) -> Self {
        open.0.fetch_add(1, Ordering::AcqRel);
        Self { raw, counted: open }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.counted.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl AsyncRead for Carried {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().raw).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Carried {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counts_from_its_beginning_to_its_end() {
        let (open, other) = (Open::default(), Open::default());
        let carry = || Carried::new(Box::new(tokio::io::duplex(1).0), open.clone());
        assert!(!open.any());
        let (one, two) = (carry(), carry());
        drop(one);
        assert!(open.any(), "the second is left");
        drop(two);
        assert!(!open.any());
        let three = carry();
        assert!(open.any() && !other.any(), "each count is its own");
        drop(three);
        assert_eq!(open.0.load(Ordering::Acquire), 0);
    }
}
