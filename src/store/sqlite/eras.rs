//! The life of the file: which era it is in, and how far its epochs have come.

use super::{
    error::Failure,
    query::{Notice, Statement, document, execute, notice, now},
};
use crate::{
    core::epoch::{Epoch, Era},
    store::StoreOp,
};
use diesel::SqliteConnection;

/// The era in force, and the last number given. A file has no timeline, by which a copy of it could be told from the file.
pub(super) const GIVEN: &str = "SELECT json_object('era', COALESCE((SELECT MAX(era) FROM eras), 1), 'number', value) \
                                AS document FROM counters WHERE name = 'primary_epochs'";

/// A new era, unless somebody began one since the caller looked. Answers the one in force.
pub(super) fn raise(
    connection: &mut SqliteConnection,
    seen: Era,
    reported: Option<Epoch>,
    why: &str,
) -> Result<Era, Failure> {
    let insert = Statement::new(concat!(
        "INSERT INTO eras (era, since, reason) SELECT max(?1 + 1, ?2 + 1, ",
        now!(),
        " / 60000 - unixepoch('2026-01-01') / 60), ",
        now!(),
        ", ?3 WHERE COALESCE((SELECT MAX(era) FROM eras), 1) = ?1"
    ));
    let insert = insert.bigint(seen.0).bigint(reported.map_or(0, |reported| reported.era().0)).text(why);
    if execute(connection, insert)? > 0 {
        notice(connection, Notice::Primaries, "{}".to_owned())?;
    }
    let read = "SELECT CAST(COALESCE(MAX(era), 1) AS TEXT) AS document FROM eras";
    document(connection, StoreOp::EraRaise, Statement::new(read))
}
