//! A store with one flaw, to see that histories find it.

use quorate::{
    core::{
        election::{Fence, Incumbent},
        epoch::{Epoch, FactsVersion, Generation},
        ids::{NodeId, RelativePath, RepositoryId, Storage, VirtualStorage, Voter},
        settings::Settings,
    },
    store::{
        Answer, CasOutcome, CensusStore, ChangeFeed, Created, Deleted, ElectionSnapshot, ElectionStore, FeedPosition,
        HealthSnapshot, HealthStore, Heartbeat, Listener, NewRepository, Outcome, Polled, PrimaryChange, Proposal,
        Registered, Registration, RepositoriesCount, RepositoryStore, SettleBatch, SettleOutcome, SettleSnapshot,
        SettleStore, ShardProposal, ShardSnapshot, ShardStore, StorageChange, StoredSettings, Target, UpToDate,
        VoteBatch, VotesWritten, memory::MemoryStore,
    },
};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

/// What is wrong with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A batch that was overtaken is stored all the same (D27).
    LateVotesWin,
    /// A decision commits whatever has moved since its facts were read (D3).
    ExpectsNothing,
    /// An acknowledged write moves outdated replicas too.
    OutdatedReplicasMove,
    /// A fence of an older epoch is as good as the current one (D1).
    AnyFenceWillDo,
    /// A lapsed supervisor's heartbeat revives it.
    LapsesAreForgiven,
    /// A mark is answered and not stored.
    MarksAreForgotten,
}

pub const FLAWS: [Flaw; 6] = [
    Flaw::LateVotesWin,
    Flaw::ExpectsNothing,
    Flaw::OutdatedReplicasMove,
    Flaw::AnyFenceWillDo,
    Flaw::LapsesAreForgiven,
    Flaw::MarksAreForgotten,
];

pub struct Flawed {
    pub inner: MemoryStore,
    pub flaw: Flaw,
    pub batch: AtomicI64,
}

impl Flawed {
    pub fn new(flaw: Flaw) -> Self {
        Self { inner: MemoryStore::default(), flaw, batch: AtomicI64::new(1_000_000) }
    }
    async fn current(&self, id: RepositoryId) -> Option<Fence> {
        let facts = self.inner.election_facts(&Target::Id(id)).await.ok()??.facts;
        Some(Fence { epoch: facts.epoch?, primary: facts.primary? })
    }
}

impl HealthStore for Flawed {
    fn settings_seed<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        self.inner.settings_seed(wanted)
    }
    fn settings_update<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        self.inner.settings_update(wanted)
    }
    fn supervisor_register<'a>(&'a self, registration: &'a Registration) -> Answer<'a, Registered> {
        self.inner.supervisor_register(registration)
    }
    fn supervisor_heartbeat<'a>(&'a self, voter: &'a Voter) -> Answer<'a, Heartbeat> {
        Box::pin(async move {
            match self.inner.supervisor_heartbeat(voter).await? {
                Heartbeat::Lapsed if self.flaw == Flaw::LapsesAreForgiven => {
                    let HealthSnapshot { at, settings, .. } = self.inner.health_facts().await?;
                    Ok(Heartbeat::Alive { at, settings_revision: settings.revision })
                }
                told => Ok(told),
            }
        })
    }
    fn supervisor_recuse<'a>(
        &'a self,
        voter: &'a Voter,
        reason: Option<quorate::core::recusal::Distrust>,
    ) -> Answer<'a, bool> {
        self.inner.supervisor_recuse(voter, reason)
    }
    fn penalty_raise<'a>(
        &'a self,
        node: &'a NodeId,
        seen: Option<quorate::core::time::DatabaseTime>,
        lasting: Duration,
    ) -> Answer<'a, bool> {
        self.inner.penalty_raise(node, seen, lasting)
    }
    fn penalty_lift<'a>(&'a self, node: &'a NodeId) -> Answer<'a, bool> {
        self.inner.penalty_lift(node)
    }
    fn supervisor_remove<'a>(&'a self, voter: &'a Voter) -> Answer<'a, bool> {
        self.inner.supervisor_remove(voter)
    }
    fn nodes_watch<'a>(&'a self, voter: &'a Voter, nodes: &'a [NodeId]) -> Answer<'a, bool> {
        self.inner.nodes_watch(voter, nodes)
    }
    fn votes_write<'a>(&'a self, voter: &'a Voter, batch: &'a VoteBatch) -> Answer<'a, VotesWritten> {
        Box::pin(async move {
            let mut batch = batch.clone();
            if self.flaw == Flaw::LateVotesWin {
                batch.number = self.batch.fetch_add(1, Ordering::SeqCst);
            }
            self.inner.votes_write(voter, &batch).await
        })
    }
    fn epochs_given(&self) -> Answer<'_, quorate::core::epoch::Given> {
        self.inner.epochs_given()
    }
    fn era_raise<'a>(
        &'a self,
        seen: quorate::core::epoch::Era,
        reported: Option<quorate::core::epoch::Epoch>,
        why: &'a str,
    ) -> Answer<'a, quorate::core::epoch::Era> {
        self.inner.era_raise(seen, reported, why)
    }
    fn health_facts(&self) -> Answer<'_, HealthSnapshot> {
        self.inner.health_facts()
    }
}

