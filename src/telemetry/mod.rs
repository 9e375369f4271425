//! What a supervisor says of itself: every log line and every metric, once.
//!
//! **Log lines** go to `tracing`. INFO is a transition; a quiet cluster logs nothing. Where operators match on a text of
//! Praefect's, ours has the same message and fields.
//!
//! **Metrics** go to a [`Recorder`], which the embedder hands in as a [`Meter`] among the
//! [`Ports`](crate::Ports) (or with [`Supervisor::start_with`](crate::Supervisor::start_with)): an exporter of your
//! own takes four methods, and `prometheus` (feature `metrics`) is one. A global registry, as the exporters' own crates
//! offer it, was rejected: two supervisors fit in one process. What is measured is measured at the ports, around the
//! store and the probes, so that it is there under every profile and every elector (defect D); [`metrics`] lists it all.

mod failover;
pub mod metrics;
mod probe;
#[cfg(feature = "metrics")]
pub mod prometheus;
mod recorder;
mod store;

pub(crate) use probe::MeteredProbe;
pub use recorder::{Meter, Recorder};
pub(crate) use store::MeteredStore;

use crate::{
    config::ConfigError,
    core::{
        consensus::{Consensus, Opinion},
        election::{Primary, Reason, ShardElection},
        epoch::{Epoch, Era, Given},
        error_tracker::Traffic,
        evidence::{Evidence, Hard},
        ids::{NodeId, Storage, SupervisorName, VirtualStorage, Voter},
        monitor::Worry,
        quorum::Verdict,
        recusal::Distrust,
        reports::Behind,
        settling::{Ended, Progress},
    },
    store::StoreError,
};
use std::time::Duration;
use tracing::{debug, error, info, warn};

pub(crate) fn health_manager_started() {
    info!(component = "HealthManager", "health manager started");
}
pub(crate) fn health_manager_stopped() {
    info!(component = "HealthManager", "health manager stopped");
}

pub(crate) fn voting(voter: &Voter) {
    info!(supervisor.name = %voter.name, supervisor.incarnation = voter.incarnation.0, "supervisor registered");
}

pub(crate) fn worry(name: &SupervisorName, worry: Worry) {
    match worry {
        Worry::Lapsed => warn!(supervisor.name = %name, "supervisor was silent for too long and registers anew"),
        Worry::ClockStep { micros } => {
            warn!(supervisor.name = %name, step_us = micros, "the database's clock stepped; supervisor registers anew");
        }
        Worry::Superseded { by } => {
            error!(supervisor.name = %name, by = by.0, "a newer process has this supervisor's name; it stops voting");
        }
        Worry::NameInUse { held_by } => {
            error!(supervisor.name = %name, held_by = held_by.0, "another live process keeps this supervisor's name");
        }
    }
}

pub(crate) fn recused(name: &SupervisorName, reason: Option<Distrust>) {
    match reason {
        Some(reason) => {
            warn!(supervisor.name = %name, reason = reason.as_str(), "supervisor does not trust itself and abstains");
        }
        None => info!(supervisor.name = %name, "supervisor has voted anew and takes part again"),
    }
}

pub(crate) fn penalised(node: &NodeId) {
    info!(virtual_storage = %node.virtual_storage, storage = %node.storage, "node was deposed and is penalised in elections");
}

pub(crate) fn database_behind(now: Option<&Behind>) {
    match now {
        Some(Behind { reported, given }) => {
            let (virtual_storage, storage) = (&reported.node.virtual_storage, &reported.node.storage);
            let (epoch, given) = (reported.epoch, *given);
            error!(
                %virtual_storage, %storage, reported = %epoch, %given,
                "the database is behind its nodes; nothing is elected or acknowledged until the right backup is put in its \
                 place or it is repaired"
            );
        }
        None => info!("the database is not behind its nodes any more"),
    }
}
pub(crate) fn era_raised(before: Given, era: Era, why: &str) {
    warn!(before = %before, era = era.0, why, "a new era of epochs has begun");
}

