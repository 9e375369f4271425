//! Lookups under way, which a graceful stop waits for.

use std::time::Duration;
use tokio::{sync::watch, time::timeout};

/// How many are inside, and whether anybody may still come in.
#[derive(Debug)]
pub(super) struct Gate(watch::Sender<State>);

#[derive(Debug, Clone, Copy)]
struct State {
    inside: usize,
    open: bool,
}

/// One that is inside; it leaves when this is dropped.
pub(super) struct Inside<'a>(&'a Gate);

impl Gate {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(State { inside: 0, open: true }))
    }

    /// Lets one in; `None` once closed.
    pub(super) fn enter(&self) -> Option<Inside<'_>> {
        let entered = self.0.send_if_modified(|state| {
            state.inside = state.inside.saturating_add(usize::from(state.open));
            state.open
        });
        entered.then_some(Inside(self))
    }

    /// Lets nobody in any more, and waits for those inside, but no longer than this.
    pub(super) async fn close(&self, limit: Duration) {
        self.0.send_modify(|state| state.open = false);
        let _ = timeout(limit, self.0.subscribe().wait_for(|state| state.inside == 0)).await;
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.inside = state.inside.saturating_sub(1));
    }
}
