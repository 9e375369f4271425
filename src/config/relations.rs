//! The relations between values that must hold, each told with both values.

use super::{
    Config, Problem,
    table::{Draft, FILE},
};
use crate::core::{error_tracker::ErrorLimits, settings::Profile};
use std::{collections::BTreeSet, time::Duration};

/// Everything that is wrong with a configuration, whoever made it.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    keys(config, &mut found);
    times(config, &mut found);
    database(config, &mut found);
    errors(config, &mut found);
    identity(config, &mut found);
    clusters(config, &mut found);
    if config.name.is_none() && config.listen.is_none() {
        found.push(Problem::new("name", "is missing: without a listen address a supervisor needs a name of its own"));
    }
    if config.listen.as_deref().is_some_and(str::is_empty) {
        found.push(Problem::new("listen", "\"\" is not allowed: it must be an address such as \"10.0.0.1:2305\""));
    }
    found.extend(config.settings.problems().into_iter().map(|what| Problem::new("consensus", what)));
    found
}

/// Each value within its own range, and none that nothing here would look at.
fn keys(config: &Config, found: &mut Vec<Problem>) {
    let rounds = config.settings.profile == Profile::Praefect;
    let (mut draft, mut usual) = (Draft::of(config.clone()), Draft::of(Config::new(config.settings.profile, "")));
    // The stored settings check themselves.
    for key in FILE.iter().filter(|key| !key.path.starts_with("consensus.")) {
        if let Some(what) = key.slot.problem(&mut draft) {
            found.push(Problem::new(key.path, what));
        } else if rounds && !key.in_rounds && key.slot.value(&mut draft) != key.slot.value(&mut usual) {
            let value = key.slot.value(&mut draft);
            let what = format!("{value} has no effect in profile praefect, which works in rounds: leave it out");
            found.push(Problem::new(key.path, what));
        }
    }
}

fn database(config: &Config, found: &mut Vec<Problem>) {
    let database = &config.database;
    if !["sqlite", "postgres", "postgresql"].contains(&database.url.scheme()) && !database.url.expose().is_empty() {
        let scheme = database.url.scheme();
        found.push(Problem::new(
            "database.url",
            format!("scheme {scheme:?} is not allowed: it must be `sqlite:` or `postgres://`"),
        ));
    }
    let Some(session) = &database.session_pooled else { return };
    if !database.url.is_postgres() || !session.is_postgres() {
        let what = "is not allowed: only a PostgreSQL database stands behind a pooler, and only one reaches past it";
        found.push(Problem::new("database.session_pooled", what));
    }
}

