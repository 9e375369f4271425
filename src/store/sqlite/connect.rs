//! From an address to connections: what is refused before SQLite sees it, and what every connection is told first.

use super::{SqliteOptions, error::Failure, filesystem};
use crate::store::{StoreError, StoreErrorKind, StoreOp};
use diesel::{
    Connection, QueryableByName, RunQueryDsl, SqliteConnection, connection::SimpleConnection, r2d2::R2D2Connection,
    sql_types::Text,
};
use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The first bytes of every SQLite database that is not empty.
const HEADER: &[u8; 16] = b"SQLite format 3\0";
/// How often, at most, the switch to WAL is tried within one `busy_timeout`.
const WAL_PAUSE: Duration = Duration::from_millis(5);

/// Where the database is: an absolute path, so that SQLite takes it as a path and never as an address with parameters.
#[derive(Debug, Clone)]
pub(super) struct Place {
    path: PathBuf,
    text: String,
}

/// Reads an address.
pub(super) fn place(url: &str) -> Result<Place, StoreError> {
    let refused = |why: &str| StoreError::new(StoreOp::Connect, StoreErrorKind::InvalidUrl(why.to_owned()));
    let Some(rest) = url.strip_prefix("sqlite:") else {
        return Err(refused("it must be sqlite:PATH or sqlite://PATH"));
    };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() {
        return Err(refused("the path after sqlite: is missing"));
    }
    if path.starts_with(":memory:") || path.starts_with("file:") {
        return Err(refused(
            "a database in memory belongs to one connection, and several are needed; name a file (a temporary one will do)",
        ));
    }
    if path.contains(['?', '#', '\0']) {
        return Err(refused("parameters are not taken; the address must be sqlite:PATH, without ? or #"));
    }
    let absolute = std::path::absolute(path)
        .map_err(|error| StoreError::with_source(StoreOp::Connect, StoreErrorKind::DatabaseMissing, error))?;
    match absolute.to_str() {
        Some(text) => Ok(Place { text: text.to_owned(), path: absolute }),
        None => Err(refused("the path is not UTF-8")),
    }
}

/// Which file a path leads to: device and number.
type FileId = (u64, u64);

impl Place {
    /// The address of a file that must exist. SQLite decodes percent signs in it, and takes `?` and `#` for ends, which
    /// are refused before.
    fn existing(&self) -> String {
        format!("file:{}?mode=rw", self.text.replace('%', "%25"))
    }

    #[cfg(unix)]
    fn file(&self) -> Result<FileId, Failure> {
        use std::os::unix::fs::MetadataExt;
        match std::fs::metadata(&self.path) {
            Ok(found) => Ok((found.dev(), found.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Failure::Known(StoreErrorKind::DatabaseMissing, Some(error.into())))
            }
            Err(error) => Err(Failure::Known(StoreErrorKind::Unreachable, Some(error.into()))),
        }
    }
    /// Elsewhere an open file cannot be replaced.
    #[cfg(not(unix))]
    fn file(&self) -> Result<FileId, Failure> {
        Ok((0, 0))
    }

    /// What can be known before SQLite is asked, so that each cause has its own error.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let refused = |why: String| Err(StoreError::new(StoreOp::Connect, StoreErrorKind::InvalidUrl(why)));
        let folder = self.path.parent().unwrap_or(&self.path);
        if !folder.is_dir() {
            let what = std::io::Error::new(ErrorKind::NotFound, format!("there is no folder {}", folder.display()));
            return Err(StoreError::with_source(StoreOp::Connect, StoreErrorKind::DatabaseMissing, what));
        }
        if self.path.is_dir() {
            return refused(format!("{} is a folder, not a file", self.path.display()));
        }
        let existing = if self.path.exists() { self.path.as_path() } else { folder };
        if let Some(kind) = filesystem::remote(existing) {
            return refused(format!(
                "{} is on a network file system ({kind}), whose locks cannot be trusted; use a local disk, or PostgreSQL",
                self.path.display()
            ));
        }
        // The log and its index are made beside the file, so the folder must be writable, too.
        for needed in [existing, folder] {
            if let Err(error) = filesystem::writable(needed) {
                return Err(StoreError::with_source(StoreOp::Connect, StoreErrorKind::ReadOnly, error));
            }
        }
        let mut header = Vec::new();
        if let Ok(file) = File::open(&self.path) {
            let read = file.take(16).read_to_end(&mut header);
            if read.is_ok() && !header.is_empty() && header != HEADER {
                return refused(format!("{} exists, but it is no SQLite database", self.path.display()));
            }
        }
        Ok(())
    }
}

#[derive(QueryableByName)]
struct JournalMode {
    #[diesel(sql_type = Text)]
    journal_mode: String,
}

/// Opens one connection and sets it up; makes the file if it is missing.
pub(super) fn connect(place: &Place, busy_timeout: Duration) -> Result<SqliteConnection, Failure> {
    set_up(SqliteConnection::establish(&place.text)?, busy_timeout)
}

