//! Makes the socket: unix or TCP, names resolved anew for each connection, everything within one deadline; then what
//! its first bytes are for.
//!
//! tonic's own connector would keep the resolver's first answer's order, has no place to note which address was
//! reached, and knows proxies; storage nodes are never behind one.

use super::{
    carried::{Carried, Open},
    handshake::Handshake,
    pace::Pace,
    resolver::Resolver,
    socket::{Keepalive, Socket, Stream},
};
use crate::transport::{DialOptions, Place};
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::{TcpStream, UnixStream},
    sync::Semaphore,
    time::{Instant, timeout_at},
};

/// Connects to one node.
#[derive(Clone)]
pub(super) struct Connector {
    target: Target,
    timeout: Duration,
    keepalive: Option<Keepalive>,
    pin: Pin,
    handshake: Arc<Handshake>,
    shared: Arc<Shared>,
}

#[derive(Clone)]
enum Target {
    Unix(PathBuf),
    Remote(String, u16),
}

/// Whether to ask the resolver.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pin {
    /// Resolve the name.
    Resolve,
    /// Go where the kept connection was, if it ever was anywhere.
    LastPeer,
}

struct Shared {
    last_peer: Mutex<Option<SocketAddr>>,
    /// A peer answered plain text with an alert of TLS.
    alert: Arc<AtomicBool>,
    /// One lookup per node at a time. The system's resolver runs on a thread that cannot be stopped, so without a
    /// bound a name server that hangs would take one more thread with every probe.
    lookups: Arc<Semaphore>,
    resolver: Arc<dyn Resolver>,
    /// How soon the kept connection may be tried again.
    pace: Pace,
    open: Open,
}

