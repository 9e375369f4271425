//! The handshake comes after TLS.

use crate::{
    wire::Wire,
    world::{LONG, Node, SHORT, called_back, channel, dial_with, nothing, say},
};
use quorate::{
    core::{
        evidence::{Evidence, Misconfigured},
        prober::Via,
    },
    testing::wait,
    transport::{
        DialOptions, Link, TlsIdentity,
        grpc::{
            NodeChannel,
            backchannel::{Backchannels, Limits, accept_after},
        },
    },
};
use std::{path::Path, sync::Arc};
use tokio::{io::AsyncReadExt, net::TcpListener};
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_stream::wrappers::TcpListenerStream;

struct Secure {
    node: Node,
    folder: tempfile::TempDir,
}

/// A node with a certificate for `localhost`, whose authority stands in `ca.pem`; another one in `other.pem`.
async fn secure(alpn: &[u8]) -> Secure {
    secured(alpn, false).await
}

/// The same; a strict one lets in only who shows `client.pem`, which is from that authority too.
async fn secured(alpn: &[u8], strict: bool) -> Secure {
    let folder = tempfile::tempdir().unwrap();
    let authority = || {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap(), rcgen::Issuer::new(params, key))
    };
    let (ca, issuer) = authority();
    std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(folder.path().join("other.pem"), authority().0.pem()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let ours = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["supervisor".to_owned()]).unwrap();
    std::fs::write(folder.path().join("client.pem"), params.signed_by(&ours, &issuer).unwrap().pem()).unwrap();
    std::fs::write(folder.path().join("client.key"), ours.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let clients =
        if strict { clients.build().unwrap() } else { rustls::server::WebPkiClientVerifier::no_client_auth() };
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    config.alpn_protocols = if alpn.is_empty() { Vec::new() } else { vec![alpn.to_vec()] };
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let backchannels = Backchannels::new();
    let limits = Limits { setup_timeout: SHORT * 3, ..Limits::default() };
    let prepare = move |raw| acceptor.accept(raw);
    let incoming = accept_after(TcpListenerStream::new(listener), prepare, &backchannels, limits);
    Secure { node: Node::serve(address, backchannels, incoming, nothing()), folder }
}

fn link(port: u16, authority: &Path) -> Link<NodeChannel> {
    let options = DialOptions { tls_ca: Some(authority.to_owned()), ..DialOptions::default() };
    dial_with(&format!("tls://localhost:{port}"), options, Some(Arc::new(called_back(42))))
}

#[tokio::test]
async fn a_node_calls_back_within_tls_and_the_wire_shows_no_handshake() {
    let secure = secure(b"h2").await;
    let wire = Wire::to(secure.node.address).await;
    let link = link(wire.address.port(), &secure.folder.path().join("ca.pem"));
    assert_eq!(say(&channel(&link), "back marker").await.unwrap(), 42);
    assert_eq!(wire.connections(), 1);
    assert!(!wire.went_to_node(b"backchannel") && !wire.went_to_application(b"back marker"));
    for via in [Via::Kept, Via::Fresh] {
        assert_eq!(link.probe.check(via, LONG).await, Evidence::Serving, "{via:?}");
    }
    // The contrast: without TLS the same handshake is there to be read.
    let plain = Node::plain().await;
    let wire = Wire::to(plain.address).await;
    let link = crate::world::dial(wire.address, called_back(42));
    assert_eq!(say(&channel(&link), "back marker").await.unwrap(), 42);
    assert!(wire.went_to_node(b"backchannel") && wire.went_to_application(b"back marker"));
}

#[tokio::test]
async fn the_handshake_goes_over_a_connection_that_has_shown_our_certificate() {
    let secure = secured(b"h2", true).await;
    let file = |name: &str| secure.folder.path().join(name);
    // Reached by its number, so that the name is the configured one.
    let address = format!("tls://127.0.0.1:{}", secure.node.address.port());
    let named = DialOptions {
        tls_ca: Some(file("ca.pem")),
        tls_server_name: Some("localhost".to_owned()),
        ..DialOptions::default()
    };
    let shown = TlsIdentity { certificate: file("client.pem"), key: file("client.key") };
    let known = DialOptions { tls_identity: Some(shown), ..named.clone() };
    let unnamed = DialOptions { tls_server_name: None, ..known.clone() };
    let link = |options| dial_with(&address, options, Some(Arc::new(called_back(42))));

    let known = link(known);
    assert_eq!(say(&channel(&known), "back").await.unwrap(), 42);
    for via in [Via::Kept, Via::Fresh] {
        assert_eq!(known.probe.check(via, LONG).await, Evidence::Serving, "{via:?}");
    }
    drop(known);
    // The contrast: nobody without a certificate gets as far as a session, nor does a node of another name.
    wait::until("the session is gone", LONG, || secure.node.backchannels.count() == 0).await;
    for (what, options) in [("no certificate", named), ("another name", unnamed)] {
        let link = link(options);
        for via in [Via::Kept, Via::Fresh] {
            let evidence = link.probe.check(via, LONG).await;
            assert_eq!(evidence, Evidence::Misconfigured(Misconfigured::Tls), "{what} {via:?}");
        }
    }
    assert_eq!(secure.node.backchannels.count(), 0);
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_and_a_node_without_http2_are_misconfigurations() {
    let secure_node = secure(b"h2").await;
    let no_http2 = secure(b"http/1.1").await;
    // It speaks HTTP/2, and has not said so.
    let unsaid = secure(b"").await;
    let port = secure_node.node.address.port();
    let wrong = link(port, &secure_node.folder.path().join("other.pem"));
    let old = link(no_http2.node.address.port(), &no_http2.folder.path().join("ca.pem"));
    let silent = link(unsaid.node.address.port(), &unsaid.folder.path().join("ca.pem"));
    for via in [Via::Kept, Via::Fresh] {
        for link in [&wrong, &old, &silent] {
            assert_eq!(link.probe.check(via, LONG).await, Evidence::Misconfigured(Misconfigured::Tls), "{via:?}");
        }
    }
    assert_eq!(secure_node.node.backchannels.count(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_finish_tls_holds_up_nobody_and_is_dropped() {
    let secure = secure(b"h2").await;
    let mut silent = tokio::net::TcpStream::connect(secure.node.address).await.unwrap();
    let link = link(secure.node.address.port(), &secure.folder.path().join("ca.pem"));
    assert_eq!(say(&channel(&link), "back").await.unwrap(), 42);
    let ended = wait::within("it is dropped", LONG, silent.read(&mut [0; 8])).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}
