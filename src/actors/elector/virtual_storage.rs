//! One primary for each virtual storage, in one row of the database (Praefect's `sql` elector).
//!
//! A repository follows: its own row, which is what fences its writes, is given the virtual storage's primary when somebody
//! first asks. In profile `praefect`, which fences nothing, it is not, and the answer has the virtual storage's epoch.
//!
//! Elected when somebody asks, as for a repository. Praefect checks on a timer instead, holding a transaction open while it
//! probes its nodes; here the votes are written by others, and the elector only reads them.

use super::{
    asked::{
        BehindCell, ConfiguredNodes, MAILBOX, Places, ROUNDS_MAX, abreast, commit, decision_id, found, nodes_of,
        proposer,
    },
    known::KnownPrimaries,
    repository::settle,
};
use crate::{
    core::{
        election::{
            NoCandidate, Primary, Reason, ShardDecision, ShardElection, ShardFacts, Target, decide_shard, follow,
            shard_refusals,
        },
        epoch::Epoch,
        ids::{ClusterId, Storage, SupervisorName, VirtualStorage, Voter},
        settings::{Profile, Settings},
        shard::Shard,
    },
    error::Error,
    messages::election::{GetPrimary, GetShard, PrimaryAnswer},
    store::{CasOutcome, ElectionStore, ShardExpected, ShardProposal, ShardStore},
    telemetry,
};
use actix::prelude::*;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// What a [`VirtualStorageElector`] is built from, as often as need be.
#[derive(Clone)]
pub struct VirtualStorageElectorConfig {
    /// The database.
    pub store: Arc<dyn ShardStore>,
    /// Where a repository's own row is, which follows.
    pub repositories: Arc<dyn ElectionStore>,
    /// The supervisor's name, under which it proposes.
    pub name: SupervisorName,
    /// The registration that may act, published by the HealthManager.
    pub voter: watch::Receiver<Option<Voter>>,
    /// What nodes know that the database does not, published by the [`EraKeeper`](super::super::EraKeeper): nobody is elected
    /// meanwhile.
    pub behind: BehindCell,
    /// The configured nodes; nobody else is elected.
    pub nodes: ConfiguredNodes,
    /// Whom the gauge shows and the log told.
    pub primaries: KnownPrimaries,
    /// How long one lookup may take, retries included.
    pub timeout: Duration,
    /// Draws the identity of a decision.
    pub lot: fn() -> u128,
}

/// The actor: one primary per virtual storage, the same for all supervisors.
pub struct VirtualStorageElector {
    config: Arc<VirtualStorageElectorConfig>,
    places: Places,
}

impl VirtualStorageElector {
    /// An elector without any state of its own.
    #[must_use]
    pub fn new(config: VirtualStorageElectorConfig) -> Self {
        Self { config: Arc::new(config), places: Places::new() }
    }
}

impl Actor for VirtualStorageElector {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<GetShard> for VirtualStorageElector {
    type Result = ResponseFuture<Result<Shard, Error>>;
    fn handle(&mut self, GetShard(virtual_storage): GetShard, _: &mut Context<Self>) -> Self::Result {
        let (config, places) = (Arc::clone(&self.config), self.places.clone());
        let lookup =
            async move { places.run(config.timeout, config.shard(&virtual_storage)).await.map(|(_, shard)| shard) };
        Box::pin(lookup)
    }
}

impl Handler<GetPrimary> for VirtualStorageElector {
    type Result = ResponseFuture<Result<PrimaryAnswer, Error>>;
    fn handle(&mut self, GetPrimary { target, .. }: GetPrimary, _: &mut Context<Self>) -> Self::Result {
        let (config, places) = (Arc::clone(&self.config), self.places.clone());
        Box::pin(async move {
            let primary = places.run(config.timeout, config.primary(&target)).await?;
            Ok(found(primary, &config.behind))
        })
    }
}

impl VirtualStorageElectorConfig {
    async fn primary(&self, target: &Target) -> Result<Primary, Error> {
        if let Target::Path(virtual_storage, _) = target {
            nodes_of(&self.nodes, virtual_storage)?;
        }
        for _ in 0..ROUNDS_MAX {
            let Some(read) = self.repositories.election_facts(target).await? else {
                return self.primary_of_nobody(target).await;
            };
            let (facts, settings) = (read.facts, read.settings.settings);
            let (_, shard) = self.shard(&facts.virtual_storage).await?;
            if settings.profile == Profile::Praefect {
                return Ok(facts.led_by(shard.primary, shard.epoch));
            }
            let proposer = proposer(&self.voter, &self.name);
            let decision = follow(&facts, &shard.primary, &settings, &proposer);
            let settled =
                settle(&*self.repositories, &facts, &settings, (proposer, &self.behind), (self.lot)(), decision)
                    .await?;
            if let Some(primary) = settled {
                return Ok(primary);
            }
        }
        Err(Error::Contended)
    }

