//! Real calls over a tracked channel: which of their ends speak against the node, and how often.

use crate::nodes::{Node, TIMEOUT, loopback, open};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use quorate::{
    core::{error_tracker::Traffic, evidence::Evidence, prober::Via},
    testing::wait,
    transport::{
        DialOptions, NodeAddress, TrafficErrors, Transport,
        grpc::{GrpcTransport, NodeChannel, TrackErrors},
    },
};
use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Status, Streaming, body::Body, client::Grpc, server::NamedService, transport::Server};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;
use tower::Layer;

/// A node's service: the method's name says how the call ends.
///
/// `GetHeaders3` ends with code 3 in the headers, `PutTrailers14` with code 14 after a message, `GetBreaks` with a
/// connection error after a message, `GetHangs` never, `GetPage` is answered by something that is no gRPC.
#[derive(Clone)]
struct Scripted;

impl NamedService for Scripted {
    const NAME: &'static str = "test.Store";
}

impl tower::Service<http::Request<Body>> for Scripted {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit_once('/').unwrap().1;
        let code = Code::from_bytes(method.trim_start_matches(|c: char| c.is_alphabetic()).as_bytes());
        let answer = if method.contains("Headers") {
            Status::new(code, "as told").into_http()
        } else if method.contains("Page") {
            http::Response::builder().status(502).body(Body::empty()).unwrap()
        } else {
            // One empty message: no compression, no bytes.
            let mut frames = VecDeque::from([Some(Ok(Frame::data(Bytes::from_static(&[0; 5]))))]);
            if method.contains("Breaks") {
                frames.push_back(Some(Err(Status::internal("the handler died"))));
            } else if method.contains("Trailers") {
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from(code as i32));
                frames.push_back(Some(Ok(Frame::trailers(trailers))));
            } else {
                frames.push_back(None);
            }
            let body = Body::new(Frames(frames));
            http::Response::builder().header("content-type", "application/grpc").body(body).unwrap()
        };
        std::future::ready(Ok(answer))
    }
}

/// Frames as they are; `None` stands for one that never comes.
struct Frames(VecDeque<Option<Result<Frame<Bytes>, Status>>>);

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Status;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.0.pop_front() {
            Some(Some(frame)) => Poll::Ready(Some(frame)),
            Some(None) => {
                self.0.push_front(None);
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }
}

async fn serve() -> String {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let server = Server::builder().add_service(health).add_service(Scripted);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    format!("tcp://{address}")
}

/// A client of the scripted service, and where its node's errors are recorded.
struct Client {
    channel: NodeChannel,
    errors: TrafficErrors,
}

impl Client {
    async fn new() -> Self {
        let link = open(&serve().await);
        Self { channel: link.connection.borrow().clone(), errors: link.traffic }
    }
    async fn stream(&self, method: &str) -> Result<Streaming<HealthCheckResponse>, Status> {
        let mut client = Grpc::new(self.channel.clone());
        client.ready().await.unwrap();
        let path = format!("/test.Store/{method}").parse().unwrap();
        let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        Ok(client.server_streaming(Request::new(HealthCheckRequest::default()), path, codec).await?.into_inner())
    }
    /// Reads a stream to its end.
    async fn call(&self, method: &str) -> Result<usize, Status> {
        let mut stream = self.stream(method).await?;
        let mut messages = 0;
        while stream.message().await?.is_some() {
            messages += 1;
        }
        Ok(messages)
    }
    /// As [`Client::call`], and what was recorded of it.
    async fn recorded(&self, method: &str) -> (u32, u32) {
        let _ = wait::within("the call ends", TIMEOUT, self.call(method)).await;
        self.errors.take()
    }
}

#[tokio::test]
async fn an_infrastructure_error_counts_once_wherever_the_status_stands() {
    let client = Client::new().await;
    for code in 1..=16 {
        let failed = [2, 4, 13, 14, 15].contains(&code);
        for place in ["Headers", "Trailers"] {
            let expected = u32::from(failed);
            assert_eq!(client.recorded(&format!("Get{place}{code}")).await, (expected, 0), "{place} {code}");
            assert_eq!(client.recorded(&format!("Put{place}{code}")).await, (0, expected), "{place} {code}");
        }
    }
}

