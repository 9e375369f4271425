//! Settings, supervisors and votes.

use super::{
    SqliteStore, eras,
    error::Failure,
    query::{Notice, Statement, document, encode, execute, missing, notice, now, optional, settings, truth},
};
use crate::{
    core::{
        consensus::Opinion,
        epoch::{Epoch, Era, Given, Revision},
        ids::{Incarnation, NodeId, Voter},
        recusal::Distrust,
        settings::{Settings, WithoutCandidate},
        time::{DatabaseTime, micros},
    },
    store::{
        Answer, HealthSnapshot, HealthStore, Heartbeat, Registered, Registration, StoreOp, StoredSettings, VoteBatch,
        VotesWritten, rows,
    },
};
use diesel::SqliteConnection;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A supervisor's row, as far as registering and heartbeats ask. Whether it is live is asked of its heartbeat alone: a
/// recused supervisor abstains, but it has not gone.
#[derive(Deserialize)]
struct Holder {
    incarnation: Incarnation,
    live: bool,
    took_over_lately: bool,
    revision: Revision,
    process: Option<String>,
    attempt: Option<i64>,
}

impl Holder {
    /// Whether the row was registered by the process that asks.
    fn is(&self, registration: &Registration) -> bool {
        self.process.as_deref() == Some(registration.process.as_str())
    }
}

const HOLDER: &str = concat!(
    "WITH now(ms) AS (SELECT ",
    now!(),
    ") SELECT json_object('incarnation', s.incarnation, 'live', ",
    truth!("now.ms - s.heartbeat_at < settings.voter_ttl_ms AND now.ms - s.heartbeat_at >= -1000"),
    ", 'took_over_lately', ",
    truth!("COALESCE(now.ms - s.superseded_live_at BETWEEN -1000 AND 59999, 0)"),
    ", 'revision', settings.revision, 'process', s.process, 'attempt', s.attempt) AS document FROM now, settings, supervisors AS s WHERE s.name = ?1"
);

const STORED: &str = concat!("SELECT ", settings!(), " AS document FROM settings");

/// One vote, as `json_each` takes it.
#[derive(Serialize)]
struct Vote {
    v: String,
    s: String,
    opinion: &'static str,
}

fn stored(connection: &mut SqliteConnection, op: StoreOp) -> Result<Option<StoredSettings>, Failure> {
    optional(connection, op, Statement::new(STORED))
}

/// The same binds for the first row and for every later change.
fn with_settings(statement: Statement, wanted: &Settings) -> Statement {
    let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let without_candidate = match wanted.without_candidate {
        WithoutCandidate::Keep => "keep",
        WithoutCandidate::Demote => "demote",
    };
    statement
        .text(wanted.profile.as_str())
        .text(wanted.policy.as_str())
        .optional_bigint(wanted.expected_supervisors.map(i64::from))
        .bigint(millis(wanted.voter_ttl))
        .bigint(millis(wanted.vote_ttl))
        .bigint(millis(wanted.decision_ttl))
        .text(without_candidate)
        .bigint(i64::from(wanted.praefect_notifications))
}

