//! The tables, and what every transaction needs from them.

use super::{Activity, feed::Feed};
use crate::core::{
    consensus::{Opinion, SupervisorRow, VoteRow},
    election::{ElectionFacts, Fence, ReplicaFacts, StorageAttributes},
    epoch::{Epoch, Era, FactsVersion, Generation, Given, Revision},
    ids::{
        ClusterId, DecisionId, Incarnation, NodeId, ProcessToken, RelativePath, RepositoryId, Storage, SupervisorName,
        VirtualStorage,
    },
    quorum::QuorumPolicy,
    recusal::Distrust,
    settings::{Profile, Settings},
    time::{Age, DatabaseTime},
};
use crate::store::{self, Current, ElectionSnapshot, Refused, StoreOp, StoredSettings};
use std::collections::{BTreeMap, BTreeSet};

/// Everything a database would hold. Stamps are microseconds of the store's clock.
pub(super) struct State {
    /// The time of the transaction in progress.
    pub(super) now: i64,
    /// Rows that the transaction in progress has changed.
    pub(super) rows: u64,
    pub(super) activity: BTreeMap<StoreOp, Activity>,
    cluster: ClusterId,
    /// `None`: never seeded; the default settings rule meanwhile.
    pub(super) settings: Option<(Revision, Settings)>,
    era: i64,
    /// Whether the server has turned out to be another than the era was recorded for.
    pub(super) replaced: bool,
    epochs: i64,
    incarnations: i64,
    pub(super) repository_ids: i64,
    pub(super) last_facts_version: FactsVersion,
    pub(super) supervisors: BTreeMap<SupervisorName, Supervisor>,
    pub(super) votes: BTreeMap<(SupervisorName, NodeId), Vote>,
    pub(super) storages: BTreeMap<NodeId, StorageRow>,
    pub(super) repositories: BTreeMap<RepositoryId, Repository>,
    pub(super) changes: Vec<RepositoryChange>,
    pub(super) shards: BTreeMap<VirtualStorage, Shard>,
    pub(super) shard_changes: Vec<ShardChange>,
    pub(super) feed: Feed,
    /// Repositories that the transaction in progress may have changed.
    pub(super) touched_ids: BTreeSet<RepositoryId>,
    /// Whether the transaction in progress changed anybody's vote or state.
    pub(super) votes_moved: bool,
    /// Virtual storages that another supervisor is settling, on order.
    pub(super) settled_elsewhere: BTreeSet<VirtualStorage>,
    /// How many repositories one read of what a node led goes through at most, on order.
    pub(super) looked_at_once: usize,
    /// Repositories of which a foreign writer recorded what nobody may read.
    pub(super) unreadable: BTreeSet<RepositoryId>,
}

pub(super) struct Supervisor {
    pub(super) incarnation: Incarnation,
    pub(super) registered_at: i64,
    pub(super) superseded_live_at: Option<i64>,
    pub(super) heartbeat_at: i64,
    /// Why it abstains.
    pub(super) recused: Option<Distrust>,
    pub(super) process: ProcessToken,
    pub(super) attempt: i64,
}

#[derive(Default)]
pub(super) struct Vote {
    /// `None`: a foreign row.
    pub(super) opinion: Option<Opinion>,
    pub(super) incarnation: Option<Incarnation>,
    pub(super) number: i64,
    pub(super) contact_at: Option<i64>,
    pub(super) seen_at: Option<i64>,
}

pub(super) struct StorageRow {
    pub(super) priority: i32,
    pub(super) draining: bool,
    pub(super) penalty_until: Option<i64>,
    pub(super) penalised_at: Option<i64>,
}

impl Default for StorageRow {
    fn default() -> Self {
        let StorageAttributes { priority, draining, penalised: _ } = StorageAttributes::default();
        Self { priority, draining, penalty_until: None, penalised_at: None }
    }
}

pub(super) struct Repository {
    pub(super) virtual_storage: VirtualStorage,
    pub(super) relative_path: RelativePath,
    pub(super) replica_path: String,
    pub(super) generation: Option<Generation>,
    pub(super) primary: Option<Storage>,
    pub(super) epoch: Option<Epoch>,
    pub(super) facts_version: FactsVersion,
    pub(super) replicas: BTreeMap<Storage, Generation>,
    pub(super) marked: Option<Storage>,
    pub(super) assignments: BTreeSet<Storage>,
}

impl Repository {
    /// Every change of a replica, generation, mark or assignment passes here: what a decision rested on has moved.
    pub(super) fn moved(&mut self) {
        self.facts_version = FactsVersion(self.facts_version.0.saturating_add(1));
    }
    pub(super) fn up_to_date(&self) -> BTreeSet<Storage> {
        let current = self.replicas.iter().filter(|(_, generation)| self.generation == Some(**generation));
        current.map(|(storage, _)| storage.clone()).collect()
    }
    /// Whether a replica is up to date, stays, and is assigned if any is.
    pub(super) fn may_lead(&self, storage: &Storage) -> bool {
        self.generation.is_some_and(|generation| self.replicas.get(storage) == Some(&generation))
            && self.marked.as_ref() != Some(storage)
            && (self.assignments.is_empty() || self.assignments.contains(storage))
    }
    pub(super) fn current(&self) -> Current {
        Current { epoch: self.epoch, primary: self.primary.clone() }
    }
}

