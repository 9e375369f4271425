//! How long probes take, for an embedder's own metrics.

use crate::core::{evidence::Evidence, ids::NodeId};
use std::time::Duration;

/// Hears of every probe once it ended, whatever it found: retries, confirmations and those of rounds too.
///
/// `()` is the default and keeps nothing. No probe is logged: a quiet cluster logs nothing. It is called within the
/// node's actor: it must neither wait nor panic.
pub trait LatencyRecorder: Send + Sync {
    /// A probe of this node took so long and said this.
    fn record(&self, node: &NodeId, took: Duration, outcome: Evidence);
}

impl LatencyRecorder for () {
    fn record(&self, _: &NodeId, _: Duration, _: Evidence) {}
}
