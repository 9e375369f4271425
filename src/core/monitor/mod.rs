//! The state machine of one supervisor: when it registers, beats, votes, reads and publishes.
//!
//! Three rules shape it (docs/protocol.md section 2). A lapse is a death: whoever was silent too long comes back as a new
//! incarnation that has said nothing yet. Votes are written when they change, by one ordered writer. Persist before
//! you tell: a consensus is published only from what was read back.
//!
//! In profile `praefect` it works in rounds instead: every node once, all within one deadline, every row stamped.

mod clock;
mod hearsay;
mod io;
mod opinions;
mod penalties;
mod round;
mod suspicion;
mod trust;
mod votes;
mod watch;

pub use io::{Effect, HeartbeatReply, Input, RegisterReply, SettingsInForce, Worry, WrittenBatch};
pub use suspicion::{NAMES_MAX, PAUSE, Suspicion};
pub use votes::VOTES_MAX;

use super::{
    consensus::{Consensus, HealthFacts, NodeConsensus, Opinion, differs},
    epoch::Revision,
    ids::{Incarnation, NodeId, SupervisorName, Voter},
    recusal::{Limits, Recusal},
    settings::{Profile, Settings},
    time::Timestamp,
};
use clock::ClockCheck;
use penalties::Depositions;
use round::Round;
use std::collections::{BTreeMap, BTreeSet};
use suspicion::Suspicions;
use trust::{Trust, TrustRow};

/// Every so many heartbeats all stored votes are compared with our own, and what differs is written again.
const COMPARE_EVERY: u64 = 10;

/// Where a supervisor stands with the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Not registered; the next tick registers.
    Absent,
    /// A registration is on its way.
    Registering,
    /// It votes under this incarnation.
    Voting(Incarnation),
    /// It was stopped while a registration was on its way, which may leave a row behind: that one goes as soon as it is
    /// known.
    Leaving,
    /// A newer process has the name, or it was stopped. For good.
    Ended,
}

/// What is known of one watched node.
#[derive(Debug, Clone, Copy, Default)]
struct Watched {
    /// What this supervisor thinks; `None` until it has looked under this incarnation.
    opinion: Option<Opinion>,
    /// When a probe last ended with an outcome.
    outcome_at: Option<Timestamp>,
}

/// The monitor of one supervisor.
#[derive(Debug)]
pub struct Monitor {
    name: SupervisorName,
    settings: Settings,
    settings_revision: Revision,
    standing: Standing,
    previous: Option<Incarnation>,
    nodes: BTreeMap<NodeId, Watched>,
    /// Votes not yet accepted by the database: the latest per node.
    unwritten: BTreeMap<NodeId, Opinion>,
    writing: bool,
    /// The last node of the last write, after which the next one goes on: what is queued again and again at one end of a
    /// long queue must not keep the other end waiting.
    written_up_to: Option<NodeId>,
    /// Whether the database has yet to be told which nodes are watched.
    watch_due: bool,
    batches: i64,
    beating: bool,
    beats: u64,
    reading: bool,
    read_again: bool,
    compare: bool,
    stamp_always: bool,
    clock: ClockCheck,
    recusal: Recusal,
    trust: Trust,
    trust_row: TrustRow,
    /// Votes against silent nodes that wait: the silence may be our own.
    held: BTreeSet<NodeId>,
    /// What looking at them again may cost by now.
    looks: usize,
    depositions: Depositions,
    /// Nodes that others vote down.
    suspected: BTreeSet<NodeId>,
    suspicions: Suspicions,
    round: Round,
    local: BTreeSet<NodeId>,
    /// Whether `local` was published as a whole: what is published may still be a predecessor's.
    local_is_mine: bool,
    revision: Revision,
    published: Option<BTreeMap<NodeId, NodeConsensus>>,
}

impl Monitor {
    /// A monitor that has seen nothing and is not registered.
    #[must_use]
    pub fn new(name: SupervisorName, settings: SettingsInForce, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Self::resume(name, settings, nodes, None, Revision::default())
    }

