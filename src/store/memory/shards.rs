//! One primary for a whole virtual storage: facts and commits.

use super::{
    MemoryStore,
    state::{Decided, Shard, ShardChange, State},
};
use crate::core::{
    consensus::HealthFacts,
    election::{Lags, RecordedShard, ShardFacts},
    ids::{Storage, VirtualStorage},
};
use crate::store::{Answer, CasOutcome, PrimaryChange, ShardProposal, ShardSnapshot, ShardStore, StoreOp};
use std::collections::BTreeMap;

impl ShardStore for MemoryStore {
    fn shard_facts<'a>(&'a self, virtual_storage: &'a VirtualStorage, lags: bool) -> Answer<'a, ShardSnapshot> {
        self.call(StoreOp::ShardFacts, move |state| state.shard(virtual_storage, lags))
    }

    fn shard_cas<'a>(&'a self, proposal: &'a ShardProposal) -> Answer<'a, CasOutcome> {
        self.call(StoreOp::ShardCas, move |state| state.shard_cas(proposal))
    }

    fn shard_history<'a>(&'a self, virtual_storage: &'a VirtualStorage, limit: u32) -> Answer<'a, Vec<PrimaryChange>> {
        self.call(StoreOp::ShardHistory, move |state| {
            let limit = usize::try_from(limit.clamp(1, 1_000)).unwrap_or(1_000);
            let of_this = state.shard_changes.iter().rev().filter(|row| row.virtual_storage == *virtual_storage);
            of_this.take(limit).map(|row| state.told(&row.change)).collect()
        })
    }
}

impl State {
    fn shard(&self, virtual_storage: &VirtualStorage, lags: bool) -> ShardSnapshot {
        let stored = self.settings();
        let here = self.storages.keys().filter(|node| node.virtual_storage == *virtual_storage);
        let row = self.shards.get(virtual_storage);
        let facts = ShardFacts {
            cluster: stored.cluster.clone(),
            virtual_storage: virtual_storage.clone(),
            recorded: row.map(|row| RecordedShard {
                storage: row.storage.clone(),
                demoted: row.demoted,
                epoch: Some(row.epoch),
                elected_age: Some(self.age(row.elected_at)),
            }),
            era: self.era(),
            at: self.at(),
            attributes: here.map(|node| (node.storage.clone(), self.attributes(node))).collect(),
            lags: lags.then(|| self.lags(virtual_storage)),
            health: HealthFacts {
                votes: self.vote_rows(|node| node.virtual_storage == *virtual_storage),
                supervisors: self.supervisor_rows(),
            },
        };
        ShardSnapshot { facts, settings: stored }
    }

    fn lags(&self, virtual_storage: &VirtualStorage) -> Lags {
        let mut lags = Lags::default();
        let mut held: BTreeMap<Storage, i64> = BTreeMap::new();
        for repository in self.repositories.values().filter(|row| row.virtual_storage == *virtual_storage) {
            let Some(generation) = repository.generation else { continue };
            let expected = lags.expected.unwrap_or(0).saturating_add(generation.0).saturating_add(1);
            lags.expected = Some(expected);
            for (storage, generation) in &repository.replicas {
                let sum = held.entry(storage.clone()).or_default();
                *sum = sum.saturating_add(generation.0).saturating_add(1);
            }
        }
        lags.held = held;
        lags
    }

    fn shard_cas(&mut self, proposal: &ShardProposal) -> CasOutcome {
        let mine = |row: &&ShardChange| {
            let id = row.change.decision.as_ref().and_then(|decided| decided.id.as_ref());
            row.virtual_storage == proposal.virtual_storage && id == Some(&proposal.decision)
        };
        if let Some(row) = self.shard_changes.iter().find(mine) {
            return CasOutcome::Won { epoch: row.change.epoch };
        }
        if self.noticed_replacement() {
            return CasOutcome::EraChanged;
        }
        let row = self.shards.get(&proposal.virtual_storage);
        let expected = &proposal.expected;
        let unmoved = row.map(|row| row.epoch) == expected.epoch && self.era() == expected.era;
        let nothing_to_demote = proposal.to.is_none() && row.is_none();
        if !unmoved || nothing_to_demote || !self.may_commit(&proposal.proposer, expected.at) {
            return CasOutcome::Lost;
        }
        let decided = Decided {
            id: Some(proposal.decision.clone()),
            supervisor: proposal.proposer.name.clone(),
            why: proposal.why.clone(),
            evidence: proposal.evidence.clone(),
        };
        CasOutcome::Won { epoch: self.shard_set(&proposal.virtual_storage, proposal.to.clone(), Some(decided)) }
    }

    /// The only way to change the primary of a virtual storage: a new epoch and a row of history with it.
    pub(super) fn shard_set(
        &mut self,
        virtual_storage: &VirtualStorage,
        to: Option<Storage>,
        decision: Option<Decided>,
    ) -> crate::core::epoch::Epoch {
        let (epoch, at) = (self.next_epoch(), self.now);
        let row = self.shards.get_mut(virtual_storage);
        let previous = row.as_ref().filter(|row| !row.demoted).map(|row| row.storage.clone());
        match (&to, row) {
            (Some(storage), _) => {
                let row = Shard { storage: storage.clone(), demoted: false, epoch, elected_at: at };
                self.shards.insert(virtual_storage.clone(), row);
            }
            (None, Some(row)) => (row.demoted, row.epoch) = (true, epoch),
            (None, None) => {}
        }
        let change = super::state::Change { epoch, previous, current: to, at, decision };
        self.shard_changes.push(ShardChange { virtual_storage: virtual_storage.clone(), change });
        self.touched(2);
        epoch
    }
}
