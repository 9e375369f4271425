//! One repository's row under the lock, and who may change it.

use super::{
    error::Failure,
    query::{Statement, document, optional, truth},
};
use crate::{
    core::{
        election::Fence,
        epoch::{Epoch, FactsVersion, Generation},
        ids::{RelativePath, RepositoryId, Storage, VirtualStorage},
    },
    store::{Current, Outcome, Refused, StoreOp, rows::optional_epoch},
};
use diesel::SqliteConnection;
use serde::Deserialize;

/// A repository's row.
#[derive(Deserialize)]
pub(super) struct Repository {
    pub(super) id: RepositoryId,
    pub(super) virtual_storage: VirtualStorage,
    pub(super) relative_path: RelativePath,
    pub(super) replica_path: Option<String>,
    pub(super) generation: Option<Generation>,
    pub(super) primary: Option<Storage>,
    #[serde(deserialize_with = "optional_epoch")]
    pub(super) epoch: Option<Epoch>,
    pub(super) facts_version: FactsVersion,
    /// Whether the profile in force has the unfenced forms.
    unfenced: bool,
}

const ROW: &str = concat!(
    "SELECT json_object('id', r.repository_id, 'virtual_storage', r.virtual_storage, ",
    "'relative_path', r.relative_path, 'replica_path', r.replica_path, 'generation', r.generation, ",
    "'primary', r.\"primary\", 'epoch', r.primary_epoch, 'facts_version', r.facts_version, 'unfenced', ",
    truth!("EXISTS (SELECT 1 FROM settings WHERE profile = 'praefect')"),
    ") AS document FROM repositories AS r WHERE r.repository_id = ?1"
);

/// Why an operation ends before it changed anything.
pub(super) enum Stop {
    NotFound,
    Stale(Current),
    Refused(Refused),
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}
impl From<Refused> for Stop {
    fn from(why: Refused) -> Self {
        Stop::Refused(why)
    }
}

/// Turns what an operation did, or why it stopped, into its outcome. A stop comes before the first change, so the
/// transaction that commits then holds nothing.
pub(super) fn outcome<T>(result: Result<T, Stop>) -> Result<Outcome<T>, Failure> {
    match result {
        Ok(done) => Ok(Outcome::Done(done)),
        Err(Stop::NotFound) => Ok(Outcome::NotFound),
        Err(Stop::Stale(current)) => Ok(Outcome::Stale(current)),
        Err(Stop::Refused(why)) => Ok(Outcome::Refused(why)),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

/// Reads the row.
pub(super) fn find(connection: &mut SqliteConnection, op: StoreOp, id: RepositoryId) -> Result<Repository, Stop> {
    optional(connection, op, Statement::new(ROW).bigint(id.0))?.ok_or(Stop::NotFound)
}

/// Reads the row and holds the fence against it. Without a fence only profile `praefect` goes on.
pub(super) fn admit(
    connection: &mut SqliteConnection,
    op: StoreOp,
    id: RepositoryId,
    fence: Option<&Fence>,
) -> Result<Repository, Stop> {
    let row = find(connection, op, id)?;
    match fence {
        None if row.unfenced => Ok(row),
        None => Err(Refused::FenceRequired.into()),
        Some(fence) => {
            let current = Current { epoch: row.epoch, primary: row.primary.clone() };
            if current.admits(fence) { Ok(row) } else { Err(Stop::Stale(current)) }
        }
    }
}

/// Reads the row and compares its facts' version.
pub(super) fn unmoved(
    connection: &mut SqliteConnection,
    op: StoreOp,
    id: RepositoryId,
    expected: FactsVersion,
) -> Result<Repository, Stop> {
    let row = find(connection, op, id)?;
    if row.facts_version == expected { Ok(row) } else { Err(Refused::FactsMoved.into()) }
}

impl Repository {
    pub(super) fn is_primary(&self, storage: &Storage) -> bool {
        self.primary.as_ref() == Some(storage)
    }

    /// The generation of the replica on a storage; `None` if there is none.
    pub(super) fn replica(
        &self,
        connection: &mut SqliteConnection,
        op: StoreOp,
        storage: &Storage,
    ) -> Result<Option<Generation>, Failure> {
        let read = "SELECT CAST(generation AS TEXT) AS document FROM storage_repositories \
                    WHERE repository_id = ?1 AND storage = ?2";
        optional(connection, op, Statement::new(read).bigint(self.id.0).text(storage.as_str()))
    }

    /// Where the replicas are, in order of name.
    pub(super) fn storages(&self, connection: &mut SqliteConnection, op: StoreOp) -> Result<Vec<Storage>, Failure> {
        let read = "SELECT json_group_array(storage ORDER BY storage) AS document FROM storage_repositories \
                    WHERE repository_id = ?1";
        document(connection, op, Statement::new(read).bigint(self.id.0))
    }
}
