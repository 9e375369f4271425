//! One storage node: its connection, its schedule, its window. A slow node delays nobody else.
//!
//! The actor is a shell around [`Prober`]: a tick, an answer, a word of the node or failed traffic goes in; a probe, a
//! report, a reconnect or a stream to listen to comes out. What traffic has led to outlives it in a [`NodeCell`]; the
//! window does not, for a probe fills it at once.

use super::{cells::NodeCell, reconfigure::Reconfigure, relay::Relay};
use crate::{
    core::{
        consensus::Opinion,
        error_tracker::{ErrorLimits, Traffic},
        evidence::Evidence,
        ids::NodeId,
        patience::Patience,
        prober::{Effect, Input, Prober, Via},
        watching::Word,
        window::Thresholds,
    },
    messages::health::{CheckHealth, GetNodeHealth, NodeHealth, NodeReport, ProbeNow, RoundReport, RunRound},
    telemetry,
    transport::{HealthProbe, LatencyRecorder, TrafficErrors, Words},
};
use actix::prelude::*;
use futures_util::future::{AbortHandle, abortable};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Probe requests that may wait: the probe under way answers for all, so more would only repeat it.
const MAILBOX: usize = 16;
/// Checks that may wait for one probe's outcome. Each is a few words; more would be a caller in a loop.
const CHECKS: usize = 256;
/// How long failed traffic, or words of the node, are gathered before they are looked at again: a storm costs a hundred
/// wake-ups a second, and nobody notices a hundredth of a second's delay.
const GATHERING: Duration = Duration::from_millis(10);

/// What a node actor is built from, as often as need be.
#[derive(Clone)]
pub struct NodeSpec {
    /// Which node.
    pub node: NodeId,
    /// How it is probed.
    pub probe: Arc<dyn HealthProbe>,
    /// When it is down, and when up again.
    pub thresholds: Thresholds,
    /// How long one probe may take, and a restart. In a round each probe has the whole of it.
    pub patience: Patience,
    /// Time between two probes, jittered by a tenth; `None`: only [`ProbeNow`] and [`RunRound`] probe.
    pub interval: Option<Duration>,
    /// Time between two probes while nothing is known of the node yet, if that is shorter.
    pub bootstrap_interval: Duration,
    /// Whether to listen to what the node says by itself. Only words that come from a node which offers that count.
    pub watch: bool,
    /// Who hears what the node actor thinks.
    pub reports: Relay<NodeReport>,
    /// Who hears the outcome of a round.
    pub rounds: Relay<RoundReport>,
    /// How many of its real calls may fail; `None`: failing traffic says nothing.
    pub errors: Option<ErrorLimits>,
    /// Where its real calls that failed are recorded.
    pub traffic: TrafficErrors,
    /// Who hears how long each probe took; `()` for nobody.
    pub latency: Arc<dyn LatencyRecorder>,
    /// What the actor leaves to the one that is built after it.
    pub cell: NodeCell,
}

/// The actor of one node.
pub struct NodeActor {
    spec: NodeSpec,
    prober: Prober,
    last: Option<Evidence>,
    reported: Opinion,
    /// The round whose probe is under way.
    round_open: Option<u64>,
    checks: Vec<oneshot::Sender<Evidence>>,
    timer: Option<SpawnHandle>,
    /// Waits to look again at a node that may be restarting.
    looking: Option<SpawnHandle>,
    /// Waits for traffic that failed.
    traffic: Option<SpawnHandle>,
    /// Waits for what the node says by itself.
    listening: Option<AbortHandle>,
}

impl NodeActor {
    /// A node that was never seen, or whose actor died.
    #[must_use]
    pub fn new(spec: NodeSpec) -> Self {
        let prober = Prober::new(spec.thresholds, spec.patience, spec.errors);
        let prober = prober.watching(spec.watch).resumed(spec.cell.trips());
        Self {
            spec,
            prober,
            last: None,
            reported: Opinion::None,
            round_open: None,
            checks: Vec::new(),
            timer: None,
            looking: None,
            traffic: None,
            listening: None,
        }
    }

