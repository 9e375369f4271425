//! Settings, supervisors and votes.

use super::{PostgresStore, json};
use crate::core::{
    consensus::Opinion,
    epoch::{Epoch, Era, Given},
    ids::{NodeId, Voter},
    monitor::Suspicion,
    recusal::Distrust,
    settings::Settings,
    time::{DatabaseTime, micros},
};
use crate::store::{
    Answer, HealthSnapshot, HealthStore, Heartbeat, Registered, Registration, StoreError, StoreOp, StoredSettings,
    VoteBatch, VotesWritten, rows::HealthDoc, statement::Statement,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Everybody's votes and heartbeats, with ages taken at the statement's own time.
const HEALTH_FACTS: &str = "\
SELECT json_build_object(
    'at', quorate_micros(statement_timestamp()),
    'settings', quorate_settings(),
    'votes', (SELECT coalesce(json_agg(json_build_object(
            'supervisor', praefect_name, 'virtual_storage', shard_name, 'storage', node_name,
            'opinion', verdict, 'incarnation', incarnation,
            'contact_age', quorate_age(last_contact_attempt_at),
            'seen_age', quorate_age(last_seen_active_at))), '[]') FROM node_status),
    'supervisors', (SELECT coalesce(json_agg(json_build_object(
            'name', name, 'incarnation', incarnation,
            'heartbeat_age', quorate_age(heartbeat_at),
            'registered_age', quorate_age(registered_at),
            'recused', recused_since IS NOT NULL) ORDER BY name), '[]') FROM supervisors),
    'penalties', (SELECT coalesce(json_agg(json_build_object(
            'virtual_storage', virtual_storage, 'storage', storage, 'since', quorate_micros(penalised_at),
            'until', quorate_micros(penalty_until))), '[]') FROM storages WHERE isfinite(penalty_until))
)::text AS document";

/// Rows for exactly the watched nodes. One statement is one transaction; the supervisor's row is held meanwhile, and read
/// again if a registration had it first.
const NODES_WATCH: &str = "\
WITH mine AS (SELECT name FROM supervisors WHERE name = $1 AND incarnation = $2 FOR SHARE),
wanted AS (SELECT DISTINCT virtual_storage, storage
    FROM json_to_recordset($3::json) AS n (virtual_storage text, storage text)),
gone AS (DELETE FROM node_status ns USING mine WHERE ns.praefect_name = mine.name AND NOT EXISTS (
    SELECT FROM wanted w WHERE w.virtual_storage = ns.shard_name AND w.storage = ns.node_name) RETURNING 1),
made AS (INSERT INTO node_status (praefect_name, shard_name, node_name, verdict, incarnation)
    SELECT mine.name, w.virtual_storage, w.storage, 'none', $2 FROM mine, wanted w ORDER BY 2, 3
    ON CONFLICT DO NOTHING RETURNING 1),
told AS (SELECT quorate_announce('votes', name) FROM mine
    WHERE EXISTS (SELECT FROM gone) OR EXISTS (SELECT FROM made))
SELECT json_build_object('mine', EXISTS (SELECT FROM mine), 'told', (SELECT count(*) FROM told))::text AS document";

/// One that was set by hand is not made shorter.
const PENALTY_RAISE: &str = "\
WITH raised AS (INSERT INTO storages AS s (virtual_storage, storage, penalised_at, penalty_until, penalty_reason)
    VALUES ($1, $2, statement_timestamp(), statement_timestamp() + $4::bigint * interval '1 microsecond', 'deposed')
    ON CONFLICT (virtual_storage, storage) DO UPDATE SET penalised_at = excluded.penalised_at,
        penalty_reason = excluded.penalty_reason, penalty_until = greatest(s.penalty_until, excluded.penalty_until)
    WHERE quorate_micros(s.penalty_until) IS NOT DISTINCT FROM $3 RETURNING 1)
SELECT json_build_object('mine', EXISTS (SELECT FROM raised))::text AS document";

