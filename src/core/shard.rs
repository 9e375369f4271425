//! A primary with its secondaries: a snapshot of names. The public handle pairs them with live nodes.

use super::ids::Storage;
use serde::Serialize;

/// A primary and everybody else who holds a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shard {
    /// The storage that orders writes.
    pub primary: Storage,
    /// The others, in the order given.
    pub secondaries: Vec<Storage>,
}

impl Shard {
    /// A shard of these storages. The primary is no secondary of itself, and nobody is named twice.
    #[must_use]
    pub fn new(primary: Storage, storages: impl IntoIterator<Item = Storage>) -> Self {
        let mut secondaries: Vec<Storage> = Vec::new();
        for storage in storages {
            if storage != primary && !secondaries.contains(&storage) {
                secondaries.push(storage);
            }
        }
        Self { primary, secondaries }
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
        let shard = Shard::new(name("b"), ["a", "b", "c", "a"].map(name));
        assert_eq!(shard.secondaries, vec![name("a"), name("c")]);
        assert!(shard.contains(&name("b")) && !shard.contains(&name("d")));
    }
}
