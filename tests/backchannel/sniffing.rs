//! One listener for ordinary clients and for those that can be called back.

use crate::world::{LONG, Node, SHORT, called_back, channel, dial, dial_with, nothing, say};
use quorate::{
    testing::wait,
    transport::grpc::backchannel::{ConnectionInfo, Limits},
};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, transport::server::TcpConnectInfo};

fn hasty() -> Limits {
    Limits { setup_timeout: SHORT, ..Limits::default() }
}

#[tokio::test]
async fn a_plain_client_is_served_by_the_same_listener_and_cannot_be_called_back() {
    let node = Node::plain().await;
    let plain = dial_with(&format!("tcp://{}", node.address), Default::default(), None);
    assert_eq!(say(&channel(&plain), "").await.unwrap(), 1);
    let refused = say(&channel(&plain), "back").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("non-multiplexed connection"), "{refused}");
    assert_eq!(node.backchannels.count(), 0);
    // The contrast.
    let link = dial(node.address, called_back(42));
    assert_eq!(say(&channel(&link), "back").await.unwrap(), 42);
}

#[tokio::test]
async fn a_handler_still_finds_the_address_of_its_caller() {
    let node = Node::start(
        Limits::default(),
        Arc::new(|request| {
            Box::pin(async move {
                let info = request.extensions().get::<ConnectionInfo>().unwrap();
                let tcp = info.inner::<TcpConnectInfo>().unwrap();
                Ok(i32::from(tcp.remote_addr().unwrap().ip().is_loopback()))
            })
        }),
    )
    .await;
    let plain = dial_with(&format!("tcp://{}", node.address), Default::default(), None);
    assert_eq!(say(&channel(&plain), "address").await.unwrap(), 1);
    assert_eq!(say(&channel(&dial(node.address, called_back(42))), "address").await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_that_does_not_say_what_it_is_is_dropped_in_time() {
    let node = Node::start(hasty(), nothing()).await;
    for said in ["", "b", "backchanne", "backchannel"] {
        let mut silent = TcpStream::connect(node.address).await.unwrap();
        silent.write_all(said.as_bytes()).await.unwrap();
        // Nobody waits behind it.
        let link = dial(node.address, called_back(42));
        assert_eq!(say(&channel(&link), "back").await.unwrap(), 42);
        drop(link);
        let ended = wait::within("it is dropped", LONG, silent.read(&mut [0; 64])).await;
        // yamux says hello by a ping to whom it takes for a session.
        assert!(said == "backchannel" || matches!(ended, Ok(0) | Err(_)), "{said:?}: {ended:?}");
        wait::within("all of it", LONG, silent.read_to_end(&mut Vec::new())).await.ok();
    }
    wait::until("no session is left", LONG, || node.backchannels.count() == 0).await;
}

#[tokio::test]
async fn one_that_waits_within_its_time_is_not_dropped() {
    // The contrast: the same half, with a deadline that is not over yet.
    let node = Node::plain().await;
    let mut slow = TcpStream::connect(node.address).await.unwrap();
    slow.write_all(b"backchanne").await.unwrap();
    let ended = tokio::time::timeout(SHORT * 2, slow.read(&mut [0; 64])).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn wrong_magic_bytes_make_no_session() {
    let node = Node::plain().await;
    let mut wrong = TcpStream::connect(node.address).await.unwrap();
    wrong.write_all(b"backchannex, or what was it, and more than a preface of HTTP/2 has").await.unwrap();
    // HTTP/2 is told of every byte, and does not like them.
    wait::within("it is dropped", LONG, wrong.read_to_end(&mut Vec::new())).await.ok();
    assert_eq!(node.backchannels.count(), 0);
}
