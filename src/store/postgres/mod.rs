//! The PostgreSQL store.
//!
//! Every operation is one round trip and one transaction: a read is one SELECT that builds the JSON document decoded in
//! `store::rows` (the facts of an election, read by every lookup, are columns: see `facts`), a write is one call of a
//! function of the migrations, or one statement that does all of it. So there is no transaction of ours that could stay
//! open while its supervisor is frozen, and a pool in front of the server that works by transactions does no harm.
//!
//! Three deadlines stand around each: the server's `statement_timeout` and `lock_timeout`, which end the work itself, and
//! slightly above them one here, for a server that has gone silent. A session whose statement nobody waited for, or whose
//! connection ended, does not return to the pool. The pool is deadpool; recycling asks the server nothing.

mod adopt;
mod census;
mod connect;
mod election;
mod errors;
mod facts;
mod feed;
mod health;
mod incumbent;
mod listener;
mod migrations;
mod repositories;
mod settling;
mod shards;
mod views;
mod wire;

use super::{COUNT_LIMIT, StoreError, StoreErrorKind, StoreOp, rows, statement::Document, statement::Statement};
use connect::{Address, Session};
use deadpool::managed::{self, Manager, Metrics, Object, PoolError, RecycleError, RecycleResult};
use diesel::{deserialize::FromSqlRow, pg::Pg, sql_types::Untyped};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// How much longer than the server an operation waits here before it gives the server up.
const MARGIN: Duration = Duration::from_millis(500);
/// A transaction that its session has forgotten is ended by the server after this long (D28).
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(1);

/// Connections of their own for being a voter: a heartbeat or registration, a write of votes and a read of them may be
/// under way at once. However many lookups wait, nobody lapses behind them.
const RESERVED: usize = 3;

/// Word of elections to the listeners.
const TELL: &str =
    "SELECT pg_notify('quorate_primaries', word)::text AS document FROM json_array_elements_text($1::json) word";

/// What became of an election, and what the listeners are to be told of it.
#[derive(serde::Deserialize)]
struct Elected<T> {
    #[serde(flatten)]
    outcome: T,
    #[serde(default)]
    tell: Vec<String>,
}

/// How a store connects. What cannot be right (a zero) is raised to the least that can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// The most connections held at once, at least 1, for elections and repositories. Each operation needs one for one
    /// round trip. Settings, registrations, heartbeats and votes have up to 3 more of their own.
    pub pool_size: usize,
    /// How long to wait for one host to let us in.
    pub connect_timeout: Duration,
    /// The server ends a statement of ours that runs for longer.
    pub statement_timeout: Duration,
    /// The server ends a count of all repositories that runs for longer; 1 ms to 1 h. It reads every repository, so it may
    /// take longer than anything that somebody waits for to route by. Default [`COUNT_LIMIT`], which is also how long a
    /// [`Supervisor`](crate::Supervisor) waits.
    pub count_timeout: Duration,
    /// The server ends a statement of ours that waits for a lock for longer. Below `statement_timeout`, or a lock held
    /// by others is reported as a timeout.
    pub lock_timeout: Duration,
    /// Whether the schema may be brought up to date; else an outdated one is an error.
    pub migrate: bool,
    /// Whether to LISTEN, on the session's address of [`PostgresStore::connect_through`]. Where that leads through a pooler
    /// that hands out transactions nobody hears it: changes are polled instead. Default true.
    pub listen: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            pool_size: 8,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(2),
            count_timeout: COUNT_LIMIT,
            lock_timeout: Duration::from_secs(1),
            migrate: true,
            listen: true,
        }
    }
}

