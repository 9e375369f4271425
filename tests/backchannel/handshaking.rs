//! Handshakers of an embedder's own.

use crate::world::{LONG, SHORT, called_back, channel, dial, dial_with, say};
use futures_util::future::BoxFuture;
use quorate::{
    core::{
        evidence::{Evidence, Misconfigured, Soft},
        prober::Via,
    },
    transport::{
        DialOptions, NodeAddress,
        grpc::{Handshaker, RawConnection},
    },
};
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tonic::transport::Server;

const WORD: &[u8; 6] = b"sesame";

/// Says a word and awaits it back.
struct Password;

impl Handshaker for Password {
    fn handshake(&self, _: &NodeAddress, mut raw: RawConnection) -> BoxFuture<'static, io::Result<RawConnection>> {
        Box::pin(async move {
            raw.write_all(WORD).await?;
            let mut said = [0; WORD.len()];
            raw.read_exact(&mut said).await?;
            if said == *WORD { Ok(raw) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "wrong word")) }
        })
    }
}

/// A node that lets nobody in without the word, and answers it with `answer`.
async fn guarded(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, accepted) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut said = [0; WORD.len()];
            if stream.read_exact(&mut said).await.is_ok() && said == *WORD {
                stream.write_all(answer).await.unwrap();
                connections.send(Ok::<_, io::Error>(stream)).await.unwrap();
            }
        }
    });
    let (_, health) = tonic_health::server::health_reporter();
    let incoming = tokio_stream::wrappers::ReceiverStream::new(accepted);
    tokio::spawn(Server::builder().add_service(health).serve_with_incoming(incoming));
    address
}

/// A node that takes every connection and says nothing.
async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn a_handshaker_has_the_connection_before_http2() {
    let address = guarded(WORD).await;
    let link = dial(address, Password);
    for via in [Via::Kept, Via::Fresh] {
        assert_eq!(link.probe.check(via, LONG).await, Evidence::Serving, "{via:?}");
    }
    // The contrast: who does not say the word is not let in.
    let stranger = dial_with(&format!("tcp://{address}"), DialOptions::default(), None);
    let refused = stranger.probe.check(Via::Kept, LONG).await;
    assert!(matches!(refused, Evidence::Hard(_)), "{refused:?}");
}

#[tokio::test]
async fn a_handshaker_that_gets_the_wrong_answer_finds_the_node_misconfigured() {
    let link = dial(guarded(b"barley").await, Password);
    for via in [Via::Kept, Via::Fresh] {
        assert_eq!(link.probe.check(via, LONG).await, Evidence::Misconfigured(Misconfigured::Tls), "{via:?}");
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_cut_off_by_the_connect_timeout() {
    let silent = silent().await;
    let link = |connect_timeout| {
        let options = DialOptions { connect_timeout, ..DialOptions::default() };
        dial_with(&format!("tcp://{silent}"), options, Some(Arc::new(Password)))
    };
    let hasty = link(SHORT);
    let began = tokio::time::Instant::now();
    let failed = say(&channel(&hasty), "").await.unwrap_err();
    assert!(began.elapsed() >= SHORT && began.elapsed() < SHORT * 3, "{:?}: {failed:?}", began.elapsed());
    assert_eq!(hasty.probe.check(Via::Fresh, LONG).await, Evidence::Soft(Soft::Timeout));
    // The contrast: with more time the same call still waits.
    let patient = link(LONG);
    let waited = tokio::time::timeout(SHORT * 3, say(&channel(&patient), "")).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test]
async fn a_node_that_is_not_there_is_refused_with_a_handshaker_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let link = dial(address, called_back(42));
    let evidence = link.probe.check(Via::Kept, LONG).await;
    assert_eq!(evidence, Evidence::Hard(quorate::core::evidence::Hard::Refused));
}
