//! What a dead node led: facts and commits in sets.
//!
//! A batch is one `BEGIN IMMEDIATE`, so one supervisor at a time commits, and no row can be held by anybody else. A row that
//! leases the work to one supervisor, as PostgreSQL's lock does, would add a write to save reads: whoever comes second
//! finds every epoch moved, loses its batch as a whole, and waits before it looks again.

use super::{
    SqliteStore,
    error::Failure,
    query::{
        Notice, Statement, about_repository, active_mark, document, execute, may_commit, notice, now, optional,
        settings, text, truth,
    },
};
use crate::{
    core::ids::{NodeId, RepositoryId},
    store::{
        Answer, SettleBatch, SettleOutcome, SettleSnapshot, SettleStore, StoreOp,
        rows::{self, SettleDoc, SettledDoc},
    },
};
use diesel::SqliteConnection;
use serde::Deserialize;

/// More changes than this are told as one: re-read all of the virtual storage. As on PostgreSQL.
const TOLD_ONE_BY_ONE: usize = 64;

/// One statement, one snapshot, as the facts of one repository; `own` stands for what is read of each.
const FACTS: &str = concat!(
    "WITH now(ms) AS (SELECT ",
    now!(),
    "), led AS MATERIALIZED (SELECT repository_id, relative_path, generation, primary_epoch, facts_version ",
    "FROM repositories WHERE virtual_storage = ?1 AND \"primary\" = ?2 AND repository_id > ?3 ",
    "ORDER BY repository_id LIMIT ?4), ",
    "held AS MATERIALIZED (SELECT s.repository_id, s.storage, s.generation FROM led CROSS JOIN storage_repositories AS s ",
    "ON s.repository_id = led.repository_id) ",
    "SELECT json_object('at', now.ms * 1000, 'settings', (SELECT ",
    settings!(),
    " FROM settings), 'era', (SELECT MAX(era) FROM eras), ",
    "'attributes', json((SELECT json_group_array(json_object('storage', storage, 'priority', priority, 'draining', ",
    truth!("draining"),
    ", 'penalised', ",
    truth!("COALESCE(penalty_until > now.ms, 0)"),
    ")) FROM storages WHERE virtual_storage = ?1)), ",
    "'votes', json((SELECT json_group_array(json_object('supervisor', n.praefect_name, ",
    "'virtual_storage', n.shard_name, 'storage', n.node_name, 'opinion', n.verdict, ",
    "'incarnation', n.incarnation, 'contact_age', (now.ms - n.last_contact_attempt_at) * 1000, ",
    "'seen_age', (now.ms - n.last_seen_active_at) * 1000) ORDER BY n.node_name, n.praefect_name) ",
    "FROM (SELECT ?2 AS storage UNION SELECT storage FROM held) AS c CROSS JOIN node_status AS n ",
    "ON n.shard_name = ?1 AND n.node_name = c.storage)), ",
    "'supervisors', json((SELECT json_group_array(json_object('name', v.name, 'incarnation', v.incarnation, ",
    "'heartbeat_age', (now.ms - v.heartbeat_at) * 1000, 'registered_age', (now.ms - v.registered_at) * 1000, ",
    "'recused', ",
    truth!("v.recused_since IS NOT NULL"),
    ") ORDER BY v.name) FROM supervisors AS v)), ",
    "'members', json(CASE WHEN (SELECT policy FROM settings) = 'half' THEN (SELECT json_group_array(",
    "json_object('virtual_storage', ?1, 'supervisor', m.name, ",
    "'contact_age', (now.ms - m.at) * 1000) ORDER BY m.name) FROM (SELECT praefect_name AS name, ",
    "MAX(last_contact_attempt_at) AS at FROM node_status WHERE shard_name = ?1 ",
    "AND last_contact_attempt_at IS NOT NULL GROUP BY praefect_name) AS m) ELSE '[]' END), ",
    "'until', (SELECT max(repository_id) FROM led HAVING count(*) = ?4), ",
    "'repositories', json((SELECT json_group_array(json_array(l.repository_id, l.relative_path, l.generation, ",
    "l.primary_epoch, l.facts_version, ",
    "json((SELECT json_group_array(json_array(s.storage, s.generation)) FROM storage_repositories AS s ",
    "WHERE s.repository_id = l.repository_id)), ",
    "json((SELECT json_group_array(json_extract(job, '$.target_node_storage')) FROM replication_queue WHERE ",
    active_mark!(),
    " AND json_extract(job, '$.repository_id') = +l.repository_id ",
    "AND json_extract(job, '$.target_node_storage') IS NOT NULL)), ",
    "json((SELECT json_group_array(a.storage) FROM repository_assignments AS a ",
    "WHERE a.repository_id = l.repository_id))) ORDER BY l.repository_id) FROM led AS l))) AS document FROM now"
);

