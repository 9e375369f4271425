//! The facts of elections and their commits.

use super::{
    MemoryStore,
    state::{Change, Decided, RepositoryChange, State},
};
use crate::core::{
    election::Incumbent,
    ids::{RepositoryId, Voter},
    quorum::QuorumPolicy,
    time::{DatabaseTime, micros},
};
use crate::store::{Answer, CasOutcome, ElectionSnapshot, ElectionStore, PrimaryChange, Proposal, StoreOp, Target};

impl ElectionStore for MemoryStore {
    fn election_facts<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<ElectionSnapshot>> {
        self.call(StoreOp::ElectionFacts, move |state| state.find(target).and_then(|id| state.election(id)))
    }

    fn incumbent<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<Incumbent>> {
        self.call(StoreOp::ElectionFacts, move |state| {
            state.find(target).and_then(|id| state.election(id)).and_then(|read| Incumbent::of(&read.facts))
        })
    }

    fn primary_cas<'a>(&'a self, proposal: &'a Proposal) -> Answer<'a, CasOutcome> {
        self.call(StoreOp::PrimaryCas, move |state| state.cas(proposal))
    }

    fn primary_history(&self, repository: RepositoryId, limit: u32) -> Answer<'_, Vec<PrimaryChange>> {
        self.call(StoreOp::PrimaryHistory, move |state| {
            let limit = usize::try_from(limit.clamp(1, 1_000)).unwrap_or(1_000);
            let of_this = state.changes.iter().rev().filter(|row| row.repository == repository);
            of_this.take(limit).map(|row| state.told(&row.change)).collect()
        })
    }
}

impl State {
    pub(super) fn find(&self, target: &Target) -> Option<RepositoryId> {
        match target {
            Target::Id(id) => Some(*id),
            Target::Path(virtual_storage, path) => {
                let mut rows = self.repositories.iter();
                rows.find(|(_, row)| row.virtual_storage == *virtual_storage && row.relative_path == *path)
                    .map(|(id, _)| *id)
            }
        }
    }

    fn cas(&mut self, proposal: &Proposal) -> CasOutcome {
        let mine = |row: &&RepositoryChange| {
            let id = row.change.decision.as_ref().and_then(|decided| decided.id.as_ref());
            row.repository == proposal.repository && id == Some(&proposal.decision)
        };
        if let Some(row) = self.changes.iter().find(mine) {
            return CasOutcome::Won { epoch: row.change.epoch };
        }
        if self.noticed_replacement() {
            return CasOutcome::EraChanged;
        }
        if !self.still_holds(proposal) {
            return CasOutcome::Lost;
        }
        let decided = Decided {
            id: Some(proposal.decision.clone()),
            supervisor: proposal.proposer.name.clone(),
            why: proposal.why.clone(),
            evidence: proposal.evidence.clone(),
        };
        match self.primary_set(proposal.repository, proposal.to.clone(), Some(decided)) {
            Some(epoch) => CasOutcome::Won { epoch },
            None => CasOutcome::Lost,
        }
    }

    /// Whether nothing that a proposal rested on has moved, and its proposer may still propose.
    fn still_holds(&self, proposal: &Proposal) -> bool {
        let Some(repository) = self.repositories.get(&proposal.repository) else { return false };
        let expected = &proposal.expected;
        let unmoved = repository.epoch == expected.epoch
            && repository.facts_version == expected.facts_version
            && self.era() == expected.era;
        unmoved && self.may_commit(&proposal.proposer, expected.at)
    }

    /// Whether facts of that time are young enough, and this supervisor may rest a decision on them.
    pub(super) fn may_commit(&self, proposer: &Voter, facts_at: DatabaseTime) -> bool {
        let settings = self.settings().settings;
        let age = self.age(facts_at.0).0;
        let young = (0..micros(settings.decision_ttl)).contains(&age);
        let may_propose = match settings.policy {
            QuorumPolicy::Half => true,
            QuorumPolicy::Majority => {
                let mut rows = self.supervisor_rows().into_iter();
                rows.any(|row| {
                    row.name == proposer.name && row.incarnation == proposer.incarnation && row.is_live(&settings)
                })
            }
        };
        young && may_propose
    }

    pub(super) fn told(&self, change: &Change) -> PrimaryChange {
        let decision = change.decision.clone();
        PrimaryChange {
            epoch: change.epoch,
            previous: change.previous.clone(),
            current: change.current.clone(),
            age: self.age(change.at),
            why: decision.as_ref().map(|decided| decided.why.clone()),
            supervisor: decision.as_ref().map(|decided| decided.supervisor.clone()),
            evidence: decision.map(|decided| decided.evidence),
        }
    }
}
