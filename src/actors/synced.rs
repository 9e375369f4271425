//! The memory of who is up to date, shared by those who ask, on any thread, and the actor that keeps it fresh.
//!
//! It outlives that actor: while nobody proves that changes are heard of, it lapses after `feed.ttl` and is passed by.
//! What it keeps of a repository is little: its path once, and of the sets of storages, which very many repositories
//! share, one copy each.

use super::clock::MonotonicClock;
use crate::{
    core::{
        flights::Flight,
        ids::{RelativePath, RepositoryId, Storage, VirtualStorage},
        synced::{Counts, Look, Memory, Scope},
    },
    store::UpToDate,
    telemetry::Meter,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// Sets of storages that are kept once. Three storages have eight; where more than this are in use at once, the rest are
/// kept as often as they occur.
const SETS_MAX: usize = 1_024;

/// How a supervisor hears of changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum FeedStatus {
    /// Not yet, or not any more: nothing is answered from memory.
    Deaf {
        /// Why.
        why: String,
    },
    /// The database speaks first.
    Listening,
    /// The database is asked, every `feed.poll`.
    Polling {
        /// Why it is not listened to.
        why: String,
    },
}

/// What one read answered, for those who wait for it.
type Landed = watch::Receiver<Option<UpToDate>>;

/// The memory of one supervisor.
pub struct SyncedTable {
    kept: Mutex<Keeping>,
    clock: MonotonicClock,
    status: watch::Sender<FeedStatus>,
    meter: Meter,
}

struct Keeping {
    memory: Memory<Kept, Landed>,
    sets: BTreeSet<Arc<BTreeSet<Storage>>>,
    /// What the meter was told so far.
    told: BTreeMap<VirtualStorage, Counts>,
}

/// What is kept of an answer beside the names by which it is found.
#[derive(Clone)]
struct Kept {
    repository: RepositoryId,
    replica_path: ReplicaPath,
    storages: Arc<BTreeSet<Storage>>,
}

#[derive(Clone)]
enum ReplicaPath {
    Unknown,
    /// The path that clients know, too.
    Same,
    Other(Box<str>),
}

/// A look into the memory.
pub(crate) enum Looked {
    Hit(UpToDate),
    Lead(Leading),
    Join(Landed),
    Bypass,
}

/// A read that others may wait for. Dropped without an answer, the next one reads.
pub(crate) struct Leading {
    table: Arc<SyncedTable>,
    flight: Flight,
    tell: watch::Sender<Option<UpToDate>>,
}

impl Kept {
    fn of(found: &UpToDate, storages: Arc<BTreeSet<Storage>>) -> Kept {
        let replica_path = match &found.replica_path {
            None => ReplicaPath::Unknown,
            Some(path) if path == found.relative_path.as_str() => ReplicaPath::Same,
            Some(path) => ReplicaPath::Other(path.as_str().into()),
        };
        Kept { repository: found.repository, replica_path, storages }
    }
    fn found(self, virtual_storage: &VirtualStorage, path: &RelativePath) -> UpToDate {
        UpToDate {
            repository: self.repository,
            virtual_storage: virtual_storage.clone(),
            relative_path: path.clone(),
            replica_path: match self.replica_path {
                ReplicaPath::Unknown => None,
                ReplicaPath::Same => Some(path.as_str().to_owned()),
                ReplicaPath::Other(path) => Some(path.into()),
            },
            storages: self.storages,
        }
    }
}

impl Keeping {
    fn new(entries: usize, ttl: Duration) -> Keeping {
        Keeping { memory: Memory::new(entries, ttl), sets: BTreeSet::new(), told: BTreeMap::new() }
    }
    /// What was counted since this was last asked.
    fn untold(&mut self) -> Vec<(VirtualStorage, Counts)> {
        let mut untold = Vec::new();
        for (virtual_storage, counts) in self.memory.counts() {
            if self.told.get(virtual_storage) != Some(counts) {
                let told = self.told.insert(virtual_storage.clone(), *counts).unwrap_or_default();
                untold.push((virtual_storage.clone(), counts.since(told)));
            }
        }
        untold
    }
    /// The one copy of this set.
    fn shared(&mut self, storages: &Arc<BTreeSet<Storage>>) -> Arc<BTreeSet<Storage>> {
        if let Some(known) = self.sets.get(storages) {
            return Arc::clone(known);
        }
        if self.sets.len() >= SETS_MAX {
            self.sets.retain(|set| Arc::strong_count(set) > 1);
        }
        if self.sets.len() < SETS_MAX {
            self.sets.insert(Arc::clone(storages));
        }
        Arc::clone(storages)
    }
}