#[tokio::test]
async fn a_call_that_ends_well_counts_for_nothing() {
    let client = Client::new().await;
    assert_eq!(client.call("GetTrailers0").await.unwrap(), 1, "the message came through");
    assert_eq!(client.errors.take(), (0, 0));
}

#[tokio::test]
async fn a_stream_that_breaks_counts_once() {
    let client = Client::new().await;
    assert_eq!(client.recorded("PutBreaks").await, (0, 1));
}

#[tokio::test]
async fn a_call_that_its_caller_drops_does_not_speak_against_the_node() {
    let client = Client::new().await;
    let mut stream = client.stream("GetHangs").await.unwrap();
    assert!(stream.message().await.unwrap().is_some());
    drop(stream);
    let abandoned = tokio::time::timeout(Duration::from_millis(50), client.call("GetHangs")).await;
    assert!(abandoned.is_err());
    assert_eq!(client.recorded("GetTrailers0").await, (0, 0));
}

#[tokio::test]
async fn a_deadline_that_the_caller_gave_the_call_speaks_against_the_node() {
    // Nobody accepts from this listener, so no answer ever comes.
    let silent = TcpListener::bind(loopback()).await.unwrap();
    let link = open(&format!("tcp://{}", silent.local_addr().unwrap()));
    let mut client = Grpc::new(link.connection.borrow().clone());
    client.ready().await.unwrap();
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(Duration::from_millis(100));
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let call = client.unary(request, "/test.Store/GetObject".parse().unwrap(), codec);
    wait::within("the deadline", TIMEOUT, call).await.unwrap_err();
    assert_eq!(link.traffic.take(), (1, 0));
}

#[tokio::test]
async fn a_call_that_cannot_even_be_opened_counts_defect_t() {
    let (node, address) = Node::tcp(loopback());
    let link = open(&format!("tcp://{address}"));
    node.kill();
    let client = Client { channel: link.connection.borrow().clone(), errors: link.traffic };
    client.call("PutObject").await.unwrap_err();
    assert_eq!(client.errors.take(), (0, 1));
}

#[tokio::test]
async fn a_connection_that_dies_under_a_stream_counts() {
    let (node, address) = Node::tcp(loopback());
    let link = open(&format!("tcp://{address}"));
    let everything = |_: &str| Some(Traffic::Read);
    let channel =
        TrackErrors::new(link.traffic.clone(), Arc::new(everything)).layer(link.connection.borrow().get_ref().clone());
    let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
    let mut stream = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    assert_eq!(link.traffic.take(), (0, 0));
    node.kill();
    wait::within("the stream ends", TIMEOUT, stream.message()).await.unwrap_err();
    assert_eq!(link.traffic.take(), (1, 0));
}

#[tokio::test]
async fn trouble_of_our_own_does_not_speak_against_the_node() {
    // `.invalid` is reserved for names that never exist.
    let link = open("dns:///g1.quorate.invalid");
    let client = Client { channel: link.connection.borrow().clone(), errors: link.traffic };
    client.call("PutObject").await.unwrap_err();
    assert_eq!(client.errors.take(), (0, 0));
}

#[tokio::test]
async fn an_answer_from_something_else_than_the_node_counts_if_it_failed() {
    let client = Client::new().await;
    assert_eq!(client.recorded("GetPage").await, (1, 0));
}

#[tokio::test]
async fn probes_are_no_traffic() {
    let link = open("tcp://127.0.0.1:1");
    for via in [Via::Kept, Via::Fresh] {
        assert_ne!(link.probe.check(via, TIMEOUT).await, Evidence::Serving);
    }
    assert_eq!(link.traffic.take(), (0, 0));
}

#[tokio::test]
async fn a_replaced_connection_is_tracked_as_the_first_was() {
    let link = open(&serve().await);
    link.probe.reconnect();
    let client = Client { channel: link.connection.borrow().clone(), errors: link.traffic };
    assert_eq!(client.recorded("PutTrailers14").await, (0, 1));
}

