//! How long a failover takes: from the first probe of ours that found a node failing to the first successor that we
//! elected in its place.
//!
//! Both ends are seen in this process and on its own clock. What other supervisors saw first, or elected, is in their
//! own numbers. The quorum's change of mind lies in between, so starting there would hide what detecting it took.

use crate::core::{evidence::Evidence, ids::NodeId};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The nodes that fail, as our probes see it.
#[derive(Default)]
pub(super) struct Failing(Mutex<BTreeMap<NodeId, Since>>);

struct Since {
    at: Instant,
    told: bool,
}

impl Failing {
    /// A probe ended. A node that serves again starts anew; what is trouble of our own says nothing.
    pub(super) fn probed(&self, node: &NodeId, evidence: Evidence) {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match evidence {
            Evidence::Serving => {
                failing.remove(node);
            }
            Evidence::Hard(_) | Evidence::Soft(_) | Evidence::Misconfigured(_) => {
                if !failing.contains_key(node) {
                    failing.insert(node.clone(), Since { at: Instant::now(), told: false });
                }
            }
            Evidence::Graceful | Evidence::Ours(_) | Evidence::ErrorRate(_) => {}
        }
    }

    /// Nobody probes the node any more.
    pub(super) fn forget(&self, node: &NodeId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }

    /// How long the node has failed, if this is the first successor since it began to. Its other repositories are
    /// elected when somebody asks, which may be hours later and is no measure of anything.
    pub(super) fn succeeded(&self, node: &NodeId) -> Option<Duration> {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = failing.get_mut(node).filter(|since| !since.told)?;
        since.told = true;
        Some(since.at.elapsed())
    }
}
