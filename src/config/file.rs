//! The file's keys, one by one.

use super::{Config, NodeConfig, Problem, VirtualStorageConfig, reader::Reader};
use crate::core::settings::{Profile, Settings, WithoutCandidate};

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
    feed(&mut config, file.section("feed"));
    consensus(&mut config.settings, file.section("consensus"));
    config.virtual_storages = file.each("virtual_storage", |cluster| {
        let name = required(cluster, "name");
        let nodes = cluster.each("node", |node| {
            let (storage, address) = (required(node, "storage"), required(node, "address"));
            Some(NodeConfig { storage: storage?, address: address? })
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
    set(&mut health.thresholds.window, section.number("window", 1..=1_000));
    set(&mut health.connect_timeout, section.duration("connect_timeout"));
    set(&mut health.keepalive, section.duration("keepalive"));
    health.tls_ca = section.text("tls_ca").map(Into::into);
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
