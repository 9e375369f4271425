//! The adapter over tonic: lazy channels, and probes by `grpc.health.v1`.
//!
//! A channel of tonic connects when it is first used and again after each loss, at once. Real traffic is paced, with
//! pauses up to a limit, so that a busy caller does not hammer a dead node; probes are bounded by their interval and
//! cut the pause short, so a node that returns is found by the next one, however long it was away. What tonic does not do:
//! it keeps a connection whose peer fell silent for as long as the kernel does. That is what `reconnect` is for.
//!
//! What a [`Connection`] adds to tonic's channel: each call is signed with the node's token ([`auth`]), carries a
//! correlation id, is seen by the embedder's hooks ([`CallHook`]), and goes round robin over a `dns:` name's machines.
//! A proxy relays messages that it does not know with the [`BytesCodec`].
//!
//! Each link has one kept channel, over which real traffic goes and regular probes too: that probes its connection as
//! well as the node. The node's `Watch` stream goes over it, for the same reason: when the node's process dies, what its
//! kernel says at once it says on that connection. A second one per node and supervisor would say nothing more. Probes are not traffic: whether real calls fail is counted around the channel ([`TrackErrors`]), and
//! probes go beneath that. A probe on a fresh connection goes to the address that the kept one last reached, for a name may
//! stand for several machines and only one of them is being judged.

pub mod auth;
#[cfg(feature = "backchannel")]
pub mod backchannel;
mod balance;
mod carried;
mod classify;
mod codec;
mod connection;
mod connector;
mod fence;
mod handshake;
mod hook;
mod pace;
pub mod ping;
mod resolver;
mod socket;
mod tls;
mod tracking;

pub use codec::{BytesCodec, BytesDecoder, BytesEncoder, relay};
pub use connection::Connection;
pub use handshake::{Handshaker, RawConnection, RawIo};
pub use hook::{CORRELATION_ID_KEY, Call, CallHook, Propagate, TraceParent};
pub use resolver::{Resolver, SystemResolver};
pub use tracking::{TrackErrors, Tracked, TrackedBody};

use super::{
    ByName, DialError, DialOptions, HealthProbe, LatencyRecorder, Link, MethodClassifier, NodeAddress, Place,
    TrafficErrors, Transport, Words,
};
use crate::{
    config::Secret,
    core::{
        evidence::{Evidence, Hard, Misconfigured, Soft},
        prober::Via,
        reports::FenceReport,
        watching::Word,
    },
};
use auth::{Signer, WallClock};
use balance::RoundRobin;
use classify::Failure;
use connection::{Route, Shared};
use connector::{Connector, Pin};
use fence::Offers;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use handshake::Handshake;
use std::{net::IpAddr, sync::Arc, time::Duration};
use tls::Tls;
use tokio::{sync::watch, time::Instant};
use tonic::{metadata::MetadataValue, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tower::Layer;
use tracing::Instrument as _;

/// What real traffic to a node goes over: for any generated client, and with its errors counted.
pub type NodeChannel = Tracked<Connection>;

/// Opens links over gRPC.
#[derive(Clone)]
pub struct GrpcTransport {
    options: DialOptions,
    tls: Tls,
    resolver: Arc<dyn Resolver>,
    hooks: Vec<Arc<dyn CallHook>>,
    handshaker: Option<Arc<dyn Handshaker>>,
    clock: WallClock,
    classifier: Arc<dyn MethodClassifier>,
    latency: Arc<dyn LatencyRecorder>,
}

impl std::fmt::Debug for GrpcTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcTransport").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A lazy connection to one node, without a supervisor. Must be called within a tokio runtime. For more than one node,
/// or with hooks, keep a [`GrpcTransport`] and [`open`](Transport::open) links: it reads the files of certificates once.
pub fn dial(address: &NodeAddress, token: Option<&Secret>, options: DialOptions) -> Result<Connection, DialError> {
    Ok(GrpcTransport::new(options)?.dialer(address, token)?.kept())
}

impl GrpcTransport {
    /// A transport with these options. Reads the files of certificates and keys, if any are named, so that a wrong path
    /// is an error now and not a node that seems misconfigured later.
    pub fn new(options: DialOptions) -> Result<Self, DialError> {
        let tls = Tls::read(&options)?;
        let (resolver, clock) = (Arc::new(SystemResolver), auth::system_clock());
        Ok(Self {
            options,
            tls,
            resolver,
            hooks: Vec::new(),
            handshaker: None,
            clock,
            classifier: Arc::new(ByName),
            latency: Arc::new(()),
        })
    }

    /// The same with another opinion of what reads and what writes. Default [`ByName`].
    #[must_use]
    pub fn with_classifier(mut self, classifier: Arc<dyn MethodClassifier>) -> Self {
        self.classifier = classifier;
        self
    }

    /// The same with somebody who hears how long each probe took. Default nobody.
    #[must_use]
    pub fn with_latency(mut self, latency: Arc<dyn LatencyRecorder>) -> Self {
        self.latency = latency;
        self
    }

    /// The same with one more hook, which sees each call after those that were added before.
    #[must_use]
    pub fn hook(mut self, hook: Arc<dyn CallHook>) -> Self {
        self.hooks.push(hook);
        self
    }

    /// The same with a handshaker, which takes every connection in hand before HTTP/2 does. Default none.
    #[must_use]
    pub fn with_handshaker(mut self, handshaker: Arc<dyn Handshaker>) -> Self {
        self.handshaker = Some(handshaker);
        self
    }

    /// The same with another resolver of names. Default: the system's.
    #[must_use]
    pub fn resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = resolver;
        self
    }

    /// The same with another clock for signatures. Default: the machine's.
    #[must_use]
    pub fn wall_clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }

    fn endpoint(&self, address: &NodeAddress) -> Result<Endpoint, DialError> {
        let settings = |source| DialError::Settings { address: address.clone(), source };
        let (scheme, authority) = match address.place() {
            // What servers on unix sockets see as authority; the connector knows the path.
            Place::Unix { .. } => ("http", "localhost".to_owned()),
            Place::Tcp { host, port } | Place::Dns { host, port } => ("http", format!("{}:{port}", bracketed(host))),
            Place::Tls { host, port } => ("https", format!("{}:{port}", bracketed(host))),
        };
        // The connector makes TLS, so tonic, which would make it again, is told of it by the origin alone.
        let origin = format!("{scheme}://{authority}").parse();
        let mut endpoint = Endpoint::from_shared(format!("http://{authority}"))
            .map_err(|error| settings(Box::new(error)))?
            .origin(origin.map_err(|error: http::uri::InvalidUri| settings(Box::new(error)))?)
            .keep_alive_timeout(self.options.keepalive_timeout)
            .keep_alive_while_idle(true);
        if let Some(interval) = self.options.keepalive {
            endpoint = endpoint.http2_keep_alive_interval(interval);
        }
        Ok(endpoint)
    }

    fn handshake(&self, address: &NodeAddress) -> Result<Handshake, DialError> {
        let tls = match address.place() {
            Place::Tls { host, .. } => {
                let refused = |source| DialError::Settings { address: address.clone(), source };
                Some(self.tls.toward(host).map_err(refused)?)
            }
            Place::Unix { .. } | Place::Tcp { .. } | Place::Dns { .. } => None,
        };
        Ok(Handshake { address: address.clone(), tls, handshaker: self.handshaker.clone() })
    }

    fn dialer(&self, address: &NodeAddress, token: Option<&Secret>) -> Result<Dialer, DialError> {
        Ok(Dialer {
            endpoint: self.endpoint(address)?,
            connector: Connector::new(self.handshake(address)?, &self.options, Arc::clone(&self.resolver)),
            options: self.options.clone(),
            shared: Arc::new(Shared {
                address: address.clone(),
                signer: token.and_then(|token| Signer::new(token, Arc::clone(&self.clock))),
                hooks: self.hooks.as_slice().into(),
            }),
        })
    }
}