    /// A monitor in the place of one that died in this process: its registration is taken over, not superseded, and
    /// revisions go on from the last one published.
    #[must_use]
    pub fn resume(
        name: SupervisorName,
        settings: SettingsInForce,
        nodes: impl IntoIterator<Item = NodeId>,
        previous: Option<Incarnation>,
        revision: Revision,
    ) -> Self {
        let nodes: BTreeMap<NodeId, Watched> = nodes.into_iter().map(|node| (node, Watched::default())).collect();
        Monitor {
            recusal: Recusal::new(Limits::default(), nodes.keys().cloned()),
            trust: Trust::default(),
            trust_row: TrustRow::default(),
            held: BTreeSet::new(),
            looks: 0,
            depositions: Depositions::default(),
            suspected: BTreeSet::new(),
            suspicions: Suspicions::default(),
            name,
            settings: settings.settings,
            settings_revision: settings.revision,
            standing: Standing::Absent,
            previous,
            nodes,
            unwritten: BTreeMap::new(),
            writing: false,
            written_up_to: None,
            watch_due: false,
            batches: 0,
            beating: false,
            beats: 0,
            reading: false,
            read_again: false,
            compare: false,
            stamp_always: false,
            clock: ClockCheck::default(),
            round: Round::default(),
            local: BTreeSet::new(),
            local_is_mine: false,
            revision,
            published: None,
        }
    }

    /// Abstains by these limits from now on; those of the defaults until then.
    pub fn limit(&mut self, limits: Limits) {
        self.recusal.limit(limits);
    }

    /// The registration that may act now.
    #[must_use]
    pub fn voter(&self) -> Option<Voter> {
        match self.standing {
            Standing::Voting(incarnation) => Some(Voter { name: self.name.clone(), incarnation }),
            Standing::Absent | Standing::Registering | Standing::Leaving | Standing::Ended => None,
        }
    }

