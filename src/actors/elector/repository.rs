//! What is done about a repository once it is decided: the same, whoever decided it.

use super::asked::{BehindCell, abreast, commit, decision_id};
use crate::{
    core::{
        election::{Decision, ElectionFacts, NoCandidate, Primary, Reason, refusals, verdicts},
        ids::{Storage, Voter},
        settings::Settings,
    },
    error::Error,
    store::{CasOutcome, ElectionStore, Expected, Proposal},
    telemetry,
};

/// Carries a decision out. `None`: others were faster, or a new era has begun; the facts have to be read again.
pub(super) async fn settle(
    store: &dyn ElectionStore,
    facts: &ElectionFacts,
    settings: &Settings,
    (proposer, behind): (Voter, &BehindCell),
    lot: u128,
    decision: Decision,
) -> Result<Option<Primary>, Error> {
    match decision {
        Decision::Keep { storage, epoch } => Ok(Some(facts.led_by(storage, epoch))),
        Decision::NoCandidate(stands) => Err(no_candidate(stands)),
        Decision::Wait(why) => Err(Error::ElectionPending(why)),
        Decision::Elect(election) => {
            abreast(behind)?;
            let to = Some(election.to.clone());
            let proposal = proposal(facts, settings, proposer, lot, to, election.why, &election.equals)?;
            match commit(|| store.primary_cas(&proposal)).await? {
                CasOutcome::Won { epoch } => {
                    let elected = facts.led_by(election.to, Some(epoch));
                    telemetry::primary_changed(&elected, election.from.as_ref(), election.why);
                    Ok(Some(elected))
                }
                CasOutcome::Lost | CasOutcome::EraChanged => Ok(None),
            }
        }
        Decision::Demote { from, why } => {
            abreast(behind)?;
            let proposal = proposal(facts, settings, proposer, lot, None, why, &[])?;
            match commit(|| store.primary_cas(&proposal)).await? {
                CasOutcome::Won { .. } => {
                    telemetry::primary_demoted(facts.repository, &from, why);
                    Err(Error::NoPrimary)
                }
                CasOutcome::Lost | CasOutcome::EraChanged => Ok(None),
            }
        }
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
