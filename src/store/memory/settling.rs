//! What a dead node led, settled in sets.

use super::{
    MemoryStore,
    state::{Decided, State},
};
use crate::core::{
    ids::{NodeId, RepositoryId, VirtualStorage},
    quorum::QuorumPolicy,
    settling::{LedRepository, SettleFacts},
};
use crate::store::{Answer, SettleBatch, SettleOutcome, SettleSnapshot, SettleStore, StoreOp};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

impl SettleStore for MemoryStore {
    fn settle_facts<'a>(&'a self, node: &'a NodeId, after: RepositoryId, limit: u32) -> Answer<'a, SettleSnapshot> {
        self.call(StoreOp::SettleFacts, move |state| state.settle_facts(node, after, limit))
    }

    fn settle_cas<'a>(&'a self, batch: &'a SettleBatch) -> Answer<'a, SettleOutcome> {
        self.call(StoreOp::SettleCas, move |state| state.settle_cas(batch))
    }
}

/// Another supervisor at work, on order.
impl MemoryStore {
    /// From now on another supervisor's batch of this virtual storage is under way whenever one is committed here, or no
    /// more.
    pub fn settle_elsewhere(&self, virtual_storage: &VirtualStorage, settles: bool) {
        let mut state = self.locked();
        if settles {
            state.settled_elsewhere.insert(virtual_storage.clone());
        } else {
            state.settled_elsewhere.remove(virtual_storage);
        }
    }
    /// From now on one read of what a node led goes through no more repositories than this, whoever leads them. Default: all.
    pub fn look_at_once(&self, most: usize) {
        self.locked().looked_at_once = most;
    }
}

impl State {
    fn settle_facts(&self, node: &NodeId, after: RepositoryId, limit: u32) -> SettleSnapshot {
        let stored = self.settings();
        let limit = usize::try_from(limit.clamp(1, 10_000)).unwrap_or(1);
        let later = self.repositories.range((Bound::Excluded(after), Bound::Unbounded));
        let end = later.clone().nth(self.looked_at_once.saturating_sub(1)).map(|(id, _)| *id);
        let led = later.take(self.looked_at_once).filter(|(_, row)| {
            row.virtual_storage == node.virtual_storage && row.primary.as_ref() == Some(&node.storage)
        });
        let led: Vec<_> = led.take(limit).collect();
        let until = led.last().filter(|_| led.len() == limit).map_or(end, |(id, _)| Some(**id));
        let (unreadable, readable): (Vec<_>, Vec<_>) =
            led.into_iter().partition(|(id, _)| self.unreadable.contains(id));
        let unreadable =
            unreadable.into_iter().map(|(id, _)| (*id, "a storage name is not allowed".to_owned())).collect();
        let repositories: Vec<LedRepository> = readable
            .into_iter()
            .map(|(id, row)| LedRepository {
                repository: *id,
                relative_path: row.relative_path.clone(),
                generation: row.generation,
                epoch: row.epoch,
                facts_version: row.facts_version,
                replicas: row.replicas.iter().map(|(storage, generation)| (storage.clone(), *generation)).collect(),
                marked: row.marked.iter().cloned().collect(),
                assignments: row.assignments.iter().cloned().collect(),
            })
            .collect();
        let mut concerned: BTreeSet<_> =
            repositories.iter().flat_map(|led| led.replicas.iter().map(|(storage, _)| storage)).collect();
        concerned.insert(&node.storage);
        let here = |about: &NodeId| about.virtual_storage == node.virtual_storage;
        let attributes = self.storages.keys().filter(|about| here(about));
        let facts = SettleFacts {
            cluster: stored.cluster.clone(),
            node: node.clone(),
            era: self.era(),
            at: self.at(),
            attributes: attributes.map(|about| (about.storage.clone(), self.attributes(about))).collect(),
            votes: self.vote_rows(|about| here(about) && concerned.contains(&about.storage)),
            supervisors: self.supervisor_rows(),
            members: match stored.settings.policy {
                QuorumPolicy::Majority => Vec::new(),
                QuorumPolicy::Half => {
                    let members = self.health().members().into_iter();
                    members.filter(|member| member.virtual_storage == node.virtual_storage).collect()
                }
            },
            repositories,
            unreadable,
            until,
        };
        SettleSnapshot { facts, settings: stored }
    }

    fn settle_cas(&mut self, batch: &SettleBatch) -> SettleOutcome {
        let mine = self.changes.iter().filter(|row| {
            let id = row.change.decision.as_ref().and_then(|decided| decided.id.as_ref());
            id == Some(&batch.decision)
        });
        let won: BTreeMap<_, _> = mine.map(|row| (row.repository, row.change.epoch)).collect();
        if !won.is_empty() {
            return SettleOutcome::Done(won);
        }
        if self.settled_elsewhere.contains(&batch.node.virtual_storage) {
            return SettleOutcome::Busy;
        }
        if self.noticed_replacement() {
            return SettleOutcome::EraChanged;
        }
        let mut won = BTreeMap::new();
        if self.era() != batch.era || !self.may_commit(&batch.proposer, batch.at) {
            return SettleOutcome::Done(won);
        }
        for one in &batch.repositories {
            let row = self.repositories.get(&one.repository);
            if !row.is_some_and(|row| row.epoch == one.epoch && row.facts_version == one.facts_version) {
                continue;
            }
            let decided = Decided {
                id: Some(batch.decision.clone()),
                supervisor: batch.proposer.name.clone(),
                why: batch.why.clone(),
                evidence: batch.evidence.clone(),
            };
            if let Some(epoch) = self.primary_set(one.repository, one.to.clone(), Some(decided)) {
                won.insert(one.repository, epoch);
            }
        }
        SettleOutcome::Done(won)
    }
}
