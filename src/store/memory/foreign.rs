//! What others do to the same database, and what a test may look at or set behind the ports' back.

use super::{MemoryStore, state::Vote};
use crate::core::{
    consensus::Opinion,
    epoch::{Epoch, Generation, Given},
    ids::{Incarnation, NodeId, RepositoryId, Storage, SupervisorName, VirtualStorage},
    recusal::Distrust,
    time::{Age, micros},
};
use std::time::Duration;

/// One row of votes as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVote {
    /// Who votes.
    pub supervisor: SupervisorName,
    /// About which node.
    pub node: NodeId,
    /// The opinion; `None` marks a foreign row.
    pub opinion: Option<Opinion>,
    /// Under which registration it was written.
    pub incarnation: Option<Incarnation>,
    /// In which batch of that registration; 0 before the first.
    pub number: i64,
    /// Age of the last attempt to reach the node.
    pub contact_age: Option<Age>,
    /// Age of the last success.
    pub seen_age: Option<Age>,
}

/// The rows behind the ports.
impl MemoryStore {
    /// Every vote as it is stored, whether it counts or not, in order of supervisor and node.
    #[must_use]
    pub fn stored_votes(&self) -> Vec<StoredVote> {
        let state = self.locked();
        let row = |((supervisor, node), vote): (&(SupervisorName, NodeId), &Vote)| StoredVote {
            supervisor: supervisor.clone(),
            node: node.clone(),
            opinion: vote.opinion,
            incarnation: vote.incarnation,
            number: vote.number,
            contact_age: vote.contact_at.map(|stamp| state.age(stamp)),
            seen_age: vote.seen_at.map(|stamp| state.age(stamp)),
        };
        state.votes.iter().map(row).collect()
    }

    /// Sets era and last number of its epochs, as if a backup had been put in the place of this database. Rows stay:
    /// what they say is then what an older one would say of primaries that did not change since.
    pub fn set_back_epochs(&self, to: Given) {
        self.locked().set_back(to);
    }

    /// A Praefect's vote: it tried the node, and last reached it, so long ago; `None` is never.
    pub fn foreign_vote(
        &self,
        supervisor: &SupervisorName,
        node: &NodeId,
        contact_age: Option<Duration>,
        seen_age: Option<Duration>,
    ) {
        let mut state = self.locked();
        let now = state.now;
        let stamp = |age: Option<Duration>| age.map(|age| now.saturating_sub(micros(age)));
        let vote = Vote { contact_at: stamp(contact_age), seen_at: stamp(seen_age), ..Vote::default() };
        state.votes.insert((supervisor.clone(), node.clone()), vote);
    }

    /// A foreign writer changes a repository's primary without an epoch: it is given one, and a row of history
    /// without a decision. `None` if there is no such repository.
    pub fn foreign_primary(&self, repository: RepositoryId, primary: Option<Storage>) -> Option<Epoch> {
        let epoch = self.locked().primary_set(repository, primary, None);
        self.tell();
        epoch
    }

    /// A foreign writer elects a primary for a whole virtual storage, or demotes it (`None`), without an epoch: it is
    /// given one, and a row of history without a decision.
    pub fn foreign_shard(&self, virtual_storage: &VirtualStorage, primary: Option<Storage>) -> Epoch {
        self.locked().shard_set(virtual_storage, primary, None)
    }

    /// A foreign writer sets a repository's generation; `None` is what a Praefect's early rows hold.
    pub fn foreign_generation(&self, repository: RepositoryId, generation: Option<Generation>) {
        {
            let mut state = self.locked();
            state.touched_ids.insert(repository);
            if let Some(row) = state.repositories.get_mut(&repository) {
                row.generation = generation;
                row.moved();
            }
        }
        self.tell();
    }

    /// A foreign writer gives a repository a replica whose storage has a name that is not allowed. Whoever settles cannot
    /// read it any more; a lookup, which is an error in the SQL stores, finds it as it was.
    pub fn foreign_nameless_replica(&self, repository: RepositoryId) {
        self.locked().unreadable.insert(repository);
    }

    /// Makes a supervisor abstain, or take part again. Nothing happens if it is not registered.
    pub fn recuse(&self, supervisor: &SupervisorName, recused: bool) {
        if let Some(row) = self.locked().supervisors.get_mut(supervisor) {
            row.recused = recused.then_some(Distrust::Stalled);
        }
    }

    /// Penalises a storage for so long; zero lifts it.
    pub fn penalise(&self, node: &NodeId, lasting: Duration) {
        let mut state = self.locked();
        let until = state.now.saturating_add(micros(lasting));
        state.storages.entry(node.clone()).or_default().penalty_until = Some(until);
    }

    /// The server behind the connection becomes another one: the next commit that looks answers `EraChanged`, and the
    /// era is raised with it.
    pub fn replace_database(&self) {
        self.locked().replaced = true;
    }

    /// Moves every stamp into the past, as if so much time had gone by in which nobody wrote.
    pub fn shift_stamps(&self, by: Duration) {
        let mut state = self.locked();
        let by = micros(by);
        let shift = |stamp: &mut i64| *stamp = stamp.saturating_sub(by);
        for row in state.supervisors.values_mut() {
            shift(&mut row.heartbeat_at);
            shift(&mut row.registered_at);
            row.superseded_live_at.iter_mut().for_each(shift);
        }
        for vote in state.votes.values_mut() {
            vote.contact_at.iter_mut().for_each(shift);
            vote.seen_at.iter_mut().for_each(shift);
        }
        for storage in state.storages.values_mut() {
            storage.penalty_until.iter_mut().for_each(shift);
        }
        state.changes.iter_mut().for_each(|row| shift(&mut row.change.at));
        state.shard_changes.iter_mut().for_each(|row| shift(&mut row.change.at));
        state.shards.values_mut().for_each(|row| shift(&mut row.elected_at));
    }
}
