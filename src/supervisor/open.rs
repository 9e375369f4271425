//! Which adapter a configuration means.
#![cfg(feature = "grpc")]

use crate::{
    config::{Config, ConfigError, Problem},
    error::Error,
    store::Store,
    transport::{DialOptions, grpc::GrpcTransport},
};
use std::sync::Arc;

pub(super) async fn store(config: &Config) -> Result<Arc<dyn Store>, Error> {
    let database = &config.database;
    match database.url.scheme() {
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            use crate::store::sqlite::{SqliteOptions, SqliteStore};
            let options =
                SqliteOptions { migrate: database.migrate, pool_size: database.pool_size, ..SqliteOptions::default() };
            Ok(Arc::new(SqliteStore::open(database.url.expose(), options).await?))
        }
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            use crate::store::postgres::{PostgresOptions, PostgresStore};
            let options = PostgresOptions {
                migrate: database.migrate,
                pool_size: database.pool_size as usize,
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

pub(super) fn transport(config: &Config) -> Result<GrpcTransport, ConfigError> {
    let health = &config.health;
    GrpcTransport::new(DialOptions {
        connect_timeout: health.connect_timeout,
        keepalive: Some(health.keepalive),
        tls_ca: health.tls_ca.clone(),
        ..DialOptions::default()
    })
    .map_err(|error| ConfigError { problems: vec![Problem::new("health.tls_ca", super::wiring::causes(&error))] })
}
