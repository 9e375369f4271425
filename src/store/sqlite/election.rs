//! The facts of elections, and their commits.

use super::{
    SqliteStore,
    error::Failure,
    query::{
        Record, Statement, active_mark, document, execute, may_commit, next_epoch, now, optional, record_primary,
        settings, truth,
    },
};
use crate::{
    core::{
        election::Incumbent,
        epoch::Epoch,
        ids::{RepositoryId, Storage},
    },
    store::{
        Answer, CasOutcome, ElectionSnapshot, ElectionStore, PrimaryChange, Proposal, StoreOp, Target,
        incumbent::IncumbentRow, rows, types::raw_epoch,
    },
};
use diesel::{OptionalExtension, RunQueryDsl, SqliteConnection};
use serde::Deserialize;

/// The facts of one repository, whichever way it is found. Every part is an index lookup on the repository or on its
/// few storages, so the cost does not depend on how many nodes there are. `supervisors` alone is read whole: a decision
/// needs to know who could disagree. CROSS JOIN keeps the replicas outermost: without statistics the planner would
/// rather read all votes of the virtual storage, of which there are as many as nodes. The
/// unary plus takes a column's affinity away: with it, the index on an expression (which has none) could not be searched.
macro_rules! facts {
    ($found:literal) => {
        concat!(
            "WITH now(ms) AS (SELECT ",
            now!(),
            ") SELECT json_object('at', now.ms * 1000, 'settings', (SELECT ",
            settings!(),
            " FROM settings), 'era', (SELECT MAX(era) FROM eras), 'repository', r.repository_id, ",
            "'virtual_storage', r.virtual_storage, 'relative_path', r.relative_path, 'generation', r.generation, ",
            "'primary', r.\"primary\", 'epoch', r.primary_epoch, 'facts_version', r.facts_version, ",
            "'replicas', json((SELECT json_group_array(json_object('storage', s.storage, 'generation', s.generation, ",
            "'marked', ",
            truth!(
                "EXISTS (SELECT 1 FROM replication_queue WHERE ",
                active_mark!(),
                " AND json_extract(job, '$.repository_id') = +s.repository_id",
                " AND json_extract(job, '$.target_node_storage') = +s.storage)"
            ),
            ", 'assigned', ",
            truth!(
                "EXISTS (SELECT 1 FROM repository_assignments AS a ",
                "WHERE a.repository_id = s.repository_id AND a.storage = s.storage)"
            ),
            ", 'attributes', json_object('priority', COALESCE(st.priority, 100), 'draining', ",
            truth!("COALESCE(st.draining, 0)"),
            ", 'penalised', ",
            truth!("COALESCE(st.penalty_until > now.ms, 0)"),
            ")) ORDER BY s.storage) FROM storage_repositories AS s LEFT JOIN storages AS st ",
            "ON st.virtual_storage = r.virtual_storage AND st.storage = s.storage ",
            "WHERE s.repository_id = r.repository_id)), ",
            "'assignments', json((SELECT json_group_array(a.storage ORDER BY a.storage) ",
            "FROM repository_assignments AS a WHERE a.repository_id = r.repository_id)), ",
            "'votes', json((SELECT json_group_array(json_object('supervisor', n.praefect_name, ",
            "'virtual_storage', n.shard_name, 'storage', n.node_name, 'opinion', n.verdict, ",
            "'incarnation', n.incarnation, 'contact_age', (now.ms - n.last_contact_attempt_at) * 1000, ",
            "'seen_age', (now.ms - n.last_seen_active_at) * 1000) ORDER BY n.node_name, n.praefect_name) ",
            "FROM storage_repositories AS s CROSS JOIN node_status AS n ",
            "ON n.shard_name = r.virtual_storage AND n.node_name = s.storage ",
            "WHERE s.repository_id = r.repository_id)), ",
            "'supervisors', json((SELECT json_group_array(json_object('name', v.name, 'incarnation', v.incarnation, ",
            "'heartbeat_age', (now.ms - v.heartbeat_at) * 1000, 'registered_age', (now.ms - v.registered_at) * 1000, ",
            "'recused', ",
            truth!("v.recused_since IS NOT NULL"),
            ") ORDER BY v.name) FROM supervisors AS v)), ",
            "'members', json(CASE WHEN (SELECT policy FROM settings) = 'half' THEN (SELECT json_group_array(",
            "json_object('virtual_storage', r.virtual_storage, 'supervisor', m.name, ",
            "'contact_age', (now.ms - m.at) * 1000) ORDER BY m.name) FROM (SELECT praefect_name AS name, ",
            "MAX(last_contact_attempt_at) AS at FROM node_status WHERE shard_name = r.virtual_storage ",
            "AND last_contact_attempt_at IS NOT NULL GROUP BY praefect_name) AS m) ELSE '[]' END)) ",
            "AS document FROM now, repositories AS r WHERE ",
            $found
        )
    };
}

