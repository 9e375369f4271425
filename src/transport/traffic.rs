//! What real traffic tells a node's actor, from any thread: two counters and a bell.
//!
//! A channel of messages was rejected: its bound would have to be larger than any burst, and what did not fit would be
//! lost. Two numbers lose nothing and are bounded by themselves.

use crate::core::error_tracker::Traffic;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::Notify;

/// Where failed calls to one node are recorded. A cheap clone, for any thread.
#[derive(Debug, Clone, Default)]
pub struct TrafficErrors(Arc<Pending>);

#[derive(Debug, Default)]
struct Pending {
    reads: AtomicU64,
    writes: AtomicU64,
    bell: Notify,
}

impl TrafficErrors {
    /// A call of this kind failed, and the node is to blame. Never waits; an atomic addition, and for the first since
    /// the last [`TrafficErrors::take`] a wake-up.
    pub fn record(&self, kind: Traffic) {
        let count = match kind {
            Traffic::Read => &self.0.reads,
            Traffic::Write => &self.0.writes,
        };
        if count.fetch_add(1, Ordering::AcqRel) == 0 {
            self.0.bell.notify_one();
        }
    }

    /// The failed reads and writes since this was last asked.
    #[must_use]
    pub fn take(&self) -> (u32, u32) {
        let taken = |count: &AtomicU64| u32::try_from(count.swap(0, Ordering::AcqRel)).unwrap_or(u32::MAX);
        (taken(&self.0.reads), taken(&self.0.writes))
    }

    /// Waits until something was recorded since it was last taken. For one listener at a time.
    pub async fn recorded(&self) {
        self.0.bell.notified().await;
    }
}

/// Tells whether a call reads or writes, by its path (`/package.Service/Method`). Asked once per call: it must not wait.
///
/// A closure will do: `|path: &str| (path == "/my.Store/Put").then_some(Traffic::Write)`.
pub trait MethodClassifier: Send + Sync {
    /// `None`: its errors are not counted.
    fn classify(&self, path: &str) -> Option<Traffic>;
}

impl<F: Fn(&str) -> Option<Traffic> + Send + Sync> MethodClassifier for F {
    fn classify(&self, path: &str) -> Option<Traffic> {
        self(path)
    }
}

/// The default classifier: by the first word of the method's name, for there is nothing else to go by.
///
/// One of [`ByName::READS`] reads, everything else writes. Calls of `grpc.*` services (health, reflection) are probes
/// and not traffic. Whoever has the services' descriptors knows better, and should say so with a classifier of their
/// own: to this one, Gitaly's `SSHUploadPack` is a write.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByName;

impl ByName {
    /// First words of methods that read.
    pub const READS: [&'static str; 19] = [
        "Check", "Count", "Describe", "Diff", "Download", "Exists", "Fetch", "Find", "Get", "Has", "Is", "List",
        "Lookup", "Query", "Raw", "Read", "Search", "Stat", "Watch",
    ];
}

impl MethodClassifier for ByName {
    fn classify(&self, path: &str) -> Option<Traffic> {
        let (service, method) = path.strip_prefix('/').unwrap_or(path).rsplit_once('/')?;
        if service.starts_with("grpc.") {
            return None;
        }
        // `Getaway` is no `Get`: the word must end where the next begins.
        let reads = Self::READS.iter().any(|word| {
            method.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_lowercase()))
        });
        Some(if reads { Traffic::Read } else { Traffic::Write })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_told_by_the_first_word_of_its_name() {
        for (path, kind) in [
            ("/my.Store/GetObject", Some(Traffic::Read)),
            ("/my.Store/Get", Some(Traffic::Read)),
            ("/my.Store/Getaway", Some(Traffic::Write)),
            ("/my.Store/ListV2", Some(Traffic::Read)),
            ("/my.Store/PutObject", Some(Traffic::Write)),
            ("/my.Store/IssueToken", Some(Traffic::Write)),
            ("/grpc.health.v1.Health/Check", None),
            ("no path at all", None),
        ] {
            assert_eq!(ByName.classify(path), kind, "{path}");
        }
    }

    #[test]
    fn no_error_of_any_thread_is_lost() {
        let errors = TrafficErrors::default();
        let (mut reads, mut writes) = (0, 0);
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        errors.record(Traffic::Read);
                        errors.record(Traffic::Write);
                    }
                });
            }
            // Taken while they are recorded.
            for _ in 0..1_000 {
                let (more_reads, more_writes) = errors.take();
                (reads, writes) = (reads + more_reads, writes + more_writes);
            }
        });
        let (more_reads, more_writes) = errors.take();
        assert_eq!((reads + more_reads, writes + more_writes), (10_000, 10_000));
    }
}
