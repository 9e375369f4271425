//! Raw bytes beside a call.

use crate::{
    wire::Wire,
    world::{Answer, LONG, Node, SHORT, called_back, channel, dial, say_with},
};
use quorate::{
    testing::wait,
    transport::grpc::{
        NodeChannel,
        backchannel::{Limits, Peer, SIDECHANNEL_KEY, Sidechannel, SidechannelError, Sidechannels},
    },
};
use std::{future::Future, io, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tonic::{Code, Request};

const TEN_MEGABYTES: usize = 10 * 1024 * 1024;

/// Bytes that repeat in no convenient way.
fn bytes(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..TEN_MEGABYTES).map(|_| next()).collect()
}

/// FNV-1a, cut to a positive status.
fn checksum(bytes: &[u8]) -> i32 {
    let sum = bytes.iter().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    i32::try_from(sum >> 1).unwrap()
}

/// A node that opens its caller's sidechannel and does something with it.
fn opening<F, R>(then: F) -> Answer
where
    F: Fn(Sidechannel) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = io::Result<i32>> + Send + 'static,
{
    Arc::new(move |request| {
        let then = then.clone();
        Box::pin(async move {
            let sidechannel = Peer::of(&request)?.sidechannel(&request).await?;
            Ok(then(sidechannel).await?)
        })
    })
}

/// Takes everything, then gives as much, and answers with the checksum of what it took.
async fn exchange(mut sidechannel: Sidechannel) -> io::Result<i32> {
    let mut taken = Vec::new();
    sidechannel.read_to_end(&mut taken).await?;
    sidechannel.write_all(&bytes(2)).await?;
    sidechannel.shutdown().await?;
    Ok(checksum(&taken))
}

async fn call(channel: &NodeChannel, id: &str) -> Result<i32, tonic::Status> {
    let mut request = Request::new("bytes".to_owned());
    request.metadata_mut().append(SIDECHANNEL_KEY, id.parse().unwrap());
    say_with(channel, request).await
}

/// A node that hands its ends of sidechannels to the test and answers once the test is done with them.
async fn handing_over(limits: Limits) -> (Node, mpsc::Receiver<Sidechannel>) {
    let (give, taken) = mpsc::channel(8);
    let answer = opening(move |sidechannel| {
        let give = give.clone();
        async move {
            give.send(sidechannel).await.unwrap();
            Ok(1)
        }
    });
    (Node::start(limits, answer).await, taken)
}

/// Both ends of one sidechannel, the application's first.
async fn both(
    channel: &NodeChannel,
    awaited: &Sidechannels,
    taken: &mut mpsc::Receiver<Sidechannel>,
) -> (Sidechannel, Sidechannel) {
    let expected = awaited.expect().unwrap();
    let mut request = Request::new("bytes".to_owned());
    expected.attach(request.metadata_mut());
    let (answer, ours) = tokio::join!(say_with(channel, request), expected.opened(LONG));
    assert_eq!(answer.unwrap(), 1);
    (ours.unwrap(), taken.recv().await.unwrap())
}

#[tokio::test]
async fn ten_megabytes_go_each_way_and_arrive_whole() {
    let node = Node::start(Limits::default(), opening(exchange)).await;
    let awaited = Sidechannels::default();
    let wire = Wire::to(node.address).await;
    let link = dial(wire.address, called_back(42).sidechannels(awaited.clone()));
    let expected = awaited.expect().unwrap();
    let mut request = Request::new("bytes".to_owned());
    expected.attach(request.metadata_mut());

    let channel = channel(&link);
    let (answer, received) = tokio::join!(say_with(&channel, request), async {
        let mut sidechannel = expected.opened(LONG).await.unwrap();
        sidechannel.write_all(&bytes(1)).await.unwrap();
        sidechannel.shutdown().await.unwrap();
        let mut received = Vec::new();
        sidechannel.read_to_end(&mut received).await.unwrap();
        received
    });

    assert_eq!(answer.unwrap(), checksum(&bytes(1)));
    assert_eq!(received.len(), TEN_MEGABYTES);
    assert_eq!(checksum(&received), checksum(&bytes(2)));
    assert_eq!(wire.connections(), 1);
    assert_eq!(awaited.awaited(), 0);
}

#[tokio::test]
async fn several_at_once_are_not_mixed_up() {
    let (node, mut taken) = handing_over(Limits::default()).await;
    let awaited = Sidechannels::default();
    let link = dial(node.address, called_back(42).sidechannels(awaited.clone()));
    let mut pairs = Vec::new();
    for _ in 0..5 {
        pairs.push(both(&channel(&link), &awaited, &mut taken).await);
    }
    for (number, (ours, theirs)) in (0_u8..).zip(&mut pairs) {
        ours.write_u8(number).await.unwrap();
        theirs.write_u8(number + 100).await.unwrap();
    }
    for (number, (ours, theirs)) in (0_u8..).zip(&mut pairs) {
        assert_eq!(theirs.read_u8().await.unwrap(), number);
        assert_eq!(ours.read_u8().await.unwrap(), number + 100);
    }
}

