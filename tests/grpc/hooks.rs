//! What each call carries, and who sees it.

use crate::nodes::{TIMEOUT, loopback};
use quorate::{
    core::{
        evidence::{Evidence, Hard},
        prober::Via,
    },
    testing::wait,
    transport::{
        DialOptions, NodeAddress, Transport,
        grpc::{CORRELATION_ID_KEY, Call, CallHook, GrpcTransport, NodeChannel, Propagate, TraceParent},
    },
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Status, metadata::MetadataMap, service::interceptor::InterceptedService, transport::Server,
};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_client::HealthClient},
};

type Seen = Arc<Mutex<Vec<MetadataMap>>>;

/// A node that keeps the metadata of each call, with its health.
async fn listening() -> (SocketAddr, Seen, tonic_health::server::HealthReporter) {
    let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (reporter, health) = tonic_health::server::health_reporter();
    let seen = Seen::default();
    let saw = Arc::clone(&seen);
    let service = InterceptedService::new(health, move |request: Request<()>| {
        saw.lock().unwrap().push(request.metadata().clone());
        Ok(request)
    });
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    (address, seen, reporter)
}

fn transport() -> GrpcTransport {
    GrpcTransport::new(DialOptions::default()).unwrap()
}

fn connection(transport: &GrpcTransport, address: SocketAddr) -> NodeChannel {
    let link = transport.open(&NodeAddress::new(format!("tcp://{address}")).unwrap(), None).unwrap();
    link.connection.borrow().clone()
}

fn said(metadata: &MetadataMap, key: &str) -> String {
    metadata.get(key).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// Writes down everything that happens.
#[derive(Default)]
struct Diary(Mutex<Vec<(String, Option<Code>)>>, Mutex<Vec<Call>>);

impl CallHook for Diary {
    fn starting(&self, call: &Call, _: &mut MetadataMap) -> Result<(), Status> {
        self.0.lock().unwrap().push((call.method.clone(), None));
        self.1.lock().unwrap().push(call.clone());
        Ok(())
    }
    fn ended(&self, call: &Call, code: Code, took: Duration) {
        assert!(took < TIMEOUT, "{took:?}");
        self.0.lock().unwrap().push((call.method.clone(), Some(code)));
    }
}

impl Diary {
    fn take(&self) -> Vec<Option<Code>> {
        std::mem::take(&mut *self.0.lock().unwrap()).into_iter().map(|(_, code)| code).collect()
    }
}

#[tokio::test]
async fn a_hook_sees_each_call_begin_and_end_once_with_its_code() {
    let (address, _, _reporter) = listening().await;
    let diary = Arc::new(Diary::default());
    let transport = transport().hook(diary.clone());
    let node = connection(&transport, address);
    let mut client = HealthClient::new(node.clone());

    client.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(diary.take(), [None, Some(Code::Ok)]);

    let unknown = HealthCheckRequest { service: "nobody".into() };
    assert_eq!(client.check(unknown).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(diary.take(), [None, Some(Code::NotFound)]);

    // A stream lasts until it was read to its end or dropped.
    let mut stream = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    assert_eq!(diary.take(), [None]);
    drop(stream);
    assert_eq!(diary.take(), [Some(Code::Cancelled)]);

    // A caller that stops waiting.
    tokio::select! {
        biased;
        answer = client.check(HealthCheckRequest::default()) => panic!("answered at once: {answer:?}"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(diary.take(), [None, Some(Code::Cancelled)]);

    // A node that is not reached.
    let nobody = std::net::TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    let error =
        HealthClient::new(connection(&transport, nobody)).check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!((error.code(), diary.take()), (Code::Unavailable, vec![None, Some(Code::Unavailable)]));

    let calls = diary.1.lock().unwrap().clone();
    let methods: Vec<&str> = calls.iter().map(|call| call.method.as_str()).collect();
    let (check, watch) = ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch");
    assert_eq!(methods, [check, check, watch, check, check]);
    assert_eq!(calls[0].address.as_str(), format!("tcp://{address}"));
}

#[tokio::test]
async fn a_hook_that_refuses_a_call_keeps_it_at_home() {
    struct Closed;
    impl CallHook for Closed {
        fn starting(&self, _: &Call, _: &mut MetadataMap) -> Result<(), Status> {
            Err(Status::resource_exhausted("not today"))
        }
    }
    let (address, seen, _reporter) = listening().await;
    let after = Arc::new(Diary::default());
    let node = connection(&transport().hook(Arc::new(Closed)).hook(after.clone()), address);
    let error = HealthClient::new(node).check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::ResourceExhausted, "not today"));
    assert!(seen.lock().unwrap().is_empty() && after.take().is_empty());
}

#[tokio::test]
async fn a_call_keeps_the_callers_correlation_id_and_gets_one_if_it_has_none() {
    let (address, seen, _reporter) = listening().await;
    let diary = Arc::new(Diary::default());
    let mut client = HealthClient::new(connection(&transport().hook(diary.clone()), address));
    let mut own = Request::new(HealthCheckRequest::default());
    own.metadata_mut().insert(CORRELATION_ID_KEY, "abc".parse().unwrap());
    client.check(own).await.unwrap();
    for _ in 0..2 {
        client.check(HealthCheckRequest::default()).await.unwrap();
    }
    let sent: Vec<String> = seen.lock().unwrap().iter().map(|metadata| said(metadata, CORRELATION_ID_KEY)).collect();
    assert_eq!(sent[0], "abc");
    assert!(sent[1].len() == 32 && sent[2].len() == 32 && sent[1] != sent[2], "{sent:?}");
    let told: Vec<String> = diary.1.lock().unwrap().iter().map(|call| call.correlation_id.clone()).collect();
    assert_eq!(told, sent, "the hooks are told what is sent");
}

#[tokio::test]
async fn the_trace_goes_along() {
    let (address, seen, _reporter) = listening().await;
    let current = Arc::new(Mutex::new(None));
    let function = Arc::clone(&current);
    let node = connection(&transport().hook(Arc::new(Propagate(move || *function.lock().unwrap()))), address);
    let mut client = HealthClient::new(node);
    let trace =
        TraceParent { trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, span: 0xb7ad_6b71_6920_3331, sampled: true };
    for parent in
        [Some(trace), None, Some(TraceParent { span: 0, ..trace }), Some(TraceParent { sampled: false, ..trace })]
    {
        *current.lock().unwrap() = parent;
        client.check(HealthCheckRequest::default()).await.unwrap();
    }
    let sent: Vec<String> = seen.lock().unwrap().iter().map(|metadata| said(metadata, "traceparent")).collect();
    let shown = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";
    assert_eq!(sent, [format!("{shown}1"), String::new(), String::new(), format!("{shown}0")]);
}

/// What was logged, as `field=value`, with the fields of the span around it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("quorate")
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        let mut spans = self.0.lock().unwrap();
        let mut fields = Fields::default();
        span.record(&mut fields);
        spans.push(fields.0);
        tracing::span::Id::from_u64(spans.len() as u64)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.1.lock().unwrap().push(fields.0);
    }
    fn enter(&self, span: &tracing::span::Id) {
        let span = self.0.lock().unwrap()[usize::try_from(span.into_u64()).unwrap() - 1].clone();
        self.1.lock().unwrap().push(format!("enter {span}"));
    }
    fn exit(&self, _: &tracing::span::Id) {}
}

