//! What a test can order a store to suffer. Every order names an operation, or `None` for all of them.

use super::MemoryStore;
use crate::store::{StoreError, StoreErrorKind, StoreOp};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// A held call gives up after this; a test that forgets to release must fail, not hang.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// The orders in force.
pub(super) struct Faults {
    orders: Mutex<Orders>,
    held: watch::Sender<BTreeSet<StoreOp>>,
    /// Operations whose answers are held, and not their beginnings.
    late: watch::Sender<BTreeSet<StoreOp>>,
}

#[derive(Default)]
struct Orders {
    failures: Vec<Failure>,
    delay: Duration,
    lost_answers: Vec<Option<StoreOp>>,
    waiting: BTreeMap<StoreOp, usize>,
}

struct Failure {
    op: Option<StoreOp>,
    kind: StoreErrorKind,
    /// `None`: until told otherwise.
    left: Option<u32>,
}

fn concerns(ordered: Option<StoreOp>, op: StoreOp) -> bool {
    ordered.is_none_or(|ordered| ordered == op)
}

impl Default for Faults {
    fn default() -> Self {
        let none = || watch::Sender::new(BTreeSet::new());
        Self { orders: Mutex::default(), held: none(), late: none() }
    }
}

impl Faults {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens on the way to the database.
    pub(super) async fn before(&self, op: StoreOp) -> Result<(), StoreError> {
        let delay = self.orders().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if self.held.borrow().contains(&op) {
            self.wait_for_release(op, &self.held).await?;
        }
        match self.orders().failure(op) {
            Some(kind) => Err(StoreError::new(op, kind)),
            None => Ok(()),
        }
    }

    /// What happens between the database's work and the caller's hearing of it.
    pub(super) async fn on_the_way_back(&self, op: StoreOp) -> Result<(), StoreError> {
        if self.late.borrow().contains(&op) {
            self.wait_for_release(op, &self.late).await?;
        }
        Ok(())
    }

    async fn wait_for_release(&self, op: StoreOp, held: &watch::Sender<BTreeSet<StoreOp>>) -> Result<(), StoreError> {
        let mut held = held.subscribe();
        let _counted = Waiting::new(self, op);
        // The sender lives in `self`, so the only failure is the deadline.
        match tokio::time::timeout(HOLD_MAX, held.wait_for(|held| !held.contains(&op))).await {
            Ok(_) => Ok(()),
            Err(elapsed) => Err(StoreError::with_source(op, StoreErrorKind::Timeout, elapsed)),
        }
    }

    /// What happens to the answer of a call that changed `rows`.
    pub(super) fn after(&self, op: StoreOp, rows: u64) -> Result<(), StoreError> {
        let mut orders = self.orders();
        let order = orders.lost_answers.iter().position(|ordered| concerns(*ordered, op));
        match order.filter(|_| rows > 0) {
            Some(order) => {
                orders.lost_answers.remove(order);
                Err(StoreError::new(op, StoreErrorKind::ConnectionLost))
            }
            None => Ok(()),
        }
    }
}

impl Orders {
    fn failure(&mut self, op: StoreOp) -> Option<StoreErrorKind> {
        let at = self.failures.iter().position(|failure| concerns(failure.op, op))?;
        let failure = self.failures.get_mut(at)?;
        let kind = failure.kind.clone();
        if let Some(left) = &mut failure.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.failures.remove(at);
            }
        }
        Some(kind)
    }
}

/// Counts a held call for as long as it waits, also when its caller drops it.
struct Waiting<'a> {
    faults: &'a Faults,
    op: StoreOp,
}

impl<'a> Waiting<'a> {
    fn new(faults: &'a Faults, op: StoreOp) -> Self {
        let mut orders = faults.orders();
        let waiting = orders.waiting.entry(op).or_default();
        *waiting = waiting.saturating_add(1);
        Self { faults, op }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut orders = self.faults.orders();
        let waiting = orders.waiting.entry(self.op).or_default();
        *waiting = waiting.saturating_sub(1);
    }
}

/// Faults, on order.
impl MemoryStore {
    /// Fails the next `calls` calls before they reach the data.
    pub fn fail_next(&self, op: Option<StoreOp>, kind: StoreErrorKind, calls: u32) {
        if calls > 0 {
            self.faults.orders().failures.push(Failure { op, kind, left: Some(calls) });
        }
    }
    /// Fails every call before it reaches the data, until [`MemoryStore::heal`].
    pub fn fail(&self, op: Option<StoreOp>, kind: StoreErrorKind) {
        self.faults.orders().failures.push(Failure { op, kind, left: None });
    }
    /// Takes back every ordered failure, delay, hold and lost answer.
    pub fn heal(&self) {
        {
            let mut orders = self.faults.orders();
            orders.failures.clear();
            orders.lost_answers.clear();
            orders.delay = Duration::ZERO;
        }
        self.faults.held.send_modify(BTreeSet::clear);
        self.faults.late.send_modify(BTreeSet::clear);
    }
    /// Delays every call by this much of tokio's time; zero ends it.
    pub fn delay(&self, by: Duration) {
        self.faults.orders().delay = by;
    }
    /// Holds calls of one operation, before they reach the data, until [`MemoryStore::release`], for 60 s at most.
    pub fn hold(&self, op: StoreOp) {
        self.faults.held.send_modify(|held| {
            held.insert(op);
        });
    }
    /// Holds the answers of one operation, after they were given, until [`MemoryStore::release`], for 60 s at most.
    pub fn hold_answer(&self, op: StoreOp) {
        self.faults.late.send_modify(|held| {
            held.insert(op);
        });
    }
    /// Lets held calls and answers of one operation go on.
    pub fn release(&self, op: StoreOp) {
        for held in [&self.faults.held, &self.faults.late] {
            held.send_modify(|held| {
                held.remove(&op);
            });
        }
    }
    /// How many calls of one operation are being held now.
    #[must_use]
    pub fn held(&self, op: StoreOp) -> usize {
        self.faults.orders().waiting.get(&op).copied().unwrap_or(0)
    }
    /// The next call that changes anything commits, and its caller gets `ConnectionLost` instead of the answer (D23).
    pub fn lose_answer(&self, op: Option<StoreOp>) {
        self.faults.orders().lost_answers.push(op);
    }
}
