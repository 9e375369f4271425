//! A storage node with a fence, in process: every path answers by a handler that a test can hold.

use quorate::fencing::{EpochGuard, EpochStore, FenceLayer, MemoryEpochStore};
use std::{net::SocketAddr, sync::Arc};
use tokio::sync::{Mutex, Notify};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    metadata::MetadataMap,
    transport::{Channel, Endpoint, Server},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};

/// What the handler does with its guard when it commits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    Checks,
    DoesNotCheck,
}

/// The handler: any unary service would do, and the health protocol's is at hand. Calls of it are fenced here, for the
/// tests' layers exempt nothing but where they say so.
pub(crate) struct Handler {
    commit: Commit,
    pub(crate) entered: Arc<Notify>,
    pub(crate) resume: Arc<Notify>,
    hold: bool,
    pub(crate) seen: Arc<Mutex<Vec<Option<EpochGuard>>>>,
}

#[tonic::async_trait]
impl Health for Handler {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let guard = EpochGuard::find(&request).cloned();
        self.seen.lock().await.push(guard.clone());
        if self.hold {
            self.entered.notify_one();
            self.resume.notified().await;
        }
        if let (Some(guard), Commit::Checks) = (&guard, self.commit) {
            guard.check()?;
        }
        Ok(Response::new(HealthCheckResponse { status: 1 }))
    }
    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;
    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not needed"))
    }
}

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) channel: Channel,
    pub(crate) store: Arc<MemoryEpochStore>,
    pub(crate) entered: Arc<Notify>,
    pub(crate) resume: Arc<Notify>,
    pub(crate) seen: Arc<Mutex<Vec<Option<EpochGuard>>>>,
}

pub(crate) async fn start(commit: Commit, hold: bool, configure: impl FnOnce(FenceLayer) -> FenceLayer) -> Node {
    let store = Arc::new(MemoryEpochStore::new());
    let (entered, resume, seen) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::default());
    let handler =
        Handler { commit, hold, entered: Arc::clone(&entered), resume: Arc::clone(&resume), seen: Arc::clone(&seen) };
    let layer = FenceLayer::new(crate::storage("g1"), Arc::clone(&store) as Arc<dyn EpochStore>);
    let layer = configure(layer);
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let channel = connect(address);
    tokio::spawn(
        Server::builder()
            .layer(layer.clone())
            .add_service(layer.server())
            .add_service(HealthServer::new(handler))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    Node { address, channel, store, entered, resume, seen }
}

pub(crate) fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

pub(crate) async fn call(channel: &Channel, fill: impl FnOnce(&mut MetadataMap)) -> Result<(), Status> {
    let mut request = Request::new(HealthCheckRequest::default());
    fill(request.metadata_mut());
    HealthClient::new(channel.clone()).check(request).await.map(drop)
}
