//! Settings, supervisors and votes.

use super::{
    MemoryStore,
    state::{State, StorageRow, Supervisor, Vote},
};
use crate::core::{
    consensus::{HealthFacts, Opinion},
    epoch::{Epoch, Era, Given, Revision},
    ids::{Incarnation, NodeId, SupervisorName, Voter},
    monitor::Suspicion,
    penalty::Penalty,
    recusal::Distrust,
    settings::Settings,
    time::{Age, DatabaseTime, micros},
};
use crate::store::{
    Answer, HealthSnapshot, HealthStore, Heartbeat, Registered, Registration, StoreOp, StoredSettings, VoteBatch,
    VotesWritten,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// After so long a silence a supervisor is forgotten, and a vote that no registered one owns.
const DAY: Duration = Duration::from_secs(86_400);
const MINUTE_MICROS: i64 = 60_000_000;
/// Two live holders of one name may not follow each other faster than this.
const TAKEOVER_PAUSE: Duration = Duration::from_secs(60);

impl HealthStore for MemoryStore {
    fn settings_seed<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        self.call(StoreOp::SettingsSeed, move |state| {
            if state.settings.is_none() {
                state.settings = Some((Revision(1), wanted.clone()));
                state.touched(1);
            }
            state.settings()
        })
    }

    fn settings_update<'a>(&'a self, wanted: &'a Settings) -> Answer<'a, StoredSettings> {
        self.call(StoreOp::SettingsUpdate, move |state| {
            state.settings = Some((state.settings().revision.next(), wanted.clone()));
            state.touched(1);
            // Whoever reads votes again reads the settings beside them.
            state.votes_moved = true;
            state.settings()
        })
    }

    fn supervisor_register<'a>(&'a self, registration: &'a Registration) -> Answer<'a, Registered> {
        self.call(StoreOp::SupervisorRegister, move |state| state.register(registration))
    }

    fn supervisor_heartbeat<'a>(&'a self, voter: &'a Voter) -> Answer<'a, Heartbeat> {
        self.call(StoreOp::SupervisorHeartbeat, move |state| {
            let (at, now) = (state.at(), state.now);
            let StoredSettings { revision, settings, .. } = state.settings();
            let Some(row) = state.supervisors.get_mut(&voter.name) else { return Heartbeat::Gone };
            if row.incarnation != voter.incarnation {
                return Heartbeat::Superseded { by: row.incarnation };
            }
            if !Age(now.saturating_sub(row.heartbeat_at)).is_within(settings.voter_ttl) {
                return Heartbeat::Lapsed;
            }
            let last = std::mem::replace(&mut row.heartbeat_at, now);
            state.touched(1);
            if last.div_euclid(MINUTE_MICROS) < now.div_euclid(MINUTE_MICROS) {
                state.prune(&voter.name);
            }
            Heartbeat::Alive { at, settings_revision: revision }
        })
    }

    fn suspicion_tell<'a>(&'a self, suspicion: &'a Suspicion) -> Answer<'a, bool> {
        Box::pin(async move {
            if self.is_mute() {
                return Ok(false);
            }
            let told = self.call(StoreOp::SuspicionTell, move |state| state.feed.suspect(suspicion)).await?;
            self.whisper(told);
            Ok(true)
        })
    }

    fn supervisor_recuse<'a>(&'a self, voter: &'a Voter, reason: Option<Distrust>) -> Answer<'a, bool> {
        self.call(StoreOp::SupervisorRecuse, move |state| {
            let mine = state.is_registered(voter);
            if mine && let Some(row) = state.supervisors.get_mut(&voter.name) {
                row.recused = reason;
                state.votes_moved = true;
                state.touched(1);
            }
            mine
        })
    }
    fn penalty_raise<'a>(
        &'a self,
        node: &'a NodeId,
        seen: Option<DatabaseTime>,
        lasting: Duration,
    ) -> Answer<'a, bool> {
        self.call(StoreOp::PenaltyRaise, move |state| state.penalise(node, seen, lasting))
    }
    fn penalty_lift<'a>(&'a self, node: &'a NodeId) -> Answer<'a, bool> {
        self.call(StoreOp::PenaltyLift, move |state| {
            let Some(row) = state.storages.get_mut(node) else { return false };
            row.penalised_at = None;
            let lifted = row.penalty_until.take().is_some();
            state.touched(usize::from(lifted));
            lifted
        })
    }
    fn supervisor_remove<'a>(&'a self, voter: &'a Voter) -> Answer<'a, bool> {
        self.call(StoreOp::SupervisorRemove, move |state| {
            if !state.is_registered(voter) {
                return false;
            }
            state.supervisors.remove(&voter.name);
            let before = state.votes.len();
            state.votes.retain(|(name, _), _| *name != voter.name);
            state.votes_moved = true;
            state.touched(before.saturating_sub(state.votes.len()).saturating_add(1));
            true
        })
    }

    fn nodes_watch<'a>(&'a self, voter: &'a Voter, nodes: &'a [NodeId]) -> Answer<'a, bool> {
        self.call(StoreOp::NodesWatch, move |state| {
            let mine = state.is_registered(voter);
            if mine {
                state.watch(&voter.name, voter.incarnation, &nodes.iter().collect());
            }
            mine
        })
    }

    fn votes_write<'a>(&'a self, voter: &'a Voter, batch: &'a VoteBatch) -> Answer<'a, VotesWritten> {
        self.call(StoreOp::VotesWrite, move |state| {
            if !state.is_registered(voter) {
                return VotesWritten::NotMine;
            }
            let mut changed = 0_u32;
            for (node, opinion) in &batch.votes {
                changed = changed.saturating_add(u32::from(state.vote(voter, batch.number, node, *opinion)));
            }
            state.votes_moved |= changed > 0;
            VotesWritten::Written { changed }
        })
    }

    fn epochs_given(&self) -> Answer<'_, Given> {
        self.call(StoreOp::EpochsGiven, |state| {
            state.noticed_replacement();
            state.given()
        })
    }
    fn era_raise<'a>(&'a self, seen: Era, reported: Option<Epoch>, _: &'a str) -> Answer<'a, Era> {
        self.call(StoreOp::EraRaise, move |state| state.raise_era(seen, reported))
    }

    fn health_facts(&self) -> Answer<'_, HealthSnapshot> {
        self.call(StoreOp::HealthFacts, |state| HealthSnapshot {
            at: state.at(),
            settings: state.settings(),
            facts: state.health(),
            penalties: state.penalties(),
            ignored: Vec::new(),
        })
    }
}

