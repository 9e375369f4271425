//! The bookkeeping that has to be done before anything can be elected, and the acknowledgement of writes.
//!
//! Each of these is one transaction of the store, without an actor between: there is no state to keep and nothing to
//! wait for but the database.

use super::Supervisor;
use crate::{
    actors::NodeHandle,
    config::ElectionStrategy,
    core::{
        assignment,
        election::{Fence, Target},
        epoch::{Epoch, FactsVersion, Generation},
        ids::{NodeId, RelativePath, RepositoryId, Storage, VirtualStorage, Voter},
        quorum::{QuorumPolicy, Verdict},
    },
    error::Error,
    store::{
        COUNT_LIMIT, Created, Deleted, ElectionSnapshot, NewRepository, Outcome, PrimaryChange, Refused,
        RepositoriesCount, StoreError,
    },
    telemetry,
};
use std::{collections::BTreeSet, future::Future, time::Duration};

/// How often a change is tried whose facts moved, or whose era did, before the caller hears `Contended`.
const ROUNDS_MAX: u32 = 3;

impl<C: Clone + Send + Sync + 'static> Supervisor<C> {
    /// Creates a repository at generation 0. If it names no assignments, and its virtual storage has a
    /// `default_replication_factor`, it is assigned to that many storages: its primary, then those that hold a replica
    /// from the start, then others by lot. Errors: [`Error::VirtualStorageNotFound`], [`Error::Refused`] with
    /// `PathTaken` or `IdTaken`, [`Error::StoreUnavailable`].
    pub async fn repository_create(&self, new: &NewRepository) -> Result<Created, Error> {
        let config = self.config();
        let cluster = config.virtual_storages.iter().find(|cluster| cluster.name == new.virtual_storage);
        let Some(cluster) = cluster else {
            return Err(Error::VirtualStorageNotFound(new.virtual_storage.clone()));
        };
        if new.primary.is_some() {
            self.must_be_abreast()?;
        }
        let factor = cluster.default_replication_factor;
        if factor == 0 || !new.assignments.is_empty() {
            return self.done(|| self.inner.store.repository_create(new)).await;
        }
        let configured: BTreeSet<Storage> = cluster.nodes.iter().map(|node| node.storage.clone()).collect();
        let here = new.replicas.iter().filter(|storage| configured.contains(*storage)).cloned().collect();
        let assigned = assignment::plan(factor, &configured, &here, new.primary.as_ref(), lot())?;
        let new = NewRepository { assignments: assigned.into_iter().collect(), ..new.clone() };
        self.done(|| self.inner.store.repository_create(&new)).await
    }

    /// Everything that an election of this repository would rest on. Errors: [`Error::RepositoryNotFound`],
    /// [`Error::StoreUnavailable`].
    pub async fn repository(&self, target: &Target) -> Result<ElectionSnapshot, Error> {
        self.within(self.inner.store.election_facts(target)).await?.ok_or(Error::RepositoryNotFound)
    }

    /// Deletes a repository, by id. `fence` names the epoch and primary that the caller knows; without one only
    /// profile `praefect` takes it. Errors: [`Error::RepositoryNotFound`], [`Error::StaleEpoch`], [`Error::Refused`].
    pub async fn repository_delete(&self, repository: RepositoryId, fence: Option<&Fence>) -> Result<Deleted, Error> {
        self.must_be_abreast()?;
        self.moved(repository, || self.inner.store.repository_delete(repository, fence)).await
    }

    /// Changes a repository's path. Errors: as [`Supervisor::repository_delete`], and `Refused(PathTaken)`.
    pub async fn repository_rename(
        &self,
        repository: RepositoryId,
        fence: Option<&Fence>,
        to: &RelativePath,
    ) -> Result<(), Error> {
        self.must_be_abreast()?;
        self.moved(repository, || self.inner.store.repository_rename(repository, fence, to)).await
    }

    /// Acknowledges one write: it counts from the moment that this answers, and only then. `acknowledged` are the
    /// storages that applied it, the primary among them. Answers the new generation.
    ///
    /// Errors: [`Error::StaleEpoch`] if another primary was elected meanwhile: the write does not count.
    /// [`Error::Refused`] with `OutdatedNodes` or `PrimaryNotAcknowledged`. After a timeout or a lost connection the
    /// write may count: ask for the generation.
    pub async fn generation_increment(
        &self,
        repository: RepositoryId,
        fence: Option<&Fence>,
        acknowledged: &BTreeSet<Storage>,
    ) -> Result<Generation, Error> {
        self.must_be_abreast()?;
        self.done(|| self.inner.store.generation_increment(repository, fence, acknowledged)).await
    }

    /// Records that a replica now holds the data of `generation`, as after catching up. Errors: as
    /// [`Supervisor::repository_delete`].
    pub async fn generation_set(
        &self,
        repository: RepositoryId,
        fence: Option<&Fence>,
        storage: &Storage,
        generation: Generation,
    ) -> Result<(), Error> {
        self.must_be_abreast()?;
        self.moved(repository, || self.inner.store.generation_set(repository, fence, storage, generation)).await
    }

    /// Marks a replica for deletion: it can no longer be elected. Errors: [`Error::Refused`] with `IsPrimary`,
    /// `ReplicaNotFound` or `DeletionPending`.
    pub async fn replica_mark(&self, repository: RepositoryId, storage: &Storage) -> Result<(), Error> {
        self.done(|| self.inner.store.replica_mark(repository, storage)).await
    }

    /// Completes a deletion: the replica's row goes. Errors: as [`Supervisor::replica_mark`] and [`Error::StaleEpoch`].
    pub async fn replica_delete(
        &self,
        repository: RepositoryId,
        fence: Option<&Fence>,
        storage: &Storage,
    ) -> Result<(), Error> {
        self.must_be_abreast()?;
        self.done(|| self.inner.store.replica_delete(repository, fence, storage)).await
    }

    /// An operator's decision: this replica is the truth, whatever others hold. It becomes primary under a new epoch,
    /// which is the answer; all other replicas are outdated. `expected` is the facts version that the operator saw.
    /// Errors: [`Error::Refused`] with `FactsMoved`, [`Error::RepositoryNotFound`].
    pub async fn authoritative_set(
        &self,
        repository: RepositoryId,
        storage: &Storage,
        expected: FactsVersion,
    ) -> Result<Epoch, Error> {
        self.must_be_abreast()?;
        let operator: Voter = self.voter().ok_or(Error::Stopped)?;
        self.moved(repository, || self.inner.store.authoritative_set(repository, storage, expected, &operator)).await
    }

    /// Replaces a repository's assignments if its facts are still at `expected`; empty: every configured storage.
    pub async fn assignments_replace(
        &self,
        repository: RepositoryId,
        expected: FactsVersion,
        assignments: &BTreeSet<Storage>,
    ) -> Result<(), Error> {
        self.moved(repository, || self.inner.store.assignments_replace(repository, expected, assignments)).await
    }

    /// The storages that should host a repository: those assigned that are configured here, and every configured one if
    /// none is. Errors: [`Error::VirtualStorageNotFound`], [`Error::RepositoryNotFound`], [`Error::StoreUnavailable`].
    pub async fn assignments(&self, target: &Target) -> Result<BTreeSet<Storage>, Error> {
        self.known(target)?;
        let facts = self.repository(target).await?.facts;
        let assigned = facts.assignments.into_iter().collect();
        Ok(assignment::hosts(&self.configured(&facts.virtual_storage), &assigned))
    }

    /// Sets how many storages should host a repository, and answers which. Grows with the primary first, then by lot;
    /// shrinks by lot, never the primary. Errors: [`Error::VirtualStorageNotFound`], [`Error::RepositoryNotFound`],
    /// [`Error::ReplicationFactor`], [`Error::Contended`]; nothing was changed then.
    pub async fn replication_factor_set(&self, target: &Target, factor: u32) -> Result<BTreeSet<Storage>, Error> {
        self.known(target)?;
        for _ in 0..ROUNDS_MAX {
            let facts = self.repository(target).await?.facts;
            let configured = self.configured(&facts.virtual_storage);
            let assigned = facts.assignments.iter().cloned().collect();
            let planned = assignment::plan(factor, &configured, &assigned, facts.primary.as_ref(), lot())?;
            match self.assignments_replace(facts.repository, facts.facts_version, &planned).await {
                Err(Error::Refused(Refused::FactsMoved)) => {}
                answer => return answer.map(|()| planned),
            }
        }
        Err(Error::Contended)
    }

    /// Counts all repositories by primary, and those that nobody could lead now, and tells the meter. It reads them all:
    /// call it once a minute or so, never on a scrape (Praefect's collectors did, and starved its health checks). However
    /// often it is called, one count runs at a time, for half a minute at most
    /// ([`COUNT_LIMIT`], whatever `request_timeout` is). Errors: [`Error::Busy`] while one runs; [`Error::StoreUnavailable`]
    /// and [`Error::Timeout`], after which the meter shows no numbers rather than old ones.
    pub async fn repositories_count(&self) -> Result<Vec<RepositoriesCount>, Error> {
        let Ok(_turn) = self.inner.counting.try_acquire() else { return Err(Error::Busy) };
        let consensus = self.health_consensus();
        let known = consensus.iter().flat_map(|consensus| &consensus.nodes);
        let healthy = known.filter(|(_, known)| known.verdict == Verdict::Healthy).map(|(node, _)| node.clone());
        let healthy: BTreeSet<NodeId> = healthy.collect();
        // A little more than the store itself allows, whose error says more.
        let limit = COUNT_LIMIT.saturating_add(Duration::from_secs(1));
        let counts = tokio::time::timeout(limit, self.inner.store.repositories_count(&healthy)).await;
        let counts = counts.map_err(|_| Error::Timeout(limit)).and_then(|counted| counted.map_err(Error::from));
        if let Err(error) = &counts {
            telemetry::counting_failed(error);
        }
        let nodes = self.nodes();
        let nodes = nodes.iter().map(NodeHandle::node);
        let each_has_a_primary =
            self.inner.config.borrow().failover.election_strategy == ElectionStrategy::PerRepository;
        self.inner.meter.repositories(nodes, counts.as_deref().ok(), each_has_a_primary);
        counts
    }

    /// The last changes of a repository's primary, newest first, each with why. At most `limit`, 1 to 1,000.
    pub async fn primary_history(&self, repository: RepositoryId, limit: u32) -> Result<Vec<PrimaryChange>, Error> {
        self.within(self.inner.store.primary_history(repository, limit.clamp(1, 1_000))).await
    }

    /// Whether this cluster takes operations without a fence: profile `praefect` alone.
    #[must_use]
    pub fn takes_unfenced(&self) -> bool {
        self.settings().policy == QuorumPolicy::Half
    }

    /// A virtual storage that is named must be configured here.
    pub(super) fn known(&self, target: &Target) -> Result<(), Error> {
        match target {
            Target::Path(named, _) if self.configured(named).is_empty() => {
                Err(Error::VirtualStorageNotFound(named.clone()))
            }
            Target::Path(..) | Target::Id(_) => Ok(()),
        }
    }

    /// The storages of a virtual storage that are configured here.
    pub(super) fn configured(&self, virtual_storage: &VirtualStorage) -> BTreeSet<Storage> {
        let config = self.config();
        let clusters = config.virtual_storages.iter().filter(|cluster| cluster.name == *virtual_storage);
        clusters.flat_map(|cluster| cluster.nodes.iter().map(|node| node.storage.clone())).collect()
    }

    /// One call of the store within the request's deadline.
    pub(super) async fn within<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, Error> {
        let limit = self.inner.request_timeout;
        tokio::time::timeout(limit, call).await.map_err(|_| Error::Timeout(limit))?.map_err(Error::from)
    }

    /// A change that may unfit a primary. Whoever made it does not wait to be told of it.
    async fn moved<T, Call>(&self, repository: RepositoryId, call: impl Fn() -> Call) -> Result<T, Error>
    where
        Call: Future<Output = Result<Outcome<T>, StoreError>>,
    {
        let done = self.done(call).await;
        // Whatever came of it: after a lost answer it may have been made.
        self.inner.primaries.forget_repository(repository);
        done
    }

    /// A change. What met another server than the recorded one has changed nothing but the era: it starts over.
    async fn done<T, Call>(&self, call: impl Fn() -> Call) -> Result<T, Error>
    where
        Call: Future<Output = Result<Outcome<T>, StoreError>>,
    {
        for _ in 0..ROUNDS_MAX {
            match self.within(call()).await? {
                Outcome::Done(done) => return Ok(done),
                Outcome::NotFound => return Err(Error::RepositoryNotFound),
                Outcome::Stale(current) => return Err(Error::StaleEpoch(current)),
                Outcome::EraChanged => {}
                Outcome::Refused(why) => return Err(Error::Refused(why)),
            }
        }
        Err(Error::Contended)
    }
}

/// A lot, for ties that do not matter.
pub(super) fn lot() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}
