//! The facts of elections and their commits.

use super::PostgresStore;
use crate::core::{epoch::Epoch, ids::RepositoryId};
use crate::store::{
    Answer, CasOutcome, ElectionSnapshot, ElectionStore, PrimaryChange, Proposal, StoreOp, Target, rows,
    rows::{ChangeDoc, ElectionDoc},
    statement::Statement,
};

/// One statement, one snapshot, index lookups only: the votes are those about storages that hold a replica, so that 300
/// nodes cost no more than 3. `members` counts everybody in the virtual storage and is read under policy `half` alone.
macro_rules! election_facts {
    ($condition:literal) => {
        concat!(
            "\
SELECT json_build_object(
    'at', quorate_micros(statement_timestamp()),
    'settings', quorate_settings(),
    'era', (SELECT max(era) FROM eras),
    'repository', r.repository_id, 'virtual_storage', r.virtual_storage, 'relative_path', r.relative_path,
    'generation', r.generation, 'primary', r.\"primary\", 'epoch', r.primary_epoch, 'facts_version', r.facts_version,
    'replicas', (SELECT coalesce(json_agg(json_build_object(
            'storage', sr.storage, 'generation', sr.generation,
            'marked', EXISTS (SELECT FROM replication_queue rq
                WHERE rq.state NOT IN ('completed', 'dead', 'cancelled') AND rq.job ->> 'change' = 'delete_replica'
                  AND (rq.job ->> 'repository_id')::bigint = r.repository_id
                  AND rq.job ->> 'target_node_storage' = sr.storage),
            'assigned', EXISTS (SELECT FROM repository_assignments ra
                WHERE ra.repository_id = r.repository_id AND ra.storage = sr.storage),
            'attributes', json_build_object(
                'priority', coalesce(st.priority, 100), 'draining', coalesce(st.draining, false),
                'penalised', coalesce(st.penalty_until > statement_timestamp(), false))
        ) ORDER BY sr.storage COLLATE \"C\"), '[]')
        FROM storage_repositories sr
        LEFT JOIN storages st ON st.virtual_storage = r.virtual_storage AND st.storage = sr.storage
        WHERE sr.repository_id = r.repository_id),
    'assignments', (SELECT coalesce(json_agg(ra.storage ORDER BY ra.storage COLLATE \"C\"), '[]')
        FROM repository_assignments ra WHERE ra.repository_id = r.repository_id),
    'votes', (SELECT coalesce(json_agg(json_build_object(
            'supervisor', ns.praefect_name, 'virtual_storage', ns.shard_name, 'storage', ns.node_name,
            'opinion', ns.verdict, 'incarnation', ns.incarnation,
            'contact_age', quorate_age(ns.last_contact_attempt_at),
            'seen_age', quorate_age(ns.last_seen_active_at))), '[]')
        FROM storage_repositories sr
        JOIN node_status ns ON ns.shard_name = r.virtual_storage AND ns.node_name = sr.storage
        WHERE sr.repository_id = r.repository_id),
    'supervisors', (SELECT coalesce(json_agg(json_build_object(
            'name', name, 'incarnation', incarnation,
            'heartbeat_age', quorate_micros(statement_timestamp() - heartbeat_at),
            'registered_age', quorate_micros(statement_timestamp() - registered_at),
            'recused', recused_since IS NOT NULL) ORDER BY name), '[]') FROM supervisors),
    'members', CASE WHEN (SELECT policy FROM settings) = 'half' THEN (
        SELECT coalesce(json_agg(json_build_object(
            'virtual_storage', r.virtual_storage, 'supervisor', m.praefect_name, 'contact_age', quorate_age(m.at))), '[]')
        FROM (SELECT praefect_name, max(last_contact_attempt_at) AS at
              FROM node_status WHERE shard_name = r.virtual_storage AND isfinite(last_contact_attempt_at)
              GROUP BY praefect_name) m) ELSE '[]' END
)::text AS document FROM repositories r WHERE ",
            $condition
        )
    };
}
const FACTS_BY_ID: &str = election_facts!("r.repository_id = $1");
const FACTS_BY_PATH: &str = election_facts!("r.virtual_storage = $1 AND r.relative_path = $2");

const HISTORY: &str = "\
SELECT coalesce(json_agg(json_build_object(
    'epoch', c.epoch, 'previous', c.previous, 'current', c.current,
    'age', quorate_micros(statement_timestamp() - c.at),
    'why', d.why, 'supervisor', d.supervisor, 'evidence', d.evidence) ORDER BY c.epoch DESC), '[]')::text AS document
FROM (SELECT * FROM primary_changes WHERE repository_id = $1 ORDER BY epoch DESC LIMIT $2) c
LEFT JOIN decisions d ON d.id = c.decision";

impl ElectionStore for PostgresStore {
    fn election_facts<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<ElectionSnapshot>> {
        let read = match target {
            Target::Id(id) => Statement::new(FACTS_BY_ID).bigint(id.0),
            Target::Path(virtual_storage, path) => {
                Statement::new(FACTS_BY_PATH).text(virtual_storage.as_str()).text(path.as_str())
            }
        };
        Box::pin(async move {
            let op = StoreOp::ElectionFacts;
            let Some(document) = self.ask(op, read).await? else { return Ok(None) };
            let facts: ElectionDoc = rows::decode(op, &document)?;
            Ok(Some(facts.into()))
        })
    }

    fn primary_cas<'a>(&'a self, proposal: &'a Proposal) -> Answer<'a, CasOutcome> {
        let Proposal { decision, repository, expected, to, proposer, why, evidence } = proposal;
        let call = Statement::new(
            "SELECT quorate_primary_cas($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)::text AS document",
        )
        .text(decision.as_str())
        .bigint(repository.0)
        .optional_bigint(expected.epoch.map(Epoch::to_i64))
        .bigint(expected.era.0)
        .bigint(expected.facts_version.0)
        .bigint(expected.at.0)
        .optional_text(to.as_ref().map(|storage| storage.as_str()))
        .text(proposer.name.as_str())
        .bigint(proposer.incarnation.0)
        .text(why.as_str())
        .text(evidence.as_str());
        Box::pin(self.document(StoreOp::PrimaryCas, call))
    }

    fn primary_history(&self, repository: RepositoryId, limit: u32) -> Answer<'_, Vec<PrimaryChange>> {
        let read = Statement::new(HISTORY).bigint(repository.0).bigint(i64::from(limit.clamp(1, 1_000)));
        Box::pin(async move {
            let changes: Vec<ChangeDoc> = self.document(StoreOp::PrimaryHistory, read).await?;
            Ok(changes.into_iter().map(PrimaryChange::from).collect())
        })
    }
}
