//! Which node's repositories are settled next, from where on, and when.
//!
//! For every node that the quorum holds down there is a walk over what it leads, in order of id. What was settled is led
//! by the node no more, so a walk that begins anew finds what is left. It ends when a pass found nothing that might be
//! settled later, and begins again when the consensus changes: a candidate may have come back.

use crate::core::{
    epoch::Revision,
    ids::{NodeId, RepositoryId},
    time::Timestamp,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How fast it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From the verdict to the first batch: a batch holds its rows, and whoever is asked for just then is elected by that.
    pub head_start: Duration,
    /// The least pause between two batches. It is an eighth of what the last one took if that is longer: a database that
    /// is slow has others to serve.
    pub pause: Duration,
    /// The pause before something is tried again, and the longest one: it doubles.
    pub retry: (Duration, Duration),
}

/// Of what a batch took, the part that is paused after it, and the longest such pause.
const REST: (u32, Duration) = (8, Duration::from_secs(1));

/// How far a node's walk has come, over all its passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Progress {
    /// Repositories that this supervisor settled.
    pub settled: u64,
    /// Times that somebody else held a repository or had changed it: a lookup, a writer, another supervisor.
    pub lost: u64,
    /// Repositories of the last pass for which nobody may be elected.
    pub without_candidate: u64,
    /// Repositories of the last pass that could not be read: what is recorded of them is not allowed.
    pub unreadable: u64,
    /// Batches of which at least a part was committed.
    pub batches: u64,
    /// Whether the walk has ended: nothing is left that could be settled now.
    pub rests: bool,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It was decided and, as far as something was due, committed.
    Done {
        /// Behind which repository the walk goes on; `None` if it has come to the end.
        until: Option<RepositoryId>,
        /// How many were settled.
        settled: u64,
        /// How many of those that were due were not.
        lost: u64,
        /// How many have nobody who could lead them.
        without_candidate: u64,
        /// How many of those that were read could not be read.
        unreadable: u64,
    },
    /// Another supervisor settles this virtual storage.
    Busy,
    /// The database holds the node down no longer, or this supervisor may not act.
    NotNow,
    /// The database did not answer, or not to the end.
    Failed {
        /// How many were settled before that.
        settled: u64,
    },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until the consensus changes.
    Rest,
    /// Nothing before this moment, unless the consensus changes.
    At(Timestamp),
    /// The next batch of what this node leads, from after this repository on.
    Batch(NodeId, RepositoryId),
}

/// A walk that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The node.
    pub node: NodeId,
    /// Whether it ended because the node is held down no longer.
    pub back: bool,
    /// What it came to.
    pub progress: Progress,
    /// From its beginning, or from the last time it rested.
    pub took: Duration,
}

#[derive(Debug)]
struct Walk {
    after: RepositoryId,
    due: Timestamp,
    began: Timestamp,
    retry: Duration,
    /// Whether this pass left something behind that might be settled later.
    again: bool,
    progress: Progress,
}

/// Before all of them.
const START: RepositoryId = RepositoryId(i64::MIN);

impl Walk {
    fn begin(&mut self, now: Timestamp, pace: &Pace) {
        (self.after, self.began, self.retry, self.again) = (START, now, pace.retry.0, false);
        self.due = now.after(pace.head_start);
        self.progress.rests = false;
        self.progress.left_behind();
    }
}

impl Progress {
    /// What is counted anew in each pass.
    fn left_behind(&mut self) {
        (self.without_candidate, self.unreadable) = (0, 0);
    }

    fn committed(&mut self, settled: u64) {
        self.settled = self.settled.saturating_add(settled);
        self.batches = self.batches.saturating_add(u64::from(settled > 0));
    }
}

/// All walks of one supervisor.
#[derive(Debug)]
pub struct Settling {
    pace: Pace,
    revision: Revision,
    walks: BTreeMap<NodeId, Walk>,
}

