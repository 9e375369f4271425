//! How statements are sent, and the few fragments that many of them share.

use super::error::Failure;
pub(super) use crate::store::statement::Statement;
use crate::{
    core::{
        epoch::Epoch,
        ids::{DecisionId, RepositoryId, Storage, Voter},
    },
    store::{StoreError, StoreErrorKind, StoreOp, rows, statement::Document},
};
use diesel::{OptionalExtension, RunQueryDsl, SqliteConnection};
use serde::de::DeserializeOwned;

/// The database's now, in whole milliseconds. SQLite takes it once per statement, however often it is named.
macro_rules! now {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
}
/// A truth value as JSON: SQLite has only numbers.
macro_rules! truth {
    ($($condition:expr),+) => {
        concat!("json(CASE WHEN ", $($condition,)+ " THEN 'true' ELSE 'false' END)")
    };
}
/// The states in which a replication job still counts, and the job that marks a replica for deletion: in the words of
/// the partial index, or it would not be used.
macro_rules! active_mark {
    () => {
        "state NOT IN ('completed', 'dead', 'cancelled') AND json_extract(job, '$.change') = 'delete_replica'"
    };
}
/// What every decision rests on, looked at again under the lock, beside `now` and `settings`: the era is the one seen, the
/// facts are young, and not from a clock that was set back, and who proposes is still its incarnation, live and not recused.
macro_rules! may_commit {
    ($era:literal, $at:literal, $name:literal, $incarnation:literal) => {
        concat!(
            "(SELECT MAX(era) FROM eras) = ",
            $era,
            " AND now.ms * 1000 - ",
            $at,
            " >= 0 AND now.ms * 1000 - ",
            $at,
            " < settings.decision_ttl_ms * 1000 AND (settings.policy = 'half' OR EXISTS (SELECT 1 FROM supervisors AS s ",
            "WHERE s.name = ",
            $name,
            " AND s.incarnation = ",
            $incarnation,
            " AND s.recused_since IS NULL AND now.ms - s.heartbeat_at < settings.voter_ttl_ms ",
            "AND now.ms - s.heartbeat_at >= -1000))"
        )
    };
}
/// The settings row, as a document.
macro_rules! settings {
    () => {
        concat!(
            "json_object('cluster', cluster_id, 'revision', revision, 'settings', json_object(",
            "'profile', profile, 'policy', policy, 'expected_supervisors', expected_supervisors, ",
            "'voter_ttl', voter_ttl_ms, 'vote_ttl', vote_ttl_ms, 'decision_ttl', decision_ttl_ms, ",
            "'without_candidate', without_candidate, 'praefect_notifications', ",
            $crate::store::sqlite::query::truth!("praefect_notifications"),
            "))"
        )
    };
}
pub(super) use {active_mark, may_commit, now, settings, truth};

impl RunQueryDsl<SqliteConnection> for Statement {}

/// The document of a statement that answers at most one row; `None` without a row, or if it is NULL.
pub(super) fn text(connection: &mut SqliteConnection, statement: Statement) -> Result<Option<String>, Failure> {
    let row: Option<Document> = statement.get_result(connection).optional()?;
    Ok(row.and_then(|row| row.document))
}

/// The decoded document of a statement that answers at most one row.
pub(super) fn optional<T: DeserializeOwned>(
    connection: &mut SqliteConnection,
    op: StoreOp,
    statement: Statement,
) -> Result<Option<T>, Failure> {
    text(connection, statement)?.map(|json| rows::decode(op, &json).map_err(Failure::from)).transpose()
}

/// The decoded document of a statement that always answers one.
pub(super) fn document<T: DeserializeOwned>(
    connection: &mut SqliteConnection,
    op: StoreOp,
    statement: Statement,
) -> Result<T, Failure> {
    optional(connection, op, statement)?.ok_or_else(|| missing(op, "the answer is empty"))
}

/// Sends a statement that answers nothing; how many rows it changed.
pub(super) fn execute(connection: &mut SqliteConnection, statement: Statement) -> Result<usize, Failure> {
    Ok(statement.execute(connection)?)
}

/// The error for a row that must exist.
pub(super) fn missing(op: StoreOp, what: &str) -> Failure {
    Failure::Store(StoreError::new(op, StoreErrorKind::BadRow(what.to_owned())))
}

