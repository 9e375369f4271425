//! Telling a running actor what it would be told if it were built now.

use actix::Message;

/// To an actor: work by this from now on, and keep what you know. `T` is what the actor is built from, [`NodeSpec`] or
/// [`HealthManagerConfig`], about the same node or supervisor; whoever sends it sees to it that a rebuilt actor is built
/// from it as well. Bound: one per reload.
///
/// [`NodeSpec`]: super::NodeSpec
/// [`HealthManagerConfig`]: super::HealthManagerConfig
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Reconfigure<T: 'static>(pub T);