    /// Whether it was stopped, but its row is still to be removed once a registration on its way has ended.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.standing == Standing::Leaving
    }

    /// The only door: one input in, effects out.
    #[must_use]
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match (self.standing, &input) {
            (Standing::Ended, _) => return effects,
            (Standing::Leaving, Input::Registered { reply, .. }) => {
                self.leave(*reply, &mut effects);
                return effects;
            }
            (Standing::Leaving, _) => return effects,
            (Standing::Absent | Standing::Registering | Standing::Voting(_), _) => {}
        }
        match input {
            Input::Tick => self.ticked(now, &mut effects),
            Input::Reported { node, opinion, evidence, host } => {
                self.reported(now, node, opinion, (evidence, host.as_deref()), &mut effects);
            }
            Input::Looked { wall } => self.recusal.looked(now, wall),
            Input::TrustStored { voter, reason, mine } => self.trust_stored(now, &voter, reason, mine, &mut effects),
            Input::Penalties(penalties) => self.depositions.read(penalties),
            Input::VotesChanged if self.in_rounds() || self.voter().is_none() => {}
            Input::VotesChanged => self.read(&mut effects),
            Input::Suspected(heard) => self.suspect_with(now, heard, &mut effects),
            Input::SuspicionTold => self.suspicions.told(),
            Input::RoundReported { round, node, up } => {
                if self.round.report(round, node, up) {
                    self.close_round(now, &mut effects);
                }
            }
            Input::RoundOver { round } => {
                if self.round.is_open(round) {
                    self.close_round(now, &mut effects);
                }
            }
            Input::Registered { sent, reply } => self.registered(now, sent, reply, &mut effects),
            Input::HeartbeatAnswered { sent, reply } => self.heart_beat(now, sent, reply, &mut effects),
            Input::VotesWritten { batch, mine } => self.votes_written(now, batch, mine, &mut effects),
            Input::FactsRead(facts) => self.facts_read(facts, &mut effects),
            Input::Watch(nodes) => self.watch(now, nodes, &mut effects),
            Input::Watched { voter, nodes, mine } => self.watched(now, &voter, &nodes, mine, &mut effects),
            Input::Stop if self.standing == Standing::Registering => self.standing = Standing::Leaving,
            Input::Stop => {
                effects.extend(self.voter().map(Effect::Leave));
                self.standing = Standing::Ended;
            }
        }
        self.weigh(now, &mut effects);
        self.tell_suspicions(now, &mut effects);
        effects
    }

    fn in_rounds(&self) -> bool {
        self.settings.profile == Profile::Praefect
    }

    fn ticked(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.retract_the_unseen(now, effects);
        self.trust_row.retry();
        match self.standing {
            Standing::Absent => self.register(now, effects),
            Standing::Voting(_) => {
                self.beat(now, effects);
                if self.stamp_always && !self.in_rounds() {
                    self.queue_every_vote();
                }
                self.write(effects);
            }
            Standing::Registering | Standing::Leaving | Standing::Ended => {}
        }
        if self.in_rounds()
            && let Some(round) = self.round.open(self.nodes.keys().cloned().collect())
        {
            effects.push(Effect::OpenRound { round });
            if self.nodes.is_empty() {
                self.close_round(now, effects);
            }
        }
    }

    fn register(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.standing = Standing::Registering;
        self.watch_due = false;
        let nodes = self.nodes.keys().cloned().collect();
        effects.push(Effect::Register { sent: now, previous: self.previous, nodes });
    }

    fn registered(&mut self, now: Timestamp, sent: Timestamp, reply: Option<RegisterReply>, effects: &mut Vec<Effect>) {
        self.standing = Standing::Absent;
        match reply {
            // The next tick tries again; if this one was carried out all the same, the store knows it for our own.
            None => {}
            Some(RegisterReply::NameInUse { held_by }) => {
                self.standing = Standing::Ended;
                effects.push(Effect::Ended(Worry::NameInUse { held_by }));
            }
            Some(RegisterReply::Superseded { by }) => {
                self.standing = Standing::Ended;
                effects.push(Effect::Ended(Worry::Superseded { by }));
            }
            Some(RegisterReply::Registered { incarnation, at }) => {
                self.standing = Standing::Voting(incarnation);
                self.previous = Some(incarnation);
                self.clock.start(sent, now, at);
                self.trust_row = TrustRow::default();
                self.forget_opinions();
                effects.push(Effect::Voting(Voter { name: self.name.clone(), incarnation }));
                self.write(effects);
                if !self.in_rounds() {
                    effects.push(Effect::ProbeAll);
                    self.read(effects);
                }
            }
        }
    }

    /// The registration that was on its way when it was stopped has ended. Without an answer the row of the registration
    /// before may still stand; one that nobody heard of lapses like a crashed process's.
    fn leave(&mut self, reply: Option<RegisterReply>, effects: &mut Vec<Effect>) {
        self.standing = Standing::Ended;
        let left = match reply {
            Some(RegisterReply::Registered { incarnation, .. }) => Some(incarnation),
            Some(RegisterReply::NameInUse { .. } | RegisterReply::Superseded { .. }) => None,
            None => self.previous,
        };
        effects.extend(left.map(|incarnation| Effect::Leave(Voter { name: self.name.clone(), incarnation })));
    }

    /// A new incarnation has said nothing yet, and votes for nothing that it has not seen itself. A round's votes are
    /// all of this process, and local health is no vote: both stay.
    fn forget_opinions(&mut self) {
        self.writing = false;
        self.batches = 0;
        if !self.in_rounds() {
            self.unwritten.clear();
            self.held.clear();
            for watched in self.nodes.values_mut() {
                watched.opinion = None;
            }
        }
    }

    fn beat(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if let (false, Some(voter)) = (self.beating, self.voter()) {
            self.beating = true;
            effects.push(Effect::Heartbeat { sent: now, voter });
        }
    }

    fn heart_beat(
        &mut self,
        now: Timestamp,
        sent: Timestamp,
        reply: Option<HeartbeatReply>,
        effects: &mut Vec<Effect>,
    ) {
        self.beating = false;
        let Standing::Voting(_) = self.standing else { return };
        match reply {
            None => {}
            Some(HeartbeatReply::Alive { at }) => {
                if let Some(step) = self.clock.step(sent, now, at) {
                    effects.push(Effect::Worry(Worry::ClockStep { micros: step }));
                    self.register(now, effects);
                    return;
                }
                self.beats = self.beats.saturating_add(1);
                self.compare |= self.beats.is_multiple_of(COMPARE_EVERY);
                // A round reads once its own votes are in.
                if !self.in_rounds() {
                    self.read(effects);
                }
            }
            Some(HeartbeatReply::Lapsed | HeartbeatReply::Gone) => {
                effects.push(Effect::Worry(Worry::Lapsed));
                self.register(now, effects);
            }
            Some(HeartbeatReply::Superseded { by }) => {
                self.standing = Standing::Ended;
                effects.push(Effect::Ended(Worry::Superseded { by }));
            }
        }
    }

    fn publish_local(&mut self, effects: &mut Vec<Effect>) {
        self.local_is_mine = true;
        effects.push(Effect::PublishLocal(self.local.clone()));
    }

    fn close_round(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let (asked, up) = self.round.close();
        for (node, watched) in self.nodes.iter_mut().filter(|(node, _)| asked.contains(node)) {
            let opinion = if up.contains(node) { Opinion::Up } else { Opinion::Down };
            *watched = Watched { opinion: Some(opinion), outcome_at: Some(now) };
            self.unwritten.insert(node.clone(), opinion);
        }
        // Before the database is touched: local health stays current even when the database is gone (seed).
        self.local = up;
        self.publish_local(effects);
        if self.nodes.is_empty() {
            self.read(effects);
        }
        self.write(effects);
    }

    fn read(&mut self, effects: &mut Vec<Effect>) {
        if self.reading {
            self.read_again = true;
        } else {
            self.reading = true;
            effects.push(Effect::ReadFacts);
        }
    }

    fn facts_read(&mut self, read: Option<(HealthFacts, SettingsInForce)>, effects: &mut Vec<Effect>) {
        self.reading = false;
        if let Some((facts, settings)) = read {
            if settings.revision > self.settings_revision {
                self.settings = settings.settings.clone();
                self.settings_revision = settings.revision;
                effects.push(Effect::SettingsChanged(settings));
            }
            self.stamp_always = facts.foreign_voter_is_live();
            if ::core::mem::take(&mut self.compare) {
                self.rewrite_what_differs(&facts);
                self.write(effects);
            }
            self.suspect(&facts, effects);
            let nodes = facts.evaluate(&self.settings);
            self.depose(&nodes, effects);
            self.publish(nodes, effects);
        }
        if ::core::mem::take(&mut self.read_again) {
            self.read(effects);
        }
    }

    fn publish(&mut self, nodes: BTreeMap<NodeId, NodeConsensus>, effects: &mut Vec<Effect>) {
        let news = match &self.published {
            // The first one is news even if it names nobody: somebody is waiting for readiness (seed: `Updated`). In
            // rounds it is that of the first round, not of the moment before it.
            None => !self.in_rounds() || self.round.any_closed(),
            Some(old) => differs(old, &nodes, self.settings.policy),
        };
        if news {
            self.revision = self.revision.next();
            self.published = Some(nodes.clone());
            effects.push(Effect::Publish(Consensus { revision: self.revision, nodes }));
        } else if self.published.as_ref().is_some_and(|old| *old != nodes) {
            self.published = Some(nodes.clone());
            effects.push(Effect::Refresh(Consensus { revision: self.revision, nodes }));
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
