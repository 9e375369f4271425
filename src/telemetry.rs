//! Every line that is logged, once. INFO is a transition; a quiet cluster logs nothing.

use crate::{
    config::ConfigError,
    core::{
        consensus::{Consensus, Opinion},
        election::{Primary, Reason},
        evidence::Evidence,
        ids::{NodeId, Storage, SupervisorName, Voter},
        monitor::Worry,
        quorum::Verdict,
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

pub(crate) fn supervisor_ignored(name: &str) {
    warn!(row = name, "a row of supervisors that this software cannot have written counts as nobody");
}

pub(crate) fn store_failed(error: &StoreError) {
    // The operator matches on Praefect's text; what failed stands in the fields.
    error!(error = %Causes(error), operation = error.op().as_str(), "checking health failed");
}
pub(crate) fn store_answers_again() {
    info!("the database answers again");
}

pub(crate) fn opinion_changed(node: &NodeId, opinion: Opinion, evidence: Evidence) {
    let (virtual_storage, storage) = (&node.virtual_storage, &node.storage);
    info!(%virtual_storage, %storage, opinion = opinion.as_str(), evidence = evidence.as_str(), "node health changed");
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
        repository_id = primary.repository.0,
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

pub(crate) fn settings_differ(problems: &ConfigError) {
    warn!(differences = %problems, "the stored settings differ from the configuration; the stored ones hold");
}

pub(crate) fn actor_died(name: &str, panicked: bool, restarts: u64, pause: Duration) {
    error!(actor = name, panicked, restarts, pause_ms = pause.as_millis(), "an actor ended and is rebuilt");
}

pub(crate) fn subscriber_is_slow(skipped: u64) {
    debug!(skipped, "a subscriber missed intermediate revisions");
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
