//! TLS that works, and the ways in which it does not.

use crate::nodes::{Node, both, check, loopback, open_with};
use quorate::{
    core::{
        evidence::{Evidence, Misconfigured},
        prober::Via,
    },
    transport::{DialError, DialOptions, TlsIdentity, grpc::GrpcTransport},
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};

struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

fn authority() -> Authority {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Authority { certificate, issuer: rcgen::Issuer::new(params, key) }
}

impl Authority {
    /// A certificate for this name and its key, as PEM.
    fn signed(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A node with a certificate for `localhost`; answers its address and the folder with `ca.pem`.
async fn node(authority: &Authority) -> (SocketAddr, tempfile::TempDir) {
    let (certificate, key) = authority.signed("localhost");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate.pem()).unwrap();
    let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    let server = Server::builder().tls_config(tls).unwrap().add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, folder)
}

fn trusting(path: PathBuf) -> DialOptions {
    DialOptions { tls_ca: Some(path), ..DialOptions::default() }
}

#[tokio::test]
async fn a_trusted_certificate_is_accepted_and_any_other_is_a_misconfiguration() {
    let ours = authority();
    let (address, folder) = node(&ours).await;
    let name = format!("tls://localhost:{}", address.port());
    let ip = format!("tls://{address}");
    let misconfigured = Evidence::Misconfigured(Misconfigured::Tls);

    let trusted = trusting(folder.path().join("ca.pem"));
    let named = DialOptions { tls_server_name: Some("localhost".into()), ..trusted.clone() };
    let other = authority();
    std::fs::write(folder.path().join("other.pem"), other.certificate.pem()).unwrap();
    let untrusted = trusting(folder.path().join("other.pem"));
    for (address, options, expected) in [
        (&name, trusted.clone(), Evidence::Serving),
        (&ip, named, Evidence::Serving),
        (&ip, trusted, misconfigured),
        (&name, untrusted, misconfigured),
    ] {
        let link = open_with(address, options);
        for via in [Via::Kept, Via::Fresh] {
            assert_eq!(check(&link, via).await, expected, "{address} {via:?}");
        }
    }
}

#[tokio::test]
async fn tls_towards_plain_text_and_plain_text_towards_tls_are_misconfigurations() {
    let ours = authority();
    let (tls, folder) = node(&ours).await;
    let (_node, plain) = Node::tcp(loopback());
    let link = open_with(&format!("tls://localhost:{}", plain.port()), trusting(folder.path().join("ca.pem")));
    let secure = check(&link, Via::Kept).await;
    assert_eq!(secure, Evidence::Misconfigured(Misconfigured::Tls), "TLS towards plain text");
    assert_eq!(both(&format!("tcp://{tls}")).await, Evidence::Misconfigured(Misconfigured::Tls));
}

/// A node that lets in only whom this authority knows.
async fn strict_node(authority: &Authority, clients: &Authority) -> (SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate.pem()).unwrap();
    let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let (certificate, key) = authority.signed("localhost");
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .client_ca_root(tonic::transport::Certificate::from_pem(clients.certificate.pem()));
    let server = Server::builder().tls_config(tls).unwrap().add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, folder)
}

/// Writes a certificate of this authority and its key.
fn identity(folder: &Path, authority: &Authority, name: &str) -> TlsIdentity {
    let (certificate, key) = authority.signed(name);
    let identity =
        TlsIdentity { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
    std::fs::write(&identity.certificate, certificate).unwrap();
    std::fs::write(&identity.key, key).unwrap();
    identity
}

#[tokio::test]
async fn a_node_that_asks_who_we_are_is_shown_our_certificate() {
    let (ours, clients, strangers) = (authority(), authority(), authority());
    let (address, folder) = strict_node(&ours, &clients).await;
    let trusted = trusting(folder.path().join("ca.pem"));
    let known = identity(folder.path(), &clients, "supervisor");
    let stranger = identity(folder.path(), &strangers, "stranger");
    let misconfigured = Evidence::Misconfigured(Misconfigured::Tls);
    for (tls_identity, expected) in
        [(Some(known), Evidence::Serving), (None, misconfigured), (Some(stranger), misconfigured)]
    {
        let options = DialOptions { tls_identity: tls_identity.clone(), ..trusted.clone() };
        let link = open_with(&format!("tls://localhost:{}", address.port()), options);
        for via in [Via::Kept, Via::Fresh] {
            assert_eq!(check(&link, via).await, expected, "{tls_identity:?} {via:?}");
        }
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_at_once_and_all_together() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "hunter2").unwrap();
    let missing = folder.path().join("missing.pem");
    let options = DialOptions {
        tls_ca: Some(empty.clone()),
        tls_identity: Some(TlsIdentity { certificate: missing.clone(), key: empty.clone() }),
        ..DialOptions::default()
    };
    let error = GrpcTransport::new(options).unwrap_err();
    let DialError::Files { problems } = &error else { panic!("{error}") };
    let named: Vec<_> = problems.iter().map(|file| (file.setting, file.path.clone())).collect();
    assert_eq!(named, [("tls_ca", empty.clone()), ("tls_cert", missing), ("tls_key", empty)]);
    assert!(error.to_string().contains("holds no PEM key"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn a_certificate_with_anothers_key_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority();
    let (one, other) = (identity(folder.path(), &ours, "one"), identity(folder.path(), &ours, "other"));
    let mixed = TlsIdentity { certificate: one.certificate.clone(), key: other.key };
    for (tls_identity, good) in [(one, true), (mixed, false)] {
        let opened = GrpcTransport::new(DialOptions { tls_identity: Some(tls_identity), ..DialOptions::default() });
        match (good, opened) {
            (true, opened) => drop(opened.unwrap()),
            (false, Err(DialError::Identity { .. })) => {}
            (false, opened) => panic!("{opened:?}"),
        }
    }
}

#[tokio::test]
async fn a_configuration_with_unusable_files_pings_nobody() {
    let toml = r#"
        name = "s1"
        database.url = "sqlite::memory:"
        health = { tls_ca = "/nowhere/ca.pem", tls_cert = "/nowhere/c.pem", tls_key = "/nowhere/k.pem" }
        [[virtual_storage]]
        name = "default"
        node = [{ storage = "g1", address = "tls://localhost:1" }]
    "#;
    let config = quorate::Config::from_toml(toml).unwrap();
    let error = quorate::transport::grpc::ping::ping(&config).await.unwrap_err().to_string();
    for key in ["tls_ca: /nowhere/ca.pem", "tls_cert: /nowhere/c.pem", "tls_key: /nowhere/k.pem"] {
        assert!(error.contains(key), "{error}");
    }
}
