//! The SQLite store: one file, one machine, no server.
//!
//! SQLite has one writer at a time, which makes the compare-and-set simple: every write is a `BEGIN IMMEDIATE`
//! transaction, so what it reads cannot move before it commits, and the rules of refusal are plain Rust between
//! statements. Reads are one statement each, hence one snapshot (WAL), and wait for nobody.
//!
//! diesel's connection blocks, so every operation runs on tokio's blocking threads, holding one of few pooled
//! connections, and is bounded three times: the wait for a connection, `busy_timeout` in SQLite, and a deadline over
//! all of it. A lock held for longer than that is reported as [`StoreErrorKind::Locked`], with how long it has lasted:
//! a supervisor frozen inside a transaction blocks all others until it thaws or dies. That is SQLite's bargain.

mod census;
mod connect;
mod election;
mod eras;
mod error;
mod feed;
mod filesystem;
mod health;
mod listener;
mod migrations;
mod query;
mod replicas;
mod repositories;
mod repository;
mod settling;
mod shards;

use self::{
    connect::{LastFailure, Manager, Place},
    error::{Failure, LockWatch},
};
use super::{Answer, StoreError, StoreErrorKind, StoreOp};
use diesel::SqliteConnection;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// What an operation may take beyond two full lock waits (for a connection, then for the lock) before it is given up.
const MARGIN: Duration = Duration::from_secs(3);

/// How to open a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The most connections. Default 4: there is one writer at a time, and a read takes microseconds.
    pub pool_size: u32,
    /// How long a write waits for another process's write, and a caller for a connection. Default 1 s, the same as the
    /// `lock_timeout` on a server.
    pub busy_timeout: Duration,
    /// Whether to run outstanding migrations. Default true; without it they are an error that names them.
    pub migrate: bool,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        SqliteOptions { pool_size: 4, busy_timeout: Duration::from_secs(1), migrate: true }
    }
}

/// A store in one SQLite file. A clone is cheap and shares its connections.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    pool: r2d2::Pool<Manager>,
    place: Place,
    busy_timeout: Duration,
    last: LastFailure,
    lock: LockWatch,
    deadline: Duration,
    /// Whoever counts all repositories holds one connection for long, so only one may.
    counting: Arc<Semaphore>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens, and by default migrates, the database at `sqlite:PATH` or `sqlite://PATH`; the file is made if it is
    /// missing, its folder is not.
    ///
    /// Refused are a database in memory (several connections need one database), parameters after the path, and a
    /// file on a network file system, whose locks cannot be trusted.
    pub async fn open(url: &str, options: SqliteOptions) -> Result<SqliteStore, StoreError> {
        let place = connect::place(url)?;
        let deadline = options.busy_timeout.saturating_mul(2).saturating_add(MARGIN);
        bounded(StoreOp::Connect, deadline, move || SqliteStore::open_now(&place, options, deadline)).await
    }

    /// The names of the migrations that the database still lacks. Writes nothing.
    pub async fn pending_migrations(url: &str, options: SqliteOptions) -> Result<Vec<String>, StoreError> {
        let place = connect::place(url)?;
        let deadline = options.busy_timeout.saturating_mul(2).saturating_add(MARGIN);
        bounded(StoreOp::Migrate, deadline, move || {
            place.check()?;
            let lock = LockWatch::default();
            let failed = |failure: Failure| lock.report(StoreOp::Migrate, failure);
            let mut connection = connect::connect(&place, options.busy_timeout).map_err(&failed)?;
            migrations::pending(&mut connection).map_err(&failed)
        })
        .await
    }

    fn open_now(place: &Place, options: SqliteOptions, deadline: Duration) -> Result<SqliteStore, StoreError> {
        place.check()?;
        let lock = LockWatch::default();
        // The first connection is made by hand: the pool would try again and again, and tell no error kind.
        let mut first =
            connect::connect(place, options.busy_timeout).map_err(|failure| lock.report(StoreOp::Connect, failure))?;
        migrations::bring_up(&mut first, options.migrate).map_err(|failure| lock.report(StoreOp::Migrate, failure))?;
        let (pool, last) = connect::pool(place.clone(), options);
        let store = SqliteStore {
            inner: Arc::new(Inner {
                pool,
                place: place.clone(),
                busy_timeout: options.busy_timeout,
                last,
                lock,
                deadline,
                counting: Arc::new(Semaphore::new(1)),
            }),
        };
        // Kept open until the pool has a connection of its own: the last one to close folds the log into the file.
        drop(store.inner.connection(StoreOp::Connect)?);
        drop(first);
        Ok(store)
    }

    /// The baseline that the benchmarks compare a lookup with: the recorded primary by one bare SELECT through the same
    /// pool and the same blocking threads. Decides nothing, so nobody may route by it.
    ///
    /// # Errors
    /// Those of any read.
    #[cfg(feature = "bench")]
    #[doc(hidden)]
    pub async fn bare_select(&self, repository: crate::core::ids::RepositoryId) -> Result<Option<String>, StoreError> {
        let sql = "SELECT \"primary\" AS document FROM repositories WHERE repository_id = ?1";
        let statement = query::Statement::new(sql).bigint(repository.0);
        self.read(StoreOp::ElectionFacts, move |connection| query::text(connection, statement)).await
    }

    /// Runs a read: one statement, no transaction around it.
    fn read<T, F>(&self, op: StoreOp, work: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    {
        self.read_within(self.inner.deadline, op, work)
    }

    /// The same with a deadline of its own.
    fn read_within<T, F>(&self, deadline: Duration, op: StoreOp, work: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        Box::pin(bounded(op, deadline, move || {
            let mut connection = inner.connection(op)?;
            work(&mut connection.connection).map_err(|failure| inner.lock.report(op, failure))
        }))
    }

    /// Runs a write: one transaction that holds the lock from its first statement on. An error rolls it back.
    fn write<T, F>(&self, op: StoreOp, work: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        Box::pin(bounded(op, self.inner.deadline, move || {
            let mut connection = inner.connection(op)?;
            let done =
                connection.connection.immediate_transaction(work).map_err(|failure| inner.lock.report(op, failure))?;
            inner.lock.free();
            Ok(done)
        }))
    }
}

impl Inner {
    fn connection(&self, op: StoreOp) -> Result<r2d2::PooledConnection<Manager>, StoreError> {
        self.pool.get().map_err(|error| match self.last.take() {
            Some(failure) => self.lock.report(op, failure),
            // All are in use. If somebody holds the lock, that is what they wait for.
            None => self.lock.report_busy(op, error),
        })
    }
}

/// Runs blocking work off the arbiter. When the deadline passes the work is left alone: each of its own waits is
/// bounded, and whether it took effect is unknown, as the error's kind says.
async fn bounded<T, F>(op: StoreOp, deadline: Duration, work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StoreError> + Send + 'static,
{
    match tokio::time::timeout(deadline, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(join)) => Err(StoreError::with_source(op, StoreErrorKind::Other, join)),
        Err(elapsed) => Err(StoreError::with_source(op, StoreErrorKind::Timeout, elapsed)),
    }
}
