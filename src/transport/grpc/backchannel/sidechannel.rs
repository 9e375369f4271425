//! Raw bytes beside a call: a stream that the node opens to its caller, who named it in the call's metadata.
//!
//! A call of gRPC pays for each message with framing, copies and a share of HTTP/2's window; gigabytes are better sent
//! as bytes. The caller registers, gets a number, sends it with the call and awaits the stream; the node opens one over
//! the caller's backchannel, says the number on it, and has it once the caller has said `ok`. Key, magic bytes and
//! answer are Praefect's. The numbers are not: here they are drawn, 62 bits each, for with numbers in order a node could
//! take the stream of a call that was not made to it, and a late one would meet another caller after a restart.
//!
//! What Gitaly sends inside (packets of the caller, plain bytes of the node) is the embedder's business. A stream here
//! has two directions that are ended separately, so no framing is needed to tell an end.

use super::{session::Session, sniff::SIDECHANNEL, stream::MuxStream};
use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::oneshot,
    time::{Sleep, sleep, timeout},
};
use tonic::{Status, metadata::MetadataMap};

/// The metadata key that names the sidechannel of a call, a decimal number.
pub const SIDECHANNEL_KEY: &str = "gitaly-sidechannel-id";
/// What the caller answers to a number that it knows.
const ACKNOWLEDGED: &[u8; 2] = b"ok";

/// Why there is no sidechannel.
#[derive(Debug, thiserror::Error)]
pub enum SidechannelError {
    /// The call names none.
    #[error("the call carries no `{SIDECHANNEL_KEY}`")]
    Missing,
    /// What the call names is no number.
    #[error("the call's `{SIDECHANNEL_KEY}` is not allowed: it must be a number from 0 to {}", u64::MAX)]
    Invalid,
    /// Too many calls of this process await theirs.
    #[error("{most} sidechannels are awaited already, and no more are allowed")]
    TooMany {
        /// The registry's limit.
        most: usize,
    },
    /// The caller awaits none of this number; not any more, if the call was abandoned.
    #[error("the caller refused the sidechannel: it awaits none of this number")]
    Refused,
    /// It did not come to be in time.
    #[error("no sidechannel within {0:?}")]
    TimedOut(Duration),
    /// The connection failed.
    #[error("no sidechannel")]
    Lost(#[source] io::Error),
}

impl From<SidechannelError> for Status {
    fn from(error: SidechannelError) -> Self {
        let text = error.to_string();
        match error {
            SidechannelError::Missing | SidechannelError::Invalid => Status::invalid_argument(text),
            SidechannelError::TooMany { .. } => Status::resource_exhausted(text),
            SidechannelError::Refused => Status::failed_precondition(text),
            SidechannelError::TimedOut(_) => Status::deadline_exceeded(text),
            SidechannelError::Lost(_) => Status::unavailable(text),
        }
    }
}

/// Raw bytes both ways. `shutdown` ends our direction only; dropping it ends both, and what was not read is lost.
///
/// Reading ends when the peer has ended its direction, and fails if the stream was reset or the connection was lost
/// before. A peer that was told our end and then drops its own looks as if it had ended, so bytes that can be cut short
/// need a length or a checksum of their own, as on a socket. A write that finds no room for `write_timeout` fails.
pub struct Sidechannel {
    stream: MuxStream,
    write_timeout: Duration,
    /// Runs while a write waits for room.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for Sidechannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sidechannel").field(&self.stream).finish()
    }
}

impl Sidechannel {
    fn new(stream: MuxStream, write_timeout: Duration) -> Self {
        Self { stream, write_timeout, stalled: None }
    }
}

/// The sidechannels that calls of this process await. Clones are the same registry.
#[derive(Debug, Clone)]
pub struct Sidechannels {
    most: usize,
    waiting: Arc<Mutex<BTreeMap<u64, oneshot::Sender<Sidechannel>>>>,
}

impl Default for Sidechannels {
    /// For 1024 at once: more calls than that over one supervisor's connections are a fault.
    fn default() -> Self {
        Self::new(1024)
    }
}

