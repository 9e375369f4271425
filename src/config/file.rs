//! The file's keys, one by one.

use super::{Config, ElectionStrategy, HealthConfig, NodeConfig, Problem, VirtualStorageConfig, reader::Reader};
use crate::core::{
    error_tracker::{ErrorLimits, THRESHOLD_MAX},
    settings::{Profile, Settings, WithoutCandidate},
};

/// Reads a file's text. What is missing or wrong keeps its default; what is wrong is a problem.
pub(super) fn read(text: &str, problems: &mut Vec<Problem>) -> Config {
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => {
            // Its own text quotes the line, and the line may hold the database's password.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count().saturating_add(1);
            problems.push(Problem::new("(file)", format!("line {line}: {}", error.message())));
            return Config::new(Profile::Default, "");
        }
    };
    let mut file = Reader::new("", table, problems);
    let profiles = [Profile::Default, Profile::Lan, Profile::Praefect].map(|profile| (profile.as_str(), profile));
    let profile = file.choice("profile", &profiles).unwrap_or_default();
    let mut config = Config::new(profile, "");
    config.name = file.parsed("name");
    config.listen = file.text("listen");
    set(&mut config.heartbeat, file.duration("heartbeat"));
    set(&mut config.start_timeout, file.duration("start_timeout"));
    set(&mut config.request_timeout, file.duration("request_timeout"));
    database(&mut config, file.section("database"));
    health(&mut config, file.section("health"));
    failover(&mut config, file.section("failover"));
    feed(&mut config, file.section("feed"));
    consensus(&mut config.settings, file.section("consensus"));
    config.virtual_storages = file.each("virtual_storage", |cluster| {
        let name = required(cluster, "name");
        let nodes = cluster.each("node", |node| {
            let (storage, address) = (required(node, "storage"), required(node, "address"));
            let token = node.secret("token");
            Some(NodeConfig { storage: storage?, address: address?, token })
        });
        Some(VirtualStorageConfig { name: name?, nodes })
    });
    file.finish();
    config
}

fn database(config: &mut Config, mut section: Reader<'_>) {
    match section.text("url") {
        Some(url) => config.database.url = super::DatabaseUrl::new(url),
        None => section.problem("url", "is missing: `sqlite:PATH` or `postgres://user:password@host/name`"),
    }
    set(&mut config.database.migrate, section.flag("migrate"));
    set(&mut config.database.pool_size, section.number("pool_size", 1..=1_000));
    set(&mut config.database.session_pooled, section.flag("session_pooled"));
    section.finish();
}

fn health(config: &mut Config, mut section: Reader<'_>) {
    let health = &mut config.health;
    set(&mut health.interval, section.duration("interval"));
    set(&mut health.timeout, section.duration("timeout"));
    set(&mut health.thresholds.fall, section.number("fall", 1..=1_000));
    set(&mut health.thresholds.rise, section.number("rise", 1..=1_000));
    set(&mut health.thresholds.first, section.number("first", 1..=1_000));
    set(&mut health.thresholds.window, section.number("window", 1..=1_000));
    set(&mut health.connect_timeout, section.duration("connect_timeout"));
    set(&mut health.keepalive, section.duration("keepalive"));
    set(&mut health.keepalive_timeout, section.duration("keepalive_timeout"));
    set(&mut health.reconnect_pause_max, section.duration("reconnect_pause_max"));
    set(&mut health.dns_refresh, section.duration("dns_refresh"));
    health.tls_ca = section.text("tls_ca").map(Into::into);
    health.tls_cert = section.text("tls_cert").map(Into::into);
    health.tls_key = section.text("tls_key").map(Into::into);
    health.tls_server_name = section.text("tls_server_name");
    section.finish();
}

/// All three of Praefect's keys or none; zero is none, as there.
fn errors(health: &mut HealthConfig, section: &mut Reader<'_>) {
    const KEYS: [&str; 3] = ["error_threshold_window", "read_error_threshold_count", "write_error_threshold_count"];
    let [window_key, reads_key, writes_key] = KEYS;
    let window = section.duration(window_key).filter(|window| !window.is_zero());
    let mut count = |key| section.number(key, 0..=THRESHOLD_MAX).filter(|count| *count > 0);
    let (reads, writes) = (count(reads_key), count(writes_key));
    let cool_down = section.duration("error_cool_down");
    match (window, reads, writes) {
        (Some(window), Some(reads), Some(writes)) => {
            health.errors = Some(ErrorLimits { window, reads, writes, cool_down: cool_down.unwrap_or(window) });
        }
        (None, None, None) => {
            if let Some(cool_down) = cool_down {
                let what = format!("{cool_down:?} is for nothing: {} are not set", KEYS.join(", "));
                section.problem("error_cool_down", what);
            }
        }
        (window, reads, writes) => {
            for (key, missing) in KEYS.into_iter().zip([window.is_none(), reads.is_none(), writes.is_none()]) {
                if missing {
                    let what = format!("is missing or 0: errors are counted only if {} are all set", KEYS.join(", "));
                    section.problem(key, what);
                }
            }
        }
    }
}

fn failover(config: &mut Config, mut section: Reader<'_>) {
    set(&mut config.failover.enabled, section.flag("enabled"));
    let strategies = [ElectionStrategy::PerRepository, ElectionStrategy::Sql, ElectionStrategy::Local];
    let choices = strategies.map(|strategy| (strategy.as_str(), strategy));
    set(&mut config.failover.election_strategy, section.choice("election_strategy", &choices));
    errors(&mut config.health, &mut section);
    section.finish();
}

fn feed(config: &mut Config, mut section: Reader<'_>) {
    set(&mut config.feed.ttl, section.duration("ttl"));
    set(&mut config.feed.check, section.duration("check"));
    set(&mut config.feed.poll, section.duration("poll"));
    set(&mut config.feed.entries, section.number("entries", 0..=10_000_000));
    section.finish();
}

fn consensus(settings: &mut Settings, mut section: Reader<'_>) {
    settings.expected_supervisors = section.number("expected_supervisors", 1..=1_000);
    set(&mut settings.voter_ttl, section.duration("voter_ttl"));
    set(&mut settings.vote_ttl, section.duration("vote_ttl"));
    set(&mut settings.decision_ttl, section.duration("decision_ttl"));
    let choices = [("keep", WithoutCandidate::Keep), ("demote", WithoutCandidate::Demote)];
    set(&mut settings.without_candidate, section.choice("without_candidate", &choices));
    set(&mut settings.praefect_notifications, section.flag("praefect_notifications"));
    section.finish();
}

fn required<T: std::str::FromStr<Err: std::fmt::Display>>(reader: &mut Reader<'_>, key: &'static str) -> Option<T> {
    let missing = !reader.has(key);
    if missing {
        reader.problem(key, "is missing");
    }
    reader.parsed(key)
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}