/// The row of a virtual storage that was ever elected as a whole.
pub(super) struct Shard {
    pub(super) storage: Storage,
    pub(super) demoted: bool,
    pub(super) epoch: Epoch,
    pub(super) elected_at: i64,
}

pub(super) struct RepositoryChange {
    pub(super) repository: RepositoryId,
    pub(super) change: Change,
}

pub(super) struct ShardChange {
    pub(super) virtual_storage: VirtualStorage,
    pub(super) change: Change,
}

/// One change of a primary, with the decision behind it.
pub(super) struct Change {
    pub(super) epoch: Epoch,
    pub(super) previous: Option<Storage>,
    pub(super) current: Option<Storage>,
    pub(super) at: i64,
    /// `None`: a foreign writer, or the repository's creation.
    pub(super) decision: Option<Decided>,
}

#[derive(Clone)]
pub(super) struct Decided {
    /// `None`: an operator's, which nobody retries by id.
    pub(super) id: Option<DecisionId>,
    pub(super) supervisor: SupervisorName,
    pub(super) why: String,
    pub(super) evidence: String,
}

/// What a fenced operation is told instead of being done.
pub(super) enum Barred {
    NotFound,
    Stale(Current),
    EraChanged,
    Refused(Refused),
}

impl State {
    pub(super) fn new() -> Self {
        let cluster = match ClusterId::new(uuid::Uuid::new_v4().to_string()) {
            Ok(cluster) => cluster,
            Err(error) => unreachable!("a uuid is a name: {error}"),
        };
        Self {
            now: 0,
            rows: 0,
            activity: BTreeMap::new(),
            cluster,
            settings: None,
            era: 1,
            replaced: false,
            epochs: 0,
            incarnations: 0,
            repository_ids: 0,
            last_facts_version: FactsVersion(0),
            supervisors: BTreeMap::new(),
            votes: BTreeMap::new(),
            storages: BTreeMap::new(),
            repositories: BTreeMap::new(),
            changes: Vec::new(),
            shards: BTreeMap::new(),
            shard_changes: Vec::new(),
            feed: Feed::default(),
            touched_ids: BTreeSet::new(),
            votes_moved: false,
            settled_elsewhere: BTreeSet::new(),
            looked_at_once: usize::MAX,
            unreadable: BTreeSet::new(),
        }
    }

    pub(super) fn touched(&mut self, rows: usize) {
        self.rows = self.rows.saturating_add(u64::try_from(rows).unwrap_or(u64::MAX));
    }
    pub(super) fn age(&self, stamp: i64) -> Age {
        Age(self.now.saturating_sub(stamp))
    }
    pub(super) fn at(&self) -> DatabaseTime {
        DatabaseTime(self.now)
    }
    pub(super) fn era(&self) -> Era {
        Era(self.era)
    }
    pub(super) fn next_incarnation(&mut self) -> Incarnation {
        self.incarnations = self.incarnations.saturating_add(1);
        Incarnation(self.incarnations)
    }
    pub(super) fn settings(&self) -> StoredSettings {
        let (revision, settings) =
            self.settings.clone().unwrap_or_else(|| (Revision(0), Settings::of(Profile::Default)));
        StoredSettings { cluster: self.cluster.clone(), revision, settings }
    }

    pub(super) fn next_epoch(&mut self) -> Epoch {
        self.epochs = self.epochs.saturating_add(1);
        match Epoch::new(Era(self.era), self.epochs) {
            Ok(epoch) => epoch,
            Err(error) => unreachable!("both counters start at 1 and grow by one: {error}"),
        }
    }

    pub(super) fn given(&self) -> Given {
        Given { era: self.era(), number: self.epochs }
    }

    /// An older backup in the place of this database, as far as its epochs go.
    pub(super) fn set_back(&mut self, to: Given) {
        (self.era, self.epochs) = (to.era.0, to.number);
    }

    /// Its time is no calendar's, and nothing of it is ever restored: an era above the known ones will do.
    pub(super) fn raise_era(&mut self, seen: Era, reported: Option<Epoch>) -> Era {
        if self.era() == seen {
            let known = reported.map_or(seen, |reported| reported.era().max(seen));
            self.era = known.0.saturating_add(1);
            self.feed.add(store::Change::everything(store::ChangeKind::Primaries));
            self.touched(1);
        }
        self.era()
    }

