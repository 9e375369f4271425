//! What is counted over all repositories.

use super::{PostgresStore, json};
use crate::core::ids::NodeId;
use crate::store::{Answer, CensusStore, RepositoriesCount, StoreOp, statement::Statement};
use std::collections::BTreeSet;

/// One pass over the replicas that could lead, one over the repositories. Without a primary comes first, as in a set.
const COUNT: &str = "\
WITH healthy AS (
    SELECT h ->> 'virtual_storage' AS virtual_storage, h ->> 'storage' AS storage FROM json_array_elements($1::json) h
), led AS (
    SELECT DISTINCT r.repository_id
    FROM repositories r
    JOIN storage_repositories sr ON sr.repository_id = r.repository_id AND sr.generation = r.generation
    JOIN healthy h ON h.virtual_storage = r.virtual_storage AND h.storage = sr.storage
    WHERE NOT EXISTS (
        SELECT FROM replication_queue rq
        WHERE rq.state NOT IN ('completed', 'dead', 'cancelled') AND rq.job ->> 'change' = 'delete_replica'
          AND (rq.job ->> 'repository_id')::bigint = r.repository_id
          AND rq.job ->> 'target_node_storage' = sr.storage)
), counted AS (
    SELECT r.virtual_storage, r.\"primary\", count(*) AS repositories,
        count(*) FILTER (WHERE led.repository_id IS NULL) AS unavailable
    FROM repositories r LEFT JOIN led ON led.repository_id = r.repository_id
    GROUP BY r.virtual_storage, r.\"primary\"
)
SELECT coalesce(json_agg(json_build_object(
    'virtual_storage', virtual_storage, 'primary', \"primary\", 'repositories', repositories, 'unavailable', unavailable)
    ORDER BY virtual_storage COLLATE \"C\", \"primary\" COLLATE \"C\" NULLS FIRST), '[]')::text AS document
FROM counted";

impl CensusStore for PostgresStore {
    fn repositories_count<'a>(&'a self, healthy: &'a BTreeSet<NodeId>) -> Answer<'a, Vec<RepositoriesCount>> {
        Box::pin(async move {
            let op = StoreOp::RepositoriesCount;
            self.document(op, Statement::new(COUNT).text(json(op, healthy)?)).await
        })
    }
}