fn set_up(mut connection: SqliteConnection, busy_timeout: Duration) -> Result<SqliteConnection, Failure> {
    // First of all, so that everything after it waits its turn.
    connection.batch_execute(&format!("PRAGMA busy_timeout = {}", busy_timeout.as_millis()))?;
    write_ahead_log(&mut connection, busy_timeout)?;
    // FULL: an election that was answered must survive a power cut. NORMAL would lose the last commits.
    connection.batch_execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = OFF")?;
    Ok(connection)
}

/// Switches to WAL. On a fresh file this answers "locked" in spite of `busy_timeout` when several do it at once.
fn write_ahead_log(connection: &mut SqliteConnection, busy_timeout: Duration) -> Result<(), Failure> {
    let mut waited = Duration::ZERO;
    loop {
        match diesel::sql_query("PRAGMA journal_mode = WAL").get_result::<JournalMode>(connection) {
            Ok(mode) if mode.journal_mode == "wal" => return Ok(()),
            Ok(mode) => {
                let why = format!("the file system does not carry SQLite's log (journal mode {})", mode.journal_mode);
                return Err(Failure::Known(StoreErrorKind::InvalidUrl(why), None));
            }
            Err(error) if waited < busy_timeout && super::error::is_lock(&error) => {
                waited = waited.saturating_add(WAL_PAUSE);
                #[expect(clippy::disallowed_methods, reason = "runs on a blocking thread, never on an arbiter")]
                std::thread::sleep(WAL_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Why the pool's last connection could not be made: r2d2 itself keeps only a text.
#[derive(Debug, Clone, Default)]
pub(super) struct LastFailure(Arc<Mutex<Option<Failure>>>);

impl LastFailure {
    fn set(&self, failure: Option<Failure>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
    /// Takes it, so that an old failure does not explain a new one.
    pub(super) fn take(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl r2d2::HandleError<Failure> for LastFailure {
    fn handle_error(&self, failure: Failure) {
        self.set(Some(failure));
    }
}

/// Makes the pool's connections.
#[derive(Debug)]
pub(super) struct Manager {
    place: Place,
    busy_timeout: Duration,
    last: LastFailure,
}

/// A connection, and which file it is to.
pub(super) struct Held {
    pub(super) connection: SqliteConnection,
    file: FileId,
}

impl Held {
    /// Never makes the file: if it has gone, an empty one in its place would look like a cluster that never was.
    pub(super) fn open(place: &Place, busy_timeout: Duration) -> Result<Held, Failure> {
        let file = place.file()?;
        Ok(Held { connection: set_up(SqliteConnection::establish(&place.existing())?, busy_timeout)?, file })
    }

    /// An open file does not go stale, but it can be replaced: a supervisor that went on with the old one would vote in
    /// a cluster of its own, and SQLite would not say so.
    pub(super) fn is_current(&self, place: &Place) -> Result<(), Failure> {
        if place.file()? == self.file {
            return Ok(());
        }
        Err(Failure::Known(StoreErrorKind::ConnectionLost, Some("the database file was replaced".into())))
    }
}

impl r2d2::ManageConnection for Manager {
    type Connection = Held;
    type Error = Failure;

    fn connect(&self) -> Result<Held, Failure> {
        let held = Held::open(&self.place, self.busy_timeout)?;
        self.last.set(None);
        Ok(held)
    }
    fn is_valid(&self, held: &mut Held) -> Result<(), Failure> {
        held.is_current(&self.place)
    }
    fn has_broken(&self, held: &mut Held) -> bool {
        std::thread::panicking() || held.connection.is_broken()
    }
}

/// A pool whose connections are made when they are first needed, one excepted.
pub(super) fn pool(place: Place, options: SqliteOptions) -> (r2d2::Pool<Manager>, LastFailure) {
    let last = LastFailure::default();
    let manager = Manager { place, busy_timeout: options.busy_timeout, last: last.clone() };
    let pool = r2d2::Pool::builder()
        .max_size(options.pool_size.max(1))
        .min_idle(Some(1))
        // One `stat`; nothing is closed for its age.
        .test_on_check_out(true)
        .max_lifetime(None)
        .idle_timeout(None)
        .connection_timeout(options.busy_timeout.saturating_add(Duration::from_millis(500)))
        .error_handler(Box::new(last.clone()))
        .build_unchecked(manager);
    (pool, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(QueryableByName)]
    struct Synchronous {
        #[diesel(sql_type = diesel::sql_types::Integer)]
        synchronous: i32,
    }

    /// Whatever SQLite was built with.
    #[test]
    fn an_answered_commit_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = SqliteConnection::establish(folder.path().join("x.db").to_str().unwrap()).unwrap();
        connection.batch_execute("PRAGMA synchronous = OFF").unwrap();
        let mut connection = set_up(connection, Duration::from_secs(1)).unwrap();
        let found: Synchronous = diesel::sql_query("PRAGMA synchronous").get_result(&mut connection).unwrap();
        assert_eq!(found.synchronous, 2, "2 is FULL");
    }
}