#[tokio::test]
async fn a_number_that_nobody_awaits_is_refused() {
    let node = Node::start(Limits::default(), opening(exchange)).await;
    let awaited = Sidechannels::default();
    let link = dial(node.address, called_back(42).sidechannels(awaited.clone()));
    let expected = awaited.expect().unwrap();
    let channel = channel(&link);

    let refused = call(&channel, "4711").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    // One that was withdrawn is refused like one that never was.
    let mut request = Request::new("bytes".to_owned());
    expected.attach(request.metadata_mut());
    drop(expected);
    assert_eq!(say_with(&channel, request).await.unwrap_err().code(), Code::FailedPrecondition);
    for wrong in ["", "-1", "seven", "99999999999999999999999"] {
        assert_eq!(call(&channel, wrong).await.unwrap_err().code(), Code::InvalidArgument, "{wrong:?}");
    }
    let none = say_with(&channel, Request::new("bytes".to_owned())).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
    assert!(none.message().contains(SIDECHANNEL_KEY), "{none}");
}

#[tokio::test]
async fn a_number_is_good_for_one_stream() {
    let (node, mut taken) = handing_over(Limits::default()).await;
    let awaited = Sidechannels::default();
    let link = dial(node.address, called_back(42).sidechannels(awaited.clone()));
    let expected = awaited.expect().unwrap();
    let mut request = Request::new(());
    expected.attach(request.metadata_mut());
    let id = request.metadata().get(SIDECHANNEL_KEY).unwrap().to_str().unwrap().to_owned();
    assert_eq!(call(&channel(&link), &id).await.unwrap(), 1);
    assert_eq!(call(&channel(&link), &id).await.unwrap_err().code(), Code::FailedPrecondition);
    let (mut ours, mut theirs) = (expected.opened(LONG).await.unwrap(), taken.recv().await.unwrap());
    theirs.write_u8(9).await.unwrap();
    assert_eq!(ours.read_u8().await.unwrap(), 9);
}

#[tokio::test]
async fn waiting_for_a_sidechannel_is_bounded_in_time_and_number() {
    let awaited = Sidechannels::new(2);
    let first = awaited.expect().unwrap();
    let _second = awaited.expect().unwrap();
    let third = awaited.expect().unwrap_err();
    assert!(matches!(third, SidechannelError::TooMany { most: 2 }), "{third:?}");

    let began = tokio::time::Instant::now();
    let late = first.opened(SHORT).await.unwrap_err();
    assert!(matches!(late, SidechannelError::TimedOut(SHORT)), "{late:?}");
    assert!(began.elapsed() >= SHORT);
    // What is waited for no more makes room.
    assert_eq!(awaited.awaited(), 1);
    drop(awaited.expect().unwrap());
}

#[tokio::test]
async fn a_node_waits_for_the_acknowledgement_no_longer_than_it_may() {
    let (node, _taken) = handing_over(Limits { setup_timeout: SHORT, ..Limits::default() }).await;
    let awaited = Sidechannels::default();
    let wire = Wire::to(node.address).await;
    let link = dial(wire.address, called_back(42).sidechannels(awaited.clone()));
    let id = crate::world::say(&channel(&link), "id").await.unwrap();
    let peer = node.backchannels.get(id.to_string().parse().unwrap()).unwrap();
    let expected = awaited.expect().unwrap();
    let mut request = Request::new(());
    expected.attach(request.metadata_mut());

    wire.freeze();

    let late = peer.sidechannel(&request).await.unwrap_err();
    assert!(matches!(late, SidechannelError::TimedOut(SHORT)), "{late:?}");
}

