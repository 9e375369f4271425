//! Laws of the pure core, and random histories that two stores live side by side.
//!
//! What failed once is kept, shrunk, under `regressions/` and tried first from then on.

mod assignment;
mod consensus;
mod election;
mod epoch;
mod error_tracker;
mod following;
mod histories;
mod penalty;
mod planted;
mod round_trips;
mod scene;
mod settling;
mod shard;
mod window;

use proptest::test_runner::{Config, FileFailurePersistence};

/// How often each law is tried, and where its failures are kept.
fn config(cases: u32, file: &'static str) -> Config {
    Config { cases, failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))), ..Config::default() }
}
