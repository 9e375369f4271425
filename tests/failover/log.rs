//! The example's disk: what a crash leaves of it.

use crate::disk::ObjectLog;
use std::fs;

#[test]
fn a_write_cut_off_anywhere_leaves_what_was_there_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut log = ObjectLog::open(path.clone()).unwrap();
    log.put(1, b"one".to_vec()).unwrap();
    let before = fs::read(&path).unwrap().len();
    log.put(2, b"two".to_vec()).unwrap();
    drop(log);
    let whole = fs::read(&path).unwrap();
    for length in before..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let mut log = ObjectLog::open(path.clone()).unwrap();
        assert_eq!(log.objects().keys().copied().collect::<Vec<_>>(), [1], "cut at {length}");
        // The torn rest must not spoil what is written after it.
        log.put(3, b"three".to_vec()).unwrap();
        drop(log);
        assert_eq!(ObjectLog::open(path.clone()).unwrap().objects().len(), 2, "cut at {length}");
    }
}

#[test]
fn a_state_that_was_taken_over_is_all_that_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut log = ObjectLog::open(path.clone()).unwrap();
    log.put(1, b"one".to_vec()).unwrap();
    log.put(7, b"a tail".to_vec()).unwrap();
    log.replace([(1, b"one".to_vec()), (2, b"two".to_vec())].into()).unwrap();
    log.put(3, b"three".to_vec()).unwrap();
    drop(log);
    let log = ObjectLog::open(path).unwrap();
    assert_eq!(log.objects().keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
}
