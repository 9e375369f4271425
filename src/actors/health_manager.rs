//! One supervisor's voice: it gathers what its node actors think, votes in the database, reads the quorum's view back
//! and publishes it.
//!
//! All rules are [`Monitor`]'s. The cells that it publishes into outlive it, so a rebuilt HealthManager takes over its
//! predecessor's registration and goes on counting revisions.

use super::{
    cells::Cells,
    clock::{MonotonicClock, WallClock},
    reconfigure::Reconfigure,
    relay::Relay,
};
use crate::{
    core::{
        consensus::{Consensus, Opinion},
        ids::{NodeId, SupervisorName, Voter},
        monitor::{Effect, HeartbeatReply, Input, Monitor, RegisterReply, SettingsInForce, WrittenBatch},
        penalty::Penalties,
        recusal::Limits,
        settings::Profile,
    },
    messages::{
        consensus::GetHealthConsensus,
        control::Leave,
        health::{
            GetHealthyNodes, HealthyNodes, NodeReport, ProbeNow, RoundReport, RunRound, Suspected, Tick, VotesChanged,
        },
    },
    store::{HealthStore, Heartbeat, Registered, Registration, StoreError, VoteBatch, VotesWritten},
    telemetry::{self, Meter},
};
use actix::prelude::*;
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

/// Messages that may wait beside one report of each node, which may all come in one burst.
const MAILBOX: usize = 64;

/// What a HealthManager is built from, as often as need be.
#[derive(Clone)]
pub struct HealthManagerConfig {
    /// The supervisor's stable name.
    pub name: SupervisorName,
    /// Where this process listens, for those who read the table.
    pub address: Option<String>,
    /// Time between two heartbeats, in profile `praefect` between two rounds; `None`: only [`Tick`] beats.
    pub heartbeat: Option<Duration>,
    /// How long one call of the store may take.
    pub store_timeout: Duration,
    /// How long a round may take, in profile `praefect`.
    pub round_timeout: Duration,
    /// The database.
    pub store: Arc<dyn HealthStore>,
    /// What outlives this actor.
    pub cells: Arc<Cells>,
    /// The nodes to watch.
    pub nodes: Vec<WatchedNode>,
    /// When it abstains.
    pub recusal: Limits,
}

/// A node, and how its actor is reached.
#[derive(Debug, Clone)]
pub struct WatchedNode {
    /// Which node.
    pub node: NodeId,
    /// Asks it to probe now.
    pub probe: Relay<ProbeNow>,
    /// Asks it to probe for a round.
    pub round: Relay<RunRound>,
}

/// The actor.
pub struct HealthManager {
    config: HealthManagerConfig,
    monitor: Monitor,
    clock: MonotonicClock,
    meter: Meter,
    /// When the heartbeat or round under way began, until all votes were read back.
    round_began: Option<Instant>,
    timer: Option<SpawnHandle>,
    looking: Option<SpawnHandle>,
    wall: WallClock,
    /// Somebody waits to hear which row is to be removed, while a registration is still on its way.
    departure: Option<oneshot::Sender<Voter>>,
}

impl HealthManager {
    /// A HealthManager in the place of whichever wrote the cells before.
    #[must_use]
    pub fn new(config: HealthManagerConfig) -> Self {
        let cells = &config.cells;
        let settings = cells.settings.borrow().clone();
        let nodes = config.nodes.iter().map(|watched| watched.node.clone());
        let mut monitor =
            Monitor::resume(config.name.clone(), settings, nodes, cells.last_incarnation(), cells.revision());
        monitor.limit(config.recusal);
        let (clock, wall) = (MonotonicClock::new(), WallClock::new());
        if cells.ended.borrow().is_some() {
            // Whoever took the name must not lose it because its predecessor died once more. Nothing is left to be done.
            let _ = monitor.handle(clock.now(), Input::Stop);
        }
        let (meter, round_began, departure, timer, looking) = (Meter::default(), None, None, None, None);
        Self { config, monitor, clock, wall, meter, round_began, departure, timer, looking }
    }

    /// Rounds and the consensus are measured there.
    #[must_use]
    pub fn metered(self, meter: Meter) -> Self {
        meter.recused(*self.config.cells.recused.borrow());
        Self { meter, ..self }
    }

    fn mailbox(&self) -> usize {
        self.config.nodes.len().saturating_add(MAILBOX)
    }

    /// The only door to the rules: one input in, effects out.
    fn feed(&mut self, input: Input, ctx: &mut Context<Self>) {
        for effect in self.monitor.handle(self.clock.now(), input) {
            self.perform(effect, ctx);
        }
        if !self.monitor.is_leaving() {
            self.departure = None;
        }
    }

