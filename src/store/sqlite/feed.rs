//! Who is up to date, and the table of changes.
//!
//! There is one writer at a time, so ids are in order of commit and a position is simply the last id read. A file put in
//! the place of another is noticed when its ids end before the position.

use super::{
    SqliteStore, bounded,
    error::Failure,
    listener,
    query::{Statement, document, optional},
};
use crate::store::{
    Answer, Change, ChangeFeed, FeedPosition, Listener, Polled, StoreOp, Target, UpToDate, feed::CHANGES_MAX,
    feed::PolledDoc,
};
use diesel::SqliteConnection;
use std::sync::Arc;

macro_rules! up_to_date {
    ($found:literal) => {
        concat!(
            "SELECT json_object('repository', r.repository_id, 'virtual_storage', r.virtual_storage, ",
            "'relative_path', r.relative_path, 'replica_path', r.replica_path, 'storages', json((",
            "SELECT json_group_array(s.storage) FROM storage_repositories AS s ",
            "WHERE s.repository_id = r.repository_id AND s.generation = r.generation))) AS document ",
            "FROM repositories AS r WHERE ",
            $found
        )
    };
}

/// The oldest line kept may be younger than the position only if lines between them were cleared away.
const SINCE: &str = "\
WITH bounds (first, last) AS (SELECT COALESCE(MIN(id), 0), COALESCE(MAX(id), 0) FROM changes) \
SELECT json_object('position', CAST(MAX(last, 0) AS TEXT), \
    'reset', json(CASE WHEN ?1 IS NOT NULL AND (last < ?1 OR first > ?1 + 1) THEN 'true' ELSE 'false' END), \
    'changes', json((SELECT json_group_array(json_object('kind', c.kind, 'key', c.key)) FROM (\
        SELECT kind, key FROM changes WHERE id > COALESCE(?1, last) ORDER BY id LIMIT ?2) AS c))) AS document \
FROM bounds";

/// What changed since a position, and where to go on from; without a position only that.
pub(super) fn since(
    connection: &mut SqliteConnection,
    op: StoreOp,
    since: Option<i64>,
) -> Result<(i64, Vec<Change>), Failure> {
    let limit = i64::try_from(CHANGES_MAX.saturating_add(1)).unwrap_or(i64::MAX);
    let read = Statement::new(SINCE).optional_bigint(since).bigint(limit);
    let polled: Polled = document::<PolledDoc>(connection, op, read)?.into();
    Ok((position(&polled.position), polled.changes))
}

/// A position of another kind of store comes before every line: everything may have changed.
fn position(of: &FeedPosition) -> i64 {
    of.0.parse().unwrap_or(i64::MAX)
}

impl ChangeFeed for SqliteStore {
    fn up_to_date<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<UpToDate>> {
        let read = match target {
            Target::Id(id) => Statement::new(up_to_date!("r.repository_id = ?1")).bigint(id.0),
            Target::Path(virtual_storage, path) => {
                let found = up_to_date!("r.virtual_storage = ?1 AND r.relative_path = ?2");
                Statement::new(found).text(virtual_storage.as_str()).text(path.as_str())
            }
        };
        self.read(StoreOp::UpToDate, move |connection| optional(connection, StoreOp::UpToDate, read))
    }

    fn listen(&self) -> Answer<'_, Option<Box<dyn Listener>>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(bounded(StoreOp::ChangesListen, self.inner.deadline, move || listener::open(&inner).map(Some)))
    }

    fn changes_since<'a>(&'a self, from: Option<&'a FeedPosition>) -> Answer<'a, Polled> {
        let from = from.map(position);
        self.read(StoreOp::ChangesSince, move |connection| {
            let (position, changes) = since(connection, StoreOp::ChangesSince, from)?;
            Ok(Polled { position: FeedPosition(position.to_string()), changes })
        })
    }
}