/// Makes connections to one node.
struct Dialer {
    endpoint: Endpoint,
    connector: Connector,
    options: DialOptions,
    shared: Arc<Shared>,
}

impl Dialer {
    /// The connection that is kept: lazy, paced, over all machines of a `dns:` name.
    fn kept(&self) -> Connection {
        let (endpoint, connector) = (self.endpoint.clone(), self.connector.clone());
        let route = match self.shared.address.place() {
            Place::Dns { .. } => Route::Many(RoundRobin::new(endpoint, connector, self.options.clone())),
            Place::Unix { .. } | Place::Tcp { .. } | Place::Tls { .. } => {
                Route::One(endpoint.connect_with_connector_lazy(connector.clone()), connector)
            }
        };
        Connection::new(route, Arc::clone(&self.shared))
    }

    /// One for a single question: to where the kept one was last, if it is one machine's, and at once.
    fn fresh(&self) -> Connection {
        let connector = self.connector.pinned(Pin::LastPeer);
        let channel = self.endpoint.connect_with_connector_lazy(connector.clone());
        Connection::new(Route::One(channel, connector), Arc::clone(&self.shared))
    }

    /// The same, connected already.
    async fn connected(&self) -> Result<Connection, tonic::transport::Error> {
        let connector = self.connector.pinned(Pin::LastPeer);
        let channel = self.endpoint.connect_with_connector(connector.clone()).await?;
        Ok(Connection::new(Route::One(channel, connector), Arc::clone(&self.shared)))
    }
}

impl Transport for GrpcTransport {
    type Connection = NodeChannel;

    /// Must be called within a tokio runtime: the channel's worker is spawned there.
    fn open(&self, address: &NodeAddress, token: Option<&Secret>) -> Result<Link<NodeChannel>, DialError> {
        let dialer = self.dialer(address, token)?;
        let traffic = TrafficErrors::default();
        let track = TrackErrors::new(traffic.clone(), Arc::clone(&self.classifier));
        let (kept, connection) = watch::channel(track.layer(dialer.kept()));
        let probe = Arc::new(GrpcProbe(Arc::new(Inner { dialer, track, kept, fence: Offers::default() })));
        Ok(Link { probe, connection, traffic })
    }

