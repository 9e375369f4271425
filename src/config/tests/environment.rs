//! What the environment says over the file: for every key there is, and with every mistake told.

use super::{MINIMAL, every_key, variables};
use crate::config::*;
use std::collections::BTreeSet;

#[test]
fn the_environment_overrides_the_file_and_adds_to_its_arrays() {
    let config = Config::from_sources(
        MINIMAL,
        variables(&[
            ("QUORATE_VIRTUAL_STORAGE__0__NODE__1__ADDRESS", "tcp://10.0.0.2:2305"),
            ("QUORATE_VIRTUAL_STORAGE__0__NODE__1__STORAGE", "g2"),
            ("QUORATE_VIRTUAL_STORAGE__0__NODE__0__TOKEN", "hunter2"),
            ("QUORATE_VIRTUAL_STORAGE__0__DEFAULT_REPLICATION_FACTOR", "2"),
            ("QUORATE_DATABASE__URL", "postgres://u@h/d"),
            ("QUORATE_DATABASE__PASSWORD", "p@ss:w/rd"),
            ("QUORATE_DATABASE__MIGRATE", "false"),
            ("QUORATE_HEALTH__INTERVAL", "500ms"),
            ("QUORATE_PROFILE", "lan"),
            ("PATH", "/bin"),
        ]),
    )
    .unwrap();
    assert_eq!(config.database.url.expose(), "postgres://u:p%40ss%3Aw%2Frd@h/d");
    assert!(!config.database.migrate);
    assert_eq!(config.health.interval, Duration::from_millis(500));
    assert_eq!(config.heartbeat, Duration::from_millis(500), "the profile's defaults");
    let cluster = &config.virtual_storages[0];
    assert_eq!(cluster.default_replication_factor, 2);
    let addresses: Vec<&str> = cluster.nodes.iter().map(|node| node.address.as_str()).collect();
    assert_eq!(addresses, ["tcp://127.0.0.1:2305", "tcp://10.0.0.2:2305"]);
    assert_eq!(cluster.nodes[0].token.as_ref().map(Secret::expose), Some("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
}

#[test]
fn an_error_names_the_variable_that_caused_it() {
    let error = Config::from_sources(
        MINIMAL,
        variables(&[
            ("QUORATE_HEALTH__INTERVALL", "1s"),
            ("QUORATE_HEALTH_INTERVAL", "1s"),
            ("QUORATE_health__interval", "1s"),
            ("QUORATE_VIRTUAL_STORAGE__7__NAME", "x"),
            ("QUORATE_DATABASE__POOL_SIZE", "many"),
            ("QUORATE_DATABASE__MIGRATE", "yes"),
            ("QUORATE_HEALTH__TIMEOUT", "6s"),
            ("QUORATE_DATABASE__PASSWORD", ""),
        ]),
    )
    .unwrap_err();
    let shown = error.to_string();
    for line in [
        "QUORATE_HEALTH__INTERVALL: fits no key",
        "QUORATE_HEALTH_INTERVAL: fits no key",
        "QUORATE_health__interval: fits no key",
        "QUORATE_VIRTUAL_STORAGE__7__NAME: entry 7 of virtual_storage has no entry before it: there are 1",
        "from 1 to 1000 (QUORATE_DATABASE__POOL_SIZE sets database.pool_size)",
        "must be true or false (QUORATE_DATABASE__MIGRATE sets database.migrate)",
        "6s must be below consensus.vote_ttl = 5s",
        "(QUORATE_HEALTH__TIMEOUT sets health.timeout)",
        "(QUORATE_DATABASE__PASSWORD sets database.password)",
    ] {
        assert!(shown.contains(line), "{line} is missing in\n{shown}");
    }
    let blamed = error.problems.iter().filter(|problem| problem.what.contains("QUORATE_HEALTH__TIMEOUT")).count();
    assert_eq!(blamed, 2, "a variable is named where it matters, and nowhere else\n{shown}");
}

/// One address, certificates and thresholds in the file.
const WHOLE: &str = r#"
    name = "s1"
    database.url = "postgres://u@h/d"
    health.tls_cert = "c.pem"
    health.tls_key = "k.pem"
    failover.error_threshold_window = "20s"
    failover.read_error_threshold_count = 5
    failover.write_error_threshold_count = 5
    [[virtual_storage]]
    name = "v"
    [[virtual_storage.node]]
    storage = "g1"
    address = "tcp://a:1"
"#;

/// The same address in parts.
fn in_parts() -> String {
    WHOLE.replace("database.url = \"postgres://u@h/d\"", "database = { host = \"h\", user = \"u\", dbname = \"d\" }")
}

/// A key, the value of its variable, where that arrives, and as what.
type Sample<'a> = (&'a str, &'a str, fn(&Config) -> String, &'a str);

fn url(config: &Config) -> String {
    config.database.url.expose().to_owned()
}
fn session(config: &Config) -> String {
    config.database.session_pooled.as_ref().map(|url| url.expose().to_owned()).unwrap_or_default()
}
fn limits(config: &Config) -> ErrorLimits {
    config.health.errors.unwrap()
}
fn text<T: ToString>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}
fn file(path: Option<&PathBuf>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}
fn first(config: &Config) -> &NodeConfig {
    &config.virtual_storages[0].nodes[0]
}

