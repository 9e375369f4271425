//! What is remembered, as snapshots that any thread reads without a lock.
//!
//! Very many shelves of a few entries each: whoever changes one entry copies its shelf and puts the copy in its place, so a
//! change costs the same with a thousand repositories and with a million, and a reader looks through a handful. Each entry
//! stands on two shelves, by its path and by its number.

use crate::core::{
    election::{Primary, Target},
    ids::{RelativePath, RepositoryId, VirtualStorage},
};
use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

/// Entries that a shelf holds on average when the memory is full.
const PER_SHELF: usize = 2;
/// Beyond a million entries shelves grow instead.
const SHELVES_MAX: usize = 1 << 19;

/// Entries with their hashes. Most shelves hold all of theirs in one piece of memory: what a reader waits for is memory that
/// no cache has, so each pointer less to follow is most of a tenth of a microsecond.
type Shelf = SmallVec<[(u64, Arc<Primary>); 4]>;

pub(super) struct Shelves {
    by_path: Box<[ArcSwap<Shelf>]>,
    by_number: Box<[ArcSwap<Shelf>]>,
    /// Seeded by lot, for clients choose the paths.
    hasher: RandomState,
}

impl Shelves {
    pub(super) fn new(capacity: usize) -> Self {
        let many = capacity.div_ceil(PER_SHELF).next_power_of_two().clamp(1, SHELVES_MAX);
        let empty = Arc::new(Shelf::new());
        let shelves = || (0..many).map(|_| ArcSwap::new(Arc::clone(&empty))).collect();
        Self { by_path: shelves(), by_number: shelves(), hasher: RandomState::default() }
    }

    pub(super) fn hash_path(&self, virtual_storage: &VirtualStorage, path: &RelativePath) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(virtual_storage.as_str().as_bytes());
        hasher.write(path.as_str().as_bytes());
        hasher.finish()
    }

    /// Who is remembered. From any thread; it waits for nobody.
    pub(super) fn get(&self, target: &Target) -> Option<Arc<Primary>> {
        let (shelves, hash) = match target {
            Target::Path(virtual_storage, path) => (&self.by_path, self.hash_path(virtual_storage, path)),
            Target::Id(number) => (&self.by_number, self.hasher.hash_one(number.0)),
        };
        let shelf = at(shelves, hash)?.load();
        let found = shelf.iter().find(|(known, entry)| *known == hash && is_about(entry, target));
        found.map(|(_, entry)| Arc::clone(entry))
    }

    /// Puts an entry in its places. One writer at a time; what was known under its path or its number must be gone.
    pub(super) fn put(&self, entry: &Arc<Primary>) {
        let Some(number) = entry.repository else { return };
        let hash = self.hash_path(&entry.virtual_storage, &entry.relative_path);
        add(&self.by_path, hash, entry);
        add(&self.by_number, self.hasher.hash_one(number.0), entry);
    }

    /// Takes an entry from both its places. One writer at a time.
    pub(super) fn take(&self, target: &Target) -> Option<Arc<Primary>> {
        let entry = self.get(target)?;
        remove(&self.by_path, self.hash_path(&entry.virtual_storage, &entry.relative_path), &entry);
        remove(&self.by_number, self.hasher.hash_one(entry.repository.map_or(0, |RepositoryId(id)| id)), &entry);
        Some(entry)
    }

    /// Any other entry, of the shelf that this one would come to or of the next that has one.
    pub(super) fn neighbour(&self, entry: &Primary) -> Option<Arc<Primary>> {
        let hash = self.hash_path(&entry.virtual_storage, &entry.relative_path);
        let (before, from) = self.by_path.split_at_checked(place(&self.by_path, hash))?;
        from.iter().chain(before).find_map(|shelf| shelf.load().first().map(|(_, first)| Arc::clone(first)))
    }

    /// Keeps only what stays; answers how many went.
    pub(super) fn retain(&self, stays: impl Fn(&Primary) -> bool) -> usize {
        let mut gone = 0_usize;
        let empty = Arc::new(Shelf::new());
        for shelves in [&self.by_path, &self.by_number] {
            for place in shelves {
                let shelf = place.load();
                let left: Shelf = shelf.iter().filter(|(_, entry)| stays(entry)).cloned().collect();
                if left.len() < shelf.len() {
                    gone = gone.saturating_add(shelf.len().saturating_sub(left.len()));
                    place.store(if left.is_empty() { Arc::clone(&empty) } else { Arc::new(left) });
                }
            }
        }
        // Each stood in two places.
        gone / 2
    }
}

fn is_about(entry: &Primary, target: &Target) -> bool {
    match target {
        Target::Path(virtual_storage, path) => {
            entry.relative_path == *path && entry.virtual_storage == *virtual_storage
        }
        Target::Id(number) => entry.repository == Some(*number),
    }
}

fn place(shelves: &[ArcSwap<Shelf>], hash: u64) -> usize {
    // A power of two of them: the upper bits choose one.
    let place = (hash >> 32) & u64::try_from(shelves.len().wrapping_sub(1)).unwrap_or(0);
    usize::try_from(place).unwrap_or(0)
}

fn at(shelves: &[ArcSwap<Shelf>], hash: u64) -> Option<&ArcSwap<Shelf>> {
    shelves.get(place(shelves, hash))
}

fn add(shelves: &[ArcSwap<Shelf>], hash: u64, entry: &Arc<Primary>) {
    let Some(place) = at(shelves, hash) else { return };
    let shelf = place.load();
    let mut more = Shelf::with_capacity(shelf.len().saturating_add(1));
    more.extend(shelf.iter().cloned());
    more.push((hash, Arc::clone(entry)));
    place.store(Arc::new(more));
}

fn remove(shelves: &[ArcSwap<Shelf>], hash: u64, entry: &Arc<Primary>) {
    let Some(place) = at(shelves, hash) else { return };
    let shelf = place.load();
    place.store(Arc::new(shelf.iter().filter(|(_, known)| !Arc::ptr_eq(known, entry)).cloned().collect()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u32) -> Arc<Primary> {
        Arc::new(Primary {
            cluster: "c".parse().unwrap(),
            repository: Some(RepositoryId(i64::from(number))),
            virtual_storage: "v".parse().unwrap(),
            relative_path: format!("r{number}").parse().unwrap(),
            storage: "g1".parse().unwrap(),
            epoch: None,
        })
    }

    #[test]
    fn an_empty_shelf_finds_somebody_to_make_room_elsewhere() {
        let shelves = Shelves::new(1_024);
        assert_eq!(shelves.neighbour(&entry(0)), None, "nobody is there at all");
        shelves.put(&entry(0));
        for number in 1..100 {
            assert_eq!(shelves.neighbour(&entry(number)), Some(entry(0)), "most of these have an empty shelf");
        }
    }
}
