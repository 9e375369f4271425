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
