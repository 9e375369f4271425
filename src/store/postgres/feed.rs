//! Who is up to date, and the table that pollers read.
//!
//! Ids of `changes` commit out of order, so a position is a snapshot: what it did not see is new, whatever its id. It names
//! the server and its timeline too, for the transaction numbers of a promoted standby are not those of the server before.

use super::{PostgresStore, listener};
use crate::store::{
    Answer, ChangeFeed, FeedPosition, Listener, Polled, StoreError, StoreErrorKind, StoreOp, Target, UpToDate,
    feed::{CHANGES_MAX, PolledDoc},
    rows,
    statement::Statement,
};
use serde::{Deserialize, Serialize};

macro_rules! up_to_date {
    ($found:literal) => {
        concat!(
            "SELECT json_build_object('repository', r.repository_id, 'virtual_storage', r.virtual_storage, \
             'relative_path', r.relative_path, 'replica_path', r.replica_path, 'storages', coalesce((\
             SELECT json_agg(s.storage) FROM storage_repositories s \
             WHERE s.repository_id = r.repository_id AND s.generation = r.generation), '[]'::json))::text AS document \
             FROM repositories r WHERE ",
            $found
        )
    };
}

/// A snapshot of one server on one timeline.
#[derive(Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) snapshot: String,
    pub(super) server: String,
    pub(super) line: String,
}

impl FeedPosition {
    pub(super) fn read(&self) -> Result<Position, StoreError> {
        rows::decode(StoreOp::ChangesSince, &self.0)
    }
}

/// Where a poller begins. Functions of the migrations run in the same snapshot as the rest of the statement.
pub(super) const BEGIN: &str = "\
SELECT json_build_object('reset', false, 'changes', '[]'::json, 'position', json_build_object(
    'snapshot', pg_current_snapshot()::text, 'server', here.server_id, 'line', here.line)::text)::text AS document
FROM quorate_server() here";

/// Lines that the snapshot `$1` did not see, of kind `$5` or of all. Those before its xmin it has seen all; lines are kept for an hour, so that a
/// transaction that was still running then is not cleared away unread unless the poller was away for as long.
pub(super) const SINCE: &str = "\
SELECT json_build_object('reset', here.server_id <> $2 OR here.line <> $3, 'position', json_build_object(
    'snapshot', pg_current_snapshot()::text, 'server', here.server_id, 'line', here.line)::text,
    'changes', coalesce((SELECT json_agg(json_build_object('kind', c.kind, 'key', c.key, 'id', c.id)) FROM (
        SELECT kind, key, id FROM changes
        WHERE xid >= pg_snapshot_xmin($1::pg_snapshot) AND NOT pg_visible_in_snapshot(xid, $1::pg_snapshot)
          AND kind = coalesce($5, kind)
        LIMIT $4) c), '[]'::json))::text AS document
FROM quorate_server() here";

impl ChangeFeed for PostgresStore {
    fn up_to_date<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<UpToDate>> {
        let read = match target {
            Target::Id(id) => Statement::new(up_to_date!("r.repository_id = $1")).bigint(id.0),
            Target::Path(virtual_storage, path) => {
                let found = up_to_date!("r.virtual_storage = $1 AND r.relative_path = $2");
                Statement::new(found).text(virtual_storage.as_str()).text(path.as_str())
            }
        };
        Box::pin(async move {
            let op = StoreOp::UpToDate;
            self.ask(op, read).await?.map(|json| rows::decode(op, &json)).transpose()
        })
    }

    fn listen(&self) -> Answer<'_, Option<Box<dyn Listener>>> {
        Box::pin(async move {
            let options = &self.pool.manager().options;
            if !options.listen {
                return Ok(None);
            }
            listener::open(&self.session, options).await.map(Some)
        })
    }

    fn changes_since<'a>(&'a self, since: Option<&'a FeedPosition>) -> Answer<'a, Polled> {
        let op = StoreOp::ChangesSince;
        let since = since.map(FeedPosition::read).transpose();
        Box::pin(async move {
            let read = match since? {
                None => Statement::new(BEGIN),
                Some(since) => {
                    let limit = i64::try_from(CHANGES_MAX.saturating_add(1)).unwrap_or(i64::MAX);
                    Statement::new(SINCE)
                        .text(since.snapshot)
                        .text(since.server)
                        .text(since.line)
                        .bigint(limit)
                        .optional_text(None::<&str>)
                }
            };
            let polled: PolledDoc = self.document(op, read).await?;
            Ok(polled.into())
        })
    }
}

/// The error of a connection on which notifications do not arrive.
pub(super) fn deaf() -> StoreError {
    let what = "a notification to ourselves did not arrive: is there a pooler that hands out transactions? Set \
                feed.listen = false, or name a way past it in database.session_pooled";
    StoreError::with_source(StoreOp::ChangesListen, StoreErrorKind::Other, what)
}
