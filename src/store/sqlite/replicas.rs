//! Replicas and their generations: what an acknowledged write changes, and how a replica goes.
//!
//! `facts_version` is raised by triggers on the tables concerned, so no statement here mentions it.

use super::{
    error::Failure,
    query::{Notice, Statement, about_repository, active_mark, document, encode, execute, now, text},
    repository::{Repository, Stop, admit, find},
};
use crate::{
    core::{
        election::Fence,
        epoch::Generation,
        ids::{RepositoryId, Storage},
    },
    store::{Refused, StoreOp},
};
use diesel::SqliteConnection;
use std::collections::BTreeSet;

/// Which replicas are up to date, as text to compare.
fn up_to_date(connection: &mut SqliteConnection, repository: RepositoryId) -> Result<Option<String>, Failure> {
    let read = "SELECT json_group_array(s.storage ORDER BY s.storage) AS document FROM storage_repositories AS s \
                JOIN repositories AS r ON r.repository_id = s.repository_id AND r.generation = s.generation \
                WHERE s.repository_id = ?1";
    text(connection, Statement::new(read).bigint(repository.0))
}

/// Tells pollers if the set of up-to-date replicas changed, and if the primary has left it.
fn tell(connection: &mut SqliteConnection, before: Option<String>, row: &Repository) -> Result<(), Failure> {
    let after = up_to_date(connection, row.id)?;
    if after == before {
        return Ok(());
    }
    about_repository(connection, Notice::Replicas, row.id)?;
    let holds = "SELECT 1 AS document FROM storage_repositories AS s JOIN repositories AS r \
                 ON r.repository_id = s.repository_id AND r.generation = s.generation AND r.\"primary\" = s.storage \
                 WHERE s.repository_id = ?1";
    if row.primary.is_some() && text(connection, Statement::new(holds).bigint(row.id.0))?.is_none() {
        about_repository(connection, Notice::Primaries, row.id)?;
    }
    Ok(())
}

/// Acknowledges one write. Replicas that missed an earlier one are not touched: they would jump over it.
pub(super) fn increment(
    connection: &mut SqliteConnection,
    id: RepositoryId,
    fence: Option<&Fence>,
    acknowledged: &BTreeSet<Storage>,
) -> Result<Generation, Stop> {
    let op = StoreOp::GenerationIncrement;
    let row = admit(connection, op, id, fence)?;
    if let Some(fence) = fence {
        if !acknowledged.contains(&fence.primary) {
            return Err(Refused::PrimaryNotAcknowledged.into());
        }
        let primary = row.replica(connection, op, &fence.primary)?;
        if primary.is_none() || primary != row.generation {
            return Err(Refused::OutdatedNodes.into());
        }
    }
    let Some(Generation(generation)) = row.generation else { return Err(Refused::OutdatedNodes.into()) };
    let before = up_to_date(connection, id)?;
    let raise = "UPDATE storage_repositories SET generation = generation + 1 \
                 WHERE repository_id = ?1 AND generation = ?2 AND storage IN (SELECT value FROM json_each(?3))";
    let raise = Statement::new(raise).bigint(id.0).bigint(generation).text(encode(op, acknowledged)?);
    if execute(connection, raise)? == 0 {
        return Err(Refused::OutdatedNodes.into());
    }
    let raise = "UPDATE repositories SET generation = generation + 1 WHERE repository_id = ?1";
    execute(connection, Statement::new(raise).bigint(id.0))?;
    tell(connection, before, &row)?;
    Ok(Generation(generation.saturating_add(1)))
}

/// Puts one replica on a generation, and makes it if it is missing.
pub(super) fn put(
    connection: &mut SqliteConnection,
    row: &Repository,
    storage: &Storage,
    generation: Generation,
) -> Result<(), Failure> {
    let replica = "INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id) \
                   VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (repository_id, storage) DO UPDATE \
                   SET generation = excluded.generation, relative_path = excluded.relative_path";
    let replica = Statement::new(replica).text(row.virtual_storage.as_str()).text(row.relative_path.as_str());
    execute(connection, replica.text(storage.as_str()).bigint(generation.0).bigint(row.id.0))?;
    Ok(())
}