impl PostgresOptions {
    /// What is set on every connection, as SQL. `random_page_cost` says that what a supervisor reads is in memory: at the
    /// server's default, made for turning disks, the planner reads all votes of the virtual storage instead of looking up
    /// those of a repository's nodes. Whoever opens a session beside the store's (a listener, a tool) and may
    /// lock rows in it sets the same, or a frozen process holds everybody up.
    #[must_use]
    pub fn session_settings(&self) -> String {
        format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SET synchronous_commit = on; SET random_page_cost = 1.1",
            millis(self.statement_timeout),
            millis(self.lock_timeout),
            millis(IDLE_IN_TRANSACTION),
        )
    }
}

/// A limit as the server takes it. None is 0, which would be no limit at all.
fn millis(limit: Duration) -> u128 {
    limit.as_millis().clamp(1, 3_600_000)
}

/// Opens and keeps sessions.
struct Sessions {
    address: Address,
    options: PostgresOptions,
}

impl Manager for Sessions {
    type Type = Session;
    type Error = StoreError;

    async fn create(&self) -> Result<Session, StoreError> {
        self.address.establish(&self.options).await
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<StoreError> {
        if session.driver.in_use || session.is_closed() {
            return Err(RecycleError::message("nobody waited for its last statement, or it has ended"));
        }
        Ok(())
    }
}

/// All four ports over a PostgreSQL database. A clone is the same store.
#[derive(Clone)]
pub struct PostgresStore {
    pool: managed::Pool<Sessions>,
    reserved: managed::Pool<Sessions>,
    /// Where a connection is a session of ours: a listener's must be.
    session: Address,
    /// Whether the last facts were read under policy `half`, whose statement says more. A guess costs one more read.
    counts_members: Arc<AtomicBool>,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.pool.status();
        f.debug_struct("PostgresStore").field("size", &status.size).field("available", &status.available).finish()
    }
}

impl PostgresStore {
    /// Connects, checks server and schema, and migrates if the options allow it.
    ///
    /// The URL is `postgres://user:password@host:port/database`; several hosts may be named, separated by commas: the
    /// first writable one is taken. Unix sockets are `postgres://user@%2Frun%2Fpostgresql/database`.
    ///
    /// # Errors
    /// `InvalidUrl`, `Unreachable`, `Authentication`, `DatabaseMissing`, `TooOld` (below 14), `ReadOnly`, `NotMigrated`,
    /// `NewerSchema`, `SchemaDiffers`. No error quotes the URL.
    pub async fn connect(url: &str, options: PostgresOptions) -> Result<PostgresStore, StoreError> {
        Self::connect_through(url, url, options).await
    }

    /// Connects by `url`, which may lead through a pooler that works by transactions, and by `session` for what needs a
    /// session of its own: LISTEN is heard by nobody there, and a migration's lock would stay behind in the pooler's, and hold up whoever gets it next.
    ///
    /// # Errors
    /// As `connect`.
    pub async fn connect_through(
        url: &str,
        session: &str,
        options: PostgresOptions,
    ) -> Result<PostgresStore, StoreError> {
        let (address, session) = (Address::parse(url)?, Address::parse(session)?);
        migrations::settle(&session, &options).await?;
        let size = options.pool_size.max(1);
        let pool = |size| {
            managed::Pool::builder(Sessions { address: address.clone(), options: options.clone() })
                .max_size(size)
                // The connection used last: its statements are prepared, its functions planned.
                .queue_mode(managed::QueueMode::Lifo)
                .build()
                .map_err(|error| StoreError::with_source(StoreOp::Connect, StoreErrorKind::Other, error))
        };
        Ok(PostgresStore { pool: pool(size)?, reserved: pool(RESERVED)?, session, counts_members: Arc::default() })
    }

    /// Closes all connections. Operations that run are finished, later ones answer `ConnectionLost`.
    pub fn disconnect(&self) {
        self.pool.close();
        self.reserved.close();
    }

