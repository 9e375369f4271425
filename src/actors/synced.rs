//! The memory of who is up to date, shared by those who ask, on any thread, and the actor that keeps it fresh.
//!
//! It outlives that actor: while nobody proves that changes are heard of, it lapses after `feed.ttl` and is passed by.

use super::clock::MonotonicClock;
use crate::{
    core::{
        ids::{RelativePath, VirtualStorage},
        synced::{Counts, Flight, Look, Memory, Scope},
        time::Timestamp,
    },
    store::UpToDate,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

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
type Landed = watch::Receiver<Option<Arc<UpToDate>>>;

/// The memory of one supervisor.
pub struct SyncedTable {
    memory: Mutex<Memory<Arc<UpToDate>, Landed>>,
    clock: MonotonicClock,
    status: watch::Sender<FeedStatus>,
}

/// A look into the memory.
pub(crate) enum Looked {
    Hit(Arc<UpToDate>),
    Lead(Leading),
    Join(Landed),
    Bypass,
}

/// A read that others may wait for. Dropped without an answer, the next one reads.
pub(crate) struct Leading {
    table: Arc<SyncedTable>,
    flight: Flight,
    tell: watch::Sender<Option<Arc<UpToDate>>>,
}

impl SyncedTable {
    /// An empty table of at most `entries` repositories, believed for `ttl` after the last proof.
    #[must_use]
    pub fn new(entries: usize, ttl: Duration) -> Arc<Self> {
        Arc::new(Self {
            memory: Mutex::new(Memory::new(entries, ttl)),
            clock: MonotonicClock::new(),
            status: watch::Sender::new(FeedStatus::Deaf { why: "not connected yet".to_owned() }),
        })
    }

    fn memory(&self) -> MutexGuard<'_, Memory<Arc<UpToDate>, Landed>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn look(self: &Arc<Self>, virtual_storage: &VirtualStorage, path: &RelativePath) -> Looked {
        let (tell, landed) = watch::channel(None);
        match self.memory().look(self.clock.now(), virtual_storage, path, || landed) {
            Look::Hit(found) => Looked::Hit(found),
            Look::Lead(flight) => Looked::Lead(Leading { table: Arc::clone(self), flight, tell }),
            Look::Join(landed) => Looked::Join(landed),
            Look::Bypass => Looked::Bypass,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
    pub(super) fn proven(&self, at: Timestamp) {
        self.memory().proven(at);
    }
    pub(super) fn forget(&self, scopes: impl IntoIterator<Item = Scope>) {
        let mut memory = self.memory();
        scopes.into_iter().for_each(|scope| memory.forget(&scope));
    }
    pub(super) fn lose(&self, status: FeedStatus) {
        self.memory().lose();
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
        self.memory().is_live(self.clock.now())
    }
    /// How many repositories are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory().len()
    }
    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.memory().is_empty()
    }
    /// What happened so far, by virtual storage.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<VirtualStorage, Counts> {
        self.memory().counts().clone()
    }
}

impl Leading {
    /// Answers those who wait, and is remembered if nothing was reported meanwhile.
    pub(crate) fn land(self, found: Arc<UpToDate>) {
        self.table.memory().land(&self.flight, Arc::clone(&found));
        self.tell.send_replace(Some(found));
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        // After a landing there is nothing left to abandon.
        self.table.memory().abandon(&self.flight);
    }
}

impl std::fmt::Debug for SyncedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncedTable").field("status", &*self.status.borrow()).finish_non_exhaustive()
    }
}
