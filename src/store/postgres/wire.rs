//! Reads along on the wire for one thing: the SQLSTATE of the server's last error.
//!
//! diesel-async keeps of a server's error the message and a handful of kinds; whether a statement ran out of time
//! (57014) or waited too long for a lock (55P03) is in neither. Guessing from the message's text would depend on the
//! server's language. The protocol's framing is fixed (one byte of kind, four of length), so the stream itself is
//! asked: [`Watched`] passes every byte on unchanged and notes the code of each ErrorResponse.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Any stream a server can be reached over.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Five letters that say what an error is, as in the SQL standard.
pub(super) type SqlState = [u8; 5];

/// The code of the last error that a server sent on one connection.
#[derive(Default)]
pub(super) struct LastError(AtomicU64);

impl LastError {
    /// The code noted since the last call, if any.
    pub(super) fn take(&self) -> Option<SqlState> {
        match self.0.swap(0, Ordering::AcqRel).to_be_bytes() {
            [_, _, _, 0, ..] => None,
            [_, _, _, code @ ..] => Some(code),
        }
    }
    fn note(&self, code: SqlState) {
        let [a, b, c, d, e] = code;
        self.0.store(u64::from_be_bytes([0, 0, 0, a, b, c, d, e]), Ordering::Release);
    }
}

/// An error's body is read no further than this; its code stands near the beginning.
const BODY_MAX: usize = 1_024;

/// Where in the server's stream of messages we are.
#[derive(Default)]
struct Frames {
    header: Vec<u8>,
    /// Bytes of the current message still to come.
    left: usize,
    /// The body of an ErrorResponse, as far as it has come.
    body: Option<Vec<u8>>,
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8], noted: &LastError) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let (head, rest) = bytes.split_at(bytes.len().min(5_usize.saturating_sub(self.header.len())));
                self.header.extend_from_slice(head);
                bytes = rest;
                if let [kind, length @ ..] = self.header.as_slice()
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    // The length counts itself.
                    self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX).saturating_sub(4);
                    self.body = (*kind == b'E').then(Vec::new);
                    self.header.clear();
                }
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(self.left));
            self.left = self.left.saturating_sub(part.len());
            bytes = rest;
            if let Some(body) = &mut self.body {
                body.extend(part.iter().take(BODY_MAX.saturating_sub(body.len())));
                if self.left == 0 {
                    code_of(body).into_iter().for_each(|code| noted.note(code));
                    self.body = None;
                }
            }
        }
    }
}

/// Fields are a letter and a text that ends with a zero byte; `C` is the code.
fn code_of(body: &[u8]) -> Option<SqlState> {
    body.split(|byte| *byte == 0).find_map(|field| match field {
        [b'C', code @ ..] => SqlState::try_from(code).ok(),
        [..] => None,
    })
}

/// A stream that notes what the server's errors are.
pub(super) struct Watched {
    stream: Box<dyn Io>,
    frames: Frames,
    noted: Arc<LastError>,
}

impl Watched {
    pub(super) fn new(stream: Box<dyn Io>, noted: Arc<LastError>) -> Self {
        Self { stream, frames: Frames::default(), noted }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Watched { frames, noted, .. } = &mut *self;
        frames.feed(buffer.filled().get(before..).unwrap_or_default(), noted);
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut whole = vec![kind];
        whole.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        whole.extend(body);
        whole
    }

    #[test]
    fn the_code_is_found_however_the_stream_is_cut() {
        let stream: Vec<u8> = [
            message(b'R', &[0, 0, 0, 0]),
            message(b'2', &[]),
            message(b'E', b"SERROR\0VERROR\0C55P03\0Mcanceling statement due to lock timeout\0\0"),
            message(b'Z', b"I"),
        ]
        .concat();
        for size in 1..=stream.len() {
            let (mut frames, noted) = (Frames::default(), LastError::default());
            stream.chunks(size).for_each(|chunk| frames.feed(chunk, &noted));
            assert_eq!(noted.take().as_ref(), Some(b"55P03"), "chunks of {size}");
            assert_eq!(noted.take(), None);
        }
    }

    #[test]
    fn rows_that_look_like_errors_are_none() {
        let (mut frames, noted) = (Frames::default(), LastError::default());
        frames.feed(&message(b'D', b"E\0\0\0\x0cC57014\0\0"), &noted);
        assert_eq!(noted.take(), None);
    }
}