impl SyncedTable {
    /// An empty table of at most `entries` repositories, believed for `ttl` after the last proof. Accesses are told to the
    /// meter.
    #[must_use]
    pub fn new(entries: usize, ttl: Duration, meter: Meter) -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::new(Keeping::new(entries, ttl)),
            clock: MonotonicClock::new(),
            status: watch::Sender::new(FeedStatus::Deaf { why: "not connected yet".to_owned() }),
            meter,
        })
    }

    fn kept(&self) -> MutexGuard<'_, Keeping> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the memory, and tells the meter what that came to once others may go on.
    fn change<T>(&self, change: impl FnOnce(&mut Keeping) -> T) -> T {
        let mut kept = self.kept();
        let answer = change(&mut kept);
        let untold = if self.meter.is_on() { kept.untold() } else { Vec::new() };
        drop(kept);
        for (virtual_storage, more) in untold {
            self.meter.synced_accesses(&virtual_storage, more);
        }
        answer
    }

    pub(crate) fn look(self: &Arc<Self>, virtual_storage: &VirtualStorage, path: &RelativePath) -> Looked {
        let now = self.clock.now();
        let mut tell = None;
        let wait = || {
            let (teller, landed) = watch::channel(None);
            tell = Some(teller);
            landed
        };
        match (self.change(|kept| kept.memory.look(now, virtual_storage, path, wait)), tell) {
            (Look::Hit(kept), _) => Looked::Hit(kept.found(virtual_storage, path)),
            (Look::Lead(flight), Some(tell)) => Looked::Lead(Leading { table: Arc::clone(self), flight, tell }),
            (Look::Join(landed), _) => Looked::Join(landed),
            // Whoever leads was asked how others may wait.
            (Look::Bypass | Look::Lead(_), _) => Looked::Bypass,
        }
    }

    pub(super) fn proven(&self, at: Instant) {
        self.kept().memory.proven(self.clock.at(at));
    }
    pub(super) fn forget(&self, scopes: impl IntoIterator<Item = Scope>) {
        self.change(|kept| scopes.into_iter().for_each(|scope| kept.memory.forget(&scope)));
    }
    pub(super) fn lose(&self, status: FeedStatus) {
        self.change(|kept| kept.memory.lose());
        self.status.send_replace(status);
    }
    /// Whether it is another than before.
    pub(super) fn set_status(&self, status: FeedStatus) -> bool {
        self.status.send_if_modified(|known| {
            let differs = *known != status;
            *known = status;
            differs
        })
    }
    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// How changes are heard of now.
    #[must_use]
    pub fn status(&self) -> FeedStatus {
        self.status.borrow().clone()
    }
    /// The same as a cell.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<FeedStatus> {
        self.status.subscribe()
    }
    /// Whether the memory is believed now.
    #[must_use]
    pub fn is_live(&self) -> bool {
        let now = self.clock.now();
        self.kept().memory.is_live(now)
    }
    /// How many repositories are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept().memory.len()
    }
    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// What happened so far, by virtual storage.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<VirtualStorage, Counts> {
        self.kept().memory.counts().clone()
    }
}

impl Leading {
    /// Answers those who wait, and is remembered if nothing was reported meanwhile.
    pub(crate) fn land(self, found: &UpToDate) {
        self.table.change(|kept| {
            let storages = kept.shared(&found.storages);
            kept.memory.land(&self.flight, Kept::of(found, storages));
        });
        self.tell.send_replace(Some(found.clone()));
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        // After a landing there is nothing left to abandon.
        self.table.kept().memory.abandon(&self.flight);
    }
}

impl std::fmt::Debug for SyncedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncedTable").field("status", &*self.status.borrow()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(number: usize) -> Arc<BTreeSet<Storage>> {
        Arc::new([Storage::new(format!("g{number}")).unwrap()].into())
    }

    #[test]
    fn equal_sets_are_kept_once_and_what_nobody_uses_makes_room() {
        let mut kept = Keeping::new(0, Duration::ZERO);
        let first = kept.shared(&set(0));
        assert!(Arc::ptr_eq(&first, &kept.shared(&set(0))));
        for number in 1..10 * SETS_MAX {
            kept.shared(&set(number));
            assert!(kept.sets.len() <= SETS_MAX);
        }
        assert!(Arc::ptr_eq(&first, &kept.shared(&set(0))), "what is in use stays");
        let used: Vec<_> = (1..=SETS_MAX).map(|number| kept.shared(&set(number))).collect();
        assert_eq!((kept.sets.len(), used.len()), (SETS_MAX, SETS_MAX), "the rest are their own copies");
    }
}
