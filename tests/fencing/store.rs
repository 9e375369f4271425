//! What every store owes, held against each of ours.

use crate::{claim, epoch, storage};
use quorate::{
    core::ids::{ClusterId, RepositoryId},
    fencing::{Claim, EpochRecord, EpochStore, FenceRefusal, FileEpochStore, MemoryEpochStore, Observed},
};
use std::sync::Arc;

async fn accepted(store: &dyn EpochStore, claim: &Claim) -> EpochRecord {
    match store.observe(claim).await.unwrap() {
        Observed::Accepted(record) => record,
        Observed::Refused(refusal) => panic!("refused: {refusal}"),
    }
}

async fn refused(store: &dyn EpochStore, claim: &Claim) -> FenceRefusal {
    match store.observe(claim).await.unwrap() {
        Observed::Accepted(record) => panic!("accepted: {record:?}"),
        Observed::Refused(refusal) => refusal,
    }
}

async fn conformance(store: &dyn EpochStore) {
    let seven = RepositoryId(7);
    assert_eq!((store.record(seven), store.report()), (None, Default::default()));

    // The first epoch ever: due for anybody but the primary.
    let record = accepted(store, &claim("g1", 5)).await;
    assert_eq!(record, EpochRecord { epoch: epoch(5), primary: storage("g1"), adopted: None });
    assert!(!record.adoption_due(&storage("g1")) && record.adoption_due(&storage("g2")));
    assert_eq!(accepted(store, &claim("g1", 5)).await, record);

    store.adopted(seven, epoch(5)).await.unwrap();
    assert!(!store.record(seven).unwrap().adoption_due(&storage("g2")));
    // Due again under the next one, for the old primary too, even if the new one is the same storage.
    assert!(accepted(store, &claim("g2", 6)).await.adoption_due(&storage("g1")));
    store.adopted(seven, epoch(5)).await.unwrap();
    assert_eq!(store.record(seven).unwrap().adopted, Some(epoch(5)));
    store.adopted(seven, epoch(6)).await.unwrap();
    assert!(accepted(store, &claim("g2", 8)).await.adoption_due(&storage("g1")));

    let stale = refused(store, &claim("g1", 5)).await;
    assert!(
        matches!(&stale, FenceRefusal::StaleEpoch { current, primary, .. } if *current == epoch(8) && *primary == storage("g2"))
    );
    let conflict = refused(store, &claim("g1", 8)).await;
    assert!(matches!(&conflict, FenceRefusal::PrimaryConflict { current, .. } if *current == storage("g2")));
    let foreign = Claim { cluster: ClusterId::new("red").unwrap(), ..claim("g1", 99) };
    assert!(matches!(refused(store, &foreign).await, FenceRefusal::ForeignCluster { .. }));
    let foreign = Claim { repository: RepositoryId(8), ..foreign };
    assert!(matches!(refused(store, &foreign).await, FenceRefusal::ForeignCluster { .. }));

    // Another repository has epochs of its own.
    let other = Claim { repository: RepositoryId(8), ..claim("g3", 2) };
    accepted(store, &other).await;
    let report = store.report();
    assert_eq!((report.cluster.unwrap().as_str(), report.highest), ("blue", Some(epoch(8))));
    assert_eq!(store.record(seven).unwrap().epoch, epoch(8));
}

#[tokio::test]
async fn memory_conforms() {
    conformance(&MemoryEpochStore::new()).await;
}

#[tokio::test]
async fn a_file_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conformance(&FileEpochStore::open(folder.path().join("epochs")).unwrap()).await;
}

#[tokio::test]
async fn a_restart_goes_on_refusing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epochs");
    conformance(&FileEpochStore::open(&path).unwrap()).await;
    let store = FileEpochStore::open(&path).unwrap();
    assert!(matches!(refused(&store, &claim("g1", 7)).await, FenceRefusal::StaleEpoch { .. }));
    assert!(matches!(refused(&store, &claim("g1", 8)).await, FenceRefusal::PrimaryConflict { .. }));
    let foreign = Claim { cluster: ClusterId::new("red").unwrap(), ..claim("g1", 99) };
    assert!(matches!(refused(&store, &foreign).await, FenceRefusal::ForeignCluster { .. }));
    assert_eq!(store.record(RepositoryId(7)).unwrap().adopted, Some(epoch(6)));
}

async fn a_thousand_at_once(store: Arc<dyn EpochStore>) {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=1_000_i64 {
        let store = Arc::clone(&store);
        // In an order that is neither rising nor falling.
        let number = (number * 387) % 1_009;
        tasks.spawn(async move { (number, store.observe(&claim("g1", number.max(1))).await.unwrap()) });
    }
    let mut highest = 0;
    while let Some(joined) = tasks.join_next().await {
        let (number, observed) = joined.unwrap();
        highest = highest.max(number);
        if let Observed::Accepted(record) = observed {
            assert!(record.epoch >= epoch(number.max(1)));
        }
    }
    assert_eq!(store.record(RepositoryId(7)).unwrap().epoch, epoch(highest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_concurrent_claims_end_with_the_highest() {
    a_thousand_at_once(Arc::new(MemoryEpochStore::new())).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epochs");
    a_thousand_at_once(Arc::new(FileEpochStore::open(&path).unwrap())).await;
    let kept = FileEpochStore::open(&path).unwrap().record(RepositoryId(7)).unwrap().epoch;
    assert!(kept >= epoch(1_000), "{kept}");
}
