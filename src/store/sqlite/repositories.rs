//! Repositories: making, moving and ending them, and what operators say of them.

use super::{
    SqliteStore,
    error::Failure,
    query::{
        Notice, Record, Statement, about_repository, active_mark, decision_id, document, encode, execute, next_epoch,
        notice, now, record_primary, text,
    },
    replicas,
    repository::{Stop, admit, outcome, unmoved},
};
use crate::{
    core::{
        election::Fence,
        epoch::{Epoch, FactsVersion, Generation},
        ids::{NodeId, RelativePath, RepositoryId, Storage, Voter},
    },
    store::{Answer, Created, Deleted, NewRepository, Outcome, Refused, RepositoryStore, StorageChange, StoreOp},
};
use diesel::SqliteConnection;
use std::collections::BTreeSet;

/// Whether another repository than `except`, or one of its replicas, has the path.
fn path_is_taken(
    connection: &mut SqliteConnection,
    virtual_storage: &str,
    path: &RelativePath,
    except: i64,
) -> Result<bool, Failure> {
    let read = "SELECT 'x' AS document WHERE EXISTS (SELECT 1 FROM repositories WHERE virtual_storage = ?1 \
                AND relative_path = ?2 AND repository_id <> ?3) OR EXISTS (SELECT 1 FROM storage_repositories \
                WHERE virtual_storage = ?1 AND relative_path = ?2 AND repository_id <> ?3)";
    let read = Statement::new(read).text(virtual_storage).text(path.as_str()).bigint(except);
    Ok(text(connection, read)?.is_some())
}

fn create(connection: &mut SqliteConnection, new: &NewRepository) -> Result<Created, Stop> {
    let op = StoreOp::RepositoryCreate;
    let virtual_storage = new.virtual_storage.as_str();
    // No id is 0 or below: the sequence begins at 1.
    if path_is_taken(connection, virtual_storage, &new.relative_path, 0)? {
        return Err(Refused::PathTaken.into());
    }
    if let Some(id) = new.id {
        let read = "SELECT 'x' AS document FROM repositories WHERE repository_id = ?1";
        if text(connection, Statement::new(read).bigint(id.0))?.is_some() {
            return Err(Refused::IdTaken.into());
        }
    }
    let epoch = new.primary.as_ref().map(|_| next_epoch(connection, op)).transpose()?;
    // The version of the facts begins at the time, so that a repository made again under an id that it had before
    // cannot come to a version that somebody still holds from its former life. In microseconds, for in milliseconds the
    // changes of the former life could have run ahead of the clock.
    let row = concat!(
        "INSERT INTO repositories (virtual_storage, relative_path, replica_path, repository_id, \"primary\", ",
        "primary_epoch, generation, facts_version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ",
        now!(),
        " * 1000)"
    );
    let row = Statement::new(row)
        .text(virtual_storage)
        .text(new.relative_path.as_str())
        .text(new.replica_path.as_deref().unwrap_or(new.relative_path.as_str()))
        .optional_bigint(new.id.map(|id| id.0))
        .optional_text(new.primary.as_ref().map(Storage::as_str))
        .optional_bigint(epoch.map(Epoch::to_i64));
    execute(connection, row)?;
    let read = "SELECT CAST(repository_id AS TEXT) AS document FROM repositories \
                WHERE virtual_storage = ?1 AND relative_path = ?2";
    let read = Statement::new(read).text(virtual_storage).text(new.relative_path.as_str());
    let repository: RepositoryId = document(connection, op, read)?;
    let bound = |sql, storages: &Vec<Storage>| -> Result<Statement, Failure> {
        let statement = Statement::new(sql).text(virtual_storage).text(new.relative_path.as_str());
        Ok(statement.bigint(repository.0).text(encode(op, storages)?))
    };
    let replicas = "INSERT INTO storage_repositories (virtual_storage, relative_path, repository_id, storage, generation) \
                    SELECT DISTINCT ?1, ?2, ?3, value, 0 FROM json_each(?4)";
    execute(connection, bound(replicas, &new.replicas)?)?;
    let assignments = "INSERT INTO repository_assignments (virtual_storage, relative_path, repository_id, storage) \
                       SELECT DISTINCT ?1, ?2, ?3, value FROM json_each(?4)";
    execute(connection, bound(assignments, &new.assignments)?)?;
    if let Some(epoch) = epoch {
        let id = decision_id(op)?;
        let record = Record { id: &id, kind: "creation", why: "created", by: None, evidence: "{}" };
        record_primary(connection, repository, epoch, (None, new.primary.as_ref()), &record)?;
    }
    Ok(Created { repository, epoch })
}

