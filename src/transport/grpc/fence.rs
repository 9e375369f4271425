//! Whether a node has a fence is learned by asking it, and remembered while it says that it has none.

use super::connection::Connection;
use crate::{core::reports::FenceReport, fencing};
use std::time::Duration;
use tokio::{sync::watch, time::Instant};
use tonic::Code;

/// How long a node that has no fence is not asked for one. It is asked earlier after a probe that failed, or with another
/// connection: whoever was installed with a fence was restarted.
const WITHOUT: Duration = Duration::from_secs(60);

/// Until when a node is known to have none.
#[derive(Debug)]
pub(super) struct Offers(watch::Sender<Option<Instant>>);

impl Default for Offers {
    /// Not known yet.
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Offers {
    /// Nothing is known of the node's fence any more.
    pub(super) fn ask_again(&self) {
        self.0.send_replace(None);
    }

    /// What the fence says, unless it is known that there is none.
    pub(super) async fn report(&self, connection: Connection, limit: Duration) -> Option<FenceReport> {
        if self.0.borrow().is_some_and(|until| Instant::now() < until) {
            return None;
        }
        match fencing::report(connection, limit).await {
            Ok(report) => Some(report),
            Err(status) => {
                if status.code() == Code::Unimplemented {
                    self.0.send_replace(Some(Instant::now() + WITHOUT));
                } else {
                    tracing::debug!(%status, "the node's fence did not report");
                }
                None
            }
        }
    }
}