    fn latency(&self) -> Arc<dyn LatencyRecorder> {
        Arc::clone(&self.latency)
    }
}

struct GrpcProbe(Arc<Inner>);

struct Inner {
    dialer: Dialer,
    track: TrackErrors,
    kept: watch::Sender<NodeChannel>,
    fence: Offers,
}

impl HealthProbe for GrpcProbe {
    fn check(&self, via: Via, timeout: Duration) -> BoxFuture<'static, Evidence> {
        let inner = Arc::clone(&self.0);
        let id = uuid::Uuid::new_v4().simple().to_string();
        let address = &inner.dialer.shared.address;
        // What the node logs of this probe, it logs under the same id.
        let span = tracing::debug_span!("probe", correlation_id = %id, %address, ?via);
        let probing = async move {
            // tonic's own timeout comes back as one of several codes, so the one that counts is ours.
            let evidence = match tokio::time::timeout(timeout, inner.check(via, &id)).await {
                Ok(Evidence::Hard(Hard::Reset)) if inner.dialer.connector.take_alert() => {
                    Evidence::Misconfigured(Misconfigured::Tls)
                }
                Ok(evidence) => evidence,
                Err(_) => Evidence::Soft(Soft::Timeout),
            };
            if evidence != Evidence::Serving {
                // Whoever answers next may be another process, with a fence.
                inner.fence.ask_again();
                tracing::debug!(evidence = evidence.as_str(), "failed checking node health");
            }
            evidence
        };
        Box::pin(probing.instrument(span))
    }

    fn reconnect(&self) {
        self.0.fence.ask_again();
        self.0.kept.send_replace(self.0.track.layer(self.0.dialer.kept()));
    }

    fn host(&self) -> Option<String> {
        self.0.dialer.connector.host()
    }

    fn report(&self, limit: Duration) -> BoxFuture<'static, Option<FenceReport>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let connection = inner.kept.borrow().get_ref().clone();
            inner.fence.report(connection, limit).await
        })
    }

    fn watch(&self) -> Words {
        let connection = self.0.kept.borrow().get_ref().clone();
        Words::new(watched(connection).flatten_stream())
    }
}

impl Inner {
    async fn check(&self, via: Via, id: &str) -> Evidence {
        match via {
            Via::Kept => {
                let (started, limit) = (Instant::now(), self.dialer.connector.timeout());
                let connection = self.kept.borrow().get_ref().clone();
                connection.cut_pause();
                match ask(connection.clone(), id).await {
                    Ok(evidence) => evidence,
                    // An attempt to connect stands still while nobody waits for it, so a probe may be handed the
                    // timeout of an attempt that an earlier probe began: that says nothing about now.
                    Err(failure) if failure.connecting_timed_out && started.elapsed() < limit => {
                        connection.cut_pause();
                        ask(connection, id).await.unwrap_or_else(|failure| failure.evidence)
                    }
                    Err(failure) => failure.evidence,
                }
            }
            Via::Fresh => ask(self.dialer.fresh(), id).await.unwrap_or_else(|failure| failure.evidence),
        }
    }
}

/// One `Check` of the empty service, which stands for the server as a whole.
async fn ask(connection: Connection, id: &str) -> Result<Evidence, Failure> {
    match health(connection, id).await {
        Ok(status) => Ok(said(status)),
        Err(status) => Err(classify::status(&status)),
    }
}

fn said(status: ServingStatus) -> Evidence {
    match status {
        ServingStatus::Serving => Evidence::Serving,
        ServingStatus::NotServing => Evidence::Hard(Hard::NotServing),
        ServingStatus::ServiceUnknown => Evidence::Hard(Hard::ServiceUnknown),
        // A server that does not know whether it serves must not be sent writes.
        ServingStatus::Unknown => Evidence::Hard(Hard::NotServing),
    }
}

/// One `Watch` of the empty service.
async fn watched(connection: Connection) -> stream::BoxStream<'static, Word> {
    let request = HealthCheckRequest { service: String::new() };
    match HealthClient::new(connection).watch(request).await {
        Ok(answers) => answers
            .into_inner()
            .map(|answer| match answer {
                Ok(answer) => Word::Says(said(answer.status())),
                Err(status) => Word::Ended(classify::ended(&status)),
            })
            .boxed(),
        Err(status) => stream::iter([Word::Ended(classify::status(&status).evidence)]).boxed(),
    }
}

async fn health(connection: Connection, id: &str) -> Result<ServingStatus, tonic::Status> {
    let mut request = tonic::Request::new(HealthCheckRequest { service: String::new() });
    if let Ok(id) = MetadataValue::try_from(id) {
        request.metadata_mut().insert(CORRELATION_ID_KEY, id);
    }
    Ok(HealthClient::new(connection).check(request).await?.into_inner().status())
}

fn bracketed(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => format!("[{host}]"),
        Ok(IpAddr::V4(_)) | Err(_) => host.to_owned(),
    }
}
