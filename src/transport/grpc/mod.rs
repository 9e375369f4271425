//! The adapter over tonic: lazy channels, and probes by `grpc.health.v1`.
//!
//! A channel of tonic connects when it is first used and again after each loss, at once and without growing pauses;
//! how often that happens is bounded by whoever calls, for a supervisor that means by its probes' interval. So a node
//! that returns is found by the next probe, however long it was away. What tonic does not do: it keeps a connection
//! whose peer fell silent for as long as the kernel does. That is what `reconnect` is for.
//!
//! Each link has one kept channel, over which real traffic goes and regular probes too: that probes its connection as
//! well as the node. A probe on a fresh connection goes to the address that the kept one last reached, for a name may
//! stand for several machines and only one of them is being judged.

#[cfg(feature = "backchannel")]
pub mod backchannel;
mod classify;
mod connector;
mod handshake;
mod socket;
mod tls;

pub use handshake::{Handshaker, RawConnection, RawIo};

use super::{DialError, DialOptions, HealthProbe, Link, NodeAddress, Place, Transport};
use crate::core::{
    evidence::{Evidence, Hard, Misconfigured, Soft},
    prober::Via,
};
use classify::Failure;
use connector::{Connector, Pin};
use futures_util::future::BoxFuture;
use handshake::{Dialler, Handshake};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tls::Tls;
use tokio::{sync::watch, time::Instant};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// Opens links over gRPC.
#[derive(Clone)]
pub struct GrpcTransport {
    options: DialOptions,
    certificates: Option<Certificate>,
    handshaker: Option<Arc<dyn Handshaker>>,
}

impl std::fmt::Debug for GrpcTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcTransport").field("options", &self.options).finish_non_exhaustive()
    }
}

impl GrpcTransport {
    /// A transport with these options. Reads the file of certificates, if one is named, so that a wrong path is an
    /// error now and not a node that seems misconfigured later.
    pub fn new(options: DialOptions) -> Result<Self, DialError> {
        let certificates = match &options.tls_ca {
            None => None,
            Some(path) => Some(read_certificates(path).map_err(|source| {
                // The path is the operator's own; the file holds certificates, never keys, and is not repeated.
                DialError::Certificates { path: path.clone(), source }
            })?),
        };
        Ok(Self { options, certificates, handshaker: None })
    }

    /// The same with a handshaker, which takes every connection in hand before HTTP/2 does.
    #[must_use]
    pub fn with_handshaker(self, handshaker: Arc<dyn Handshaker>) -> Self {
        Self { handshaker: Some(handshaker), ..self }
    }

    fn handshake(&self, address: &NodeAddress) -> Result<Option<Handshake>, DialError> {
        let Some(handshaker) = self.handshaker.clone() else { return Ok(None) };
        let tls = match address.place() {
            Place::Tls { host, .. } => {
                let name = self.options.tls_server_name.as_ref().unwrap_or(host);
                let certificates = self.certificates.as_ref().map(AsRef::as_ref);
                let refused = |source| DialError::Settings { address: address.clone(), source };
                Some(Tls::new(name, certificates).map_err(refused)?)
            }
            Place::Unix { .. } | Place::Tcp { .. } | Place::Dns { .. } => None,
        };
        Ok(Some(Handshake { handshaker, address: address.clone(), tls }))
    }

    fn endpoint(&self, address: &NodeAddress) -> Result<Endpoint, DialError> {
        let settings = |source| DialError::Settings { address: address.clone(), source };
        let refused = |error: tonic::transport::Error| settings(Box::new(error));
        let shaken = self.handshaker.is_some();
        let (uri, tls) = match address.place() {
            // What servers on unix sockets see as authority; the connector knows the path.
            Place::Unix { .. } => ("http://localhost".to_owned(), None),
            Place::Tcp { host, port } | Place::Dns { host, port } => {
                (format!("http://{}:{port}", bracketed(host)), None)
            }
            // TLS comes before the handshaker then, and tonic must not make it again; only the origin says `https`.
            Place::Tls { host, port } if shaken => (format!("http://{}:{port}", bracketed(host)), None),
            Place::Tls { host, port } => (format!("https://{}:{port}", bracketed(host)), Some(host)),
        };
        let mut endpoint = Endpoint::from_shared(uri)
            .map_err(refused)?
            // The connector keeps the limit itself, and so does a handshaker; this one covers the TLS handshake of
            // tonic, and must not be the first where there are three steps.
            .connect_timeout(self.options.connect_timeout.saturating_mul(if shaken { 4 } else { 2 }))
            .keep_alive_timeout(self.options.keepalive_timeout)
            .keep_alive_while_idle(true);
        if let Some(interval) = self.options.keepalive {
            endpoint = endpoint.http2_keep_alive_interval(interval);
        }
        if let (true, Place::Tls { host, port }) = (shaken, address.place()) {
            let origin = format!("https://{}:{port}", bracketed(host)).parse();
            endpoint = endpoint.origin(origin.map_err(|error: http::uri::InvalidUri| settings(Box::new(error)))?);
        }
        if let Some(host) = tls {
            let name = self.options.tls_server_name.as_ref().unwrap_or(host);
            let tls = ClientTlsConfig::new().domain_name(name);
            let tls = match &self.certificates {
                Some(certificates) => tls.ca_certificate(certificates.clone()),
                None => tls.with_native_roots(),
            };
            endpoint = endpoint.tls_config(tls).map_err(refused)?;
        }
        Ok(endpoint)
    }
}

