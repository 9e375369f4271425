//! The reference store, in memory: what the ports mean, in the plainest code that can say it.
//!
//! The SQL stores are compared with this one history by history, so it prefers being obvious to being fast. All
//! state stands behind one lock that is held for synchronous work only, which makes every method one transaction.
//! Apart from the cluster's random id it is deterministic: time is an argument, numbers come from counters.
//!
//! It is a store for tests too, of embedders as well as ours. What a database can do to its users, this one does on
//! request: fail, answer late, hold an answer back, commit and lose the answer, be replaced by another, be written by
//! a Praefect, let an hour pass in no time ([`MemoryStore::shift_stamps`]). Nothing survives the process.

mod census;
mod clock;
mod election;
mod faults;
mod feed;
mod foreign;
mod health;
mod repositories;
mod settling;
mod shards;
mod state;

pub use clock::ManualClock;
pub use foreign::StoredVote;

use super::{Answer, StoreOp};
use faults::Faults;
use feed::Bell;
use state::State;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};
use tokio::sync::watch;

/// Where the store's time comes from: the time since some fixed moment. It need not be monotonic; a database's is not.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What has been asked of a store under one operation's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Calls that reached the data; those that were made to fail before are not counted.
    pub calls: u64,
    /// Rows that they inserted, changed or deleted.
    pub rows: u64,
}

/// The reference store. Cheap to share behind an `Arc`; see the module for what it is good for.
pub struct MemoryStore {
    clock: Clock,
    state: Arc<Mutex<State>>,
    faults: Arc<Faults>,
    bell: watch::Sender<Bell>,
    mute: AtomicBool,
}

impl MemoryStore {
    /// An empty store whose time is `clock`'s.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: Arc::new(Mutex::new(State::new())),
            faults: Arc::default(),
            bell: watch::Sender::new(Bell::default()),
            mute: AtomicBool::new(false),
        }
    }

    /// Another way to the same database, as each supervisor has one: what goes wrong on it goes wrong for nobody else. It is
    /// muted by itself, too.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self {
            clock: Arc::clone(&self.clock),
            state: Arc::clone(&self.state),
            faults: Arc::default(),
            bell: self.bell.clone(),
            mute: AtomicBool::new(false),
        }
    }

    /// What has been asked and written so far, by operation. A quiet cluster adds heartbeats and reads, nothing else.
    #[must_use]
    pub fn activity(&self) -> BTreeMap<StoreOp, Activity> {
        self.locked().activity.clone()
    }

    /// Rows written so far, heartbeats left out.
    #[must_use]
    pub fn rows_written(&self) -> u64 {
        let state = self.locked();
        let counted = state.activity.iter().filter(|(op, _)| **op != StoreOp::SupervisorHeartbeat);
        counted.map(|(_, activity)| activity.rows).sum()
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = crate::core::time::micros((self.clock)());
        state
    }

    /// One transaction: the faults that were ordered for it, then `work` under the lock.
    fn call<'a, T: Send + 'a>(&'a self, op: StoreOp, work: impl FnOnce(&mut State) -> T + Send + 'a) -> Answer<'a, T> {
        Box::pin(async move {
            self.faults.before(op).await?;
            let (answer, rows) = {
                let mut state = self.locked();
                state.rows = 0;
                let answer = work(&mut state);
                let rows = state.rows;
                let activity = state.activity.entry(op).or_default();
                activity.calls = activity.calls.saturating_add(1);
                activity.rows = activity.rows.saturating_add(rows);
                self.ring(state.tell());
                (answer, rows)
            };
            self.faults.on_the_way_back(op).await?;
            self.faults.after(op, rows)?;
            Ok(answer)
        })
    }
}

impl Default for MemoryStore {
    /// An empty store on tokio's clock, so that a test that pauses the clock pauses the store.
    fn default() -> Self {
        let start = tokio::time::Instant::now();
        Self::new(Arc::new(move || start.elapsed()))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("now", &(self.clock)()).finish_non_exhaustive()
    }
}
