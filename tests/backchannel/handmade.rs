//! A peer made by hand, frame by frame: what the wire carries is what Praefect and Gitaly put there, and whatever else a
//! peer may say ends soon.
//!
//! A frame of yamux: version 0, type (0 data, 1 window, 2 ping, 3 goodbye), flags (1 new, 2 acknowledged, 4 end,
//! 8 reset), the stream's number and the length, all but the first two bytes in network order.

use crate::world::{LONG, Node, SHORT, called_back, channel, dial, say};
use quorate::{
    core::{
        evidence::{Evidence, Hard, Misconfigured, Soft},
        prober::Via,
    },
    testing::wait,
    transport::grpc::backchannel::{Limits, SIDECHANNEL_KEY, Sidechannels},
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic::Request;

const DATA: u8 = 0;
const PING: u8 = 2;
const GOODBYE: u8 = 3;
const NEW: u16 = 1;
const ACKNOWLEDGED: u16 = 2;
const END: u16 = 4;
const RESET: u16 = 8;

struct Frame {
    flags: u16,
    stream: u32,
    payload: Vec<u8>,
}

fn header(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    [&[0, kind][..], &flags.to_be_bytes(), &stream.to_be_bytes(), &length.to_be_bytes()].concat()
}

async fn send(socket: &mut (impl AsyncWrite + Unpin), flags: u16, stream: u32, payload: &[u8]) {
    let head = header(DATA, flags, stream, u32::try_from(payload.len()).unwrap());
    socket.write_all(&[&head[..], payload].concat()).await.unwrap();
}

async fn receive(socket: &mut (impl AsyncRead + Unpin)) -> Frame {
    let mut head = [0; 12];
    socket.read_exact(&mut head).await.unwrap();
    let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = head;
    assert_eq!(version, 0);
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    let mut payload = vec![0; if kind == DATA { length as usize } else { 0 }];
    socket.read_exact(&mut payload).await.unwrap();
    Frame { flags: u16::from_be_bytes([f0, f1]), stream: u32::from_be_bytes([s0, s1, s2, s3]), payload }
}

/// Everything that a stream says until it has said `wanted`, and the flags of all its frames.
async fn hear(socket: &mut (impl AsyncRead + Unpin), stream: u32, wanted: &[u8]) -> (Vec<u8>, u16) {
    let (mut heard, mut flags) = (Vec::new(), 0);
    let hearing = async {
        while !heard.windows(wanted.len()).any(|window| window == wanted) {
            let frame = receive(socket).await;
            if frame.stream == stream {
                flags |= frame.flags;
                heard.extend_from_slice(&frame.payload);
            }
        }
    };
    wait::within("the stream says it", LONG, hearing).await;
    (heard, flags)
}

#[tokio::test]
async fn the_wire_carries_what_praefect_and_gitaly_put_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let awaited = Sidechannels::default();
    let backchannel = called_back(42).sidechannels(awaited.clone());
    let link = dial(listener.local_addr().unwrap(), backchannel);
    let expected = awaited.expect().unwrap();
    let mut call = Request::new(());
    expected.attach(call.metadata_mut());
    let id: u64 = call.metadata().get(SIDECHANNEL_KEY).unwrap().to_str().unwrap().parse().unwrap();
    let calling = tokio::spawn({
        let channel = channel(&link);
        async move { say(&channel, "").await }
    });

    // Eleven bytes without an end, then the first stream of the end that dialled, and HTTP/2 on it.
    let (mut node, _) = wait::within("it dials", LONG, listener.accept()).await.unwrap();
    let mut magic = [0; 11];
    node.read_exact(&mut magic).await.unwrap();
    assert_eq!(&magic, b"backchannel");
    let (http2, flags) = hear(&mut node, 1, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(http2.starts_with(b"PRI"), "{http2:?}");
    assert_eq!(flags & NEW, NEW);

    // The node's first stream has an even number: magic bytes, the number, and `ok` for an answer.
    send(&mut node, NEW, 2, &[&b"sidechannel"[..], &id.to_be_bytes()].concat()).await;
    let (answer, flags) = hear(&mut node, 2, b"ok").await;
    assert_eq!(answer, b"ok");
    assert_eq!(flags & ACKNOWLEDGED, ACKNOWLEDGED);
    send(&mut node, 0, 2, b"pack").await;
    send(&mut node, END, 2, b"").await;
    let mut sidechannel = expected.opened(LONG).await.unwrap();
    let mut received = Vec::new();
    wait::within("all of it", LONG, sidechannel.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received, b"pack");
    sidechannel.write_all(b"thanks").await.unwrap();
    assert_eq!(hear(&mut node, 2, b"thanks").await.0, b"thanks");

    // Without the magic bytes the node's stream is a connection to our server.
    send(&mut node, NEW, 4, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    // A frame of settings: its type, and no stream.
    hear(&mut node, 4, &[4, 0, 0, 0, 0, 0]).await;
    calling.abort();
}

/// A node that takes connections, awaits the magic bytes, says something and waits, or hangs up if it has nothing to
/// say. Answers how many connections it has had.
async fn saying(what: Vec<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let what = what.clone();
            tokio::spawn(async move {
                let mut magic = [0; 11];
                if socket.read_exact(&mut magic).await.is_err() || what.is_empty() {
                    return;
                }
                let _ = socket.write_all(&what).await;
                let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
            });
        }
    });
    (address, count)
}

