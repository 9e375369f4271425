//! What a node's fence says of itself, where there is one.

use crate::nodes::TIMEOUT;
use quorate::{
    core::{
        epoch::{Epoch, Era},
        evidence::Evidence,
        ids::{ClusterId, RepositoryId, Storage},
        prober::Via,
        reports::FenceReport,
    },
    fencing::{Claim, EpochStore, FenceLayer, MemoryEpochStore},
    testing::storage_node::StorageNode,
    transport::{
        DialOptions, Transport,
        grpc::{Call, CallHook, GrpcTransport},
    },
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tonic::{Status, metadata::MetadataMap};

/// Counts how often a fence is asked.
#[derive(Default)]
struct Asked(AtomicUsize);

impl CallHook for Asked {
    fn starting(&self, call: &Call, _: &mut MetadataMap) -> Result<(), Status> {
        if call.method == "/quorate.fence.v1.Fence/Report" {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_fence_reports_its_cluster_and_the_highest_epoch() {
    let store = Arc::new(MemoryEpochStore::new());
    let g1 = Storage::new("g1").unwrap();
    let node = StorageNode::fenced(FenceLayer::new(g1.clone(), store.clone()).server());
    let link = GrpcTransport::new(DialOptions::default()).unwrap().open(&node.address(), None).unwrap();
    assert_eq!(link.probe.report(TIMEOUT).await, Some(FenceReport::default()));
    let cluster = ClusterId::new("blue").unwrap();
    let epoch = Epoch::new(Era(1), 5).unwrap();
    let claim = Claim { cluster: cluster.clone(), repository: RepositoryId(7), epoch, primary: g1 };
    store.observe(&claim).await.unwrap();
    let report = FenceReport { cluster: Some(cluster), highest: Some(epoch) };
    assert_eq!(link.probe.report(TIMEOUT).await, Some(report));
}

#[tokio::test]
async fn a_node_without_a_fence_is_asked_once_until_it_may_be_another_one() {
    let node = StorageNode::start();
    let asked = Arc::new(Asked::default());
    let transport = GrpcTransport::new(DialOptions::default()).unwrap().hook(asked.clone());
    let link = transport.open(&node.address(), None).unwrap();
    let count = async || {
        for _ in 0..3 {
            assert_eq!(link.probe.report(TIMEOUT).await, None);
        }
        asked.0.load(Ordering::SeqCst)
    };
    assert_eq!(count().await, 1);
    link.probe.reconnect();
    assert_eq!(count().await, 2, "over another connection");
    node.kill();
    assert_ne!(link.probe.check(Via::Kept, TIMEOUT).await, Evidence::Serving);
    node.restart();
    assert_eq!(link.probe.check(Via::Kept, TIMEOUT).await, Evidence::Serving);
    assert_eq!(count().await, 3, "after it was away");
}

#[tokio::test]
async fn a_fence_that_cannot_answer_says_nothing_and_is_asked_again() {
    let node =
        StorageNode::fenced(FenceLayer::new(Storage::new("g1").unwrap(), Arc::new(MemoryEpochStore::new())).server());
    let link = GrpcTransport::new(DialOptions::default()).unwrap().open(&node.address(), None).unwrap();
    assert_eq!(link.probe.check(Via::Kept, TIMEOUT).await, Evidence::Serving);
    node.freeze();
    assert_eq!(link.probe.report(TIMEOUT / 20).await, None);
    node.thaw();
    assert_eq!(link.probe.report(TIMEOUT).await, Some(FenceReport::default()));
}
