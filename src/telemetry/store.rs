//! A store that is measured: one wrapper around the port, so that no adapter has to think of it.

use super::Meter;
use crate::{
    core::{
        election::{Fence, Incumbent, Reason},
        epoch::{Epoch, Era, FactsVersion, Generation, Given},
        ids::{NodeId, RelativePath, RepositoryId, Storage, VirtualStorage, Voter},
        monitor::Suspicion,
        recusal::Distrust,
        settings::Settings,
        time::DatabaseTime,
    },
    store::{
        Answer, CasOutcome, CensusStore, ChangeFeed, Created, Deleted, ElectionSnapshot, ElectionStore, FeedPosition,
        HealthSnapshot, HealthStore, Heartbeat, Listener, NewRepository, Outcome, Polled, PrimaryChange, Proposal,
        Registered, Registration, RepositoriesCount, RepositoryStore, SettleBatch, SettleOutcome, SettleSnapshot,
        SettleStore, ShardProposal, ShardSnapshot, ShardStore, StorageChange, Store, StoreOp, StoredSettings, Target,
        UpToDate, VoteBatch, VotesWritten,
    },
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::Instant;

/// A store with a meter around it.
pub(crate) struct MeteredStore {
    inner: Arc<dyn Store>,
    meter: Meter,
}

impl MeteredStore {
    /// The store itself if nobody hears the meter.
    pub(crate) fn around(inner: Arc<dyn Store>, meter: &Meter) -> Arc<dyn Store> {
        if !meter.is_on() {
            return inner;
        }
        Arc::new(Self { inner, meter: meter.clone() })
    }

    fn timed<'a, T: Send + 'a>(&'a self, op: StoreOp, answer: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            let began = Instant::now();
            let answer = answer.await;
            self.meter.store_answered(op, began.elapsed(), answer.as_ref().err().map(|error| error.kind()));
            answer
        })
    }
}

impl MeteredStore {
    /// Every elector commits through the store, so here elections are counted.
    fn counted<'a>(
        &'a self,
        virtual_storage: &'a VirtualStorage,
        (from, to): (Option<&'a Storage>, Option<&'a Storage>),
        why: &'a str,
        answer: Answer<'a, CasOutcome>,
    ) -> Answer<'a, CasOutcome> {
        Box::pin(async move {
            let answer = answer.await;
            let outcome = match &answer {
                Ok(CasOutcome::Won { .. }) if to.is_some() => "elected",
                Ok(CasOutcome::Won { .. }) => "demoted",
                Ok(CasOutcome::Lost) => "lost",
                Ok(CasOutcome::EraChanged) => "era_changed",
                Err(_) => "failed",
            };
            self.meter.election(virtual_storage, outcome, why);
            if outcome == "elected" && why == Reason::Unhealthy.as_str() {
                let from = from.map(|from| NodeId::new(virtual_storage.clone(), from.clone()));
                from.iter().for_each(|from| self.meter.failed_over(from));
            }
            answer
        })
    }
}

impl HealthStore for MeteredStore {
    fn settings_seed<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        self.timed(StoreOp::SettingsSeed, self.inner.settings_seed(wanted))
    }
    fn settings_update<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        self.timed(StoreOp::SettingsUpdate, self.inner.settings_update(wanted))
    }
    fn supervisor_register<'a>(&'a self, registration: &'a Registration) -> Answer<'a, Registered> {
        self.timed(StoreOp::SupervisorRegister, self.inner.supervisor_register(registration))
    }
    fn supervisor_heartbeat<'a>(&'a self, voter: &'a Voter) -> Answer<'a, Heartbeat> {
        self.timed(StoreOp::SupervisorHeartbeat, self.inner.supervisor_heartbeat(voter))
    }
    fn nodes_watch<'a>(&'a self, voter: &'a Voter, nodes: &'a [NodeId]) -> Answer<'a, bool> {
        self.timed(StoreOp::NodesWatch, self.inner.nodes_watch(voter, nodes))
    }
    fn supervisor_recuse<'a>(&'a self, voter: &'a Voter, reason: Option<Distrust>) -> Answer<'a, bool> {
        self.timed(StoreOp::SupervisorRecuse, self.inner.supervisor_recuse(voter, reason))
    }
    fn penalty_raise<'a>(
        &'a self,
        node: &'a NodeId,
        seen: Option<DatabaseTime>,
        lasting: Duration,
    ) -> Answer<'a, bool> {
        self.timed(StoreOp::PenaltyRaise, self.inner.penalty_raise(node, seen, lasting))
    }
    fn penalty_lift<'a>(&'a self, node: &'a NodeId) -> Answer<'a, bool> {
        self.timed(StoreOp::PenaltyLift, self.inner.penalty_lift(node))
    }
    fn supervisor_remove<'a>(&'a self, voter: &'a Voter) -> Answer<'a, bool> {
        self.timed(StoreOp::SupervisorRemove, self.inner.supervisor_remove(voter))
    }
    fn votes_write<'a>(&'a self, voter: &'a Voter, batch: &'a VoteBatch) -> Answer<'a, VotesWritten> {
        self.timed(StoreOp::VotesWrite, self.inner.votes_write(voter, batch))
    }
    fn epochs_given(&self) -> Answer<'_, Given> {
        self.timed(StoreOp::EpochsGiven, self.inner.epochs_given())
    }
    fn era_raise<'a>(&'a self, seen: Era, reported: Option<Epoch>, why: &'a str) -> Answer<'a, Era> {
        self.timed(StoreOp::EraRaise, self.inner.era_raise(seen, reported, why))
    }
    fn suspicion_tell<'a>(&'a self, suspicion: &'a Suspicion) -> Answer<'a, bool> {
        self.timed(StoreOp::SuspicionTell, self.inner.suspicion_tell(suspicion))
    }
    fn health_facts(&self) -> Answer<'_, HealthSnapshot> {
        self.timed(StoreOp::HealthFacts, self.inner.health_facts())
    }
}