impl Transport for GrpcTransport {
    type Connection = Channel;

    /// Must be called within a tokio runtime: the channel's worker is spawned there.
    fn open(&self, address: &NodeAddress) -> Result<Link<Channel>, DialError> {
        let endpoint = self.endpoint(address)?;
        let connector = Connector::new(address, self.options.connect_timeout);
        let dialler = Dialler { connector, handshake: self.handshake(address)? };
        let (kept, connection) = watch::channel(endpoint.connect_with_connector_lazy(dialler.clone()));
        Ok(Link { probe: Arc::new(GrpcProbe(Arc::new(Inner { endpoint, dialler, kept }))), connection })
    }
}

struct GrpcProbe(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    dialler: Dialler,
    kept: watch::Sender<Channel>,
}

impl HealthProbe for GrpcProbe {
    fn check(&self, via: Via, timeout: Duration) -> BoxFuture<'static, Evidence> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            // tonic's own timeout comes back as one of several codes, so the one that counts is ours.
            match tokio::time::timeout(timeout, inner.check(via)).await {
                Ok(Evidence::Hard(Hard::Reset)) if inner.dialler.connector.take_alert() => {
                    Evidence::Misconfigured(Misconfigured::Tls)
                }
                Ok(evidence) => evidence,
                Err(_) => Evidence::Soft(Soft::Timeout),
            }
        })
    }

    fn reconnect(&self) {
        let channel = self.0.endpoint.connect_with_connector_lazy(self.0.dialler.clone());
        self.0.kept.send_replace(channel);
    }
}

impl Inner {
    async fn check(&self, via: Via) -> Evidence {
        match via {
            Via::Kept => {
                let started = Instant::now();
                let channel = self.kept.borrow().clone();
                match ask(channel.clone()).await {
                    Ok(evidence) => evidence,
                    // An attempt to connect stands still while nobody waits for it, so a probe may be handed the
                    // timeout of an attempt that an earlier probe began: that says nothing about now.
                    Err(failure)
                        if failure.connecting_timed_out && started.elapsed() < self.dialler.connector.timeout() =>
                    {
                        ask(channel).await.unwrap_or_else(|failure| failure.evidence)
                    }
                    Err(failure) => failure.evidence,
                }
            }
            Via::Fresh => {
                let connector = self.dialler.connector.pinned(Pin::LastPeer);
                let dialler = Dialler { connector, handshake: self.dialler.handshake.clone() };
                let channel = self.endpoint.connect_with_connector_lazy(dialler);
                ask(channel).await.unwrap_or_else(|failure| failure.evidence)
            }
        }
    }
}

/// One `Check` of the empty service, which stands for the server as a whole.
async fn ask(channel: Channel) -> Result<Evidence, Failure> {
    let answer = HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await;
    match answer {
        Ok(response) => Ok(match response.into_inner().status() {
            ServingStatus::Serving => Evidence::Serving,
            ServingStatus::NotServing => Evidence::Hard(Hard::NotServing),
            ServingStatus::ServiceUnknown => Evidence::Hard(Hard::ServiceUnknown),
            // A server that does not know whether it serves must not be sent writes.
            ServingStatus::Unknown => Evidence::Hard(Hard::NotServing),
        }),
        Err(status) => Err(classify::status(&status)),
    }
}

fn bracketed(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => format!("[{host}]"),
        Ok(IpAddr::V4(_)) | Err(_) => host.to_owned(),
    }
}

fn read_certificates(path: &std::path::Path) -> Result<Certificate, std::io::Error> {
    let pem = std::fs::read(path)?;
    // The TLS library takes a file without a certificate for one with none, and then trusts nobody.
    let marker = b"-----BEGIN CERTIFICATE-----";
    if !pem.windows(marker.len()).any(|window| window == marker) {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "the file holds no PEM certificate"));
    }
    Ok(Certificate::from_pem(pem))
}
