//! A node that was away is found again within a second, however long it was away.

use crate::nodes::{Node, check, loopback, open, open_with, raw};
use quorate::{
    core::{
        evidence::{Evidence, Soft},
        prober::Via,
    },
    transport::{DialOptions, Link, grpc::NodeChannel},
};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tokio::time::Instant;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

#[tokio::test]
async fn a_node_that_returns_answers_within_a_second() {
    let (node, address) = Node::tcp(loopback());
    let link = open(&format!("tcp://{address}"));
    assert_eq!(check(&link, Via::Kept).await, Evidence::Serving);
    node.kill();
    // Probed all the while, as a supervisor does, and long enough for a pause that doubled with each failure to show:
    // the one that began after three seconds would last three more.
    let away = Instant::now();
    while away.elapsed() < Duration::from_secs(4) {
        let _ = link.probe.check(Via::Kept, Duration::from_millis(300)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_node, _) = Node::tcp(address);
    let back = Instant::now();
    while link.probe.check(Via::Kept, Duration::from_millis(300)).await != Evidence::Serving {
        assert!(back.elapsed() < Duration::from_secs(1), "not found again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_connection_whose_peer_fell_silent_is_replaced_on_request() {
    // The first connection hangs, later ones are dropped at once: only a new connection can tell the difference.
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = std::sync::Arc::clone(&connections);
    let (_task, address) = raw(move |stream| {
        let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        async move {
            if first {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            drop(stream);
        }
    })
    .await;
    let link = open(&format!("tcp://{address}"));
    for _ in 0..2 {
        let evidence = link.probe.check(Via::Kept, Duration::from_millis(100)).await;
        assert_eq!(evidence, Evidence::Soft(Soft::Timeout));
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1);
    link.probe.reconnect();
    assert!(matches!(check(&link, Via::Kept).await, Evidence::Hard(_)));
    assert!(connections.load(std::sync::atomic::Ordering::SeqCst) > 1);
}

/// A port that lets everybody in and hangs up at once; how often it did.
async fn revolving_door() -> (std::net::SocketAddr, std::sync::Arc<AtomicU32>) {
    let connections = std::sync::Arc::new(AtomicU32::new(0));
    let count = std::sync::Arc::clone(&connections);
    let (_task, address) = raw(move |stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { drop(stream) }
    })
    .await;
    (address, connections)
}

/// Calls as fast as it can for half a second; how many calls there were.
async fn call_busily(link: &Link<NodeChannel>) -> u32 {
    let (started, mut calls) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_millis(500) {
        let mut client = HealthClient::new(link.connection.borrow().clone());
        client.check(HealthCheckRequest::default()).await.unwrap_err();
        calls += 1;
        tokio::task::yield_now().await;
    }
    calls
}

#[tokio::test]
async fn a_busy_caller_does_not_hammer_a_node_that_is_away() {
    for (max, bounded) in [(Duration::from_secs(1), true), (Duration::ZERO, false)] {
        let (address, connections) = revolving_door().await;
        let options = DialOptions { reconnect_pause_max: max, ..DialOptions::default() };
        let link = open_with(&format!("tcp://{address}"), options);
        let calls = call_busily(&link).await;
        let connections = connections.load(Ordering::SeqCst);
        // Pauses of 50, 100, 200 and 400 ms leave room for four attempts in half a second.
        assert_eq!(connections <= 4, bounded, "{connections} connections for {calls} calls");
        assert!(!bounded || calls > 100, "calls between the attempts fail at once: {calls}");
    }
}

#[tokio::test]
async fn a_pause_of_real_traffic_does_not_keep_a_returned_node_from_being_seen() {
    let address = std::net::TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    let options = DialOptions { reconnect_pause_max: Duration::from_secs(60), ..DialOptions::default() };
    let link = open_with(&format!("tcp://{address}"), options);
    // Long enough for the next pause to be longer than the test.
    call_busily(&link).await;
    for _ in 0..8 {
        assert_ne!(check(&link, Via::Kept).await, Evidence::Serving);
    }
    let (_node, _) = Node::tcp(address);
    let mut client = HealthClient::new(link.connection.borrow().clone());
    client.check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(check(&link, Via::Kept).await, Evidence::Serving);
    client.check(HealthCheckRequest::default()).await.unwrap();
}
