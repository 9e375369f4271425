//! What lets a recorded primary stay: single rows found by index, no lists.

use crate::store::{Target, statement::Statement};

macro_rules! incumbent {
    ($condition:literal) => {
        concat!(
            "\
SELECT s.cluster_id, r.repository_id, r.virtual_storage, r.relative_path, r.\"primary\", r.primary_epoch, r.generation,
    sr.generation AS replica_generation, st.priority, st.draining, st.penalty_until > statement_timestamp() AS penalised,
    EXISTS (SELECT FROM replication_queue rq
        WHERE rq.state NOT IN ('completed', 'dead', 'cancelled') AND rq.job ->> 'change' = 'delete_replica'
          AND (rq.job ->> 'repository_id')::bigint = r.repository_id
          AND rq.job ->> 'target_node_storage' = r.\"primary\") AS marked,
    (SELECT bool_or(ra.storage = r.\"primary\") FROM repository_assignments ra
        WHERE ra.repository_id = r.repository_id) AS assigned
FROM repositories r
JOIN storage_repositories sr ON sr.repository_id = r.repository_id AND sr.storage = r.\"primary\"
LEFT JOIN storages st ON st.virtual_storage = r.virtual_storage AND st.storage = r.\"primary\"
CROSS JOIN settings s
WHERE ",
            $condition
        )
    };
}

/// Reads it; no row where the recorded primary has no replica.
pub(super) fn read(target: &Target) -> Statement {
    match target {
        Target::Id(id) => Statement::new(incumbent!("r.repository_id = $1")).bigint(id.0),
        Target::Path(virtual_storage, path) => {
            Statement::new(incumbent!("r.virtual_storage = $1 AND r.relative_path = $2"))
                .text(virtual_storage.as_str())
                .text(path.as_str())
        }
    }
}
