//! One primary for a whole virtual storage: facts and commits.

use super::PostgresStore;
use crate::core::{epoch::Epoch, ids::VirtualStorage};
use crate::store::{
    Answer, CasOutcome, PrimaryChange, ShardProposal, ShardSnapshot, ShardStore, StoreOp,
    rows::{ChangeDoc, ShardDoc},
    statement::Statement,
};

/// One statement, one snapshot. What each storage has is summed over its replicas alone, without joining every one of
/// them to its repository: those without a generation are so few that leaving them out costs nothing.
const SHARD_FACTS: &str = "\
SELECT json_build_object(
    'at', quorate_micros(statement_timestamp()),
    'settings', quorate_settings(),
    'era', (SELECT max(era) FROM eras),
    'virtual_storage', $1::text,
    'recorded', (SELECT json_build_object('storage', node_name, 'demoted', demoted, 'epoch', epoch,
            'elected_age', quorate_age(elected_at)) FROM shard_primaries WHERE shard_name = $1),
    'attributes', (SELECT coalesce(json_agg(json_build_object(
            'storage', storage, 'priority', priority, 'draining', draining,
            'penalised', coalesce(penalty_until > statement_timestamp(), false))), '[]')
        FROM storages WHERE virtual_storage = $1),
    'lags', CASE WHEN $2 THEN json_build_object(
        'expected', (SELECT sum(generation + 1) FROM repositories WHERE virtual_storage = $1),
        'held', (SELECT coalesce(json_agg(json_build_object('storage', storage, 'held', held)), '[]') FROM (
            SELECT storage, sum(generation + 1) AS held FROM storage_repositories
            WHERE virtual_storage = $1 AND repository_id NOT IN (
                SELECT repository_id FROM repositories WHERE virtual_storage = $1 AND generation IS NULL)
            GROUP BY storage) sums)) END,
    'votes', (SELECT coalesce(json_agg(json_build_object(
            'supervisor', praefect_name, 'virtual_storage', shard_name, 'storage', node_name,
            'opinion', verdict, 'incarnation', incarnation,
            'contact_age', quorate_age(last_contact_attempt_at),
            'seen_age', quorate_age(last_seen_active_at))), '[]') FROM node_status WHERE shard_name = $1),
    'supervisors', (SELECT coalesce(json_agg(json_build_object(
            'name', name, 'incarnation', incarnation,
            'heartbeat_age', quorate_micros(statement_timestamp() - heartbeat_at),
            'registered_age', quorate_micros(statement_timestamp() - registered_at),
            'recused', recused_since IS NOT NULL) ORDER BY name), '[]') FROM supervisors)
)::text AS document";

const HISTORY: &str = "\
SELECT coalesce(json_agg(json_build_object(
    'epoch', c.epoch, 'previous', c.previous, 'current', c.current,
    'age', quorate_micros(statement_timestamp() - c.at),
    'why', d.why, 'supervisor', d.supervisor, 'evidence', d.evidence) ORDER BY c.epoch DESC), '[]')::text AS document
FROM (SELECT * FROM shard_changes WHERE virtual_storage = $1 ORDER BY epoch DESC LIMIT $2) c
LEFT JOIN decisions d ON d.id = c.decision";

impl ShardStore for PostgresStore {
    fn shard_facts<'a>(&'a self, virtual_storage: &'a VirtualStorage, lags: bool) -> Answer<'a, ShardSnapshot> {
        let read = Statement::new(SHARD_FACTS).text(virtual_storage.as_str()).optional_bool(Some(lags));
        Box::pin(async move {
            let facts: ShardDoc = self.document(StoreOp::ShardFacts, read).await?;
            Ok(facts.into())
        })
    }

    fn shard_cas<'a>(&'a self, proposal: &'a ShardProposal) -> Answer<'a, CasOutcome> {
        let ShardProposal { decision, virtual_storage, expected, to, proposer, why, evidence, .. } = proposal;
        let call =
            Statement::new("SELECT quorate_shard_cas($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)::text AS document")
                .text(decision.as_str())
                .text(virtual_storage.as_str())
                .optional_bigint(expected.epoch.map(Epoch::to_i64))
                .bigint(expected.era.0)
                .bigint(expected.at.0)
                .optional_text(to.as_ref().map(|storage| storage.as_str()))
                .text(proposer.name.as_str())
                .bigint(proposer.incarnation.0)
                .text(why.as_str())
                .text(evidence.as_str());
        Box::pin(self.document(StoreOp::ShardCas, call))
    }

    fn shard_history<'a>(&'a self, virtual_storage: &'a VirtualStorage, limit: u32) -> Answer<'a, Vec<PrimaryChange>> {
        let read = Statement::new(HISTORY).text(virtual_storage.as_str()).bigint(i64::from(limit.clamp(1, 1_000)));
        Box::pin(async move {
            let changes: Vec<ChangeDoc> = self.document(StoreOp::ShardHistory, read).await?;
            Ok(changes.into_iter().map(PrimaryChange::from).collect())
        })
    }
}
