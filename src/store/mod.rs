//! The port to the database: small object-safe traits, and what passes through them.
//!
//! Facts come out with ages, outcomes go in by compare-and-set, and no method decides anything that `core` could
//! decide. Expected outcomes (a lost race, a stale fence) are values; errors are for a database that cannot answer.
//!
//! What implementers owe, held by `testing::store_suite`: every method is one transaction; every wait is bounded;
//! stamps and ages are the database's own; whatever changes a repository's replicas, generations, marks or
//! assignments locks its row first and raises `facts_version`; whatever changes its primary takes a new epoch and
//! leaves a row of history; whatever changes who is up to date is told to those who listen or poll ([`ChangeFeed`]).

mod error;
mod feed;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod rows;
mod settle;
mod shard;
mod types;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod incumbent;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod statement;

pub use crate::core::{election::Target, synced::Scope};
pub use error::{StoreError, StoreErrorKind, StoreOp};
pub use feed::{Change, ChangeFeed, ChangeKind, FeedPosition, Listener, Polled, UpToDate};
pub use settle::{SettleBatch, SettleOutcome, SettleSnapshot, SettleStore};
pub use shard::{ShardExpected, ShardProposal, ShardSnapshot, ShardStore};
pub use types::{
    CasOutcome, Created, Current, Deleted, ElectionSnapshot, Expected, HealthSnapshot, Heartbeat, NewRepository,
    Outcome, PrimaryChange, Proposal, Refused, Registered, Registration, RepositoriesCount, StorageChange,
    StoredSettings, VoteBatch, VotesWritten,
};

use crate::core::{
    election::{Fence, Incumbent},
    epoch::{Epoch, Era, FactsVersion, Generation, Given},
    ids::{NodeId, RelativePath, RepositoryId, Storage, Voter},
    monitor::Suspicion,
    recusal::Distrust,
    settings::Settings,
    time::DatabaseTime,
};
use futures_util::future::BoxFuture;
use std::{collections::BTreeSet, time::Duration};

/// What every method returns: boxed, for a store is asked a few times a second.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Settings, supervisors, votes and eras.
pub trait HealthStore: Send + Sync {
    /// The stored settings; the first call ever stores `wanted` and makes the cluster's id.
    fn settings_seed<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings>;
    /// Replaces the stored settings and raises their revision.
    fn settings_update<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings>;
    /// Registers a supervisor under a new incarnation: `none` rows for watched nodes that have no row, rows of nodes
    /// no longer watched deleted, the heartbeat stamped last.
    fn supervisor_register<'a>(&'a self, registration: &'a Registration) -> Answer<'a, Registered>;
    /// Stamps the heartbeat, but only of this incarnation and only if the last one is younger than `voter_ttl`.
    fn supervisor_heartbeat<'a>(&'a self, voter: &'a Voter) -> Answer<'a, Heartbeat>;
    /// Removes a supervisor's row and votes. Changes nothing, and answers `false`, if it is not this incarnation's.
    fn supervisor_remove<'a>(&'a self, voter: &'a Voter) -> Answer<'a, bool>;
    /// Says in the supervisor's row since now and why it abstains, or that it does not (`None`); tells those who follow.
    /// Changes nothing, and answers `false`, if the incarnation is not the row's.
    fn supervisor_recuse<'a>(&'a self, voter: &'a Voter, reason: Option<Distrust>) -> Answer<'a, bool>;
    /// Penalises a storage that was deposed, from now on for so long, or for as long as it was penalised already if that is
    /// longer. Only if its penalty still ends when `seen` says, so that of those who saw one deposition only the first
    /// penalises; the others, to whom it answers `false`, change nothing.
    fn penalty_raise<'a>(&'a self, node: &'a NodeId, seen: Option<DatabaseTime>, lasting: Duration)
    -> Answer<'a, bool>;
    /// Forgives a storage: it is as fit to be elected as any other. Answers whether it was penalised.
    fn penalty_lift<'a>(&'a self, node: &'a NodeId) -> Answer<'a, bool>;
    /// Tells which nodes a registered supervisor watches from now on, under the same incarnation: `none` rows for those
    /// that have no row, rows of the others deleted; votes on those that stay are not touched. Changes nothing, and
    /// answers `false`, if the incarnation is not the row's.
    fn nodes_watch<'a>(&'a self, voter: &'a Voter, nodes: &'a [NodeId]) -> Answer<'a, bool>;
    /// Stores votes. A vote of an older incarnation, or of an older batch of the same one, changes nothing.
    fn votes_write<'a>(&'a self, voter: &'a Voter, batch: &'a VoteBatch) -> Answer<'a, VotesWritten>;
    /// The era in force and the last number given, of this moment: never what a cache or a replica holds. If the server is
    /// another one, or on another timeline, than the era was recorded for, the new era is begun first.
    fn epochs_given(&self) -> Answer<'_, Given>;
    /// Begins a new era, but only if the one in force is still `seen`, so that of those who repair at one time the first
    /// does. It is above every recorded one and that of `reported`, and where the store knows the calendar no smaller than
    /// the minutes since 2026-01-01, so that two restores of one backup share none. Kept with `why`; every primary is told to
    /// have changed. Answers the era in force.
    fn era_raise<'a>(&'a self, seen: Era, reported: Option<Epoch>, why: &'a str) -> Answer<'a, Era>;
    /// Tells whoever listens at this moment ([`ChangeFeed::listen`]), and nobody later, that these nodes missed a probe:
    /// stores nothing, changes nothing, and names that do not fit are left out. `false`: this database cannot speak first,
    /// and nobody was told; so it is unless a store says otherwise.
    fn suspicion_tell<'a>(&'a self, suspicion: &'a Suspicion) -> Answer<'a, bool> {
        let _ = suspicion;
        Box::pin(std::future::ready(Ok(false)))
    }
    /// Everybody's votes and heartbeats, and the settings, in one snapshot.
    fn health_facts(&self) -> Answer<'_, HealthSnapshot>;
}