impl State {
    pub(super) fn health(&self) -> HealthFacts {
        HealthFacts { votes: self.vote_rows(|_| true), supervisors: self.supervisor_rows() }
    }

    fn penalties(&self) -> BTreeMap<NodeId, Penalty> {
        let last = |(node, row): (&NodeId, &StorageRow)| {
            let since = row.penalised_at.map(DatabaseTime);
            Some((node.clone(), Penalty { since, until: DatabaseTime(row.penalty_until?) }))
        };
        self.storages.iter().filter_map(last).collect()
    }

    fn penalise(&mut self, node: &NodeId, seen: Option<DatabaseTime>, lasting: Duration) -> bool {
        let now = self.now;
        let row = self.storages.entry(node.clone()).or_default();
        if row.penalty_until != seen.map(|seen| seen.0) {
            return false;
        }
        // One that somebody set by hand is not made shorter.
        let until = now.saturating_add(micros(lasting)).max(row.penalty_until.unwrap_or(i64::MIN));
        (row.penalised_at, row.penalty_until) = (Some(now), Some(until));
        self.touched(1);
        true
    }

    fn is_registered(&self, voter: &Voter) -> bool {
        self.supervisors.get(&voter.name).is_some_and(|row| row.incarnation == voter.incarnation)
    }

