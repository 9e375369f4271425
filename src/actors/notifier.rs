//! Tells subscribers of every change of the consensus. Nobody waits for a slow one.
//!
//! It works on levels, not on edges: the truth is the watch cell, and each subscriber is remembered with the revision
//! it has seen. So a full mailbox, or the notifier's own death, costs a subscriber intermediate revisions and never
//! the last one.

use super::cells::Cells;
use crate::{
    core::epoch::Revision,
    messages::consensus::{ConsensusChanged, Subscribe},
    telemetry::{self, Meter},
};
use actix::prelude::*;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The most subscribers: each costs one send per change on the supervisor's own arbiter.
pub const SUBSCRIBERS_MAX: usize = 1_000;
/// Pauses between two attempts to reach a subscriber whose mailbox is full.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Who is told, and what each has seen. It outlives the notifier.
#[derive(Clone, Default)]
pub struct Subscribers(Arc<Mutex<Vec<Subscriber>>>);

struct Subscriber {
    recipient: Recipient<ConsensusChanged>,
    seen: Revision,
}

/// The actor.
pub struct Notifier {
    cells: Arc<Cells>,
    subscribers: Subscribers,
    retrying: Option<Duration>,
    meter: Meter,
}

impl Notifier {
    /// A notifier in the place of whichever served these subscribers before.
    #[must_use]
    pub fn new(cells: Arc<Cells>, subscribers: Subscribers) -> Self {
        Self { cells, subscribers, retrying: None, meter: Meter::default() }
    }

    /// Skipped revisions are counted there.
    #[must_use]
    pub fn metered(self, meter: Meter) -> Self {
        Self { meter, ..self }
    }

    /// Brings everybody to the last revision; answers whether somebody's mailbox was full.
    fn deliver(&self) -> bool {
        let Some(latest) = self.cells.consensus.borrow().clone() else { return false };
        let mut full = false;
        let mut subscribers = self.subscribers.0.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain_mut(|subscriber| {
            if subscriber.seen >= latest.revision {
                return true;
            }
            match subscriber.recipient.try_send(ConsensusChanged(Arc::clone(&latest))) {
                Ok(()) => {
                    let skipped = latest.revision.0.saturating_sub(subscriber.seen.0).saturating_sub(1);
                    if skipped > 0 && subscriber.seen != Revision::default() {
                        telemetry::subscriber_is_slow(skipped);
                        self.meter.revisions_skipped(skipped);
                    }
                    subscriber.seen = latest.revision;
                    true
                }
                Err(SendError::Full(_)) => {
                    full = true;
                    true
                }
                Err(SendError::Closed(_)) => false,
            }
        });
        full
    }

    fn work(&mut self, ctx: &mut Context<Self>) {
        if !self.deliver() {
            self.retrying = None;
        } else if self.retrying.is_none() {
            self.retry(RETRY.0, ctx);
        }
    }

    fn retry(&mut self, pause: Duration, ctx: &mut Context<Self>) {
        self.retrying = Some(pause);
        ctx.run_later(pause, move |this, ctx| {
            if this.deliver() {
                this.retry(pause.saturating_mul(2).min(RETRY.1), ctx);
            } else {
                this.retrying = None;
            }
        });
    }

    fn follow(&mut self, ctx: &mut Context<Self>) {
        let mut changes = self.cells.consensus.subscribe();
        // Whatever was published before is delivered now; the receiver waits for what comes after.
        self.work(ctx);
        let changed = async move {
            let alive = changes.changed().await.is_ok();
            (alive, changes)
        };
        ctx.spawn(changed.into_actor(self).map(|(alive, _), this: &mut Self, ctx| {
            if alive {
                this.follow(ctx);
            }
        }));
    }
}

impl Actor for Notifier {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        self.follow(ctx);
    }
}

impl Handler<Subscribe> for Notifier {
    type Result = bool;
    fn handle(&mut self, Subscribe(recipient): Subscribe, ctx: &mut Context<Self>) -> bool {
        {
            let mut subscribers = self.subscribers.0.lock().unwrap_or_else(PoisonError::into_inner);
            subscribers.retain(|subscriber| subscriber.recipient.connected());
            if subscribers.len() >= SUBSCRIBERS_MAX {
                return false;
            }
            subscribers.push(Subscriber { recipient, seen: Revision::default() });
        }
        self.work(ctx);
        true
    }
}

impl std::fmt::Debug for Notifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notifier").finish_non_exhaustive()
    }
}
impl std::fmt::Debug for Subscribers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscribers").finish_non_exhaustive()
    }
}
