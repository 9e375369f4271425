use super::{
    environment::PREFIX,
    key::{Key, Slot},
    table::{CLUSTER, ClusterDraft, Draft, FILE, NODE, NodeDraft},
    *,
};
use std::collections::BTreeSet;

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

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

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

fn postgres(section: &str) -> Result<Config, ConfigError> {
    Config::from_toml(&format!(
        "{}\n[database]\n{section}",
        MINIMAL.replace("database.url = \"sqlite:quorate.db\"", "")
    ))
}

#[test]
fn an_address_in_parts_is_one_address() {
    let config = postgres(
        r#"
        host = "a, ::1 ,/run/postgresql"
        port = 5433
        user = "me"
        password = "a/b"
        dbname = "praefect_production"
        [database.session_pooled]
        host = "direct"
        "#,
    )
    .unwrap();
    let hosts = "a:5433,[::1]:5433,%2Frun%2Fpostgresql:5433";
    assert_eq!(config.database.url.expose(), format!("postgres://me:a%2Fb@{hosts}/praefect_production"));
    let session = config.database.session_pooled.unwrap();
    assert_eq!(session.expose(), "postgres://me:a%2Fb@direct:5433/praefect_production", "key by key from `database`");
}

#[test]
fn a_password_comes_from_a_file_and_a_file_that_has_none_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (full, empty) = (folder.path().join("password"), folder.path().join("empty"));
    std::fs::write(&full, "hunter2\n").unwrap();
    std::fs::write(&empty, "\n").unwrap();
    let with = |path: &std::path::Path| postgres(&format!("url = \"postgres://u@h/d\"\npassword_file = {path:?}"));
    assert_eq!(with(&full).unwrap().database.url.expose(), "postgres://u:hunter2@h/d");
    assert!(with(&empty).unwrap_err().to_string().contains("it must hold the password"));
    let missing = with(&folder.path().join("missing")).unwrap_err().to_string();
    assert!(missing.contains("database.password_file") && missing.contains("cannot be read"), "{missing}");
}