    /// The only door to the rules: one input in, effects out.
    fn feed(&mut self, input: Input, ctx: &mut Context<Self>) {
        let before = self.prober.tripped();
        let effects = self.prober.handle(self.spec.cell.clock.now(), input);
        self.tell_of_traffic(before);
        for effect in effects {
            self.perform(effect, ctx);
        }
    }

    /// The only place that does I/O.
    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Probe { number, via, timeout } => {
                self.probe(via, timeout, ctx, move |this, evidence, ctx| {
                    this.feed(Input::Answer { number, evidence }, ctx);
                });
            }
            Effect::Report { opinion, evidence } => self.report(opinion, evidence),
            Effect::Reconnect => {
                self.hush();
                self.spec.probe.reconnect();
            }
            Effect::Watch { number } => {
                self.hush();
                self.hear(number, self.spec.probe.watch(), Duration::ZERO, ctx);
            }
            Effect::Unwatch => self.hush(),
            Effect::LookAgain { after } => {
                if let Some(waiting) = self.looking.take() {
                    ctx.cancel_future(waiting);
                }
                self.looking = Some(ctx.run_later(after, |this, ctx| this.feed(Input::Due, ctx)));
            }
        }
    }

    /// Waits for what the node says by itself, one word at a time and the latest only.
    fn hear(&mut self, number: u64, mut words: Words, pause: Duration, ctx: &mut Context<Self>) {
        let hearing = async move {
            tokio::time::sleep(pause).await;
            (words.latest().await, words)
        };
        let (hearing, abort) = abortable(hearing);
        self.listening = Some(abort);
        ctx.spawn(hearing.into_actor(self).map(move |heard, this: &mut Self, ctx| {
            let Ok((word, words)) = heard else { return };
            if matches!(word, Word::Says(_)) {
                this.hear(number, words, GATHERING, ctx);
            }
            this.feed(Input::Heard { number, word, lot: lot() }, ctx);
        }));
    }

    /// Closes the stream of words.
    fn hush(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
        }
    }

    /// Keeps what a probe said. A failure is told when it begins or changes its kind, not once per probe.
    fn saw(&mut self, evidence: Evidence) {
        if self.last.replace(evidence) != Some(evidence) {
            telemetry::probe_changed(&self.spec.node, evidence);
        }
    }

    /// Probes, and hands the outcome on once its time was recorded.
    fn probe(
        &mut self,
        via: Via,
        timeout: Duration,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, Evidence, &mut Context<Self>) + 'static,
    ) {
        let began = self.spec.cell.clock.now();
        let answer = self.spec.probe.check(via, timeout);
        ctx.spawn(answer.into_actor(self).map(move |evidence, this: &mut Self, ctx| {
            let took = this.spec.cell.clock.now().since(began);
            this.spec.latency.record(&this.spec.node, took, evidence);
            then(this, evidence, ctx);
        }));
    }

    fn report(&mut self, opinion: Opinion, evidence: Evidence) {
        self.note(opinion, evidence);
        for check in self.checks.drain(..) {
            // Whoever gave up waiting needs no answer.
            let _ = check.send(evidence);
        }
        // A report that does not fit is made good by the next probe's; the vote lapses if none ever does.
        let (node, host) = (self.spec.node.clone(), self.spec.probe.host());
        self.spec.reports.try_send(NodeReport { node, opinion, evidence, host });
    }

    fn note(&mut self, opinion: Opinion, evidence: Evidence) {
        self.saw(evidence);
        if std::mem::replace(&mut self.reported, opinion) != opinion {
            telemetry::opinion_changed(&self.spec.node, opinion, evidence);
        }
    }

    /// What traffic has led to is kept first, and told then.
    fn tell_of_traffic(&self, before: Option<Traffic>) {
        self.spec.cell.keep(self.prober.trips());
        match (before, self.prober.tripped()) {
            (None, Some(kind)) => telemetry::traffic_tripped(&self.spec.node, kind),
            (Some(kind), None) => telemetry::traffic_on_trial(&self.spec.node, kind),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// Looks at failed traffic whenever there is some, if it says anything.
    fn listen(&mut self, ctx: &mut Context<Self>) {
        if let Some(traffic) = self.traffic.take() {
            ctx.cancel_future(traffic);
        }
        if self.spec.errors.is_none() {
            return;
        }
        let traffic = self.spec.traffic.clone();
        let heard = async move { traffic.recorded().await };
        self.traffic = Some(ctx.spawn(heard.into_actor(self).map(|(), this: &mut Self, ctx: &mut Context<Self>| {
            let (reads, writes) = this.spec.traffic.take();
            this.feed(Input::TrafficFailed { reads, writes }, ctx);
            this.traffic = Some(ctx.run_later(GATHERING, |this, ctx| this.listen(ctx)));
        })));
    }

    /// Probes once for a round.
    fn probe_for(&mut self, round: u64, ctx: &mut Context<Self>) {
        self.round_open = Some(round);
        let asked = Arc::clone(&self.spec.probe);
        self.probe(Via::Kept, self.spec.patience.timeout, ctx, move |this, evidence, _| {
            // What a node's former address says is nothing about the node.
            if !Arc::ptr_eq(&asked, &this.spec.probe) {
                return;
            }
            this.round_open = None;
            let before = this.prober.tripped();
            let (opinion, evidence) = this.prober.round(this.spec.cell.clock.now(), evidence);
            this.tell_of_traffic(before);
            this.note(opinion, evidence);
            let node = this.spec.node.clone();
            this.spec.rounds.try_send(RoundReport { round, node, opinion, evidence });
        });
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
    interval.mul_f64(0.9 + f64::from(lot()) / 1_275.0)
}

fn lot() -> u8 {
    uuid::Uuid::new_v4().as_bytes()[0]
}

impl Actor for NodeActor {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.listen(ctx);
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
        if self.round_open.is_none() {
            self.probe_for(message.round, ctx);
        }
    }
}
impl Handler<CheckHealth> for NodeActor {
    type Result = ResponseFuture<Option<Evidence>>;
    fn handle(&mut self, _: CheckHealth, ctx: &mut Context<Self>) -> Self::Result {
        self.checks.retain(|check| !check.is_closed());
        if self.checks.len() >= CHECKS {
            return Box::pin(std::future::ready(None));
        }
        let (answer, answered) = oneshot::channel();
        self.checks.push(answer);
        self.feed(Input::Due, ctx);
        Box::pin(async move { answered.await.ok() })
    }
}

impl Handler<Reconfigure<NodeSpec>> for NodeActor {
    type Result = ();
    fn handle(&mut self, Reconfigure(spec): Reconfigure<NodeSpec>, ctx: &mut Context<Self>) {
        let before = std::mem::replace(&mut self.spec, spec);
        let moved = !Arc::ptr_eq(&before.probe, &self.spec.probe);
        self.prober.reconfigure(self.spec.thresholds, self.spec.patience, self.spec.errors, moved);
        if self.prober.rewatch(self.spec.cell.clock.now(), self.spec.watch, moved) {
            self.hush();
        }
        self.spec.cell.keep(self.prober.trips());
        if before.errors.is_none() {
            // What failed while nobody counted it must not count all at once.
            let _ = self.spec.traffic.take();
        }
        self.listen(ctx);
        let times = |spec: &NodeSpec| (spec.interval, spec.bootstrap_interval);
        if !moved && times(&before) == times(&self.spec) {
            return;
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(round) = self.round_open.filter(|_| moved) {
            // Asked there in the same round, or it would count as not seen.
            self.probe_for(round, ctx);
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
        NodeHealth {
            opinion: self.prober.opinion(),
            evidence: self.last,
            window: self.prober.window().outcomes().collect(),
            traffic: self.prober.traffic(self.spec.cell.clock.now()),
            watched: self.prober.is_watching(),
        }
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