/// What a batch won, if it was committed under its decision already.
const WON: &str = "SELECT json_object('outcome', 'done', 'won', json(json_group_array(json_array(repository_id, epoch)))) \
                   AS document FROM primary_changes WHERE decision = ?1 HAVING count(*) > 0";

/// What all decisions of a batch rest on, looked at again under the lock.
const GUARD: &str = concat!(
    "WITH now(ms) AS (SELECT ",
    now!(),
    ") SELECT json_object('holds', ",
    truth!(may_commit!("?1", "?2", "?3", "?4")),
    ") AS document FROM now, settings"
);

/// The history of those whose own facts have not moved, each under an epoch of its own.
const HISTORY: &str = concat!(
    "INSERT INTO primary_changes (repository_id, epoch, previous, current, decision, at) ",
    "SELECT r.repository_id, (?1 << 37) | (c.value + row_number() OVER (ORDER BY r.repository_id)), r.\"primary\", ",
    "w.value ->> 'elected', ?2, ",
    now!(),
    " FROM json_each(?3) AS w CROSS JOIN repositories AS r ON r.repository_id = (w.value ->> 'id') ",
    "JOIN counters AS c ON c.name = 'primary_epochs' ",
    "WHERE r.facts_version = (w.value ->> 'facts') AND r.primary_epoch IS (w.value ->> 'epoch')"
);

const COUNTED: &str = "UPDATE counters SET value = value + ?1 WHERE name = 'primary_epochs'";

const CHANGED: &str = "UPDATE repositories SET \"primary\" = c.current, primary_epoch = c.epoch FROM primary_changes AS c \
                       WHERE c.decision = ?1 AND c.repository_id = repositories.repository_id";

const RECORD: &str = concat!(
    "INSERT INTO decisions (id, at, supervisor, incarnation, kind, why, evidence) VALUES (?1, ",
    now!(),
    ", ?2, ?3, ?4, ?5, ?6)"
);

#[derive(Deserialize)]
struct Guard {
    holds: bool,
}

