//! Who may be primary of a whole virtual storage: one node for all its repositories (Praefect's `sql` elector).
//!
//! Decided like a repository: facts with ages in, a decision out, committed by compare-and-set. What differs is that a
//! node may be elected that lags: the one that lacks least wins, and the repositories that are behind on it take no
//! writes until they have caught up. Counting what each node lacks reads every replica of the virtual storage, so the
//! rule first decides without (a lookup that changes nothing must stay cheap) and answers [`ShardDecision::Count`] if
//! it needs to know.
//!
//! Order among candidates: not draining before draining, then the least lag, no penalty before penalty, higher priority
//! first, then the name. Under policy `half` only Praefect's rules count: the least lag, then the most votes, then the name.
//! A lot was rejected: all supervisors that see the same must elect the same, as in Praefect.
//!
//! Two elections are at least `vote_ttl` apart (Praefect: 10 s for both), so that a cluster which loses one node after
//! the other does not carry its writers around faster than votes can settle.

use super::{NoCandidate, Reason, Refusal, StorageAttributes, WaitReason, must_wait, unfit};
use crate::core::{
    consensus::{HealthFacts, NodeConsensus, tally},
    epoch::{Epoch, Era},
    ids::{ClusterId, NodeId, Storage, VirtualStorage, Voter},
    quorum::{QuorumPolicy, Verdict},
    settings::{Settings, WithoutCandidate},
    time::{Age, DatabaseTime},
};
use std::{cmp::Reverse, collections::BTreeMap};

/// The facts of one decision about a virtual storage: one statement, one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardFacts {
    /// The cluster whose database this is.
    pub cluster: ClusterId,
    /// The virtual storage.
    pub virtual_storage: VirtualStorage,
    /// Its row; `None` if a primary was never elected.
    pub recorded: Option<RecordedShard>,
    /// The life of the database that these facts come from.
    pub era: Era,
    /// The database's time of the read.
    pub at: DatabaseTime,
    /// What is said of its storages; one that is not named has the defaults.
    pub attributes: BTreeMap<Storage, StorageAttributes>,
    /// What each storage lacks; `None` if it was not counted.
    pub lags: Option<Lags>,
    /// The votes about its nodes, and all registered supervisors.
    pub health: HealthFacts,
}

/// The recorded primary of a virtual storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedShard {
    /// The storage elected last.
    pub storage: Storage,
    /// Whether it was deposed since, and nobody elected in its place.
    pub demoted: bool,
    /// The epoch of the last change; `None` if a foreign writer made it before this database was adopted.
    pub epoch: Option<Epoch>,
    /// Age of the last election; a demotion is none. `None` if the stamp is no time.
    pub elected_age: Option<Age>,
}

/// How far each storage is behind, summed over all repositories of a virtual storage. A replica that is missing counts
/// as generation -1, a repository without a generation counts for nothing (Praefect).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lags {
    /// What a storage has that lacks nothing: the sum of all generations, each plus one. `None`: no repository has a
    /// generation, so nothing tells the storages apart.
    pub expected: Option<i64>,
    /// What each storage has, in the same measure; one that is not named has nothing.
    pub held: BTreeMap<Storage, i64>,
}

impl Lags {
    /// How far a storage is behind. Negative if its replicas are ahead of their repositories, which foreign writers manage.
    #[must_use]
    pub fn of(&self, storage: &Storage) -> i64 {
        self.expected.map_or(0, |expected| expected.saturating_sub(self.held.get(storage).copied().unwrap_or(0)))
    }
}

/// What to do about the primary of one virtual storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShardDecision {
    /// The recorded primary stays. Nothing is written.
    Keep {
        /// The recorded primary.
        storage: Storage,
        /// Its epoch; `None` if a foreign writer recorded it before this database was adopted.
        epoch: Option<Epoch>,
    },
    /// Another becomes primary, under a new epoch.
    Elect(ShardElection),
    /// The row is marked as demoted, once, under a new epoch.
    Demote {
        /// Who was primary.
        from: Storage,
        /// Why it may not stay.
        why: Reason,
    },
    /// Nobody may become primary, and the row stays as it is.
    NoCandidate(NoCandidate),
    /// A change is due, but not now, or not by this supervisor.
    Wait(WaitReason),
    /// An election is due: read the facts again, with the lags.
    Count,
}

