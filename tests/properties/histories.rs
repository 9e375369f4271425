//! The reference store against itself, and against itself with a flaw: the harness neither cries wolf nor sleeps.

use crate::{
    config,
    planted::{FLAWS, Flawed},
};
use proptest::{collection::vec, prelude::*};
use quorate::{
    core::quorum::QuorumPolicy,
    store::{Store, StoreOp, memory::MemoryStore},
    testing::{
        histories::{Action, Divergence, History, ViewRows, Views, count, run_history},
        store_suite,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Tokio's clock is paused, so that the lapses of a history cost no time.
fn lived(
    history: &History,
    under_test: impl FnOnce() -> Arc<dyn Store>,
    views: Option<&Views>,
) -> Result<(), Divergence> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { run_history(history, under_test(), Arc::new(MemoryStore::default()), views).await })
}

proptest! {
    #![proptest_config(config(count(256), "tests/properties/regressions/histories.txt"))]

    #[test]
    fn the_reference_store_agrees_with_itself(words in vec(any::<u64>(), 16..27)) {
        let history = History::of(&words);
        if let Err(divergence) = lived(&history, || Arc::new(MemoryStore::default()), None) {
            return Err(TestCaseError::fail(format!("{divergence}\nof {history:?}")));
        }
    }
}

#[test]
fn one_database_serves_many_histories() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let shared = runtime.block_on(async { Arc::new(MemoryStore::default()) });
    for seed in 0..64 {
        let history = History::random(seed, 20);
        let under_test: Arc<dyn Store> = shared.clone();
        runtime.block_on(async {
            run_history(&history, under_test, Arc::new(MemoryStore::default()), None).await.unwrap();
        });
    }
    assert!(shared.stored_votes().is_empty(), "a history must leave no voters behind");
}

#[test]
fn every_planted_flaw_is_found() {
    for flaw in FLAWS {
        let found = (0..600).find_map(|seed| {
            let history = History::random(seed, 22);
            lived(&history, || Arc::new(Flawed::new(flaw)), None).err()
        });
        let divergence = found.unwrap_or_else(|| panic!("600 histories did not find {flaw:?}"));
        assert!(divergence.step.is_some(), "{divergence}");
    }
}

#[test]
fn views_that_say_something_else_are_found() {
    let views: &Views =
        &|_, _| Box::pin(async { ViewRows { valid_primaries: BTreeSet::new(), ..ViewRows::default() } });
    let found = (0..200).filter_map(|seed| {
        let history = History::random(seed, 22);
        let outcome = lived(&history, || Arc::new(MemoryStore::default()), Some(views));
        outcome.err().map(|divergence| (history.settings.policy, divergence))
    });
    let found: Vec<_> = found.collect();
    assert!(!found.is_empty(), "empty views must differ from the rule somewhere");
    assert!(found.iter().all(|(policy, _)| *policy == QuorumPolicy::Half), "only policy `half` has views");
}

/// The stories of the suite find the same flaws, each by one that is about it.
#[test]
fn every_planted_flaw_is_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    for flaw in FLAWS {
        let failed: Vec<&str> = store_suite::stories()
            .iter()
            .filter(|story| {
                let telling = || runtime.block_on(async { store_suite::run(story, Arc::new(Flawed::new(flaw))).await });
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(telling)).is_err()
            })
            .map(|story| story.name)
            .collect();
        println!("{flaw:?} fails {failed:?}");
        assert!(!failed.is_empty(), "no story is about {flaw:?}");
    }
}

/// Random histories must reach what they are meant to compare, or their agreement says nothing.
#[test]
fn histories_are_about_something() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (mut half, mut written) = (0, BTreeMap::<StoreOp, u64>::new());
    for seed in 0..200 {
        let history = History::random(seed, 20);
        half += u32::from(history.settings.policy == QuorumPolicy::Half);
        let store = runtime.block_on(async { Arc::new(MemoryStore::default()) });
        let reference: Arc<dyn Store> = runtime.block_on(async { Arc::new(MemoryStore::default()) });
        runtime.block_on(run_history(&history, store.clone(), reference, None)).unwrap();
        for (op, activity) in store.activity() {
            *written.entry(op).or_default() += activity.rows;
        }
    }
    assert!((30..=80).contains(&half), "about a quarter of histories run under policy half: {half}");
    for op in [
        StoreOp::SupervisorRegister,
        StoreOp::SupervisorHeartbeat,
        StoreOp::SupervisorRemove,
        StoreOp::VotesWrite,
        StoreOp::PrimaryCas,
        StoreOp::RepositoryCreate,
        StoreOp::RepositoryDelete,
        StoreOp::RepositoryRename,
        StoreOp::GenerationIncrement,
        StoreOp::GenerationSet,
        StoreOp::ReplicaMark,
        StoreOp::ReplicaDelete,
        StoreOp::AuthoritativeSet,
        StoreOp::AssignmentsReplace,
        StoreOp::StorageUpdate,
    ] {
        let rows = written.get(&op).copied().unwrap_or(0);
        assert!(rows >= 20, "200 histories wrote only {rows} rows by {}", op.as_str());
    }
    assert_eq!(Action::of(63), Action::Retry);
}
