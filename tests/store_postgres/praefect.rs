//! A Praefect of release 16.7: what it says to the database, word for word in meaning.

use super::*;
use tokio_postgres::{Client, Row, types::ToSql};

const HEALTH: &str = "
INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at)
SELECT $1::text, vs, storage, now(), CASE WHEN healthy THEN now() END
FROM unnest($2::text[], $3::text[], $4::boolean[]) AS round (vs, storage, healthy) ORDER BY vs, storage
ON CONFLICT (praefect_name, shard_name, node_name) DO UPDATE SET last_contact_attempt_at = now(),
    last_seen_active_at = coalesce(excluded.last_seen_active_at, node_status.last_seen_active_at)";

const GET_PRIMARY: &str = r#"
WITH reread AS (
    SELECT r.repository_id, r."primary" FROM repositories r
    WHERE r.repository_id = $1
      AND NOT EXISTS (SELECT FROM valid_primaries v WHERE v.repository_id = r.repository_id AND v.storage = r."primary")
      AND EXISTS (SELECT FROM valid_primaries v WHERE v.repository_id = r.repository_id)
    FOR NO KEY UPDATE
), election AS (
    UPDATE repositories r
    SET "primary" = (SELECT storage FROM valid_primaries v WHERE v.repository_id = $1 ORDER BY random() LIMIT 1)
    FROM reread
    WHERE r.repository_id = reread.repository_id AND NOT EXISTS (
        SELECT FROM valid_primaries v WHERE v.repository_id = reread.repository_id AND v.storage = reread."primary")
    RETURNING r.repository_id, r."primary"
)
SELECT CASE WHEN e.repository_id IS NOT NULL THEN e."primary" WHEN reread.repository_id IS NOT NULL THEN reread."primary"
            ELSE r."primary" END AS current,
       CASE WHEN reread.repository_id IS NOT NULL THEN reread."primary" ELSE r."primary" END AS previous
FROM repositories r LEFT JOIN reread USING (repository_id) LEFT JOIN election e USING (repository_id)
WHERE r.repository_id = $1"#;

const INCREMENT: &str = "
WITH held AS (
    SELECT repository_id, generation FROM repositories WHERE repository_id = $1 FOR UPDATE
), current AS (
    SELECT sr.repository_id, sr.storage FROM storage_repositories sr
    JOIN held ON held.repository_id = sr.repository_id AND held.generation = sr.generation
    WHERE sr.storage = ANY ($2::text[]) FOR UPDATE OF sr
), moved AS (
    UPDATE storage_repositories sr SET generation = sr.generation + 1 FROM current
    WHERE sr.repository_id = current.repository_id AND sr.storage = current.storage RETURNING sr.repository_id
), raised AS (
    UPDATE repositories SET generation = generation + 1
    WHERE repository_id IN (SELECT repository_id FROM moved) RETURNING generation
)
SELECT EXISTS (SELECT FROM held), (SELECT generation FROM raised)";

const SET_GENERATION: &str = "
WITH raised AS (
    UPDATE repositories SET generation = $4 WHERE repository_id = $1 AND coalesce(generation, -1) < $4
)
INSERT INTO storage_repositories (repository_id, virtual_storage, relative_path, storage, generation)
SELECT repository_id, virtual_storage, $3::text, $2::text, $4 FROM repositories WHERE repository_id = $1
ON CONFLICT (repository_id, storage) DO UPDATE SET generation = excluded.generation, relative_path = excluded.relative_path";

const AUTHORITATIVE: &str = "
WITH truth AS (
    UPDATE repositories SET generation = generation + 1 WHERE virtual_storage = $1 AND relative_path = $2
    RETURNING repository_id, virtual_storage, relative_path, generation
)
INSERT INTO storage_repositories (repository_id, virtual_storage, relative_path, storage, generation)
SELECT repository_id, virtual_storage, relative_path, $3::text, generation FROM truth
ON CONFLICT (virtual_storage, relative_path, storage) DO UPDATE SET generation = excluded.generation";

const CREATE: &str = r#"
WITH repository AS (
    INSERT INTO repositories (repository_id, virtual_storage, relative_path, replica_path, generation, "primary")
    VALUES ($1, $2, $3, $3, 0, $4)
), assigned AS (
    INSERT INTO repository_assignments (repository_id, virtual_storage, relative_path, storage)
    SELECT $1, $2, $3, unnest($5::text[])
)
INSERT INTO storage_repositories (repository_id, virtual_storage, relative_path, storage, generation)
SELECT $1, $2, $3, unnest($5::text[]), 0"#;

const DELETE: &str = "
WITH gone AS (
    DELETE FROM repositories WHERE virtual_storage = $1 AND relative_path = $2 RETURNING repository_id, replica_path
)
SELECT gone.replica_path, array_agg(sr.storage ORDER BY sr.storage)
FROM gone LEFT JOIN storage_repositories sr USING (repository_id) GROUP BY gone.replica_path";

