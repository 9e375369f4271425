//! A node that was away is found again within a second, however long it was away.

use crate::nodes::{Node, check, loopback, open, raw};
use quorate::core::{
    evidence::{Evidence, Soft},
    prober::Via,
};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn a_node_that_returns_answers_within_a_second() {
    let (node, address) = Node::tcp(loopback());
    let link = open(&format!("tcp://{address}"));
    assert_eq!(check(&link, Via::Kept).await, Evidence::Serving);
    node.kill();
    // Probed all the while, as a supervisor does: a pause that grew with each failure would show.
    let away = Instant::now();
    while away.elapsed() < Duration::from_secs(3) {
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
