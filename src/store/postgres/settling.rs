//! What a dead node led: facts and commits in sets.

use super::PostgresStore;
use crate::core::ids::{NodeId, RepositoryId};
use crate::store::{
    Answer, SettleBatch, SettleOutcome, SettleSnapshot, SettleStore, StoreOp,
    rows::{self, SettleDoc, SettledDoc},
    statement::Statement,
};

/// How many repositories one read goes through at most, whoever leads them: so few that a node which leads none of millions
/// outlasts no `statement_timeout`, so many that a node which leads one in two hundred fills its batches.
const LOOKED_AT_ONCE: i64 = 100_000;

/// One statement, one snapshot. The walk goes by the primary key: an index over the primary was rejected, since with one no
/// update of a primary could stay on its page, and every election would write to all indexes of `repositories`. Each
/// repository's own parts are index lookups; what they have in common is read once, and of the votes only those about the
/// node and about storages that hold one of the replicas.
const FACTS: &str = "\
WITH led AS MATERIALIZED (
    SELECT repository_id, relative_path, generation, primary_epoch, facts_version FROM (
        SELECT * FROM repositories WHERE repository_id > $3 ORDER BY repository_id LIMIT $5) looked
    WHERE virtual_storage = $1 AND \"primary\" = $2 ORDER BY repository_id LIMIT $4),
own AS MATERIALIZED (
    SELECT l.*,
        ARRAY(SELECT sr.storage FROM storage_repositories sr WHERE sr.repository_id = l.repository_id) AS storages,
        (SELECT json_agg(json_build_array(sr.storage, sr.generation))
            FROM storage_repositories sr WHERE sr.repository_id = l.repository_id) AS replicas,
        (SELECT json_agg(rq.job ->> 'target_node_storage') FROM replication_queue rq
            WHERE rq.state NOT IN ('completed', 'dead', 'cancelled') AND rq.job ->> 'change' = 'delete_replica'
              AND (rq.job ->> 'repository_id')::bigint = l.repository_id
              AND rq.job ->> 'target_node_storage' IS NOT NULL) AS marks,
        (SELECT json_agg(ra.storage)
            FROM repository_assignments ra WHERE ra.repository_id = l.repository_id) AS assignments
    FROM led l)
SELECT json_build_object(
    'at', quorate_micros(statement_timestamp()),
    'settings', quorate_settings(),
    'era', (SELECT max(era) FROM eras),
    'attributes', (SELECT coalesce(json_agg(json_build_object(
            'storage', storage, 'priority', priority, 'draining', draining,
            'penalised', coalesce(penalty_until > statement_timestamp(), false))), '[]')
        FROM storages WHERE virtual_storage = $1),
    'votes', (SELECT coalesce(json_agg(json_build_object(
            'supervisor', praefect_name, 'virtual_storage', shard_name, 'storage', node_name,
            'opinion', verdict, 'incarnation', incarnation,
            'contact_age', quorate_age(last_contact_attempt_at),
            'seen_age', quorate_age(last_seen_active_at))), '[]') FROM node_status
        WHERE shard_name = $1 AND node_name IN (SELECT $2::text UNION SELECT unnest(storages) FROM own)),
    'supervisors', (SELECT coalesce(json_agg(json_build_object(
            'name', name, 'incarnation', incarnation,
            'heartbeat_age', quorate_age(heartbeat_at),
            'registered_age', quorate_age(registered_at),
            'recused', recused_since IS NOT NULL) ORDER BY name), '[]') FROM supervisors),
    'members', CASE WHEN (SELECT policy FROM settings) = 'half' THEN (
        SELECT coalesce(json_agg(json_build_object(
            'virtual_storage', $1::text, 'supervisor', m.praefect_name, 'contact_age', quorate_age(m.at))), '[]')
        FROM (SELECT praefect_name, max(last_contact_attempt_at) AS at
              FROM node_status WHERE shard_name = $1 AND isfinite(last_contact_attempt_at)
              GROUP BY praefect_name) m) ELSE '[]' END,
    'until', CASE WHEN (SELECT count(*) FROM led) = $4 THEN (SELECT max(repository_id) FROM led) ELSE (
        SELECT repository_id FROM repositories WHERE repository_id > $3 ORDER BY repository_id OFFSET $5 - 1 LIMIT 1) END,
    'repositories', (SELECT coalesce(json_agg(json_build_array(
            repository_id, relative_path, generation, primary_epoch, facts_version, replicas, marks, assignments)
            ORDER BY repository_id), '[]') FROM own)
)::text AS document";

impl SettleStore for PostgresStore {
    fn settle_facts<'a>(&'a self, node: &'a NodeId, after: RepositoryId, limit: u32) -> Answer<'a, SettleSnapshot> {
        let read = Statement::new(FACTS)
            .text(node.virtual_storage.as_str())
            .text(node.storage.as_str())
            .bigint(after.0)
            .bigint(i64::from(limit.clamp(1, 10_000)))
            .bigint(LOOKED_AT_ONCE);
        Box::pin(async move {
            let facts: SettleDoc = self.document(StoreOp::SettleFacts, read).await?;
            Ok(facts.snapshot(node))
        })
    }

    fn settle_cas<'a>(&'a self, batch: &'a SettleBatch) -> Answer<'a, SettleOutcome> {
        Box::pin(async move {
            let SettleBatch { decision, node, era, at, proposer, why, evidence, repositories: _ } = batch;
            let call =
                Statement::new("SELECT quorate_settle_cas($1, $2, $3, $4, $5, $6, $7, $8, $9::json)::text AS document")
                    .text(decision.as_str())
                    .text(node.virtual_storage.as_str())
                    .bigint(era.0)
                    .bigint(at.0)
                    .text(proposer.name.as_str())
                    .bigint(proposer.incarnation.0)
                    .text(why.as_str())
                    .text(evidence.as_str())
                    .text(rows::settlements(batch)?);
            let outcome: SettledDoc = self.elected(StoreOp::SettleCas, call).await?;
            Ok(outcome.into())
        })
    }
}
