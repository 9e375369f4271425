//! When the question for a primary may be answered from memory.
//!
//! Two rules (docs/protocol.md sections 8 and 9). While changes are heard of, what is remembered is as good as a read, but
//! never longer than `ttl` after the last proof that they are, by the clock of the lookup itself: a process that slept knows
//! nothing. While the database is known to be down nobody can move a primary either, so that what was last known is
//! answered for `failsafe_ttl`, and said to be that.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How fresh an answer has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// What is remembered will do, while changes are heard of. The default.
    #[default]
    Cached,
    /// Found out for this question, whatever is remembered.
    Latest,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// It was found out for this question, or for one asked at the same time.
    Fresh,
    /// It was remembered, and changes are heard of.
    Memory,
    /// It is what was last known: the database is down. Reads may go there; no write is acknowledged meanwhile.
    Failsafe,
    /// It is what stands in the database, but the nodes know of later elections than the database does: an older backup has
    /// taken its place. Nothing is elected and no write is acknowledged until an operator repairs that.
    Behind,
}

impl Source {
    /// The name, as a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Fresh => "fresh",
            Source::Memory => "memory",
            Source::Failsafe => "failsafe",
            Source::Behind => "behind",
        }
    }
}

/// For how long what is remembered is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trust {
    /// While changes are heard of: so long after the last proof of it.
    pub ttl: Duration,
    /// While the database is known to be down: so long after the last proof that changes were heard of.
    pub failsafe_ttl: Duration,
}

impl Trust {
    /// As what an answer may be given, `age` after the last proof that changes are heard of; `heard` says that nothing spoke
    /// against it since, `down` that the database is known to be down. `None`: not from memory.
    #[must_use]
    pub fn source(&self, age: Duration, heard: bool, down: bool) -> Option<Source> {
        if heard && age < self.ttl {
            Some(Source::Memory)
        } else if down && age < self.failsafe_ttl {
            Some(Source::Failsafe)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(age: u64, heard: bool, down: bool) -> Option<Source> {
        let ms = Duration::from_millis;
        Trust { ttl: ms(2_000), failsafe_ttl: ms(60_000) }.source(ms(age), heard, down)
    }

    #[test]
    fn what_is_remembered_is_believed_for_ttl_after_the_last_proof() {
        assert_eq!(answered(1_999, true, false), Some(Source::Memory));
        assert_eq!(answered(2_000, true, false), None);
        assert_eq!(answered(0, false, false), None, "once the listener is lost, not even for that long");
    }

    #[test]
    fn while_the_database_is_down_what_was_last_known_is_answered_as_that() {
        assert_eq!(answered(2_000, false, true), Some(Source::Failsafe));
        assert_eq!(answered(59_999, true, true), Some(Source::Failsafe));
        assert_eq!(answered(60_000, false, true), None);
        assert_eq!(answered(1_000, true, true), Some(Source::Memory), "it was heard since");
    }
}