#[tokio::test]
async fn whatever_ends_a_session_is_evidence_at_once() {
    let foreign = Evidence::Misconfigured(Misconfigured::Tls);
    let dead = Evidence::Hard(Hard::Reset);
    for (name, what, expected) in [
        ("hangs up", Vec::new(), dead),
        ("says goodbye", header(GOODBYE, 0, 0, 0), dead),
        ("speaks HTTP/1.1", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec(), foreign),
        ("speaks TLS", b"\x15\x03\x01\x00\x02\x02\x46 and so on".to_vec(), foreign),
        ("has another version", vec![0xff; 64], foreign),
        ("knows another type", header(77, 0, 0, 0), foreign),
        // Four gigabytes are announced, none are sent, and none are waited for.
        ("announces too much", header(DATA, 0, 1, u32::MAX), dead),
    ] {
        let (address, _) = saying(what).await;
        for via in [Via::Kept, Via::Fresh] {
            let link = dial(address, called_back(42));
            let evidence = link.probe.check(via, LONG).await;
            assert!(evidence == expected || (expected == dead && evidence == foreign), "{name} {via:?}: {evidence:?}");
        }
    }
}

#[tokio::test]
async fn a_node_that_takes_the_magic_bytes_and_falls_silent_is_given_up_in_time() {
    let (address, _) = saying(header(PING, NEW, 0, 7)).await;
    for via in [Via::Kept, Via::Fresh] {
        let link = dial(address, called_back(42));
        let began = tokio::time::Instant::now();
        assert_eq!(link.probe.check(via, SHORT).await, Evidence::Soft(Soft::Timeout), "{via:?}");
        assert!(began.elapsed() < SHORT * 4, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_node_that_ends_every_session_is_not_hammered_by_a_busy_caller() {
    let (address, count) = saying(header(GOODBYE, 0, 0, 0)).await;
    let link = dial(address, called_back(42));
    let began = tokio::time::Instant::now();
    let mut calls = 0;
    while began.elapsed() < SHORT * 4 {
        say(&channel(&link), "").await.unwrap_err();
        calls += 1;
        tokio::task::yield_now().await;
    }
    // After 0, 50, 150, 350, 750 and 1550 ms; a call may have found a session that had not ended yet.
    assert!(calls > 50, "{calls} calls prove nothing");
    assert!(count.load(Ordering::SeqCst) <= 6, "{} connections", count.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_client_that_says_the_magic_bytes_and_then_nonsense_is_dropped_at_once() {
    let node = Node::plain().await;
    for what in [vec![0xff; 64], header(DATA, 0, 1, u32::MAX), header(GOODBYE, 0, 0, 0)] {
        let mut wrong = TcpStream::connect(node.address).await.unwrap();
        wrong.write_all(&[&b"backchannel"[..], &what].concat()).await.unwrap();
        let began = tokio::time::Instant::now();
        wait::within("it is dropped", LONG, wrong.read_to_end(&mut Vec::new())).await.ok();
        // Not by the deadline of a setup, which is 5 s.
        assert!(began.elapsed() < LONG / 4, "{what:?}: {:?}", began.elapsed());
    }
    wait::until("no session is left", LONG, || node.backchannels.count() == 0).await;
    assert_eq!(say(&channel(&dial(node.address, called_back(42))), "back").await.unwrap(), 42);
}

#[tokio::test]
async fn thousands_of_streams_are_refused_one_by_one_and_the_session_lives_on() {
    const FLOOD: u32 = 5000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let awaited = Sidechannels::default();
    let limits = Limits { streams: 4.try_into().unwrap(), setup_timeout: SHORT * 4, ..Limits::default() };
    let backchannel = called_back(42).sidechannels(awaited.clone()).limits(limits);
    let link = dial(listener.local_addr().unwrap(), backchannel);
    let calling = tokio::spawn({
        let channel = channel(&link);
        async move { say(&channel, "").await }
    });
    let (node, _) = wait::within("it dials", LONG, listener.accept()).await.unwrap();
    let (mut from, mut to) = node.into_split();
    from.read_exact(&mut [0; 11]).await.unwrap();

    let began = tokio::time::Instant::now();
    // Each is new, says nothing and stays open.
    let flood: Vec<u8> = (1..=FLOOD).flat_map(|number| header(DATA, NEW, number * 2, 0)).collect();
    let flooding = tokio::spawn(async move {
        to.write_all(&flood).await.unwrap();
        to
    });
    let (mut at_once, mut refused) = (0, 0);
    let refusing = async {
        while refused < FLOOD {
            let frame = receive(&mut from).await;
            if frame.stream > 0 && frame.stream.is_multiple_of(2) && frame.flags & RESET == RESET {
                refused += 1;
                at_once += u32::from(began.elapsed() < SHORT * 4);
            }
        }
    };
    wait::within("every stream ends", LONG, refusing).await;
    // The four that may be open had the time that a stream has to say what it is.
    assert_eq!(at_once, FLOOD - 4);

    let mut to = flooding.await.unwrap();
    let expected = awaited.expect().unwrap();
    let mut call = Request::new(());
    expected.attach(call.metadata_mut());
    let id: u64 = call.metadata().get(SIDECHANNEL_KEY).unwrap().to_str().unwrap().parse().unwrap();
    let next = FLOOD * 2 + 2;
    send(&mut to, NEW, next, &[&b"sidechannel"[..], &id.to_be_bytes()].concat()).await;
    assert_eq!(hear(&mut from, next, b"ok").await.0, b"ok");
    calling.abort();
}