fn delete(connection: &mut SqliteConnection, id: RepositoryId, fence: Option<&Fence>) -> Result<Deleted, Stop> {
    let op = StoreOp::RepositoryDelete;
    let row = admit(connection, op, id, fence)?;
    let storages = row.storages(connection, op)?;
    // Before the row goes, for the notice names its path.
    about_repository(connection, Notice::Primaries, id)?;
    about_repository(connection, Notice::Replicas, id)?;
    // An active mark would fall on the next repository of this id. Locks point at jobs, so they go first.
    for marks in [
        concat!(
            "DELETE FROM replication_queue_job_lock WHERE job_id IN (SELECT id FROM replication_queue WHERE ",
            active_mark!(),
            " AND json_extract(job, '$.repository_id') = ?1)"
        ),
        concat!(
            "DELETE FROM replication_queue WHERE ",
            active_mark!(),
            " AND json_extract(job, '$.repository_id') = ?1"
        ),
        // Replicas and assignments go with the row.
        "DELETE FROM repositories WHERE repository_id = ?1",
    ] {
        execute(connection, Statement::new(marks).bigint(id.0))?;
    }
    Ok(Deleted { replica_path: row.replica_path, storages })
}

fn rename(
    connection: &mut SqliteConnection,
    id: RepositoryId,
    fence: Option<&Fence>,
    to: &RelativePath,
) -> Result<(), Stop> {
    let row = admit(connection, StoreOp::RepositoryRename, id, fence)?;
    if path_is_taken(connection, row.virtual_storage.as_str(), to, id.0)? {
        return Err(Refused::PathTaken.into());
    }
    // Both paths mean something else now.
    about_repository(connection, Notice::Primaries, id)?;
    about_repository(connection, Notice::Replicas, id)?;
    for moved in [
        // Assignments follow by their foreign key.
        "UPDATE repositories SET relative_path = ?2 WHERE repository_id = ?1",
        "UPDATE storage_repositories SET relative_path = ?2 WHERE repository_id = ?1",
        // One mark per path is allowed: it must not stay behind and stand in the way of the path's next owner.
        concat!(
            "UPDATE replication_queue SET job = json_set(job, '$.relative_path', ?2) WHERE ",
            active_mark!(),
            " AND json_extract(job, '$.repository_id') = ?1"
        ),
    ] {
        execute(connection, Statement::new(moved).bigint(id.0).text(to.as_str()))?;
    }
    about_repository(connection, Notice::Primaries, id)?;
    Ok(about_repository(connection, Notice::Replicas, id)?)
}

fn make_authoritative(
    connection: &mut SqliteConnection,
    id: RepositoryId,
    storage: &Storage,
    expected: FactsVersion,
    operator: &Voter,
) -> Result<Epoch, Stop> {
    let op = StoreOp::AuthoritativeSet;
    let row = unmoved(connection, op, id, expected)?;
    // Above every replica even if a foreign writer left the repository behind them, or without a generation.
    let above = "SELECT CAST(COALESCE(MAX(generation), -1) + 1 AS TEXT) AS document FROM (\
                 SELECT generation FROM repositories WHERE repository_id = ?1 UNION ALL \
                 SELECT generation FROM storage_repositories WHERE repository_id = ?1)";
    let generation: Generation = document(connection, op, Statement::new(above).bigint(id.0))?;
    let epoch = next_epoch(connection, op)?;
    let set = "UPDATE repositories SET generation = ?2, \"primary\" = ?3, primary_epoch = ?4 WHERE repository_id = ?1";
    let set = Statement::new(set).bigint(id.0).bigint(generation.0).text(storage.as_str());
    execute(connection, set.bigint(epoch.to_i64()))?;
    replicas::put(connection, &row, storage, generation)?;
    // The only true copy is not to be deleted.
    replicas::unmark(connection, id, storage, "cancelled")?;
    let decision = decision_id(op)?;
    let record =
        Record { id: &decision, kind: "authoritative", why: "authoritative", by: Some(operator), evidence: "{}" };
    record_primary(connection, id, epoch, (row.primary.as_ref(), Some(storage)), &record)?;
    about_repository(connection, Notice::Replicas, id)?;
    Ok(epoch)
}

fn assign(
    connection: &mut SqliteConnection,
    id: RepositoryId,
    expected: FactsVersion,
    assignments: &BTreeSet<Storage>,
) -> Result<(), Stop> {
    let op = StoreOp::AssignmentsReplace;
    let row = unmoved(connection, op, id, expected)?;
    let wanted = encode(op, assignments)?;
    let others = "DELETE FROM repository_assignments WHERE repository_id = ?1 \
                  AND storage NOT IN (SELECT value FROM json_each(?2))";
    let mut changed = execute(connection, Statement::new(others).bigint(id.0).text(wanted.as_str()))?;
    let new = "INSERT INTO repository_assignments (repository_id, storage, virtual_storage, relative_path) \
               SELECT ?1, value, ?3, ?4 FROM json_each(?2) WHERE TRUE ON CONFLICT (repository_id, storage) DO NOTHING";
    let new = Statement::new(new).bigint(id.0).text(wanted);
    let new = new.text(row.virtual_storage.as_str()).text(row.relative_path.as_str());
    changed = changed.saturating_add(execute(connection, new)?);
    if changed > 0 {
        about_repository(connection, Notice::Primaries, id)?;
    }
    Ok(())
}