/// The facts of elections and their commits.
pub trait ElectionStore: Send + Sync {
    /// The facts of one repository in one snapshot; `None` if there is no such repository. Writes nothing, locks nothing.
    fn election_facts<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<ElectionSnapshot>>;
    /// What those facts say of the recorded primary alone, where that costs less to read; writes nothing, locks nothing. `None`:
    /// nobody is recorded, its replica is gone, there is no such repository, or this store has no such read, and so it is unless a
    /// store says otherwise: the facts tell.
    fn incumbent<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<Incumbent>> {
        let _ = target;
        Box::pin(std::future::ready(Ok(None)))
    }
    /// Commits a decision if nothing it rested on has moved: facts version, epoch and era are the expected ones, the
    /// facts are younger than `decision_ttl`, and the proposer is still its incarnation, live and not recused (the
    /// last not under policy `half`). A decision already committed under the same id answers `Won` again.
    fn primary_cas<'a>(&'a self, proposal: &'a Proposal) -> Answer<'a, CasOutcome>;
    /// The last changes of a repository's primary, newest first, at most `limit` (1 to 1,000).
    fn primary_history(&self, repository: RepositoryId, limit: u32) -> Answer<'_, Vec<PrimaryChange>>;
}

/// Repositories and their replicas. `fence: None` is Praefect's unfenced form: in any other profile than `praefect` it
/// is refused with [`Refused::FenceRequired`].
pub trait RepositoryStore: Send + Sync {
    /// Creates a repository at generation 0. Answers `Refused(PathTaken)` or `Refused(IdTaken)`.
    fn repository_create<'a>(&'a self, new: &'a NewRepository) -> Answer<'a, Outcome<Created>>;
    /// Deletes a repository with its replicas, assignments and marks, by id.
    fn repository_delete<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
    ) -> Answer<'a, Outcome<Deleted>>;
    /// Changes a repository's path, and its replicas' and assignments' with it.
    fn repository_rename<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        to: &'a RelativePath,
    ) -> Answer<'a, Outcome<()>>;
    /// Acknowledges one write: raises the generation of those of `acknowledged` that are on the repository's
    /// generation, and the repository's with them. Answers the new one. With a fence the primary must be among
    /// `acknowledged` and up to date. `Refused(OutdatedNodes)` if nobody (or not the primary) was.
    fn generation_increment<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        acknowledged: &'a BTreeSet<Storage>,
    ) -> Answer<'a, Outcome<Generation>>;
    /// Sets one replica's generation (it may fall; the row is made if missing) and raises the repository's if lower.
    fn generation_set<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        storage: &'a Storage,
        generation: Generation,
    ) -> Answer<'a, Outcome<()>>;
    /// Marks a replica for deletion: it can no longer be elected. Refused for the recorded primary, and while another
    /// replica of the repository is marked. Marking twice is done once.
    fn replica_mark<'a>(&'a self, repository: RepositoryId, storage: &'a Storage) -> Answer<'a, Outcome<()>>;
    /// Removes one replica's row and completes its mark. Touches neither repository nor assignments. Refused for the
    /// recorded primary.
    fn replica_delete<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        storage: &'a Storage,
    ) -> Answer<'a, Outcome<()>>;
    /// An operator's word: this replica is the truth. The repository's generation is raised by one, the replica set to
    /// it (made if missing), and the storage becomes primary under a new epoch, which is the answer.
    fn authoritative_set<'a>(
        &'a self,
        repository: RepositoryId,
        storage: &'a Storage,
        expected: FactsVersion,
        operator: &'a Voter,
    ) -> Answer<'a, Outcome<Epoch>>;
    /// Replaces a repository's assignments if its facts are still at `expected`; else `Refused(FactsMoved)`.
    fn assignments_replace<'a>(
        &'a self,
        repository: RepositoryId,
        expected: FactsVersion,
        assignments: &'a BTreeSet<Storage>,
    ) -> Answer<'a, Outcome<()>>;
    /// Sets a storage's priority or draining; what is `None` stays.
    fn storage_update<'a>(&'a self, node: &'a NodeId, change: StorageChange) -> Answer<'a, ()>;
}

/// How long a count of all repositories may take: a million took some 12 s on two busy processors, and nobody routes by it.
pub const COUNT_LIMIT: Duration = Duration::from_secs(30);

/// What is counted over all repositories. It reads them all, so it is for metrics, now and then, and for no lookup.
pub trait CensusStore: Send + Sync {
    /// Every repository, counted by virtual storage and recorded primary, in that order. `healthy` is what the quorum
    /// holds healthy. It may take up to [`COUNT_LIMIT`], after which it ends with a timeout.
    fn repositories_count<'a>(&'a self, healthy: &'a BTreeSet<NodeId>) -> Answer<'a, Vec<RepositoriesCount>>;
}

/// All ports at once.
pub trait Store:
    HealthStore + ElectionStore + SettleStore + ShardStore + RepositoryStore + CensusStore + ChangeFeed
{
}
impl<T: HealthStore + ElectionStore + SettleStore + ShardStore + RepositoryStore + CensusStore + ChangeFeed> Store
    for T
{
}