impl ChangeFeed for MeteredStore {
    fn up_to_date<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<UpToDate>> {
        self.timed(StoreOp::UpToDate, self.inner.up_to_date(target))
    }
    /// Timed until it listens; what it hears later is nobody's question.
    fn listen(&self) -> Answer<'_, Option<Box<dyn Listener>>> {
        self.timed(StoreOp::ChangesListen, self.inner.listen())
    }
    fn changes_since<'a>(&'a self, since: Option<&'a FeedPosition>) -> Answer<'a, Polled> {
        self.timed(StoreOp::ChangesSince, self.inner.changes_since(since))
    }
}

impl ElectionStore for MeteredStore {
    fn election_facts<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<ElectionSnapshot>> {
        self.timed(StoreOp::ElectionFacts, self.inner.election_facts(target))
    }
    fn incumbent<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<Incumbent>> {
        self.timed(StoreOp::ElectionFacts, self.inner.incumbent(target))
    }
    fn primary_cas<'a>(&'a self, proposal: &'a Proposal) -> Answer<'a, CasOutcome> {
        let answer = self.timed(StoreOp::PrimaryCas, self.inner.primary_cas(proposal));
        let change = (proposal.from.as_ref(), proposal.to.as_ref());
        self.counted(&proposal.virtual_storage, change, &proposal.why, answer)
    }
    fn primary_history(&self, repository: RepositoryId, limit: u32) -> Answer<'_, Vec<PrimaryChange>> {
        self.timed(StoreOp::PrimaryHistory, self.inner.primary_history(repository, limit))
    }
}

impl SettleStore for MeteredStore {
    fn settle_facts<'a>(&'a self, node: &'a NodeId, after: RepositoryId, limit: u32) -> Answer<'a, SettleSnapshot> {
        self.timed(StoreOp::SettleFacts, self.inner.settle_facts(node, after, limit))
    }
    /// Each repository is an election of its own. Of a batch that another supervisor's kept out, none was tried.
    fn settle_cas<'a>(&'a self, batch: &'a SettleBatch) -> Answer<'a, SettleOutcome> {
        let answer = self.timed(StoreOp::SettleCas, self.inner.settle_cas(batch));
        Box::pin(async move {
            let answer = answer.await;
            let (node, proposed) = (&batch.node, batch.repositories.len());
            let demotes = batch.repositories.first().is_some_and(|one| one.to.is_none());
            let (outcome, won, otherwise) = match &answer {
                Ok(SettleOutcome::Done(won)) => (if demotes { "demoted" } else { "elected" }, won.len(), "lost"),
                Ok(SettleOutcome::Busy) => return answer,
                Ok(SettleOutcome::EraChanged) => ("elected", 0, "era_changed"),
                Err(_) => ("elected", 0, "failed"),
            };
            for (outcome, by) in [(outcome, won), (otherwise, proposed.saturating_sub(won))] {
                self.meter.elections(&node.virtual_storage, outcome, &batch.why, by);
            }
            if won > 0 {
                self.meter.settled(&node.virtual_storage, won);
                if !demotes && batch.why == Reason::Unhealthy.as_str() {
                    self.meter.failed_over(node);
                }
            }
            answer
        })
    }
}

