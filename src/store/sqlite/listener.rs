//! The reader that watches the file for changes.
//!
//! SQLite cannot speak first, so somebody looks, every 20 ms: on a connection of its own, for `PRAGMA data_version` says
//! whether anybody but this very connection has committed, whichever process it is in; and on a thread of its own, for a
//! look is too short to be worth handing to another thread, and may wait for a lock. A look that finds nothing costs SQLite
//! some ten microseconds; only one that finds something reads `changes`.
//!
//! A look that succeeds is the proof that everything committed before it was heard of. One that fails ends the reader, and
//! with it the belief in what is remembered: whoever listened polls, and tries again with growing pauses. So does a file
//! that was put in the place of the watched one, which SQLite would never tell.

use super::{Inner, connect::Held, error::Failure, feed::since};
use crate::store::{Answer, Change, Listener, StoreError, StoreErrorKind, StoreOp, feed::listener_lost};
use diesel::{QueryableByName, RunQueryDsl, sql_types::BigInt};
use std::{
    sync::{Arc, mpsc as std_mpsc},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Time between two looks, and so how late at most a change is heard of. Fifty looks a second cost less than a hundredth
/// of a processor.
const LOOK: Duration = Duration::from_millis(20);
/// Looks that found something and wait for a slow listener: some seconds of steady writing. One more, and everything is
/// read again.
const QUEUE: usize = 256;
/// Questions that may wait for the next look: one, and one that nobody waits for any more.
const QUESTIONS: usize = 2;

type Told = Result<Vec<Change>, StoreError>;

/// The listener's end. The reader ends within one look after it is dropped.
struct Ear {
    ask: std_mpsc::SyncSender<oneshot::Sender<()>>,
    heard: mpsc::Receiver<Told>,
}

/// The reader's end.
struct Reader {
    inner: Arc<Inner>,
    held: Held,
    version: i64,
    position: i64,
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = BigInt)]
    data_version: i64,
}

/// Opens the connection and starts to look: every change committed after the answer is told. Blocks.
pub(super) fn open(inner: &Arc<Inner>) -> Result<Box<dyn Listener>, StoreError> {
    let op = StoreOp::ChangesListen;
    let reader = Reader::begin(inner).map_err(|failure| inner.lock.report(op, failure))?;
    let (ask, asked) = std_mpsc::sync_channel(QUESTIONS);
    let (tell, heard) = mpsc::channel(QUEUE);
    std::thread::Builder::new()
        .name("quorate-changes".to_owned())
        .spawn(move || reader.watch(&asked, &tell))
        .map_err(|error| StoreError::with_source(op, StoreErrorKind::Other, error))?;
    Ok(Box::new(Ear { ask, heard }))
}

impl Reader {
    fn begin(inner: &Arc<Inner>) -> Result<Reader, Failure> {
        let mut held = Held::open(&inner.place, inner.busy_timeout)?;
        // The version before the position: what is committed between the two is looked for in vain, and not missed.
        let version = version(&mut held)?;
        let position = since(&mut held.connection, StoreOp::ChangesListen, None)?.0;
        Ok(Reader { inner: Arc::clone(inner), held, version, position })
    }

    /// Looks until nobody listens, or until it fails, which is the last thing that it tells.
    fn watch(mut self, asked: &std_mpsc::Receiver<oneshot::Sender<()>>, tell: &mpsc::Sender<Told>) {
        loop {
            let question = match asked.recv_timeout(LOOK) {
                Ok(question) => Some(question),
                Err(std_mpsc::RecvTimeoutError::Timeout) => None,
                Err(std_mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let told = match self.look() {
                Ok(changes) if changes.is_empty() => Ok(()),
                Ok(changes) => tell.try_send(Ok(changes)),
                Err(failure) => {
                    let error = self.inner.lock.report(StoreOp::ChangesListen, failure);
                    let _ = tell.try_send(Err(error));
                    return;
                }
            };
            if told.is_err() {
                return;
            }
            // After what the look found: who asked reads that first.
            if let Some(question) = question {
                let _ = question.send(());
            }
        }
    }

    fn look(&mut self) -> Result<Vec<Change>, Failure> {
        self.held.is_current(&self.inner.place)?;
        let version = version(&mut self.held)?;
        if version == self.version {
            return Ok(Vec::new());
        }
        let (position, changes) = since(&mut self.held.connection, StoreOp::ChangesListen, Some(self.position))?;
        (self.version, self.position) = (version, position);
        Ok(changes)
    }
}

/// Moves whenever another connection commits.
fn version(held: &mut Held) -> Result<i64, Failure> {
    let read: Version = diesel::sql_query("PRAGMA data_version").get_result(&mut held.connection)?;
    Ok(read.data_version)
}

impl Listener for Ear {
    fn next(&mut self) -> Answer<'_, Vec<Change>> {
        Box::pin(async move { self.heard.recv().await.unwrap_or_else(|| Err(listener_lost())) })
    }

    fn check(&mut self) -> Answer<'_, Vec<Change>> {
        Box::pin(async move {
            let (answer, looked) = oneshot::channel();
            let asked = self.ask.try_send(answer);
            // Whoever cannot be asked any more, or ends instead of answering, may still have said why.
            let looked = asked.is_ok() && looked.await.is_ok();
            let mut changes = Vec::new();
            while let Ok(told) = self.heard.try_recv() {
                changes.extend(told?);
            }
            if looked { Ok(changes) } else { Err(listener_lost()) }
        })
    }
}