    /// A replaced database raises its era the first time anybody notices, as the SQL stores do.
    pub(super) fn noticed_replacement(&mut self) -> bool {
        let noticed = std::mem::take(&mut self.replaced);
        if noticed {
            self.era = self.era.saturating_add(1);
            self.touched(1);
        }
        noticed
    }

    /// The only way to change a primary: a new epoch and a row of history with it.
    pub(super) fn primary_set(
        &mut self,
        id: RepositoryId,
        to: Option<Storage>,
        decision: Option<Decided>,
    ) -> Option<Epoch> {
        let epoch = self.next_epoch();
        let at = self.now;
        self.touched_ids.insert(id);
        let repository = self.repositories.get_mut(&id)?;
        let previous = std::mem::replace(&mut repository.primary, to.clone());
        repository.epoch = Some(epoch);
        let change = Change { epoch, previous, current: to, at, decision };
        self.changes.push(RepositoryChange { repository: id, change });
        self.touched(2);
        Some(epoch)
    }

    /// The row of a repository, if the fence (or, in profile `praefect`, its absence) admits the caller.
    pub(super) fn admitted(&mut self, id: RepositoryId, fence: Option<&Fence>) -> Result<&mut Repository, Barred> {
        if self.repositories.contains_key(&id) && self.noticed_replacement() {
            return Err(Barred::EraChanged);
        }
        self.touched_ids.insert(id);
        let unfenced_allowed = self.settings().settings.profile == Profile::Praefect;
        let repository = self.repositories.get_mut(&id).ok_or(Barred::NotFound)?;
        match fence {
            None if unfenced_allowed => Ok(repository),
            None => Err(Barred::Refused(Refused::FenceRequired)),
            Some(fence) if repository.current().admits(fence) => Ok(repository),
            Some(_) => Err(Barred::Stale(repository.current())),
        }
    }

    pub(super) fn vote_row(&self, (supervisor, node): &(SupervisorName, NodeId), vote: &Vote) -> VoteRow {
        VoteRow {
            supervisor: supervisor.clone(),
            node: node.clone(),
            opinion: vote.opinion,
            incarnation: vote.incarnation,
            contact_age: vote.contact_at.map(|stamp| self.age(stamp)),
            seen_age: vote.seen_at.map(|stamp| self.age(stamp)),
        }
    }

    pub(super) fn vote_rows(&self, concerns: impl Fn(&NodeId) -> bool) -> Vec<VoteRow> {
        self.votes.iter().filter(|((_, node), _)| concerns(node)).map(|(key, vote)| self.vote_row(key, vote)).collect()
    }

    pub(super) fn supervisor_rows(&self) -> Vec<SupervisorRow> {
        let row = |(name, supervisor): (&SupervisorName, &Supervisor)| SupervisorRow {
            name: name.clone(),
            incarnation: supervisor.incarnation,
            heartbeat_age: self.age(supervisor.heartbeat_at),
            registered_age: self.age(supervisor.registered_at),
            recused: supervisor.recused.is_some(),
        };
        self.supervisors.iter().map(row).collect()
    }

    pub(super) fn attributes(&self, node: &NodeId) -> StorageAttributes {
        self.storages.get(node).map_or_else(StorageAttributes::default, |row| StorageAttributes {
            priority: row.priority,
            draining: row.draining,
            penalised: row.penalty_until.is_some_and(|until| until > self.now),
        })
    }

    pub(super) fn election(&self, id: RepositoryId) -> Option<ElectionSnapshot> {
        let repository = self.repositories.get(&id)?;
        let stored = self.settings();
        let virtual_storage = &repository.virtual_storage;
        let replica = |(storage, generation): (&Storage, &Generation)| ReplicaFacts {
            storage: storage.clone(),
            generation: *generation,
            marked: repository.marked.as_ref() == Some(storage),
            assigned: repository.assignments.contains(storage),
            attributes: self.attributes(&NodeId::new(virtual_storage.clone(), storage.clone())),
        };
        let votes = self.vote_rows(|node| {
            node.virtual_storage == *virtual_storage && repository.replicas.contains_key(&node.storage)
        });
        let members = match stored.settings.policy {
            QuorumPolicy::Majority => Vec::new(),
            QuorumPolicy::Half => {
                self.health().members().into_iter().filter(|m| m.virtual_storage == *virtual_storage).collect()
            }
        };
        let facts = ElectionFacts {
            cluster: stored.cluster.clone(),
            repository: id,
            virtual_storage: virtual_storage.clone(),
            relative_path: repository.relative_path.clone(),
            generation: repository.generation,
            primary: repository.primary.clone(),
            epoch: repository.epoch,
            era: self.era(),
            facts_version: repository.facts_version,
            at: self.at(),
            replicas: repository.replicas.iter().map(replica).collect(),
            assignments: repository.assignments.iter().cloned().collect(),
            votes,
            supervisors: self.supervisor_rows(),
            members,
        };
        Some(ElectionSnapshot { facts, settings: stored })
    }
}
