use super::*;

const MINIMAL: &str = r#"
    name = "s1"
    database.url = "sqlite:quorate.db"
    [[virtual_storage]]
    name = "default"
    [[virtual_storage.node]]
    storage = "g1"
    address = "tcp://127.0.0.1:2305"
"#;

#[test]
fn a_minimal_file_is_one_virtual_storage_with_its_nodes() {
    let config = Config::from_toml(MINIMAL).unwrap();
    let nodes: Vec<_> = config.nodes().map(|(node, address)| (node.to_string(), address.to_owned())).collect();
    assert_eq!(nodes, vec![("default/g1".to_owned(), "tcp://127.0.0.1:2305".to_owned())]);
    assert_eq!(config.settings, Settings::of(Profile::Default));
}

#[test]
fn failover_is_on_and_by_repository_unless_the_file_says_otherwise() {
    let read = |text: &str| Config::from_toml(&format!("{MINIMAL}\n{text}")).unwrap().failover;
    let failover = |enabled, election_strategy| FailoverConfig { enabled, election_strategy };
    assert_eq!(read(""), failover(true, ElectionStrategy::PerRepository));
    assert_eq!(read("[failover]\nenabled = false"), failover(false, ElectionStrategy::PerRepository));
    for strategy in [ElectionStrategy::PerRepository, ElectionStrategy::Sql, ElectionStrategy::Local] {
        let text = format!("[failover]\nelection_strategy = {:?}", strategy.as_str());
        assert_eq!(read(&text), failover(true, strategy));
    }
}

#[test]
fn every_profile_satisfies_its_own_relations() {
    for profile in ["default", "lan", "praefect"] {
        let text = format!("profile = {profile:?}\n{MINIMAL}");
        assert!(Config::from_toml(&text).is_ok(), "{profile}: {:?}", Config::from_toml(&text));
    }
}

#[test]
fn every_problem_is_told_at_once_with_key_value_and_what_is_allowed() {
    let text = r#"
        heartbeat = 5
        colour = "red"
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
        "database.pool_size",
        "database.url",
        "health.timeout",
        "health.timeout × health.fall",
        "health.fall",
        "health.intervall",
        "consensus.without_candidate",
        "failover.enabled",
        "failover.election_strategy",
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
    assert!(shown.contains("unknown key; known here: interval, timeout"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    let error = Config::from_toml("name = ").unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[test]
fn a_password_is_never_shown() {
    for url in ["postgres://u:hunter2@h/d", "u-hunter2@h:5432/d"] {
        let config = Config::new(Profile::Default, url);
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    }
}

#[test]
fn a_password_in_the_wrong_place_is_not_quoted_back() {
    for text in [
        "[database]\nurl = \"postgres://u:hunter2@h/d",
        "[database]\nurl = postgres://u:hunter2@h/d",
        "[database]\nurl = [\"postgres://u:hunter2@h/d\"]",
        "database = \"postgres://u:hunter2@h/d\"",
        "heartbeat = \"postgres://u:hunter2@h/d\"",
        "[database]\nurl = \"u-hunter2@h:5432/d\"",
    ] {
        let error = Config::from_toml(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}: {error}");
    }
}