/// Encodes a value for `json_each`.
pub(super) fn encode<T: serde::Serialize>(op: StoreOp, value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| StoreError::with_source(op, StoreErrorKind::Other, error).into())
}

/// The next epoch: from one cluster-wide counter, in the era in force.
pub(super) fn next_epoch(connection: &mut SqliteConnection, op: StoreOp) -> Result<Epoch, Failure> {
    execute(connection, Statement::new("UPDATE counters SET value = value + 1 WHERE name = 'primary_epochs'"))?;
    let read = "SELECT CAST((COALESCE((SELECT MAX(era) FROM eras), 1) << 37) | value AS TEXT) AS document \
                FROM counters WHERE name = 'primary_epochs'";
    let raw: i64 = document(connection, op, Statement::new(read))?;
    Epoch::from_i64(raw).map_err(|error| missing(op, &error.to_string()))
}

/// The record of a decision.
pub(super) struct Record<'a> {
    pub(super) id: &'a DecisionId,
    pub(super) kind: &'static str,
    pub(super) why: &'a str,
    pub(super) by: Option<&'a Voter>,
    pub(super) evidence: &'a str,
}

/// Writes down a change of a primary: the decision (a batch writes it once), the history, and the notice to pollers.
pub(super) fn record_primary(
    connection: &mut SqliteConnection,
    repository: RepositoryId,
    epoch: Epoch,
    change: (Option<&Storage>, Option<&Storage>),
    record: &Record<'_>,
) -> Result<(), Failure> {
    let decision = Statement::new(concat!(
        "INSERT INTO decisions (id, at, supervisor, incarnation, kind, why, evidence) ",
        "VALUES (?1, ",
        now!(),
        ", ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING"
    ));
    let by = record.by;
    execute(
        connection,
        decision
            .text(record.id.as_str())
            .optional_text(by.map(|voter| voter.name.as_str()))
            .optional_bigint(by.map(|voter| voter.incarnation.0))
            .text(record.kind)
            .text(record.why)
            .text(record.evidence),
    )?;
    let history = Statement::new(concat!(
        "INSERT INTO primary_changes (repository_id, epoch, previous, current, decision, at) ",
        "VALUES (?1, ?2, ?3, ?4, ?5, ",
        now!(),
        ")"
    ));
    let (previous, current) = change;
    execute(
        connection,
        history
            .bigint(repository.0)
            .bigint(epoch.to_i64())
            .optional_text(previous.map(Storage::as_str))
            .optional_text(current.map(Storage::as_str))
            .text(record.id.as_str()),
    )?;
    about_repository(connection, Notice::Primaries, repository)
}

/// What a row of `changes` is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Notice {
    /// A supervisor's vote or state; the key is its name.
    Votes,
    /// A primary changed or may have ceased to be valid; the key is the repository's, or its virtual storage's.
    Primaries,
    /// The set of up-to-date replicas changed; the key is the repository's.
    Replicas,
}

/// Tells the pollers.
pub(super) fn notice(connection: &mut SqliteConnection, kind: Notice, key: String) -> Result<(), Failure> {
    let kind = match kind {
        Notice::Votes => "votes",
        Notice::Primaries => "primaries",
        Notice::Replicas => "replicas",
    };
    execute(connection, Statement::new("INSERT INTO changes (kind, key) VALUES (?1, ?2)").text(kind).text(key))?;
    Ok(())
}

/// Tells the pollers about one repository, which must still exist.
pub(super) fn about_repository(
    connection: &mut SqliteConnection,
    kind: Notice,
    repository: RepositoryId,
) -> Result<(), Failure> {
    let key = "SELECT json_object('virtual_storage', virtual_storage, 'relative_path', relative_path, \
               'repository', repository_id) AS document FROM repositories WHERE repository_id = ?1";
    match text(connection, Statement::new(key).bigint(repository.0))? {
        Some(key) => notice(connection, kind, key),
        None => Ok(()),
    }
}

/// A fresh identity for a decision that has no proposer's own.
pub(super) fn decision_id(op: StoreOp) -> Result<DecisionId, Failure> {
    DecisionId::new(uuid::Uuid::new_v4().to_string()).map_err(|error| missing(op, &error.to_string()))
}