const PENALTY_LIFT: &str = "\
WITH lifted AS (UPDATE storages SET penalty_until = NULL, penalised_at = NULL, penalty_reason = NULL
    WHERE virtual_storage = $1 AND storage = $2 AND penalty_until IS NOT NULL RETURNING 1)
SELECT json_build_object('mine', EXISTS (SELECT FROM lifted))::text AS document";

/// Whether a supervisor abstains, and the word of it.
const RECUSE: &str = "\
WITH mine AS (UPDATE supervisors SET recused_reason = $3::text,
        recused_since = CASE WHEN $3::text IS NOT NULL THEN clock_timestamp() END
    WHERE name = $1 AND incarnation = $2 RETURNING name),
told AS (SELECT quorate_announce('votes', name) FROM mine)
SELECT json_build_object('mine', EXISTS (SELECT FROM mine), 'told', (SELECT count(*) FROM told))::text AS document";

#[derive(Deserialize)]
struct WatchedBy {
    mine: bool,
}

#[derive(Serialize)]
struct VoteParameter<'a> {
    #[serde(flatten)]
    node: &'a NodeId,
    opinion: Opinion,
}

#[derive(Deserialize)]
struct Removed {
    removed: bool,
}

/// A notification without a row. A payload may have 8,000 bytes.
const SUSPICION_TELL: &str = "SELECT pg_notify('quorate_suspicions', $1)::text AS document";
const PAYLOAD_MAX: usize = 7_900;

/// As many of the nodes as fit.
fn payload(suspicion: &Suspicion) -> Result<String, StoreError> {
    let mut told = suspicion.clone();
    loop {
        let payload = json(StoreOp::SuspicionTell, &told)?;
        if payload.len() <= PAYLOAD_MAX || told.nodes.pop_last().is_none() {
            return Ok(payload);
        }
    }
}

impl HealthStore for PostgresStore {
    fn suspicion_tell<'a>(&'a self, suspicion: &'a Suspicion) -> Answer<'a, bool> {
        Box::pin(async move {
            let tell = Statement::new(SUSPICION_TELL).text(payload(suspicion)?);
            self.ask(StoreOp::SuspicionTell, tell).await?;
            Ok(true)
        })
    }

