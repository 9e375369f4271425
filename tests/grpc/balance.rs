//! Several machines behind one name.

use crate::nodes::{HealthService, TIMEOUT, loopback};
use futures_util::future::BoxFuture;
use quorate::{
    core::{
        evidence::{Evidence, Hard, Ours},
        prober::Via,
    },
    testing::wait,
    transport::{
        DialOptions, Link, NodeAddress, Transport,
        grpc::{GrpcTransport, NodeChannel, Resolver},
    },
};
use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::Server};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// A name server that the test edits.
#[derive(Clone, Default)]
struct Names {
    peers: Arc<Mutex<Vec<SocketAddr>>>,
    asked: Arc<AtomicU32>,
}

impl Names {
    fn answer(&self, peers: &[SocketAddr]) {
        *self.peers.lock().unwrap() = peers.to_vec();
    }
}

impl Resolver for Names {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        assert_eq!((host, port), ("storage.example.org", 2305));
        self.asked.fetch_add(1, Ordering::SeqCst);
        let peers = self.peers.lock().unwrap().clone();
        Box::pin(async move { Ok(peers) })
    }
}

/// One machine, which counts its calls, in a runtime of its own.
struct Machine {
    address: SocketAddr,
    calls: Arc<AtomicU32>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Machine {
    fn start(address: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let reporter = tonic_health::server::HealthReporter::new();
        let health = HealthService::new(tonic_health::server::HealthService::from_health_reporter(reporter));
        let service = InterceptedService::new(health, move |request: Request<()>| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Status>(request)
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, calls, runtime: Some(runtime) }
    }
    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

fn open(names: &Names, options: DialOptions) -> Link<NodeChannel> {
    let transport = GrpcTransport::new(options).unwrap().resolver(Arc::new(names.clone()));
    transport.open(&NodeAddress::new("dns:///storage.example.org:2305").unwrap(), None).unwrap()
}

async fn call(link: &Link<NodeChannel>) -> Result<(), Status> {
    let connection = link.connection.borrow().clone();
    HealthClient::new(connection).check(HealthCheckRequest::default()).await.map(drop)
}

/// Calls until each of these machines has had a call.
async fn reach_all(link: &Link<NodeChannel>, machines: &[&Machine]) {
    let before: Vec<u32> = machines.iter().map(|machine| machine.calls()).collect();
    wait::until_async("every machine is called", Duration::from_secs(10), async || {
        call(link).await.unwrap();
        machines.iter().zip(&before).all(|(machine, before)| machine.calls() > *before)
    })
    .await;
}

#[tokio::test]
async fn calls_go_to_each_machine_in_turn() {
    let machines = [(); 3].map(|()| Machine::start(loopback()));
    let names = Names::default();
    names.answer(&machines.each_ref().map(|machine| machine.address));
    let link = open(&names, DialOptions::default());
    reach_all(&link, &machines.each_ref()).await;
    let before = machines.each_ref().map(Machine::calls);
    for _ in 0..12 {
        call(&link).await.unwrap();
    }
    let each: Vec<u32> = machines.iter().zip(before).map(|(machine, before)| machine.calls() - before).collect();
    assert_eq!(each, [4, 4, 4]);
}

#[tokio::test]
async fn a_dead_machine_is_skipped_and_taken_up_again_when_it_returns() {
    let mut machines = [(); 2].map(|()| Machine::start(loopback()));
    let names = Names::default();
    names.answer(&machines.each_ref().map(|machine| machine.address));
    let link = open(&names, DialOptions::default());
    reach_all(&link, &machines.each_ref()).await;
    let dead = machines[0].address;
    machines[0].kill();
    wait::until("its port is closed", TIMEOUT, || std::net::TcpStream::connect(dead).is_err()).await;
    // Whether its connection is closed is known to the kernel before it is to us: one call may find out.
    let mut failed = 0;
    for _ in 0..50 {
        failed += u32::from(call(&link).await.is_err());
    }
    assert!(failed <= 1, "{failed} of 50 calls failed");
    assert_eq!(link.probe.check(Via::Kept, TIMEOUT).await, Evidence::Serving, "the name as a whole serves");
    assert_eq!(link.probe.check(Via::Fresh, TIMEOUT).await, Evidence::Serving);
    machines[0] = Machine::start(dead);
    reach_all(&link, &machines.each_ref()).await;
}

#[tokio::test]
async fn a_machine_that_hangs_while_connecting_delays_nobody() {
    let machine = Machine::start(loopback());
    let names = Names::default();
    // Reserved for documentation: silence, or no route.
    names.answer(&["192.0.2.1:2305".parse().unwrap(), machine.address]);
    let link = open(&names, DialOptions { connect_timeout: Duration::from_secs(30), ..DialOptions::default() });
    let started = std::time::Instant::now();
    for _ in 0..5 {
        call(&link).await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_name_is_looked_up_again_when_its_answer_is_old() {
    let (first, second) = (Machine::start(loopback()), Machine::start(loopback()));
    let names = Names::default();
    names.answer(&[first.address]);
    let link = open(&names, DialOptions { dns_refresh: Duration::from_millis(50), ..DialOptions::default() });
    call(&link).await.unwrap();
    names.answer(&[second.address]);
    reach_all(&link, &[&second]).await;
    let before = first.calls();
    for _ in 0..5 {
        call(&link).await.unwrap();
    }
    assert_eq!(first.calls(), before, "what is not named any more is not called any more");
}

#[tokio::test]
async fn a_young_answer_is_not_asked_for_again() {
    let machine = Machine::start(loopback());
    let names = Names::default();
    names.answer(&[machine.address, machine.address]);
    let link = open(&names, DialOptions::default());
    for _ in 0..50 {
        call(&link).await.unwrap();
    }
    assert_eq!(names.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn when_every_machine_refuses_the_node_is_down_and_a_name_without_machines_is_our_own_trouble() {
    let names = Names::default();
    let link = open(&names, DialOptions::default());
    for via in [Via::Kept, Via::Fresh] {
        assert_eq!(link.probe.check(via, TIMEOUT).await, Evidence::Ours(Ours::NameResolution), "{via:?}");
    }
    let free: BTreeSet<SocketAddr> = {
        let listeners = [(); 2].map(|()| std::net::TcpListener::bind(loopback()).unwrap());
        listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
    };
    let free: Vec<SocketAddr> = free.into_iter().collect();
    names.answer(&free);
    for via in [Via::Kept, Via::Fresh] {
        assert_eq!(link.probe.check(via, TIMEOUT).await, Evidence::Hard(Hard::Refused), "{via:?}");
    }
    let error = call(&link).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::Unavailable, "{error}");
    let _machine = Machine::start(free[1]);
    assert_eq!(link.probe.check(Via::Kept, TIMEOUT).await, Evidence::Serving, "a probe does not wait for a pause");
}
