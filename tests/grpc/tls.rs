//! TLS that works, and the ways in which it does not.

use crate::nodes::{Node, both, check, loopback, open_with};
use quorate::{
    core::{
        evidence::{Evidence, Misconfigured},
        prober::Via,
    },
    transport::{DialError, DialOptions, grpc::GrpcTransport},
};
use std::{net::SocketAddr, path::PathBuf};
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

/// A node with a certificate for `localhost`; answers its address and the folder with `ca.pem`.
async fn node(authority: &Authority) -> (SocketAddr, tempfile::TempDir) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.certificate.pem()).unwrap();
    let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate.pem(), key.serialize_pem()));
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

#[tokio::test]
async fn a_file_without_certificates_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for path in [empty, folder.path().join("missing.pem")] {
        let error = GrpcTransport::new(trusting(path.clone())).unwrap_err();
        assert!(matches!(&error, DialError::Certificates { path: named, .. } if *named == path), "{error}");
    }
}
