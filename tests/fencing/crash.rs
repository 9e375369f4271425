//! What is left after a crash, at every point at which one can strike.

use crate::{claim, epoch};
use quorate::{
    core::ids::RepositoryId,
    fencing::{Claim, EpochStore, EpochStoreError, FileEpochStore, Observed},
};
use std::{fs, path::Path};

const SEVEN: RepositoryId = RepositoryId(7);

async fn observe(path: &Path, claims: &[Claim]) {
    let store = FileEpochStore::open(path).unwrap();
    for claim in claims {
        assert!(matches!(store.observe(claim).await.unwrap(), Observed::Accepted(_)));
    }
}

#[tokio::test]
async fn a_write_cut_off_anywhere_leaves_the_old_state_or_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epochs");
    observe(&path, &[claim("g1", 5)]).await;
    let old = fs::read(&path).unwrap();
    observe(&path, &[claim("g2", 6)]).await;
    let new = fs::read(&path).unwrap();
    assert!(new.starts_with(&old));
    for length in old.len()..=new.len() {
        fs::write(&path, &new[..length]).unwrap();
        let expected = if length == new.len() { epoch(6) } else { epoch(5) };
        assert_eq!(FileEpochStore::open(&path).unwrap().record(SEVEN).unwrap().epoch, expected, "cut at {length}");
        // The torn rest must not spoil what is written after it.
        observe(&path, &[claim("g3", 9)]).await;
        assert_eq!(FileEpochStore::open(&path).unwrap().record(SEVEN).unwrap().epoch, epoch(9), "cut at {length}");
    }
}

#[tokio::test]
async fn zeros_where_the_last_write_should_be_leave_the_old_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epochs");
    observe(&path, &[claim("g1", 5)]).await;
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([0; 64]);
    fs::write(&path, bytes).unwrap();
    assert_eq!(FileEpochStore::open(&path).unwrap().record(SEVEN).unwrap().epoch, epoch(5));
}

#[tokio::test]
async fn damage_in_what_was_answered_for_is_refused_with_file_and_offset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epochs");
    observe(&path, &[]).await;
    let header = fs::read(&path).unwrap().len();
    observe(&path, &[claim("g1", 5)]).await;
    let first = fs::read(&path).unwrap().len();
    observe(&path, &[claim("g1", 6)]).await;
    let whole = fs::read(&path).unwrap();
    for position in 0..whole.len() - 1 {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let begin = if position < header {
            0
        } else if position < first {
            header
        } else {
            first
        };
        match FileEpochStore::open(&path) {
            Err(EpochStoreError::Damaged { path: named, offset, .. }) => {
                assert_eq!(named, path);
                assert_eq!(offset, begin as u64, "byte {position}");
            }
            // A newline that is none any more joins two lines, the second of which then ends it: still damage.
            other => panic!("byte {position}: {other:?}"),
        }
    }
    let error = FileEpochStore::open(&path).unwrap_err().to_string();
    assert!(error.contains("epochs is damaged at byte"), "{error}");
}

#[tokio::test]
async fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epochs");
    let first = FileEpochStore::open(&path).unwrap();
    assert!(matches!(FileEpochStore::open(&path), Err(EpochStoreError::InUse { .. })));
    drop(first);
    FileEpochStore::open(&path).unwrap();
}

/// Many batches of other repositories' epochs, each a new one, from `number` on; the last number.
async fn overwrite(store: &std::sync::Arc<FileEpochStore>, mut number: i64, rounds: usize) -> i64 {
    for _ in 0..rounds {
        let mut tasks = tokio::task::JoinSet::new();
        for repository in 2..202 {
            number += 1;
            let claim = Claim { repository: RepositoryId(repository), ..claim("g1", number) };
            let store = std::sync::Arc::clone(store);
            tasks.spawn(async move { store.observe(&claim).await.unwrap() });
        }
        tasks.join_all().await;
    }
    number
}

/// A full disk once closed the store for good; here the new log's name is taken.
#[tokio::test]
async fn a_compaction_that_fails_stops_nobody_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epochs");
    let store = std::sync::Arc::new(FileEpochStore::open(&path).unwrap());
    let entries = || fs::read_to_string(&path).unwrap().matches("accepted").count();
    fs::create_dir(folder.path().join("epochs.new")).unwrap();
    let number = overwrite(&store, 3, 60).await;
    assert_eq!(entries(), 12_000, "nothing was compacted, and everything was accepted");
    fs::remove_dir(folder.path().join("epochs.new")).unwrap();
    let number = overwrite(&store, number, 60).await;
    assert!(entries() < 12_000, "{} epochs are in the log", entries());
    drop(store);
    assert_eq!(FileEpochStore::open(&path).unwrap().report().highest, Some(epoch(number)));
}

#[tokio::test]
async fn a_log_is_compacted_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epochs");
    // Many batches of other repositories' epochs; the one from before them must still be known.
    let store = std::sync::Arc::new(FileEpochStore::open(&path).unwrap());
    store.observe(&Claim { repository: RepositoryId(1), ..claim("g9", 3) }).await.unwrap();
    store.adopted(RepositoryId(1), epoch(3)).await.unwrap();
    let number = overwrite(&store, 3, 60).await;
    drop(store);
    let lines = fs::read_to_string(&path).unwrap().matches("accepted").count();
    assert!(lines < 12_000, "{lines} of 12,001 epochs are still there");
    let store = FileEpochStore::open(&path).unwrap();
    let kept = store.record(RepositoryId(1)).unwrap();
    assert_eq!((kept.epoch, kept.adopted), (epoch(3), Some(epoch(3))));
    assert_eq!(store.report().highest, Some(epoch(number)));
}
