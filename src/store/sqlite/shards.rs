//! One primary for a whole virtual storage: facts and commits.

use super::{
    SqliteStore,
    error::Failure,
    query::{Notice, Statement, document, execute, may_commit, next_epoch, notice, now, optional, settings, truth},
};
use crate::{
    core::{
        epoch::Epoch,
        ids::{Storage, VirtualStorage},
    },
    store::{
        Answer, CasOutcome, PrimaryChange, ShardProposal, ShardSnapshot, ShardStore, StoreOp, rows, types::raw_epoch,
    },
};
use diesel::SqliteConnection;
use serde::Deserialize;

/// One statement, one snapshot. What each storage has is summed over its replicas alone, without joining every one of
/// them to its repository: those without a generation are so few that leaving them out costs nothing.
const FACTS: &str = concat!(
    "WITH now(ms) AS (SELECT ",
    now!(),
    ") SELECT json_object('at', now.ms * 1000, 'settings', (SELECT ",
    settings!(),
    " FROM settings), 'era', (SELECT MAX(era) FROM eras), 'virtual_storage', ?1, ",
    "'recorded', json((SELECT json_object('storage', p.node_name, 'demoted', ",
    truth!("p.demoted"),
    ", 'epoch', p.epoch, 'elected_age', (now.ms - p.elected_at) * 1000) FROM shard_primaries AS p ",
    "WHERE p.shard_name = ?1)), ",
    "'attributes', json((SELECT json_group_array(json_object('storage', storage, 'priority', priority, 'draining', ",
    truth!("draining"),
    ", 'penalised', ",
    truth!("COALESCE(penalty_until > now.ms, 0)"),
    ")) FROM storages WHERE virtual_storage = ?1)), ",
    "'lags', json(CASE WHEN ?2 THEN json_object('expected', ",
    "(SELECT SUM(generation + 1) FROM repositories WHERE virtual_storage = ?1), ",
    "'held', json((SELECT json_group_array(json_object('storage', storage, 'held', held)) FROM (",
    "SELECT storage, SUM(generation + 1) AS held FROM storage_repositories ",
    "WHERE virtual_storage = ?1 AND repository_id NOT IN ",
    "(SELECT repository_id FROM repositories WHERE virtual_storage = ?1 AND generation IS NULL) ",
    "GROUP BY storage)))) END), ",
    "'votes', json((SELECT json_group_array(json_object('supervisor', praefect_name, ",
    "'virtual_storage', shard_name, 'storage', node_name, 'opinion', verdict, 'incarnation', incarnation, ",
    "'contact_age', (now.ms - last_contact_attempt_at) * 1000, 'seen_age', (now.ms - last_seen_active_at) * 1000) ",
    "ORDER BY praefect_name, node_name) FROM node_status WHERE shard_name = ?1)), ",
    "'supervisors', json((SELECT json_group_array(json_object('name', name, 'incarnation', incarnation, ",
    "'heartbeat_age', (now.ms - heartbeat_at) * 1000, 'registered_age', (now.ms - registered_at) * 1000, 'recused', ",
    truth!("recused_since IS NOT NULL"),
    ") ORDER BY name) FROM supervisors))) AS document FROM now"
);

/// What a proposal rests on, looked at again under the lock.
const GUARD: &str = concat!(
    "WITH now(ms) AS (SELECT ",
    now!(),
    ") SELECT json_object('row', ",
    truth!("p.shard_name IS NOT NULL"),
    ", 'previous', CASE WHEN p.demoted = 0 THEN p.node_name END, 'holds', ",
    truth!("p.epoch IS ?2 AND ", may_commit!("?3", "?4", "?5", "?6")),
    ") AS document FROM now, settings LEFT JOIN shard_primaries AS p ON p.shard_name = ?1"
);

#[derive(Deserialize)]
struct Guard {
    row: bool,
    previous: Option<Storage>,
    holds: bool,
}

#[derive(Deserialize)]
struct Committed {
    #[serde(with = "raw_epoch")]
    epoch: Epoch,
}