impl ChangeFeed for Flawed {
    fn up_to_date<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<UpToDate>> {
        self.inner.up_to_date(target)
    }
    fn listen(&self) -> Answer<'_, Option<Box<dyn Listener>>> {
        self.inner.listen()
    }
    fn changes_since<'a>(&'a self, since: Option<&'a FeedPosition>) -> Answer<'a, Polled> {
        self.inner.changes_since(since)
    }
}

impl ElectionStore for Flawed {
    fn election_facts<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<ElectionSnapshot>> {
        self.inner.election_facts(target)
    }
    fn incumbent<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<Incumbent>> {
        self.inner.incumbent(target)
    }
    fn primary_cas<'a>(&'a self, proposal: &'a Proposal) -> Answer<'a, CasOutcome> {
        Box::pin(async move {
            let mut proposal = proposal.clone();
            let now = self.inner.election_facts(&Target::Id(proposal.repository)).await?;
            if let Some(ElectionSnapshot { facts, .. }) = now.filter(|_| self.flaw == Flaw::ExpectsNothing) {
                proposal.expected.facts_version = facts.facts_version;
            }
            self.inner.primary_cas(&proposal).await
        })
    }
    fn primary_history(&self, repository: RepositoryId, limit: u32) -> Answer<'_, Vec<PrimaryChange>> {
        self.inner.primary_history(repository, limit)
    }
}

impl SettleStore for Flawed {
    fn settle_facts<'a>(&'a self, node: &'a NodeId, after: RepositoryId, limit: u32) -> Answer<'a, SettleSnapshot> {
        self.inner.settle_facts(node, after, limit)
    }
    fn settle_cas<'a>(&'a self, batch: &'a SettleBatch) -> Answer<'a, SettleOutcome> {
        self.inner.settle_cas(batch)
    }
}

impl ShardStore for Flawed {
    fn shard_facts<'a>(&'a self, virtual_storage: &'a VirtualStorage, lags: bool) -> Answer<'a, ShardSnapshot> {
        self.inner.shard_facts(virtual_storage, lags)
    }
    fn shard_cas<'a>(&'a self, proposal: &'a ShardProposal) -> Answer<'a, CasOutcome> {
        self.inner.shard_cas(proposal)
    }
    fn shard_history<'a>(&'a self, of: &'a VirtualStorage, limit: u32) -> Answer<'a, Vec<PrimaryChange>> {
        self.inner.shard_history(of, limit)
    }
}

impl RepositoryStore for Flawed {
    fn repository_create<'a>(&'a self, new: &'a NewRepository) -> Answer<'a, Outcome<Created>> {
        self.inner.repository_create(new)
    }
    fn repository_delete<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
    ) -> Answer<'a, Outcome<Deleted>> {
        self.inner.repository_delete(repository, fence)
    }
    fn repository_rename<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        to: &'a RelativePath,
    ) -> Answer<'a, Outcome<()>> {
        self.inner.repository_rename(repository, fence, to)
    }
    fn generation_increment<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        acknowledged: &'a BTreeSet<Storage>,
    ) -> Answer<'a, Outcome<Generation>> {
        Box::pin(async move {
            let current = self.current(repository).await;
            let fence = match (self.flaw, fence) {
                (Flaw::AnyFenceWillDo, Some(_)) => current.as_ref(),
                (_, fence) => fence,
            };
            let outcome = self.inner.generation_increment(repository, fence, acknowledged).await?;
            if let (Outcome::Done(generation), Flaw::OutdatedReplicasMove) = (&outcome, self.flaw) {
                for storage in acknowledged {
                    self.inner.generation_set(repository, fence, storage, *generation).await?;
                }
            }
            Ok(outcome)
        })
    }
    fn generation_set<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        storage: &'a Storage,
        generation: Generation,
    ) -> Answer<'a, Outcome<()>> {
        self.inner.generation_set(repository, fence, storage, generation)
    }
    fn replica_mark<'a>(&'a self, repository: RepositoryId, storage: &'a Storage) -> Answer<'a, Outcome<()>> {
        if self.flaw == Flaw::MarksAreForgotten {
            return Box::pin(async { Ok(Outcome::Done(())) });
        }
        self.inner.replica_mark(repository, storage)
    }
    fn replica_delete<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        storage: &'a Storage,
    ) -> Answer<'a, Outcome<()>> {
        self.inner.replica_delete(repository, fence, storage)
    }
    fn authoritative_set<'a>(
        &'a self,
        repository: RepositoryId,
        storage: &'a Storage,
        expected: FactsVersion,
        operator: &'a Voter,
    ) -> Answer<'a, Outcome<Epoch>> {
        self.inner.authoritative_set(repository, storage, expected, operator)
    }
    fn assignments_replace<'a>(
        &'a self,
        repository: RepositoryId,
        expected: FactsVersion,
        assignments: &'a BTreeSet<Storage>,
    ) -> Answer<'a, Outcome<()>> {
        self.inner.assignments_replace(repository, expected, assignments)
    }
    fn storage_update<'a>(&'a self, node: &'a NodeId, change: StorageChange) -> Answer<'a, ()> {
        self.inner.storage_update(node, change)
    }
}

impl CensusStore for Flawed {
    fn repositories_count<'a>(&'a self, healthy: &'a BTreeSet<NodeId>) -> Answer<'a, Vec<RepositoriesCount>> {
        self.inner.repositories_count(healthy)
    }
}
