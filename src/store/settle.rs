//! The port of those who settle what a dead node led, and what passes through it.

use super::{Answer, StoredSettings};
use crate::core::{
    epoch::{Epoch, Era},
    ids::{DecisionId, NodeId, RepositoryId, Voter},
    settling::{SettleFacts, SettlementOf},
    time::DatabaseTime,
};
use std::collections::BTreeMap;

/// The facts of many repositories at once and their commits.
pub trait SettleStore: Send + Sync {
    /// The facts of the next repositories whose recorded primary this node is, those with an id above `after` in order of
    /// id, at most `limit` (1 to 10,000), all in one snapshot. It may look at no more repositories than it likes, and then
    /// answer few or none: what is left is behind [`SettleFacts::until`]. Writes nothing, locks nothing.
    fn settle_facts<'a>(&'a self, node: &'a NodeId, after: RepositoryId, limit: u32) -> Answer<'a, SettleSnapshot>;
    /// Commits many decisions, each if nothing it rested on has moved, as
    /// [`primary_cas`](super::ElectionStore::primary_cas) does for one; all under one decision id and with one record, but
    /// each under an epoch of its own. One whose row somebody else holds is left to them, so this waits for no lookup. A
    /// batch already committed under the same id answers what it won again.
    fn settle_cas<'a>(&'a self, batch: &'a SettleBatch) -> Answer<'a, SettleOutcome>;
}

/// What one read says about many repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleSnapshot {
    /// The facts.
    pub facts: SettleFacts,
    /// The settings in force.
    pub settings: StoredSettings,
}

/// Decisions to be committed together, made for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleBatch {
    /// Made by the proposer, so that a retry finds its own.
    pub decision: DecisionId,
    /// Who led them. Its virtual storage is what one supervisor at a time settles; of the storage the rows alone decide.
    pub node: NodeId,
    /// The era seen.
    pub era: Era,
    /// When the facts were read.
    pub at: DatabaseTime,
    /// Who proposes.
    pub proposer: Voter,
    /// Why, in one word.
    pub why: String,
    /// Votes, verdicts and counts, as JSON.
    pub evidence: String,
    /// Each repository's change, no repository twice.
    pub repositories: Vec<SettlementOf>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettleOutcome {
    /// These were committed, each under its epoch. Of the others something had moved, or their row was held.
    Done(BTreeMap<RepositoryId, Epoch>),
    /// Another supervisor settles this virtual storage. Nothing was changed.
    Busy,
    /// The database is not the one the era was recorded for. Nothing was changed: read again.
    EraChanged,
}
