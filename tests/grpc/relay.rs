//! A proxy that knows none of the messages it relays.

use crate::nodes::loopback;
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use prost::bytes::Bytes;
use quorate::{
    testing::wait,
    transport::{
        DialOptions, NodeAddress,
        grpc::{BytesCodec, Connection, dial, relay},
    },
};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    codegen::http::{self, uri::PathAndQuery},
    server::NamedService,
    transport::Server,
};
use tonic_prost::ProstCodec;

/// A message of which the proxy's build could have known the first field at most.
#[derive(Clone, PartialEq, prost::Message)]
struct Note {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(uint64, tag = "2000")]
    of_a_newer_schema: u64,
}

type Notes = stream::BoxStream<'static, Result<Note, Status>>;
/// How the callers' streams ended: `true` if they said that they were done.
type Ends = Arc<Mutex<Vec<bool>>>;

/// The node behind the proxy: says everything once more.
#[derive(Clone, Default)]
struct Echo {
    ends: Ends,
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Note, Note>::default());
            Ok(match request.uri().path() {
                "/test.Echo/Unary" => grpc.unary(echo, request).await,
                _ => grpc.streaming(echo, request).await,
            })
        })
    }
}

impl tonic::server::UnaryService<Note> for Echo {
    type Response = Note;
    type Future = BoxFuture<'static, Result<Response<Note>, Status>>;
    fn call(&mut self, request: Request<Note>) -> Self::Future {
        Box::pin(async move {
            let (metadata, _, note) = request.into_parts();
            if note.text == "refuse" {
                return Err(Status::failed_precondition("as you wish"));
            }
            let mut response = Response::new(note);
            if let Some(value) = metadata.get("x-caller") {
                response.metadata_mut().insert("x-caller", value.clone());
            }
            Ok(response)
        })
    }
}

impl tonic::server::StreamingService<Note> for Echo {
    type Response = Note;
    type ResponseStream = Notes;
    type Future = BoxFuture<'static, Result<Response<Notes>, Status>>;
    fn call(&mut self, request: Request<Streaming<Note>>) -> Self::Future {
        let ends = Arc::clone(&self.ends);
        let (answers, answer) = tokio::sync::mpsc::channel(4);
        // In a task of its own, so that it sees the end of the caller's stream whatever happens to the answer.
        tokio::spawn(async move {
            let mut notes = request.into_inner();
            let done = loop {
                match notes.message().await {
                    Ok(Some(note)) => drop(answers.send(Ok(note)).await),
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            };
            ends.lock().unwrap().push(done);
        });
        let answer = tokio_stream::wrappers::ReceiverStream::new(answer);
        Box::pin(async move { Ok(Response::new(answer.boxed())) })
    }
}

#[derive(Clone)]
struct Proxy {
    node: Connection,
}

impl NamedService for Proxy {
    const NAME: &'static str = "test.Echo";
}

impl tower::Service<http::Request<Body>> for Proxy {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let relayed = Relayed { node: self.node.clone(), method: request.uri().path_and_query().unwrap().clone() };
        Box::pin(async move { Ok(tonic::server::Grpc::new(BytesCodec).streaming(relayed, request).await) })
    }
}

struct Relayed {
    node: Connection,
    method: PathAndQuery,
}

impl tonic::server::StreamingService<Bytes> for Relayed {
    type Response = Bytes;
    type ResponseStream = Streaming<Bytes>;
    type Future = BoxFuture<'static, Result<Response<Streaming<Bytes>>, Status>>;
    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(relay(self.node.clone(), self.method.clone(), request))
    }
}

async fn serve<S>(service: S) -> SocketAddr
where
    S: tower::Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future: Send>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
{
    let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

fn connect(address: SocketAddr) -> Connection {
    dial(&NodeAddress::new(format!("tcp://{address}")).unwrap(), None, DialOptions::default()).unwrap()
}

/// A client of a proxy before a node.
async fn stage() -> (tonic::client::Grpc<Connection>, Ends) {
    let echo = Echo::default();
    let ends = Arc::clone(&echo.ends);
    let node = connect(serve(echo).await);
    let mut client = tonic::client::Grpc::new(connect(serve(Proxy { node }).await));
    client.ready().await.unwrap();
    (client, ends)
}

fn note(text: &str) -> Note {
    Note { text: text.into(), of_a_newer_schema: u64::MAX }
}

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

#[tokio::test]
async fn a_unary_call_goes_through_a_proxy_with_fields_and_metadata_that_it_does_not_know() {
    let (mut client, _) = stage().await;
    let mut request = Request::new(note("hello"));
    request.metadata_mut().insert("x-caller", "me".parse().unwrap());
    let codec = ProstCodec::<Note, Note>::default();
    let response = client.unary(request, path("/test.Echo/Unary"), codec).await.unwrap();
    assert_eq!(response.metadata().get("x-caller").unwrap(), "me");
    assert_eq!(response.into_inner(), note("hello"));
}

#[tokio::test]
async fn a_nodes_refusal_comes_back_as_it_is() {
    let (mut client, _) = stage().await;
    let codec = ProstCodec::<Note, Note>::default();
    let error = client.unary(Request::new(note("refuse")), path("/test.Echo/Unary"), codec).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::FailedPrecondition, "as you wish"));
}

#[tokio::test]
async fn both_directions_of_a_stream_go_through_message_by_message() {
    let (mut client, ends) = stage().await;
    let (asking, asked) = tokio::sync::mpsc::channel(1);
    let outgoing = Request::new(tokio_stream::wrappers::ReceiverStream::new(asked));
    let codec = ProstCodec::<Note, Note>::default();
    let mut answers = client.streaming(outgoing, path("/test.Echo/Bidi"), codec).await.unwrap().into_inner();
    // Each is answered before the next is asked: nothing is collected on the way.
    for text in ["one", "two", "three"] {
        asking.send(note(text)).await.unwrap();
        assert_eq!(answers.message().await.unwrap(), Some(note(text)));
    }
    drop(asking);
    assert_eq!(answers.message().await.unwrap(), None);
    assert_eq!(*ends.lock().unwrap(), [true], "the node was told that the caller is done");
}

#[tokio::test]
async fn a_caller_who_vanishes_is_not_taken_for_one_who_is_done() {
    let echo = Echo::default();
    let ends = Arc::clone(&echo.ends);
    let proxy = serve(Proxy { node: connect(serve(echo).await) }).await;
    // A process of its own, as far as a test has one: its end closes its connection.
    let caller = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (asking, asked) = tokio::sync::mpsc::channel(1);
    let outgoing = Request::new(tokio_stream::wrappers::ReceiverStream::new(asked));
    let calling = caller.spawn(async move {
        let mut client = tonic::client::Grpc::new(connect(proxy));
        client.ready().await.unwrap();
        let codec = ProstCodec::<Note, Note>::default();
        let mut answers = client.streaming(outgoing, path("/test.Echo/Bidi"), codec).await.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap(), Some(note("half of it")));
        answers
    });
    asking.send(note("half of it")).await.unwrap();
    let answers = calling.await.unwrap();
    assert!(ends.lock().unwrap().is_empty());
    caller.shutdown_background();
    wait::until("the node sees the end", Duration::from_secs(5), || !ends.lock().unwrap().is_empty()).await;
    assert_eq!(*ends.lock().unwrap(), [false]);
    drop((asking, answers));
}