#[tokio::test]
async fn a_lost_connection_is_told_from_an_end() {
    let (node, mut taken) = handing_over(Limits::default()).await;
    let awaited = Sidechannels::default();
    let wire = Wire::to(node.address).await;
    let link = dial(wire.address, called_back(42).sidechannels(awaited.clone()));
    // The contrast: an end that was said, and a direction that stays open behind it.
    let (mut ours, mut theirs) = both(&channel(&link), &awaited, &mut taken).await;
    theirs.write_all(b"all").await.unwrap();
    theirs.shutdown().await.unwrap();
    let mut received = Vec::new();
    assert_eq!(ours.read_to_end(&mut received).await.unwrap(), 3);
    ours.write_u8(1).await.unwrap();
    assert_eq!(theirs.read_u8().await.unwrap(), 1);

    // A stream that was dropped in the middle.
    let (mut ours, mut theirs) = both(&channel(&link), &awaited, &mut taken).await;
    theirs.write_all(b"half").await.unwrap();
    drop(theirs);
    let reset = wait::within("it is told", LONG, ours.read_to_end(&mut received)).await;
    assert_eq!(reset.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    // A connection that was lost in the middle, whether our direction was ended or not.
    let (mut ours, mut theirs) = both(&channel(&link), &awaited, &mut taken).await;
    ours.shutdown().await.unwrap();
    theirs.write_all(b"half").await.unwrap();
    wire.cut();
    wait::within("it is told", LONG, ours.read_to_end(&mut received)).await.unwrap_err();
    let lost = async {
        let mut buffer = vec![0; 64];
        loop {
            // Our direction's end may have come through before the cut.
            if let Err(error) = theirs.write_all(&buffer).await {
                return error;
            }
            buffer.resize(1024 * 1024, 0);
        }
    };
    wait::within("the node is told", LONG, lost).await;
}

#[tokio::test]
async fn a_peer_that_stops_reading_fails_the_write_in_time() {
    let (node, mut taken) = handing_over(Limits { write_timeout: SHORT, ..Limits::default() }).await;
    let awaited = Sidechannels::default();
    let link = dial(node.address, called_back(42).sidechannels(awaited.clone()));
    let (ours, mut theirs) = both(&channel(&link), &awaited, &mut taken).await;
    let stuck = wait::within("the write fails", LONG, theirs.write_all(&bytes(1))).await.unwrap_err();
    assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
    drop(ours);

    // The contrast: one that pauses within the limit, again and again and for longer than that in all, is waited for.
    let (mut ours, mut theirs) = both(&channel(&link), &awaited, &mut taken).await;
    let reading = async {
        let mut buffer = vec![0; 128 * 1024];
        for _ in 0..8 {
            tokio::time::sleep(SHORT / 4).await;
            ours.read_exact(&mut buffer).await.unwrap();
        }
    };
    let writing = async { theirs.write_all(&bytes(1)[..8 * 128 * 1024]).await };
    let ((), written) = wait::within("all is read", LONG, async { tokio::join!(reading, writing) }).await;
    written.unwrap();
}

#[tokio::test]
async fn a_proxy_joins_its_callers_sidechannel_with_its_own() {
    let node = Node::start(Limits::default(), opening(exchange)).await;
    let outer = Sidechannels::default();
    let inner = Sidechannels::default();
    let onward = channel(&dial(node.address, called_back(1).sidechannels(inner.clone())));
    let proxy = Node::start(
        Limits::default(),
        Arc::new(move |request| {
            let (onward, inner) = (onward.clone(), inner.clone());
            Box::pin(async move {
                let expected = inner.expect()?;
                let peer = Peer::of(&request)?;
                let mut call = Request::from_parts(request.metadata().clone(), Default::default(), "bytes".to_owned());
                // Over its caller's number, which the node does not know.
                expected.attach(call.metadata_mut());
                let mut downstream = peer.sidechannel(&request).await?;
                let (answer, joined) = tokio::join!(say_with(&onward, call), async {
                    let mut upstream = expected.opened(LONG).await?;
                    Ok::<_, tonic::Status>(tokio::io::copy_bidirectional(&mut downstream, &mut upstream).await?)
                });
                joined?;
                answer
            })
        }),
    )
    .await;
    let link = dial(proxy.address, called_back(2).sidechannels(outer.clone()));
    let expected = outer.expect().unwrap();
    let mut request = Request::new("bytes".to_owned());
    expected.attach(request.metadata_mut());
    let channel = channel(&link);
    let (answer, received) = tokio::join!(say_with(&channel, request), async {
        let mut sidechannel = expected.opened(LONG).await.unwrap();
        sidechannel.write_all(&bytes(1)).await.unwrap();
        sidechannel.shutdown().await.unwrap();
        let mut received = Vec::new();
        sidechannel.read_to_end(&mut received).await.unwrap();
        received
    });
    assert_eq!(answer.unwrap(), checksum(&bytes(1)));
    assert_eq!(checksum(&received), checksum(&bytes(2)));
}

#[tokio::test]
async fn whoever_waits_on_a_sidechannel_is_told_when_the_session_is_closed_at_either_end() {
    let (node, mut taken) = handing_over(Limits::default()).await;
    let awaited = Sidechannels::default();
    let link = dial(node.address, called_back(42).sidechannels(awaited.clone()));
    let (mut ours, mut theirs) = both(&channel(&link), &awaited, &mut taken).await;
    // Each in a task of its own, which nothing but its own waker wakes.
    let ours = tokio::spawn(async move { ours.read(&mut [0; 8]).await });
    let theirs = tokio::spawn(async move { theirs.read(&mut [0; 8]).await });
    tokio::time::sleep(SHORT).await;
    assert!(!ours.is_finished() && !theirs.is_finished());

    // The channel is what the session is for: without it the session is closed by ourselves, not lost.
    drop(link);

    wait::within("we are told", LONG, ours).await.unwrap().unwrap_err();
    wait::within("the node is told", LONG, theirs).await.unwrap().unwrap_err();
}
