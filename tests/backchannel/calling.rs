//! Nodes that call back.

use crate::{
    wire::Wire,
    world::{LONG, Node, called_back, channel, dial, say},
};
use quorate::{
    core::{evidence::Evidence, prober::Via},
    testing::wait,
    transport::grpc::backchannel::UnknownBackchannel,
};
use tonic::Code;

#[tokio::test]
async fn a_node_calls_back_over_the_connection_that_was_dialled_to_it() {
    let node = Node::plain().await;
    let wire = Wire::to(node.address).await;
    let link = dial(wire.address, called_back(42));

    assert_eq!(say(&channel(&link), "back marker").await.unwrap(), 42);

    // What the node said back went over the one wire there is, towards the application, which listens nowhere.
    assert_eq!(wire.connections(), 1);
    assert!(wire.went_to_node(b"back marker"), "the call");
    assert!(wire.went_to_application(b"back marker"), "the call back");
    // The contrast: with the wire frozen there is no other way.
    wire.freeze();
    let channel = channel(&link);
    let again = tokio::time::timeout(crate::world::SHORT, say(&channel, "back"));
    assert!(again.await.is_err(), "something passed a frozen wire");
    assert_eq!(wire.connections(), 1);
}

#[tokio::test]
async fn each_dial_has_its_own_number_and_is_called_back_itself() {
    let node = Node::plain().await;
    let links: Vec<_> = (1..=3).map(|number| dial(node.address, called_back(number))).collect();
    let mut ids = Vec::new();
    for (number, link) in (1..).zip(&links) {
        ids.push(say(&channel(link), "id").await.unwrap());
        assert_eq!(say(&channel(link), "back").await.unwrap(), number);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
    // By number, as a part of the node does that is not handed the call.
    for (number, id) in (1..).zip(ids) {
        let peer = node.backchannels.get(id.to_string().parse().unwrap()).unwrap();
        assert_eq!(say(&peer.channel(), "back").await.unwrap(), number);
    }
}

#[tokio::test]
async fn two_nodes_behind_one_address_book_each_have_the_way_back() {
    // Praefect's scenario "connection multiplexing": every node's connection is multiplexed.
    let node = Node::plain().await;
    let backchannel = called_back(7);
    for link in [dial(node.address, backchannel.clone()), dial(node.address, backchannel)] {
        assert_eq!(say(&channel(&link), "back").await.unwrap(), 7);
        for via in [Via::Kept, Via::Fresh] {
            assert_eq!(link.probe.check(via, LONG).await, Evidence::Serving, "{via:?}");
        }
    }
}

#[tokio::test]
async fn when_the_session_ends_both_ends_notice_and_the_next_call_makes_another_one() {
    let node = Node::plain().await;
    let wire = Wire::to(node.address).await;
    let link = dial(wire.address, called_back(42));
    let first = say(&channel(&link), "id").await.unwrap();
    let id = first.to_string().parse().unwrap();
    let peer = node.backchannels.get(id).unwrap();
    assert_eq!(say(&peer.channel(), "back").await.unwrap(), 42);

    wire.cut();

    wait::until("the node forgets the backchannel", LONG, || node.backchannels.count() == 0).await;
    assert_eq!(node.backchannels.get(id).unwrap_err(), UnknownBackchannel(id));
    assert_eq!(say(&peer.channel(), "back").await.unwrap_err().code(), Code::Unavailable);
    // The application's channel may be told of the cut by its first call.
    wait::until_async("the channel connects again", LONG, async || say(&channel(&link), "").await.is_ok()).await;
    assert_eq!(say(&channel(&link), "back").await.unwrap(), 42);
    assert_ne!(say(&channel(&link), "id").await.unwrap(), first);
    assert_eq!(wire.connections(), 2);
    assert_eq!(node.backchannels.count(), 1);
}

#[tokio::test]
async fn a_call_under_way_fails_when_the_session_ends_and_does_not_hang() {
    let held = std::sync::Arc::new(tokio::sync::Notify::new());
    let entered = held.clone();
    let node = Node::start(
        quorate::transport::grpc::backchannel::Limits::default(),
        std::sync::Arc::new(move |_| {
            entered.notify_one();
            Box::pin(std::future::pending())
        }),
    )
    .await;
    let wire = Wire::to(node.address).await;
    let link = dial(wire.address, called_back(42));
    let channel = channel(&link);
    let call = tokio::spawn(async move { say(&channel, "hold").await });
    wait::within("the call arrives", LONG, held.notified()).await;

    wire.cut();

    let failed = wait::within("the call fails", LONG, call).await.unwrap().unwrap_err();
    assert!(matches!(failed.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{failed:?}");
}

#[tokio::test]
async fn a_dropped_channel_ends_its_session() {
    let node = Node::plain().await;
    let link = dial(node.address, called_back(42));
    let other = dial(node.address, called_back(43));
    assert_eq!(say(&channel(&link), "back").await.unwrap(), 42);
    assert_eq!(say(&channel(&other), "back").await.unwrap(), 43);
    assert_eq!(node.backchannels.count(), 2);

    drop(link);

    wait::until("the node forgets it", LONG, || node.backchannels.count() == 1).await;
    assert_eq!(say(&channel(&other), "back").await.unwrap(), 43);
}

#[tokio::test]
async fn a_node_that_knows_no_backchannel_is_not_found_healthy() {
    // It takes the magic bytes for a broken HTTP/2.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let server = tonic::transport::Server::builder().add_service(health);
    tokio::spawn(server.serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)));
    let link = dial(address, called_back(42));
    for via in [Via::Kept, Via::Fresh] {
        let evidence = link.probe.check(via, LONG).await;
        assert!(matches!(evidence, Evidence::Hard(_) | Evidence::Misconfigured(_)), "{via:?}: {evidence:?}");
    }
    let plain = crate::world::dial_with(&format!("tcp://{address}"), Default::default(), None);
    assert_eq!(plain.probe.check(Via::Kept, LONG).await, Evidence::Serving);
}
