//! Each row of the table of evidence that a machine can be brought to show.

use crate::nodes::{Node, TIMEOUT, both, check, loopback, open, raw};
use quorate::core::{
    evidence::{Evidence, Hard, Misconfigured, Ours, Soft},
    prober::Via,
};
use quorate::testing::wait;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Status, transport::Server};
use tonic_health::ServingStatus;

#[tokio::test]
async fn a_serving_node_serves_over_tcp_a_name_and_a_unix_socket() {
    let (_node, address) = Node::tcp(loopback());
    assert_eq!(both(&format!("tcp://{address}")).await, Evidence::Serving);
    assert_eq!(both(&format!("tcp://localhost:{}", address.port())).await, Evidence::Serving);
    assert_eq!(both(&format!("dns:///localhost:{}", address.port())).await, Evidence::Serving);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g1.sock");
    let _node = Node::unix(&path);
    assert_eq!(both(&format!("unix:{}", path.display())).await, Evidence::Serving);
    assert_eq!(both(&format!("unix://{}", path.display())).await, Evidence::Serving);
}

#[tokio::test]
async fn real_traffic_goes_over_the_connection_that_is_handed_out() {
    let (_node, address) = Node::tcp(loopback());
    let mut link = open(&format!("tcp://{address}"));
    for _ in 0..2 {
        let channel = link.connection.borrow_and_update().clone();
        let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
        client.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
        link.probe.reconnect();
        assert!(link.connection.has_changed().unwrap());
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_refuses() {
    let free = std::net::TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    assert_eq!(both(&format!("tcp://{free}")).await, Evidence::Hard(Hard::Refused));
    assert_eq!(both(&format!("dns:localhost:{}", free.port())).await, Evidence::Hard(Hard::Refused));
}

#[tokio::test]
async fn a_socket_without_a_file_or_without_a_listener_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g1.sock");
    let address = format!("unix:{}", path.display());
    assert_eq!(both(&address).await, Evidence::Hard(Hard::Refused));
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    assert_eq!(both(&address).await, Evidence::Hard(Hard::Refused));
}

#[tokio::test]
async fn a_server_that_dies_under_a_call_resets_it() {
    // It reads a whole request and hangs up.
    let (_task, address) = raw(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
        let _ = tokio::time::timeout(Duration::from_millis(100), async {
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        })
        .await;
    })
    .await;
    assert_eq!(both(&format!("tcp://{address}")).await, Evidence::Hard(Hard::Reset));
}

#[tokio::test]
async fn a_killed_server_is_noticed_by_the_next_probe() {
    let (node, address) = Node::tcp(loopback());
    let link = open(&format!("tcp://{address}"));
    assert_eq!(check(&link, Via::Kept).await, Evidence::Serving);
    node.kill();
    // Its port closes a moment after its connections: until then a new one may still be let in and reset.
    let kept = check(&link, Via::Kept).await;
    assert!(matches!(kept, Evidence::Hard(Hard::Reset | Hard::Refused)), "{kept:?}");
    wait::until_async("its port refuses", Duration::from_secs(5), async || {
        check(&link, Via::Fresh).await == Evidence::Hard(Hard::Refused)
    })
    .await;
}

#[tokio::test]
async fn a_node_is_taken_at_its_word() {
    let (node, address) = Node::tcp(loopback());
    let address = format!("tcp://{address}");
    node.report(ServingStatus::NotServing).await;
    assert_eq!(both(&address).await, Evidence::Hard(Hard::NotServing));
    node.report(ServingStatus::Unknown).await;
    assert_eq!(both(&address).await, Evidence::Hard(Hard::NotServing));
    node.report(ServingStatus::Serving).await;
    assert_eq!(both(&address).await, Evidence::Serving);
    node.reporter.clone().clear_service_status("").await;
    assert_eq!(both(&address).await, Evidence::Hard(Hard::ServiceUnknown));
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_times_out() {
    let (_task, address) = raw(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let link = open(&format!("tcp://{address}"));
    for via in [Via::Kept, Via::Fresh] {
        let started = Instant::now();
        let evidence = link.probe.check(via, Duration::from_millis(150)).await;
        assert_eq!(evidence, Evidence::Soft(Soft::Timeout));
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(150) && took < Duration::from_secs(1), "{took:?}");
    }
}

#[tokio::test]
async fn a_server_without_a_health_service_is_misconfigured() {
    let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        Server::builder()
            .add_routes(tonic::service::Routes::default())
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    assert_eq!(both(&format!("tcp://{address}")).await, Evidence::Misconfigured(Misconfigured::Unimplemented));
}

#[tokio::test]
async fn a_server_that_wants_other_credentials_is_misconfigured() {
    type Refuse = fn(Request<()>) -> Result<Request<()>, Status>;
    let cases: [(Refuse, Misconfigured); 2] = [
        (|_| Err(Status::unauthenticated("who are you?")), Misconfigured::Unauthenticated),
        (|_| Err(Status::permission_denied("not you")), Misconfigured::PermissionDenied),
    ];
    for (refuse, expected) in cases {
        let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_, health) = tonic_health::server::health_reporter();
        let service = tonic::service::interceptor::InterceptedService::new(health, refuse);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        assert_eq!(both(&format!("tcp://{address}")).await, Evidence::Misconfigured(expected));
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_our_own_trouble() {
    // `.invalid` is reserved for names that never exist.
    let evidence = both("dns:///g1.quorate.invalid").await;
    assert_eq!(evidence, Evidence::Ours(Ours::NameResolution));
}

#[tokio::test]
async fn a_polite_goodbye_is_told_from_a_death() {
    // SETTINGS, then GOAWAY with NO_ERROR that took no stream.
    let (_task, address) = raw(|mut stream| async move {
        let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _ = stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    assert_eq!(both(&format!("tcp://{address}")).await, Evidence::Graceful);
}

#[tokio::test]
async fn opening_never_waits_and_a_probe_never_longer_than_it_may() {
    // An address of the range that is reserved for documentation: nobody answers, or our network has no way there.
    let started = Instant::now();
    let link = open("tcp://192.0.2.1:2305");
    assert!(started.elapsed() < Duration::from_millis(100));
    let started = Instant::now();
    let evidence = link.probe.check(Via::Kept, Duration::from_millis(200)).await;
    assert!(started.elapsed() < TIMEOUT, "{:?}", started.elapsed());
    assert_ne!(evidence, Evidence::Serving);
}
