//! The storage node of the testing kit, under the transport that embedders will point at it.

use crate::nodes::{TIMEOUT, check, open};
use quorate::{
    core::{
        evidence::{Evidence, Hard, Misconfigured, Soft},
        prober::Via,
    },
    testing::storage_node::{Health, StorageNode},
};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_storage_node_says_of_itself_what_it_is_told_to() {
    let node = StorageNode::start();
    let link = open(&node.address().to_string());
    for (health, evidence) in [
        (Health::Serving, Evidence::Serving),
        (Health::NotServing, Evidence::Hard(Hard::NotServing)),
        (Health::Unknown, Evidence::Hard(Hard::NotServing)),
        (Health::NoService, Evidence::Misconfigured(Misconfigured::Unimplemented)),
        (Health::Serving, Evidence::Serving),
    ] {
        node.reports(health);
        assert_eq!(check(&link, Via::Kept).await, evidence, "{health:?}");
        assert_eq!(check(&link, Via::Fresh).await, evidence, "{health:?}");
    }
    assert_eq!(node.checks(), 10);
}

#[tokio::test]
async fn a_storage_node_takes_its_time() {
    let node = StorageNode::start();
    let link = open(&node.address().to_string());
    node.takes(SHORT);
    let began = Instant::now();
    assert_eq!(check(&link, Via::Kept).await, Evidence::Serving);
    assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
    node.takes(TIMEOUT * 10);
    assert_eq!(link.probe.check(Via::Kept, SHORT).await, Evidence::Soft(Soft::Timeout));
}

#[tokio::test]
async fn a_frozen_storage_node_accepts_and_never_answers_until_it_is_thawed() {
    let node = StorageNode::start();
    let link = open(&node.address().to_string());
    assert_eq!(check(&link, Via::Kept).await, Evidence::Serving);
    node.freeze();
    node.freeze();
    let asked = node.checks();
    assert_eq!(link.probe.check(Via::Kept, SHORT).await, Evidence::Soft(Soft::Timeout));
    assert_eq!(link.probe.check(Via::Fresh, SHORT).await, Evidence::Soft(Soft::Timeout));
    let address = node.address().to_string().replace("tcp://", "");
    assert!(tokio::net::TcpStream::connect(address).await.is_ok(), "the kernel accepts");
    assert_eq!(node.checks(), asked, "it did nothing");
    node.thaw();
    assert_eq!(check(&link, Via::Kept).await, Evidence::Serving, "the same connection goes on");
}

#[tokio::test]
async fn a_killed_storage_node_breaks_its_connections_refuses_new_ones_and_returns_on_its_port() {
    let node = StorageNode::start();
    let link = open(&node.address().to_string());
    let before = node.address();
    for _ in 0..3 {
        assert_eq!(check(&link, Via::Kept).await, Evidence::Serving);
        node.kill();
        let broken = check(&link, Via::Kept).await;
        assert!(matches!(broken, Evidence::Hard(Hard::Reset | Hard::Refused)), "{broken:?}");
        assert_eq!(check(&link, Via::Fresh).await, Evidence::Hard(Hard::Refused));
        node.restart();
        assert_eq!(node.address(), before);
        assert_eq!(check(&link, Via::Fresh).await, Evidence::Serving);
    }
}

#[tokio::test]
async fn a_frozen_storage_node_can_be_killed_and_a_dropped_one_is_gone() {
    let node = StorageNode::start();
    let address = node.address().to_string();
    node.freeze();
    node.kill();
    assert_eq!(check(&open(&address), Via::Fresh).await, Evidence::Hard(Hard::Refused));
    node.restart();
    assert_eq!(check(&open(&address), Via::Fresh).await, Evidence::Serving);
    drop(node);
    assert_eq!(check(&open(&address), Via::Fresh).await, Evidence::Hard(Hard::Refused));
}
