//! What is counted over all repositories.

use super::{PostgresStore, json};
use crate::core::ids::NodeId;
use crate::store::{Answer, CensusStore, RepositoriesCount, StoreOp, rows, statement::Statement};
use std::collections::BTreeSet;

/// One pass over the repositories, and one that looks for each until it finds a replica that could lead: nothing is
/// sorted, and nothing that grows is kept. Without a primary comes first, as in a set.
const COUNT: &str = "\
WITH healthy AS MATERIALIZED (
    SELECT h ->> 'virtual_storage' AS virtual_storage, h ->> 'storage' AS storage FROM json_array_elements($1::json) h
), marked AS MATERIALIZED (
    SELECT (rq.job ->> 'repository_id')::bigint AS repository_id, rq.job ->> 'target_node_storage' AS storage
    FROM replication_queue rq
    WHERE rq.state NOT IN ('completed', 'dead', 'cancelled') AND rq.job ->> 'change' = 'delete_replica'
), present AS (
    SELECT virtual_storage, \"primary\", count(*) AS repositories FROM repositories GROUP BY virtual_storage, \"primary\"
), led AS (
    SELECT r.virtual_storage, r.\"primary\", count(*) AS repositories FROM repositories r
    WHERE EXISTS (
        SELECT FROM storage_repositories sr
        WHERE sr.repository_id = r.repository_id AND sr.generation = r.generation
          AND ((r.virtual_storage::text, sr.storage::text) IN (SELECT virtual_storage, storage FROM healthy)) IS TRUE
          AND NOT EXISTS (SELECT FROM marked m WHERE m.repository_id = sr.repository_id AND m.storage = sr.storage))
    GROUP BY r.virtual_storage, r.\"primary\"
)
SELECT coalesce(json_agg(json_build_object(
    'virtual_storage', p.virtual_storage, 'primary', p.\"primary\", 'repositories', p.repositories,
    'unavailable', p.repositories - coalesce(l.repositories, 0))
    ORDER BY p.virtual_storage COLLATE \"C\", p.\"primary\" COLLATE \"C\" NULLS FIRST), '[]')::text AS document
FROM present p LEFT JOIN led l
  ON l.virtual_storage = p.virtual_storage AND l.\"primary\" IS NOT DISTINCT FROM p.\"primary\"";

impl CensusStore for PostgresStore {
    fn repositories_count<'a>(&'a self, healthy: &'a BTreeSet<NodeId>) -> Answer<'a, Vec<RepositoriesCount>> {
        Box::pin(async move {
            let op = StoreOp::RepositoriesCount;
            let limit = self.pool.manager().options.count_timeout;
            let counted = self.patiently(op, limit, Statement::new(COUNT).text(json(op, healthy)?)).await?;
            rows::decode(op, &counted)
        })
    }
}
