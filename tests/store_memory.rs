//! The reference store keeps every promise of the ports, and its faults are the ones that were ordered.

use quorate::{
    core::settings::{Profile, Settings},
    store::{
        HealthStore as _, Store, StoreErrorKind, StoreOp,
        memory::{ManualClock, MemoryStore},
    },
    testing::{
        histories::{self, History},
        store_suite::{self, Foreign, foreign},
    },
};
use std::{sync::Arc, time::Duration};

#[tokio::test(start_paused = true)]
async fn it_keeps_every_promise() {
    store_suite::run_all(&|| Box::pin(async { Arc::new(MemoryStore::default()) as Arc<dyn Store> })).await;
}

/// The stories need nothing of a paused clock: a database has none.
#[tokio::test]
async fn it_keeps_them_in_real_time() {
    store_suite::run_all(&|| Box::pin(async { Arc::new(MemoryStore::default()) as Arc<dyn Store> })).await;
    for seed in 0..16 {
        let (one, other) = (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()));
        histories::run_history(&History::random(seed, 20), one, other, None).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn it_lives_with_foreign_writers() {
    foreign::run_foreign(&|| {
        Box::pin(async {
            let store = Arc::new(MemoryStore::default());
            (store.clone() as Arc<dyn Store>, store as Arc<dyn Foreign>)
        })
    })
    .await;
}

fn settings() -> Settings {
    Settings::of(Profile::Default)
}

#[tokio::test(start_paused = true)]
async fn ordered_failures_fail_as_often_as_ordered() {
    let store = MemoryStore::default();
    store.fail_next(Some(StoreOp::HealthFacts), StoreErrorKind::Locked, 2);
    assert!(store.settings_seed(&settings()).await.is_ok(), "another operation");
    for _ in 0..2 {
        let error = store.health_facts().await.unwrap_err();
        assert_eq!((error.op(), error.kind()), (StoreOp::HealthFacts, &StoreErrorKind::Locked));
    }
    assert!(store.health_facts().await.is_ok());
    store.fail(None, StoreErrorKind::Unreachable);
    for _ in 0..5 {
        assert!(store.health_facts().await.is_err() && store.settings_update(&settings()).await.is_err());
    }
    store.heal();
    assert!(store.health_facts().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_delay_delays_and_a_hold_holds_until_released() {
    let store = Arc::new(MemoryStore::default());
    store.delay(Duration::from_millis(300));
    let began = tokio::time::Instant::now();
    store.health_facts().await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_millis(300));
    store.delay(Duration::ZERO);
    store.hold(StoreOp::SettingsUpdate);
    let held = tokio::spawn({
        let store = store.clone();
        async move { store.settings_update(&settings()).await }
    });
    while store.held(StoreOp::SettingsUpdate) == 0 {
        tokio::task::yield_now().await;
    }
    let revision = store.health_facts().await.unwrap().settings.revision;
    store.release(StoreOp::SettingsUpdate);
    let updated = held.await.unwrap().unwrap();
    assert_eq!(updated.revision, revision.next(), "it was held before it reached the data");
    assert_eq!(store.held(StoreOp::SettingsUpdate), 0);
    store.hold(StoreOp::HealthFacts);
    assert_eq!(store.health_facts().await.unwrap_err().kind(), &StoreErrorKind::Timeout, "a hold ends");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_of_a_call_that_was_done() {
    let store = MemoryStore::default();
    store.lose_answer(None);
    assert!(store.health_facts().await.is_ok(), "a read commits nothing");
    let error = store.settings_seed(&settings()).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::ConnectionLost);
    let found = store.settings_seed(&Settings::of(Profile::Lan)).await.unwrap();
    assert_eq!(found.settings, settings(), "the lost one had been stored");
}

#[tokio::test]
async fn a_clock_in_hand_moves_both_ways_and_reads_write_nothing() {
    let clock = ManualClock::new();
    let store = MemoryStore::new(clock.clock());
    store.settings_seed(&settings()).await.unwrap();
    let written = store.rows_written();
    let first = store.health_facts().await.unwrap().at;
    clock.advance(Duration::from_secs(6));
    let second = store.health_facts().await.unwrap().at;
    clock.step_back(Duration::from_secs(7));
    let third = store.health_facts().await.unwrap().at;
    assert_eq!((second.0 - first.0, third.0 - first.0), (6_000_000, -1_000_000));
    assert_eq!(store.rows_written(), written);
    assert_eq!(store.activity()[&StoreOp::HealthFacts].calls, 3);
}
