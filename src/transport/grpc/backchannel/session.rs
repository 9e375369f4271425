//! One connection, shared by streams that either end may open.
//!
//! yamux is a machine that must be polled by somebody: a task of its own does that, and hands streams over channels.
//! The task keeps a bound that the machine would pay for with the whole session: streams beyond the limit are refused
//! one by one. It also knows what a stream cannot: whether its end was said by the peer or came with the death
//! of the session; for the machine both are the end of the bytes.

use super::{
    limits::Limits,
    stream::{MuxStream, Slot},
};
use crate::transport::grpc::RawConnection;
use std::{
    future::poll_fn,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tokio_util::{
    compat::{Compat, TokioAsyncReadCompatExt},
    sync::CancellationToken,
};
use yamux::{Connection, ConnectionError};

/// How long a session may take to send what its streams had written and to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests to open a stream that may wait for the session's task, which takes them at once.
const OPEN_QUEUE: usize = 64;

pub(super) use yamux::Mode;

/// A session, as those see it who open streams or end it. Cheap to clone; dropping it ends nothing.
#[derive(Clone)]
pub(super) struct Session {
    open: mpsc::Sender<oneshot::Sender<io::Result<yamux::Stream>>>,
    slots: Arc<Semaphore>,
    shared: Arc<Shared>,
    limits: Limits,
}

/// The streams that the peer opened. Once it is dropped, further ones are refused.
pub(super) type Inbound = mpsc::Receiver<MuxStream>;

/// What the session's task and its streams share.
pub(super) struct Shared {
    /// Held while the machine works, so that whoever finds a stream ended can tell from what. What the session died
    /// of, once it did.
    died: Mutex<Option<io::ErrorKind>>,
    close: CancellationToken,
    ended: CancellationToken,
}

impl Shared {
    /// What the session died of; waits for the machine, which never waits itself.
    pub(super) fn died(&self) -> Option<io::Error> {
        self.turn().map(|kind| io::Error::new(kind, "the session has ended"))
    }

    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    fn turn(&self) -> MutexGuard<'_, Option<io::ErrorKind>> {
        self.died.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Begins to share a connection. Must be called within a tokio runtime: the session's task is spawned there.
    pub(super) fn start(raw: RawConnection, mode: Mode, limits: Limits) -> (Self, Inbound) {
        let shared = Arc::new(Shared {
            died: Mutex::new(None),
            close: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        let (open, wanted) = mpsc::channel(OPEN_QUEUE);
        // A stream that is not taken yet holds its slot already, so there is never more to queue than slots.
        let (accepted, inbound) = mpsc::channel(limits.streams());
        let slots = || Arc::new(Semaphore::new(limits.streams()));
        let machine = Machine {
            connection: Connection::new(raw.compat(), limits.hard(), mode),
            wanted,
            unanswered: None,
            accepted,
            slots: slots(),
            shared: Arc::clone(&shared),
        };
        tokio::spawn(machine.run());
        (Self { open, slots: slots(), shared, limits }, inbound)
    }

    /// Opens a stream; waits for a free slot for at most `setup_timeout`.
    pub(super) async fn open(&self) -> io::Result<MuxStream> {
        let slot = match timeout(self.limits.setup_timeout, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(Ok(slot)) => slot,
            Ok(Err(_)) => return Err(self.gone()),
            Err(_) => {
                let all = format!("all {} streams of the session are in use", self.limits.streams);
                return Err(io::Error::new(io::ErrorKind::TimedOut, all));
            }
        };
        let (answer, opened) = oneshot::channel();
        let asked = async {
            self.open.send(answer).await.map_err(|_| self.gone())?;
            opened.await.map_err(|_| self.gone())?
        };
        match timeout(self.limits.setup_timeout, asked).await {
            Ok(opened) => Ok(MuxStream::new(opened?, Slot::new(slot), Arc::clone(&self.shared))),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the session opens no stream")),
        }
    }

    /// Ends the session: what was written is still sent, for at most a second.
    pub(super) fn close(&self) {
        self.shared.close.cancel();
    }

    /// Waits for the session's end, whoever brought it about.
    pub(super) async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.shared.died().is_some()
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    fn gone(&self) -> io::Error {
        self.shared.died().unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }
}

struct Machine {
    connection: Connection<Compat<RawConnection>>,
    wanted: mpsc::Receiver<oneshot::Sender<io::Result<yamux::Stream>>>,
    /// Who asked for a stream that cannot be had yet: too many are unacknowledged.
    unanswered: Option<oneshot::Sender<io::Result<yamux::Stream>>>,
    accepted: mpsc::Sender<MuxStream>,
    slots: Arc<Semaphore>,
    shared: Arc<Shared>,
}

impl Machine {
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            () = poll_fn(|cx| self.work(cx)) => {}
            () = shared.close.cancelled() => {
                *shared.turn() = Some(io::ErrorKind::ConnectionAborted);
                // An error or a peer that takes nothing: the connection is dropped either way.
                let _ = timeout(CLOSE_TIMEOUT, poll_fn(|cx| self.connection.poll_close(cx))).await;
            }
        }
        drop(self);
        shared.ended.cancel();
    }

    /// Lets the machine work until there is nothing to do; ready once the session has died.
    fn work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let shared = Arc::clone(&self.shared);
        let mut died = shared.turn();
        let why = loop {
            match self.open(cx) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => break error,
            }
            match self.connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(stream))) => self.accept(stream),
                Poll::Ready(Some(Err(error))) => break error,
                Poll::Ready(None) => break ConnectionError::Closed,
                Poll::Pending => return Poll::Pending,
            }
        };
        *died = Some(kind(&why));
        Poll::Ready(())
    }

    /// Answers one request for a stream; whether there may be more.
    fn open(&mut self, cx: &mut Context<'_>) -> Result<bool, ConnectionError> {
        let answer = match self.unanswered.take() {
            Some(answer) => answer,
            None => match self.wanted.poll_recv(cx) {
                Poll::Ready(Some(answer)) => answer,
                // Without a handle nobody opens streams any more, those that are open live on.
                Poll::Ready(None) | Poll::Pending => return Ok(false),
            },
        };
        match self.connection.poll_new_outbound(cx) {
            Poll::Ready(Ok(stream)) => {
                // Whoever stopped waiting dropped the receiver, and the stream is dropped with the answer.
                let _ = answer.send(Ok(stream));
                Ok(true)
            }
            Poll::Ready(Err(error)) => {
                let _ = answer.send(Err(io::Error::new(kind(&error), "the session has ended")));
                Err(error)
            }
            Poll::Pending => {
                self.unanswered = (!answer.is_closed()).then_some(answer);
                Ok(false)
            }
        }
    }

    /// Hands a stream over, or drops it, which resets it.
    fn accept(&self, stream: yamux::Stream) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            tracing::debug!("a stream beyond the session's limit was refused");
            return;
        };
        // Full it never is, see `start`; closed means that nobody wants streams.
        let _ = self.accepted.try_send(MuxStream::new(stream, Slot::new(slot), Arc::clone(&self.shared)));
    }
}

/// How a session's end looks from a stream.
fn kind(error: &ConnectionError) -> io::ErrorKind {
    match error {
        ConnectionError::Io(error) => error.kind(),
        // It speaks something else.
        ConnectionError::Decode(_) => io::ErrorKind::InvalidData,
        ConnectionError::NoMoreStreamIds
        | ConnectionError::Closed
        | ConnectionError::TooManyStreams
        | ConnectionError::InvalidWindowUpdate
        | _ => io::ErrorKind::ConnectionReset,
    }
}
