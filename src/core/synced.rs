//! What is remembered of who is up to date, and for how long it may be believed.
//!
//! A memory that others' changes are reported to. Four rules keep it honest:
//! - It is believed only while the reports are known to arrive ([`Memory::proven`]), by the clock of the lookup itself.
//! - A read that was under way when a change was reported answers its callers and is not kept: it may have seen the state
//!   from before. Praefect's cache keeps it, for as long as nobody changes the repository again.
//! - Whenever reports may have been missed, everything is forgotten, the reads under way included.
//! - Errors and absent repositories are not remembered.
//!
//! It is bounded by two shelves of half the capacity each: what is used moves to the younger one, and when that is full
//! the older one is dropped as a whole. That is a least-recently-used order in steps, without a list to keep in order.

use super::{
    election::Target,
    flights::{Boarding, Flight, Flights},
    ids::{NodeId, RelativePath, VirtualStorage},
    time::Timestamp,
};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// Which repositories are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One.
    Repository(VirtualStorage, RelativePath),
    /// Those that a node led: of each, who leads may have changed, and nothing else.
    LedBy(NodeId),
    /// All of a virtual storage.
    VirtualStorage(VirtualStorage),
    /// All.
    Everything,
}

/// What happened to the memory of one virtual storage. The names are Praefect's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Lookups answered from memory.
    pub hit: u64,
    /// Lookups that had to read, or to wait for somebody's read.
    pub miss: u64,
    /// Answers that were kept.
    pub populate: u64,
    /// Answers that were forgotten: invalidated, pushed out or given up with all others.
    pub evict: u64,
}

impl Counts {
    /// What came on top of an earlier reading.
    #[must_use]
    pub fn since(self, earlier: Counts) -> Counts {
        Counts {
            hit: self.hit.saturating_sub(earlier.hit),
            miss: self.miss.saturating_sub(earlier.miss),
            populate: self.populate.saturating_sub(earlier.populate),
            evict: self.evict.saturating_sub(earlier.evict),
        }
    }
}

/// What a lookup comes to. `V` is what is remembered, `W` how one waits for another's read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look<V, W> {
    /// This is it.
    Hit(V),
    /// Read, then [`Memory::land`], or [`Memory::abandon`] if that failed.
    Lead(Flight),
    /// Somebody reads it already: wait for them.
    Join(W),
    /// Nothing can be believed now: read, and tell nobody.
    Bypass,
}

type Shelf<V> = BTreeMap<VirtualStorage, BTreeMap<RelativePath, V>>;

/// The memory.
#[derive(Debug)]
pub struct Memory<V, W> {
    half: usize,
    ttl: Duration,
    proven: Option<Timestamp>,
    young: Shelf<V>,
    young_len: usize,
    old: Shelf<V>,
    flights: Flights<W>,
    counts: BTreeMap<VirtualStorage, Counts>,
}

impl<V: Clone, W: Clone> Memory<V, W> {
    /// An empty memory of at most `capacity` answers (an even number; 0 keeps nothing), believed for less than `ttl`
    /// after the last proof that reports arrive. There is none yet.
    #[must_use]
    pub fn new(capacity: usize, ttl: Duration) -> Self {
        Self {
            half: capacity / 2,
            ttl,
            proven: None,
            young: Shelf::new(),
            young_len: 0,
            old: Shelf::new(),
            flights: Flights::default(),
            counts: BTreeMap::new(),
        }
    }

