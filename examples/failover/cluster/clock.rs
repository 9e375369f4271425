//! One clock for all processes of one machine.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds of `CLOCK_MONOTONIC`: the same in every process of a machine, and it never steps. Only with it can a
/// kill in one process be set against an election in another.
pub(crate) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
    u64::try_from(micros).unwrap_or(0)
}

/// Milliseconds from one moment to a later one.
pub(crate) fn ms_between(from_us: u64, to_us: u64) -> f64 {
    let micros = to_us.saturating_sub(from_us);
    // A run lasts seconds: far below the 2^52 that a double holds exactly.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    let millis = micros as f64 / 1_000.0;
    (millis * 10.0).round() / 10.0
}
