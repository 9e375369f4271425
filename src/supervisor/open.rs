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
            use crate::store::sqlite::{SqliteOptions, SqliteStore};
            let options = SqliteOptions { migrate: database.migrate, ..SqliteOptions::default() };
            Ok(Arc::new(SqliteStore::open(database.url.expose(), options).await?))
        }
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            use crate::store::postgres::{PostgresOptions, PostgresStore};
            let options = PostgresOptions {
                migrate: database.migrate,
                pool_size: database.pool_size as usize,
                session_pooled: database.session_pooled,
                ..PostgresOptions::default()
            };
            Ok(Arc::new(PostgresStore::connect(database.url.expose(), options).await?))
        }
        other => {
            let what = format!(
                "scheme {other:?} is not allowed: this build knows `sqlite:` and `postgres://` as its features say"
            );
            Err(ConfigError { problems: vec![Problem::new("database.url", what)] }.into())
        }
    }
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