const BY_ID: &str = facts!("r.repository_id = ?1");
const BY_PATH: &str = facts!("r.virtual_storage = ?1 AND r.relative_path = ?2");

/// What lets a recorded primary stay: single rows found by index.
macro_rules! incumbent {
    ($found:literal) => {
        concat!(
            "WITH now(ms) AS (SELECT ",
            now!(),
            ") SELECT c.cluster_id, r.repository_id, r.virtual_storage, r.relative_path, r.\"primary\", r.primary_epoch, ",
            "r.generation, s.generation AS replica_generation, st.priority, st.draining, ",
            "st.penalty_until > now.ms AS penalised, EXISTS (SELECT 1 FROM replication_queue WHERE ",
            active_mark!(),
            " AND json_extract(job, '$.repository_id') = +s.repository_id",
            " AND json_extract(job, '$.target_node_storage') = +s.storage) AS marked, ",
            "(SELECT MAX(a.storage = s.storage) FROM repository_assignments AS a ",
            "WHERE a.repository_id = s.repository_id) AS assigned ",
            "FROM now, repositories AS r CROSS JOIN storage_repositories AS s ",
            "ON s.repository_id = r.repository_id AND s.storage = r.\"primary\" CROSS JOIN settings AS c ",
            "LEFT JOIN storages AS st ON st.virtual_storage = r.virtual_storage AND st.storage = s.storage WHERE ",
            $found
        )
    };
}

const INCUMBENT_BY_ID: &str = incumbent!("r.repository_id = ?1");
const INCUMBENT_BY_PATH: &str = incumbent!("r.virtual_storage = ?1 AND r.relative_path = ?2");

/// What a proposal rests on, looked at again under the lock.
const GUARD: &str = concat!(
    "WITH now(ms) AS (SELECT ",
    now!(),
    ") SELECT json_object('previous', r.\"primary\", 'holds', ",
    truth!("r.facts_version = ?2 AND r.primary_epoch IS ?3 AND ", may_commit!("?4", "?5", "?6", "?7")),
    ") AS document FROM now, settings, repositories AS r WHERE r.repository_id = ?1"
);

#[derive(Deserialize)]
struct Guard {
    previous: Option<Storage>,
    holds: bool,
}

#[derive(Deserialize)]
struct Committed {
    #[serde(with = "raw_epoch")]
    epoch: Epoch,
}

fn compare_and_set(connection: &mut SqliteConnection, proposal: &Proposal) -> Result<CasOutcome, Failure> {
    let op = StoreOp::PrimaryCas;
    let (repository, expected) = (proposal.repository, &proposal.expected);
    // The answer to an earlier attempt may have been lost on its way: then this is won already.
    let earlier = "SELECT json_object('epoch', epoch) AS document FROM primary_changes \
                   WHERE decision = ?1 AND repository_id = ?2";
    let earlier = Statement::new(earlier).text(proposal.decision.as_str()).bigint(repository.0);
    if let Some(Committed { epoch }) = optional(connection, op, earlier)? {
        return Ok(CasOutcome::Won { epoch });
    }
    let guard = Statement::new(GUARD)
        .bigint(repository.0)
        .bigint(expected.facts_version.0)
        .optional_bigint(expected.epoch.map(Epoch::to_i64))
        .bigint(expected.era.0)
        .bigint(expected.at.0)
        .text(proposal.proposer.name.as_str())
        .bigint(proposal.proposer.incarnation.0);
    let Some(Guard { previous, holds: true }) = optional(connection, op, guard)? else { return Ok(CasOutcome::Lost) };
    let epoch = next_epoch(connection, op)?;
    let set = "UPDATE repositories SET \"primary\" = ?2, primary_epoch = ?3 WHERE repository_id = ?1";
    let to = proposal.to.as_ref();
    let set = Statement::new(set).bigint(repository.0).optional_text(to.map(Storage::as_str)).bigint(epoch.to_i64());
    execute(connection, set)?;
    let record = Record {
        id: &proposal.decision,
        kind: if to.is_some() { "election" } else { "demotion" },
        why: &proposal.why,
        by: Some(&proposal.proposer),
        evidence: &proposal.evidence,
    };
    record_primary(connection, repository, epoch, (previous.as_ref(), to), &record)?;
    Ok(CasOutcome::Won { epoch })
}