    /// The only place that does I/O.
    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let store = Arc::clone(&self.config.store);
        match effect {
            Effect::Register { sent, previous, nodes } => {
                let registration = Registration {
                    name: self.config.name.clone(),
                    previous,
                    process: self.config.cells.process().clone(),
                    attempt: self.config.cells.next_attempt(),
                    address: self.config.address.clone(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    nodes,
                };
                self.config.cells.registered(None);
                self.ask(ctx, async move { store.supervisor_register(&registration).await }, move |answer| {
                    Input::Registered { sent, reply: answer.map(register_reply) }
                });
            }
            Effect::Heartbeat { sent, voter } => {
                self.round_began.get_or_insert_with(Instant::now);
                self.ask(ctx, async move { store.supervisor_heartbeat(&voter).await }, move |answer| {
                    Input::HeartbeatAnswered { sent, reply: answer.map(heartbeat_reply) }
                });
            }
            Effect::WriteVotes { voter, batch, votes } => {
                let written = WrittenBatch { incarnation: voter.incarnation, number: batch, votes: votes.clone() };
                let batch = VoteBatch { number: batch, votes };
                self.ask(ctx, async move { store.votes_write(&voter, &batch).await }, move |answer| {
                    let mine = answer.map(|outcome| outcome != VotesWritten::NotMine);
                    Input::VotesWritten { batch: written, mine }
                });
            }
            Effect::Watch { voter, nodes } => {
                let (asked, wanted) = (voter.clone(), nodes.clone());
                self.ask(ctx, async move { store.nodes_watch(&asked, &wanted).await }, move |mine| Input::Watched {
                    voter,
                    nodes,
                    mine,
                });
            }
            Effect::ReadFacts => {
                let (began, meter) = (self.round_began.take(), self.meter.clone());
                let cells = Arc::clone(&self.config.cells);
                self.ask(ctx, async move { store.health_facts().await }, move |answer| {
                    if let (Some(began), true) = (began, answer.is_some()) {
                        meter.round(began.elapsed());
                    }
                    let read = answer.map(|read| {
                        cells.penalties.send_replace(Penalties { at: read.at, last: read.penalties });
                        cells.ignored(read.ignored).iter().for_each(|name| telemetry::supervisor_ignored(name));
                        let stored = read.settings;
                        (read.facts, SettingsInForce { revision: stored.revision, settings: stored.settings })
                    });
                    Input::FactsRead(read)
                });
            }
            // A node whose mailbox is full has a probe under way anyway.
            Effect::ProbeAll => {
                for node in &self.config.nodes {
                    node.probe.try_send(ProbeNow);
                }
            }
            Effect::Probe(nodes) => {
                for node in self.config.nodes.iter().filter(|watched| nodes.contains(&watched.node)) {
                    node.probe.try_send(ProbeNow);
                }
            }
            Effect::TellSuspicion(suspicion) => {
                let patience = self.config.store_timeout;
                // A hint that nobody hears costs the time until the others look by themselves.
                let telling = async move { timeout(patience, store.suspicion_tell(&suspicion)).await };
                let told = telling.into_actor(self);
                ctx.spawn(told.map(|_, this: &mut Self, ctx| this.feed(Input::SuspicionTold, ctx)));
            }
            Effect::Penalise { node, seen, lasting } => {
                let patience = self.config.store_timeout;
                // Whoever else saw it does the same; if nobody can, the node goes unpenalised.
                let raising = async move {
                    let raised = timeout(patience, store.penalty_raise(&node, seen, lasting)).await;
                    if matches!(raised, Ok(Ok(true))) {
                        telemetry::penalised(&node);
                    }
                };
                ctx.spawn(raising.into_actor(self));
            }
            Effect::Recused(reason) => {
                telemetry::recused(&self.config.name, reason);
                self.meter.recused(reason);
                self.config.cells.recused.send_replace(reason);
            }
            Effect::StoreTrust { voter, reason } => {
                let asked = voter.clone();
                self.ask(ctx, async move { store.supervisor_recuse(&asked, reason).await }, move |mine| {
                    Input::TrustStored { voter, reason, mine }
                });
            }
            Effect::OpenRound { round } => {
                self.round_began.get_or_insert_with(Instant::now);
                for node in &self.config.nodes {
                    node.round.try_send(RunRound { round });
                }
                ctx.run_later(self.config.round_timeout, move |this, ctx| this.feed(Input::RoundOver { round }, ctx));
            }
            Effect::Voting(voter) => {
                telemetry::voting(&voter);
                self.config.cells.registered(Some(voter));
            }
            Effect::PublishOne { node, up } => self.config.cells.local.send_modify(|local| {
                // Copied only while somebody still reads the last one.
                let local = Arc::make_mut(local);
                if up {
                    local.insert(node);
                } else {
                    local.remove(&node);
                }
            }),
            Effect::PublishLocal(up) => drop(self.config.cells.local.send_replace(Arc::new(up))),
            Effect::Publish(consensus) => {
                telemetry::consensus_changed(&consensus);
                self.put_consensus(consensus);
            }
            Effect::Refresh(consensus) => self.put_consensus(consensus),
            Effect::SettingsChanged(settings) => drop(self.config.cells.settings.send_replace(settings)),
            Effect::Worry(worry) => telemetry::worry(&self.config.name, worry),
            Effect::Ended(worry) => {
                telemetry::worry(&self.config.name, worry);
                self.config.cells.registered(None);
                self.config.cells.ended.send_replace(Some(worry));
            }
            // Performed by the handler of `Leave`, which waits for it.
            Effect::Leave(voter) => {
                // Whoever waited for it may have given up; then the row lapses.
                let _ = self.departure.take().map(|waiting| waiting.send(voter));
            }
        }
    }

