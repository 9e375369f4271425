//! What only a PostgreSQL server can show: its errors, its locks, its triggers, and the drills that rest on them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "support/postgres.rs"]
mod postgres;

#[cfg(feature = "grpc")]
#[path = "support/restored.rs"]
mod restored;

#[path = "support/synced.rs"]
mod synced;

#[path = "store_postgres/mod.rs"]
mod cases;