fn compare_and_set(connection: &mut SqliteConnection, proposal: &ShardProposal) -> Result<CasOutcome, Failure> {
    let op = StoreOp::ShardCas;
    let ShardProposal { decision, virtual_storage, expected, to, proposer, .. } = proposal;
    // The answer to an earlier attempt may have been lost on its way: then this is won already.
    let earlier = "SELECT json_object('epoch', epoch) AS document FROM shard_changes \
                   WHERE decision = ?1 AND virtual_storage = ?2";
    let earlier = Statement::new(earlier).text(decision.as_str()).text(virtual_storage.as_str());
    if let Some(Committed { epoch }) = optional(connection, op, earlier)? {
        return Ok(CasOutcome::Won { epoch });
    }
    let guard = Statement::new(GUARD)
        .text(virtual_storage.as_str())
        .optional_bigint(expected.epoch.map(Epoch::to_i64))
        .bigint(expected.era.0)
        .bigint(expected.at.0)
        .text(proposer.name.as_str())
        .bigint(proposer.incarnation.0);
    let Some(Guard { row, previous, holds: true }) = optional(connection, op, guard)? else {
        return Ok(CasOutcome::Lost);
    };
    if to.is_none() && !row {
        return Ok(CasOutcome::Lost);
    }
    let epoch = next_epoch(connection, op)?;
    let set = match to {
        Some(storage) => Statement::new(concat!(
            "INSERT INTO shard_primaries (shard_name, epoch, node_name, elected_by_praefect, elected_at, demoted) ",
            "VALUES (?1, ?2, ?3, ?4, ",
            now!(),
            ", 0) ON CONFLICT (shard_name) DO UPDATE SET epoch = excluded.epoch, node_name = excluded.node_name, ",
            "elected_by_praefect = excluded.elected_by_praefect, elected_at = excluded.elected_at, demoted = 0"
        ))
        .text(virtual_storage.as_str())
        .bigint(epoch.to_i64())
        .text(storage.as_str())
        .text(proposer.name.as_str()),
        None => Statement::new("UPDATE shard_primaries SET demoted = 1, epoch = ?2 WHERE shard_name = ?1")
            .text(virtual_storage.as_str())
            .bigint(epoch.to_i64()),
    };
    execute(connection, set)?;
    record(connection, proposal, previous.as_ref(), epoch)?;
    Ok(CasOutcome::Won { epoch })
}

/// Writes down a change: the decision, the history, and the notice to pollers.
fn record(
    connection: &mut SqliteConnection,
    proposal: &ShardProposal,
    previous: Option<&Storage>,
    epoch: Epoch,
) -> Result<(), Failure> {
    let ShardProposal { decision, virtual_storage, to, proposer, why, evidence, .. } = proposal;
    let decided = Statement::new(concat!(
        "INSERT INTO decisions (id, at, supervisor, incarnation, kind, why, evidence) VALUES (?1, ",
        now!(),
        ", ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING"
    ));
    let decided = decided
        .text(decision.as_str())
        .text(proposer.name.as_str())
        .bigint(proposer.incarnation.0)
        .text(if to.is_some() { "elect_shard" } else { "demote_shard" })
        .text(why.as_str())
        .text(evidence.as_str());
    execute(connection, decided)?;
    let history = Statement::new(concat!(
        "INSERT INTO shard_changes (epoch, virtual_storage, previous, current, decision, at) VALUES (?1, ?2, ?3, ?4, ?5, ",
        now!(),
        ")"
    ));
    let history = history
        .bigint(epoch.to_i64())
        .text(virtual_storage.as_str())
        .optional_text(previous.map(Storage::as_str))
        .optional_text(to.as_ref().map(Storage::as_str))
        .text(decision.as_str());
    execute(connection, history)?;
    // A virtual storage changes its primary so seldom that whoever does clears away what is old.
    let old = concat!("DELETE FROM shard_changes WHERE virtual_storage = ?1 AND at < ", now!(), " - 30 * 86400000");
    execute(connection, Statement::new(old).text(virtual_storage.as_str()))?;
    let key = "SELECT json_object('virtual_storage', ?1) AS document";
    let key = super::query::text(connection, Statement::new(key).text(virtual_storage.as_str()))?;
    notice(connection, Notice::Primaries, key.unwrap_or_default())
}

const HISTORY: &str = concat!(
    "WITH now(ms) AS (SELECT ",
    now!(),
    "), newest AS (SELECT * FROM shard_changes WHERE virtual_storage = ?1 ORDER BY epoch DESC LIMIT ?2) ",
    "SELECT json_group_array(json_object('epoch', c.epoch, 'previous', c.previous, 'current', c.current, ",
    "'age', (now.ms - c.at) * 1000, 'why', d.why, 'supervisor', d.supervisor, 'evidence', d.evidence) ",
    "ORDER BY c.epoch DESC) AS document FROM now, newest AS c LEFT JOIN decisions AS d ON d.id = c.decision"
);

impl ShardStore for SqliteStore {
    fn shard_facts<'a>(&'a self, virtual_storage: &'a VirtualStorage, lags: bool) -> Answer<'a, ShardSnapshot> {
        let op = StoreOp::ShardFacts;
        let read = Statement::new(FACTS).text(virtual_storage.as_str()).optional_bool(Some(lags));
        self.read(op, move |connection| {
            let read: rows::ShardDoc = document(connection, op, read)?;
            Ok(ShardSnapshot::from(read))
        })
    }

    fn shard_cas<'a>(&'a self, proposal: &'a ShardProposal) -> Answer<'a, CasOutcome> {
        let proposal = proposal.clone();
        self.write(StoreOp::ShardCas, move |connection| compare_and_set(connection, &proposal))
    }

    fn shard_history<'a>(&'a self, virtual_storage: &'a VirtualStorage, limit: u32) -> Answer<'a, Vec<PrimaryChange>> {
        let op = StoreOp::ShardHistory;
        let read = Statement::new(HISTORY).text(virtual_storage.as_str()).bigint(i64::from(limit.clamp(1, 1_000)));
        self.read(op, move |connection| {
            let changes: Vec<rows::ChangeDoc> = document(connection, op, read)?;
            Ok(changes.into_iter().map(PrimaryChange::from).collect())
        })
    }
}