const DELETE_LATER: &str = "
WITH held AS (
    INSERT INTO replication_queue_lock (id)
    SELECT virtual_storage || '|' || $2::text || '|' || relative_path FROM repositories WHERE repository_id = $1
    ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING id
)
INSERT INTO replication_queue (lock_id, job, meta)
SELECT held.id, jsonb_build_object('change', 'delete_replica', 'virtual_storage', virtual_storage, 'relative_path',
           relative_path, 'repository_id', repository_id, 'target_node_storage', $2::text, 'params', NULL), '{}'
FROM repositories, held WHERE repository_id = $1
ON CONFLICT DO NOTHING";

const DELETED: &str = "
WITH done AS (
    UPDATE replication_queue SET state = 'completed', updated_at = now() AT TIME ZONE 'UTC'
    WHERE job ->> 'change' = 'delete_replica' AND (job ->> 'repository_id')::bigint = $1
      AND state NOT IN ('completed', 'dead', 'cancelled')
    RETURNING job ->> 'target_node_storage' AS storage
)
DELETE FROM storage_repositories WHERE repository_id = $1 AND storage IN (SELECT storage FROM done)";

pub(crate) struct Praefect {
    pub(crate) client: Client,
    pub(crate) name: String,
}

/// What an increment came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incremented {
    To(i64),
    WriteToOutdatedNodes,
    NotFound,
}

impl Praefect {
    pub(crate) async fn new(url: &str, name: &str) -> Praefect {
        Praefect { client: raw(url).await, name: name.to_owned() }
    }
    async fn row(&self, sql: &str, binds: &[&(dyn ToSql + Sync)]) -> Option<Row> {
        self.client.query_opt(sql, binds).await.unwrap_or_else(|error| panic!("{error:?} of {sql}"))
    }
    async fn rows(&self, sql: &str, binds: &[&(dyn ToSql + Sync)]) -> u64 {
        self.client.execute(sql, binds).await.unwrap_or_else(|error| panic!("{error:?} of {sql}"))
    }
    /// One round of health checks.
    pub(crate) async fn round(&self, vs: &str, seen: &[(&str, bool)]) {
        let shards: Vec<&str> = seen.iter().map(|_| vs).collect();
        let (nodes, healthy): (Vec<&str>, Vec<bool>) = seen.iter().copied().unzip();
        self.rows(HEALTH, &[&self.name, &shards, &nodes, &healthy]).await;
    }
    /// The primary now and before; `None` if there is no such repository.
    pub(crate) async fn primary(&self, id: i64) -> Option<(Option<String>, Option<String>)> {
        self.row(GET_PRIMARY, &[&id]).await.map(|row| (row.get(0), row.get(1)))
    }
    pub(crate) async fn increment(&self, id: i64, storages: &[&str]) -> Incremented {
        let row = self.row(INCREMENT, &[&id, &storages]).await.unwrap();
        match (row.get(0), row.get(1)) {
            (false, _) => Incremented::NotFound,
            (true, None) => Incremented::WriteToOutdatedNodes,
            (true, Some(generation)) => Incremented::To(generation),
        }
    }
    pub(crate) async fn set_generation(&self, id: i64, storage: &str, path: &str, generation: i64) {
        self.rows(SET_GENERATION, &[&id, &storage, &path, &generation]).await;
    }
    /// Whether there is such a repository.
    pub(crate) async fn authoritative(&self, vs: &str, path: &str, storage: &str) -> bool {
        self.rows(AUTHORITATIVE, &[&vs, &path, &storage]).await == 1
    }
    pub(crate) async fn create(&self, vs: &str, path: &str, primary: Option<&str>, storages: &[&str]) -> i64 {
        let id: i64 = self.row("SELECT nextval('repositories_repository_id_seq')", &[]).await.unwrap().get(0);
        self.rows(CREATE, &[&id, &vs, &path, &primary, &storages]).await;
        id
    }
    pub(crate) async fn delete(&self, vs: &str, path: &str) -> Option<Vec<String>> {
        self.row(DELETE, &[&vs, &path]).await.map(|row| row.get(1))
    }
    pub(crate) async fn delete_replica_later(&self, id: i64, storage: &str) {
        self.rows(DELETE_LATER, &[&id, &storage]).await;
    }
    /// The queue has come to it.
    pub(crate) async fn replica_deleted(&self, id: i64) {
        self.rows(DELETED, &[&id]).await;
    }
    /// By position, as the setting of a replication factor does.
    pub(crate) async fn assign(&self, id: i64, storage: &str) {
        let sql = "INSERT INTO repository_assignments SELECT virtual_storage, relative_path, $2::text, repository_id \
                   FROM repositories WHERE repository_id = $1 ON CONFLICT DO NOTHING";
        self.rows(sql, &[&id, &storage]).await;
    }
}