    /// A path that nobody knows (yet): where its repository would be created. A number says nothing by itself.
    async fn primary_of_nobody(&self, target: &Target) -> Result<Primary, Error> {
        let Target::Path(virtual_storage, relative_path) = target else { return Err(Error::RepositoryNotFound) };
        let (cluster, shard) = self.shard(virtual_storage).await?;
        Ok(Primary {
            cluster,
            repository: None,
            virtual_storage: shard.virtual_storage,
            relative_path: relative_path.clone(),
            storage: shard.primary,
            epoch: shard.epoch,
        })
    }

    async fn shard(&self, virtual_storage: &VirtualStorage) -> Result<(ClusterId, Shard), Error> {
        let nodes = nodes_of(&self.nodes, virtual_storage)?;
        let mut lags = false;
        // One round more than for a repository: the first finds out whether there is anything to count.
        for _ in 0..=ROUNDS_MAX {
            let read = self.store.shard_facts(virtual_storage, lags).await?;
            let (facts, settings) = (read.facts, read.settings.settings);
            let proposer = proposer(&self.voter, &self.name);
            let shard = |storage, epoch| {
                (facts.cluster.clone(), Shard::new(virtual_storage.clone(), storage, nodes.clone(), epoch))
            };
            if let Some(stands) = &facts.recorded {
                let leads = (!stands.demoted).then_some(&stands.storage);
                self.primaries.hear(virtual_storage, &nodes, leads, stands.epoch);
            }
            match decide_shard(&facts, &nodes, &settings, &proposer) {
                ShardDecision::Keep { storage, epoch } => return Ok(shard(storage, epoch)),
                ShardDecision::NoCandidate(stands) => return Err(no_candidate(stands)),
                ShardDecision::Wait(why) => return Err(Error::ElectionPending(why)),
                ShardDecision::Count => lags = true,
                ShardDecision::Elect(election) => {
                    abreast(&self.behind)?;
                    let proposal = self.proposal(&facts, &settings, proposer, Change::Elect(&election))?;
                    if let CasOutcome::Won { epoch } = commit(|| self.store.shard_cas(&proposal)).await? {
                        telemetry::shard_elected(virtual_storage, &self.name, &election, epoch);
                        self.primaries.hear(virtual_storage, &nodes, Some(&election.to), Some(epoch));
                        return Ok(shard(election.to, Some(epoch)));
                    }
                }
                ShardDecision::Demote { from, why } => {
                    abreast(&self.behind)?;
                    let proposal = self.proposal(&facts, &settings, proposer, Change::Demote(why))?;
                    if let CasOutcome::Won { epoch } = commit(|| self.store.shard_cas(&proposal)).await? {
                        telemetry::shard_demoted(virtual_storage, &self.name, &from, why);
                        self.primaries.hear(virtual_storage, &nodes, None, Some(epoch));
                        return Err(Error::PrimaryNotHealthy { storage: from, epoch: Some(epoch) });
                    }
                }
            }
            // Read again: with the lags, the winner's row, or the same row in the era that has begun.
        }
        Err(Error::Contended)
    }

    fn proposal(
        &self,
        facts: &ShardFacts,
        settings: &Settings,
        proposer: Voter,
        change: Change<'_>,
    ) -> Result<ShardProposal, Error> {
        let nodes = nodes_of(&self.nodes, &facts.virtual_storage)?;
        let (to, why, election): (Option<&Storage>, Reason, Option<&ShardElection>) = match change {
            Change::Elect(election) => (Some(&election.to), election.why, Some(election)),
            Change::Demote(why) => (None, why, None),
        };
        let epoch: Option<Epoch> = facts.recorded.as_ref().and_then(|recorded| recorded.epoch);
        let evidence = serde_json::json!({
            "candidates": election.map(|election| &election.candidates),
            "fallback_choice": election.is_some_and(|election| election.fallback),
            "refused": shard_refusals(facts, &nodes, settings),
            "votes": facts.health.votes,
        });
        Ok(ShardProposal {
            decision: decision_id((self.lot)())?,
            virtual_storage: facts.virtual_storage.clone(),
            expected: ShardExpected { epoch, era: facts.era, at: facts.at },
            from: facts.recorded.as_ref().filter(|recorded| !recorded.demoted).map(|recorded| recorded.storage.clone()),
            to: to.cloned(),
            proposer,
            why: why.as_str().to_owned(),
            evidence: evidence.to_string(),
        })
    }
}

/// What is to be committed.
enum Change<'a> {
    Elect(&'a ShardElection),
    Demote(Reason),
}

fn no_candidate(stands: NoCandidate) -> Error {
    match stands {
        NoCandidate::NeverElected => Error::NoPrimary,
        NoCandidate::PrimaryNotHealthy { storage, epoch }
        | NoCandidate::PrimaryOutdated { storage, epoch }
        | NoCandidate::PrimaryMarked { storage, epoch } => Error::PrimaryNotHealthy { storage, epoch },
    }
}

impl std::fmt::Debug for VirtualStorageElector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtualStorageElector").field("name", &self.config.name).finish_non_exhaustive()
    }
}
impl std::fmt::Debug for VirtualStorageElectorConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtualStorageElectorConfig").field("name", &self.name).finish_non_exhaustive()
    }
}
