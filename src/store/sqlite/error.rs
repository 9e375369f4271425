//! From SQLite's errors to the port's.
//!
//! diesel 2.3 keeps SQLite's result code only for constraint violations; of all others it hands out the text alone,
//! and no way to ask the connection (this crate forbids unsafe code, and the code is behind a raw pointer). So the
//! texts are turned back into codes, here and nowhere else. They are not free prose: SQLite takes them from one table,
//! a constant per code, and SQLite itself is compiled into this crate. A test asks SQLite for each.

use crate::store::{StoreError, StoreErrorKind, StoreOp};
use diesel::result::{ConnectionError, Error as DieselError};
use libsqlite3_sys as ffi;
use std::{
    error::Error,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// What can go wrong inside an operation.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite answered an error to a statement.
    Statement(DieselError),
    /// SQLite could not open the file.
    Open(ConnectionError),
    /// The kind is known already.
    Known(StoreErrorKind, Option<Box<dyn Error + Send + Sync>>),
    /// The error is complete already.
    Store(StoreError),
}

impl From<DieselError> for Failure {
    fn from(error: DieselError) -> Self {
        Failure::Statement(error)
    }
}
impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        Failure::Open(error)
    }
}
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Statement(error) => error.fmt(f),
            Failure::Open(error) => error.fmt(f),
            Failure::Known(kind, _) => write!(f, "{kind:?}"),
            Failure::Store(error) => error.fmt(f),
        }
    }
}
impl Error for Failure {}

/// Since when somebody else has held the lock, as far as this store has seen.
#[derive(Debug, Default)]
pub(super) struct LockWatch {
    since: Mutex<Option<Instant>>,
}

impl LockWatch {
    /// A write got the lock.
    pub(super) fn free(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The port's error for a failure. A lock is noted, and the error says how long it has been in the way.
    pub(super) fn report(&self, op: StoreOp, failure: Failure) -> StoreError {
        let (kind, source): (StoreErrorKind, Box<dyn Error + Send + Sync>) = match failure {
            Failure::Store(error) => return error,
            Failure::Known(kind, Some(source)) => (kind, source),
            Failure::Known(kind, None) => return StoreError::new(op, kind),
            Failure::Statement(error) => (statement_kind(&error), Box::new(error)),
            Failure::Open(error) => (open_kind(&error), Box::new(error)),
        };
        if kind == StoreErrorKind::Locked {
            return self.locked(op, source);
        }
        StoreError::with_source(op, kind, source)
    }

    /// The port's error when no connection became free in time.
    pub(super) fn report_busy(&self, op: StoreOp, error: r2d2::Error) -> StoreError {
        let somebody_holds_it = self.since.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if somebody_holds_it {
            return self.locked(op, Box::new(error));
        }
        StoreError::with_source(op, StoreErrorKind::Timeout, error)
    }

    fn locked(&self, op: StoreOp, cause: Box<dyn Error + Send + Sync>) -> StoreError {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        StoreError::with_source(op, StoreErrorKind::Locked, LockedSince { seen_for: since.elapsed(), cause })
    }
}

/// The cause of [`StoreErrorKind::Locked`].
#[derive(Debug)]
struct LockedSince {
    seen_for: Duration,
    cause: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for LockedSince {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "locked since {:.1} s ago, when a write first waited in vain: {}",
            self.seen_for.as_secs_f64(),
            self.cause
        )
    }
}
impl Error for LockedSince {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}

/// Whether a statement failed because somebody else holds a lock.
pub(super) fn is_lock(error: &DieselError) -> bool {
    statement_kind(error) == StoreErrorKind::Locked
}

fn statement_kind(error: &DieselError) -> StoreErrorKind {
    let DieselError::DatabaseError(_, information) = error else { return StoreErrorKind::Other };
    kind_of_text(information.message())
}

fn open_kind(error: &ConnectionError) -> StoreErrorKind {
    let ConnectionError::BadConnection(text) = error else { return StoreErrorKind::Other };
    // While opening, diesel takes the text from the bindings' table; that can be asked.
    if text == ffi::code_to_str(ffi::SQLITE_CANTOPEN) {
        StoreErrorKind::Unreachable
    } else if text == ffi::code_to_str(ffi::SQLITE_BUSY) {
        StoreErrorKind::Locked
    } else {
        StoreErrorKind::Other
    }
}

/// SQLite's own text for a result code (`sqlite3_errstr`), turned back into what the code means here.
fn kind_of_text(text: &str) -> StoreErrorKind {
    match text {
        // SQLITE_BUSY, SQLITE_LOCKED, SQLITE_PROTOCOL (the log's locks were contended for too long)
        "database is locked" | "database table is locked" | "locking protocol" => StoreErrorKind::Locked,
        // SQLITE_READONLY
        "attempt to write a readonly database" => StoreErrorKind::ReadOnly,
        // SQLITE_CANTOPEN: the file or its log cannot be opened any more
        "unable to open database file" => StoreErrorKind::Unreachable,
        // SQLITE_NOTADB
        "file is not a database" => {
            StoreErrorKind::InvalidUrl("the file exists, but it is no SQLite database".to_owned())
        }
        _ => StoreErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diesel::{Connection, SqliteConnection, connection::SimpleConnection};

    fn text(result: diesel::QueryResult<()>) -> StoreErrorKind {
        statement_kind(&result.unwrap_err())
    }

    #[test]
    fn sqlite_says_what_is_expected_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let path = path.to_str().unwrap();
        let mut one = SqliteConnection::establish(path).unwrap();
        let mut two = SqliteConnection::establish(path).unwrap();
        one.batch_execute("PRAGMA journal_mode=WAL; CREATE TABLE t(x); BEGIN IMMEDIATE").unwrap();
        assert_eq!(text(two.batch_execute("BEGIN IMMEDIATE")), StoreErrorKind::Locked);
        two.batch_execute("PRAGMA query_only=1").unwrap();
        assert_eq!(text(two.batch_execute("INSERT INTO t VALUES (1)")), StoreErrorKind::ReadOnly);
        assert_eq!(text(two.batch_execute("NONSENSE")), StoreErrorKind::Other);
        let junk = folder.path().join("junk.db");
        std::fs::write(&junk, "x".repeat(4096)).unwrap();
        let mut three = SqliteConnection::establish(junk.to_str().unwrap()).unwrap();
        let kind = text(three.batch_execute("SELECT * FROM sqlite_master"));
        assert!(matches!(kind, StoreErrorKind::InvalidUrl(_)), "{kind:?}");
        let nowhere = SqliteConnection::establish("/nowhere/at/all.db").map(drop).unwrap_err();
        assert_eq!(open_kind(&nowhere), StoreErrorKind::Unreachable);
    }
}
