//! Bringing a database to this software's schema, or saying what keeps it from there.
//!
//! diesel's migrations take no lock: several processes that start at once on a fresh file would each run them. So all
//! of them run inside one immediate transaction, and what is outstanding is read again once the lock is held. A
//! database that lacks nothing is only read.

use super::{
    error::Failure,
    query::{Statement, document},
};
use crate::store::{StoreErrorKind, StoreOp};
use diesel::{SqliteConnection, migration::Migration, migration::MigrationSource, sqlite::Sqlite};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::collections::BTreeSet;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Runs what is outstanding, or refuses to.
pub(super) fn bring_up(connection: &mut SqliteConnection, migrate: bool) -> Result<(), Failure> {
    let outstanding = pending(connection)?;
    if outstanding.is_empty() {
        return Ok(());
    }
    if !migrate {
        return Err(Failure::Known(StoreErrorKind::NotMigrated(outstanding), None));
    }
    connection.immediate_transaction(|connection| {
        // Another process may have been first, and may have been a newer version.
        if !pending(connection)?.is_empty() {
            connection
                .run_pending_migrations(MIGRATIONS)
                .map_err(|error| Failure::Known(StoreErrorKind::Other, Some(error)))?;
        }
        Ok(())
    })
}

/// The names of the embedded migrations that the database lacks. An unknown one that it has is an error.
pub(super) fn pending(connection: &mut SqliteConnection) -> Result<Vec<String>, Failure> {
    let failed = |error| Failure::Known(StoreErrorKind::Other, Some(error));
    let embedded: Vec<Box<dyn Migration<Sqlite>>> = MIGRATIONS.migrations().map_err(failed)?;
    let known: BTreeSet<String> = embedded.iter().map(|migration| migration.name().version().to_string()).collect();
    let applied = applied(connection)?;
    let unknown: Vec<String> = applied.difference(&known).cloned().collect();
    if !unknown.is_empty() {
        return Err(Failure::Known(StoreErrorKind::NewerSchema(unknown), None));
    }
    let lacking = embedded.iter().filter(|migration| !applied.contains(&migration.name().version().to_string()));
    let mut names: Vec<String> = lacking.map(|migration| migration.name().to_string()).collect();
    names.sort();
    Ok(names)
}

/// What was applied. diesel would make its table to find out, which is a write.
fn applied(connection: &mut SqliteConnection) -> Result<BTreeSet<String>, Failure> {
    let table: BTreeSet<String> = document(
        connection,
        StoreOp::Migrate,
        Statement::new(
            "SELECT json_group_array(name) AS document FROM sqlite_master WHERE name = '__diesel_schema_migrations'",
        ),
    )?;
    if table.is_empty() {
        return Ok(table);
    }
    let all = "SELECT json_group_array(version) AS document FROM __diesel_schema_migrations";
    document(connection, StoreOp::Migrate, Statement::new(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use diesel::Connection;

    #[test]
    fn every_migration_can_be_taken_back_and_run_again() {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        // Each object as it was made; what a change of a table made of it is part of that text.
        let all = "SELECT json_group_array(sql) AS document FROM (SELECT sql FROM sqlite_master \
                   WHERE name NOT LIKE 'sqlite_%' AND name NOT LIKE '__diesel%' AND sql IS NOT NULL ORDER BY sql)";
        let schema = |connection: &mut SqliteConnection| -> Vec<String> {
            document(connection, StoreOp::Migrate, Statement::new(all)).unwrap()
        };
        bring_up(&mut connection, true).unwrap();
        let whole = schema(&mut connection);
        let mut stood = vec![whole.clone()];
        while connection.revert_last_migration(MIGRATIONS).is_ok() {
            stood.push(schema(&mut connection));
        }
        assert_eq!(stood.pop().unwrap(), Vec::<String>::new(), "nothing is left");
        while let Some(wanted) = stood.pop() {
            connection.run_next_migration(MIGRATIONS).unwrap();
            assert_eq!(schema(&mut connection), wanted, "it ran again");
        }
        assert_eq!(schema(&mut connection), whole);
        assert_eq!(pending(&mut connection).unwrap(), Vec::<String>::new());
    }
}
