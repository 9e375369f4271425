//! Whether the views of a database answer what Praefect's answer.
//!
//! Ours replace them, so one that an operator changed would be lost in silence. Their text says nothing: servers write it
//! down differently, and ours is another anyway. So theirs and ours are asked about the same rows, which touch every bound
//! of the rules: how old, how many, on which generation, assigned, marked.

use super::connect::Session;
use super::migrations::ask;
use crate::store::{StoreError, StoreErrorKind, StoreOp, rows::decode, statement::Statement};
use diesel_async::SimpleAsyncConnection;
use serde::Deserialize;

/// Ages up to and beyond the bounds; of one to four who try, up to all see the node. Then repositories of which each is
/// another combination of: who is assigned, who lags, whether there is a generation, what stands in the queue.
const ROWS: &str = "
INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at)
SELECT 'p' || p, 'v' || tries, 'g' || sees, now() - interval '1 second',
    CASE WHEN p <= sees THEN now() - interval '1 second' END
FROM generate_series(1, 4) tries, generate_series(0, 4) sees, generate_series(1, 4) p
WHERE p <= tries AND sees <= tries;
INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at)
SELECT 'p1', 'seen', 'g' || age, now(), now() - age * interval '1 second' FROM generate_series(0, 61) age
UNION ALL
SELECT 'p' || p, 'tried' || age, 'g' || p, now() - CASE WHEN p > 1 THEN age ELSE 0 END * interval '1 second',
    CASE WHEN p = 1 THEN now() END
FROM generate_series(0, 121) age, generate_series(1, 3) p;
INSERT INTO repositories (virtual_storage, relative_path, generation, repository_id)
SELECT 'v4', 'r' || i, CASE WHEN i & 32 = 0 THEN 1 END, i FROM generate_series(1, 768) i;
INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
SELECT 'v4', 'r' || i, 'g' || g, CASE WHEN g = 2 AND i & 8 <> 0 THEN 0 ELSE 1 END, i
FROM generate_series(1, 768) i, generate_series(1, 4) g WHERE g < 4 OR i & 64 <> 0;
INSERT INTO repository_assignments (virtual_storage, relative_path, storage, repository_id)
SELECT 'v4', 'r' || i, 'g' || g, i FROM generate_series(1, 768) i, generate_series(1, 3) g WHERE i & (1 << (g - 1)) <> 0;
INSERT INTO replication_queue (state, job)
SELECT (enum_range(NULL::replication_job_state))[1 + i / 128], jsonb_build_object('virtual_storage', 'v4',
    'relative_path', 'r' || i, 'repository_id', i, 'target_node_storage', CASE WHEN i & 16 <> 0 THEN 'g3' ELSE 'g9' END,
    'change', CASE WHEN i % 3 = 0 THEN 'update' ELSE 'delete_replica' END)
FROM generate_series(1, 767) i;";

/// The views of schema `$1`, as `[{"name", "text"}]`; names of that schema stand in the text without it.
const VIEWS: &str = "
SELECT coalesce(json_agg(json_build_object('name', c.relname, 'text', pg_get_viewdef(c.oid)) ORDER BY c.relname), '[]')::text
    AS document
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'v' AND c.relname IN ('healthy_storages', 'repository_generations', 'valid_primaries')";

/// Whether the rows of the two are the same, in any order; columns go by name.
const SAME: &str = "
SELECT (NOT EXISTS (
    ((SELECT to_jsonb(x) FROM ours x) EXCEPT ALL (SELECT to_jsonb(x) FROM theirs x))
    UNION ALL ((SELECT to_jsonb(x) FROM theirs x) EXCEPT ALL (SELECT to_jsonb(x) FROM ours x))))::text AS document";

#[derive(Deserialize)]
pub(super) struct View {
    name: String,
    text: String,
}

/// Praefect's views as they stand in this schema, which must be the current one.
pub(super) async fn of(session: &mut Session, schema: &str) -> Result<Vec<View>, StoreError> {
    let listed = ask(session, Statement::new(VIEWS).text(schema)).await?.unwrap_or_default();
    decode(StoreOp::Migrate, &listed)
}

/// One line for each of these views that answers otherwise than ours. The session is in a transaction that will be rolled
/// back, in a schema with our tables and views, and nothing in them.
pub(super) async fn differences(session: &mut Session, found: &[View]) -> Result<Vec<String>, StoreError> {
    run(session, ROWS).await.map_err(failed)?;
    let mut lines = Vec::new();
    for View { name, text } in found {
        let made = format!("SAVEPOINT theirs; CREATE VIEW theirs AS {text}");
        let named = format!("CREATE VIEW ours AS SELECT * FROM {name}");
        if run(session, &made).await.is_err() {
            lines.push(format!("{name}: itself does not fit the tables of release 16.7"));
        } else {
            run(session, &named).await.map_err(failed)?;
            if ask(session, Statement::new(SAME)).await?.as_deref() != Some("true") {
                lines.push(format!("{name}: itself answers otherwise than in release 16.7"));
            }
        }
        run(session, "ROLLBACK TO SAVEPOINT theirs").await.map_err(failed)?;
    }
    Ok(lines)
}

async fn run(session: &mut Session, sql: &str) -> Result<(), diesel::result::Error> {
    session.connection.batch_execute(sql).await
}

fn failed(error: diesel::result::Error) -> StoreError {
    StoreError::with_source(StoreOp::Migrate, StoreErrorKind::Other, error)
}
