//! A node that is as the test says, for code that is handed a [`NodeHandle`].

use crate::{
    actors::{LocalView, NodeHandle, NodePlace, Relay},
    core::{
        consensus::Opinion,
        evidence::{Evidence, Hard},
        ids::NodeId,
        prober::Via,
    },
    messages::health::{CheckHealth, GetNodeHealth, NodeHealth},
    transport::{HealthProbe, Link, NodeAddress, TrafficErrors, Words},
};
use actix::prelude::*;
use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// One node without anything behind it. It is up until told otherwise; a probe changes nothing and is counted. Where a
/// node has to be probed in earnest, take a [`ScriptedNode`](super::probe::ScriptedNode).
///
/// ```no_run
/// # use quorate::{core::ids::NodeId, testing::node::MockNode};
/// # fn test(node: NodeId) {
/// let mock = MockNode::start(node, "connection");
/// let handle = mock.handle();
/// assert!(handle.is_healthy());
/// mock.set_healthy(false);
/// assert!(!handle.is_healthy());
/// # }
/// ```
#[derive(Debug)]
pub struct MockNode<C> {
    handle: NodeHandle<C>,
    local: Arc<watch::Sender<LocalView>>,
    connection: watch::Sender<C>,
    checks: Arc<watch::Sender<usize>>,
}

impl<C: Clone + Send + Sync + 'static> MockNode<C> {
    /// A node at an address where nobody listens. Must be called inside an actix system.
    #[must_use]
    pub fn start(node: NodeId, connection: C) -> Self {
        match "tcp://mock.invalid:1".parse() {
            Ok(address) => Self::start_at(node, address, connection),
            Err(error) => panic!("the mock's own address is not allowed: {error}"),
        }
    }

    /// The same at an address of your own.
    #[must_use]
    pub fn start_at(node: NodeId, address: NodeAddress, connection: C) -> Self {
        let local = Arc::new(watch::Sender::new(LocalView::new([node.clone()].into())));
        let checks = Arc::new(watch::Sender::new(0));
        let (connection, connected) = watch::channel(connection);
        let behind = Behind { node: node.clone(), local: Arc::clone(&local), checks: Arc::clone(&checks) }.start();
        let link = Link { probe: Arc::new(NoProbe), connection: connected, traffic: TrafficErrors::default() };
        let place = watch::Sender::new(NodePlace::new(address, &link)).subscribe();
        let handle = NodeHandle::new(node, place, local.subscribe(), Relay::to(&behind), Relay::to(&behind));
        Self { handle, local, connection, checks }
    }

    /// What the code under test is given.
    #[must_use]
    pub fn handle(&self) -> NodeHandle<C> {
        self.handle.clone()
    }
    /// Whether it is up from now on; every handle sees it at once.
    pub fn set_healthy(&self, healthy: bool) {
        let up = healthy.then(|| self.handle.node().clone());
        self.local.send_replace(Arc::new(up.into_iter().collect()));
    }
    /// What real traffic goes over from now on.
    pub fn set_connection(&self, connection: C) {
        self.connection.send_replace(connection);
    }
    /// How often it was asked for a probe.
    #[must_use]
    pub fn checks(&self) -> usize {
        *self.checks.borrow()
    }
}

/// The actor behind a mock.
struct Behind {
    node: NodeId,
    local: Arc<watch::Sender<LocalView>>,
    checks: Arc<watch::Sender<usize>>,
}

impl Actor for Behind {
    type Context = Context<Self>;
}

impl Behind {
    fn is(&self) -> (bool, Opinion, Evidence) {
        let up = self.local.borrow().contains(&self.node);
        let (opinion, evidence) =
            if up { (Opinion::Up, Evidence::Serving) } else { (Opinion::Down, Evidence::Hard(Hard::Refused)) };
        (up, opinion, evidence)
    }
}

impl Handler<CheckHealth> for Behind {
    type Result = Option<Evidence>;
    fn handle(&mut self, _: CheckHealth, _: &mut Context<Self>) -> Option<Evidence> {
        self.checks.send_modify(|checks| *checks = checks.saturating_add(1));
        Some(self.is().2)
    }
}

impl Handler<GetNodeHealth> for Behind {
    type Result = NodeHealth;
    fn handle(&mut self, _: GetNodeHealth, _: &mut Context<Self>) -> NodeHealth {
        let (up, opinion, evidence) = self.is();
        NodeHealth { opinion, evidence: Some(evidence), window: vec![up], traffic: None, watched: false }
    }
}

/// Nobody probes a mock.
struct NoProbe;

impl HealthProbe for NoProbe {
    fn check(&self, _: Via, _: Duration) -> BoxFuture<'static, Evidence> {
        Box::pin(async { Evidence::Hard(Hard::Refused) })
    }
    fn reconnect(&self) {}
    fn watch(&self) -> Words {
        Words::none_offered()
    }
}
