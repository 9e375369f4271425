//! A neighbour's address that survives the neighbour.

use actix::{Message, Recipient, dev::ToEnvelope, prelude::*};
use std::{fmt, sync::Arc};
use tokio::sync::watch;

/// Sends to whoever plays a part now. A rebuilt actor is put in its predecessor's place with [`Relay::set`].
pub struct Relay<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    current: Arc<watch::Sender<Option<Recipient<M>>>>,
}

impl<M> Relay<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// A part that nobody plays yet.
    #[must_use]
    pub fn vacant() -> Self {
        Self { current: Arc::new(watch::Sender::new(None)) }
    }
    /// A part played by this actor.
    #[must_use]
    pub fn to<A>(address: &Addr<A>) -> Self
    where
        A: Actor + Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        let relay = Self::vacant();
        relay.set(address.clone().recipient());
        relay
    }
    /// Puts another actor in this place; all clones send to it from now on.
    pub fn set(&self, recipient: Recipient<M>) {
        self.current.send_replace(Some(recipient));
    }
    /// Sends without waiting. Answers whether the message was taken: the mailbox may be full, the actor dead.
    pub fn try_send(&self, message: M) -> bool {
        let current = self.current.borrow().clone();
        current.is_some_and(|recipient| recipient.try_send(message).is_ok())
    }
    /// Sends and waits for the answer; `None` if nobody answers. The caller owes a deadline.
    pub async fn send(&self, message: M) -> Option<M::Result> {
        let current = self.current.borrow().clone();
        current?.send(message).await.ok()
    }
}

impl<M> Default for Relay<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn default() -> Self {
        Self::vacant()
    }
}

impl<M> Clone for Relay<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Self { current: Arc::clone(&self.current) }
    }
}

impl<M> fmt::Debug for Relay<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}