    /// Whether it may be believed now.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.proven.is_some_and(|proven| now.since(proven) < self.ttl)
    }

    /// All reports of changes before `at` have arrived. An older proof than the last changes nothing.
    pub fn proven(&mut self, at: Timestamp) {
        self.proven = self.proven.max(Some(at));
    }

    /// Looks; `wait` says how others may wait if this caller comes to lead.
    pub fn look(
        &mut self,
        now: Timestamp,
        virtual_storage: &VirtualStorage,
        path: &RelativePath,
        wait: impl FnOnce() -> W,
    ) -> Look<V, W> {
        let live = self.is_live(now);
        let found = live.then(|| self.find(virtual_storage, path)).flatten();
        let counts = self.counts.entry(virtual_storage.clone()).or_default();
        if let Some(found) = found {
            counts.hit = counts.hit.saturating_add(1);
            return Look::Hit(found);
        }
        counts.miss = counts.miss.saturating_add(1);
        if !live || self.half == 0 {
            return Look::Bypass;
        }
        match self.flights.board(&Target::Path(virtual_storage.clone(), path.clone()), wait) {
            Boarding::Lead(flight) => Look::Lead(flight),
            Boarding::Join(waiting) => Look::Join(waiting),
        }
    }

    /// What is remembered; what stood on the older shelf moves to the younger.
    fn find(&mut self, virtual_storage: &VirtualStorage, path: &RelativePath) -> Option<V> {
        if let Some(found) = self.young.get(virtual_storage).and_then(|shelf| shelf.get(path)) {
            return Some(found.clone());
        }
        let found = self.old.get_mut(virtual_storage)?.remove(path)?;
        self.put(virtual_storage.clone(), path.clone(), found.clone());
        Some(found)
    }

    fn put(&mut self, virtual_storage: VirtualStorage, path: RelativePath, value: V) {
        if self.young_len >= self.half {
            let full = std::mem::take(&mut self.young);
            self.young_len = 0;
            let dropped = std::mem::replace(&mut self.old, full);
            self.evicted_all(&dropped);
        }
        if self.young.entry(virtual_storage).or_default().insert(path, value).is_none() {
            self.young_len = self.young_len.saturating_add(1);
        }
    }

    /// A read came to this. Kept only if nothing was reported about it since it began.
    pub fn land(&mut self, flight: &Flight, value: V) {
        let kept = self.flights.end(flight);
        if kept && let Target::Path(virtual_storage, path) = flight.target() {
            self.put(virtual_storage.clone(), path.clone(), value);
            let counts = self.counts.entry(virtual_storage.clone()).or_default();
            counts.populate = counts.populate.saturating_add(1);
        }
    }

    /// A read came to nothing.
    pub fn abandon(&mut self, flight: &Flight) {
        self.flights.end(flight);
    }

    /// A change was reported. Who leads is no matter of who is up to date.
    pub fn forget(&mut self, scope: &Scope) {
        if !matches!(scope, Scope::LedBy(_)) {
            self.flights.forget(scope);
        }
        match scope {
            Scope::Repository(virtual_storage, path) => {
                let remove = |shelf: &mut Shelf<V>| shelf.get_mut(virtual_storage).and_then(|here| here.remove(path));
                let young = remove(&mut self.young).is_some();
                if young {
                    self.young_len = self.young_len.saturating_sub(1);
                }
                if young || remove(&mut self.old).is_some() {
                    self.evicted(virtual_storage, 1);
                }
            }
            Scope::VirtualStorage(virtual_storage) => {
                let young = self.young.remove(virtual_storage).map_or(0, |here| here.len());
                let old = self.old.remove(virtual_storage).map_or(0, |here| here.len());
                self.young_len = self.young_len.saturating_sub(young);
                self.evicted(virtual_storage, young.saturating_add(old));
            }
            Scope::LedBy(_) => {}
            Scope::Everything => {
                for shelf in [std::mem::take(&mut self.young), std::mem::take(&mut self.old)] {
                    self.evicted_all(&shelf);
                }
                self.young_len = 0;
            }
        }
    }

    /// Reports may have been missed: nothing is remembered, and nothing believed until the next proof.
    pub fn lose(&mut self) {
        self.proven = None;
        self.forget(&Scope::Everything);
    }

    fn evicted(&mut self, virtual_storage: &VirtualStorage, many: usize) {
        if let Some(counts) = self.counts.get_mut(virtual_storage) {
            counts.evict = counts.evict.saturating_add(u64::try_from(many).unwrap_or(u64::MAX));
        }
    }
    fn evicted_all(&mut self, shelf: &Shelf<V>) {
        for (virtual_storage, here) in shelf {
            self.evicted(virtual_storage, here.len());
        }
    }

    /// How many answers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.old.values().map(BTreeMap::len).fold(self.young_len, usize::saturating_add)
    }
    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// What happened so far, by virtual storage.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<VirtualStorage, Counts> {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(2);

    struct Told(Memory<u32, ()>);

    impl Told {
        fn new(capacity: usize) -> Told {
            let mut memory = Memory::new(capacity, TTL);
            memory.proven(at(0));
            Told(memory)
        }
        fn look(&mut self, path: &str) -> Look<u32, ()> {
            self.0.look(at(1_000), &vs("v"), &named(path), || ())
        }
        fn lead(&mut self, path: &str) -> Flight {
            match self.look(path) {
                Look::Lead(flight) => flight,
                other => panic!("{other:?}"),
            }
        }
        fn keep(&mut self, path: &str, value: u32) {
            let flight = self.lead(path);
            self.0.land(&flight, value);
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp(Duration::from_millis(millis))
    }
    fn vs(name: &str) -> VirtualStorage {
        name.parse().unwrap()
    }
    fn named(path: &str) -> RelativePath {
        path.parse().unwrap()
    }
    fn one(path: &str) -> Scope {
        Scope::Repository(vs("v"), named(path))
    }

    #[test]
    fn what_was_read_is_remembered_and_counted() {
        let mut told = Told::new(10);
        told.keep("a", 1);
        assert_eq!(told.look("a"), Look::Hit(1));
        assert_eq!(told.0.counts()[&vs("v")], Counts { hit: 1, miss: 1, populate: 1, evict: 0 });
    }

    #[test]
    fn without_a_recent_proof_nothing_is_believed_and_nothing_kept() {
        let mut told = Told::new(10);
        told.keep("a", 1);
        assert_eq!(told.0.look(at(1_999), &vs("v"), &named("a"), || ()), Look::Hit(1));
        assert_eq!(told.0.look(at(2_000), &vs("v"), &named("a"), || ()), Look::Bypass);
        told.0.proven(at(1_500));
        told.0.proven(at(300));
        assert_eq!(
            told.0.look(at(3_499), &vs("v"), &named("a"), || ()),
            Look::Hit(1),
            "an older proof takes none away"
        );
    }

    #[test]
    fn d19_a_read_under_way_when_its_repository_changed_is_not_kept() {
        for scope in [one("a"), Scope::VirtualStorage(vs("v")), Scope::Everything] {
            let mut told = Told::new(10);
            let flight = told.lead("a");
            told.0.forget(&scope);
            let newer = told.lead("a");
            told.0.land(&flight, 1);
            assert!(told.0.is_empty(), "{scope:?}");
            told.0.land(&newer, 2);
            assert_eq!(told.look("a"), Look::Hit(2), "the newer read began after the change");
        }
    }

    #[test]
    fn a_change_elsewhere_takes_nothing_away() {
        let mut told = Told::new(10);
        told.keep("b", 1);
        let flight = told.lead("a");
        told.0.forget(&one("c"));
        told.0.forget(&Scope::VirtualStorage(vs("w")));
        told.0.forget(&Scope::LedBy(NodeId::new(vs("v"), "g1".parse().unwrap())));
        told.0.land(&flight, 2);
        assert_eq!((told.look("a"), told.look("b")), (Look::Hit(2), Look::Hit(1)));
        assert_eq!(told.0.counts()[&vs("v")].evict, 0, "removing what is absent counts nothing");
    }

    #[test]
    fn a_loss_takes_the_reads_under_way_along() {
        let mut told = Told::new(10);
        told.keep("b", 1);
        let flight = told.lead("a");
        told.0.lose();
        assert_eq!(told.look("b"), Look::Bypass);
        told.0.proven(at(900));
        told.0.land(&flight, 1);
        assert!(told.0.is_empty(), "Praefect serves it again after the next reconnect");
        assert_eq!(told.0.counts()[&vs("v")].evict, 1);
    }

    #[test]
    fn one_reads_and_the_others_wait_until_it_ends() {
        let mut told = Told::new(10);
        let flight = told.lead("a");
        assert_eq!(told.look("a"), Look::Join(()));
        assert!(matches!(told.look("b"), Look::Lead(_)), "another repository is no concern of theirs");
        told.0.abandon(&flight);
        assert!(matches!(told.look("a"), Look::Lead(_)));
    }

    #[test]
    fn the_same_path_in_two_virtual_storages_is_two_repositories() {
        let mut told = Told::new(10);
        told.keep("a", 1);
        assert!(matches!(told.0.look(at(1_000), &vs("w"), &named("a"), || ()), Look::Lead(_)));
    }

    #[test]
    fn it_holds_no_more_than_its_capacity_and_keeps_what_is_used() {
        let mut told = Told::new(4);
        told.keep("used", 0);
        for value in 1..100_u32 {
            told.keep(&format!("r{value}"), value);
            assert_eq!(told.look("used"), Look::Hit(0), "after {value}");
            assert!(told.0.len() <= 4, "{}", told.0.len());
        }
        let counts = told.0.counts()[&vs("v")];
        assert_eq!(counts.populate - counts.evict, u64::try_from(told.0.len()).unwrap());
        assert!(matches!(Told::new(0).look("a"), Look::Bypass), "a memory of nothing");
    }
}