impl Settling {
    /// Nothing to do yet.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self { pace, revision: Revision::default(), walks: BTreeMap::new() }
    }

    /// Takes the nodes that the quorum holds down, and which revision says so. Answers the walks that end by it, and the
    /// nodes whose walk begins, for the first time or anew.
    pub fn observe(
        &mut self,
        now: Timestamp,
        revision: Revision,
        down: &BTreeSet<NodeId>,
    ) -> (Vec<Ended>, Vec<NodeId>) {
        if revision == self.revision {
            return (Vec::new(), Vec::new());
        }
        self.revision = revision;
        let back: Vec<NodeId> = self.walks.keys().filter(|node| !down.contains(node)).cloned().collect();
        let mut ended = Vec::new();
        for node in back {
            if let Some(walk) = self.walks.remove(&node).filter(|walk| !walk.progress.rests) {
                ended.push(Ended { node, back: true, progress: walk.progress, took: now.since(walk.began) });
            }
        }
        let mut begun = Vec::new();
        for node in down {
            let known = self.walks.contains_key(node);
            let walk = self.walks.entry(node.clone()).or_insert_with(|| Walk {
                after: START,
                due: now,
                began: now,
                retry: self.pace.retry.0,
                again: false,
                progress: Progress { rests: true, ..Progress::default() },
            });
            if walk.progress.rests {
                walk.begin(now, &self.pace);
                if !known {
                    begun.push(node.clone());
                }
            }
        }
        (ended, begun)
    }

    /// The batch that has been due for longest, or when one will be.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Next {
        let walking = self.walks.iter().filter(|(_, walk)| !walk.progress.rests);
        match walking.min_by_key(|(_, walk)| walk.due) {
            None => Next::Rest,
            Some((_, walk)) if walk.due > now => Next::At(walk.due),
            Some((node, walk)) => Next::Batch(node.clone(), walk.after),
        }
    }

    /// Takes what became of a node's batch and how long that took; answers whether its walk ended by that. `lot` jitters
    /// pauses.
    pub fn done(&mut self, now: Timestamp, node: &NodeId, turn: Turn, took: Duration, lot: u64) -> Option<Ended> {
        let pace = self.pace;
        let walk = self.walks.get_mut(node)?;
        let (until, settled, lost, without_candidate, unreadable) = match turn {
            Turn::Done { until, settled, lost, without_candidate, unreadable } => {
                (until, settled, lost, without_candidate, unreadable)
            }
            Turn::Busy | Turn::NotNow => {
                walk.pause(now, &pace, lot);
                return None;
            }
            Turn::Failed { settled } => {
                walk.progress.committed(settled);
                walk.pause(now, &pace, lot);
                return None;
            }
        };
        let progress = &mut walk.progress;
        progress.committed(settled);
        progress.lost = progress.lost.saturating_add(lost);
        progress.without_candidate = progress.without_candidate.saturating_add(without_candidate);
        progress.unreadable = progress.unreadable.saturating_add(unreadable);
        walk.again |= lost > 0;
        if settled > 0 {
            walk.retry = pace.retry.0;
        }
        if let Some(until) = until {
            walk.after = until;
            // Whoever was faster goes the same way: let them.
            if settled == 0 && lost > 0 {
                walk.pause(now, &pace, lot);
            } else {
                let rest = took.checked_div(REST.0).unwrap_or_default().min(REST.1);
                walk.due = now.after(pace.pause.max(rest));
            }
            return None;
        }
        if walk.again {
            (walk.after, walk.again) = (START, false);
            walk.progress.left_behind();
            walk.pause(now, &pace, lot);
            return None;
        }
        walk.progress.rests = true;
        Some(Ended { node: node.clone(), back: false, progress: walk.progress, took: now.since(walk.began) })
    }

    /// How far each has come.
    #[must_use]
    pub fn progress(&self) -> BTreeMap<NodeId, Progress> {
        self.walks.iter().map(|(node, walk)| (node.clone(), walk.progress)).collect()
    }
}

impl Walk {
    /// Between half and all of the pause, so that supervisors do not meet again.
    fn pause(&mut self, now: Timestamp, pace: &Pace, lot: u64) {
        let half = self.retry.checked_div(2).unwrap_or_default();
        let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        let jitter = Duration::from_micros(lot.checked_rem(spread).unwrap_or(0));
        self.due = now.after(half.saturating_add(jitter));
        self.retry = self.retry.saturating_mul(2).min(pace.retry.1);
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
