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
    let nodes: Vec<_> = config.nodes().map(|(id, node)| (id.to_string(), node.address.clone())).collect();
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

fn failing(text: &str) -> String {
    format!("{MINIMAL}\n[failover]\n{text}")
}

#[test]
fn the_error_thresholds_are_praefects_keys_and_the_cool_down_is_the_window_unless_told() {
    let three = "error_threshold_window = \"20s\"\nread_error_threshold_count = 100\nwrite_error_threshold_count = 7";
    let limits = Config::from_toml(&failing(three)).unwrap().health.errors.unwrap();
    let window = Duration::from_secs(20);
    assert_eq!(limits, ErrorLimits { window, reads: 100, writes: 7, cool_down: window });
    let told = Config::from_toml(&failing(&format!("{three}\nerror_cool_down = \"3s\""))).unwrap();
    assert_eq!(told.health.errors.unwrap().cool_down, Duration::from_secs(3));
}

#[test]
fn without_thresholds_or_with_zeros_errors_are_not_counted() {
    let zeros = "error_threshold_window = \"0s\"\nread_error_threshold_count = 0\nwrite_error_threshold_count = 0";
    for text in [MINIMAL.to_owned(), failing(""), failing(zeros)] {
        assert_eq!(Config::from_toml(&text).unwrap().health.errors, None, "{text}");
    }
}

#[test]
fn each_missing_threshold_is_named() {
    let keys = ["error_threshold_window", "read_error_threshold_count", "write_error_threshold_count"];
    let values = ["\"20s\"", "100", "7"];
    for missing in 0..3 {
        let lines: Vec<String> =
            (0..3).filter(|at| *at != missing).map(|at| format!("{} = {}", keys[at], values[at])).collect();
        let error = Config::from_toml(&failing(&lines.join("\n"))).unwrap_err();
        let told: Vec<&str> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(told, [format!("failover.{}", keys[missing])], "{error}");
    }
    let error = Config::from_toml(&failing("error_cool_down = \"3s\"")).unwrap_err();
    assert!(error.to_string().contains("failover.error_cool_down: 3s is for nothing"), "{error}");
}

#[test]
fn thresholds_out_of_range_are_told_whoever_set_them() {
    let text = "error_threshold_window = \"2h\"\nread_error_threshold_count = 10001\nwrite_error_threshold_count = 1";
    let error = Config::from_toml(&failing(text)).unwrap_err();
    assert!(error.to_string().contains("10001 is not allowed: it must be a whole number from 0 to 10000"), "{error}");
    let mut config = Config::from_toml(MINIMAL).unwrap();
    let window = Duration::from_secs(7_200);
    config.health.errors = Some(ErrorLimits { window, reads: 0, writes: 1, cool_down: window });
    let shown = config.validate().unwrap_err().to_string();
    for key in ["error_threshold_window: 7200s", "error_cool_down: 7200s", "read_error_threshold_count: 0"] {
        assert!(shown.contains(&format!("failover.{key} is not allowed")), "{shown}");
    }
}

#[test]
fn praefects_rule_of_three_can_be_configured_and_first_must_fit_the_window() {
    let rule = format!("{MINIMAL}\n[health]\nfall = 1\nrise = 3\nfirst = 3\nwindow = 3");
    assert_eq!(Config::from_toml(&rule).unwrap().health.thresholds, Thresholds::LAST_THREE);
    let error = Config::from_toml(&rule.replace("first = 3", "first = 4")).unwrap_err();
    assert!(error.to_string().contains("health.first: 4 is not allowed: it must be 1 to health.window = 3"), "{error}");
}

#[test]
fn a_token_signs_and_is_never_shown() {
    let with = |token: &str| format!("{MINIMAL}\ntoken = {token}");
    let config = Config::from_toml(&with("\"hunter2\"")).unwrap();
    let node = &config.virtual_storages[0].nodes[0];
    assert_eq!(node.token.as_ref().map(Secret::expose), Some("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    assert_eq!(Config::from_toml(MINIMAL).unwrap().virtual_storages[0].nodes[0].token, None);
    for (wrong, said) in [("4711", "this integer is not allowed"), ("[\"4711\"]", "this array"), ("\"\"", "not empty")]
    {
        let error = Config::from_toml(&with(wrong)).unwrap_err().to_string();
        assert!(error.contains("virtual_storage[0].node[0].token"), "{error}");
        assert!(error.contains(said) && !error.contains("4711"), "{error}");
    }
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
