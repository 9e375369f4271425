//! One primary for each repository, elected when somebody asks and the recorded one may not stay.
//!
//! Each lookup is its own bounded future, not a turn of the actor: one slow repository delays no other, and no lookup
//! waits behind a health report. It rests on facts read from the database at that moment, never on what arrived in
//! its mailbox before, so a flooded elector still acts on the newest consensus (D18).

use super::asked::{MAILBOX, Places, ROUNDS_MAX, commit, decision_id, proposer};
use crate::{
    core::{
        election::{
            Decision, ElectionFacts, NoCandidate, Primary, Reason, Target, decide, refusals, standing, verdicts,
        },
        epoch::Epoch,
        ids::{Storage, SupervisorName, VirtualStorage, Voter},
        settings::Settings,
        shard::Shard,
    },
    error::Error,
    messages::election::{GetPrimary, GetShard},
    store::{CasOutcome, ElectionStore, Expected, Proposal},
    telemetry,
};
use actix::prelude::*;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::watch;

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
    places: Places,
    /// Whether a recorded primary may be changed.
    elects: bool,
}

impl PerRepositoryElector {
    /// An elector without any state of its own.
    #[must_use]
    pub fn new(config: ElectorConfig) -> Self {
        Self { config: Arc::new(config), places: Places::new(), elects: true }
    }

    /// An elector that never elects (`failover.enabled = false`): it answers the recorded primary while that is fit, and
    /// else what is true of it. Primaries come from a repository's creation and from operators.
    #[must_use]
    pub fn frozen(config: ElectorConfig) -> Self {
        Self { elects: false, ..Self::new(config) }
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
        let (config, places, elects) = (Arc::clone(&self.config), self.places.clone(), self.elects);
        Box::pin(async move { places.run(config.timeout, config.primary(&target, elects)).await })
    }
}

impl Handler<GetShard> for PerRepositoryElector {
    type Result = Result<Shard, Error>;
    fn handle(&mut self, GetShard(virtual_storage): GetShard, _: &mut Context<Self>) -> Self::Result {
        Err(if self.config.knows(&virtual_storage) {
            Error::PrimaryPerRepository(virtual_storage)
        } else {
            Error::VirtualStorageNotFound(virtual_storage)
        })
    }
}

impl ElectorConfig {
    fn knows(&self, virtual_storage: &VirtualStorage) -> bool {
        self.virtual_storages.as_ref().is_none_or(|known| known.contains(virtual_storage))
    }

    async fn primary(&self, target: &Target, elects: bool) -> Result<Primary, Error> {
        if let Target::Path(virtual_storage, _) = target
            && !self.knows(virtual_storage)
        {
            return Err(Error::VirtualStorageNotFound(virtual_storage.clone()));
        }
        for _ in 0..ROUNDS_MAX {
            let Some(read) = self.store.election_facts(target).await? else { return Err(Error::RepositoryNotFound) };
            let (facts, settings) = (read.facts, read.settings.settings);
            let proposer = proposer(&self.voter, &self.name);
            let lot = (self.lot)();
            // The lot's lower half is as random as the whole.
            let seed = u64::from_be_bytes(lot.to_be_bytes()[8..].try_into().unwrap_or_default());
            let decision =
                if elects { decide(&facts, &settings, &proposer, seed) } else { standing(&facts, &settings) };
            match decision {
                Decision::Keep { storage, epoch } => return Ok(primary(&facts, storage, epoch)),
                Decision::NoCandidate(stands) => return Err(no_candidate(stands)),
                Decision::Wait(why) => return Err(Error::ElectionPending(why)),
                Decision::Elect(election) => {
                    let to = Some(election.to.clone());
                    let proposal = proposal(&facts, &settings, proposer, lot, to, election.why, &election.equals)?;
                    match commit(|| self.store.primary_cas(&proposal)).await? {
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
                    match commit(|| self.store.primary_cas(&proposal)).await? {
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
}

fn primary(facts: &ElectionFacts, storage: Storage, epoch: Option<Epoch>) -> Primary {
    Primary {
        cluster: facts.cluster.clone(),
        repository: Some(facts.repository),
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
    let decision = decision_id(lot)?;
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
