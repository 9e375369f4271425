//! Keys of Praefect's configuration that mean nothing here, and what to write instead.
//!
//! Whoever brings a Praefect file along is told for each key where its meaning went. A key that would be read and then
//! ignored would be worse than an error.

/// A key or a section of Praefect's, and what to do.
const KEYS: &[(&str, &str)] = &[
    ("listen_addr", "Praefect's; here it is `listen`"),
    ("tls_listen_addr", "Praefect's; here it is `listen`, which names the supervisor and opens nothing"),
    ("socket_path", "Praefect's; here it is `listen`, which names the supervisor and opens nothing"),
    ("failover_enabled", "Praefect's; it was `failover.enabled` there already"),
    ("failover.bootstrap_interval", "Praefect's; here it is `health.bootstrap_interval`"),
    ("failover.monitor_interval", "Praefect's; here it is `health.interval`"),
    ("database.host_no_proxy", "Praefect's; here it is `database.session_pooled.host`"),
    ("database.port_no_proxy", "Praefect's; here it is `database.session_pooled.port`"),
    ("database.sslmode", "Praefect's; TLS to the database is not supported yet, so leave it out"),
    ("database.sslcert", "Praefect's; TLS to the database is not supported yet, so leave it out"),
    ("database.sslkey", "Praefect's; TLS to the database is not supported yet, so leave it out"),
    ("database.sslrootcert", "Praefect's; TLS to the database is not supported yet, so leave it out"),
    ("database.session_pooled.sslmode", "Praefect's; TLS to the database is not supported yet, so leave it out"),
    ("database.session_pooled.sslcert", "Praefect's; TLS to the database is not supported yet, so leave it out"),
    ("database.session_pooled.sslkey", "Praefect's; TLS to the database is not supported yet, so leave it out"),
    ("database.session_pooled.sslrootcert", "Praefect's; TLS to the database is not supported yet, so leave it out"),
    ("memory_queue_enabled", "Praefect's; strategy `local` elects without a database, and nothing else is queued here"),
    (
        "i_understand_my_election_strategy_is_unsupported_and_will_be_removed_without_warning",
        "Praefect's; every strategy is supported here, so leave it out",
    ),
    ("reconciliation", "Praefect's; quorate elects primaries and does not copy data"),
    ("replication", "Praefect's; quorate elects primaries and does not copy data"),
    ("repositories_cleanup", "Praefect's; quorate does not look into storages"),
    ("background_verification", "Praefect's; quorate does not look into storages"),
    ("yamux", "Praefect's; quorate has no proxy"),
    ("auth", "Praefect's; a supervisor opens no port of its own. A node's secret is `token` beside its `address`"),
    ("tls", "Praefect's; a supervisor opens no port of its own. For nodes see `health.tls_ca`"),
    ("logging", "Praefect's; the application that embeds the supervisor decides about its log"),
    ("sentry", "Praefect's; the application that embeds the supervisor decides about its log"),
    ("prometheus", "Praefect's; the application that embeds the supervisor exports its metrics"),
    ("prometheus_listen_addr", "Praefect's; the application that embeds the supervisor exports its metrics"),
    (
        "prometheus_exclude_database_from_default_metrics",
        "Praefect's; the application that embeds the supervisor exports its metrics",
    ),
    ("config_command", "Praefect's; what changes from machine to machine comes from the environment, as `QUORATE_…`"),
];

/// What to do about a key that this crate does not know but Praefect does.
pub(super) fn advice(path: &str) -> Option<&'static str> {
    let fits = |key: &str| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    KEYS.iter().find(|(key, _)| fits(key)).map(|(_, advice)| *advice)
}

/// Whether Praefect has keys below this that each have an advice of their own.
pub(super) fn is_section(path: &str) -> bool {
    advice(path).is_none()
        && KEYS.iter().any(|(key, _)| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

#[cfg(test)]
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(key, _)| *key)
}