fn update_storage(connection: &mut SqliteConnection, node: &NodeId, change: StorageChange) -> Result<(), Failure> {
    let upsert = "INSERT INTO storages AS s (virtual_storage, storage, priority, draining) \
                  VALUES (?1, ?2, COALESCE(?3, 100), COALESCE(?4, 0)) ON CONFLICT (virtual_storage, storage) DO UPDATE \
                  SET priority = COALESCE(?3, s.priority), draining = COALESCE(?4, s.draining)";
    let upsert = Statement::new(upsert).text(node.virtual_storage.as_str()).text(node.storage.as_str());
    execute(connection, upsert.optional_integer(change.priority).optional_bool(change.draining))?;
    let key = encode(StoreOp::StorageUpdate, &serde_json::json!({ "virtual_storage": node.virtual_storage }))?;
    notice(connection, Notice::Primaries, key)
}

impl RepositoryStore for SqliteStore {
    fn repository_create<'a>(&'a self, new: &'a NewRepository) -> Answer<'a, Outcome<Created>> {
        let new = new.clone();
        self.write(StoreOp::RepositoryCreate, move |connection| outcome(create(connection, &new)))
    }

    fn repository_delete<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
    ) -> Answer<'a, Outcome<Deleted>> {
        let fence = fence.cloned();
        self.write(StoreOp::RepositoryDelete, move |c| outcome(delete(c, repository, fence.as_ref())))
    }

    fn repository_rename<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        to: &'a RelativePath,
    ) -> Answer<'a, Outcome<()>> {
        let (fence, to) = (fence.cloned(), to.clone());
        self.write(StoreOp::RepositoryRename, move |c| outcome(rename(c, repository, fence.as_ref(), &to)))
    }

    fn generation_increment<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        acknowledged: &'a BTreeSet<Storage>,
    ) -> Answer<'a, Outcome<Generation>> {
        let (fence, acknowledged) = (fence.cloned(), acknowledged.clone());
        self.write(StoreOp::GenerationIncrement, move |c| {
            outcome(replicas::increment(c, repository, fence.as_ref(), &acknowledged))
        })
    }

    fn generation_set<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        storage: &'a Storage,
        generation: Generation,
    ) -> Answer<'a, Outcome<()>> {
        let (fence, storage) = (fence.cloned(), storage.clone());
        self.write(StoreOp::GenerationSet, move |c| {
            outcome(replicas::set(c, repository, fence.as_ref(), &storage, generation))
        })
    }

    fn replica_mark<'a>(&'a self, repository: RepositoryId, storage: &'a Storage) -> Answer<'a, Outcome<()>> {
        let storage = storage.clone();
        self.write(StoreOp::ReplicaMark, move |c| outcome(replicas::mark(c, repository, &storage)))
    }

    fn replica_delete<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        storage: &'a Storage,
    ) -> Answer<'a, Outcome<()>> {
        let (fence, storage) = (fence.cloned(), storage.clone());
        self.write(StoreOp::ReplicaDelete, move |c| outcome(replicas::delete(c, repository, fence.as_ref(), &storage)))
    }

    fn authoritative_set<'a>(
        &'a self,
        repository: RepositoryId,
        storage: &'a Storage,
        expected: FactsVersion,
        operator: &'a Voter,
    ) -> Answer<'a, Outcome<Epoch>> {
        let (storage, operator) = (storage.clone(), operator.clone());
        self.write(StoreOp::AuthoritativeSet, move |c| {
            outcome(make_authoritative(c, repository, &storage, expected, &operator))
        })
    }

    fn assignments_replace<'a>(
        &'a self,
        repository: RepositoryId,
        expected: FactsVersion,
        assignments: &'a BTreeSet<Storage>,
    ) -> Answer<'a, Outcome<()>> {
        let assignments = assignments.clone();
        self.write(StoreOp::AssignmentsReplace, move |c| outcome(assign(c, repository, expected, &assignments)))
    }

    fn storage_update<'a>(&'a self, node: &'a NodeId, change: StorageChange) -> Answer<'a, ()> {
        let node = node.clone();
        self.write(StoreOp::StorageUpdate, move |connection| update_storage(connection, &node, change))
    }
}