fn compare_and_set(connection: &mut SqliteConnection, batch: &SettleBatch) -> Result<SettleOutcome, Failure> {
    let op = StoreOp::SettleCas;
    let SettleBatch { decision, node, era, at, proposer, why, evidence, repositories } = batch;
    let won = || Statement::new(WON).text(decision.as_str());
    // The answer to an earlier attempt may have been lost on its way: then this is won already.
    let earlier: Option<SettledDoc> = optional(connection, op, won())?;
    if let Some(earlier) = earlier {
        return Ok(earlier.into());
    }
    let guard =
        Statement::new(GUARD).bigint(era.0).bigint(at.0).text(proposer.name.as_str()).bigint(proposer.incarnation.0);
    let Some(Guard { holds: true }) = optional(connection, op, guard)? else {
        return Ok(SettleOutcome::Done([].into()));
    };
    let wanted = rows::settlements(batch)?;
    let history = Statement::new(HISTORY).bigint(era.0).text(decision.as_str()).text(wanted);
    let moved = execute(connection, history)?;
    if moved == 0 {
        return Ok(SettleOutcome::Done([].into()));
    }
    execute(connection, Statement::new(COUNTED).bigint(i64::try_from(moved).unwrap_or(i64::MAX)))?;
    execute(connection, Statement::new(CHANGED).text(decision.as_str()))?;
    let demotes = repositories.first().is_some_and(|one| one.to.is_none());
    let record = Statement::new(RECORD)
        .text(decision.as_str())
        .text(proposer.name.as_str())
        .bigint(proposer.incarnation.0)
        .text(if demotes { "demotion" } else { "election" })
        .text(why.as_str())
        .text(evidence.as_str());
    execute(connection, record)?;
    let outcome = SettleOutcome::from(document::<SettledDoc>(connection, op, won())?);
    match &outcome {
        SettleOutcome::Done(won) if won.len() <= TOLD_ONE_BY_ONE => {
            for repository in won.keys() {
                about_repository(connection, Notice::Primaries, *repository)?;
            }
        }
        SettleOutcome::Done(_) | SettleOutcome::Busy | SettleOutcome::EraChanged => {
            let key = Statement::new("SELECT json_object('virtual_storage', ?1, 'primary', ?2) AS document")
                .text(node.virtual_storage.as_str())
                .text(node.storage.as_str());
            if let Some(key) = text(connection, key)? {
                notice(connection, Notice::Primaries, key)?;
            }
        }
    }
    Ok(outcome)
}

impl SettleStore for SqliteStore {
    fn settle_facts<'a>(&'a self, node: &'a NodeId, after: RepositoryId, limit: u32) -> Answer<'a, SettleSnapshot> {
        let op = StoreOp::SettleFacts;
        let read = Statement::new(FACTS)
            .text(node.virtual_storage.as_str())
            .text(node.storage.as_str())
            .bigint(after.0)
            .bigint(i64::from(limit.clamp(1, 10_000)));
        let read = self.read(op, move |connection| document::<SettleDoc>(connection, op, read));
        Box::pin(async move { Ok(read.await?.snapshot(node)) })
    }

    fn settle_cas<'a>(&'a self, batch: &'a SettleBatch) -> Answer<'a, SettleOutcome> {
        let batch = batch.clone();
        self.write(StoreOp::SettleCas, move |connection| compare_and_set(connection, &batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{connect, migrations};
    use diesel::{QueryableByName, RunQueryDsl, sql_types::Text};
    use std::time::Duration;

    #[derive(QueryableByName)]
    struct Step {
        #[diesel(sql_type = Text)]
        detail: String,
    }

    /// A batch must cost the same in the middle of a million repositories.
    #[test]
    fn the_facts_and_the_commit_are_found_by_index() {
        let folder = tempfile::tempdir().unwrap();
        let place = connect::place(&format!("sqlite:{}/a.db", folder.path().display())).unwrap();
        let mut connection = connect::connect(&place, Duration::from_secs(1)).unwrap();
        migrations::bring_up(&mut connection, true).unwrap();
        let mut plan = |sql: &str| -> Vec<String> {
            let steps: Vec<Step> =
                diesel::sql_query(format!("EXPLAIN QUERY PLAN {sql}")).load(&mut connection).unwrap();
            steps.into_iter().map(|step| step.detail).collect()
        };
        let small = ["now", "settings", "storages", "v", "m", "l", "led", "held", "c", "w", "CONSTANT", "(subquery-2)"];
        for sql in [FACTS, HISTORY, CHANGED, WON] {
            let details = plan(sql);
            for scan in details.iter().filter_map(|step| step.strip_prefix("SCAN ")) {
                assert!(small.iter().any(|known| scan.split(' ').next() == Some(known)), "{scan}: {details:#?}");
            }
        }
        let led = "SEARCH repositories USING INDEX quorate_led (virtual_storage=? AND primary=? AND repository_id>?)";
        assert!(plan(FACTS).iter().any(|step| step == led), "{:#?}", plan(FACTS));
    }
}
