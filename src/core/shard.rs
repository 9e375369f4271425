//! A primary with its secondaries: a snapshot of names. The public handle pairs them with live nodes.

use super::{
    epoch::Epoch,
    ids::{Storage, VirtualStorage},
};
use serde::Serialize;

/// A virtual storage's primary and its other nodes, as of one moment: a later election does not change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shard {
    /// The virtual storage.
    pub virtual_storage: VirtualStorage,
    /// The storage that orders writes.
    pub primary: Storage,
    /// The others, in order of configuration, those that are down included.
    pub secondaries: Vec<Storage>,
    /// The fencing token; `None` where the elector has none, which a storage node's fence refuses.
    pub epoch: Option<Epoch>,
}

impl Shard {
    /// A shard of these storages. The primary is no secondary of itself, and nobody is named twice.
    #[must_use]
    pub fn new(
        virtual_storage: VirtualStorage,
        primary: Storage,
        storages: impl IntoIterator<Item = Storage>,
        epoch: Option<Epoch>,
    ) -> Self {
        let mut secondaries: Vec<Storage> = Vec::new();
        for storage in storages {
            if storage != primary && !secondaries.contains(&storage) {
                secondaries.push(storage);
            }
        }
        Self { virtual_storage, primary, secondaries, epoch }
    }

    /// Whether a storage is part of the shard.
    #[must_use]
    pub fn contains(&self, storage: &Storage) -> bool {
        self.primary == *storage || self.secondaries.contains(storage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_is_no_secondary_of_itself() {
        let name = |text: &str| Storage::new(text).unwrap();
        let virtual_storage = VirtualStorage::new("v").unwrap();
        let shard = Shard::new(virtual_storage, name("b"), ["a", "b", "c", "a"].map(name), None);
        assert_eq!(shard.secondaries, vec![name("a"), name("c")]);
        assert!(shard.contains(&name("b")) && !shard.contains(&name("d")));
    }
}