#[derive(Default)]
struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
}

#[tokio::test]
async fn a_failed_probe_is_logged_under_the_correlation_id_that_the_node_saw() {
    let (address, seen, reporter) = listening().await;
    reporter.set_service_status("", ServingStatus::NotServing).await;
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let link = transport().open(&NodeAddress::new(format!("tcp://{address}")).unwrap(), None).unwrap();
    for via in [Via::Kept, Via::Fresh] {
        assert_eq!(link.probe.check(via, TIMEOUT).await, Evidence::Hard(Hard::NotServing));
    }
    let sent: Vec<String> = seen.lock().unwrap().iter().map(|metadata| said(metadata, CORRELATION_ID_KEY)).collect();
    assert!(sent.len() == 2 && sent[0] != sent[1] && sent.iter().all(|id| id.len() == 32), "{sent:?}");
    let lines = log.1.lock().unwrap().clone();
    let failures: Vec<usize> =
        (0..lines.len()).filter(|line| lines[*line].contains("failed checking node health")).collect();
    assert_eq!(failures.len(), 2, "{lines:?}");
    for (line, id) in failures.into_iter().zip(&sent) {
        assert!(lines[line].contains("not_serving"), "{lines:?}");
        let span = lines[..line].iter().rev().find(|line| line.starts_with("enter")).unwrap();
        assert!(span.contains(&format!("correlation_id={id}")), "{id} {span}");
    }
}

#[tokio::test]
async fn a_serving_node_is_probed_in_silence() {
    let (address, _, _reporter) = listening().await;
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let link = transport().open(&NodeAddress::new(format!("tcp://{address}")).unwrap(), None).unwrap();
    wait::until_async("it serves", TIMEOUT, async || link.probe.check(Via::Kept, TIMEOUT).await == Evidence::Serving)
        .await;
    let lines = log.1.lock().unwrap().clone();
    assert!(lines.iter().all(|line| line.starts_with("enter")), "{lines:?}");
}
