//! Nodes, and applications that dial them. Every call is one of the health protocol's: any unary method would do, and
//! that one is at hand.

use futures_util::future::BoxFuture;
use quorate::{
    testing::wait,
    transport::{
        DialOptions, Link, NodeAddress, Transport,
        grpc::{
            GrpcTransport, Handshaker, NodeChannel,
            backchannel::{Backchannel, Backchannels, Limits, NodeConnection, Peer, accept},
        },
    },
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status,
    body::Body,
    client::GrpcService,
    codegen::{Body as HttpBody, Bytes, StdError},
    service::Routes,
    transport::Server,
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};

/// Long enough for a busy machine, short enough for a test.
pub(crate) const LONG: Duration = Duration::from_secs(10);
/// A limit that a test waits out.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// What a service does with a call; the text is what the caller said.
pub(crate) type Answer = Arc<dyn Fn(Request<String>) -> BoxFuture<'static, Result<i32, Status>> + Send + Sync>;

struct Service(Answer);

#[tonic::async_trait]
impl Health for Service {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let status = (self.0)(request.map(|request| request.service)).await?;
        Ok(Response::new(HealthCheckResponse { status }))
    }
    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;
    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not needed"))
    }
}

/// What calls go over: a node's channel, or the way back.
pub(crate) trait Calls:
    GrpcService<Body, ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static> + Clone
{
}

impl<C> Calls for C where
    C: GrpcService<Body, ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static> + Clone
{
}

/// Says something over a channel.
pub(crate) async fn say(channel: &impl Calls, what: &str) -> Result<i32, Status> {
    say_with(channel, Request::new(what.to_owned())).await
}

pub(crate) async fn say_with(channel: &impl Calls, what: Request<String>) -> Result<i32, Status> {
    let request = what.map(|service| HealthCheckRequest { service });
    let mut client = HealthClient::new(channel.clone());
    wait::within("a call is answered", LONG, client.check(request)).await.map(|answer| answer.into_inner().status)
}

/// How many calls came over which kind of connection.
#[derive(Default)]
struct Counts {
    plain: AtomicUsize,
    multiplexed: AtomicUsize,
}

/// A storage node in this process.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) backchannels: Backchannels,
    counts: Arc<Counts>,
    _serving: JoinSet<()>,
}

impl Node {
    /// What every node answers: nothing said is a probe, `id` is the caller's number, `back…` is said back to the
    /// caller; all else is up to `more`.
    pub(crate) async fn start(limits: Limits, more: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let backchannels = Backchannels::new();
        let incoming = accept(TcpListenerStream::new(listener), &backchannels, limits);
        Self::serve(address, backchannels, incoming, more)
    }

    pub(crate) fn serve(
        address: SocketAddr,
        backchannels: Backchannels,
        incoming: impl Stream<Item = std::io::Result<NodeConnection>> + Send + 'static,
        more: Answer,
    ) -> Self {
        let counts = Arc::new(Counts::default());
        let service = service(answering(more, Arc::clone(&counts)));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, backchannels, counts, _serving: serving }
    }

    pub(crate) fn plain_calls(&self) -> usize {
        self.counts.plain.load(Ordering::SeqCst)
    }

    pub(crate) fn multiplexed_calls(&self) -> usize {
        self.counts.multiplexed.load(Ordering::SeqCst)
    }

    pub(crate) async fn plain() -> Self {
        Self::start(Limits::default(), nothing()).await
    }
}

fn service(answer: Answer) -> HealthServer<impl Health> {
    HealthServer::new(Service(answer))
}

fn answering(more: Answer, counts: Arc<Counts>) -> Answer {
    Arc::new(move |request| {
        let kind = if Peer::of(&request).is_ok() { &counts.multiplexed } else { &counts.plain };
        kind.fetch_add(1, Ordering::SeqCst);
        let more = Arc::clone(&more);
        Box::pin(async move {
            let said = request.get_ref().clone();
            if said.is_empty() {
                return Ok(1);
            }
            if said == "id" {
                return Ok(Peer::of(&request)?.id().to_string().parse().unwrap());
            }
            if said.starts_with("back") {
                return say(&Peer::of(&request)?.channel(), &said).await;
            }
            more(request).await
        })
    })
}

/// Knows no answer.
pub(crate) fn nothing() -> Answer {
    Arc::new(|_| Box::pin(async { Err(Status::unimplemented("not in this test")) }))
}

/// An application that can be called back, and then says this number.
pub(crate) fn called_back(number: i32) -> Backchannel {
    Backchannel::new(Routes::new(service(Arc::new(move |_| Box::pin(async move { Ok(number) })))))
}

pub(crate) fn dial(address: SocketAddr, handshaker: impl Handshaker) -> Link<NodeChannel> {
    dial_with(&format!("tcp://{address}"), DialOptions::default(), Some(Arc::new(handshaker)))
}

pub(crate) fn dial_with(
    address: &str,
    options: DialOptions,
    handshaker: Option<Arc<dyn Handshaker>>,
) -> Link<NodeChannel> {
    let transport = GrpcTransport::new(options).unwrap();
    let transport = match handshaker {
        Some(handshaker) => transport.with_handshaker(handshaker),
        None => transport,
    };
    transport.open(&NodeAddress::new(address).unwrap(), None).unwrap()
}

pub(crate) fn channel(link: &Link<NodeChannel>) -> NodeChannel {
    link.connection.borrow().clone()
}
