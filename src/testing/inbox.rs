//! A stand-in for any actor: it keeps what it is sent.

use actix::prelude::*;
use std::sync::Arc;
use tokio::sync::watch;

/// An actor that remembers every message of one kind. A typed stand-in, where actix's own `Mocker` downcasts.
#[derive(Debug)]
pub struct Inbox<M: Message<Result = ()> + Clone + Send + Sync + Unpin + 'static> {
    received: Arc<watch::Sender<Vec<M>>>,
}

/// What an [`Inbox`] received. A cheap clone.
#[derive(Debug, Clone)]
pub struct Received<M> {
    cell: watch::Receiver<Vec<M>>,
}

impl<M: Message<Result = ()> + Clone + Send + Sync + Unpin + 'static> Inbox<M> {
    /// Starts one; answers how to send to it and what it received.
    #[must_use]
    pub fn start() -> (Addr<Self>, Received<M>) {
        let received = Arc::new(watch::Sender::new(Vec::new()));
        let cell = received.subscribe();
        (Inbox { received }.start(), Received { cell })
    }
}

impl<M: Message<Result = ()> + Clone + Send + Sync + Unpin + 'static> Actor for Inbox<M> {
    type Context = Context<Self>;
}

impl<M: Message<Result = ()> + Clone + Send + Sync + Unpin + 'static> Handler<M> for Inbox<M> {
    type Result = ();
    fn handle(&mut self, message: M, _: &mut Context<Self>) {
        self.received.send_modify(|all| all.push(message));
    }
}

impl<M: Clone> Received<M> {
    /// Everything so far, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<M> {
        self.cell.borrow().clone()
    }
    /// The latest.
    #[must_use]
    pub fn last(&self) -> Option<M> {
        self.cell.borrow().last().cloned()
    }
    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.cell.borrow().len()
    }
}