/// Sets one replica's generation; the repository's follows upwards only.
pub(super) fn set(
    connection: &mut SqliteConnection,
    id: RepositoryId,
    fence: Option<&Fence>,
    storage: &Storage,
    generation: Generation,
) -> Result<(), Stop> {
    let row = admit(connection, StoreOp::GenerationSet, id, fence)?;
    let before = up_to_date(connection, id)?;
    put(connection, &row, storage, generation)?;
    let raise = "UPDATE repositories SET generation = ?2 WHERE repository_id = ?1 AND COALESCE(generation, -1) < ?2";
    execute(connection, Statement::new(raise).bigint(id.0).bigint(generation.0))?;
    Ok(tell(connection, before, &row)?)
}

/// Marks a replica for deletion: a job in Praefect's queue, in Praefect's words, so that both obey it.
pub(super) fn mark(connection: &mut SqliteConnection, id: RepositoryId, storage: &Storage) -> Result<(), Stop> {
    let op = StoreOp::ReplicaMark;
    let row = find(connection, op, id)?;
    if row.is_primary(storage) {
        return Err(Refused::IsPrimary.into());
    }
    if row.replica(connection, op, storage)?.is_none() {
        return Err(Refused::ReplicaNotFound.into());
    }
    let marked = concat!(
        "SELECT json_group_array(json_extract(job, '$.target_node_storage')) AS document FROM replication_queue WHERE ",
        active_mark!(),
        " AND json_extract(job, '$.repository_id') = ?1"
    );
    let marked: BTreeSet<Storage> = document(connection, op, Statement::new(marked).bigint(id.0))?;
    if marked.contains(storage) {
        return Ok(());
    }
    if !marked.is_empty() {
        return Err(Refused::DeletionPending.into());
    }
    let lock = format!("{}|{storage}|{}", row.virtual_storage, row.relative_path);
    let known = Statement::new("INSERT INTO replication_queue_lock (id) VALUES (?1) ON CONFLICT (id) DO NOTHING");
    execute(connection, known.text(lock.as_str()))?;
    let job = "INSERT INTO replication_queue (lock_id, job) VALUES (?1, json_object('change', 'delete_replica', \
               'virtual_storage', ?2, 'relative_path', ?3, 'target_node_storage', ?4, 'source_node_storage', '', \
               'params', NULL, 'repository_id', ?5, 'replica_path', ?6))";
    let job = Statement::new(job).text(lock).text(row.virtual_storage.as_str()).text(row.relative_path.as_str());
    let job = job.text(storage.as_str()).bigint(id.0).optional_text(row.replica_path.as_deref());
    execute(connection, job)?;
    Ok(())
}

/// Ends the active mark of a replica, if there is one.
pub(super) fn unmark(
    connection: &mut SqliteConnection,
    id: RepositoryId,
    storage: &Storage,
    state: &'static str,
) -> Result<(), Failure> {
    let end = concat!(
        "UPDATE replication_queue SET state = ?3, updated_at = ",
        now!(),
        " WHERE ",
        active_mark!(),
        " AND json_extract(job, '$.repository_id') = ?1 AND json_extract(job, '$.target_node_storage') = ?2"
    );
    execute(connection, Statement::new(end).bigint(id.0).text(storage.as_str()).text(state))?;
    Ok(())
}

/// Removes a replica's row, and completes its mark.
pub(super) fn delete(
    connection: &mut SqliteConnection,
    id: RepositoryId,
    fence: Option<&Fence>,
    storage: &Storage,
) -> Result<(), Stop> {
    let row = admit(connection, StoreOp::ReplicaDelete, id, fence)?;
    if row.is_primary(storage) {
        return Err(Refused::IsPrimary.into());
    }
    let before = up_to_date(connection, id)?;
    let remove = "DELETE FROM storage_repositories WHERE repository_id = ?1 AND storage = ?2";
    if execute(connection, Statement::new(remove).bigint(id.0).text(storage.as_str()))? == 0 {
        return Err(Refused::ReplicaNotFound.into());
    }
    unmark(connection, id, storage, "completed")?;
    Ok(tell(connection, before, &row)?)
}