impl ShardStore for MeteredStore {
    fn shard_facts<'a>(&'a self, virtual_storage: &'a VirtualStorage, lags: bool) -> Answer<'a, ShardSnapshot> {
        self.timed(StoreOp::ShardFacts, self.inner.shard_facts(virtual_storage, lags))
    }
    fn shard_cas<'a>(&'a self, proposal: &'a ShardProposal) -> Answer<'a, CasOutcome> {
        let answer = self.timed(StoreOp::ShardCas, self.inner.shard_cas(proposal));
        let change = (proposal.from.as_ref(), proposal.to.as_ref());
        self.counted(&proposal.virtual_storage, change, &proposal.why, answer)
    }
    fn shard_history<'a>(&'a self, virtual_storage: &'a VirtualStorage, limit: u32) -> Answer<'a, Vec<PrimaryChange>> {
        self.timed(StoreOp::ShardHistory, self.inner.shard_history(virtual_storage, limit))
    }
}

impl CensusStore for MeteredStore {
    fn repositories_count<'a>(&'a self, healthy: &'a BTreeSet<NodeId>) -> Answer<'a, Vec<RepositoriesCount>> {
        self.timed(StoreOp::RepositoriesCount, self.inner.repositories_count(healthy))
    }
}

impl RepositoryStore for MeteredStore {
    fn repository_create<'a>(&'a self, new: &'a NewRepository) -> Answer<'a, Outcome<Created>> {
        self.timed(StoreOp::RepositoryCreate, self.inner.repository_create(new))
    }
    fn repository_delete<'a>(&'a self, id: RepositoryId, fence: Option<&'a Fence>) -> Answer<'a, Outcome<Deleted>> {
        self.timed(StoreOp::RepositoryDelete, self.inner.repository_delete(id, fence))
    }
    fn repository_rename<'a>(
        &'a self,
        id: RepositoryId,
        fence: Option<&'a Fence>,
        to: &'a RelativePath,
    ) -> Answer<'a, Outcome<()>> {
        self.timed(StoreOp::RepositoryRename, self.inner.repository_rename(id, fence, to))
    }
    fn generation_increment<'a>(
        &'a self,
        id: RepositoryId,
        fence: Option<&'a Fence>,
        acknowledged: &'a BTreeSet<Storage>,
    ) -> Answer<'a, Outcome<Generation>> {
        self.timed(StoreOp::GenerationIncrement, self.inner.generation_increment(id, fence, acknowledged))
    }
    fn generation_set<'a>(
        &'a self,
        id: RepositoryId,
        fence: Option<&'a Fence>,
        storage: &'a Storage,
        generation: Generation,
    ) -> Answer<'a, Outcome<()>> {
        self.timed(StoreOp::GenerationSet, self.inner.generation_set(id, fence, storage, generation))
    }
    fn replica_mark<'a>(&'a self, id: RepositoryId, storage: &'a Storage) -> Answer<'a, Outcome<()>> {
        self.timed(StoreOp::ReplicaMark, self.inner.replica_mark(id, storage))
    }
    fn replica_delete<'a>(
        &'a self,
        id: RepositoryId,
        fence: Option<&'a Fence>,
        storage: &'a Storage,
    ) -> Answer<'a, Outcome<()>> {
        self.timed(StoreOp::ReplicaDelete, self.inner.replica_delete(id, fence, storage))
    }
    fn authoritative_set<'a>(
        &'a self,
        id: RepositoryId,
        storage: &'a Storage,
        expected: FactsVersion,
        operator: &'a Voter,
    ) -> Answer<'a, Outcome<Epoch>> {
        self.timed(StoreOp::AuthoritativeSet, self.inner.authoritative_set(id, storage, expected, operator))
    }
    fn assignments_replace<'a>(
        &'a self,
        id: RepositoryId,
        expected: FactsVersion,
        assignments: &'a BTreeSet<Storage>,
    ) -> Answer<'a, Outcome<()>> {
        self.timed(StoreOp::AssignmentsReplace, self.inner.assignments_replace(id, expected, assignments))
    }
    fn storage_update<'a>(&'a self, node: &'a NodeId, change: StorageChange) -> Answer<'a, ()> {
        self.timed(StoreOp::StorageUpdate, self.inner.storage_update(node, change))
    }
}
