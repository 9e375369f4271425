//! What is counted over all repositories.

use super::{MemoryStore, state::Repository};
use crate::{
    core::ids::{NodeId, Storage, VirtualStorage},
    store::{Answer, CensusStore, RepositoriesCount, StoreOp},
};
use std::collections::{BTreeMap, BTreeSet};

impl CensusStore for MemoryStore {
    fn repositories_count<'a>(&'a self, healthy: &'a BTreeSet<NodeId>) -> Answer<'a, Vec<RepositoriesCount>> {
        self.call(StoreOp::RepositoriesCount, move |state| {
            let mut counts = BTreeMap::<(VirtualStorage, Option<Storage>), (u64, u64)>::new();
            for repository in state.repositories.values() {
                let key = (repository.virtual_storage.clone(), repository.primary.clone());
                let (repositories, unavailable) = counts.entry(key).or_default();
                *repositories = repositories.saturating_add(1);
                *unavailable = unavailable.saturating_add(u64::from(!repository.can_be_led(healthy)));
            }
            let count = |((virtual_storage, primary), (repositories, unavailable))| RepositoriesCount {
                virtual_storage,
                primary,
                repositories,
                unavailable,
            };
            counts.into_iter().map(count).collect()
        })
    }
}

impl Repository {
    fn can_be_led(&self, healthy: &BTreeSet<NodeId>) -> bool {
        self.replicas.iter().any(|(storage, generation)| {
            Some(*generation) == self.generation
                && self.marked.as_ref() != Some(storage)
                && healthy.contains(&NodeId::new(self.virtual_storage.clone(), storage.clone()))
        })
    }
}
