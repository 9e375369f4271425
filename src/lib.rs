//! quorate: an embeddable cluster supervisor.
#![forbid(unsafe_code)]
#![deny(missing_docs, unreachable_pub, rustdoc::broken_intra_doc_links)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::todo,
    clippy::dbg_macro,
    clippy::await_holding_lock,
    clippy::cast_possible_truncation
)]
#![allow(clippy::disallowed_types, reason = "denied again in core, the only place that must iterate in a fixed order")]

#[cfg(feature = "runtime")]
pub mod actors;
#[cfg(feature = "runtime")]
pub mod config;
pub mod core;
#[cfg(feature = "runtime")]
pub mod error;
#[cfg(feature = "grpc")]
pub mod fencing;
#[cfg(feature = "runtime")]
pub mod messages;
#[cfg(feature = "runtime")]
pub mod store;
#[cfg(feature = "runtime")]
mod supervisor;
#[cfg(feature = "runtime")]
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "runtime")]
pub mod transport;

#[cfg(feature = "runtime")]
pub use {
    config::{Config, ConfigError},
    error::Error,
    supervisor::{Ports, Supervisor},
};
