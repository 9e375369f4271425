//! Waiting on a predicate, never for luck.

use std::{future::Future, time::Duration};

/// Waits until `what` holds; panics with that sentence if it does not within `limit`.
pub async fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    until_async(what, limit, async || holds()).await;
}

/// As [`until`], for a predicate that has to ask.
pub async fn until_async(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(limit, waiting).await.is_ok(), "not within {limit:?}: {what}");
}

/// Waits for a future; panics with that sentence if it does not end within `limit`.
pub async fn within<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}
