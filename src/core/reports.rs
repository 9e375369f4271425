//! Whether the database knows of less than its nodes do (docs/protocol.md section 6).
//!
//! A node's fence says which cluster it belongs to and how far its epochs have come. If that is more than the database ever
//! gave, an older backup has taken its place: what it elects now it would elect under epochs that were given before. So
//! nothing is elected and nothing acknowledged until a repair began a new era.
//!
//! What the database has given is read after the report, never before: a node may hear of an epoch sooner than this
//! supervisor does. And a database that was behind is behind until its era was raised, whatever its numbers have grown to:
//! those in between were given twice.

use super::{
    epoch::{Epoch, Given},
    ids::{ClusterId, NodeId},
};
use std::{fmt, time::Duration};

/// The pause before the database is read again, at first and at most: it doubles while nothing changes.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What a node tells supervisors with each probe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FenceReport {
    /// The cluster that it belongs to; `None` while it accepted no claim yet.
    pub cluster: Option<ClusterId>,
    /// The highest epoch that it accepted for any repository.
    pub highest: Option<Epoch>,
}

impl FenceReport {
    /// Whether the node's fence belongs to another cluster: what it has accepted says nothing about this one.
    #[must_use]
    pub fn is_foreign(&self, here: &ClusterId) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster != here)
    }
}

/// An epoch that a node of this cluster has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// Which node.
    pub node: NodeId,
    /// The epoch.
    pub epoch: Epoch,
}

impl Reported {
    /// Whether this is more than what was reported before.
    #[must_use]
    pub fn exceeds(&self, before: Option<&Reported>) -> bool {
        before.is_none_or(|before| self.epoch > before.epoch)
    }
}

/// A database that knows of less than its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// What a node has accepted.
    pub reported: Reported,
    /// What the database had given, read after that report.
    pub given: Given,
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Behind { reported: Reported { node, epoch }, given } = self;
        write!(f, "node {node} has accepted epoch {epoch}, and the database has given none above {given}")
    }
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until more is reported or this supervisor registers anew.
    Rest,
    /// Read what the database has given, after this pause, and take the answer in with [`Reports::read`].
    Read {
        /// Zero for the first read after a report.
        after: Duration,
    },
}

/// What one supervisor makes of its nodes' reports.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    highest: Option<Reported>,
    /// What the database is known to have given.
    given: Option<Given>,
    behind: Option<Behind>,
    /// Whether only a new era lifts that.
    latched: bool,
    pause: Option<Duration>,
}

impl Reports {
    /// One that takes over what another has found.
    #[must_use]
    pub fn resume(behind: Option<Behind>) -> Self {
        Self { latched: behind.is_some(), behind, ..Self::default() }
    }

    /// Takes the highest epoch that was reported so far.
    pub fn observe(&mut self, reported: Option<&Reported>) {
        if let Some(reported) = reported.filter(|reported| reported.exceeds(self.highest.as_ref())) {
            self.highest = Some(reported.clone());
        }
    }

    /// This supervisor registered anew, or the database was away: it may be another one now. What was read before counts
    /// for nothing, and one that was behind may have been replaced by a whole one.
    pub fn forget(&mut self) {
        (self.given, self.latched, self.pause) = (None, false, None);
    }

    /// What is known to be behind; `None`: nothing is.
    #[must_use]
    pub fn behind(&self) -> Option<&Behind> {
        self.behind.as_ref()
    }

    /// The highest report that the database is known to have reached.
    #[must_use]
    pub fn reached(&self) -> Option<Epoch> {
        let highest = self.highest.as_ref()?.epoch;
        self.given.is_some_and(|given| given.reaches(highest)).then_some(highest)
    }

    /// What is to be done next. At rest nothing is.
    #[must_use]
    pub fn next(&self) -> Next {
        let open = self.behind.is_some() || (self.highest.is_some() && self.reached().is_none());
        if open { Next::Read { after: self.pause.unwrap_or_default() } } else { Next::Rest }
    }

    /// Takes what the database has given, read after everything that was observed; `None`: it did not answer. Answers
    /// whether [`behind`](Self::behind) changed.
    pub fn read(&mut self, given: Option<Given>) -> bool {
        self.pause = Some(self.pause.map_or(AGAIN.0, |pause| pause.saturating_mul(2).min(AGAIN.1)));
        let (Some(given), Some(highest)) = (given, &self.highest) else { return false };
        self.given = Some(given);
        let raised = self.behind.as_ref().is_none_or(|behind| !self.latched || given.era > behind.given.era);
        let now = if given.reaches(highest.epoch) && raised {
            (self.pause, self.latched) = (None, false);
            None
        } else {
            self.latched = true;
            // What it had given when it was found to be behind is what a new era has to be above.
            let found = self.behind.as_ref().map_or(given, |behind| behind.given);
            Some(Behind { reported: highest.clone(), given: found })
        };
        let changed = self.behind != now;
        self.behind = now;
        changed
    }
}

#[cfg(test)]
#[path = "reports_tests.rs"]
mod tests;