#[test]
fn an_address_that_says_two_things_or_half_of_one_is_refused() {
    for (section, key, word) in [
        ("", "database.url", "is missing"),
        ("host = \"h\"", "database.user", "is missing"),
        ("host = \"h\"\nuser = \"u\"", "database.dbname", "is missing"),
        ("url = \"postgres://u@h/d\"\nhost = \"h\"", "database.host", "beside `url`"),
        ("url = \"postgres://u:hunter2@h/d\"\npassword = \"x\"", "database.url", "holds a password already"),
        ("url = \"postgres://h/d\"\npassword = \"hunter2\"", "database.url", "names no user"),
        ("url = \"sqlite:x\"\npassword = \"hunter2\"", "database.url", "nothing else takes a password"),
        (
            "url = \"postgres://u@h/d\"\npassword = \"hunter2\"\npassword_file = \"x\"",
            "database.password_file",
            "beside",
        ),
        ("url = \"sqlite:x\"\nsession_pooled.url = \"sqlite:x\"", "database.session_pooled", "PostgreSQL"),
        ("url = \"postgres://u@h/d\"\nsslmode = \"require\"", "database.sslmode", "TLS to the database"),
        ("url = \"postgres://u@h/d\"\nhost_no_proxy = \"x\"", "database.host_no_proxy", "session_pooled.host"),
    ] {
        let error = postgres(section).unwrap_err();
        let told = error.problems.iter().any(|problem| problem.key == key && problem.what.contains(word));
        assert!(told, "{section}: {key} {word}\n{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
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

#[test]
fn a_key_that_a_profile_has_no_use_for_is_refused_there_and_taken_elsewhere() {
    let file = |profile: &str, line: &str| Config::from_toml(&format!("profile = {profile:?}\n{line}\n{MINIMAL}"));
    for (key, value) in [("heartbeat", "\"900ms\""), ("health.bootstrap_interval", "\"50ms\"")] {
        let error = file("praefect", &format!("{key} = {value}")).unwrap_err();
        assert!(error.problems.iter().any(|problem| problem.key == key), "{key}\n{error}");
        assert!(file("default", &format!("{key} = {value}")).is_ok(), "{key}");
    }
    for line in ["health.interval = \"900ms\"", "health.window = 3\nhealth.fall = 2"] {
        assert!(file("praefect", line).is_ok(), "{line}");
    }
}

#[test]
fn the_profiles_are_those_of_the_protocol() {
    let ms = Duration::from_millis;
    let rows = [
        (Profile::Default, 750, 300, (3, 3, 10), 1_000, 5_000, 5_000),
        (Profile::Lan, 100, 100, (2, 3, 10), 500, 2_000, 2_000),
        (Profile::Praefect, 1_000, 1_000, (1, 1, 1), 1_000, 60_000, 10_000),
    ];
    for (profile, interval, timeout, (fall, rise, window), heartbeat, voter_ttl, vote_ttl) in rows {
        let config = Config::new(profile, "sqlite:x");
        assert_eq!((config.health.interval, config.health.timeout), (ms(interval), ms(timeout)), "{profile:?}");
        assert_eq!(config.health.thresholds, Thresholds { fall, rise, first: 1, window }, "{profile:?}");
        assert_eq!(config.heartbeat, ms(heartbeat), "{profile:?}");
        let settings = &config.settings;
        assert_eq!((settings.voter_ttl, settings.vote_ttl), (ms(voter_ttl), ms(vote_ttl)), "{profile:?}");
        assert_eq!(settings.decision_ttl, ms(1_000), "{profile:?}");
        let policy = if profile == Profile::Praefect { "half" } else { "majority" };
        assert_eq!(settings.policy.as_str(), policy, "{profile:?}");
    }
}

#[test]
fn a_replication_factor_above_the_number_of_nodes_is_refused() {
    let text = MINIMAL.replace("name = \"default\"", "name = \"default\"\ndefault_replication_factor = 2");
    let error = Config::from_toml(&text).unwrap_err().to_string();
    let said = "has a default replication factor (2) which is higher than the number of storages (1)";
    assert!(error.contains("virtual_storage[0].default_replication_factor") && error.contains(said), "{error}");
    assert!(Config::from_toml(&text.replace("factor = 2", "factor = 1")).is_ok());
}

#[test]
fn what_cannot_change_live_is_told_whole_and_what_can_is_not() {
    let old = Config::from_toml(MINIMAL).unwrap();
    let mut new = old.clone();
    new.heartbeat = Duration::from_millis(700);
    new.health.interval = Duration::from_millis(300);
    new.health.timeout = Duration::from_millis(100);
    new.health.thresholds.fall = 2;
    new.graceful_stop_timeout = Duration::from_secs(1);
    new.virtual_storages[0].nodes.push(NodeConfig::new("g9".parse().unwrap(), "tcp://h:1"));
    assert_eq!(old.not_live(&new), []);
    new.name = Some("s2".parse().unwrap());
    new.database.url = DatabaseUrl::new("postgres://u:hunter2@h/d");
    new.health.keepalive = Duration::from_secs(30);
    new.settings.voter_ttl = Duration::from_secs(9);
    new.virtual_storages[0].name = "other".parse().unwrap();
    let found = old.not_live(&new);
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "name",
            "database.url",
            "health.keepalive",
            "consensus.voter_ttl",
            "virtual_storage[0].name",
            "virtual_storage"
        ]
    );
    assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
}

/// Every key of the table, with its path in the file.
fn every_key() -> Vec<String> {
    let file = FILE.iter().map(|key| key.path.to_owned());
    let cluster = CLUSTER.iter().map(|key| format!("virtual_storage.{}", key.path));
    let node = NODE.iter().map(|key| format!("virtual_storage.node.{}", key.path));
    file.chain(cluster).chain(node).collect()
}

/// Whether a value is allowed at a path.
fn allowed(path: &str, value: toml::Value) -> Result<(), String> {
    fn at<T>(keys: &[Key<T>], path: &str, mut into: T, value: toml::Value) -> Result<(), String> {
        let key = keys.iter().find(|key| key.path == path).ok_or_else(|| format!("{path} is no key"))?;
        key.slot.take(&mut into, value)?;
        key.slot.problem(&mut into).map_or(Ok(()), Err)
    }
    match (path.strip_prefix("virtual_storage.node."), path.strip_prefix("virtual_storage.")) {
        (Some(path), _) => at(NODE, path, NodeDraft::default(), value),
        (None, Some(path)) => at(CLUSTER, path, ClusterDraft::default(), value),
        (None, None) => at(FILE, path, Draft::of(Config::new(Profile::Default, "")), value),
    }
}

const EXAMPLE: &str = include_str!("../../quorate.example.toml");

#[test]
fn the_example_is_a_configuration_and_has_every_key_in_it() {
    let variables = variables(&[("QUORATE_DATABASE__PASSWORD", "hunter2")]);
    let config = Config::from_sources(EXAMPLE, variables).unwrap();
    assert!(config.nodes().count() >= 3);
    let (mut section, mut seen) = (String::new(), BTreeSet::new());
    for line in EXAMPLE.lines() {
        let line = line.strip_prefix("#").map_or(line, |rest| rest.strip_prefix(' ').unwrap_or("")).trim();
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' ')) {
            let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            let table: toml::Table = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            let value = table.into_iter().next().unwrap().1;
            if let Err(what) = allowed(&path, value) {
                panic!("{path}: {what}");
            }
            seen.insert(path);
        }
    }
    let missing: Vec<String> = every_key().into_iter().filter(|path| !seen.contains(path)).collect();
    assert_eq!(missing, Vec::<String>::new(), "keys that the example lacks");
}

#[test]
fn the_reference_page_is_what_the_table_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert_eq!(page, reference(), "run `WRITE_DOCS=1 cargo test --lib config` and commit docs/configuration.md");
    assert!(page.contains(PREFIX));
}

#[test]
fn ranges_are_those_that_the_stored_settings_have() {
    for key in FILE.iter().filter(|key| key.path.starts_with("consensus.")) {
        let Slot::Time(at, from, to) = key.slot else { continue };
        let mut draft = Draft::of(Config::new(Profile::Default, ""));
        let mut out_of_range = |millis: u64| {
            *at(&mut draft) = Duration::from_millis(millis);
            draft.config.settings.problems().iter().any(|problem| problem.contains("it must be 10 ms to 1 h"))
        };
        let told = [from - 1, from, to, to + 1].map(&mut out_of_range);
        assert_eq!(told, [true, false, false, true], "{}", key.path);
    }
}

#[test]
fn no_key_is_praefects_and_ours() {
    for ours in every_key() {
        assert_eq!(praefect::advice(&ours), None, "{ours}");
    }
    for theirs in praefect::keys() {
        assert!(!every_key().iter().any(|ours| ours == theirs), "{theirs}");
        let advice = praefect::advice(theirs).unwrap();
        // Where another key of ours is named, it exists.
        for named in advice.split('`').skip(1).step_by(2).filter(|named| named.contains('.')) {
            let known = every_key().iter().any(|ours| ours == named) || praefect::keys().any(|key| key == named);
            assert!(known || named == "failover.enabled", "{theirs}: {named}");
        }
    }
}