    /// The pool whose connections an operation may use.
    fn pool_of(&self, op: StoreOp) -> &managed::Pool<Sessions> {
        match op {
            StoreOp::SettingsSeed
            | StoreOp::SettingsUpdate
            | StoreOp::SupervisorRegister
            | StoreOp::SupervisorHeartbeat
            | StoreOp::SupervisorRemove
            | StoreOp::SupervisorRecuse
            | StoreOp::PenaltyRaise
            | StoreOp::PenaltyLift
            | StoreOp::NodesWatch
            | StoreOp::VotesWrite
            | StoreOp::EpochsGiven
            | StoreOp::EraRaise
            | StoreOp::SuspicionTell
            | StoreOp::HealthFacts => &self.reserved,
            StoreOp::Connect
            | StoreOp::Migrate
            | StoreOp::ElectionFacts
            | StoreOp::PrimaryCas
            | StoreOp::PrimaryHistory
            | StoreOp::SettleFacts
            | StoreOp::SettleCas
            | StoreOp::ShardFacts
            | StoreOp::ShardCas
            | StoreOp::ShardHistory
            | StoreOp::RepositoryCreate
            | StoreOp::RepositoryDelete
            | StoreOp::RepositoryRename
            | StoreOp::GenerationIncrement
            | StoreOp::GenerationSet
            | StoreOp::ReplicaMark
            | StoreOp::ReplicaDelete
            | StoreOp::AuthoritativeSet
            | StoreOp::AssignmentsReplace
            | StoreOp::StorageUpdate
            | StoreOp::RepositoriesCount
            | StoreOp::UpToDate
            | StoreOp::ChangesListen
            | StoreOp::ChangesSince => &self.pool,
        }
    }

