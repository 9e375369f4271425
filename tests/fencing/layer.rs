//! The layer in a real server: who passes, who is refused and how, and what a handler does that slept.

use crate::{
    claim, epoch,
    node::{Commit, call, start},
    primary, storage,
};
use quorate::{
    core::{
        election::Primary,
        ids::{ClusterId, RepositoryId, Storage},
    },
    fencing::{
        CLUSTER_KEY, Claim, EPOCH_KEY, EpochStore, FenceLayer, FenceMode, FenceRefusal, Observed, PRIMARY_KEY,
        REPOSITORY_KEY, attach, report,
    },
    transport::{DialOptions, NodeAddress, grpc::dial},
};
use std::time::Duration;
use tonic::{Code, Status};

fn everything(layer: FenceLayer) -> FenceLayer {
    layer.exempt_only([])
}

fn refusal(result: Result<(), Status>) -> FenceRefusal {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    FenceRefusal::from_status(&status).unwrap_or_else(|| panic!("no detail in {status:?}"))
}

async fn call_as(channel: &tonic::transport::Channel, claim: &Claim) -> Result<(), Status> {
    call(channel, |metadata| claim.attach(metadata)).await
}

#[tokio::test]
async fn each_refusal_has_its_typed_detail() {
    let node = start(Commit::Checks, false, everything).await;
    call_as(&node.channel, &claim("g2", 6)).await.unwrap();

    let seven = RepositoryId(7);
    assert_eq!(
        refusal(call_as(&node.channel, &claim("g1", 5)).await),
        FenceRefusal::StaleEpoch { repository: seven, presented: epoch(5), current: epoch(6), primary: storage("g2") }
    );
    assert_eq!(
        refusal(call_as(&node.channel, &claim("g3", 6)).await),
        FenceRefusal::PrimaryConflict {
            repository: seven,
            epoch: epoch(6),
            presented: storage("g3"),
            current: storage("g2")
        }
    );
    let red = ClusterId::new("red").unwrap();
    assert_eq!(
        refusal(call_as(&node.channel, &Claim { cluster: red.clone(), ..claim("g2", 9) }).await),
        FenceRefusal::ForeignCluster { presented: red, current: ClusterId::new("blue").unwrap() }
    );
    assert_eq!(refusal(call(&node.channel, |_| {}).await), FenceRefusal::MissingEpoch);
    // Only the accepted call reached the handler.
    assert_eq!(node.seen.lock().await.len(), 1);
}

#[tokio::test]
async fn metadata_that_cannot_be_read_is_told_precisely_in_both_modes() {
    for mode in [FenceMode::Required, FenceMode::Optional] {
        let node = start(Commit::Checks, false, |layer| layer.exempt_only([]).mode(mode)).await;
        for (key, value, expected) in [
            (CLUSTER_KEY, None, "carries no `quorate-cluster`"),
            (REPOSITORY_KEY, None, "carries no `quorate-repository`"),
            (PRIMARY_KEY, None, "carries no `quorate-primary`"),
            (EPOCH_KEY, None, "carries no epoch"),
            (EPOCH_KEY, Some("6"), "`quorate-epoch` of the call cannot be read"),
            (REPOSITORY_KEY, Some("a.git"), "not the number of a repository"),
            (PRIMARY_KEY, Some("%0"), "not percent-encoded UTF-8"),
            (CLUSTER_KEY, Some("%00"), "cluster id"),
        ] {
            let result = call(&node.channel, |metadata| {
                claim("g2", 6).attach(metadata);
                metadata.remove(key);
                if let Some(value) = value {
                    metadata.insert(key, value.parse().unwrap());
                }
            });
            let refusal = refusal(result.await);
            assert!(refusal.to_string().contains(expected), "{key} {value:?}: {refusal}");
        }
        let twice = call(&node.channel, |metadata| {
            claim("g2", 6).attach(metadata);
            metadata.append(EPOCH_KEY, "1.9".parse().unwrap());
        });
        assert!(refusal(twice.await).to_string().contains("more than once"));
        assert_eq!(node.store.report().highest, None);
    }
}

#[tokio::test]
async fn a_primary_without_an_epoch_cannot_even_be_attached() {
    let mut metadata = tonic::metadata::MetadataMap::new();
    let error = attach(&Primary { epoch: None, ..primary("g1", 1) }, &mut metadata).unwrap_err();
    assert!(error.to_string().contains("has no epoch") && metadata.is_empty(), "{error}");
    let error = attach(&Primary { repository: None, ..primary("g1", 1) }, &mut metadata).unwrap_err();
    assert!(error.to_string().contains("has no number of a repository") && metadata.is_empty(), "{error}");
}

#[tokio::test]
async fn names_of_any_characters_survive_the_wire() {
    let node = start(Commit::Checks, false, everything).await;
    let claim = Claim { primary: Storage::new("größe 100% é/π").unwrap(), ..claim("g1", 5) };
    call_as(&node.channel, &claim).await.unwrap();
    assert_eq!(node.seen.lock().await[0].as_ref().unwrap().claim(), &claim);
}