fn times(config: &Config, found: &mut Vec<Problem>) {
    let health = &config.health;
    let settings = &config.settings;
    if config.feed.failsafe_ttl < config.feed.ttl {
        let what = format!(
            "{:?} must not be below feed.ttl = {:?}: what is believed while the database answers is believed when it does not",
            config.feed.failsafe_ttl, config.feed.ttl
        );
        found.push(Problem::new("feed.failsafe_ttl", what));
    }
    let mut below = |key: &str, value: Duration, limit_key: &str, limit: Duration, why: &str| {
        if value >= limit {
            found.push(Problem::new(key, format!("{value:?} must be below {limit_key} = {limit:?}: {why}")));
        }
    };
    for (key, value) in [("feed.check × 2", config.feed.check), ("feed.poll × 2", config.feed.poll)] {
        let twice = value.saturating_mul(2);
        below(key, twice, "feed.ttl", config.feed.ttl, "one lost answer must not make the memory useless");
    }
    let praefect = settings.profile == Profile::Praefect;
    below(
        "health.timeout",
        health.timeout,
        "consensus.vote_ttl",
        settings.vote_ttl,
        "a probe must end before the vote that it renews does",
    );
    if !praefect {
        let beats = config.heartbeat.saturating_mul(3);
        below(
            "heartbeat × 3",
            beats,
            "consensus.voter_ttl",
            settings.voter_ttl,
            "two lost heartbeats must not be a death",
        );
        let silence = health.timeout.saturating_mul(health.thresholds.fall);
        below(
            "health.timeout × health.fall",
            silence,
            "consensus.voter_ttl",
            settings.voter_ttl,
            "a silent node must be voted down before its watcher could be",
        );
        below(
            "health.restart_grace",
            health.restart_grace,
            "consensus.voter_ttl",
            settings.voter_ttl,
            "a dead node must be voted down before its watcher could be",
        );
        below(
            "health.stall_limit",
            health.stall_limit,
            "consensus.voter_ttl",
            settings.voter_ttl,
            "who stood still for that long is dead to the others, not abstaining",
        );
        below(
            "health.interval",
            health.interval,
            "consensus.vote_ttl",
            settings.vote_ttl,
            "a node must be looked at before its vote is retracted",
        );
    }
    if let Some(floor) = health.timeout_floor.filter(|floor| *floor > health.timeout) {
        let what = format!("{floor:?} must not be above health.timeout = {:?}: that is the ceiling", health.timeout);
        found.push(Problem::new("health.timeout_floor", what));
    }
    let thresholds = &health.thresholds;
    for (key, value) in
        [("health.fall", thresholds.fall), ("health.rise", thresholds.rise), ("health.first", thresholds.first)]
    {
        if value > thresholds.window {
            let window = health.thresholds.window;
            found.push(Problem::new(key, format!("{value} is not allowed: it must be 1 to health.window = {window}")));
        }
    }
}

fn errors(config: &Config, found: &mut Vec<Problem>) {
    for (key, what) in config.health.errors.iter().flat_map(ErrorLimits::problems) {
        let key = format!("failover.{key}");
        if !found.iter().any(|problem| problem.key == key) {
            found.push(Problem::new(key, what));
        }
    }
}

/// A certificate proves nothing without its key, and a key without a certificate is never asked for.
fn identity(config: &Config, found: &mut Vec<Problem>) {
    let health = &config.health;
    for (key, path, other_key, other) in [
        ("health.tls_cert", &health.tls_cert, "health.tls_key", &health.tls_key),
        ("health.tls_key", &health.tls_key, "health.tls_cert", &health.tls_cert),
    ] {
        if let (None, Some(other)) = (path, other) {
            found.push(Problem::new(key, format!("is missing: {other_key} = {other:?} needs it")));
        }
    }
}

fn clusters(config: &Config, found: &mut Vec<Problem>) {
    if config.virtual_storages.is_empty() {
        found.push(Problem::new("virtual_storage", "none is configured: at least one is needed"));
    }
    let mut names = BTreeSet::new();
    for (index, cluster) in config.virtual_storages.iter().enumerate() {
        let key = format!("virtual_storage[{index}]");
        if !names.insert(&cluster.name) {
            found.push(Problem::new(
                format!("{key}.name"),
                format!("{:?} is not allowed: it is named twice", cluster.name),
            ));
        }
        if cluster.nodes.is_empty() {
            let what = format!("virtual storage {:?} has no nodes: at least one is needed", cluster.name);
            found.push(Problem::new(format!("{key}.node"), what));
        }
        let (factor, many) = (cluster.default_replication_factor, cluster.nodes.len());
        if usize::try_from(factor).unwrap_or(usize::MAX) > many {
            let what = format!(
                "virtual storage {:?} has a default replication factor ({factor}) which is higher than the number of \
                 storages ({many})",
                cluster.name
            );
            found.push(Problem::new(format!("{key}.default_replication_factor"), what));
        }
        let mut storages = BTreeSet::new();
        for (number, node) in cluster.nodes.iter().enumerate() {
            if !storages.insert(&node.storage) {
                found.push(Problem::new(
                    format!("{key}.node[{number}].storage"),
                    format!("{:?} is not allowed: virtual storage {:?} names it twice", node.storage, cluster.name),
                ));
            }
        }
    }
}