    fn settings_seed<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        Box::pin(async move {
            let op = StoreOp::SettingsSeed;
            let call = Statement::new("SELECT quorate_settings_seed($1::json)::text AS document");
            self.document(op, call.text(json(op, wanted)?)).await
        })
    }

    fn settings_update<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        Box::pin(async move {
            let op = StoreOp::SettingsUpdate;
            let call = Statement::new("SELECT quorate_settings_update($1::json)::text AS document");
            self.document(op, call.text(json(op, wanted)?)).await
        })
    }

    fn supervisor_register<'a>(&'a self, registration: &'a Registration) -> Answer<'a, Registered> {
        Box::pin(async move {
            let op = StoreOp::SupervisorRegister;
            let Registration { name, previous, process, attempt, address, version, nodes } = registration;
            let sql = "SELECT quorate_supervisor_register($1, $2, $3, $4, $5::json, $6, $7)::text AS document";
            let call = Statement::new(sql)
                .text(name.as_str())
                .optional_bigint(previous.map(|incarnation| incarnation.0))
                .optional_text(address.as_deref())
                .text(version.as_str())
                .text(json(op, nodes)?)
                .text(process.as_str())
                .bigint(*attempt);
            self.document(op, call).await
        })
    }

    fn supervisor_heartbeat<'a>(&'a self, voter: &'a Voter) -> Answer<'a, Heartbeat> {
        let call = Statement::new("SELECT quorate_supervisor_heartbeat($1, $2)::text AS document")
            .text(voter.name.as_str())
            .bigint(voter.incarnation.0);
        Box::pin(self.document(StoreOp::SupervisorHeartbeat, call))
    }

    fn supervisor_recuse<'a>(&'a self, voter: &'a Voter, reason: Option<Distrust>) -> Answer<'a, bool> {
        let call = Statement::new(RECUSE)
            .text(voter.name.as_str())
            .bigint(voter.incarnation.0)
            .optional_text(reason.map(Distrust::as_str));
        Box::pin(async move {
            let WatchedBy { mine } = self.document(StoreOp::SupervisorRecuse, call).await?;
            Ok(mine)
        })
    }
    fn penalty_raise<'a>(
        &'a self,
        node: &'a NodeId,
        seen: Option<DatabaseTime>,
        lasting: Duration,
    ) -> Answer<'a, bool> {
        let call = Statement::new(PENALTY_RAISE).text(node.virtual_storage.as_str()).text(node.storage.as_str());
        let call = call.optional_bigint(seen.map(|seen| seen.0)).bigint(micros(lasting));
        Box::pin(async move {
            let WatchedBy { mine } = self.document(StoreOp::PenaltyRaise, call).await?;
            Ok(mine)
        })
    }
    fn penalty_lift<'a>(&'a self, node: &'a NodeId) -> Answer<'a, bool> {
        let call = Statement::new(PENALTY_LIFT).text(node.virtual_storage.as_str()).text(node.storage.as_str());
        Box::pin(async move {
            let WatchedBy { mine } = self.document(StoreOp::PenaltyLift, call).await?;
            Ok(mine)
        })
    }
    fn supervisor_remove<'a>(&'a self, voter: &'a Voter) -> Answer<'a, bool> {
        let call = Statement::new("SELECT quorate_supervisor_remove($1, $2)::text AS document")
            .text(voter.name.as_str())
            .bigint(voter.incarnation.0);
        Box::pin(async move {
            let Removed { removed } = self.document(StoreOp::SupervisorRemove, call).await?;
            Ok(removed)
        })
    }

    fn nodes_watch<'a>(&'a self, voter: &'a Voter, nodes: &'a [NodeId]) -> Answer<'a, bool> {
        Box::pin(async move {
            let op = StoreOp::NodesWatch;
            let call = Statement::new(NODES_WATCH).text(voter.name.as_str()).bigint(voter.incarnation.0);
            let WatchedBy { mine } = self.document(op, call.text(json(op, nodes)?)).await?;
            Ok(mine)
        })
    }

    fn votes_write<'a>(&'a self, voter: &'a Voter, batch: &'a VoteBatch) -> Answer<'a, VotesWritten> {
        Box::pin(async move {
            let op = StoreOp::VotesWrite;
            let votes: Vec<VoteParameter<'_>> =
                batch.votes.iter().map(|(node, opinion)| VoteParameter { node, opinion: *opinion }).collect();
            let call = Statement::new("SELECT quorate_votes_write($1, $2, $3, $4::json)::text AS document")
                .text(voter.name.as_str())
                .bigint(voter.incarnation.0)
                .bigint(batch.number)
                .text(json(op, &votes)?);
            self.document(op, call).await
        })
    }

    fn epochs_given(&self) -> Answer<'_, Given> {
        Box::pin(self.document(StoreOp::EpochsGiven, Statement::new("SELECT quorate_epochs_given()::text AS document")))
    }
    fn era_raise<'a>(&'a self, seen: Era, reported: Option<Epoch>, why: &'a str) -> Answer<'a, Era> {
        let call = Statement::new("SELECT quorate_era_raise($1, $2, $3)::text AS document").bigint(seen.0);
        let call = call.optional_bigint(reported.map(Epoch::to_i64)).text(why);
        Box::pin(self.document(StoreOp::EraRaise, call))
    }

    fn health_facts(&self) -> Answer<'_, HealthSnapshot> {
        Box::pin(async move {
            let facts: HealthDoc = self.document(StoreOp::HealthFacts, Statement::new(HEALTH_FACTS)).await?;
            Ok(facts.into())
        })
    }
}
