//! The fence's own service: it hears announcements and reports what it knows.

use super::{
    generated::{AnnounceReply, AnnounceRequest, ReportReply, ReportRequest, fence_client::FenceClient, fence_server},
    guard::EpochGuard,
    store::{EpochStore, FenceReport},
};
use std::{fmt, sync::Arc, time::Duration};
use tonic::{Request, Response, Status, body::Body, client::GrpcService};

/// The service `quorate.fence.v1.Fence`, for a tonic server. Made by [`FenceLayer::server`](super::FenceLayer::server).
pub type FenceServer = fence_server::FenceServer<FenceReporter>;

/// What answers for the fence.
#[derive(Clone)]
pub struct FenceReporter {
    store: Arc<dyn EpochStore>,
}

impl fmt::Debug for FenceReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceReporter").finish_non_exhaustive()
    }
}

impl FenceReporter {
    pub(super) fn new(store: Arc<dyn EpochStore>) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl fence_server::Fence for FenceReporter {
    /// The layer in front has done the work already: it had the epoch recorded before this was called.
    async fn announce(&self, request: Request<AnnounceRequest>) -> Result<Response<AnnounceReply>, Status> {
        let guard = EpochGuard::of(&request)?;
        guard.check()?;
        Ok(Response::new(AnnounceReply { epoch: guard.epoch().to_string(), adoption_due: guard.adoption_due() }))
    }

    async fn report(&self, _: Request<ReportRequest>) -> Result<Response<ReportReply>, Status> {
        let FenceReport { cluster, highest } = self.store.report();
        Ok(Response::new(ReportReply {
            cluster: cluster.map(String::from).unwrap_or_default(),
            highest_epoch: highest.map(|epoch| epoch.to_string()).unwrap_or_default(),
        }))
    }
}

/// Asks a node's fence which cluster it belongs to and how far its epochs have come. `UNIMPLEMENTED` means that the
/// node has no fence.
pub async fn report<C>(channel: C, timeout: Duration) -> Result<FenceReport, Status>
where
    C: GrpcService<Body, ResponseBody = Body>,
{
    let mut client = FenceClient::new(channel);
    let reply = tokio::time::timeout(timeout, client.report(ReportRequest {}))
        .await
        .map_err(|_| Status::deadline_exceeded("the fence did not report in time"))??
        .into_inner();
    let unreadable = |_: crate::core::epoch::InvalidEpoch| Status::internal("the fence's report cannot be read");
    let cluster = match reply.cluster {
        cluster if cluster.is_empty() => None,
        cluster => Some(cluster.try_into().map_err(|_| Status::internal("the fence's report cannot be read"))?),
    };
    let highest = match reply.highest_epoch.as_str() {
        "" => None,
        epoch => Some(epoch.parse().map_err(unreadable)?),
    };
    Ok(FenceReport { cluster, highest })
}