/// An election of a virtual storage that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardElection {
    /// The one chosen.
    pub to: Storage,
    /// Every candidate with how far it is behind.
    pub candidates: BTreeMap<Storage, i64>,
    /// Whether there was nothing to compare (Praefect: `fallback_choice`).
    pub fallback: bool,
    /// Who was primary.
    pub from: Option<Storage>,
    /// Why that one may not stay.
    pub why: Reason,
}

/// A candidate's rank; the smallest is elected. Each part stands for one step of the module's order.
type Rank<'a> = (bool, i64, bool, Reverse<i32>, Reverse<u32>, &'a Storage);

/// Decides about one virtual storage. `configured` are the proposer's nodes of it; nobody else becomes primary.
#[must_use]
pub fn decide_shard(
    facts: &ShardFacts,
    configured: &[Storage],
    settings: &Settings,
    proposer: &Voter,
) -> ShardDecision {
    let known = facts.known(settings);
    let fit = |storage: &&Storage| refusal(facts, storage, settings, &known).is_none();
    let candidates: Vec<&Storage> = configured.iter().filter(fit).collect();
    let recorded = facts.recorded.as_ref().filter(|recorded| !recorded.demoted);
    let why = match recorded {
        None => Reason::NoneRecorded,
        Some(recorded) => match deposes(facts, configured, settings, &known, &candidates, &recorded.storage) {
            None => return ShardDecision::Keep { storage: recorded.storage.clone(), epoch: recorded.epoch },
            Some(why) => why,
        },
    };
    if candidates.is_empty() {
        return without_candidate(facts, settings, proposer, why);
    }
    if facts.is_too_soon(settings) {
        return match settings.policy {
            QuorumPolicy::Majority => ShardDecision::Wait(WaitReason::TooSoon),
            // Praefect leaves the row and answers what it says.
            QuorumPolicy::Half => facts.stands(),
        };
    }
    if let Some(wait) = must_wait(&facts.health.supervisors, settings, proposer) {
        return ShardDecision::Wait(wait);
    }
    let Some(lags) = &facts.lags else { return ShardDecision::Count };
    let Some(to) = candidates.iter().min_by_key(|storage| facts.rank(storage, lags, settings, &known)) else {
        return without_candidate(facts, settings, proposer, why);
    };
    ShardDecision::Elect(ShardElection {
        to: (*to).clone(),
        candidates: candidates.iter().map(|storage| ((*storage).clone(), lags.of(storage))).collect(),
        fallback: lags.expected.is_none(),
        from: recorded.map(|recorded| recorded.storage.clone()),
        why,
    })
}

/// Why each configured node that is not a candidate is none; what a decision's record keeps of the losers.
#[must_use]
pub fn shard_refusals(facts: &ShardFacts, configured: &[Storage], settings: &Settings) -> BTreeMap<Storage, Refusal> {
    let known = facts.known(settings);
    let refused =
        |storage: &Storage| refusal(facts, storage, settings, &known).map(|refusal| (storage.clone(), refusal));
    configured.iter().filter_map(refused).collect()
}

type Known = BTreeMap<NodeId, NodeConsensus>;

impl ShardFacts {
    fn node(&self, storage: &Storage) -> NodeId {
        NodeId::new(self.virtual_storage.clone(), storage.clone())
    }

    fn known(&self, settings: &Settings) -> Known {
        self.health.evaluate(settings)
    }

    fn attributes_of(&self, storage: &Storage) -> StorageAttributes {
        self.attributes.get(storage).copied().unwrap_or_default()
    }

    fn is_too_soon(&self, settings: &Settings) -> bool {
        let age = self.recorded.as_ref().and_then(|recorded| recorded.elected_age);
        age.is_some_and(|age| match settings.policy {
            QuorumPolicy::Majority => age.is_within(settings.vote_ttl),
            QuorumPolicy::Half => age.is_within_as_praefect(settings.vote_ttl),
        })
    }

    /// What the row says, without a look at anybody's health.
    fn stands(&self) -> ShardDecision {
        match self.recorded.clone() {
            None => ShardDecision::NoCandidate(NoCandidate::NeverElected),
            Some(RecordedShard { storage, demoted: false, epoch, .. }) => ShardDecision::Keep { storage, epoch },
            Some(RecordedShard { storage, epoch, .. }) => {
                ShardDecision::NoCandidate(NoCandidate::PrimaryNotHealthy { storage, epoch })
            }
        }
    }