#[tokio::test]
async fn two_nodes_at_one_address_do_not_share_their_errors() {
    let transport = GrpcTransport::new(DialOptions::default()).unwrap();
    let address = NodeAddress::new(serve().await).unwrap();
    let (here, there) = (transport.open(&address, None).unwrap(), transport.open(&address, None).unwrap());
    let client = Client { channel: here.connection.borrow().clone(), errors: here.traffic };
    assert_eq!(client.recorded("PutTrailers14").await, (0, 1));
    assert_eq!(there.traffic.take(), (0, 0));
}

#[tokio::test]
async fn an_embedders_classifier_is_asked_instead_of_the_default_one() {
    let only_writes = |path: &str| path.ends_with("/GetTrailers14").then_some(Traffic::Write);
    let transport = GrpcTransport::new(DialOptions::default()).unwrap().with_classifier(Arc::new(only_writes));
    let link = transport.open(&NodeAddress::new(serve().await).unwrap(), None).unwrap();
    let client = Client { channel: link.connection.borrow().clone(), errors: link.traffic };
    assert_eq!(client.recorded("GetTrailers14").await, (0, 1));
    assert_eq!(client.recorded("PutTrailers14").await, (0, 0), "not counted at all");
}

/// The whole way: a client's calls over the connection of a started supervisor's node.
#[cfg(feature = "sqlite")]
#[actix::test]
async fn a_node_whose_real_writes_fail_is_taken_out_and_let_back_while_every_probe_succeeds() {
    use quorate::{
        Config, Supervisor,
        config::{NodeConfig, VirtualStorageConfig},
        core::{error_tracker::ErrorLimits, ids::NodeId, settings::Profile},
    };
    let place = tempfile::tempdir().unwrap();
    let mut config = Config::new(Profile::Lan, format!("sqlite:{}", place.path().join("q.db").display()));
    config.name = Some("s1".parse().unwrap());
    let (window, cool_down) = (Duration::from_secs(60), Duration::from_secs(1));
    config.health.errors = Some(ErrorLimits { window, reads: 100, writes: 3, cool_down });
    let node = NodeId::new("v".parse().unwrap(), "g1".parse().unwrap());
    let nodes = vec![NodeConfig::new(node.storage.clone(), serve().await)];
    config.virtual_storages =
        vec![VirtualStorageConfig { nodes, ..VirtualStorageConfig::new(node.virtual_storage.clone()) }];
    let classifier = Arc::new(|path: &str| path.contains("/Put").then_some(Traffic::Write));
    let one = Supervisor::start_with(config, quorate::telemetry::Meter::default(), |transport| {
        transport.with_classifier(classifier)
    })
    .await
    .unwrap();
    let handle = one.node(&node).unwrap();
    let limit = Duration::from_secs(20);
    wait::until("up", limit, || handle.is_healthy()).await;

    let client = Client { channel: handle.connection(), errors: TrafficErrors::default() };
    for method in ["GetHeaders14", "PutHeaders5", "PutHeaders14", "PutTrailers14"] {
        client.call(method).await.unwrap_err();
    }
    let writes = async || handle.health().await.and_then(|health| health.traffic).map(|traffic| traffic.writes);
    wait::until_async("two writes are counted", limit, async || writes().await == Some(2)).await;
    assert!(handle.is_healthy());
    client.call("PutHeaders13").await.unwrap_err();
    wait::until("out", limit, || !handle.is_healthy()).await;
    let health = handle.health().await.unwrap();
    assert_eq!(health.evidence, Some(Evidence::ErrorRate(Traffic::Write)));
    assert!(health.window.iter().all(|served| *served), "no probe ever failed: {:?}", health.window);
    wait::until("back", limit, || handle.is_healthy()).await;
    client.call("PutHeaders14").await.unwrap_err();
    wait::until("one more error, and out again", limit, || !handle.is_healthy()).await;
    one.stop().await;
}
