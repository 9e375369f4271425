//! Praefect's own rules, row by row: what its file said, and what becomes of it here. A row without an answer is allowed.

use super::every_key;
use crate::config::*;

const NAME: &str = "name = \"s1\"\n";
const DATABASE: &str = "database.url = \"sqlite:q.db\"\n";
const CLUSTER: &str = "[[virtual_storage]]\nname = \"v\"\n";
const NODE: &str = "[[virtual_storage.node]]\nstorage = \"g1\"\naddress = \"tcp://a:1\"\n";
const SECOND: &str = "[[virtual_storage.node]]\nstorage = \"g2\"\naddress = \"tcp://b:1\"\n";

/// A rule of Praefect's, a file that breaks or obeys it, and each problem that is told: its key, then its text.
type Row = (&'static str, Vec<&'static str>, &'static [(&'static str, &'static str)]);

/// A file whose first lines are these.
fn with(lines: &'static str) -> Vec<&'static str> {
    vec![lines, NAME, DATABASE, CLUSTER, NODE]
}

/// A file of one virtual storage that continues so.
fn continued(lines: &'static str) -> Vec<&'static str> {
    vec![NAME, DATABASE, CLUSTER, NODE, lines]
}

fn identity() -> Vec<Row> {
    vec![
        (
            "no listen address or socket path configured",
            vec![DATABASE, CLUSTER, NODE],
            &[("name", "is missing: without a listen address a supervisor needs a name of its own")],
        ),
        ("a listen address is enough", vec!["listen = \"10.0.0.1:2305\"\n", DATABASE, CLUSTER, NODE], &[]),
        (
            "no listen address or socket path configured: an empty one",
            with("listen = \"\"\n"),
            &[("listen", "\"\" is not allowed: it must be text in quotes, not empty")],
        ),
        (
            "same address can't be used for different schemas: there is one key",
            with("tls_listen_addr = \"10.0.0.1:2305\"\n"),
            &[("tls_listen_addr", "Praefect's; here it is `listen`, which names the supervisor and opens nothing")],
        ),
        (
            "graceful_stop_timeout",
            with("graceful_stop_timeout = \"0s\"\n"),
            &[(
                "graceful_stop_timeout",
                "0ns is not allowed: it must be a duration such as \"250ms\" or \"5s\", from 10ms to 1h",
            )],
        ),
    ]
}

fn clusters() -> Vec<Row> {
    vec![
        (
            "no virtual storages configured",
            vec![NAME, DATABASE],
            &[("virtual_storage", "none is configured: at least one is needed")],
        ),
        (
            "virtual storages must have a name",
            continued("[[virtual_storage]]\n[[virtual_storage.node]]\nstorage = \"g1\"\naddress = \"tcp://b:1\"\n"),
            &[("virtual_storage[1].name", "is missing")],
        ),
        (
            "virtual storages must have a name: an empty one",
            continued("[[virtual_storage]]\nname = \"\"\n"),
            &[("virtual_storage[1].name", "\"\" is not allowed: it must be text in quotes, not empty")],
        ),
        (
            "virtual storages must have unique names",
            vec![NAME, DATABASE, CLUSTER, NODE, CLUSTER, SECOND],
            &[("virtual_storage[1].name", "\"v\" is not allowed: it is named twice")],
        ),
        (
            "no primary gitaly backends configured",
            vec![NAME, DATABASE, CLUSTER],
            &[("virtual_storage[0].node", "virtual storage \"v\" has no nodes: at least one is needed")],
        ),
        (
            "a default replication factor which is higher than the number of storages",
            vec![NAME, DATABASE, CLUSTER, "default_replication_factor = 2\n", NODE],
            &[(
                "virtual_storage[0].default_replication_factor",
                "virtual storage \"v\" has a default replication factor (2) which is higher than the number of storages \
                 (1)",
            )],
        ),
        (
            "a default replication factor of 0 stores no assignments",
            vec![NAME, DATABASE, CLUSTER, "default_replication_factor = 0\n", NODE],
            &[],
        ),
        (
            "below 0 it does so too: here that is 0 alone",
            vec![NAME, DATABASE, CLUSTER, "default_replication_factor = -1\n", NODE],
            &[(
                "virtual_storage[0].default_replication_factor",
                "-1 is not allowed: it must be a whole number from 0 to 1000",
            )],
        ),
    ]
}

fn nodes() -> Vec<Row> {
    vec![
        (
            "all gitaly nodes must have a storage",
            continued("[[virtual_storage.node]]\naddress = \"tcp://b:1\"\n"),
            &[("virtual_storage[0].node[1].storage", "is missing")],
        ),
        (
            "all gitaly nodes must have an address",
            continued("[[virtual_storage.node]]\nstorage = \"g2\"\n"),
            &[("virtual_storage[0].node[1].address", "is missing")],
        ),
        (
            "all gitaly nodes must have an address: an empty one",
            continued("[[virtual_storage.node]]\nstorage = \"g2\"\naddress = \"\"\n"),
            &[("virtual_storage[0].node[1].address", "\"\" is not allowed: it must be text in quotes, not empty")],
        ),
        (
            "internal gitaly storages are not unique",
            continued("[[virtual_storage.node]]\nstorage = \"g1\"\naddress = \"tcp://b:1\"\n"),
            &[("virtual_storage[0].node[1].storage", "\"g1\" is not allowed: virtual storage \"v\" names it twice")],
        ),
        (
            "the same storage name in two virtual storages is allowed",
            continued(
                "[[virtual_storage]]\nname = \"w\"\n[[virtual_storage.node]]\nstorage = \"g1\"\naddress = \"tcp://b:1\"\n",
            ),
            &[],
        ),
        (
            "multiple storages have the same address: dropped by Praefect, allowed here",
            continued("[[virtual_storage.node]]\nstorage = \"g2\"\naddress = \"tcp://a:1\"\n"),
            &[],
        ),
        (
            "a token is text, and never told",
            continued("token = 4711\n"),
            &[(
                "virtual_storage[0].node[0].token",
                "this integer is not allowed: it must be text in quotes, not empty",
            )],
        ),
    ]
}

fn failover() -> Vec<Row> {
    const THREE: &str = "error_threshold_window, read_error_threshold_count, write_error_threshold_count";
    const MISSING: &str = "is missing or 0: errors are counted only if error_threshold_window, \
                           read_error_threshold_count, write_error_threshold_count are all set";
    assert!(MISSING.contains(THREE));
    vec![
        (
            "failover.enabled",
            with("failover.enabled = \"yes\"\n"),
            &[("failover.enabled", "\"yes\" is not allowed: it must be true or false")],
        ),
        (
            "invalid election strategy",
            with("failover.election_strategy = \"raft\"\n"),
            &[(
                "failover.election_strategy",
                "\"raft\" is not allowed: it must be one of \"per_repository\", \"sql\", \"local\"",
            )],
        ),
        (
            "ignoring configured election strategy as failover is disabled: here it holds all the same",
            with("failover.enabled = false\nfailover.election_strategy = \"sql\"\n"),
            &[],
        ),
        (
            "threshold window not set",
            with("failover.read_error_threshold_count = 1\nfailover.write_error_threshold_count = 1\n"),
            &[("failover.error_threshold_window", MISSING)],
        ),
        (
            "write error threshold not set",
            with("failover.error_threshold_window = \"1s\"\nfailover.read_error_threshold_count = 1\n"),
            &[("failover.write_error_threshold_count", MISSING)],
        ),
        (
            "read error threshold not set",
            with("failover.error_threshold_window = \"1s\"\nfailover.write_error_threshold_count = 1\n"),
            &[("failover.read_error_threshold_count", MISSING)],
        ),
        (
            "of two that are missing both are told",
            with("failover.read_error_threshold_count = 1\n"),
            &[("failover.error_threshold_window", MISSING), ("failover.write_error_threshold_count", MISSING)],
        ),
        (
            "all zero: the tracker is off",
            with(
                "failover.error_threshold_window = \"0s\"\nfailover.read_error_threshold_count = 0\n\
                 failover.write_error_threshold_count = 0\n",
            ),
            &[],
        ),
    ]
}

fn database() -> Vec<Row> {
    vec![
        (
            "no database",
            vec![NAME, CLUSTER, NODE],
            &[("database.url", "is missing: `sqlite:PATH` or `postgres://user:password@host/name`")],
        ),
        (
            "[database] in parts: what is missing is told, all of it",
            vec![NAME, "database.port = 5432\n", CLUSTER, NODE],
            &[
                ("database.host", "is missing: an address in parts needs `host`, `user` and `dbname`"),
                ("database.user", "is missing: an address in parts needs `host`, `user` and `dbname`"),
                ("database.dbname", "is missing: an address in parts needs `host`, `user` and `dbname`"),
            ],
        ),
        (
            "session_pooled falls back to [database], key by key",
            vec![
                NAME,
                "[database]\nhost = \"h\"\nuser = \"u\"\ndbname = \"d\"\nsession_pooled.port = 5433\n",
                CLUSTER,
                NODE,
            ],
            &[],
        ),
        (
            "session_pooled beside a database without a pooler",
            with("database.session_pooled.url = \"postgres://u@h/d\"\n"),
            &[(
                "database.session_pooled",
                "is not allowed: only a PostgreSQL database stands behind a pooler, and only one reaches past it",
            )],
        ),
        (
            "the election tracker's port is a port",
            vec![NAME, "[database]\nhost = \"h\"\nuser = \"u\"\ndbname = \"d\"\nport = 0\n", CLUSTER, NODE],
            &[("database.port", "0 is not allowed: it must be a whole number from 1 to 65535")],
        ),
    ]
}

fn told(text: &str) -> Vec<(String, String)> {
    let problems = Config::from_toml(text).err().map(|error| error.problems).unwrap_or_default();
    problems.into_iter().map(|problem| (problem.key, problem.what)).collect()
}

#[test]
fn each_of_praefects_rules_has_an_answer_with_key_value_and_what_is_allowed() {
    for (rule, lines, expected) in [identity(), clusters(), nodes(), failover(), database()].concat() {
        let expected: Vec<_> = expected.iter().map(|(key, what)| ((*key).to_owned(), (*what).to_owned())).collect();
        assert_eq!(told(&lines.concat()), expected, "{rule}");
    }
}

#[test]
fn each_key_of_praefects_that_means_nothing_here_is_refused_and_says_where_its_meaning_went() {
    for key in praefect::keys() {
        let text = format!("{key} = 1\n{}", [NAME, DATABASE, CLUSTER, NODE].concat());
        let advice = praefect::advice(key).unwrap().to_owned();
        assert_eq!(told(&text), [(key.to_owned(), advice)]);
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
