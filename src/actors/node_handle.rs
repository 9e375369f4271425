//! A node as those outside see it.

use super::{cells::LocalView, relay::Relay};
use crate::{
    config::Secret,
    core::{
        evidence::Evidence,
        ids::{NodeId, Storage},
    },
    error::Error,
    messages::health::{CheckHealth, GetNodeHealth, NodeHealth},
    transport::{Link, NodeAddress, TrafficErrors},
};
use std::time::Duration;
use tokio::{sync::watch, time::timeout};

/// How long a node's actor may take to answer what it knows already.
const ANSWER: Duration = Duration::from_secs(1);

/// Where a node is, and the way there. A reload may change it.
#[derive(Debug, Clone)]
pub struct NodePlace<C> {
    address: NodeAddress,
    token: Option<Secret>,
    check_limit: Duration,
    connection: watch::Receiver<C>,
    traffic: TrafficErrors,
}

impl<C> NodePlace<C> {
    /// A node that was opened at this address.
    #[must_use]
    pub fn new(address: NodeAddress, link: &Link<C>) -> Self {
        let (connection, traffic) = (link.connection.clone(), link.traffic.clone());
        Self { address, token: None, check_limit: Duration::from_secs(10), connection, traffic }
    }
    /// The same with the token that its clients need. Default none.
    #[must_use]
    pub fn with_token(self, token: Option<Secret>) -> Self {
        Self { token, ..self }
    }
    /// The same with another limit to [`NodeHandle::check_health`]: two probes, for hard evidence is confirmed, and
    /// the time that they may have to wait for the actor. Default 10 s.
    #[must_use]
    pub fn with_check_limit(self, check_limit: Duration) -> Self {
        Self { check_limit, ..self }
    }
}

/// A node as others see it: names, the connection for real traffic, and what this supervisor thinks of it.
///
/// Its identity is the pair of virtual storage and storage: two nodes whose storages have one name share nothing. It
/// follows a reload: under another address or token it is the same node. Once its node is configured no longer it is not
/// healthy any more.
pub struct NodeHandle<C> {
    node: NodeId,
    place: watch::Receiver<NodePlace<C>>,
    local: watch::Receiver<LocalView>,
    health: Relay<GetNodeHealth>,
    check: Relay<CheckHealth>,
}

impl<C: Clone> NodeHandle<C> {
    /// A handle of an opened node; `local` is the cell in which the HealthManager publishes who is up.
    #[must_use]
    pub fn new(
        node: NodeId,
        place: watch::Receiver<NodePlace<C>>,
        local: watch::Receiver<LocalView>,
        health: Relay<GetNodeHealth>,
        check: Relay<CheckHealth>,
    ) -> Self {
        Self { node, place, local, health, check }
    }
    /// Which node.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.node
    }
    /// Its storage name.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.node.storage
    }
    /// Where it listens now.
    #[must_use]
    pub fn address(&self) -> NodeAddress {
        self.place.borrow().address.clone()
    }
    /// What its clients prove themselves with; `None` if it wants nothing. Never shown.
    #[must_use]
    pub fn token(&self) -> Option<Secret> {
        self.place.borrow().token.clone()
    }
    /// The connection for real traffic. Ask again for each call: it is replaced when it went silent. Over gRPC it comes
    /// with the error tracking.
    #[must_use]
    pub fn connection(&self) -> C {
        self.place.borrow().connection.borrow().clone()
    }
    /// Where calls that the node failed are recorded, for those who reach it over channels of their own. Ask again for
    /// each call: under another address it is another one.
    #[must_use]
    pub fn traffic(&self) -> TrafficErrors {
        self.place.borrow().traffic.clone()
    }
    /// Whether this supervisor itself sees it up. Routing uses this.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.local.borrow().contains(&self.node)
    }
    /// What this supervisor knows of it; `None` if its actor does not answer in a second.
    pub async fn health(&self) -> Option<NodeHealth> {
        timeout(ANSWER, self.health.send(GetNodeHealth)).await.ok().flatten()
    }
    /// Probes now, whatever the schedule says, and answers the outcome: [`Evidence::Serving`] is the only good one. It
    /// enters the health window like any other probe's, and [`NodeHandle::is_healthy`] follows from the window.
    ///
    /// A probe under way answers for this one too. Errors: [`Error::Busy`] with too many checks at once,
    /// [`Error::Timeout`], [`Error::Stopped`].
    pub async fn check_health(&self) -> Result<Evidence, Error> {
        let limit = self.place.borrow().check_limit;
        match timeout(limit, self.check.send(CheckHealth)).await {
            Ok(Some(Some(outcome))) => Ok(outcome),
            Ok(Some(None)) => Err(Error::Busy),
            Ok(None) => Err(Error::Stopped),
            Err(_) => Err(Error::Timeout(limit)),
        }
    }
}

impl<C> Clone for NodeHandle<C> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
            place: self.place.clone(),
            local: self.local.clone(),
            health: self.health.clone(),
            check: self.check.clone(),
        }
    }
}

impl<C> std::fmt::Debug for NodeHandle<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeHandle")
            .field("node", &self.node)
            .field("address", &self.place.borrow().address)
            .finish_non_exhaustive()
    }
}
