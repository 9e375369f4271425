//! Answers "who is primary?", and makes the change that is due first.
//!
//! Each lookup is its own bounded future, not a turn of the actor: one slow repository delays no other, and no lookup
//! waits behind a health report. It rests on facts read from the database at that moment, never on what arrived in
//! its mailbox before, so a flooded elector still acts on the newest consensus (D18).

use crate::{
    core::{
        election::{Decision, ElectionFacts, NoCandidate, Primary, Reason, Target, decide, refusals, verdicts},
        ids::{DecisionId, Incarnation, Storage, SupervisorName, VirtualStorage, Voter},
        settings::Settings,
    },
    error::Error,
    messages::election::GetPrimary,
    store::{CasOutcome, ElectionStore, Expected, Proposal, StoreError},
    telemetry,
};
use actix::prelude::*;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, watch};

/// How often facts are read again after others moved them, before the caller hears `Contended`.
const ROUNDS_MAX: u32 = 3;
/// Lookups under way at once. More would only queue at the store's pool, where nobody could refuse them.
const LOOKUPS_MAX: usize = 1_024;
/// Lookups that may wait in the mailbox; their futures leave it at once.
const MAILBOX: usize = 1_024;

/// What an elector is built from, as often as need be.
#[derive(Clone)]
pub struct ElectorConfig {
    /// The database.
    pub store: Arc<dyn ElectionStore>,
    /// The supervisor's name, under which it proposes.
    pub name: SupervisorName,
    /// The registration that may act, published by the HealthManager.
    pub voter: watch::Receiver<Option<Voter>>,
    /// The virtual storages that are configured here; `None`: any.
    pub virtual_storages: Option<BTreeSet<VirtualStorage>>,
    /// How long one lookup may take, retries included.
    pub timeout: Duration,
    /// Draws the seed that breaks ties, and the identity of a decision.
    pub lot: fn() -> u128,
}

impl ElectorConfig {
    /// A lot drawn from the system's randomness.
    #[must_use]
    pub fn random_lot() -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }
}

/// The actor: one primary per repository, elected when somebody asks and the recorded one may not stay.
pub struct PerRepositoryElector {
    config: Arc<ElectorConfig>,
    places: Arc<Semaphore>,
}

