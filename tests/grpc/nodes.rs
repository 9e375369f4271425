//! Servers that misbehave on request.

use quorate::{
    core::{evidence::Evidence, prober::Via},
    transport::{
        DialOptions, Link, NodeAddress, Transport,
        grpc::{GrpcTransport, NodeChannel},
    },
};
use std::{future::Future, net::SocketAddr, path::Path, time::Duration};
use tokio::{
    net::{TcpListener, UnixListener},
    task::JoinHandle,
};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;
use tonic_health::{ServingStatus, server::HealthReporter};

/// Long enough for a busy machine, short enough for a test.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// A server in a runtime of its own, so that stopping it ends its connections as a killed process's kernel does.
pub(crate) struct Node {
    pub(crate) reporter: HealthReporter,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Node {
    pub(crate) fn tcp(address: SocketAddr) -> (Self, SocketAddr) {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let node = Self::start(|service| async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        (node, address)
    }

    pub(crate) fn unix(path: &Path) -> Self {
        let path = path.to_owned();
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::start(|service| async move {
            let incoming = UnixListenerStream::new(UnixListener::from_std(listener).unwrap());
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        })
    }

    fn start<F: Future<Output = ()> + Send + 'static>(serve: impl FnOnce(HealthService) -> F) -> Self {
        let reporter = HealthReporter::new();
        let service = HealthService::new(tonic_health::server::HealthService::from_health_reporter(reporter.clone()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(serve(service));
        Self { reporter, runtime: Some(runtime) }
    }

    pub(crate) async fn report(&self, status: ServingStatus) {
        self.reporter.set_service_status("", status).await;
    }

    /// Ends the server and all its connections at once.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) type HealthService = tonic_health::pb::health_server::HealthServer<tonic_health::server::HealthService>;

/// Serves what a function makes of each connection.
pub(crate) async fn raw<F, R>(handle: F) -> (JoinHandle<()>, SocketAddr)
where
    F: Fn(tokio::net::TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    (task, address)
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn open(address: &str) -> Link<NodeChannel> {
    open_with(address, DialOptions::default())
}

pub(crate) fn open_with(address: &str, options: DialOptions) -> Link<NodeChannel> {
    GrpcTransport::new(options).unwrap().open(&NodeAddress::new(address).unwrap(), None).unwrap()
}

pub(crate) async fn check(link: &Link<NodeChannel>, via: Via) -> Evidence {
    link.probe.check(via, TIMEOUT).await
}

/// What both kinds of probe say.
pub(crate) async fn both(address: &str) -> Evidence {
    let link = open(address);
    let kept = check(&link, Via::Kept).await;
    assert_eq!(kept, check(&link, Via::Fresh).await, "the kept and the fresh connection disagree about {address}");
    kept
}
