//! Signed calls, against a node that checks them.

use crate::nodes::{TIMEOUT, loopback};
use quorate::{
    config::Secret,
    core::{
        evidence::{Evidence, Misconfigured},
        prober::Via,
    },
    transport::{
        DialOptions, NodeAddress, Transport,
        grpc::{
            GrpcTransport,
            auth::{Verifier, WallClock},
        },
    },
};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::Server};

/// A clock that the test moves.
fn clock(seconds: &Arc<AtomicU64>) -> WallClock {
    let seconds = Arc::clone(seconds);
    Arc::new(move || UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst)))
}

/// A node whose health only those may ask who sign with `secret`; the authorizations that it saw.
async fn guarded(clock: WallClock) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let verifier = Verifier::with_clock(&Secret::new("secret"), clock);
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let saw = Arc::clone(&seen);
    let service = InterceptedService::new(health, move |request: Request<()>| {
        let authorization = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        saw.lock().unwrap().extend(authorization);
        verifier.verify(request.metadata()).map_err(Status::from)?;
        Ok(request)
    });
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    (address, seen)
}

fn transport(clock: WallClock) -> GrpcTransport {
    GrpcTransport::new(DialOptions::default()).unwrap().wall_clock(clock)
}

#[tokio::test]
async fn a_node_lets_in_whoever_signs_with_its_token_within_half_a_minute() {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let (address, _) = guarded(clock(&now)).await;
    let address = NodeAddress::new(format!("tcp://{address}")).unwrap();
    let denied = Evidence::Misconfigured(Misconfigured::PermissionDenied);
    for (secret, ours, expected) in [
        (Some("secret"), 1_000_000, Evidence::Serving),
        (Some("secret"), 1_000_030, Evidence::Serving),
        (Some("secret"), 1_000_031, denied),
        (Some("secret"), 999_970, Evidence::Serving),
        (Some("secret"), 999_969, denied),
        (Some("wrong"), 1_000_000, denied),
        (None, 1_000_000, Evidence::Misconfigured(Misconfigured::Unauthenticated)),
    ] {
        let token = secret.map(Secret::new);
        let link = transport(clock(&Arc::new(AtomicU64::new(ours)))).open(&address, token.as_ref()).unwrap();
        for via in [Via::Kept, Via::Fresh] {
            assert_eq!(link.probe.check(via, TIMEOUT).await, expected, "{secret:?} at {ours} {via:?}");
        }
    }
}

#[tokio::test]
async fn every_call_is_signed_afresh() {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let (address, seen) = guarded(clock(&now)).await;
    let token = Secret::new("secret");
    let link =
        transport(clock(&now)).open(&NodeAddress::new(format!("tcp://{address}")).unwrap(), Some(&token)).unwrap();
    // A minute later the first signature is long void.
    for seconds in [1_000_000, 1_000_060] {
        now.store(seconds, Ordering::SeqCst);
        assert_eq!(link.probe.check(Via::Kept, TIMEOUT).await, Evidence::Serving);
    }
    let seen = seen.lock().unwrap().clone();
    assert!(seen[0].ends_with(".1000000") && seen[1].ends_with(".1000060"), "{seen:?}");
}

#[tokio::test]
async fn what_a_caller_put_in_is_replaced_by_the_nodes_own_signature() {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let (address, seen) = guarded(clock(&now)).await;
    let token = Secret::new("secret");
    let link =
        transport(clock(&now)).open(&NodeAddress::new(format!("tcp://{address}")).unwrap(), Some(&token)).unwrap();
    let connection = link.connection.borrow().clone();
    let mut request = Request::new(tonic_health::pb::HealthCheckRequest::default());
    request.metadata_mut().insert("authorization", "Bearer of somebody else".parse().unwrap());
    tonic_health::pb::health_client::HealthClient::new(connection).check(request).await.unwrap();
    assert!(seen.lock().unwrap()[0].starts_with("Bearer v2."), "{seen:?}");
}

#[tokio::test]
async fn nothing_that_is_printed_shows_the_token() {
    let token = Secret::new("hunter2");
    let transport = transport(clock(&Arc::default()));
    let link = transport.open(&NodeAddress::new("tcp://127.0.0.1:1").unwrap(), Some(&token)).unwrap();
    let verifier = Verifier::new(&token);
    let shown = format!("{token:?} {transport:?} {link:?} {:?} {verifier:?}", link.connection.borrow());
    assert!(!shown.contains("hunter2"), "{shown}");
}
