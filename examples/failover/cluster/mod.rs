//! A whole cluster in processes of its own: three storage nodes, some supervisors, and the handles to them.
//!
//! Everything here is on the outside of the processes that it talks to; what runs inside them is in `roles`.

pub(crate) mod child;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod node;
pub(crate) mod supervisor;
pub(crate) mod wire;
pub(crate) mod world;

/// What `object_store.proto` says, in Rust.
#[allow(clippy::all, clippy::pedantic, unreachable_pub, dead_code, reason = "generated")]
pub(crate) mod proto {
    include!("../generated.rs");
}

use std::{error::Error, future::Future, time::Duration};

/// Whatever went wrong: this is a program that ends with a sentence, not a library.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Waits no longer than this; the error says for what it was.
pub(crate) async fn within<T>(limit: Duration, what: &str, wait: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(limit, wait).await.map_err(|_| format!("waited {limit:?} in vain: {what}").into())
}

/// Asks again and again, with a pause, until there is an answer. The error says what was waited for and what stood in
/// its way last.
pub(crate) async fn until<T, F: Future<Output = Result<T, Failure>>>(
    limit: Duration,
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Failure> {
    const PAUSE: Duration = Duration::from_millis(20);
    let deadline = tokio::time::Instant::now() + limit;
    let mut last = String::from("no attempt came to an end");
    loop {
        match tokio::time::timeout_at(deadline, attempt()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => return Err(format!("waited {limit:?} in vain: {what}; last: {last}").into()),
        }
        if tokio::time::timeout_at(deadline, tokio::time::sleep(PAUSE)).await.is_err() {
            return Err(format!("waited {limit:?} in vain: {what}; last: {last}").into());
        }
    }
}
