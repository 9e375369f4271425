//! What the benchmarks and the `ratios` harness share: a database filled to a known size, the operations that are
//! timed, and how times are summed up.
//!
//! Ratios are the result, not times: both sides of each are taken in turn within one run, through one pool, on one
//! thread. So a machine that is busy with something else slows both.

pub mod fleet;
pub mod ground;
pub mod primaries;
pub mod proxy;
pub mod rounds;
pub mod sample;
pub mod scale;
pub mod synced;

#[path = "../../tests/support/postgres.rs"]
mod postgres;

/// Whatever went wrong. A measurement that fails is not repeated.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The answer of everything here.
pub type Result<T> = std::result::Result<T, Error>;
