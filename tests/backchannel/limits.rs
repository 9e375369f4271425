//! What a session may cost.

use crate::world::{LONG, Node, SHORT, called_back, channel, dial, nothing, say};
use futures_util::future::poll_fn;
use quorate::{
    testing::wait,
    transport::grpc::{
        NodeChannel,
        backchannel::{Limits, Peer, Sidechannel, SidechannelError, Sidechannels},
    },
};
use std::num::NonZeroU16;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_util::compat::TokioAsyncReadCompatExt;
use tonic::Request;

fn streams(most: u16) -> Limits {
    Limits { streams: NonZeroU16::new(most).unwrap(), setup_timeout: SHORT, ..Limits::default() }
}

/// Opens a sidechannel from the node to an application that awaits it; hands back both ends.
async fn opened(peer: &Peer, awaited: &Sidechannels) -> Result<(Sidechannel, Sidechannel), SidechannelError> {
    let expected = awaited.expect()?;
    let mut call = Request::new(());
    expected.attach(call.metadata_mut());
    let ours = peer.sidechannel(&call).await?;
    Ok((ours, expected.opened(LONG).await?))
}

async fn peer(node: &Node, channel: &NodeChannel) -> Peer {
    let id = say(channel, "id").await.unwrap();
    node.backchannels.get(id.to_string().parse().unwrap()).unwrap()
}

#[tokio::test]
async fn a_stream_beyond_the_applications_limit_is_refused_and_the_session_lives_on() {
    let node = Node::start(Limits::default(), nothing()).await;
    let awaited = Sidechannels::default();
    let link = dial(node.address, called_back(42).sidechannels(awaited.clone()).limits(streams(2)));
    let peer = peer(&node, &channel(&link)).await;

    let first = opened(&peer, &awaited).await.unwrap();
    let _second = opened(&peer, &awaited).await.unwrap();
    for _ in 0..20 {
        let refused = opened(&peer, &awaited).await.unwrap_err();
        assert!(matches!(refused, SidechannelError::Refused), "{refused:?}");
    }
    assert_eq!(awaited.awaited(), 0);
    assert_eq!(say(&channel(&link), "").await.unwrap(), 1, "the session died of it");
    // The contrast: the limit is of those at once.
    drop(first);
    wait::until_async("there is room again", LONG, async || opened(&peer, &awaited).await.is_ok()).await;
    assert_eq!(node.backchannels.count(), 1);
}

#[tokio::test]
async fn a_node_waits_for_a_stream_of_its_own_no_longer_than_it_may() {
    let node = Node::start(streams(1), nothing()).await;
    let awaited = Sidechannels::default();
    let link = dial(node.address, called_back(42).sidechannels(awaited.clone()));
    let peer = peer(&node, &channel(&link)).await;

    let first = opened(&peer, &awaited).await.unwrap();
    let began = tokio::time::Instant::now();
    let late = opened(&peer, &awaited).await.unwrap_err();
    assert!(matches!(late, SidechannelError::TimedOut(SHORT)), "{late:?}");
    assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
    // The contrast: one that is given back meanwhile is had.
    let (second, ()) = tokio::join!(opened(&peer, &awaited), async {
        tokio::task::yield_now().await;
        drop(first);
    });
    second.unwrap();
}

#[tokio::test]
async fn a_flood_of_streams_costs_the_flooder_its_streams_and_then_its_session() {
    let node = Node::start(streams(4), nothing()).await;
    let mut raw = TcpStream::connect(node.address).await.unwrap();
    raw.write_all(b"backchannel").await.unwrap();
    let mut session = yamux::Connection::new(raw.compat(), yamux::Config::default(), yamux::Mode::Client);
    // The first stream is the client's HTTP/2; whatever comes beside it is reset.
    let mut streams = Vec::new();
    let flood = poll_fn(|cx| {
        use futures_util::AsyncWrite;
        use std::{pin::Pin, task::Poll};
        while streams.len() < 200 {
            match session.poll_new_outbound(cx) {
                Poll::Ready(Ok(mut stream)) => {
                    let _ = Pin::new(&mut stream).poll_write(cx, b"PRI");
                    streams.push(stream);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        match session.poll_next_inbound(cx) {
            Poll::Ready(None | Some(Err(_))) => return Poll::Ready(()),
            Poll::Ready(Some(Ok(_))) => cx.waker().wake_by_ref(),
            Poll::Pending => {}
        }
        let reset = streams.iter().filter(|stream| stream.is_closed()).count();
        if reset >= 199 { Poll::Ready(()) } else { Poll::Pending }
    });
    wait::within("the flood is refused", LONG, flood).await;
    // And it took nobody else with it.
    let link = dial(node.address, called_back(42));
    assert_eq!(say(&channel(&link), "back").await.unwrap(), 42);
}
