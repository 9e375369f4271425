//! Epochs in a file: an append-only log, one fsync per batch, compacted by renaming.
//!
//! One thread owns the file. Whoever observes while it waits for the disk shares the next write: a failover of
//! thousands of repositories costs a few dozen fsyncs, not thousands. Claims that are known already cost none.

use super::{
    log,
    metadata::Claim,
    store::{EpochStore, EpochStoreError, FenceReport, Observed, StoreAnswer},
    table::{Entry, EpochRecord, EpochTable},
};
use crate::core::{epoch::Epoch, ids::RepositoryId};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    thread::JoinHandle,
};
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for the disk: what a node of 1,000 concurrent calls can have at once. Beyond it callers wait,
/// each within its own deadline.
const QUEUE: usize = 1_024;
/// Requests that share one fsync. Bounded so that the first of them does not wait for all.
const BATCH: usize = 256;
/// A log is compacted when it holds this many entries more than twice those it needs: a megabyte or so.
const COMPACT_SLACK: usize = 10_000;

/// A store that survives a power loss.
///
/// Beside the log at `path` lie `path.lock`, which keeps a second process out, and for moments `path.new`. Dropping the
/// store waits for the write under way, at most one fsync.
#[derive(Debug)]
pub struct FileEpochStore {
    table: Arc<RwLock<EpochTable>>,
    /// `None` only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Request {
    Observe(Claim, oneshot::Sender<Result<Observed, EpochStoreError>>),
    Adopted(RepositoryId, Epoch, oneshot::Sender<Result<(), EpochStoreError>>),
}

