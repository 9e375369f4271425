//! One storage node: its connection, its schedule, its window. A slow node delays nobody else.
//!
//! The actor is a shell around [`Prober`]: a tick or an answer goes in, a probe, a report or a reconnect comes out.

use super::{clock::MonotonicClock, reconfigure::Reconfigure, relay::Relay};
use crate::{
    config::Secret,
    core::{
        consensus::Opinion,
        evidence::Evidence,
        ids::{NodeId, Storage},
        prober::{Effect, Input, Prober, Via},
        window::Thresholds,
    },
    messages::health::{GetNodeHealth, NodeHealth, NodeReport, ProbeNow, RoundReport, RunRound},
    telemetry,
    transport::{HealthProbe, NodeAddress},
};
use actix::prelude::*;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Probe requests that may wait: the probe under way answers for all, so more would only repeat it.
const MAILBOX: usize = 16;

/// What a node actor is built from, as often as need be.
#[derive(Clone)]
pub struct NodeSpec {
    /// Which node.
    pub node: NodeId,
    /// How it is probed.
    pub probe: Arc<dyn HealthProbe>,
    /// When it is down, and when up again.
    pub thresholds: Thresholds,
    /// How long one probe may take.
    pub timeout: Duration,
    /// Time between two probes, jittered by a tenth; `None`: only [`ProbeNow`] and [`RunRound`] probe.
    pub interval: Option<Duration>,
    /// Time between two probes while nothing is known of the node yet, if that is shorter.
    pub bootstrap_interval: Duration,
    /// Who hears what the node actor thinks.
    pub reports: Relay<NodeReport>,
    /// Who hears the outcome of a round.
    pub rounds: Relay<RoundReport>,
}

/// The actor of one node.
pub struct NodeActor {
    spec: NodeSpec,
    prober: Prober,
    clock: MonotonicClock,
    last: Option<Evidence>,
    reported: Opinion,
    round_open: bool,
    timer: Option<SpawnHandle>,
}

impl NodeActor {
    /// A node that was never seen.
    #[must_use]
    pub fn new(spec: NodeSpec) -> Self {
        let prober = Prober::new(spec.thresholds, spec.timeout);
        let clock = MonotonicClock::new();
        Self { spec, prober, clock, last: None, reported: Opinion::None, round_open: false, timer: None }
    }

    /// The only door to the rules: one input in, effects out.
    fn feed(&mut self, input: Input, ctx: &mut Context<Self>) {
        for effect in self.prober.handle(self.clock.now(), input) {
            self.perform(effect, ctx);
        }
    }

    /// The only place that does I/O.
    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Probe { number, via, timeout } => {
                let answer = self.spec.probe.check(via, timeout);
                let fed = move |evidence, this: &mut Self, ctx: &mut Context<Self>| {
                    this.feed(Input::Answer { number, evidence }, ctx);
                };
                ctx.spawn(answer.into_actor(self).map(fed));
            }
            Effect::Report { opinion, evidence } => self.report(opinion, evidence),
            Effect::Reconnect => self.spec.probe.reconnect(),
        }
    }

    fn report(&mut self, opinion: Opinion, evidence: Evidence) {
        self.last = Some(evidence);
        if std::mem::replace(&mut self.reported, opinion) != opinion {
            telemetry::opinion_changed(&self.spec.node, opinion, evidence);
        }
        // A report that does not fit is made good by the next probe's; the vote lapses if none ever does.
        self.spec.reports.try_send(NodeReport { node: self.spec.node.clone(), opinion, evidence });
    }

    fn is_unknown(&self) -> bool {
        self.prober.window().opinion() == Opinion::None
    }

    /// The next probe. `waited`: how much of the interval has passed already. While nothing is known the actor looks more
    /// often; once something is, what is left of the interval is waited out.
    fn schedule(&mut self, waited: Duration, ctx: &mut Context<Self>) {
        let Some(interval) = self.spec.interval else { return };
        let (unknown, regular) = (self.is_unknown(), jittered(interval).saturating_sub(waited));
        let pause = if unknown { self.spec.bootstrap_interval.min(regular) } else { regular };
        self.timer = Some(ctx.run_later(pause, move |this, ctx| {
            if unknown && pause < regular && !this.is_unknown() {
                this.schedule(waited.saturating_add(pause), ctx);
            } else {
                this.feed(Input::Due, ctx);
                this.schedule(Duration::ZERO, ctx);
            }
        }));
    }
}

/// An interval give or take a tenth, so that nodes do not fall into step.
fn jittered(interval: Duration) -> Duration {
    let lot = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    interval.mul_f64(0.9 + f64::from(lot) / 1_275.0)
}

impl Actor for NodeActor {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        if self.spec.interval.is_some() {
            self.feed(Input::Due, ctx);
            self.schedule(Duration::ZERO, ctx);
        }
    }
}

