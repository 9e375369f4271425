//! What is remembered, as snapshots that any thread reads without a lock.
//!
//! Shelves of four places each, one cache line a shelf: a place has an entry's hash and the entry. A reader waits for the
//! line of one shelf, for the entry and for its path, one after the other; what else it needs it computes. Shelves that
//! could grow were memory of their own behind a pointer, one wait more. Whoever changes an entry stores into its place, so a change costs the same with a
//! thousand repositories and with a million.
//!
//! An entry stands on the shelf that its hash names first, or on its second one if that was full; a reader looks at both before it
//! says that nothing is known. If both are full, somebody there moves to their other one. If nobody can, somebody goes: this is a
//! memory, and what went is back after one read. Each entry stands twice, by its path and by its number.

use crate::core::{
    election::{Primary, Target},
    ids::{RelativePath, RepositoryId, VirtualStorage},
};
use arc_swap::ArcSwapOption;
use foldhash::quality::RandomState;
use std::{
    hash::{BuildHasher, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Places of a shelf.
const PLACES: usize = 4;
/// Entries that a shelf holds when the memory is full, at most: at half of its places hardly anybody has to go.
const PER_SHELF: usize = 2;

/// Where one entry may stand.
#[derive(Default)]
struct Place {
    /// The entry's hash, which is never 0; 0: nothing stands here.
    hash: AtomicU64,
    entry: ArcSwapOption<Primary>,
}

/// A line of a processor's cache.
#[derive(Default)]
#[repr(align(64))]
struct Shelf([Place; PLACES]);

/// Entries by one of their two names.
struct Index(Box<[Shelf]>);

pub(super) struct Shelves {
    by_path: Index,
    by_number: Index,
    /// Seeded by lot, for clients choose the paths. Both halves choose a shelf, so both must be good: by the faster variant of this
    /// hash one of a hundred thousand was found to have no place.
    hasher: RandomState,
}

impl Shelves {
    pub(super) fn new(capacity: usize) -> Self {
        let many = capacity.div_ceil(PER_SHELF).next_power_of_two();
        let index = || Index((0..many).map(|_| Shelf::default()).collect());
        Self { by_path: index(), by_number: index(), hasher: RandomState::default() }
    }

    pub(super) fn hash_path(&self, virtual_storage: &VirtualStorage, path: &RelativePath) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(virtual_storage.as_str().as_bytes());
        hasher.write(path.as_str().as_bytes());
        hasher.finish() | 1
    }

    fn hash_number(&self, RepositoryId(number): RepositoryId) -> u64 {
        self.hasher.hash_one(number) | 1
    }

    /// Who is remembered. From any thread; it waits for nobody.
    pub(super) fn get(&self, target: &Target) -> Option<Arc<Primary>> {
        let (index, hash) = match target {
            Target::Path(virtual_storage, path) => (&self.by_path, self.hash_path(virtual_storage, path)),
            Target::Id(number) => (&self.by_number, self.hash_number(*number)),
        };
        index.get(hash, target)
    }

    /// Puts an entry in its places. One writer at a time; what was known under its path or its number must be gone. Answers
    /// whom there was no room for any more.
    pub(super) fn put(&self, entry: &Arc<Primary>) -> Vec<Arc<Primary>> {
        let Some(number) = entry.repository else { return Vec::new() };
        let path = self.hash_path(&entry.virtual_storage, &entry.relative_path);
        let places = [(&self.by_path, path), (&self.by_number, self.hash_number(number))];
        let mut gone = Vec::new();
        for (index, hash) in places {
            let place = index.free(hash).or_else(|| index.make_room(hash)).or_else(|| {
                let other = index.places(hash).find_map(Place::known)?;
                self.remove(&other);
                gone.push(other);
                index.free(hash)
            });
            if let Some(place) = place {
                place.put(hash, entry);
            }
        }
        gone
    }

    /// Takes an entry from both its places. One writer at a time.
    pub(super) fn take(&self, target: &Target) -> Option<Arc<Primary>> {
        let entry = self.get(target)?;
        self.remove(&entry);
        Some(entry)
    }

    fn remove(&self, entry: &Arc<Primary>) {
        self.by_path.remove(self.hash_path(&entry.virtual_storage, &entry.relative_path), entry);
        if let Some(number) = entry.repository {
            self.by_number.remove(self.hash_number(number), entry);
        }
    }

    /// Any other entry, of the shelf that this one would come to or of the next that has one.
    pub(super) fn neighbour(&self, entry: &Primary) -> Option<Arc<Primary>> {
        let hash = self.hash_path(&entry.virtual_storage, &entry.relative_path);
        let (before, from) = self.by_path.0.split_at_checked(self.by_path.shelves_of(hash)[0])?;
        from.iter().chain(before).flat_map(|shelf| &shelf.0).find_map(Place::known)
    }

    /// Keeps only what stays; answers how many went.
    pub(super) fn retain(&self, stays: impl Fn(&Primary) -> bool) -> usize {
        let mut gone = 0_usize;
        for place in self.by_path.0.iter().flat_map(|shelf| &shelf.0) {
            if let Some(entry) = place.known()
                && !stays(&entry)
            {
                self.remove(&entry);
                gone = gone.saturating_add(1);
            }
        }
        gone
    }
}

impl Index {
    /// Which two shelves an entry may stand on: the upper bits choose the first, the lower ones the second.
    fn shelves_of(&self, hash: u64) -> [usize; 2] {
        // A power of two of them.
        let mask = self.0.len().wrapping_sub(1);
        let first = usize::try_from(hash >> 32).unwrap_or(0) & mask;
        let second = usize::try_from((hash >> 1) & 0x7fff_ffff).unwrap_or(0) & mask;
        [first, second]
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = &Place> {
        self.shelves_of(hash).into_iter().filter_map(|at| self.0.get(at)).flat_map(|shelf| &shelf.0)
    }

    fn get(&self, hash: u64, target: &Target) -> Option<Arc<Primary>> {
        self.places(hash).filter(|place| place.hash.load(Ordering::Acquire) == hash).find_map(|place| {
            let entry = place.entry.load();
            // Somebody else may have come to stand here since.
            entry.as_ref().filter(|entry| is_about(entry, target)).map(Arc::clone)
        })
    }

    fn free(&self, hash: u64) -> Option<&Place> {
        self.places(hash).find(|place| place.hash.load(Ordering::Relaxed) == 0)
    }

    /// Somebody moves to their other shelf. For a moment they stand on both; a reader who looks between may miss them, which
    /// costs a read.
    fn make_room(&self, hash: u64) -> Option<&Place> {
        self.places(hash).find(|place| {
            let theirs = place.hash.load(Ordering::Relaxed);
            let moved = self.free(theirs).zip(place.known()).map(|(free, entry)| free.put(theirs, &entry));
            moved.inspect(|()| place.clear()).is_some()
        })
    }

    fn remove(&self, hash: u64, entry: &Arc<Primary>) {
        for place in self.places(hash).filter(|place| place.hash.load(Ordering::Relaxed) == hash) {
            if place.known().is_some_and(|known| Arc::ptr_eq(&known, entry)) {
                place.clear();
            }
        }
    }
}

impl Place {
    fn known(&self) -> Option<Arc<Primary>> {
        if self.hash.load(Ordering::Acquire) == 0 { None } else { self.entry.load_full() }
    }

    /// The entry first: whoever sees its hash sees it, too.
    fn put(&self, hash: u64, entry: &Arc<Primary>) {
        self.entry.store(Some(Arc::clone(entry)));
        self.hash.store(hash, Ordering::Release);
    }

    fn clear(&self) {
        self.hash.store(0, Ordering::Release);
        self.entry.store(None);
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

    fn by_path(entry: &Primary) -> Target {
        Target::Path(entry.virtual_storage.clone(), entry.relative_path.clone())
    }

    fn by_number(entry: &Primary) -> Target {
        Target::Id(entry.repository.unwrap())
    }

    #[test]
    fn a_shelf_is_one_line_of_the_cache() {
        assert_eq!(size_of::<Shelf>(), 64);
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

    #[test]
    fn a_full_memory_loses_nobody() {
        let shelves = Shelves::new(65_536);
        let gone: usize = (0..65_536).map(|number| shelves.put(&entry(number)).len()).sum();
        assert_eq!(shelves.by_path.0.len(), 65_536 / PER_SHELF, "as full as it may be");
        // By lot: where eight neighbours are full, too, one goes.
        assert!(gone <= 2, "{gone}");
        let known = (0..65_536).filter(|number| shelves.get(&by_path(&entry(*number))).is_some()).count();
        assert_eq!(known, 65_536 - gone);
    }

    #[test]
    fn who_makes_room_is_gone_by_both_its_names_and_all_others_are_known_by_both() {
        let shelves = Shelves::new(1);
        let mut known: Vec<Arc<Primary>> = Vec::new();
        for number in 0..100 {
            let gone = shelves.put(&entry(number));
            known.retain(|one| !gone.contains(one));
            known.push(entry(number));
            for (is_known, all) in [(true, &known), (false, &gone)] {
                for one in all {
                    for target in [by_path(one), by_number(one)] {
                        assert_eq!(shelves.get(&target).as_ref() == Some(one), is_known, "{target:?} after {number}");
                    }
                }
            }
        }
        assert!(known.len() <= 2 * PLACES, "there are no more places");
        assert_eq!(shelves.retain(|_| false), known.len());
        assert!(known.iter().all(|one| shelves.get(&by_path(one)).or(shelves.get(&by_number(one))).is_none()));
    }
}
