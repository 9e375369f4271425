//! What is enough to let a recorded primary stay.
//!
//! Most questions are about a repository that is led well, and then nothing about other storages changes the answer
//! ([`stands_alone`](super::stands_alone)). So a lookup that may rest on the published consensus reads this first, half the work of
//! reading what an election rests on, and everything only if this is not enough.

use super::{ElectionFacts, Primary, ReplicaFacts, beyond_reproach};
use crate::core::epoch::Generation;

/// The recorded primary of one repository with what bears on it alone: one statement, one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incumbent {
    /// The answer, if it stays.
    pub primary: Primary,
    /// The repository's expected generation; `None` equals nothing.
    pub generation: Option<Generation>,
    /// The primary's own replica.
    pub replica: ReplicaFacts,
    /// Whether any storage is assigned to the repository.
    pub any_assigned: bool,
}

impl Incumbent {
    /// The same out of all facts; `None` without a recorded primary, or if its replica is gone.
    #[must_use]
    pub fn of(facts: &ElectionFacts) -> Option<Incumbent> {
        let storage = facts.primary.as_ref()?;
        let replica = facts.replicas.iter().find(|replica| replica.storage == *storage)?;
        Some(Incumbent {
            primary: facts.led_by(storage.clone(), facts.epoch),
            generation: facts.generation,
            replica: replica.clone(),
            any_assigned: !facts.assignments.is_empty(),
        })
    }

    /// Whether it stays whatever becomes of the other storages, as long as the quorum does not hold it down.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        beyond_reproach(self.generation, &self.replica, self.any_assigned)
    }
}
