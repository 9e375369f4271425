//! The port of those who elect one primary for a whole virtual storage, and what passes through it.
//!
//! The row is Praefect's, in `shard_primaries`. Of its columns `read_only` and `previous_writable_primary` are relics that
//! Praefect itself has not used since 13.3: they keep their defaults (false, NULL), and nobody here reads them.

use super::{Answer, CasOutcome, PrimaryChange, StoredSettings};
use crate::core::{
    election::ShardFacts,
    epoch::{Epoch, Era},
    ids::{DecisionId, Storage, VirtualStorage, Voter},
    time::DatabaseTime,
};

/// The facts of elections of whole virtual storages and their commits.
pub trait ShardStore: Send + Sync {
    /// The facts of one virtual storage in one snapshot; one that nobody knows has no row and no votes. `lags` asks for
    /// what each storage lacks, which reads every replica of the virtual storage. Writes nothing, locks nothing.
    fn shard_facts<'a>(&'a self, virtual_storage: &'a VirtualStorage, lags: bool) -> Answer<'a, ShardSnapshot>;
    /// Commits a decision if nothing it rested on has moved: epoch and era are the expected ones, the facts are younger
    /// than `decision_ttl`, and the proposer is still its incarnation, live and not recused (the last not under policy
    /// `half`). A decision already committed under the same id answers `Won` again. A demotion keeps the storage in the
    /// row and marks it; without a row there is nothing to demote, and it is `Lost`.
    fn shard_cas<'a>(&'a self, proposal: &'a ShardProposal) -> Answer<'a, CasOutcome>;
    /// The last changes of a virtual storage's primary, newest first, at most `limit` (1 to 1,000). Kept 30 days, or until
    /// the next change after that.
    fn shard_history<'a>(&'a self, virtual_storage: &'a VirtualStorage, limit: u32) -> Answer<'a, Vec<PrimaryChange>>;
}

/// What one read says about one virtual storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSnapshot {
    /// The facts.
    pub facts: ShardFacts,
    /// The settings in force.
    pub settings: StoredSettings,
}

/// What must not have moved since the facts were read. The lags are not part of it: a node that lags may be elected, so a
/// write that was acknowledged meanwhile makes no decision wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardExpected {
    /// The epoch seen; `None` is seen, too.
    pub epoch: Option<Epoch>,
    /// The era seen.
    pub era: Era,
    /// When the facts were read.
    pub at: DatabaseTime,
}

/// A decision about a virtual storage to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardProposal {
    /// Made by the proposer, so that a retry finds its own.
    pub decision: DecisionId,
    /// The virtual storage.
    pub virtual_storage: VirtualStorage,
    /// What it rests on.
    pub expected: ShardExpected,
    /// Who was primary.
    pub from: Option<Storage>,
    /// The new primary; `None` demotes.
    pub to: Option<Storage>,
    /// Who proposes.
    pub proposer: Voter,
    /// Why, in one word.
    pub why: String,
    /// Votes, candidates with their lags and why each other lost, as JSON.
    pub evidence: String,
}
