//! A storage node in your own process: a real gRPC server on a real port, whose health you switch.
//!
//! It lives on a thread and a runtime of its own. So a paused clock does not pause it, freezing it stops everything that
//! it does while its kernel goes on accepting, as SIGSTOP does, and killing it ends its connections as a killed
//! process's kernel does. For tests without a network use [`ScriptedNode`](super::probe::ScriptedNode).
//!
//! ```
//! use quorate::{
//!     core::{evidence::{Evidence, Hard, Soft}, prober::Via},
//!     testing::storage_node::{Health, StorageNode},
//!     transport::{DialOptions, Transport, grpc::GrpcTransport},
//! };
//! use std::time::Duration;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = StorageNode::start();
//! let link = GrpcTransport::new(DialOptions::default())?.open(&node.address(), None)?;
//! let probe = |limit| link.probe.check(Via::Fresh, Duration::from_millis(limit));
//! assert_eq!(probe(2_000).await, Evidence::Serving);
//!
//! node.reports(Health::NotServing);
//! assert_eq!(probe(2_000).await, Evidence::Hard(Hard::NotServing));
//!
//! node.reports(Health::Serving);
//! node.freeze();
//! assert_eq!(probe(100).await, Evidence::Soft(Soft::Timeout));
//! node.thaw();
//! assert_eq!(probe(2_000).await, Evidence::Serving);
//!
//! node.kill();
//! assert_eq!(probe(2_000).await, Evidence::Hard(Hard::Refused));
//! node.restart();
//! assert_eq!(probe(2_000).await, Evidence::Serving);
//! # Ok(())
//! # }
//! ```

use crate::{fencing::FenceServer, transport::NodeAddress};
use futures_util::stream::{self, BoxStream};
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    runtime,
    sync::{oneshot, watch},
};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health as HealthService, HealthServer},
};

/// How long a node's thread may take to do as it is told.
const OBEYS_WITHIN: Duration = Duration::from_secs(10);

/// What a node says of itself when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// SERVING.
    Serving,
    /// NOT_SERVING.
    NotServing,
    /// UNKNOWN.
    Unknown,
    /// Nothing: it has no health service, and answers UNIMPLEMENTED.
    NoService,
}

/// One storage node. It serves at once until told otherwise, and ends when it is dropped.
pub struct StorageNode {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

struct Running {
    kill: oneshot::Sender<()>,
    runtime: runtime::Handle,
    thread: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// What it says by itself; `None` if it offers no watch.
    says: watch::Sender<Option<Health>>,
    fence: Option<FenceServer>,
}

struct State {
    health: Health,
    latency: Duration,
    checks: u64,
    /// Whether it was told to freeze, and whether its thread has obeyed.
    freeze: bool,
    frozen: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Changes something, and wakes whoever waits for it.
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }
    /// Holds the calling thread until the node is thawed.
    fn stand_still(&self) {
        self.change(|state| state.frozen = true);
        drop(self.changed.wait_while(self.state(), |state| state.freeze).unwrap_or_else(PoisonError::into_inner));
        self.change(|state| state.frozen = false);
    }
    /// Waits until the node's thread stands still, or moves again.
    fn until_frozen(&self, frozen: bool) {
        let waited = self.changed.wait_timeout_while(self.state(), OBEYS_WITHIN, |state| state.frozen != frozen);
        let timed_out = waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
        assert!(!timed_out, "the storage node did not obey within {OBEYS_WITHIN:?}");
    }
}

impl StorageNode {
    /// A node on a free port of the loopback.
    #[must_use]
    pub fn start() -> Self {
        Self::with(None)
    }

    /// The same with a fence that reports, of [`FenceLayer::server`](crate::fencing::FenceLayer::server). Nothing passes
    /// through its layer: it knows of what its store was told.
    #[must_use]
    pub fn fenced(fence: FenceServer) -> Self {
        Self::with(Some(fence))
    }