impl PerRepositoryElector {
    /// An elector without any state of its own.
    #[must_use]
    pub fn new(config: ElectorConfig) -> Self {
        Self { config: Arc::new(config), places: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Actor for PerRepositoryElector {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<GetPrimary> for PerRepositoryElector {
    type Result = ResponseFuture<Result<Primary, Error>>;
    fn handle(&mut self, GetPrimary(target): GetPrimary, _: &mut Context<Self>) -> Self::Result {
        let (config, place) = (Arc::clone(&self.config), Arc::clone(&self.places).try_acquire_owned());
        Box::pin(async move {
            let _place = place.map_err(|_| Error::Busy)?;
            let limit = config.timeout;
            tokio::time::timeout(limit, config.primary(&target)).await.unwrap_or(Err(Error::Timeout(limit)))
        })
    }
}

impl ElectorConfig {
    async fn primary(&self, target: &Target) -> Result<Primary, Error> {
        if let (Target::Path(virtual_storage, _), Some(known)) = (target, &self.virtual_storages)
            && !known.contains(virtual_storage)
        {
            return Err(Error::VirtualStorageNotFound(virtual_storage.clone()));
        }
        for _ in 0..ROUNDS_MAX {
            let Some(read) = self.store.election_facts(target).await? else { return Err(Error::RepositoryNotFound) };
            let (facts, settings) = (read.facts, read.settings.settings);
            // Without a registration it may still answer; what is due has to wait.
            let voter = self.voter.borrow().clone();
            let proposer = voter.unwrap_or_else(|| Voter { name: self.name.clone(), incarnation: Incarnation(0) });
            let lot = (self.lot)();
            // The lot's lower half is as random as the whole.
            let seed = u64::from_be_bytes(lot.to_be_bytes()[8..].try_into().unwrap_or_default());
            match decide(&facts, &settings, &proposer, seed) {
                Decision::Keep { storage, epoch } => return Ok(primary(&facts, storage, epoch)),
                Decision::NoCandidate(stands) => return Err(no_candidate(stands)),
                Decision::Wait(why) => return Err(Error::ElectionPending(why)),
                Decision::Elect(election) => {
                    let to = Some(election.to.clone());
                    let proposal = proposal(&facts, &settings, proposer, lot, to, election.why, &election.equals)?;
                    match self.commit(&proposal).await? {
                        CasOutcome::Won { epoch } => {
                            let elected = primary(&facts, election.to, Some(epoch));
                            telemetry::primary_changed(&elected, election.from.as_ref(), election.why);
                            return Ok(elected);
                        }
                        // Read again: the winner's row, or the same row in the era that has begun.
                        CasOutcome::Lost | CasOutcome::EraChanged => {}
                    }
                }
                Decision::Demote { from, why } => {
                    let proposal = proposal(&facts, &settings, proposer, lot, None, why, &[])?;
                    match self.commit(&proposal).await? {
                        CasOutcome::Won { .. } => {
                            telemetry::primary_demoted(facts.repository, &from, why);
                            return Err(Error::NoPrimary);
                        }
                        // Read again: the winner's row, or the same row in the era that has begun.
                        CasOutcome::Lost | CasOutcome::EraChanged => {}
                    }
                }
            }
        }
        Err(Error::Contended)
    }

    /// Commits a proposal. An answer that was lost is asked for again under the same decision, which finds its own
    /// commit if there was one (D23).
    async fn commit(&self, proposal: &Proposal) -> Result<CasOutcome, StoreError> {
        match self.store.primary_cas(proposal).await {
            Err(error) if error.is_transient() => self.store.primary_cas(proposal).await,
            answer => answer,
        }
    }
}

fn primary(facts: &ElectionFacts, storage: Storage, epoch: Option<crate::core::epoch::Epoch>) -> Primary {
    Primary {
        cluster: facts.cluster.clone(),
        repository: facts.repository,
        virtual_storage: facts.virtual_storage.clone(),
        relative_path: facts.relative_path.clone(),
        storage,
        epoch,
    }
}

fn no_candidate(stands: NoCandidate) -> Error {
    match stands {
        NoCandidate::NeverElected => Error::NoPrimary,
        NoCandidate::PrimaryNotHealthy { storage, epoch } => Error::PrimaryNotHealthy { storage, epoch },
        NoCandidate::PrimaryOutdated { storage, epoch } | NoCandidate::PrimaryMarked { storage, epoch } => {
            Error::PrimaryOutdated { storage, epoch }
        }
    }
}

fn proposal(
    facts: &ElectionFacts,
    settings: &Settings,
    proposer: Voter,
    lot: u128,
    to: Option<Storage>,
    why: Reason,
    equals: &[Storage],
) -> Result<Proposal, Error> {
    let decision = DecisionId::new(uuid::Uuid::from_u128(lot).to_string()).map_err(|_| Error::Stopped)?;
    let evidence = serde_json::json!({
        "generation": facts.generation,
        "candidates": equals,
        "refused": refusals(facts, settings),
        "verdicts": verdicts(facts, settings),
        "votes": facts.votes,
    });
    Ok(Proposal {
        decision,
        repository: facts.repository,
        virtual_storage: facts.virtual_storage.clone(),
        from: facts.primary.clone(),
        expected: Expected { epoch: facts.epoch, era: facts.era, facts_version: facts.facts_version, at: facts.at },
        to,
        proposer,
        why: why.as_str().to_owned(),
        evidence: evidence.to_string(),
    })
}

impl std::fmt::Debug for PerRepositoryElector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PerRepositoryElector").field("name", &self.config.name).finish_non_exhaustive()
    }
}
impl std::fmt::Debug for ElectorConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ElectorConfig").field("name", &self.name).finish_non_exhaustive()
    }
}