/// Why no socket came to be.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ConnectFailure {
    #[error("the name cannot be resolved")]
    Resolve(#[source] Option<Arc<io::Error>>),
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    #[error("no connection")]
    Socket(#[source] Arc<io::Error>),
    #[error("the last connection broke before the node answered; the next attempt comes soon")]
    Paused,
}

impl Connector {
    pub(super) fn new(handshake: Handshake, options: &DialOptions, resolver: Arc<dyn Resolver>) -> Self {
        let target = match handshake.address.place() {
            Place::Unix { path } => Target::Unix(path.clone()),
            Place::Tcp { host, port } | Place::Tls { host, port } | Place::Dns { host, port } => {
                Target::Remote(host.clone(), *port)
            }
        };
        let shared = Shared {
            last_peer: Mutex::new(None),
            alert: Arc::default(),
            lookups: Arc::new(Semaphore::new(1)),
            resolver,
            pace: Pace::new(options.reconnect_pause_max),
            open: Open::default(),
        };
        let (timeout, handshake) = (options.connect_timeout, Arc::new(handshake));
        let keepalive = Keepalive::of(options);
        Self { target, timeout, keepalive, pin: Pin::Resolve, handshake, shared: Arc::new(shared) }
    }

    /// The same for one of the machines that a name stands for, with pauses of its own.
    pub(super) fn toward(&self, peer: SocketAddr, options: &DialOptions) -> Self {
        let shared = Shared {
            last_peer: Mutex::new(None),
            alert: Arc::clone(&self.shared.alert),
            lookups: Arc::clone(&self.shared.lookups),
            resolver: Arc::clone(&self.shared.resolver),
            pace: Pace::new(options.reconnect_pause_max),
            open: Open::default(),
        };
        let target = Target::Remote(peer.ip().to_string(), peer.port());
        let handshake = Arc::clone(&self.handshake);
        let (timeout, keepalive) = (self.timeout, self.keepalive);
        Self { target, timeout, keepalive, pin: Pin::Resolve, handshake, shared: Arc::new(shared) }
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.shared.pace
    }

    /// Whether a connection that was made here is still open.
    pub(super) fn is_open(&self) -> bool {
        self.shared.open.any()
    }

    pub(super) fn pinned(&self, pin: Pin) -> Self {
        Self { pin, ..self.clone() }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn alert(&self) -> Option<Arc<AtomicBool>> {
        self.handshake.tls.is_none().then(|| Arc::clone(&self.shared.alert))
    }

    /// Whether the peer of a connection that broke had answered plain text with an alert of TLS. Told once.
    pub(super) fn take_alert(&self) -> bool {
        self.shared.alert.swap(false, Ordering::AcqRel)
    }

    async fn connect(self) -> Result<TokioIo<Carried>, ConnectFailure> {
        let socket = self.socket().await?;
        let raw = self.handshake.perform(Box::new(socket), self.timeout).await?;
        Ok(TokioIo::new(Carried::new(raw, self.shared.open.clone())))
    }

    async fn socket(&self) -> Result<Socket, ConnectFailure> {
        let deadline = Instant::now() + self.timeout;
        match &self.target {
            Target::Unix(path) => match timeout_at(deadline, UnixStream::connect(path)).await {
                Ok(Ok(stream)) => Ok(Socket::new(Stream::Unix(stream), self.alert())),
                Ok(Err(error)) => Err(ConnectFailure::Socket(Arc::new(error))),
                Err(_) => Err(ConnectFailure::TimedOut(self.timeout)),
            },
            Target::Remote(host, port) => {
                let addresses = match (self.pin, self.shared.peer()) {
                    (Pin::LastPeer, Some(peer)) => vec![peer],
                    (Pin::LastPeer, None) | (Pin::Resolve, _) => self.shared.resolve(host, *port, deadline).await?,
                };
                let stream = self.first_of(&addresses, deadline).await?;
                if self.pin == Pin::Resolve {
                    self.shared.set_peer(stream.peer_addr().ok());
                }
                Ok(Socket::new(Stream::Tcp(stream), self.alert()))
            }
        }
    }

    /// All addresses of the name.
    pub(super) async fn resolve(&self) -> Result<Vec<SocketAddr>, ConnectFailure> {
        match &self.target {
            Target::Unix(_) => Err(ConnectFailure::Resolve(None)),
            Target::Remote(host, port) => self.shared.resolve(host, *port, Instant::now() + self.timeout).await,
        }
    }

    /// Tries the addresses in turn, each with its share of the time that is left, so that a silent first one does not
    /// take it all. If none answers, the failure that proves least is told: one silent address may still be the node.
    async fn first_of(&self, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectFailure> {
        let mut told: Option<ConnectFailure> = None;
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let shares = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let failure = match tokio::time::timeout(left / shares, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Best effort: without it a probe waits for the peer's delayed acknowledgement.
                    let _ = stream.set_nodelay(true);
                    let _ = self.keepalive.map_or(Ok(()), |keepalive| keepalive.set(&stream));
                    return Ok(stream);
                }
                Ok(Err(error)) => ConnectFailure::Socket(Arc::new(error)),
                Err(_) => ConnectFailure::TimedOut(self.timeout),
            };
            told = Some(match told {
                Some(earlier) if earlier.doubt() >= failure.doubt() => earlier,
                Some(_) | None => failure,
            });
        }
        Err(told.unwrap_or(ConnectFailure::Resolve(None)))
    }
}

impl ConnectFailure {
    /// How little it proves about the node; our own lack of a route for one family of addresses is not even doubt.
    pub(super) fn doubt(&self) -> u8 {
        match self {
            ConnectFailure::TimedOut(_) | ConnectFailure::Paused => 2,
            ConnectFailure::Socket(error) => match super::classify::socket(error) {
                Some(crate::core::evidence::Evidence::Ours(_)) => 0,
                Some(crate::core::evidence::Evidence::Hard(_)) => 1,
                Some(_) | None => 2,
            },
            ConnectFailure::Resolve(_) => 0,
        }
    }
}

impl Shared {
    fn peer(&self) -> Option<SocketAddr> {
        *self.last_peer.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn set_peer(&self, peer: Option<SocketAddr>) {
        *self.last_peer.lock().unwrap_or_else(PoisonError::into_inner) = peer;
    }

    async fn resolve(&self, host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, ConnectFailure> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let permit = match timeout_at(deadline, Arc::clone(&self.lookups).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(ConnectFailure::Resolve(None)),
        };
        let looking_up = self.resolver.resolve(host, port);
        // A task of its own keeps the permit for as long as the thread is busy, whoever has stopped waiting.
        let lookup = tokio::spawn(async move {
            let found = looking_up.await;
            drop(permit);
            found
        });
        match timeout_at(deadline, lookup).await {
            Ok(Ok(Ok(addresses))) if addresses.is_empty() => Err(ConnectFailure::Resolve(None)),
            Ok(Ok(Ok(addresses))) => Ok(addresses),
            Ok(Ok(Err(error))) => Err(ConnectFailure::Resolve(Some(Arc::new(error)))),
            Ok(Err(_)) | Err(_) => Err(ConnectFailure::Resolve(None)),
        }
    }
}

impl tower::Service<http::Uri> for Connector {
    type Response = TokioIo<Carried>;
    type Error = ConnectFailure;
    type Future = BoxFuture<'static, Result<TokioIo<Carried>, ConnectFailure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectFailure>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, _: http::Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let shared = Arc::clone(&connector.shared);
            // Whoever wants to know about now, and not about the kept connection, is bounded by itself.
            if connector.pin == Pin::LastPeer {
                return connector.connect().await;
            }
            shared.pace.begin(Instant::now())?;
            let connected = connector.connect().await;
            if let Err(failure) = &connected {
                shared.pace.failed(failure);
            }
            connected
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::grpc::resolver::SystemResolver;

    #[tokio::test]
    async fn the_kernel_watches_every_connection_to_a_machine_unless_keepalive_is_off() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = server.local_addr().unwrap();
        for (keepalive, watched) in [(Some(Duration::from_secs(20)), true), (None, false)] {
            let options = DialOptions { keepalive, ..DialOptions::default() };
            let address = format!("tcp://{peer}").parse().unwrap();
            let handshake = Handshake { address, tls: None, handshaker: None };
            let connector = Connector::new(handshake, &options, Arc::new(SystemResolver));
            for connector in [connector.clone(), connector.toward(peer, &options)] {
                let stream = connector.first_of(&[peer], Instant::now() + options.connect_timeout).await.unwrap();
                let socket = socket2::SockRef::from(&stream);
                assert_eq!(socket.keepalive().unwrap(), watched);
                #[cfg(target_os = "linux")]
                assert_eq!(socket.tcp_user_timeout().unwrap(), watched.then_some(Duration::from_secs(40)));
            }
        }
    }
}