    fn with(fence: Option<FenceServer>) -> Self {
        let state = State { health: Health::Serving, latency: Duration::ZERO, checks: 0, freeze: false, frozen: false };
        let says = watch::Sender::new(Some(Health::Serving));
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), says, fence });
        let (running, address) = serve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &shared);
        Self { address, shared, running: Mutex::new(Some(running)) }
    }

    /// Where it listens; the same after a restart.
    #[must_use]
    pub fn address(&self) -> NodeAddress {
        match NodeAddress::new(format!("tcp://{}", self.address)) {
            Ok(address) => address,
            Err(error) => panic!("a bound socket has no address that is allowed: {error}"),
        }
    }

    /// Says this of itself from now on.
    pub fn reports(&self, health: Health) {
        self.shared.change(|state| state.health = health);
        self.shared.says.send_modify(|says| *says = says.and(Some(health)));
    }

    /// Offers a `Watch` from now on, or answers UNIMPLEMENTED. Default: it does. Streams that are open end with it.
    pub fn offers_watch(&self, offers: bool) {
        let health = self.shared.state().health;
        self.shared.says.send_replace(offers.then_some(health));
    }

    /// How many listen to what it says by itself.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.shared.says.receiver_count()
    }

    /// Takes this long for each answer from now on. Default none.
    pub fn takes(&self, latency: Duration) {
        self.shared.change(|state| state.latency = latency);
    }

    /// How many health checks it was asked so far.
    #[must_use]
    pub fn checks(&self) -> u64 {
        self.shared.state().checks
    }

    /// Stops everything that it does. Its kernel goes on accepting connections, on which nobody ever answers. A node that
    /// was killed, or is frozen already, stays as it is.
    pub fn freeze(&self) {
        let running = self.running();
        let Some(running) = running.as_ref().filter(|_| !self.shared.state().freeze) else { return };
        self.shared.change(|state| state.freeze = true);
        let shared = Arc::clone(&self.shared);
        // A task that blocks holds the only thread of its runtime.
        drop(running.runtime.spawn(async move { shared.stand_still() }));
        self.shared.until_frozen(true);
    }

    /// Lets it go on where it stood: what it was asked meanwhile it answers now.
    pub fn thaw(&self) {
        self.shared.change(|state| state.freeze = false);
        self.shared.until_frozen(false);
    }

    /// Ends it: its connections break, and new ones are refused.
    pub fn kill(&self) {
        let Some(Running { kill, runtime, thread }) = self.running().take() else { return };
        // Whoever listened is gone only if the thread is.
        let _ = kill.send(());
        drop(runtime);
        self.thaw();
        assert!(thread.join().is_ok(), "the storage node's thread panicked");
    }

    /// Starts it again on the same port, with the health and the latency that it had. One that runs is killed first.
    pub fn restart(&self) {
        self.kill();
        let (running, _) = serve(self.address, &self.shared);
        *self.running() = Some(running);
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StorageNode {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a server on a thread of its own; answers once the port is bound, so that nobody is refused after that.
fn serve(address: SocketAddr, shared: &Arc<Shared>) -> (Running, SocketAddr) {
    let begin = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (kill, killed) = oneshot::channel();
        let (handle, service) = (runtime.handle().clone(), HealthServer::new(Answers(Arc::clone(shared))));
        let fence = shared.fence.clone();
        let thread = std::thread::Builder::new().name(format!("storage node {address}")).spawn(move || {
            // The runtime is dropped with the thread, and every connection with it.
            runtime.block_on(async move {
                let incoming = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => TcpIncoming::from(listener),
                    Err(error) => panic!("the storage node's port is lost: {error}"),
                };
                tokio::select! {
                    biased;
                    _ = killed => {}
                    end = Server::builder().add_service(service).add_optional_service(fence)
                        .serve_with_incoming(incoming) => {
                        panic!("the storage node ended by itself: {end:?}");
                    }
                }
            });
        })?;
        std::io::Result::Ok((Running { kill, runtime: handle, thread }, address))
    };
    match begin() {
        Ok(running) => running,
        Err(error) => panic!("a storage node cannot be started on {address}: {error}"),
    }
}

/// What goes over the wire; `None` for a node without a health service.
fn serving_status(health: Health) -> Option<ServingStatus> {
    match health {
        Health::Serving => Some(ServingStatus::Serving),
        Health::NotServing => Some(ServingStatus::NotServing),
        Health::Unknown => Some(ServingStatus::Unknown),
        Health::NoService => None,
    }
}

/// The health service of one node.
struct Answers(Arc<Shared>);

#[tonic::async_trait]
impl HealthService for Answers {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let latency = {
            let mut state = self.0.state();
            state.checks = state.checks.saturating_add(1);
            state.latency
        };
        tokio::time::sleep(latency).await;
        // What it is when it answers, not when it was asked.
        let health = self.0.state().health;
        let status = serving_status(health).ok_or_else(|| Status::unimplemented("this node has no health service"))?;
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let mut says = self.0.says.subscribe();
        if says.borrow().and_then(serving_status).is_none() {
            return Err(Status::unimplemented("this node answers Check only"));
        }
        says.mark_changed();
        let words = stream::unfold(says, async |mut says| {
            says.changed().await.ok()?;
            let status = says.borrow_and_update().and_then(serving_status)?;
            Some((Ok(HealthCheckResponse { status: status.into() }), says))
        });
        Ok(Response::new(Box::pin(words)))
    }
}

impl fmt::Debug for StorageNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageNode").field("address", &self.address).finish_non_exhaustive()
    }
}
