//! quorate: an embeddable cluster supervisor. Health by quorum, primaries with fencing epochs, decisions that explain
//! themselves.
//!
//! ```text
//!  probes ─▶ node actors ─▶ HealthManager ─▶ votes in SQL ─▶ consensus ─▶ subscribers
//!                                                 │
//!  "who is primary?" ─▶ elector ─▶ facts ─▶ core::election::decide ─▶ compare-and-set ─▶ Primary { storage, epoch }
//! ```
//!
//! Start with [`Supervisor`], which is the handle, and [`Config`], which is what it is told. Then:
//!
//! | module | for whom |
//! |---|---|
//! | [`core`] | the rules, pure; read them to know what will happen |
//! | [`messages`], [`actors`] | to talk to the actors, or to start some of them alone |
//! | [`manager`] | what a router asks, as a trait: shards, reads, who is up |
//! | [`fencing`] | for storage nodes: refuse stale epochs |
//! | [`store`], [`transport`] | the ports, and the adapters behind them |
//! | [`telemetry`] | to hear the metrics with an exporter of your own |
//! | [`testing`] | doubles and the store conformance suite, for your own tests |
//!
//! ```no_run
//! # use quorate::{Config, Supervisor, core::{election::Target, settings::Profile}};
//! # async fn embedded() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::from_toml(&std::fs::read_to_string("quorate.toml")?)?;
//! let supervisor = Supervisor::start(config).await?;
//! let target = Target::Path("default".parse()?, "group/project.git".parse()?);
//! let primary = supervisor.primary(&target).await?;
//! println!("{} under {:?}", primary.storage, primary.epoch);
//! supervisor.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! Features are layers: without any, only [`core`] is built; `postgres`, `sqlite`, `grpc`, `metrics` and `testing` add
//! theirs.

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
#![cfg_attr(
    test,
    allow(clippy::wildcard_enum_match_arm, clippy::arithmetic_side_effects, reason = "a test picks what it is about")
)]

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
pub mod manager;
#[cfg(feature = "runtime")]
pub mod messages;
#[cfg(feature = "runtime")]
pub mod store;
#[cfg(feature = "runtime")]
mod supervisor;
#[cfg(feature = "runtime")]
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "runtime")]
pub mod transport;

#[cfg(feature = "runtime")]
pub use {
    config::{Config, ConfigError},
    error::Error,
    manager::{ConsistentStorages, Manager, Shard},
    supervisor::{CachedStorages, HealthClients, HealthWatch, Ports, Supervisor},
};

#[cfg(all(doctest, feature = "grpc", feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