impl FileEpochStore {
    /// Opens the log, or makes an empty one. Blocks for the time of reading it.
    ///
    /// An empty log accepts every epoch: never remove the file of a node that keeps its data.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, EpochStoreError> {
        let (log, table) = Log::open(path.into())?;
        let shared = Arc::new(RwLock::new(table.clone()));
        let (requests, queue) = mpsc::channel(QUEUE);
        let writer = Writer { log, staged: table, durable: Arc::clone(&shared) };
        let path = writer.log.path.clone();
        let writer = std::thread::Builder::new()
            .name("quorate-epochs".into())
            .spawn(move || writer.run(queue))
            .map_err(|error| failed(&path, "given a thread", error))?;
        Ok(Self { table: shared, requests: Some(requests), writer: Some(writer) })
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, EpochStoreError>>) -> Request,
    ) -> Result<T, EpochStoreError> {
        let (answer, answered) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(EpochStoreError::Closed)?;
        requests.send(request(answer)).await.map_err(|_| EpochStoreError::Closed)?;
        answered.await.unwrap_or(Err(EpochStoreError::Closed))
    }

    fn read<T>(&self, look: impl FnOnce(&EpochTable) -> T) -> T {
        look(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl EpochStore for FileEpochStore {
    fn observe<'a>(&'a self, claim: &'a Claim) -> StoreAnswer<'a, Observed> {
        Box::pin(async move {
            // The steady state: known and durable, or refused by what is.
            let known = self.read(|table| match table.judge(claim) {
                Ok(entries) => entries.is_empty().then(|| Observed::accepted(table, claim)),
                Err(refusal) => Some(Observed::Refused(refusal)),
            });
            match known {
                Some(observed) => Ok(observed),
                None => self.ask(|answer| Request::Observe(claim.clone(), answer)).await,
            }
        })
    }

    fn adopted(&self, repository: RepositoryId, epoch: Epoch) -> StoreAnswer<'_, ()> {
        Box::pin(self.ask(move |answer| Request::Adopted(repository, epoch, answer)))
    }

    fn record(&self, repository: RepositoryId) -> Option<EpochRecord> {
        self.read(|table| table.record(repository))
    }

    fn report(&self) -> FenceReport {
        self.read(EpochTable::report)
    }
}

impl Drop for FileEpochStore {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

struct Writer {
    log: Log,
    /// Ahead of `durable` while a batch is being written; judged against, so that one batch is consistent in itself.
    staged: EpochTable,
    durable: Arc<RwLock<EpochTable>>,
}

/// What a request will be answered with, once its batch is durable.
enum Answer {
    Observe(Claim, oneshot::Sender<Result<Observed, EpochStoreError>>, Result<(), Observed>),
    Adopted(oneshot::Sender<Result<(), EpochStoreError>>),
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut broken: Option<EpochStoreError> = None;
        while let Some(first) = queue.blocking_recv() {
            let mut requests = vec![first];
            while requests.len() < BATCH
                && let Ok(request) = queue.try_recv()
            {
                requests.push(request);
            }
            let mut entries = Vec::new();
            let answers: Vec<Answer> = requests.into_iter().map(|request| self.stage(request, &mut entries)).collect();
            if broken.is_none() && !entries.is_empty() {
                broken = self.commit(&entries).err();
            }
            for answer in answers {
                self.answer(answer, broken.as_ref());
            }
        }
    }

    fn stage(&mut self, request: Request, entries: &mut Vec<Entry>) -> Answer {
        match request {
            Request::Observe(claim, sender) => {
                let judged = match self.staged.judge(&claim) {
                    Ok(new) => {
                        new.iter().for_each(|entry| self.staged.apply(entry));
                        entries.extend(new);
                        Ok(())
                    }
                    Err(refusal) => Err(Observed::Refused(refusal)),
                };
                Answer::Observe(claim, sender, judged)
            }
            Request::Adopted(repository, epoch, sender) => {
                let new = self.staged.judge_adopted(repository, epoch);
                new.iter().for_each(|entry| self.staged.apply(entry));
                entries.extend(new);
                Answer::Adopted(sender)
            }
        }
    }

    fn commit(&mut self, entries: &[Entry]) -> Result<(), EpochStoreError> {
        self.log.append(entries)?;
        let mut durable = self.durable.write().unwrap_or_else(PoisonError::into_inner);
        entries.iter().for_each(|entry| durable.apply(entry));
        drop(durable);
        let needed = self.staged.entry_count().saturating_mul(2).saturating_add(COMPACT_SLACK);
        if self.log.entries > needed.max(self.log.compact_above) {
            self.log.compact(&self.staged)?;
        }
        Ok(())
    }

    /// Nobody may be waiting any more; that is no error.
    fn answer(&self, answer: Answer, broken: Option<&EpochStoreError>) {
        match (answer, broken) {
            (Answer::Observe(claim, sender, Ok(())), None) => {
                // A batch may hold a later epoch of the same repository: then this claim was accepted and overtaken.
                let observed = match self.staged.judge(&claim) {
                    Ok(_) => Observed::accepted(&self.staged, &claim),
                    Err(refusal) => Observed::Refused(refusal),
                };
                let _ = sender.send(Ok(observed));
            }
            (Answer::Observe(_, sender, Err(refused)), None) => {
                let _ = sender.send(Ok(refused));
            }
            (Answer::Observe(_, sender, _), Some(error)) => {
                let _ = sender.send(Err(error.clone()));
            }
            (Answer::Adopted(sender), None) => {
                let _ = sender.send(Ok(()));
            }
            (Answer::Adopted(sender), Some(error)) => {
                let _ = sender.send(Err(error.clone()));
            }
        }
    }
}

/// The open file.
struct Log {
    path: PathBuf,
    file: File,
    entries: usize,
    /// The backoff after a compaction that failed: the next one is tried when there are more entries than this.
    compact_above: usize,
    /// Held for as long as this lives. A file of its own, for compaction replaces the log.
    _lock: File,
}

impl Log {
    fn open(path: PathBuf) -> Result<(Self, EpochTable), EpochStoreError> {
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(beside(&path, ".lock"))
            .map_err(|error| failed(&path, "locked", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(EpochStoreError::InUse { path }),
            Err(TryLockError::Error(error)) => return Err(failed(&path, "locked", error)),
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_beside(&path, log::HEADER)
                    .and_then(|_| put_in_place(&path))
                    .and_then(|()| sync_folder(&path))
                    .map_err(|error| failed(&path, "made", error))?;
                log::HEADER.to_vec()
            }
            Err(error) => return Err(failed(&path, "read", error)),
        };
        let log::Decoded { table, length, entries } = log::decode(&bytes).map_err(|damage| {
            EpochStoreError::Damaged { path: path.clone(), offset: damage.offset, problem: damage.problem }
        })?;
        let file = append_at(&path, length)?;
        let log = Self { path, file, entries, compact_above: 0, _lock: lock };
        Ok((log, table))
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), EpochStoreError> {
        let line = log::encode(entries).map_err(|error| failed(&self.path, "encoded", error.into()))?;
        self.file
            .write_all(&line)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| failed(&self.path, "written", error))?;
        self.entries += entries.len();
        Ok(())
    }

    /// Writes the log anew. If that cannot be done (a full disk), the old one is whole and goes on. An error means that
    /// the old one is gone, and that it is not known whether the new one would survive a power loss.
    fn compact(&mut self, table: &EpochTable) -> Result<(), EpochStoreError> {
        let entries: Vec<Entry> = table.entries().collect();
        let compacted = || {
            let mut bytes = log::HEADER.to_vec();
            for batch in entries.chunks(BATCH) {
                bytes.extend(log::encode(batch)?);
            }
            let file = write_beside(&self.path, &bytes)?;
            put_in_place(&self.path)?;
            Ok::<File, io::Error>(file)
        };
        match compacted() {
            Ok(file) => self.file = file,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the epoch log could not be compacted and grows on");
                self.compact_above = self.entries.saturating_add(COMPACT_SLACK);
                return Ok(());
            }
        }
        self.entries = entries.len();
        sync_folder(&self.path).map_err(|error| failed(&self.path, "replaced", error))
    }
}

/// Opens the log for appending; what stands behind `length` was never answered for, and goes.
fn append_at(path: &Path, length: u64) -> Result<File, EpochStoreError> {
    let open = || {
        let mut file = OpenOptions::new().write(true).open(path)?;
        if file.metadata()?.len() != length {
            file.set_len(length)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::Start(length))?;
        Ok(file)
    };
    open().map_err(|error| failed(path, "opened for writing", error))
}

/// A whole new log beside the old one, durable, open at its end.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::create(beside(path, ".new"))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

fn put_in_place(path: &Path) -> io::Result<()> {
    fs::rename(beside(path, ".new"), path)
}

/// The new name is durable once its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn failed(path: &Path, operation: &'static str, source: io::Error) -> EpochStoreError {
    EpochStoreError::Io { path: path.to_owned(), operation, source: Arc::new(source) }
}
