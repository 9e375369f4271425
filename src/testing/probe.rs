//! Storage nodes that answer as the test says, without a network.

use crate::{
    core::{
        evidence::{Evidence, Soft},
        prober::Via,
    },
    transport::{DialError, HealthProbe, Link, NodeAddress, Transport},
};
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// How a scripted node behaves from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Behaviour {
    kept: Evidence,
    fresh: Evidence,
    delay: Duration,
    panics: bool,
}

/// One scripted node. Clones are the same node; it serves at once until told otherwise.
#[derive(Debug, Clone)]
pub struct ScriptedNode {
    behaviour: Arc<watch::Sender<Behaviour>>,
    probes: Arc<watch::Sender<Vec<Via>>>,
    connection: Arc<watch::Sender<u64>>,
}

impl Default for ScriptedNode {
    fn default() -> Self {
        let serving =
            Behaviour { kept: Evidence::Serving, fresh: Evidence::Serving, delay: Duration::ZERO, panics: false };
        Self {
            behaviour: Arc::new(watch::Sender::new(serving)),
            probes: Arc::new(watch::Sender::new(Vec::new())),
            connection: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl ScriptedNode {
    /// Answers this from now on, over any connection.
    pub fn answers(&self, evidence: Evidence) {
        self.behaviour.send_modify(|now| (now.kept, now.fresh) = (evidence, evidence));
    }
    /// Answers this over the kept connection only; a fresh one goes on as before.
    pub fn answers_on_kept(&self, evidence: Evidence) {
        self.behaviour.send_modify(|now| now.kept = evidence);
    }
    /// Takes this long for each answer; longer than the probe's timeout is silence.
    pub fn takes(&self, delay: Duration) {
        self.behaviour.send_modify(|now| now.delay = delay);
    }
    /// Makes the next probes panic inside the actor that polls them.
    pub fn panics(&self, panics: bool) {
        self.behaviour.send_modify(|now| now.panics = panics);
    }
    /// Over which connections it was probed so far, in order.
    #[must_use]
    pub fn probes(&self) -> Vec<Via> {
        self.probes.borrow().clone()
    }
    /// How often its connection was replaced.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        *self.connection.borrow()
    }
    /// A link to it, as a transport would open one.
    #[must_use]
    pub fn link(&self) -> Link<u64> {
        Link { probe: Arc::new(self.clone()), connection: self.connection.subscribe() }
    }
}

impl HealthProbe for ScriptedNode {
    fn check(&self, via: Via, timeout: Duration) -> BoxFuture<'static, Evidence> {
        self.probes.send_modify(|probes| probes.push(via));
        let behaviour = *self.behaviour.borrow();
        Box::pin(async move {
            assert!(!behaviour.panics, "the scripted node was told to panic");
            tokio::time::sleep(behaviour.delay.min(timeout)).await;
            match via {
                _ if behaviour.delay >= timeout => Evidence::Soft(Soft::Timeout),
                Via::Kept => behaviour.kept,
                Via::Fresh => behaviour.fresh,
            }
        })
    }
    fn reconnect(&self) {
        self.connection.send_modify(|number| *number = number.saturating_add(1));
    }
}

/// A transport whose nodes are scripted, by address. A connection is the number of times it was replaced.
#[derive(Debug, Clone, Default)]
pub struct ScriptedTransport {
    nodes: Arc<Mutex<BTreeMap<String, ScriptedNode>>>,
    opened: Arc<watch::Sender<u64>>,
}

impl ScriptedTransport {
    /// The node at this address, which serves until told otherwise.
    #[must_use]
    pub fn node(&self, address: &str) -> ScriptedNode {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.entry(address.to_owned()).or_default().clone()
    }
    /// How many links were opened so far.
    #[must_use]
    pub fn opened(&self) -> u64 {
        *self.opened.borrow()
    }
}

impl Transport for ScriptedTransport {
    type Connection = u64;
    fn open(&self, address: &NodeAddress) -> Result<Link<u64>, DialError> {
        self.opened.send_modify(|opened| *opened = opened.saturating_add(1));
        Ok(self.node(&address.to_string()).link())
    }
}
