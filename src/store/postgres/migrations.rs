//! Bringing the schema up to date, by any number of supervisors at once.
//!
//! diesel takes no lock around migrations: eight processes that start together would trip over each other's tables. An
//! advisory lock with a bounded wait makes one do the work and the others find it done. The harness is synchronous and
//! runs on a blocking thread, for diesel-async's own one uses `block_in_place`, which panics inside an actix system.
//! What must stay true of a database is asked before anything is written: with `migrate: false` nothing is.

use super::{
    PostgresOptions, adopt,
    connect::{Address, Session},
    errors,
};
use crate::store::{StoreError, StoreErrorKind, StoreOp, statement::Document, statement::Statement};
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel_async::{AsyncPgConnection, RunQueryDsl, async_connection_wrapper::AsyncConnectionWrapper};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::{collections::BTreeSet, time::Duration};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// Until this one has run, whatever is there was made by somebody else.
const FIRST: &str = "2026-11-23-000001_praefect";
/// How long one step, or the wait for a neighbour's migration, may take.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(180);

/// What is known here and what the database has.
struct Standing {
    outstanding: Vec<String>,
    unknown: Vec<String>,
}

/// Checks the schema, and brings it up to date if that is allowed.
pub(super) async fn settle(address: &Address, options: &PostgresOptions) -> Result<(), StoreError> {
    let patient = PostgresOptions { statement_timeout: STEP_LIMIT, lock_timeout: STEP_LIMIT, ..options.clone() };
    let work = async {
        let mut session = address.establish(&patient).await?;
        let standing = stand(&mut session).await?;
        if !standing.unknown.is_empty() {
            return Err(StoreError::new(StoreOp::Migrate, StoreErrorKind::NewerSchema(standing.unknown)));
        }
        if standing.outstanding.is_empty() {
            return Ok(());
        }
        if !options.migrate {
            return Err(StoreError::new(StoreOp::Migrate, StoreErrorKind::NotMigrated(standing.outstanding)));
        }
        // Held by the session, and so until it ends, whatever happens.
        ask(&mut session, Statement::new("SELECT pg_advisory_lock(8175111497113)::text AS document")).await?;
        // The neighbour that was waited for may have done it all.
        if stand(&mut session).await?.outstanding.contains(&FIRST.to_owned()) {
            adopt::check(&mut session).await?;
        }
        run(session).await
    };
    match tokio::time::timeout(LIMIT, work).await {
        Ok(done) => done,
        Err(elapsed) => Err(StoreError::with_source(StoreOp::Migrate, StoreErrorKind::Timeout, elapsed)),
    }
}

async fn run(session: Session) -> Result<(), StoreError> {
    let Session { connection, noted, driver: _driver } = session;
    let ran = tokio::task::spawn_blocking(move || {
        let mut wrapped = AsyncConnectionWrapper::<AsyncPgConnection>::from(connection);
        wrapped.run_pending_migrations(MIGRATIONS).map(|_| ())
    });
    match ran.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let kind = noted.take().map_or(StoreErrorKind::Other, errors::kind_of);
            Err(StoreError::with_source(StoreOp::Migrate, kind, error))
        }
        Err(panicked) => Err(StoreError::with_source(StoreOp::Migrate, StoreErrorKind::Other, panicked)),
    }
}

async fn stand(session: &mut Session) -> Result<Standing, StoreError> {
    let failed = |error| StoreError::with_source(StoreOp::Migrate, StoreErrorKind::Other, error);
    // Names only: a migration itself cannot be held over an await.
    let known: Vec<(String, String)> = MigrationSource::<Pg>::migrations(&MIGRATIONS)
        .map_err(failed)?
        .iter()
        .map(|known| (known.name().version().to_string(), known.name().to_string()))
        .collect();
    let book = Statement::new("SELECT to_regclass('__diesel_schema_migrations')::text AS document");
    let applied: BTreeSet<String> = match ask(session, book).await? {
        None => BTreeSet::new(),
        Some(_) => {
            let listed = Statement::new(
                "SELECT coalesce(json_agg(version), '[]')::text AS document FROM __diesel_schema_migrations",
            );
            let listed = ask(session, listed).await?.unwrap_or_default();
            crate::store::rows::decode(StoreOp::Migrate, &listed)?
        }
    };
    let versions: BTreeSet<String> = known.iter().map(|(version, _)| version.clone()).collect();
    let outstanding =
        known.into_iter().filter(|(version, _)| !applied.contains(version)).map(|(_, name)| name).collect();
    Ok(Standing { outstanding, unknown: applied.difference(&versions).cloned().collect() })
}

pub(super) async fn ask(session: &mut Session, statement: Statement) -> Result<Option<String>, StoreError> {
    let answer: Result<Document, _> = statement.get_result(&mut session.connection).await;
    match answer {
        Ok(row) => Ok(row.document),
        Err(error) => {
            let (noted, closed) = (session.noted.take(), session.is_closed());
            Err(errors::of_query(StoreOp::Migrate, error, noted, closed))
        }
    }
}
