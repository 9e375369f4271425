//! Which adapter a configuration means.
#![cfg(feature = "grpc")]

use crate::{
    config::{Config, ConfigError, Problem},
    error::Error,
    store::Store,
    transport::{DialError, DialOptions, grpc::GrpcTransport},
};
use std::sync::Arc;

pub(super) async fn store(config: &Config) -> Result<Arc<dyn Store>, Error> {
    let database = &config.database;
    match database.url.scheme() {
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            use crate::store::sqlite::SqliteStore;
            Ok(Arc::new(SqliteStore::open(database.url.expose(), sqlite_options(config)).await?))
        }
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            use crate::store::postgres::{PostgresOptions, PostgresStore};
            let options = PostgresOptions {
                migrate: database.migrate,
                pool_size: database.pool_size as usize,
                listen: config.feed.listen,
                ..PostgresOptions::default()
            };
            let session = database.session_pooled.as_ref().unwrap_or(&database.url);
            Ok(Arc::new(PostgresStore::connect_through(database.url.expose(), session.expose(), options).await?))
        }
        other => {
            let what = format!(
                "scheme {other:?} is not allowed: this build knows `sqlite:` and `postgres://` as its features say"
            );
            Err(ConfigError { problems: vec![Problem::new("database.url", what)] }.into())
        }
    }
}

/// A write waits for a lock no longer than half of what a voter gives the store for one call (half of the voter time), or it
/// would be said of a locked database that it is silent, and not since when it is locked.
#[cfg(feature = "sqlite")]
fn sqlite_options(config: &Config) -> crate::store::sqlite::SqliteOptions {
    let usual = crate::store::sqlite::SqliteOptions::default();
    let busy_timeout = usual.busy_timeout.min(config.settings.voter_ttl / 4);
    let database = &config.database;
    crate::store::sqlite::SqliteOptions { pool_size: database.pool_size, busy_timeout, migrate: database.migrate }
}

pub(super) fn transport(config: &Config) -> Result<GrpcTransport, ConfigError> {
    GrpcTransport::new(DialOptions::from(&config.health)).map_err(|error| {
        let problems = match error {
            DialError::Files { problems } => problems
                .into_iter()
                .map(|file| {
                    let what = format!("{:?} is not allowed: {}", file.path, file.source);
                    Problem::new(format!("health.{}", file.setting), what)
                })
                .collect(),
            error @ (DialError::Identity { .. } | DialError::Settings { .. }) => {
                vec![Problem::new("health.tls_cert", super::wiring::causes(&error))]
            }
        };
        ConfigError { problems }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::settings::Profile;

    #[cfg(feature = "sqlite")]
    #[test]
    fn a_lock_is_reported_before_the_voter_gives_the_call_up() {
        for (profile, wait) in [(Profile::Default, 1_000), (Profile::Lan, 500), (Profile::Praefect, 1_000)] {
            let config = Config::new(profile, "sqlite:q.db");
            let busy = sqlite_options(&config).busy_timeout;
            assert_eq!(busy.as_millis(), wait, "{profile:?}");
            let given = config.request_timeout.min(config.settings.voter_ttl / 2);
            assert!(busy * 2 <= given, "{profile:?}: {busy:?} of {given:?}");
        }
    }

    #[test]
    fn every_file_that_cannot_be_used_is_a_problem_of_its_own_key() {
        let mut config = Config::new(Profile::Default, "sqlite::memory:");
        assert!(transport(&config).is_ok());
        let health = &mut config.health;
        (health.tls_ca, health.tls_cert, health.tls_key) =
            (Some("/nowhere/ca.pem".into()), Some("/nowhere/c.pem".into()), Some("/nowhere/k.pem".into()));
        let error = transport(&config).unwrap_err();
        let keys: Vec<&str> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["health.tls_ca", "health.tls_cert", "health.tls_key"]);
        assert!(error.to_string().contains("\"/nowhere/c.pem\" is not allowed: No such file"), "{error}");
    }
}