pub(crate) fn supervisor_ignored(name: &str) {
    warn!(row = name, "a row of supervisors that this software cannot have written counts as nobody");
}

pub(crate) fn store_failed(error: &StoreError) {
    // The operator matches on Praefect's text; what failed stands in the fields.
    error!(error = %Causes(error), operation = error.op().as_str(), "checking health failed");
}
/// As [`store_failed`], of a database that said nothing at all.
pub(crate) fn store_silent(limit: Duration) {
    error!(error = %format_args!("no answer within {limit:?}"), "checking health failed");
}
pub(crate) fn store_answers_again() {
    info!("the database answers again");
}

pub(crate) fn counting_failed(error: &(dyn std::error::Error + 'static)) {
    let error = Causes(error);
    error!(component = "RepositoryStoreCollector", %error, "failed collecting unavailable repository count metric");
}

pub(crate) fn opinion_changed(node: &NodeId, opinion: Opinion, evidence: Evidence) {
    let (virtual_storage, storage) = (&node.virtual_storage, &node.storage);
    info!(%virtual_storage, %storage, opinion = opinion.as_str(), evidence = evidence.as_str(), "node health changed");
}

/// What a probe said that says something else than the one before. A node that answers that it does not serve is not a
/// failed check, as in Praefect: that it went down is told by `node health changed`.
pub(crate) fn probe_changed(node: &NodeId, evidence: Evidence) {
    let (virtual_storage, storage) = (&node.virtual_storage, &node.storage);
    match evidence {
        Evidence::Serving | Evidence::Graceful | Evidence::Hard(Hard::NotServing | Hard::ServiceUnknown) => {}
        // The probe was answered; its own lines tell of the traffic.
        Evidence::ErrorRate(_) => {}
        Evidence::Hard(_) | Evidence::Soft(_) | Evidence::Ours(_) | Evidence::Misconfigured(_) => {
            error!(%virtual_storage, %storage, error = evidence.as_str(), "failed checking node health");
        }
    }
}
pub(crate) fn traffic_tripped(node: &NodeId, kind: Traffic) {
    let (virtual_storage, storage) = (&node.virtual_storage, &node.storage);
    warn!(%virtual_storage, %storage, kind = kind.as_str(), "error threshold reached; the node is out for a while");
}
pub(crate) fn traffic_on_trial(node: &NodeId, kind: Traffic) {
    let (virtual_storage, storage) = (&node.virtual_storage, &node.storage);
    info!(%virtual_storage, %storage, kind = kind.as_str(), "the node serves and is let back on trial");
}

pub(crate) fn consensus_changed(consensus: &Consensus) {
    let of = |verdict| consensus.nodes.values().filter(|known| known.verdict == verdict).count();
    info!(
        revision = consensus.revision.0,
        healthy = of(Verdict::Healthy),
        unhealthy = of(Verdict::Unhealthy),
        undecided = of(Verdict::Undecided),
        "consensus changed"
    );
}

pub(crate) fn primary_changed(primary: &Primary, previous: Option<&Storage>, why: Reason) {
    info!(
        virtual_storage = %primary.virtual_storage,
        relative_path = %primary.relative_path,
        repository_id = primary.repository.map(|repository| repository.0),
        current_primary = %primary.storage,
        previous_primary = previous.map_or("", Storage::as_str),
        epoch = primary.epoch.map(|epoch| epoch.to_string()),
        why = why.as_str(),
        "primary node changed"
    );
}
pub(crate) fn primary_demoted(repository: crate::core::ids::RepositoryId, from: &Storage, why: Reason) {
    info!(repository_id = repository.0, primary = %from, why = why.as_str(), "demoting primary node");
}

pub(crate) fn settling_begins(node: &NodeId) {
    let (virtual_storage, storage) = (&node.virtual_storage, &node.storage);
    info!(%virtual_storage, %storage, "settling what a dead node led");
}
pub(crate) fn settling_ended(end: &Ended) {
    let (virtual_storage, storage) = (&end.node.virtual_storage, &end.node.storage);
    let Progress { settled, lost, without_candidate, unreadable, batches, rests: _ } = end.progress;
    let took_ms = u64::try_from(end.took.as_millis()).unwrap_or(u64::MAX);
    let outcome = if end.back { "the node is held down no longer" } else { "nothing is left to settle" };
    info!(
        %virtual_storage,
        %storage,
        settled,
        lost,
        without_candidate,
        unreadable,
        batches,
        took_ms,
        outcome,
        "settling what a dead node led has ended"
    );
}
pub(crate) fn settling_failed(node: &NodeId, error: &(dyn std::error::Error + 'static)) {
    let (virtual_storage, storage) = (&node.virtual_storage, &node.storage);
    warn!(%virtual_storage, %storage, error = %Causes(error), "settling what a dead node led failed; it is tried again");
}

pub(crate) fn settling_unreadable(node: &NodeId, repository: crate::core::ids::RepositoryId, why: &str) {
    let (virtual_storage, storage) = (&node.virtual_storage, &node.storage);
    warn!(
        repository_id = repository.0,
        %virtual_storage,
        %storage,
        error = why,
        "what a dead node led cannot be read: what is recorded of this repository is not allowed; it is left as it is"
    );
}

/// Praefect's spelling of the supervisor's name and of both primaries, in these three alone.
pub(crate) fn shard_elected(of: &VirtualStorage, by: &SupervisorName, election: &ShardElection, epoch: Epoch) {
    let candidates: Vec<&str> = election.candidates.keys().map(Storage::as_str).collect();
    info!(
        virtual_storage = %of,
        praefectName = %by,
        candidates = candidates.join(","),
        new_primary = %election.to,
        previous_primary = election.from.as_ref().map_or("", Storage::as_str),
        fallback_choice = election.fallback,
        %epoch,
        why = election.why.as_str(),
        "new primary selected"
    );
}
pub(crate) fn shard_demoted(of: &VirtualStorage, by: &SupervisorName, from: &Storage, why: Reason) {
    info!(virtual_storage = %of, praefectName = %by, primary = %from, why = why.as_str(), "demoting primary node");
}
pub(crate) fn shard_primary_changed(
    of: &VirtualStorage,
    heard_by: &SupervisorName,
    before: Option<&Storage>,
    now: Option<&Storage>,
) {
    let name = |primary: Option<&Storage>| primary.map_or(String::new(), ToString::to_string);
    let (before, now) = (name(before), name(now));
    info!(virtual_storage = %of, praefectName = %heard_by, oldPrimary = before, newPrimary = now, "primary node changed");
}

pub(crate) fn settings_differ(problems: &ConfigError) {
    warn!(differences = %problems, "the stored settings differ from the configuration; the stored ones hold");
}

/// What the guardian calls the HealthManager.
pub(crate) const HEALTH_MANAGER: &str = "health manager";

pub(crate) fn actor_died(name: &str, panicked: bool, restarts: u64, pause: Duration) {
    let pause_ms = pause.as_millis();
    if name == HEALTH_MANAGER {
        let error = if panicked { "it panicked" } else { "it stopped by itself" };
        error!(error, actor = name, panicked, restarts, pause_ms, "health manager exited");
    } else {
        error!(actor = name, panicked, restarts, pause_ms, "an actor ended and is rebuilt");
    }
}

pub(crate) fn subscriber_is_slow(skipped: u64) {
    debug!(skipped, "a subscriber missed intermediate revisions");
}

pub(crate) fn listening() {
    info!("listening for changes");
}
pub(crate) fn listening_interrupted(error: &StoreError) {
    // Praefect's text, on which operators match.
    warn!(error = %Causes(error), "listening was interrupted");
}
pub(crate) fn polling(why: &str, interval: Duration) {
    info!(why, interval_ms = interval.as_millis(), "polling for changes instead of listening");
}

/// An error with everything beneath it, in one line.
pub(crate) struct Causes<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