    fn put_consensus(&self, consensus: Consensus) {
        let cells = &self.config.cells;
        let policy = cells.settings.borrow().settings.policy;
        self.meter.consensus(cells.consensus.borrow().as_deref(), &consensus, policy);
        cells.consensus.send_replace(Some(Arc::new(consensus)));
    }

    /// Asks the store within its deadline and feeds the answer back; `None` stands for a database that did not answer.
    fn ask<T: 'static>(
        &mut self,
        ctx: &mut Context<Self>,
        question: impl Future<Output = Result<T, StoreError>> + 'static,
        input: impl FnOnce(Option<T>) -> Input + 'static,
    ) {
        let limit = self.config.store_timeout;
        let bounded = async move { timeout(limit, question).await };
        ctx.spawn(bounded.into_actor(self).map(move |answer, this: &mut Self, ctx| {
            let answer = match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => {
                    telemetry::store_failed(&error);
                    Err(telemetry::Causes(&error).to_string())
                }
                Err(_) => {
                    telemetry::store_silent(limit);
                    Err(format!("no answer within {limit:?}"))
                }
            };
            this.complain(answer.as_ref().err().cloned());
            let input = input(answer.ok());
            let read = matches!(input, Input::FactsRead(Some(_)));
            this.feed(input, ctx);
            if read {
                this.took_penalties(ctx);
            }
        }));
    }

    fn beat_regularly(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let regularly = |heartbeat| ctx.run_interval(heartbeat, |this: &mut Self, ctx| this.feed(Input::Tick, ctx));
        self.timer = self.config.heartbeat.map(regularly);
    }

    /// Looks at its own clocks: whoever stood still must not say what it saw.
    fn look_regularly(&mut self, ctx: &mut Context<Self>) {
        if let Some(looking) = self.looking.take() {
            ctx.cancel_future(looking);
        }
        let pace = self.config.recusal.pace();
        self.looking = Some(ctx.run_interval(pace, |this: &mut Self, ctx| {
            let wall = this.wall.ahead();
            this.feed(Input::Looked { wall }, ctx);
        }));
    }

    /// After the facts that they were read with, so that a deposition is judged by what was known before it.
    fn took_penalties(&mut self, ctx: &mut Context<Self>) {
        let penalties = self.config.cells.penalties.borrow().clone();
        self.meter.penalties(&penalties);
        self.feed(Input::Penalties(penalties), ctx);
    }

    fn complain(&self, complaint: Option<String>) {
        let answers_again = complaint.is_none() && self.config.cells.complaint.borrow().is_some();
        if answers_again {
            telemetry::store_answers_again();
        }
        if answers_again || complaint.is_some() {
            self.config.cells.complaint.send_replace(complaint);
        }
    }
}

fn register_reply(outcome: Registered) -> RegisterReply {
    match outcome {
        Registered::Registered { incarnation, at } => RegisterReply::Registered { incarnation, at },
        Registered::NameInUse { held_by } => RegisterReply::NameInUse { held_by },
        Registered::Superseded { by } => RegisterReply::Superseded { by },
    }
}

fn heartbeat_reply(outcome: Heartbeat) -> HeartbeatReply {
    match outcome {
        Heartbeat::Alive { at, settings_revision: _ } => HeartbeatReply::Alive { at },
        Heartbeat::Lapsed => HeartbeatReply::Lapsed,
        Heartbeat::Gone => HeartbeatReply::Gone,
        Heartbeat::Superseded { by } => HeartbeatReply::Superseded { by },
    }
}

