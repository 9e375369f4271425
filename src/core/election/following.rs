//! A repository whose virtual storage has one primary for all: its own row follows.
//!
//! What fences a write is its repository's own row, whoever decides. So the virtual storage's primary is committed there by
//! the same compare-and-set as any other, when somebody first asks after it changed. That supervisors are configured
//! differently is thereby safe: two rules may disagree about who should be primary, never about who is. Admitting writes
//! under the virtual storage's epoch was rejected: two rows would say who may write, and every acknowledgement would have
//! to lock both.

use super::{Decision, Election, ElectionFacts, NoCandidate, Reason, must_wait};
use crate::core::{
    ids::{Storage, Voter},
    settings::Settings,
};

/// What to do about one repository if `primary` leads its virtual storage. One that is behind on it, or has no replica
/// there that may stay, takes no writes: its row is left alone.
#[must_use]
pub fn follow(facts: &ElectionFacts, primary: &Storage, settings: &Settings, proposer: &Voter) -> Decision {
    let recorded = facts.primary.as_ref();
    let epoch = facts.epoch.filter(|_| recorded == Some(primary));
    let storage = primary.clone();
    match facts.replicas.iter().find(|replica| replica.storage == *primary) {
        Some(replica) if facts.generation == Some(replica.generation) && !replica.marked => {}
        Some(replica) if facts.generation == Some(replica.generation) => {
            return Decision::NoCandidate(NoCandidate::PrimaryMarked { storage, epoch });
        }
        Some(_) | None => return Decision::NoCandidate(NoCandidate::PrimaryOutdated { storage, epoch }),
    }
    if recorded == Some(primary) {
        return Decision::Keep { storage, epoch };
    }
    if let Some(wait) = must_wait(&facts.supervisors, settings, proposer) {
        return Decision::Wait(wait);
    }
    let why = recorded.map_or(Reason::NoneRecorded, |_| Reason::VirtualStorage);
    Decision::Elect(Election { to: storage.clone(), equals: vec![storage], from: facts.primary.clone(), why })
}