#[tokio::test]
async fn optional_lets_calls_without_a_claim_pass_and_judges_the_others() {
    let node = start(Commit::Checks, false, |layer| layer.exempt_only([]).mode(FenceMode::Optional)).await;
    call(&node.channel, |_| {}).await.unwrap();
    call_as(&node.channel, &claim("g2", 6)).await.unwrap();
    assert!(matches!(refusal(call_as(&node.channel, &claim("g1", 5)).await), FenceRefusal::StaleEpoch { .. }));
    let guarded: Vec<bool> = node.seen.lock().await.iter().map(Option::is_some).collect();
    assert_eq!(guarded, [false, true]);
}

#[tokio::test]
async fn exempt_paths_need_no_epoch_and_get_no_guard() {
    // The default exempts health, which the handler happens to be.
    for configure in [|layer: FenceLayer| layer, |layer: FenceLayer| layer.exempt_only([]).exempt("/grpc.health.v1")] {
        let node = start(Commit::Checks, false, configure).await;
        call(&node.channel, |_| {}).await.unwrap();
        call_as(&node.channel, &claim("g2", 6)).await.unwrap();
        assert!(node.seen.lock().await.iter().all(Option::is_none));
        assert_eq!(node.store.report().highest, None);
    }
}

#[tokio::test]
async fn a_report_needs_no_epoch() {
    let node = start(Commit::Checks, false, |layer| layer).await;
    let first = report(node.channel.clone(), Duration::from_secs(5)).await.unwrap();
    assert_eq!((first.cluster, first.highest), (None, None));
    node.store.observe(&claim("g2", 6)).await.unwrap();
    // Over what a supervisor hands out for real traffic, too.
    let address = NodeAddress::new(format!("tcp://{}", node.address)).unwrap();
    let connection = dial(&address, None, DialOptions::default()).unwrap();
    let second = report(connection, Duration::from_secs(5)).await.unwrap();
    assert_eq!((second.cluster.unwrap().as_str(), second.highest), ("blue", Some(epoch(6))));
}

#[tokio::test]
async fn the_handler_is_told_that_adoption_is_due_until_it_was_done() {
    let node = start(Commit::Checks, false, everything).await;
    call_as(&node.channel, &claim("g1", 5)).await.unwrap();
    call_as(&node.channel, &claim("g2", 6)).await.unwrap();
    let guards: Vec<_> = node.seen.lock().await.iter().flatten().cloned().collect();
    // This node is g1: primary of 5, replica under 6.
    assert!(guards[0].is_primary() && guards[1].adoption_due());
    assert_eq!(
        (guards[1].epoch(), guards[1].primary(), guards[1].repository()),
        (epoch(6), &storage("g2"), RepositoryId(7))
    );
    guards[1].adopted().await.unwrap();
    assert!(!guards[1].adoption_due());
    // What was adopted under an epoch that is over does not count.
    node.store.observe(&claim("g3", 8)).await.unwrap();
    assert!(matches!(refusal(guards[1].adopted().await), FenceRefusal::StaleEpoch { .. }));
    assert_eq!(node.store.record(RepositoryId(7)).unwrap().adopted, Some(epoch(6)));
}

/// A write of G1@5 has passed the node's check and sleeps in the handler while the node learns of G2@6.
async fn a_write_that_slept(commit: Commit) -> Result<(), Status> {
    let node = start(commit, true, everything).await;
    let channel = node.channel.clone();
    let write = tokio::spawn(async move { call_as(&channel, &claim("g1", 5)).await });
    tokio::time::timeout(Duration::from_secs(5), node.entered.notified()).await.unwrap();
    assert!(matches!(node.store.observe(&claim("g2", 6)).await.unwrap(), Observed::Accepted(_)));
    node.resume.notify_one();
    tokio::time::timeout(Duration::from_secs(5), write).await.unwrap().unwrap()
}

#[tokio::test]
async fn d02_the_guard_refuses_at_commit_what_was_allowed_before_the_freeze() {
    let refused = refusal(a_write_that_slept(Commit::Checks).await);
    assert!(
        matches!(refused, FenceRefusal::StaleEpoch { presented, current, .. } if presented == epoch(5) && current == epoch(6))
    );
    // The contrast: without the second look the stale write lands.
    a_write_that_slept(Commit::DoesNotCheck).await.unwrap();
}

#[tokio::test]
async fn d01_a_thawed_primary_is_refused_by_its_own_node() {
    // The handler does not look again: it is refused before it gets there.
    let node = start(Commit::DoesNotCheck, false, everything).await;
    call_as(&node.channel, &claim("g1", 5)).await.unwrap();
    node.store.observe(&claim("g2", 6)).await.unwrap();
    assert!(matches!(refusal(call_as(&node.channel, &claim("g1", 5)).await), FenceRefusal::StaleEpoch { .. }));
}