/// Every key of the table; `password` is a file that holds one, `p`.
fn samples(password: &str) -> Vec<Sample<'_>> {
    vec![
        ("profile", "lan", |c| c.settings.profile.as_str().to_owned(), "lan"),
        ("name", "s9", |c| text(c.name.as_ref()), "s9"),
        ("listen", "10.0.0.9:1", |c| text(c.listen.as_ref()), "10.0.0.9:1"),
        ("heartbeat", "900ms", |c| format!("{:?}", c.heartbeat), "900ms"),
        ("start_timeout", "7s", |c| format!("{:?}", c.start_timeout), "7s"),
        ("request_timeout", "7s", |c| format!("{:?}", c.request_timeout), "7s"),
        ("graceful_stop_timeout", "7s", |c| format!("{:?}", c.graceful_stop_timeout), "7s"),
        ("database.url", "sqlite:other.db", url, "sqlite:other.db"),
        ("database.host", "other", url, "postgres://u@other/d"),
        ("database.port", "5433", url, "postgres://u@h:5433/d"),
        ("database.user", "other", url, "postgres://other@h/d"),
        ("database.password", "p", url, "postgres://u:p@h/d"),
        ("database.password_file", password, url, "postgres://u:p@h/d"),
        ("database.dbname", "other", url, "postgres://u@h/other"),
        ("database.migrate", "false", |c| c.database.migrate.to_string(), "false"),
        ("database.pool_size", "3", |c| c.database.pool_size.to_string(), "3"),
        ("database.session_pooled.url", "postgres://x@direct/d", session, "postgres://x@direct/d"),
        ("database.session_pooled.host", "direct", session, "postgres://u@direct/d"),
        ("database.session_pooled.port", "5434", session, "postgres://u@h:5434/d"),
        ("database.session_pooled.user", "other", session, "postgres://other@h/d"),
        ("database.session_pooled.password", "p", session, "postgres://u:p@h/d"),
        ("database.session_pooled.password_file", password, session, "postgres://u:p@h/d"),
        ("database.session_pooled.dbname", "other", session, "postgres://u@h/other"),
        ("health.interval", "500ms", |c| format!("{:?}", c.health.interval), "500ms"),
        ("health.bootstrap_interval", "50ms", |c| format!("{:?}", c.health.bootstrap_interval), "50ms"),
        ("health.watch", "false", |c| c.health.watch.to_string(), "false"),
        ("health.stall_limit", "80ms", |c| format!("{:?}", c.health.stall_limit), "80ms"),
        ("health.timeout", "200ms", |c| format!("{:?}", c.health.timeout), "200ms"),
        ("health.timeout_floor", "150ms", |c| format!("{:?}", c.health.timeout_floor), "Some(150ms)"),
        ("health.restart_grace", "2s", |c| format!("{:?}", c.health.restart_grace), "2s"),
        ("health.fall", "4", |c| c.health.thresholds.fall.to_string(), "4"),
        ("health.rise", "4", |c| c.health.thresholds.rise.to_string(), "4"),
        ("health.first", "2", |c| c.health.thresholds.first.to_string(), "2"),
        ("health.window", "11", |c| c.health.thresholds.window.to_string(), "11"),
        ("health.connect_timeout", "200ms", |c| format!("{:?}", c.health.connect_timeout), "200ms"),
        ("health.keepalive", "30s", |c| format!("{:?}", c.health.keepalive), "30s"),
        ("health.keepalive_timeout", "30s", |c| format!("{:?}", c.health.keepalive_timeout), "30s"),
        ("health.reconnect_pause_max", "2s", |c| format!("{:?}", c.health.reconnect_pause_max), "2s"),
        ("health.dns_refresh", "40s", |c| format!("{:?}", c.health.dns_refresh), "40s"),
        ("health.tls_ca", "/ca.pem", |c| file(c.health.tls_ca.as_ref()), "/ca.pem"),
        ("health.tls_cert", "/c.pem", |c| file(c.health.tls_cert.as_ref()), "/c.pem"),
        ("health.tls_key", "/k.pem", |c| file(c.health.tls_key.as_ref()), "/k.pem"),
        ("health.tls_server_name", "g", |c| text(c.health.tls_server_name.as_ref()), "g"),
        ("failover.enabled", "false", |c| c.failover.enabled.to_string(), "false"),
        ("failover.election_strategy", "sql", |c| c.failover.election_strategy.as_str().to_owned(), "sql"),
        ("failover.settle_batch", "9", |c| c.failover.settle_batch.to_string(), "9"),
        ("failover.settle_pause", "4s", |c| format!("{:?}", c.failover.settle_pause), "4s"),
        ("failover.error_threshold_window", "30s", |c| format!("{:?}", limits(c).window), "30s"),
        ("failover.read_error_threshold_count", "9", |c| limits(c).reads.to_string(), "9"),
        ("failover.write_error_threshold_count", "9", |c| limits(c).writes.to_string(), "9"),
        ("failover.error_cool_down", "4s", |c| format!("{:?}", limits(c).cool_down), "4s"),
        ("feed.ttl", "3s", |c| format!("{:?}", c.feed.ttl), "3s"),
        ("feed.check", "400ms", |c| format!("{:?}", c.feed.check), "400ms"),
        ("feed.poll", "90ms", |c| format!("{:?}", c.feed.poll), "90ms"),
        ("feed.listen", "false", |c| c.feed.listen.to_string(), "false"),
        ("feed.failsafe_ttl", "50s", |c| format!("{:?}", c.feed.failsafe_ttl), "50s"),
        ("feed.entries", "7", |c| c.feed.entries.to_string(), "7"),
        ("consensus.expected_supervisors", "3", |c| text(c.settings.expected_supervisors.as_ref()), "3"),
        ("consensus.voter_ttl", "6s", |c| format!("{:?}", c.settings.voter_ttl), "6s"),
        ("consensus.vote_ttl", "4s", |c| format!("{:?}", c.settings.vote_ttl), "4s"),
        ("consensus.decision_ttl", "900ms", |c| format!("{:?}", c.settings.decision_ttl), "900ms"),
        ("consensus.without_candidate", "demote", |c| format!("{:?}", c.settings.without_candidate), "Demote"),
        ("consensus.praefect_notifications", "true", |c| c.settings.praefect_notifications.to_string(), "true"),
        ("virtual_storage.name", "w", |c| c.virtual_storages[0].name.to_string(), "w"),
        (
            "virtual_storage.default_replication_factor",
            "1",
            |c| c.virtual_storages[0].default_replication_factor.to_string(),
            "1",
        ),
        ("virtual_storage.node.storage", "g9", |c| first(c).storage.to_string(), "g9"),
        ("virtual_storage.node.address", "tcp://x:1", |c| first(c).address.clone(), "tcp://x:1"),
        (
            "virtual_storage.node.token",
            "hunter2",
            |c| first(c).token.as_ref().map(|token| token.expose().to_owned()).unwrap_or_default(),
            "hunter2",
        ),
    ]
}

#[test]
fn every_key_there_is_can_be_set_and_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "p\n").unwrap();
    let samples = samples(password.to_str().unwrap());
    let sampled: BTreeSet<String> = samples.iter().map(|(key, ..)| (*key).to_owned()).collect();
    assert_eq!(sampled, every_key().into_iter().collect(), "each key of the table has one sample");
    for (key, value, arrived, expected) in samples {
        // What is numbered in a file has its number here.
        let path = key.replace("virtual_storage.", "virtual_storage.0.").replace(".node.", ".node.0.");
        let variable = format!("{PREFIX}{}", path.replace('.', "__").to_ascii_uppercase());
        let one_address =
            !key.starts_with("database.") || ["database.url", "database.session_pooled.url"].contains(&key);
        let text = if one_address { WHOLE.to_owned() } else { in_parts() };
        let before = Config::from_toml(&text).unwrap();
        assert_ne!(arrived(&before), expected, "{key}: the file says so already");
        let config = Config::from_sources(&text, variables(&[(variable.as_str(), value)]));
        assert_eq!(config.map(|config| arrived(&config)), Ok(expected.to_owned()), "{variable}");
    }
}