/// The first start: the cluster gets its identity and its first era.
fn seed(connection: &mut SqliteConnection, op: StoreOp, wanted: &Settings) -> Result<StoredSettings, Failure> {
    if stored(connection, op)?.is_none() {
        let insert = Statement::new(
            "INSERT INTO settings (profile, policy, expected_supervisors, voter_ttl_ms, vote_ttl_ms, decision_ttl_ms, \
             without_candidate, praefect_notifications, cluster_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        );
        execute(connection, with_settings(insert, wanted).text(uuid::Uuid::new_v4().to_string()))?;
        let era = concat!(
            "INSERT INTO eras (era, since, reason) SELECT 1, ",
            now!(),
            ", 'first start' WHERE NOT EXISTS (SELECT 1 FROM eras)"
        );
        execute(connection, Statement::new(era))?;
    }
    stored(connection, op)?.ok_or_else(|| missing(op, "settings: there is no row"))
}

fn register(connection: &mut SqliteConnection, registration: &Registration) -> Result<Registered, Failure> {
    let op = StoreOp::SupervisorRegister;
    if stored(connection, op)?.is_none() {
        return Err(missing(op, "settings: there is no row; settings_seed makes it"));
    }
    let name = registration.name.as_str();
    let holder: Option<Holder> = optional(connection, op, Statement::new(HOLDER).text(name))?;
    // 0: it took over from nobody; 1: from a live one, now; 2: the place is its own, what it did before still counts.
    let takeover = match &holder {
        Some(holder) if holder.is(registration) && holder.attempt >= Some(registration.attempt) => {
            return Ok(Registered::Superseded { by: holder.incarnation });
        }
        Some(holder) if holder.is(registration) || registration.previous == Some(holder.incarnation) => 2,
        // Whoever came after this process is its successor, live or not.
        Some(holder) if registration.previous.is_some_and(|previous| previous < holder.incarnation) => {
            return Ok(Registered::Superseded { by: holder.incarnation });
        }
        Some(holder) if holder.live && holder.took_over_lately => {
            return Ok(Registered::NameInUse { held_by: holder.incarnation });
        }
        Some(holder) if holder.live => 1,
        Some(_) | None => 0,
    };
    prune(connection, name)?;
    execute(connection, Statement::new("UPDATE counters SET value = value + 1 WHERE name = 'incarnations'"))?;
    let incarnation: i64 = document(
        connection,
        op,
        Statement::new("SELECT CAST(value AS TEXT) AS document FROM counters WHERE name = 'incarnations'"),
    )?;
    watch(connection, op, name, incarnation, &registration.nodes)?;
    notice(connection, Notice::Votes, name.to_owned())?;
    let row = Statement::new(concat!(
        "INSERT INTO supervisors (name, incarnation, registered_at, superseded_live_at, heartbeat_at, version, address, ",
        "process, attempt) ",
        "VALUES (?1, ?2, ",
        now!(),
        ", CASE WHEN ?3 = 1 THEN ",
        now!(),
        " END, ",
        now!(),
        ", ?4, ?5, ?6, ?7) ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, ",
        "registered_at = excluded.registered_at, heartbeat_at = excluded.heartbeat_at, version = excluded.version, ",
        "address = excluded.address, process = excluded.process, attempt = excluded.attempt, recused_since = NULL, recused_reason = NULL, ",
        "superseded_live_at = CASE WHEN ?3 = 2 THEN supervisors.superseded_live_at ELSE excluded.superseded_live_at END"
    ));
    let row = row.text(name).bigint(incarnation).bigint(takeover).text(registration.version.as_str());
    let row = row.optional_text(registration.address.as_deref());
    execute(connection, row.text(registration.process.as_str()).bigint(registration.attempt))?;
    Ok(Registered::Registered { incarnation: Incarnation(incarnation), at: heartbeat_at(connection, op, name)? })
}

/// Rows for exactly these nodes; those that exist stay as they are. Answers whether anything changed.
fn watch(
    connection: &mut SqliteConnection,
    op: StoreOp,
    name: &str,
    incarnation: i64,
    nodes: &[NodeId],
) -> Result<bool, Failure> {
    let nodes = encode(op, &nodes)?;
    let unwatched = Statement::new(
        "DELETE FROM node_status WHERE praefect_name = ?1 AND (shard_name, node_name) NOT IN \
         (SELECT value ->> '$.virtual_storage', value ->> '$.storage' FROM json_each(?2))",
    );
    let gone = execute(connection, unwatched.text(name).text(nodes.as_str()))?;
    let silent = Statement::new(
        "INSERT INTO node_status (praefect_name, shard_name, node_name, verdict, incarnation) \
         SELECT ?1, value ->> '$.virtual_storage', value ->> '$.storage', 'none', ?3 FROM json_each(?2) WHERE TRUE \
         ON CONFLICT (praefect_name, shard_name, node_name) DO NOTHING",
    );
    let made = execute(connection, silent.text(name).text(nodes).bigint(incarnation))?;
    Ok(gone > 0 || made > 0)
}

fn watch_again(connection: &mut SqliteConnection, voter: &Voter, nodes: &[NodeId]) -> Result<bool, Failure> {
    let (op, name) = (StoreOp::NodesWatch, voter.name.as_str());
    if !is_registered(connection, op, voter)? {
        return Ok(false);
    }
    if watch(connection, op, name, voter.incarnation.0, nodes)? {
        notice(connection, Notice::Votes, name.to_owned())?;
    }
    Ok(true)
}

fn is_registered(connection: &mut SqliteConnection, op: StoreOp, voter: &Voter) -> Result<bool, Failure> {
    let mine = "SELECT CAST(COUNT(*) AS TEXT) AS document FROM supervisors WHERE name = ?1 AND incarnation = ?2";
    let mine: i64 =
        document(connection, op, Statement::new(mine).text(voter.name.as_str()).bigint(voter.incarnation.0))?;
    Ok(mine > 0)
}

/// Forgets what nobody reads any more. Bounded, so that the first start after a long pause is not a slow one.
fn prune(connection: &mut SqliteConnection, myself: &str) -> Result<(), Failure> {
    for old in [
        concat!(
            "DELETE FROM changes WHERE id IN (SELECT id FROM changes WHERE at < ",
            now!(),
            " - 3600000 LIMIT 10000)"
        ),
        concat!(
            "DELETE FROM primary_changes WHERE epoch IN (SELECT epoch FROM primary_changes WHERE at < ",
            now!(),
            " - 2592000000 LIMIT 10000)"
        ),
        concat!(
            "DELETE FROM decisions WHERE id IN (SELECT id FROM decisions WHERE at < ",
            now!(),
            " - 2592000000 LIMIT 10000)"
        ),
    ] {
        execute(connection, Statement::new(old))?;
    }
    let silent = concat!("DELETE FROM supervisors WHERE heartbeat_at < ", now!(), " - 86400000 AND name <> ?1");
    execute(connection, Statement::new(silent).text(myself))?;
    // What no registered supervisor owns counts by its stamps alone, and without one within a day for nothing.
    let left_behind = concat!(
        "DELETE FROM node_status WHERE rowid IN (SELECT n.rowid FROM node_status n WHERE n.praefect_name <> ?1 ",
        "AND NOT EXISTS (SELECT 1 FROM supervisors s WHERE s.name = n.praefect_name) ",
        "AND max(coalesce(n.last_contact_attempt_at, 0), coalesce(n.last_seen_active_at, 0)) < ",
        now!(),
        " - 86400000 LIMIT 1000)"
    );
    execute(connection, Statement::new(left_behind).text(myself))?;
    Ok(())
}

fn heartbeat_at(connection: &mut SqliteConnection, op: StoreOp, name: &str) -> Result<DatabaseTime, Failure> {
    let read = "SELECT CAST(heartbeat_at * 1000 AS TEXT) AS document FROM supervisors WHERE name = ?1";
    document(connection, op, Statement::new(read).text(name))
}

const MINUTE_MICROS: i64 = 60_000_000;

fn heartbeat(connection: &mut SqliteConnection, voter: &Voter) -> Result<Heartbeat, Failure> {
    let op = StoreOp::SupervisorHeartbeat;
    let name = voter.name.as_str();
    let holder: Option<Holder> = optional(connection, op, Statement::new(HOLDER).text(name))?;
    match holder {
        None => Ok(Heartbeat::Gone),
        Some(holder) if holder.incarnation != voter.incarnation => Ok(Heartbeat::Superseded { by: holder.incarnation }),
        Some(holder) if !holder.live => Ok(Heartbeat::Lapsed),
        Some(holder) => {
            let last = heartbeat_at(connection, op, name)?;
            let stamp = concat!("UPDATE supervisors SET heartbeat_at = ", now!(), " WHERE name = ?1");
            execute(connection, Statement::new(stamp).text(name))?;
            let at = heartbeat_at(connection, op, name)?;
            // The first heartbeat of a minute clears away: what only registrations did would not be done for months.
            if last.0.div_euclid(MINUTE_MICROS) < at.0.div_euclid(MINUTE_MICROS) {
                prune(connection, name)?;
            }
            Ok(Heartbeat::Alive { at, settings_revision: holder.revision })
        }
    }
}

/// One that was set by hand is not made shorter.
fn penalise(
    connection: &mut SqliteConnection,
    node: &NodeId,
    seen: Option<DatabaseTime>,
    lasting: Duration,
) -> Result<bool, Failure> {
    let raise = Statement::new(concat!(
        "INSERT INTO storages AS s (virtual_storage, storage, penalised_at, penalty_until, penalty_reason) ",
        "SELECT ?1, ?2, now.ms, now.ms + ?4, 'deposed' FROM (SELECT ",
        now!(),
        " AS ms) AS now WHERE TRUE ON CONFLICT (virtual_storage, storage) DO UPDATE SET ",
        "penalised_at = excluded.penalised_at, penalty_reason = excluded.penalty_reason, ",
        "penalty_until = max(COALESCE(s.penalty_until, 0), excluded.penalty_until) WHERE s.penalty_until IS ?3"
    ));
    let raise = raise.text(node.virtual_storage.as_str()).text(node.storage.as_str());
    let raise = raise.optional_bigint(seen.map(|seen| seen.0.div_euclid(1_000)));
    Ok(execute(connection, raise.bigint(micros(lasting).div_euclid(1_000)))? > 0)
}

fn forgive(connection: &mut SqliteConnection, node: &NodeId) -> Result<bool, Failure> {
    let lift = "UPDATE storages SET penalty_until = NULL, penalised_at = NULL, penalty_reason = NULL \
                WHERE virtual_storage = ?1 AND storage = ?2 AND penalty_until IS NOT NULL";
    let lift = Statement::new(lift).text(node.virtual_storage.as_str()).text(node.storage.as_str());
    Ok(execute(connection, lift)? > 0)
}

fn recuse(connection: &mut SqliteConnection, voter: &Voter, reason: Option<Distrust>) -> Result<bool, Failure> {
    let row = Statement::new(concat!(
        "UPDATE supervisors SET recused_since = CASE WHEN ?3 IS NULL THEN NULL ELSE ",
        now!(),
        " END, recused_reason = ?3 WHERE name = ?1 AND incarnation = ?2"
    ));
    let row = row.text(voter.name.as_str()).bigint(voter.incarnation.0);
    let mine = execute(connection, row.optional_text(reason.map(Distrust::as_str)))? > 0;
    if mine {
        notice(connection, Notice::Votes, voter.name.as_str().to_owned())?;
    }
    Ok(mine)
}

fn remove(connection: &mut SqliteConnection, voter: &Voter) -> Result<bool, Failure> {
    let name = voter.name.as_str();
    let row = Statement::new("DELETE FROM supervisors WHERE name = ?1 AND incarnation = ?2");
    if execute(connection, row.text(name).bigint(voter.incarnation.0))? == 0 {
        return Ok(false);
    }
    execute(connection, Statement::new("DELETE FROM node_status WHERE praefect_name = ?1").text(name))?;
    notice(connection, Notice::Votes, name.to_owned())?;
    Ok(true)
}

/// Whether a stored vote is older than the one at hand: one without a number is older than any.
macro_rules! older {
    () => {
        "(n.incarnation IS NULL OR n.incarnation < ?1 \
         OR (n.incarnation = ?1 AND (n.vote_number IS NULL OR n.vote_number < ?2)))"
    };
}

/// Counts opinions that change. What an older incarnation or a foreigner of this name said is no opinion
/// of ours, so it is compared as `none`; so is a row that is not there yet.
const CHANGED: &str = concat!(
    "SELECT CAST(COUNT(*) AS TEXT) AS document FROM json_each(?4) AS vote LEFT JOIN node_status AS n ",
    "ON n.praefect_name = ?3 AND n.shard_name = vote.value ->> '$.v' AND n.node_name = vote.value ->> '$.s' ",
    "WHERE ",
    older!(),
    " AND vote.value ->> '$.opinion' IS NOT CASE WHEN n.incarnation = ?1 THEN n.verdict ELSE 'none' END"
);

/// Only an attempt stamps the attempt, only a success the sighting; `none` is neither.
const UPSERT: &str = concat!(
    "INSERT INTO node_status AS n (praefect_name, shard_name, node_name, verdict, incarnation, vote_number, ",
    "last_contact_attempt_at, last_seen_active_at) ",
    "SELECT ?3, value ->> '$.v', value ->> '$.s', value ->> '$.opinion', ?1, ?2, ",
    "CASE WHEN value ->> '$.opinion' <> 'none' THEN ",
    now!(),
    " END, CASE WHEN value ->> '$.opinion' = 'up' THEN ",
    now!(),
    " END FROM json_each(?4) WHERE TRUE ON CONFLICT (praefect_name, shard_name, node_name) DO UPDATE SET ",
    "verdict = excluded.verdict, incarnation = excluded.incarnation, vote_number = excluded.vote_number, ",
    "last_contact_attempt_at = COALESCE(excluded.last_contact_attempt_at, n.last_contact_attempt_at), ",
    "last_seen_active_at = COALESCE(excluded.last_seen_active_at, n.last_seen_active_at) WHERE ",
    older!()
);

fn write_votes(connection: &mut SqliteConnection, voter: &Voter, batch: &VoteBatch) -> Result<VotesWritten, Failure> {
    let op = StoreOp::VotesWrite;
    let name = voter.name.as_str();
    if !is_registered(connection, op, voter)? {
        return Ok(VotesWritten::NotMine);
    }
    let vote = |(node, opinion): &(NodeId, Opinion)| Vote {
        v: node.virtual_storage.as_str().to_owned(),
        s: node.storage.as_str().to_owned(),
        opinion: opinion.as_str(),
    };
    let votes: Vec<Vote> = batch.votes.iter().map(vote).collect();
    let votes = encode(op, &votes)?;
    let bound =
        |sql| Statement::new(sql).bigint(voter.incarnation.0).bigint(batch.number).text(name).text(votes.as_str());
    let changed: u32 = document(connection, op, bound(CHANGED))?;
    execute(connection, bound(UPSERT))?;
    if changed > 0 {
        notice(connection, Notice::Votes, name.to_owned())?;
    }
    Ok(VotesWritten::Written { changed })
}

/// Everybody's votes and heartbeats. Ages are taken at one now.
const HEALTH: &str = concat!(
    "WITH now(ms) AS (SELECT ",
    now!(),
    ") SELECT json_object('at', now.ms * 1000, 'settings', (SELECT ",
    settings!(),
    " FROM settings), 'votes', json((SELECT json_group_array(json_object('supervisor', praefect_name, ",
    "'virtual_storage', shard_name, 'storage', node_name, 'opinion', verdict, 'incarnation', incarnation, ",
    "'contact_age', (now.ms - last_contact_attempt_at) * 1000, 'seen_age', (now.ms - last_seen_active_at) * 1000) ",
    "ORDER BY praefect_name, shard_name, node_name) FROM node_status)), 'supervisors', json((SELECT ",
    "json_group_array(json_object('name', name, 'incarnation', incarnation, ",
    "'heartbeat_age', (now.ms - heartbeat_at) * 1000, 'registered_age', (now.ms - registered_at) * 1000, 'recused', ",
    truth!("recused_since IS NOT NULL"),
    ") ORDER BY name) FROM supervisors)), 'penalties', json((SELECT json_group_array(json_object('virtual_storage', ",
    "virtual_storage, 'storage', storage, 'since', penalised_at * 1000, 'until', penalty_until * 1000)) FROM storages WHERE penalty_until IS NOT NULL))) ",
    "AS document FROM now"
);

impl HealthStore for SqliteStore {
    fn settings_seed<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        Box::pin(async move {
            // Every start but the first only reads, and so waits for nobody's lock.
            let op = StoreOp::SettingsSeed;
            if let Some(found) = self.read(op, move |connection| stored(connection, op)).await? {
                return Ok(found);
            }
            let wanted = wanted.clone();
            self.write(op, move |connection| seed(connection, op, &wanted)).await
        })
    }

    fn settings_update<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        let (op, wanted) = (StoreOp::SettingsUpdate, wanted.clone());
        self.write(op, move |connection| {
            let update = Statement::new(
                "UPDATE settings SET profile = ?1, policy = ?2, expected_supervisors = ?3, voter_ttl_ms = ?4, \
                 vote_ttl_ms = ?5, decision_ttl_ms = ?6, without_candidate = ?7, praefect_notifications = ?8, \
                 revision = revision + 1",
            );
            execute(connection, with_settings(update, &wanted))?;
            // Whoever reads votes again reads the settings beside them.
            notice(connection, Notice::Votes, String::new())?;
            seed(connection, op, &wanted)
        })
    }

    fn supervisor_register<'a>(&'a self, registration: &'a Registration) -> Answer<'a, Registered> {
        let registration = registration.clone();
        self.write(StoreOp::SupervisorRegister, move |connection| register(connection, &registration))
    }

    fn supervisor_heartbeat<'a>(&'a self, voter: &'a Voter) -> Answer<'a, Heartbeat> {
        let voter = voter.clone();
        self.write(StoreOp::SupervisorHeartbeat, move |connection| heartbeat(connection, &voter))
    }

    fn supervisor_recuse<'a>(&'a self, voter: &'a Voter, reason: Option<Distrust>) -> Answer<'a, bool> {
        let voter = voter.clone();
        self.write(StoreOp::SupervisorRecuse, move |connection| recuse(connection, &voter, reason))
    }
    fn penalty_raise<'a>(
        &'a self,
        node: &'a NodeId,
        seen: Option<DatabaseTime>,
        lasting: Duration,
    ) -> Answer<'a, bool> {
        let node = node.clone();
        self.write(StoreOp::PenaltyRaise, move |connection| penalise(connection, &node, seen, lasting))
    }
    fn penalty_lift<'a>(&'a self, node: &'a NodeId) -> Answer<'a, bool> {
        let node = node.clone();
        self.write(StoreOp::PenaltyLift, move |connection| forgive(connection, &node))
    }
    fn supervisor_remove<'a>(&'a self, voter: &'a Voter) -> Answer<'a, bool> {
        let voter = voter.clone();
        self.write(StoreOp::SupervisorRemove, move |connection| remove(connection, &voter))
    }

    fn nodes_watch<'a>(&'a self, voter: &'a Voter, nodes: &'a [NodeId]) -> Answer<'a, bool> {
        let (voter, nodes) = (voter.clone(), nodes.to_vec());
        self.write(StoreOp::NodesWatch, move |connection| watch_again(connection, &voter, &nodes))
    }

    fn votes_write<'a>(&'a self, voter: &'a Voter, batch: &'a VoteBatch) -> Answer<'a, VotesWritten> {
        let (voter, batch) = (voter.clone(), batch.clone());
        self.write(StoreOp::VotesWrite, move |connection| write_votes(connection, &voter, &batch))
    }

    fn epochs_given(&self) -> Answer<'_, Given> {
        let op = StoreOp::EpochsGiven;
        self.read(op, move |connection| document(connection, op, Statement::new(eras::GIVEN)))
    }
    fn era_raise<'a>(&'a self, seen: Era, reported: Option<Epoch>, why: &'a str) -> Answer<'a, Era> {
        let why = why.to_owned();
        self.write(StoreOp::EraRaise, move |connection| eras::raise(connection, seen, reported, &why))
    }

    fn health_facts(&self) -> Answer<'_, HealthSnapshot> {
        let op = StoreOp::HealthFacts;
        self.read(op, move |connection| {
            let read: rows::HealthDoc = document(connection, op, Statement::new(HEALTH))?;
            Ok(HealthSnapshot::from(read))
        })
    }
}