fn about(target: &Target, by_id: &'static str, by_path: &'static str) -> Statement {
    match target {
        Target::Id(repository) => Statement::new(by_id).bigint(repository.0),
        Target::Path(virtual_storage, relative_path) => {
            Statement::new(by_path).text(virtual_storage.as_str()).text(relative_path.as_str())
        }
    }
}

const HISTORY: &str = concat!(
    "WITH now(ms) AS (SELECT ",
    now!(),
    "), newest AS (SELECT * FROM primary_changes WHERE repository_id = ?1 ORDER BY epoch DESC LIMIT ?2) ",
    "SELECT json_group_array(json_object('epoch', c.epoch, 'previous', c.previous, 'current', c.current, ",
    "'age', (now.ms - c.at) * 1000, 'why', d.why, 'supervisor', d.supervisor, 'evidence', d.evidence) ",
    "ORDER BY c.epoch DESC) AS document FROM now, newest AS c LEFT JOIN decisions AS d ON d.id = c.decision"
);

impl ElectionStore for SqliteStore {
    fn election_facts<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<ElectionSnapshot>> {
        let op = StoreOp::ElectionFacts;
        let statement = about(target, BY_ID, BY_PATH);
        self.read(op, move |connection| {
            let read: Option<rows::ElectionDoc> = optional(connection, op, statement)?;
            Ok(read.map(ElectionSnapshot::from))
        })
    }

    fn incumbent<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<Incumbent>> {
        let statement = about(target, INCUMBENT_BY_ID, INCUMBENT_BY_PATH);
        let read = self.read(StoreOp::ElectionFacts, move |connection| {
            Ok(statement.get_result::<IncumbentRow>(connection).optional()?)
        });
        Box::pin(async move { read.await?.map(IncumbentRow::into_incumbent).transpose() })
    }

    fn primary_cas<'a>(&'a self, proposal: &'a Proposal) -> Answer<'a, CasOutcome> {
        let proposal = proposal.clone();
        self.write(StoreOp::PrimaryCas, move |connection| compare_and_set(connection, &proposal))
    }

    fn primary_history(&self, repository: RepositoryId, limit: u32) -> Answer<'_, Vec<PrimaryChange>> {
        let op = StoreOp::PrimaryHistory;
        self.read(op, move |connection| {
            let read = Statement::new(HISTORY).bigint(repository.0).bigint(i64::from(limit.clamp(1, 1_000)));
            let changes: Vec<rows::ChangeDoc> = document(connection, op, read)?;
            Ok(changes.into_iter().map(PrimaryChange::from).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{connect, migrations};
    use diesel::{QueryableByName, sql_types::Text};
    use std::time::Duration;

    #[derive(QueryableByName)]
    struct Step {
        #[diesel(sql_type = Text)]
        detail: String,
    }

    /// A lookup must cost the same with three nodes and with three hundred.
    #[test]
    fn the_facts_are_found_by_index() {
        let folder = tempfile::tempdir().unwrap();
        let place = connect::place(&format!("sqlite:{}/a.db", folder.path().display())).unwrap();
        let mut connection = connect::connect(&place, Duration::from_secs(1)).unwrap();
        migrations::bring_up(&mut connection, true).unwrap();
        for sql in [BY_ID, BY_PATH, INCUMBENT_BY_ID, INCUMBENT_BY_PATH] {
            let plan = diesel::sql_query(format!("EXPLAIN QUERY PLAN {sql}"));
            let steps: Vec<Step> = plan.load(&mut connection).unwrap();
            let details: Vec<_> = steps.into_iter().map(|step| step.detail).collect();
            let scans = |table: &&String| table.starts_with("SCAN");
            let small = ["SCAN settings", "SCAN c", "SCAN v", "SCAN now", "SCAN m", "SCAN CONSTANT ROW"];
            for scan in details.iter().filter(scans) {
                assert!(small.iter().any(|known| scan.starts_with(known)), "{scan}: {details:#?}");
            }
            assert!(details.iter().any(|step| step.contains("delete_replica_by_repository_idx")), "{details:#?}");
            let votes = "SEARCH n USING INDEX shard_name_on_node_status_idx (shard_name=? AND node_name=?)";
            let has_votes = [BY_ID, BY_PATH].contains(&sql);
            assert!(!has_votes || details.iter().any(|step| step == votes), "{details:#?}");
        }
    }
}