impl Handler<ProbeNow> for NodeActor {
    type Result = ();
    fn handle(&mut self, _: ProbeNow, ctx: &mut Context<Self>) {
        self.feed(Input::Due, ctx);
    }
}

impl Handler<RunRound> for NodeActor {
    type Result = ();
    fn handle(&mut self, message: RunRound, ctx: &mut Context<Self>) {
        // One probe in flight: a round that finds the last one's still open counts this node as not seen.
        if std::mem::replace(&mut self.round_open, true) {
            return;
        }
        let asked = Arc::clone(&self.spec.probe);
        let answer = asked.check(Via::Kept, self.spec.timeout);
        ctx.spawn(answer.into_actor(self).map(move |evidence, this: &mut Self, _| {
            // What a node's former address says is nothing about the node.
            if !Arc::ptr_eq(&asked, &this.spec.probe) {
                return;
            }
            this.round_open = false;
            this.last = Some(evidence);
            let node = this.spec.node.clone();
            this.spec.rounds.try_send(RoundReport { round: message.round, node, evidence });
        }));
    }
}

impl Handler<Reconfigure<NodeSpec>> for NodeActor {
    type Result = ();
    fn handle(&mut self, Reconfigure(spec): Reconfigure<NodeSpec>, ctx: &mut Context<Self>) {
        let before = std::mem::replace(&mut self.spec, spec);
        let moved = !Arc::ptr_eq(&before.probe, &self.spec.probe);
        self.prober.reconfigure(self.spec.thresholds, self.spec.timeout, moved);
        let times = |spec: &NodeSpec| (spec.interval, spec.bootstrap_interval);
        if !moved && times(&before) == times(&self.spec) {
            return;
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if moved {
            self.round_open = false;
        }
        if moved && self.spec.interval.is_some() {
            self.feed(Input::Due, ctx);
        }
        self.schedule(Duration::ZERO, ctx);
    }
}

impl Handler<GetNodeHealth> for NodeActor {
    type Result = NodeHealth;
    fn handle(&mut self, _: GetNodeHealth, _: &mut Context<Self>) -> NodeHealth {
        let window = self.prober.window();
        NodeHealth { opinion: window.opinion(), evidence: self.last, window: window.outcomes().collect() }
    }
}

/// Where a node is, and the way there. A reload may change it.
#[derive(Debug, Clone)]
pub struct NodePlace<C> {
    /// Where it listens.
    pub address: NodeAddress,
    /// What proves to it who calls.
    pub token: Option<Secret>,
    /// The kept connection; a new value each time it was replaced.
    pub connection: watch::Receiver<C>,
}

/// A node as others see it: names, the connection for real traffic, and what this supervisor thinks of it.
///
/// It follows a reload: under another address it is the same node. Once its node is configured no longer it is not
/// healthy any more.
pub struct NodeHandle<C> {
    node: NodeId,
    place: watch::Receiver<NodePlace<C>>,
    local: watch::Receiver<super::LocalView>,
    health: Relay<GetNodeHealth>,
    probe: Relay<ProbeNow>,
}

impl<C: Clone> NodeHandle<C> {
    /// A handle of an opened node; `local` is the cell in which the HealthManager publishes who is up.
    #[must_use]
    pub fn new(
        node: NodeId,
        place: watch::Receiver<NodePlace<C>>,
        local: watch::Receiver<super::LocalView>,
        health: Relay<GetNodeHealth>,
        probe: Relay<ProbeNow>,
    ) -> Self {
        Self { node, place, local, health, probe }
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
    /// What proves to it who calls, if anything does.
    #[must_use]
    pub fn token(&self) -> Option<Secret> {
        self.place.borrow().token.clone()
    }
    /// The connection for real traffic. Ask again for each call: it is replaced when it went silent.
    #[must_use]
    pub fn connection(&self) -> C {
        self.place.borrow().connection.borrow().clone()
    }
    /// Whether this supervisor itself sees it up. Routing uses this.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.local.borrow().contains(&self.node)
    }
    /// What this supervisor knows of it; `None` if its actor does not answer in a second.
    pub async fn health(&self) -> Option<NodeHealth> {
        tokio::time::timeout(Duration::from_secs(1), self.health.send(GetNodeHealth)).await.ok().flatten()
    }
    /// Asks for a probe now, whatever the schedule says.
    pub fn check_health(&self) {
        self.probe.try_send(ProbeNow);
    }
}

impl<C> Clone for NodeHandle<C> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
            place: self.place.clone(),
            local: self.local.clone(),
            health: self.health.clone(),
            probe: self.probe.clone(),
        }
    }
}

impl<C> std::fmt::Debug for NodeHandle<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeHandle").field("node", &self.node).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for NodeActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeActor").field("node", &self.spec.node).field("prober", &self.prober).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for NodeSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeSpec").field("node", &self.node).finish_non_exhaustive()
    }
}
