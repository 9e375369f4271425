//! What was read of a walk's next batch while one was committed, and whether that batch may rest on it.
//!
//! The compare-and-set refuses whatever has moved since, so nothing wrong could come of old facts; but a verdict that has
//! changed is no part of what it compares, and facts that are too old are refused as a whole. Both make a wasted read, so
//! nothing is read that would not be used.

use super::{Batch, Turn};
use crate::core::{
    ids::{NodeId, RepositoryId},
    time::Timestamp,
};
use std::{collections::BTreeMap, time::Duration};

/// How old facts that were read ahead may be: some batches. One that had to wait for longer reads again, and so decides by
/// what is true then.
const AHEAD_MAX: Duration = Duration::from_millis(250);

/// Facts of a batch that is not due yet.
#[derive(Debug)]
pub struct ReadAhead<T> {
    /// The repository that they begin behind.
    pub after: RepositoryId,
    /// When they were asked for.
    pub asked: Timestamp,
    /// The age at which nothing of theirs is committed any more; half of it is left for the commit.
    pub decision_ttl: Duration,
    /// The facts.
    pub facts: T,
}

impl<T> ReadAhead<T> {
    fn holds(&self, now: Timestamp) -> bool {
        now.since(self.asked) <= AHEAD_MAX.min(self.decision_ttl.checked_div(2).unwrap_or_default())
    }
}

/// What was read ahead, of each walk.
#[derive(Debug)]
pub struct Ahead<T> {
    pause: Duration,
    took: Duration,
    of: BTreeMap<NodeId, ReadAhead<T>>,
}

impl<T> Ahead<T> {
    /// Nothing yet. `pause` is the least between two batches.
    #[must_use]
    pub fn new(pause: Duration) -> Self {
        Self { pause, took: Duration::ZERO, of: BTreeMap::new() }
    }

    /// What a batch of this walk may rest on, if it was read ahead. What has grown old is let go of.
    pub fn take(&mut self, now: Timestamp, node: &NodeId, after: RepositoryId) -> Option<T> {
        self.of.retain(|_, ahead| ahead.holds(now));
        self.of.remove(node).filter(|ahead| ahead.after == after).map(|ahead| ahead.facts)
    }

    /// Behind which repository to read while this batch is committed; `None` if there is nothing more, or if what is read now
    /// would be too old when it is due.
    #[must_use]
    pub fn next(&self, batch: &Batch) -> Option<RepositoryId> {
        let soon = self.took.saturating_add(self.pause) < AHEAD_MAX;
        batch.until.filter(|_| soon && !batch.due.is_empty())
    }

    /// Takes what became of a batch, and what was read meanwhile. A walk that won nothing waits, and what it read has gone the
    /// way of the rest.
    pub fn keep(&mut self, node: &NodeId, turn: &Turn, read: Option<ReadAhead<T>>) {
        if matches!(turn, Turn::Done { settled: 1.., .. }) {
            self.of.extend(read.map(|read| (node.clone(), read)));
        }
    }

    /// Takes how long the last batch took.
    pub fn took(&mut self, took: Duration) {
        self.took = took;
    }

    /// Lets go of everything: no walk goes on.
    pub fn clear(&mut self) {
        self.of.clear();
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
