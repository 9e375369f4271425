//! Storage nodes that answer as the test says, without a network.

use crate::{
    config::Secret,
    core::{
        error_tracker::Traffic,
        evidence::{Evidence, Soft},
        prober::Via,
        reports::FenceReport,
        watching::Word,
    },
    transport::{DialError, HealthProbe, LatencyRecorder, Link, NodeAddress, TrafficErrors, Transport, Words},
};
use futures_util::{future::BoxFuture, stream};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// Words that a scripted node may say before they are heard. More would be a test that floods without end.
const WORDS: usize = 16_384;

/// How a scripted node behaves from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Behaviour {
    kept: Evidence,
    fresh: Evidence,
    delay: Duration,
    panics: bool,
    watchable: bool,
}

/// One scripted node. Clones are the same node; it serves at once until told otherwise.
#[derive(Debug, Clone)]
pub struct ScriptedNode {
    behaviour: Arc<watch::Sender<Behaviour>>,
    probes: Arc<watch::Sender<Vec<Via>>>,
    connection: Arc<watch::Sender<u64>>,
    words: Arc<Mutex<Listeners>>,
    fence: Arc<watch::Sender<Option<FenceReport>>>,
    traffic: TrafficErrors,
}

#[derive(Debug, Default)]
struct Listeners {
    opened: usize,
    streams: Vec<mpsc::Sender<Word>>,
}

impl Default for ScriptedNode {
    fn default() -> Self {
        let serving = Behaviour {
            kept: Evidence::Serving,
            fresh: Evidence::Serving,
            delay: Duration::ZERO,
            panics: false,
            watchable: true,
        };
        Self {
            behaviour: Arc::new(watch::Sender::new(serving)),
            probes: Arc::new(watch::Sender::new(Vec::new())),
            connection: Arc::new(watch::Sender::new(0)),
            words: Arc::default(),
            fence: Arc::new(watch::Sender::new(None)),
            traffic: TrafficErrors::default(),
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
    /// Fails so many real calls of this kind, as if somebody had made them.
    pub fn fails_traffic(&self, kind: Traffic, calls: u32) {
        (0..calls).for_each(|_| self.traffic.record(kind));
    }
    /// Offers a watch from now on, or none. Default: it does, and says nothing until told to.
    pub fn offers_watch(&self, offers: bool) {
        self.behaviour.send_modify(|now| now.watchable = offers);
    }
    /// Says this to whoever listens, by itself. [`Word::Ended`] ends all streams.
    ///
    /// # Panics
    /// If more words than 16,384 were not heard yet.
    pub fn says(&self, word: Word) {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.streams.retain(|stream| match stream.try_send(word) {
            Ok(()) => matches!(word, Word::Says(_)),
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => panic!("more than {WORDS} words of a scripted node wait"),
        });
    }
    /// Has a fence that says this from now on, or none. Default none.
    pub fn fence(&self, report: Option<FenceReport>) {
        self.fence.send_replace(report);
    }
    /// How many listen to what it says by itself.
    #[must_use]
    pub fn listeners(&self) -> usize {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.streams.iter().filter(|stream| !stream.is_closed()).count()
    }
    /// How often somebody began to, whether it was offered or not.
    #[must_use]
    pub fn watches(&self) -> usize {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).opened
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
        Link { probe: Arc::new(self.clone()), connection: self.connection.subscribe(), traffic: self.traffic.clone() }
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
    fn report(&self, _: Duration) -> BoxFuture<'static, Option<FenceReport>> {
        let report = self.fence.borrow().clone();
        Box::pin(std::future::ready(report))
    }
    fn watch(&self) -> Words {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.opened = words.opened.saturating_add(1);
        if !self.behaviour.borrow().watchable {
            return Words::none_offered();
        }
        let (sender, receiver) = mpsc::channel(WORDS);
        words.streams.push(sender);
        Words::new(stream::unfold(receiver, async |mut words| Some((words.recv().await?, words))))
    }
}

/// A transport whose nodes are scripted, by address. A connection is the number of times it was replaced.
#[derive(Clone)]
pub struct ScriptedTransport {
    nodes: Arc<Mutex<BTreeMap<String, ScriptedNode>>>,
    latency: Arc<dyn LatencyRecorder>,
    opened: Arc<watch::Sender<u64>>,
}

impl Default for ScriptedTransport {
    fn default() -> Self {
        Self { nodes: Arc::default(), latency: Arc::new(()), opened: Arc::new(watch::Sender::new(0)) }
    }
}

impl std::fmt::Debug for ScriptedTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedTransport").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

impl ScriptedTransport {
    /// The same nodes, with somebody who hears how long each probe took.
    #[must_use]
    pub fn with_latency(mut self, latency: Arc<dyn LatencyRecorder>) -> Self {
        self.latency = latency;
        self
    }
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
    fn open(&self, address: &NodeAddress, _: Option<&Secret>) -> Result<Link<u64>, DialError> {
        self.opened.send_modify(|opened| *opened = opened.saturating_add(1));
        Ok(self.node(&address.to_string()).link())
    }
    fn latency(&self) -> Arc<dyn LatencyRecorder> {
        Arc::clone(&self.latency)
    }
}
