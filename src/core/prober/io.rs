//! What happens to a prober, and what it wants done.

use crate::core::{consensus::Opinion, evidence::Evidence, watching::Word};
use std::time::Duration;

/// Over which connection to probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// The kept one, over which real traffic goes.
    Kept,
    /// A new one to the same address.
    Fresh,
}

/// What happens to a prober.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A probe is due.
    Due,
    /// A probe ended.
    Answer {
        /// Its number.
        number: u64,
        /// What it says.
        evidence: Evidence,
    },
    /// The node said something by itself.
    Heard {
        /// The number of the stream.
        number: u64,
        /// What it says.
        word: Word,
        /// Drawn at random; spreads the next stream's opening.
        lot: u8,
    },
    /// Real calls failed.
    TrafficFailed {
        /// So many reads.
        reads: u32,
        /// So many writes.
        writes: u32,
    },
}

/// What a prober wants done.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Probe the node and feed the answer back.
    Probe {
        /// The probe's number.
        number: u64,
        /// Over which connection.
        via: Via,
        /// When to give up.
        timeout: Duration,
    },
    /// Tell what this supervisor thinks of the node now.
    Report {
        /// The opinion.
        opinion: Opinion,
        /// What the last probe said, or [`Evidence::ErrorRate`] if real traffic speaks against a node that serves.
        evidence: Evidence,
    },
    /// Look again after so long, whatever the schedule says: the node may be restarting. One that waits already is forgotten.
    LookAgain {
        /// How long.
        after: Duration,
    },
    /// Replace the kept connection: a half-open one never heals by itself. A watch that goes over it is over.
    Reconnect,
    /// Open a stream of what the node says by itself, over the kept connection, and feed back each word.
    Watch {
        /// The stream's number.
        number: u64,
    },
    /// Close the stream: the node is gone, or so it seems, and one that stops politely would wait for us.
    Unwatch,
}