impl Sidechannels {
    /// A registry that lets `most` calls await a sidechannel at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, waiting: Arc::default() }
    }

    /// Registers a call that is about to be made.
    pub fn expect(&self) -> Result<Expected, SidechannelError> {
        let (found, awaited) = oneshot::channel();
        // The lower half of a random UUID, less the two bits that say so.
        let id = uuid::Uuid::new_v4().as_u64_pair().1 & (u64::MAX >> 2);
        let mut waiting = self.waiting();
        if waiting.len() >= self.most {
            return Err(SidechannelError::TooMany { most: self.most });
        }
        waiting.insert(id, found);
        drop(waiting);
        Ok(Expected { id, awaited, registry: self.clone() })
    }

    /// How many are awaited now.
    #[must_use]
    pub fn awaited(&self) -> usize {
        self.waiting().len()
    }

    /// Takes a stream that a node opened, behind the magic bytes. One with a number that nobody awaits is dropped.
    pub(super) async fn receive(&self, mut stream: MuxStream, write_timeout: Duration) -> io::Result<()> {
        let id = stream.read_u64().await?;
        let Some(awaiting) = self.waiting().remove(&id) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "nobody awaits a sidechannel of this number"));
        };
        stream.write_all(ACKNOWLEDGED).await?;
        stream.flush().await?;
        // Whoever has stopped waiting meanwhile drops the stream, which the node sees.
        let _ = awaiting.send(Sidechannel::new(stream, write_timeout));
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Sidechannel>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sidechannel that a call awaits. Dropping it withdraws the number.
#[derive(Debug)]
#[must_use]
pub struct Expected {
    id: u64,
    awaited: oneshot::Receiver<Sidechannel>,
    registry: Sidechannels,
}

impl Expected {
    /// Names the sidechannel in the metadata of the call, instead of any that is named there: a proxy's caller has its
    /// own.
    pub fn attach(&self, metadata: &mut MetadataMap) {
        metadata.insert(SIDECHANNEL_KEY, self.id.into());
    }

    /// Waits until the node has opened it, while somebody drives the call. Nothing comes if the node needs none, so
    /// wait beside the call's answer.
    pub async fn opened(mut self, within: Duration) -> Result<Sidechannel, SidechannelError> {
        match timeout(within, &mut self.awaited).await {
            Ok(Ok(sidechannel)) => Ok(sidechannel),
            Ok(Err(_)) => Err(SidechannelError::Lost(io::ErrorKind::ConnectionReset.into())),
            Err(_) => Err(SidechannelError::TimedOut(within)),
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.registry.waiting().remove(&self.id);
    }
}

/// The node's end.
pub(super) async fn open(session: &Session, metadata: &MetadataMap) -> Result<Sidechannel, SidechannelError> {
    // The last one: a proxy that adds its own leaves its caller's in front.
    let named = metadata.get_all(SIDECHANNEL_KEY).iter().next_back().ok_or(SidechannelError::Missing)?;
    let id: u64 = named.to_str().ok().and_then(|id| id.parse().ok()).ok_or(SidechannelError::Invalid)?;
    let limits = session.limits();
    let mut stream = session.open().await.map_err(|error| {
        let late = error.kind() == io::ErrorKind::TimedOut;
        if late { SidechannelError::TimedOut(limits.setup_timeout) } else { SidechannelError::Lost(error) }
    })?;
    let greeting = async {
        let mut said = [0; 2];
        stream.write_all(SIDECHANNEL).await?;
        stream.write_u64(id).await?;
        stream.flush().await?;
        stream.read_exact(&mut said).await?;
        Ok(said)
    };
    match timeout(limits.setup_timeout, greeting).await {
        Ok(Ok(said)) if said == *ACKNOWLEDGED => Ok(Sidechannel::new(stream, limits.write_timeout)),
        Ok(Ok(_)) => Err(SidechannelError::Refused),
        Ok(Err(error)) if session.has_ended() => Err(SidechannelError::Lost(error)),
        Ok(Err(_)) => Err(SidechannelError::Refused),
        Err(_) => Err(SidechannelError::TimedOut(limits.setup_timeout)),
    }
}

impl AsyncRead for Sidechannel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Sidechannel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Poll::Ready(written) = Pin::new(&mut this.stream).poll_write(cx, bytes) {
            this.stalled = None;
            return Poll::Ready(written);
        }
        let deadline = this.stalled.get_or_insert_with(|| Box::pin(sleep(this.write_timeout)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => {
                let what = format!("the peer took nothing for {:?}", this.write_timeout);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