impl Actor for HealthManager {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(self.mailbox());
        telemetry::health_manager_started();
        if self.config.heartbeat.is_some() {
            self.feed(Input::Tick, ctx);
            self.beat_regularly(ctx);
            self.look_regularly(ctx);
        }
    }
    fn stopped(&mut self, _: &mut Context<Self>) {
        telemetry::health_manager_stopped();
    }
}

impl Handler<Tick> for HealthManager {
    type Result = ();
    fn handle(&mut self, _: Tick, ctx: &mut Context<Self>) {
        self.feed(Input::Tick, ctx);
    }
}

impl Handler<Reconfigure<HealthManagerConfig>> for HealthManager {
    type Result = ();
    fn handle(&mut self, Reconfigure(config): Reconfigure<HealthManagerConfig>, ctx: &mut Context<Self>) {
        let nodes = config.nodes.iter().map(|watched| watched.node.clone()).collect();
        let before = std::mem::replace(&mut self.config, config);
        ctx.set_mailbox_capacity(self.mailbox());
        if before.heartbeat != self.config.heartbeat {
            self.beat_regularly(ctx);
        }
        if before.recusal != self.config.recusal {
            self.monitor.limit(self.config.recusal);
            self.look_regularly(ctx);
        }
        self.feed(Input::Watch(nodes), ctx);
    }
}

impl Handler<NodeReport> for HealthManager {
    type Result = ();
    fn handle(&mut self, report: NodeReport, ctx: &mut Context<Self>) {
        let NodeReport { node, opinion, evidence, host } = report;
        self.feed(Input::Reported { node, opinion, evidence, host }, ctx);
    }
}

impl Handler<VotesChanged> for HealthManager {
    type Result = ();
    fn handle(&mut self, _: VotesChanged, ctx: &mut Context<Self>) {
        self.feed(Input::VotesChanged, ctx);
    }
}

impl Handler<Suspected> for HealthManager {
    type Result = ();
    fn handle(&mut self, Suspected(suspicion): Suspected, ctx: &mut Context<Self>) {
        self.feed(Input::Suspected(suspicion), ctx);
    }
}

impl Handler<RoundReport> for HealthManager {
    type Result = ();
    fn handle(&mut self, report: RoundReport, ctx: &mut Context<Self>) {
        let up = report.opinion == Opinion::Up;
        self.feed(Input::RoundReported { round: report.round, node: report.node, up }, ctx);
    }
}

impl Handler<GetHealthyNodes> for HealthManager {
    type Result = HealthyNodes;
    fn handle(&mut self, _: GetHealthyNodes, _: &mut Context<Self>) -> HealthyNodes {
        healthy_nodes(&self.config.cells)
    }
}

impl Handler<GetHealthConsensus> for HealthManager {
    type Result = MessageResult<GetHealthConsensus>;
    fn handle(&mut self, _: GetHealthConsensus, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.config.cells.consensus.borrow().clone())
    }
}

impl Handler<Leave> for HealthManager {
    type Result = ResponseFuture<bool>;
    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) -> ResponseFuture<bool> {
        let (told, leaving) = oneshot::channel();
        self.departure = Some(told);
        // Feeds the effect, if there is one, into the channel; without any it is closed, unless one is still to come.
        self.feed(Input::Stop, ctx);
        self.config.cells.registered(None);
        let (store, limit) = (Arc::clone(&self.config.store), self.config.store_timeout);
        Box::pin(async move {
            let Ok(Ok(voter)) = timeout(limit, leaving).await else { return false };
            matches!(timeout(limit, store.supervisor_remove(&voter)).await, Ok(Ok(true)))
        })
    }
}

/// The local view in the shape that routers use.
pub(crate) fn healthy_nodes(cells: &Cells) -> HealthyNodes {
    let mut by_virtual_storage = BTreeMap::<_, Vec<_>>::new();
    for node in cells.local.borrow().iter() {
        by_virtual_storage.entry(node.virtual_storage.clone()).or_default().push(node.storage.clone());
    }
    HealthyNodes(by_virtual_storage)
}

/// Whether a profile works in rounds.
#[must_use]
pub(crate) fn works_in_rounds(profile: Profile) -> bool {
    profile == Profile::Praefect
}

impl std::fmt::Debug for HealthManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthManager").field("monitor", &self.monitor).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for HealthManagerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthManagerConfig").field("name", &self.name).finish_non_exhaustive()
    }
}