    /// A session of the pool. The wait has a deadline: a slot is free at the latest when every statement has timed out.
    async fn session(&self, op: StoreOp) -> Result<Object<Sessions>, StoreError> {
        let options = &self.pool.manager().options;
        let limit = options.connect_timeout.saturating_add(options.statement_timeout).saturating_add(MARGIN);
        match tokio::time::timeout(limit, self.pool_of(op).get()).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(PoolError::Backend(error))) => Err(StoreError::with_source(op, error.kind().clone(), error)),
            Ok(Err(error)) => Err(StoreError::with_source(op, StoreErrorKind::ConnectionLost, error)),
            Err(elapsed) => Err(StoreError::with_source(op, StoreErrorKind::Timeout, elapsed)),
        }
    }

    /// The baseline that the benchmarks compare a lookup with: the recorded primary by one bare SELECT through the same
    /// pool, with none of the deadlines and checks of an operation. Decides nothing, so nobody may route by it.
    ///
    /// # Errors
    /// Those of any read.
    #[cfg(feature = "bench")]
    #[doc(hidden)]
    pub async fn bare_select(&self, repository: crate::core::ids::RepositoryId) -> Result<Option<String>, StoreError> {
        let op = StoreOp::ElectionFacts;
        let lost = |error| StoreError::with_source(op, StoreErrorKind::ConnectionLost, error);
        let mut session = self.pool.get().await.map_err(lost)?;
        let statement = Statement::new("SELECT \"primary\" AS document FROM repositories WHERE repository_id = $1");
        let rows = statement.bigint(repository.0).load::<Document>(&mut session.connection).await;
        let rows = rows.map_err(|error| StoreError::with_source(op, StoreErrorKind::Other, error))?;
        Ok(rows.into_iter().next().and_then(|row| row.document))
    }

    /// Sends one statement and returns the document of its row; `None` if it had no row, or an empty one.
    async fn ask(&self, op: StoreOp, statement: Statement) -> Result<Option<String>, StoreError> {
        let row: Option<Document> = self.first(op, statement).await?;
        Ok(row.and_then(|row| row.document))
    }

    /// Sends one statement and returns its first row.
    async fn first<T>(&self, op: StoreOp, statement: Statement) -> Result<Option<T>, StoreError>
    where
        T: FromSqlRow<Untyped, Pg> + Send + 'static,
    {
        let limit = self.pool.manager().options.statement_timeout.saturating_add(MARGIN);
        let mut session = self.session(op).await?;
        session.driver.in_use = true;
        session.noted.take();
        let rows = statement.load::<T>(&mut session.connection);
        let rows = match tokio::time::timeout(limit, rows).await {
            Ok(rows) => rows,
            // Still marked as in use: the pool throws the session away.
            Err(elapsed) => return Err(StoreError::with_source(op, StoreErrorKind::Timeout, elapsed)),
        };
        match rows {
            Ok(rows) => {
                session.driver.in_use = false;
                Ok(rows.into_iter().next())
            }
            Err(error) => {
                let (noted, closed) = (session.noted.take(), session.is_closed());
                let error = errors::of_query(op, error, noted, closed);
                // A read-only server may have a writable successor elsewhere: connect anew rather than stay.
                session.driver.in_use =
                    matches!(error.kind(), StoreErrorKind::ConnectionLost | StoreErrorKind::ReadOnly);
                if session.driver.in_use {
                    drop(Object::take(session));
                }
                Err(error)
            }
        }
    }

    /// The document of a statement that has a limit of its own. What sets it ends with its transaction, whoever has the
    /// session next; one that did not come to its end is thrown away, and the server rolls it back.
    async fn patiently(&self, op: StoreOp, limit: Duration, statement: Statement) -> Result<String, StoreError> {
        let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {}", millis(limit));
        let mut session = self.session(op).await?;
        session.driver.in_use = true;
        session.noted.take();
        let connection = &mut session.connection;
        let counted = async {
            connection.batch_execute(&begin).await?;
            let rows = statement.load::<Document>(connection).await?;
            connection.batch_execute("COMMIT").await?;
            Ok::<_, diesel::result::Error>(rows)
        };
        let counted = tokio::time::timeout(limit.saturating_add(MARGIN), counted).await;
        match counted.map_err(|elapsed| StoreError::with_source(op, StoreErrorKind::Timeout, elapsed))? {
            Ok(rows) => {
                session.driver.in_use = false;
                rows.into_iter().next().and_then(|row| row.document).ok_or_else(|| missing(op))
            }
            Err(error) => {
                let (noted, closed) = (session.noted.take(), session.is_closed());
                drop(Object::take(session));
                Err(errors::of_query(op, error, noted, closed))
            }
        }
    }

    /// Sends one statement that must answer, and decodes the answer.
    async fn document<T: serde::de::DeserializeOwned>(
        &self,
        op: StoreOp,
        statement: Statement,
    ) -> Result<T, StoreError> {
        rows::decode(op, &self.answer(op, statement).await?)
    }

    /// Sends an election, and once it is committed tells the listeners of it. That waits for no disk, so NOTIFY's lock is
    /// held for no time; and whoever elected does not wait for it. It may fail: whoever does not hear it reads it at their next
    /// check. Each word follows an election, which needs a session of the same pool, so there are never many on their way.
    async fn elected<T: serde::de::DeserializeOwned>(&self, op: StoreOp, election: Statement) -> Result<T, StoreError> {
        let Elected { outcome, tell } = self.document(op, election).await?;
        if let (false, Ok(words)) = (tell.is_empty(), json(op, &tell)) {
            let store = self.clone();
            tokio::spawn(async move {
                let _ = store.ask(op, Statement::new(TELL).text(words)).await;
            });
        }
        Ok(outcome)
    }

    /// The document of a statement that always has one.
    async fn answer(&self, op: StoreOp, statement: Statement) -> Result<String, StoreError> {
        self.ask(op, statement).await?.ok_or_else(|| missing(op))
    }
}

fn missing(op: StoreOp) -> StoreError {
    StoreError::new(op, StoreErrorKind::BadRow("the database answered nothing".to_owned()))
}

/// A list or an object as a parameter. Only types of ours come here, whose maps have text for keys.
fn json<T: serde::Serialize + ?Sized>(op: StoreOp, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::with_source(op, StoreErrorKind::Other, error))
}
