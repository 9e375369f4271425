//! A file as a whole: what it means, and everything that may be wrong with it.

use super::MINIMAL;
use crate::config::*;

#[test]
fn a_minimal_file_is_one_virtual_storage_with_its_nodes() {
    let config = Config::from_toml(MINIMAL).unwrap();
    let nodes: Vec<_> = config.nodes().map(|(id, node)| (id.to_string(), node.address.clone())).collect();
    assert_eq!(nodes, vec![("default/g1".to_owned(), "tcp://127.0.0.1:2305".to_owned())]);
    assert_eq!(config.settings, Settings::of(Profile::Default));
}

#[test]
fn failover_is_on_and_by_repository_unless_the_file_says_otherwise() {
    let read = |text: &str| Config::from_toml(&format!("{MINIMAL}\n{text}")).unwrap().failover;
    let failover =
        |enabled, election_strategy| FailoverConfig { enabled, election_strategy, ..FailoverConfig::default() };
    assert_eq!(read(""), failover(true, ElectionStrategy::PerRepository));
    assert_eq!(read("[failover]\nenabled = false"), failover(false, ElectionStrategy::PerRepository));
    for strategy in [ElectionStrategy::PerRepository, ElectionStrategy::Sql, ElectionStrategy::Local] {
        let text = format!("[failover]\nelection_strategy = {:?}", strategy.as_str());
        assert_eq!(read(&text), failover(true, strategy));
    }
}

#[test]
fn every_problem_is_told_at_once_with_key_value_and_what_is_allowed() {
    let text = r#"
        heartbeat = 5
        colour = "red"
        listen_addr = "0.0.0.0:2305"
        [database]
        url = "mysql://root:hunter2@db/x"
        pool_size = 0
        [health]
        timeout = "6s"
        fall = 20
        intervall = "1s"
        [consensus]
        without_candidate = "panic"
        [failover]
        enabled = "yes"
        election_strategy = "raft"
        monitor_interval = "3s"
        [[virtual_storage]]
        name = "default"
        [[virtual_storage.node]]
        storage = "g1"
        address = "tcp://a:1"
        [[virtual_storage.node]]
        storage = "g1"
        address = 7
        [[virtual_storage.node]]
        storage = "g2"
        [[virtual_storage.node]]
        storage = "g1"
        address = "tcp://b:1"
        [[virtual_storage]]
        name = "default"
    "#;
    let error = Config::from_toml(text).unwrap_err();
    let keys: Vec<&str> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    for key in [
        "heartbeat",
        "colour",
        "listen_addr",
        "database.pool_size",
        "database.url",
        "health.timeout",
        "health.timeout × health.fall",
        "health.fall",
        "health.intervall",
        "consensus.without_candidate",
        "failover.enabled",
        "failover.election_strategy",
        "failover.monitor_interval",
        "virtual_storage[0].node[1].address",
        "virtual_storage[0].node[2].address",
        "virtual_storage[0].node[1].storage",
        "virtual_storage[1].name",
        "virtual_storage[1].node",
        "name",
    ] {
        assert!(keys.contains(&key), "{key} is missing in\n{error}");
    }
    let shown = error.to_string();
    assert!(shown.contains("6s must be below consensus.vote_ttl = 5s"), "{shown}");
    assert!(shown.contains("\"panic\" is not allowed: it must be one of \"keep\", \"demote\""), "{shown}");
    let strategies = "\"raft\" is not allowed: it must be one of \"per_repository\", \"sql\", \"local\"";
    assert!(shown.contains(strategies), "{shown}");
    assert!(shown.contains("unknown key; known here: interval, bootstrap_interval, timeout"), "{shown}");
    assert!(shown.contains("monitor_interval: Praefect's; here it is `health.interval`"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    let error = Config::from_toml("name = ").unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[test]
fn praefects_rule_of_three_can_be_configured_and_first_must_fit_the_window() {
    let rule = format!("{MINIMAL}\n[health]\nfall = 1\nrise = 3\nfirst = 3\nwindow = 3");
    assert_eq!(Config::from_toml(&rule).unwrap().health.thresholds, Thresholds::LAST_THREE);
    let error = Config::from_toml(&rule.replace("first = 3", "first = 4")).unwrap_err();
    assert!(error.to_string().contains("health.first: 4 is not allowed: it must be 1 to health.window = 3"), "{error}");
}

#[test]
fn nobody_waits_for_a_restart_or_adapts_unless_told_to_and_neither_has_a_meaning_in_rounds() {
    let with = |keys: &str| Config::from_toml(&format!("{MINIMAL}\n[health]\n{keys}"));
    let ms = Duration::from_millis;
    let patience = |keys: &str| with(keys).unwrap().health.patience();
    assert_eq!(patience(""), Patience { timeout: ms(300), timeout_floor: ms(300), restart_grace: ms(0) });
    let asked = "timeout_floor = \"100ms\"\nrestart_grace = \"4s\"";
    assert_eq!(patience(asked), Patience { timeout: ms(300), timeout_floor: ms(100), restart_grace: ms(4_000) });
    let refused = |keys: &str| with(keys).unwrap_err().to_string();
    let error = refused("timeout_floor = \"301ms\"\nrestart_grace = \"5s\"");
    assert!(error.contains("health.timeout_floor: 301ms must not be above health.timeout = 300ms"), "{error}");
    assert!(error.contains("health.restart_grace: 5s must be below consensus.voter_ttl = 5s"), "{error}");
    let error = Config::from_toml(&format!("profile = \"praefect\"\n{MINIMAL}\n[health]\n{asked}")).unwrap_err();
    let keys: Vec<&str> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["health.timeout_floor", "health.restart_grace"], "{error}");
    assert!(error.to_string().contains("has no effect in profile praefect"), "{error}");
}

#[test]
fn a_client_certificate_needs_its_key_and_a_key_its_certificate() {
    let with = |keys: &str| Config::from_toml(&format!("{keys}\n{MINIMAL}"));
    for (one, missing) in [("cert", "health.tls_key"), ("key", "health.tls_cert")] {
        let error = with(&format!("health.tls_{one} = \"one.pem\"")).unwrap_err();
        assert_eq!(error.problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), [missing]);
        assert!(error.to_string().contains("one.pem"), "{error}");
    }
    let both = with("health.tls_cert = \"c.pem\"\nhealth.tls_key = \"k.pem\"\nhealth.tls_server_name = \"g\"").unwrap();
    assert_eq!(both.health.tls_server_name.as_deref(), Some("g"));
    assert!(with("health.tls_server_name = 7").is_err());
}

#[test]
fn a_replication_factor_above_the_number_of_nodes_is_refused() {
    let text = MINIMAL.replace("name = \"default\"", "name = \"default\"\ndefault_replication_factor = 2");
    let error = Config::from_toml(&text).unwrap_err().to_string();
    let said = "has a default replication factor (2) which is higher than the number of storages (1)";
    assert!(error.contains("virtual_storage[0].default_replication_factor") && error.contains(said), "{error}");
    assert!(Config::from_toml(&text.replace("factor = 2", "factor = 1")).is_ok());
}
