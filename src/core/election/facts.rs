//! What one read of the database says about one repository.

use crate::core::{
    consensus::{MemberRow, SupervisorRow, VoteRow},
    epoch::{Epoch, Era, FactsVersion, Generation},
    ids::{ClusterId, RelativePath, RepositoryId, Storage, VirtualStorage},
    time::DatabaseTime,
};
use serde::{Deserialize, Serialize};

/// The facts of one decision: one statement, one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionFacts {
    /// The cluster whose database this is.
    pub cluster: ClusterId,
    /// The repository.
    pub repository: RepositoryId,
    /// Its virtual storage.
    pub virtual_storage: VirtualStorage,
    /// Its path, as clients know it.
    pub relative_path: RelativePath,
    /// The expected generation; `None` equals nothing: no replica is up to date.
    pub generation: Option<Generation>,
    /// The recorded primary.
    pub primary: Option<Storage>,
    /// Its epoch.
    pub epoch: Option<Epoch>,
    /// The life of the database that these facts come from.
    pub era: Era,
    /// The number of changes that the replicas, generations, marks and assignments have seen.
    pub facts_version: FactsVersion,
    /// The database's time of the read.
    pub at: DatabaseTime,
    /// The replicas, each with what bears on its election.
    pub replicas: Vec<ReplicaFacts>,
    /// The storages that should host the repository, those without a replica included.
    pub assignments: Vec<Storage>,
    /// The votes about the storages that hold a replica.
    pub votes: Vec<VoteRow>,
    /// All registered supervisors, the proposer's row among them.
    pub supervisors: Vec<SupervisorRow>,
    /// The members of the virtual storage; read under policy `half` only.
    pub members: Vec<MemberRow>,
}

impl ElectionFacts {
    /// Whoever leads the repository, as it is answered.
    #[must_use]
    pub fn led_by(&self, storage: Storage, epoch: Option<Epoch>) -> Primary {
        Primary {
            cluster: self.cluster.clone(),
            repository: Some(self.repository),
            virtual_storage: self.virtual_storage.clone(),
            relative_path: self.relative_path.clone(),
            storage,
            epoch,
        }
    }
}

/// One copy of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFacts {
    /// Where it is.
    pub storage: Storage,
    /// The version of its data.
    pub generation: Generation,
    /// Whether it is to be deleted.
    pub marked: bool,
    /// Whether its storage should host the repository. A repository without assignments has none assigned, which
    /// makes all candidates equal.
    pub assigned: bool,
    /// What operators and the anti-flap rule say of its storage.
    pub attributes: StorageAttributes,
}

/// What operators and the anti-flap rule say of one storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageAttributes {
    /// Higher is preferred; 0 means never primary. Default 100.
    pub priority: i32,
    /// Whether it is being emptied of primaries. Default no.
    pub draining: bool,
    /// Whether it was deposed so recently that others are preferred. Default no.
    pub penalised: bool,
}

impl Default for StorageAttributes {
    fn default() -> Self {
        StorageAttributes { priority: 100, draining: false, penalised: false }
    }
}

/// An answer to "who is primary?": where to write, and the token without which no write counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Primary {
    /// The cluster that the epoch belongs to.
    pub cluster: ClusterId,
    /// The repository; `None` where the elector looked at its virtual storage alone and nobody knows the path.
    pub repository: Option<RepositoryId>,
    /// Its virtual storage.
    pub virtual_storage: VirtualStorage,
    /// Its path, as clients know it.
    pub relative_path: RelativePath,
    /// The storage that orders its writes.
    pub storage: Storage,
    /// The fencing token; `None` where the elector has none, which a storage node's fence refuses.
    pub epoch: Option<Epoch>,
}

impl Primary {
    /// What an acknowledgement must name; `None` without an epoch.
    #[must_use]
    pub fn fence(&self) -> Option<Fence> {
        self.epoch.map(|epoch| Fence { epoch, primary: self.storage.clone() })
    }
}

/// Under whom a write was made. It counts only while both are the repository's current ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The epoch.
    pub epoch: Epoch,
    /// The primary of that epoch.
    pub primary: Storage,
}

/// Which repository is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// By its number.
    Id(RepositoryId),
    /// By its virtual storage and the path that clients know.
    Path(VirtualStorage, RelativePath),
}
