//! The repositories that a dead node led, decided in sets.
//!
//! A batch is decided by the rule of a single lookup ([`super::election::decide`]) and by no other; what its repositories
//! have in common is read, and counted, once. [`Settling`] says whose turn it is, where a walk goes on and when it rests.

mod ahead;
mod batch;
mod walk;

pub use ahead::{Ahead, ReadAhead};
pub use batch::{Batch, Settlement, SettlementOf, decide};
pub use walk::{Ended, Next, Pace, Progress, Settling, Turn};

use super::{
    consensus::{MemberRow, SupervisorRow, VoteRow},
    election::{ElectionFacts, ReplicaFacts, StorageAttributes},
    epoch::{Epoch, Era, FactsVersion, Generation},
    ids::{ClusterId, NodeId, RelativePath, RepositoryId, Storage},
    time::DatabaseTime,
};
use std::collections::BTreeMap;

/// The facts of some repositories that one node leads: one statement, one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleFacts {
    /// The cluster whose database this is.
    pub cluster: ClusterId,
    /// Their recorded primary.
    pub node: NodeId,
    /// The life of the database that these facts come from.
    pub era: Era,
    /// The database's time of the read.
    pub at: DatabaseTime,
    /// What operators and the anti-flap rule say of the virtual storage's storages; one without a row has the defaults.
    pub attributes: BTreeMap<Storage, StorageAttributes>,
    /// The votes about the node and about every storage that holds a replica of one of these repositories.
    pub votes: Vec<VoteRow>,
    /// All registered supervisors, the proposer's row among them.
    pub supervisors: Vec<SupervisorRow>,
    /// The members of the virtual storage; read under policy `half` only.
    pub members: Vec<MemberRow>,
    /// The repositories, in order of id.
    pub repositories: Vec<LedRepository>,
    /// Those among them that cannot be read, and why: a foreign writer recorded what we do not allow. Each costs itself.
    pub unreadable: BTreeMap<RepositoryId, String>,
    /// The last repository that was looked at, whoever leads it, if there may be more behind it; `None` at the end.
    pub until: Option<RepositoryId>,
}

/// What is one repository's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedRepository {
    /// The repository.
    pub repository: RepositoryId,
    /// Its path, as clients know it.
    pub relative_path: RelativePath,
    /// The expected generation; `None` equals nothing.
    pub generation: Option<Generation>,
    /// The epoch of its primary.
    pub epoch: Option<Epoch>,
    /// The number of changes that its replicas, generations, marks and assignments have seen.
    pub facts_version: FactsVersion,
    /// Its replicas and the version of each one's data, in order of storage.
    pub replicas: Vec<(Storage, Generation)>,
    /// The storages whose replica is to be deleted.
    pub marked: Vec<Storage>,
    /// The storages that should host it, in order of name.
    pub assignments: Vec<Storage>,
}

impl SettleFacts {
    /// How many repositories were read, those that cannot be read among them.
    #[must_use]
    pub fn read(&self) -> usize {
        self.repositories.len().saturating_add(self.unreadable.len())
    }

    /// The facts of one of them, as a read of that one alone would have found them.
    #[must_use]
    pub fn election(&self, led: &LedRepository) -> ElectionFacts {
        let mut facts = self.in_common(led.relative_path.clone());
        self.fill(&mut facts, led);
        let held = |vote: &VoteRow| led.replicas.iter().any(|(storage, _)| *storage == vote.node.storage);
        facts.votes = self.votes.iter().filter(|vote| held(vote)).cloned().collect();
        facts
    }

    /// What they have in common, without any repository's own.
    fn in_common(&self, relative_path: RelativePath) -> ElectionFacts {
        ElectionFacts {
            cluster: self.cluster.clone(),
            repository: RepositoryId(0),
            virtual_storage: self.node.virtual_storage.clone(),
            relative_path,
            generation: None,
            primary: Some(self.node.storage.clone()),
            epoch: None,
            era: self.era,
            facts_version: FactsVersion(0),
            at: self.at,
            replicas: Vec::new(),
            assignments: Vec::new(),
            votes: self.votes.clone(),
            supervisors: self.supervisors.clone(),
            members: self.members.clone(),
        }
    }

    /// Puts one repository's own in.
    fn fill(&self, facts: &mut ElectionFacts, led: &LedRepository) {
        facts.repository = led.repository;
        facts.relative_path.clone_from(&led.relative_path);
        facts.generation = led.generation;
        facts.epoch = led.epoch;
        facts.facts_version = led.facts_version;
        facts.assignments.clone_from(&led.assignments);
        facts.replicas.clear();
        facts.replicas.extend(led.replicas.iter().map(|(storage, generation)| ReplicaFacts {
            storage: storage.clone(),
            generation: *generation,
            marked: led.marked.contains(storage),
            assigned: led.assignments.contains(storage),
            attributes: self.attributes.get(storage).copied().unwrap_or_default(),
        }));
    }
}
