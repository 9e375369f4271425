//! What is counted over all repositories.

use super::{
    SqliteStore,
    query::{Statement, active_mark, document, encode},
};
use crate::{
    core::ids::NodeId,
    store::{Answer, COUNT_LIMIT, CensusStore, RepositoriesCount, StoreError, StoreErrorKind, StoreOp},
};
use std::{collections::BTreeSet, sync::Arc};

/// One pass over the repositories, which looks for each until it finds a replica that could lead. NULL comes first, as in
/// a set.
const COUNT: &str = concat!(
    "WITH healthy AS MATERIALIZED (SELECT json_extract(value, '$.virtual_storage') AS virtual_storage, ",
    "json_extract(value, '$.storage') AS storage FROM json_each(?1)), ",
    "counted AS (SELECT r.virtual_storage, r.\"primary\", COUNT(*) AS repositories, ",
    "SUM(NOT EXISTS (SELECT 1 FROM storage_repositories AS s ",
    "WHERE s.repository_id = r.repository_id AND s.generation = r.generation ",
    "AND (r.virtual_storage, s.storage) IN (SELECT virtual_storage, storage FROM healthy) ",
    "AND NOT EXISTS (SELECT 1 FROM replication_queue WHERE ",
    active_mark!(),
    " AND json_extract(job, '$.repository_id') = +s.repository_id",
    " AND json_extract(job, '$.target_node_storage') = +s.storage))) AS unavailable ",
    "FROM repositories AS r GROUP BY r.virtual_storage, r.\"primary\") ",
    "SELECT json_group_array(json_object('virtual_storage', virtual_storage, 'primary', \"primary\", ",
    "'repositories', repositories, 'unavailable', unavailable) ORDER BY virtual_storage, \"primary\") AS document ",
    "FROM counted"
);

impl CensusStore for SqliteStore {
    fn repositories_count<'a>(&'a self, healthy: &'a BTreeSet<NodeId>) -> Answer<'a, Vec<RepositoriesCount>> {
        let (op, healthy, turn) = (StoreOp::RepositoriesCount, healthy.clone(), Arc::clone(&self.inner.counting));
        Box::pin(async move {
            // A count that was given up runs on: the next one waits for its end instead of taking a second connection.
            let turn = match tokio::time::timeout(COUNT_LIMIT, turn.acquire_owned()).await {
                Ok(Ok(turn)) => turn,
                Ok(Err(closed)) => return Err(StoreError::with_source(op, StoreErrorKind::Other, closed)),
                Err(elapsed) => return Err(StoreError::with_source(op, StoreErrorKind::Timeout, elapsed)),
            };
            self.read_within(COUNT_LIMIT, op, move |connection| {
                let _turn = turn;
                document(connection, op, Statement::new(COUNT).text(encode(op, &healthy)?))
            })
            .await
        })
    }
}
