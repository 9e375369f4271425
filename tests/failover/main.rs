//! Failovers with real processes: the example as a whole, and the drills that need something to kill or to freeze.
//!
//! The parts are played by the example's own program, which `cargo test` builds; with `--test failover` alone, build it
//! first (`cargo build --example failover`). One test at a time: what is measured is time.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::disallowed_types, reason = "banned for the crate's core alone")]

#[allow(dead_code, reason = "the example uses the rest")]
#[path = "../../examples/failover/cluster/mod.rs"]
mod cluster;
#[allow(dead_code, reason = "the example uses the rest")]
#[path = "../../examples/failover/roles/disk.rs"]
mod disk;

#[cfg(feature = "postgres")]
#[allow(clippy::disallowed_methods, reason = "starts a server; nothing here is on an arbiter")]
#[path = "../support/postgres.rs"]
mod postgres;

mod adoption;
mod fence;
mod log;
mod stage;
mod story;
mod voters;