    fn rank<'a>(&self, storage: &'a Storage, lags: &Lags, settings: &Settings, known: &Known) -> Rank<'a> {
        let lag = lags.of(storage);
        match settings.policy {
            QuorumPolicy::Half => {
                let up = known.get(&self.node(storage)).map_or(0, |known| known.tally.up);
                (false, lag, false, Reverse(0), Reverse(up), storage)
            }
            QuorumPolicy::Majority => {
                let StorageAttributes { priority, draining, penalised } = self.attributes_of(storage);
                (draining, lag, penalised, Reverse(priority), Reverse(0), storage)
            }
        }
    }

    /// Whether any live voter looks at this node at all.
    fn is_watched(&self, storage: &Storage, settings: &Settings) -> bool {
        let settings = Settings { expected_supervisors: None, ..settings.clone() };
        let HealthFacts { votes, supervisors } = &self.health;
        tally(&self.node(storage), votes, supervisors, &[], &settings).electorate > 0
    }
}

fn refusal(facts: &ShardFacts, storage: &Storage, settings: &Settings, known: &Known) -> Option<Refusal> {
    match known.get(&facts.node(storage)).map(|known| known.verdict) {
        Some(Verdict::Healthy) => {}
        Some(Verdict::Unhealthy) => return Some(Refusal::Unhealthy),
        Some(Verdict::Undecided) | None => return Some(Refusal::Undecided),
    }
    let never = settings.policy == QuorumPolicy::Majority && facts.attributes_of(storage).priority <= 0;
    never.then_some(Refusal::NeverPrimary)
}

/// Why the recorded primary may not stay; `None` if it may.
fn deposes(
    facts: &ShardFacts,
    configured: &[Storage],
    settings: &Settings,
    known: &Known,
    candidates: &[&Storage],
    primary: &Storage,
) -> Option<Reason> {
    let verdict = known.get(&facts.node(primary)).map(|known| known.verdict);
    let is_configured = configured.contains(primary);
    match settings.policy {
        QuorumPolicy::Half if !is_configured => return Some(Reason::NotConfigured),
        QuorumPolicy::Half => return (verdict != Some(Verdict::Healthy)).then_some(Reason::Unhealthy),
        QuorumPolicy::Majority if verdict == Some(Verdict::Unhealthy) => return Some(Reason::Unhealthy),
        // During a change of configurations others may know a node that this supervisor does not. One that nobody looks
        // at any more will never be voted down.
        QuorumPolicy::Majority if !is_configured && !facts.is_watched(primary, settings) => {
            return Some(Reason::NotConfigured);
        }
        QuorumPolicy::Majority => {}
    }
    // From here on the primary is fit; it yields only to somebody better.
    let other = |better: &dyn Fn(StorageAttributes) -> bool| {
        candidates.iter().any(|candidate| *candidate != primary && better(facts.attributes_of(candidate)))
    };
    let attributes = facts.attributes_of(primary);
    if attributes.priority <= 0 && other(&|_| true) {
        return Some(Reason::NeverPrimary);
    }
    (attributes.draining && other(&|candidate| !candidate.draining)).then_some(Reason::Draining)
}

fn without_candidate(facts: &ShardFacts, settings: &Settings, proposer: &Voter, why: Reason) -> ShardDecision {
    let Some(recorded) = facts.recorded.clone().filter(|recorded| !recorded.demoted) else { return facts.stands() };
    // Every release of Praefect demotes here, whatever it does with a repository.
    match (settings.policy, settings.without_candidate) {
        (QuorumPolicy::Majority, WithoutCandidate::Keep) => {
            ShardDecision::NoCandidate(unfit(recorded.storage, recorded.epoch, why))
        }
        (QuorumPolicy::Half, _) | (_, WithoutCandidate::Demote) => {
            match must_wait(&facts.health.supervisors, settings, proposer) {
                Some(wait) => ShardDecision::Wait(wait),
                None => ShardDecision::Demote { from: recorded.storage, why },
            }
        }
    }
}

#[cfg(test)]
#[path = "virtual_storage_tests.rs"]
mod tests;
