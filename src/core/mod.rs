//! The rules, as values. Nothing here reads a clock, draws a number, waits, locks, logs or does I/O.
//!
//! `now` and every random seed are arguments; effects are returned. The build without features proves that no runtime
//! is needed, clippy denies clocks, hash maps and unchecked arithmetic, and `tests/tidy.rs` the rest.
//!
//! | module | decides |
//! |---|---|
//! | [`window`], [`evidence`], [`error_tracker`], [`watching`], [`patience`], [`round_trips`], [`prober`] | what one supervisor thinks of one node |
//! | [`quorum`], [`consensus`] | what the quorum thinks of it |
//! | [`monitor`] | when a supervisor registers, votes, reads and publishes |
//! | [`election`] | who may be primary |
//! | [`settling`] | whose repositories are settled next, in which sets |
//! | [`reports`] | whether the database is behind its nodes |
//! | [`assignment`], [`shard`] | who should host, who serves beside the primary |
//! | [`synced`], [`flights`], [`lookup`] | what is remembered, how long it may be believed, and which read may be kept |
//!
//! Laws, each a property test: a verdict is upward-closed; majorities intersect; the order of rows does not matter;
//! nobody unhealthy or outdated is elected; deciding again after a decision was applied keeps it.

#![deny(clippy::disallowed_types, clippy::float_arithmetic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

pub mod assignment;
pub mod consensus;
pub mod election;
pub mod epoch;
pub mod error_tracker;
pub mod evidence;
pub mod flights;
pub mod ids;
pub mod lookup;
pub mod monitor;
pub mod patience;
pub mod penalty;
pub mod prober;
pub mod quorum;
pub mod recusal;
pub mod reports;
pub mod round_trips;
pub mod settings;
pub mod settling;
pub mod shard;
pub mod synced;
pub mod time;
pub mod watching;
pub mod window;
