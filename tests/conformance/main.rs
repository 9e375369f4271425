//! Both SQL stores against what every store owes its callers: the stories of the suite, the stories about foreign
//! writers, and random histories lived beside the reference store.
//!
//! `QUORATE_HISTORIES=100000 cargo test --all-features --test conformance histories` lives more of them. A history that
//! failed is printed and kept, shrunk, under `regressions/`, and tried first from then on.

mod postgres;
mod sqlite;
#[path = "../support/postgres.rs"]
mod support;

use proptest::{
    collection::vec,
    prelude::any,
    test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner},
};
use quorate::{
    store::{Store, memory::MemoryStore},
    testing::histories::{History, Views, count, run_history},
};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Histories per database, if the environment says nothing else.
const HISTORIES: u32 = 1_000;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Lives random histories in one database, one after the other, beside a fresh reference each.
fn live(runtime: &Runtime, store: &Arc<dyn Store>, views: &Views, regressions: &'static str) {
    let kept = FileFailurePersistence::Direct(regressions);
    let config = Config { cases: count(HISTORIES), failure_persistence: Some(Box::new(kept)), ..Config::default() };
    let lived = TestRunner::new(config).run(&vec(any::<u64>(), 14..24), |words| {
        let history = History::of(&words);
        let outcome = runtime.block_on(async {
            run_history(&history, store.clone(), Arc::new(MemoryStore::default()), Some(views)).await
        });
        outcome.map_err(|divergence| TestCaseError::fail(format!("{divergence}\nof {history:?}")))
    });
    if let Err(failure) = lived {
        panic!("{failure}");
    }
}
