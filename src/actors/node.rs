//! One storage node: its connection, its schedule, its window. A slow node delays nobody else.
//!
//! The actor is a shell around [`Prober`]: a tick or an answer goes in, a probe, a report or a reconnect comes out.

use super::{clock::MonotonicClock, relay::Relay};
use crate::{
    core::{
        consensus::Opinion,
        evidence::Evidence,
        ids::{NodeId, Storage},
        prober::{Effect, Input, Prober, Via},
        window::Thresholds,
    },
    messages::health::{GetNodeHealth, NodeHealth, NodeReport, ProbeNow, RoundReport, RunRound},
    telemetry,
    transport::{HealthProbe, Link, NodeAddress},
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
}

impl NodeActor {
    /// A node that was never seen.
    #[must_use]
    pub fn new(spec: NodeSpec) -> Self {
        let prober = Prober::new(spec.thresholds, spec.timeout);
        Self { spec, prober, clock: MonotonicClock::new(), last: None, reported: Opinion::None, round_open: false }
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

    /// Keeps what a probe said. A failure is told when it begins or changes its kind, not once per probe.
    fn saw(&mut self, evidence: Evidence) {
        if self.last.replace(evidence) != Some(evidence) {
            telemetry::probed(&self.spec.node, evidence);
        }
    }

    fn report(&mut self, opinion: Opinion, evidence: Evidence) {
        self.saw(evidence);
        if std::mem::replace(&mut self.reported, opinion) != opinion {
            telemetry::opinion_changed(&self.spec.node, opinion, evidence);
        }
        // A report that does not fit is made good by the next probe's; the vote lapses if none ever does.
        self.spec.reports.try_send(NodeReport { node: self.spec.node.clone(), opinion, evidence });
    }

    fn schedule(&mut self, interval: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(jittered(interval), move |this, ctx| {
            this.feed(Input::Due, ctx);
            this.schedule(interval, ctx);
        });
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
        if let Some(interval) = self.spec.interval {
            self.feed(Input::Due, ctx);
            self.schedule(interval, ctx);
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
        let answer = self.spec.probe.check(Via::Kept, self.spec.timeout);
        ctx.spawn(answer.into_actor(self).map(move |evidence, this: &mut Self, _| {
            this.round_open = false;
            this.saw(evidence);
            let node = this.spec.node.clone();
            this.spec.rounds.try_send(RoundReport { round: message.round, node, evidence });
        }));
    }
}

impl Handler<GetNodeHealth> for NodeActor {
    type Result = NodeHealth;
    fn handle(&mut self, _: GetNodeHealth, _: &mut Context<Self>) -> NodeHealth {
        let window = self.prober.window();
        NodeHealth { opinion: window.opinion(), evidence: self.last, window: window.outcomes().collect() }
    }
}

/// A node as others see it: names, the connection for real traffic, and what this supervisor thinks of it.
pub struct NodeHandle<C> {
    node: NodeId,
    address: NodeAddress,
    connection: watch::Receiver<C>,
    local: watch::Receiver<super::LocalView>,
    health: Relay<GetNodeHealth>,
    probe: Relay<ProbeNow>,
}

impl<C: Clone> NodeHandle<C> {
    /// A handle of an opened node; `local` is the cell in which the HealthManager publishes who is up.
    #[must_use]
    pub fn new(
        node: NodeId,
        address: NodeAddress,
        link: &Link<C>,
        local: watch::Receiver<super::LocalView>,
        health: Relay<GetNodeHealth>,
        probe: Relay<ProbeNow>,
    ) -> Self {
        Self { node, address, connection: link.connection.clone(), local, health, probe }
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
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &NodeAddress {
        &self.address
    }
    /// The connection for real traffic. Ask again for each call: it is replaced when it went silent.
    #[must_use]
    pub fn connection(&self) -> C {
        self.connection.borrow().clone()
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
            address: self.address.clone(),
            connection: self.connection.clone(),
            local: self.local.clone(),
            health: self.health.clone(),
            probe: self.probe.clone(),
        }
    }
}

impl<C> std::fmt::Debug for NodeHandle<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeHandle").field("node", &self.node).field("address", &self.address).finish_non_exhaustive()
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