    fn register(&mut self, registration: &Registration) -> Registered {
        let superseded_live_at = match self.supervisors.get(&registration.name) {
            None => None,
            Some(row) if row.process == registration.process && row.attempt >= registration.attempt => {
                return Registered::Superseded { by: row.incarnation };
            }
            Some(row) if row.process == registration.process || registration.previous == Some(row.incarnation) => {
                row.superseded_live_at
            }
            // Whoever came after this process is its successor, live or not.
            Some(row) if registration.previous.is_some_and(|previous| previous < row.incarnation) => {
                return Registered::Superseded { by: row.incarnation };
            }
            // Recused or not, a process with a young heartbeat is running under this name.
            Some(row) if !self.age(row.heartbeat_at).is_within(self.settings().settings.voter_ttl) => None,
            Some(row) if row.superseded_live_at.is_some_and(|at| self.age(at).is_within(TAKEOVER_PAUSE)) => {
                return Registered::NameInUse { held_by: row.incarnation };
            }
            Some(_) => Some(self.now),
        };
        self.prune(&registration.name);
        let incarnation = self.next_incarnation();
        self.watch(&registration.name, incarnation, &registration.nodes.iter().collect());
        let now = self.now;
        let row = Supervisor {
            incarnation,
            registered_at: now,
            superseded_live_at,
            heartbeat_at: now,
            recused: None,
            process: registration.process.clone(),
            attempt: registration.attempt,
        };
        self.supervisors.insert(registration.name.clone(), row);
        self.votes_moved = true;
        self.touched(1);
        Registered::Registered { incarnation, at: self.at() }
    }

    /// Forgets what nobody reads any more: who has been silent for a day, and votes that no registered supervisor owns and
    /// nobody stamped within one.
    fn prune(&mut self, myself: &SupervisorName) {
        let State { now, supervisors, votes, rows, .. } = self;
        let old = |stamp: i64| Age(now.saturating_sub(stamp)) > Age(micros(DAY));
        let before = supervisors.len().saturating_add(votes.len());
        supervisors.retain(|name, row| name == myself || !old(row.heartbeat_at));
        votes.retain(|(voter, _), vote| {
            let stamped = vote.contact_at.max(vote.seen_at);
            voter == myself || supervisors.contains_key(voter) || stamped.is_some_and(|stamp| !old(stamp))
        });
        let gone = before.saturating_sub(supervisors.len().saturating_add(votes.len()));
        *rows = rows.saturating_add(u64::try_from(gone).unwrap_or(u64::MAX));
    }

    /// Rows for exactly the watched nodes. Those that exist keep the old incarnation, which makes them `none`.
    fn watch(&mut self, name: &SupervisorName, incarnation: Incarnation, nodes: &BTreeSet<&NodeId>) {
        let before = self.votes.len();
        self.votes.retain(|(voter, node), _| voter != name || nodes.contains(node));
        let kept = self.votes.len();
        for node in nodes {
            let row = || Vote { opinion: Some(Opinion::None), incarnation: Some(incarnation), ..Vote::default() };
            self.votes.entry((name.clone(), (*node).clone())).or_insert_with(row);
        }
        let moved = before.saturating_sub(kept).saturating_add(self.votes.len().saturating_sub(kept));
        self.votes_moved |= moved > 0;
        self.touched(moved);
    }

    /// Stores one vote unless a later one is stored; answers whether the opinion that counts has changed.
    fn vote(&mut self, voter: &Voter, number: i64, node: &NodeId, opinion: Opinion) -> bool {
        let now = self.now;
        let row = self.votes.entry((voter.name.clone(), node.clone())).or_default();
        if (row.incarnation, row.number) >= (Some(voter.incarnation), number) {
            return false;
        }
        // An opinion of an older incarnation, and that of a row just made, counted as none.
        let counted = row.opinion.filter(|_| row.incarnation == Some(voter.incarnation)).unwrap_or(Opinion::None);
        (row.incarnation, row.number, row.opinion) = (Some(voter.incarnation), number, Some(opinion));
        match opinion {
            Opinion::Up => (row.contact_at, row.seen_at) = (Some(now), Some(now)),
            Opinion::Down | Opinion::Misconfigured => row.contact_at = Some(now),
            Opinion::None => {}
        }
        self.touched(1);
        counted != opinion
    }
}
