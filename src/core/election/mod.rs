//! Who may be primary of a repository: the rule, as a value.
//!
//! [`decide`] is handed everything that one read of the database returned and answers what to do; the caller commits
//! the answer by compare-and-set, and only if nothing it rested on has moved (docs/protocol.md section 5). Praefect decides
//! inside one SQL statement (F15, F26); that is atomic too, but nobody can test it without a database or ask it why.
//!
//! Order among candidates: assigned before unassigned, not draining before draining, no penalty before penalty, higher
//! priority first, then random by the seed given. Under policy `half` only the seed's rules count: assigned or not,
//! then random.

mod facts;
mod following;
mod incumbent;
mod local;
mod reason;
mod virtual_storage;

pub use facts::{ElectionFacts, Fence, Primary, ReplicaFacts, StorageAttributes, Target};
pub use following::follow;
pub use incumbent::Incumbent;
pub use local::choose_local;
pub use reason::{NoCandidate, Reason, Refusal, WaitReason};
pub use virtual_storage::{
    Lags, RecordedShard, ShardDecision, ShardElection, ShardFacts, decide_shard, shard_refusals,
};

use super::{
    consensus::{SupervisorRow, tally},
    epoch::{Epoch, Generation},
    ids::{NodeId, Storage, Voter},
    quorum::{QuorumPolicy, Verdict},
    settings::{Settings, WithoutCandidate},
};
use std::collections::{BTreeMap, BTreeSet};

/// What to do about the primary of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The recorded primary stays. Nothing is written.
    Keep {
        /// The recorded primary.
        storage: Storage,
        /// Its epoch; `None` if a foreign writer recorded it before this database was adopted.
        epoch: Option<Epoch>,
    },
    /// Another becomes primary, under a new epoch.
    Elect(Election),
    /// The row is set to NULL, once, under a new epoch.
    Demote {
        /// Who was primary.
        from: Storage,
        /// Why it may not stay.
        why: Reason,
    },
    /// Nobody may become primary, and the row stays as it is.
    NoCandidate(NoCandidate),
    /// A change is due, but this supervisor may not make it now.
    Wait(WaitReason),
}

/// An election that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// The one chosen.
    pub to: Storage,
    /// Everybody who ranked equal with it, in order of name; the seed chose among them.
    pub equals: Vec<Storage>,
    /// Who was primary.
    pub from: Option<Storage>,
    /// Why that one may not stay.
    pub why: Reason,
}

/// A candidate's rank; the smallest is elected. Each part stands for one line of the module's order.
type Rank = (bool, bool, bool, std::cmp::Reverse<i32>);

/// Decides about one repository. `proposer` is the supervisor that would commit the decision; `seed` breaks ties.
#[must_use]
pub fn decide(facts: &ElectionFacts, settings: &Settings, proposer: &Voter, seed: u64) -> Decision {
    decide_knowing(facts, settings, &verdicts(facts, settings), proposer, seed)
}

/// The same with the quorum's verdicts at hand, which do not differ from one repository to the next.
pub(in crate::core) fn decide_knowing(
    facts: &ElectionFacts,
    settings: &Settings,
    verdicts: &BTreeMap<Storage, Verdict>,
    proposer: &Voter,
    seed: u64,
) -> Decision {
    let candidates = candidates(facts, settings, verdicts);
    let why = match &facts.primary {
        None => Reason::NoneRecorded,
        Some(primary) => match deposes(facts, settings, verdicts, &candidates, primary) {
            None => return Decision::Keep { storage: primary.clone(), epoch: facts.epoch },
            Some(why) => why,
        },
    };
    let Some(best) = candidates.iter().map(|(_, rank)| *rank).min() else {
        return without_candidate(facts, settings, proposer, why);
    };
    if let Some(wait) = must_wait(&facts.supervisors, settings, proposer) {
        return Decision::Wait(wait);
    }
    let equals: Vec<Storage> =
        candidates.into_iter().filter(|(_, rank)| *rank == best).map(|(replica, _)| replica.storage.clone()).collect();
    let pick = u64::try_from(equals.len()).ok().and_then(|len| seed.checked_rem(len)).unwrap_or(0);
    let pick = usize::try_from(pick).unwrap_or(0);
    match equals.get(pick).cloned() {
        Some(to) => Decision::Elect(Election { to, equals, from: facts.primary.clone(), why }),
        None => without_candidate(facts, settings, proposer, why),
    }
}

/// What stands while elections are switched off: the recorded primary if it is fit, else which is true of it. A primary
/// that would only yield to somebody better is fit. Nothing is ever due.
#[must_use]
pub fn standing(facts: &ElectionFacts, settings: &Settings) -> Decision {
    let Some(storage) = facts.primary.clone() else { return Decision::NoCandidate(NoCandidate::NeverElected) };
    match deposes(facts, settings, &verdicts(facts, settings), &[], &storage) {
        None => Decision::Keep { storage, epoch: facts.epoch },
        Some(why) => Decision::NoCandidate(unfit(storage, facts.epoch, why)),
    }
}

/// Whether a primary stays whatever becomes of the other storages: fit, not unhealthy and kept for want of another, and
/// nobody better is waited for. Only such an answer may be remembered, for it is told when a primary ceases to be valid, and
/// never when somebody better comes up.
#[must_use]
pub fn stands_alone(facts: &ElectionFacts, settings: &Settings, primary: &Storage) -> bool {
    facts.replicas.iter().find(|replica| replica.storage == *primary).is_some_and(|replica| {
        beyond_reproach(facts.generation, replica, !facts.assignments.is_empty())
            && verdict(facts, settings, primary) != Verdict::Unhealthy
    })
}

/// Whether a primary has nothing against it but what its node's health may be.
fn beyond_reproach(generation: Option<Generation>, replica: &ReplicaFacts, any_assigned: bool) -> bool {
    generation == Some(replica.generation)
        && !replica.marked
        && (replica.assigned || !any_assigned)
        && replica.attributes.priority > 0
        && !replica.attributes.draining
}

/// Why each replica that is not a candidate is none; what a decision's record keeps of the losers.
#[must_use]
pub fn refusals(facts: &ElectionFacts, settings: &Settings) -> BTreeMap<Storage, Refusal> {
    let verdicts = verdicts(facts, settings);
    let refused =
        |replica: &ReplicaFacts| refusal(replica, facts, settings, &verdicts).map(|why| (replica.storage.clone(), why));
    facts.replicas.iter().filter_map(refused).collect()
}

/// Everybody who may be primary: those fit for it, without the unassigned if any of them is assigned. Under policy
/// `half` this is Praefect's view `valid_primaries`, row for row.
#[must_use]
pub fn candidates_of(facts: &ElectionFacts, settings: &Settings) -> BTreeSet<Storage> {
    let fit = candidates(facts, settings, &verdicts(facts, settings));
    let any_assigned = fit.iter().any(|(replica, _)| replica.assigned);
    let eligible = fit.into_iter().filter(|(replica, _)| replica.assigned || !any_assigned);
    eligible.map(|(replica, _)| replica.storage.clone()).collect()
}

/// The quorum's verdict about each storage that holds a replica.
#[must_use]
pub fn verdicts(facts: &ElectionFacts, settings: &Settings) -> BTreeMap<Storage, Verdict> {
    let of = |replica: &ReplicaFacts| (replica.storage.clone(), verdict(facts, settings, &replica.storage));
    facts.replicas.iter().map(of).collect()
}

fn verdict(facts: &ElectionFacts, settings: &Settings, storage: &Storage) -> Verdict {
    let node = NodeId::new(facts.virtual_storage.clone(), storage.clone());
    tally(&node, &facts.votes, &facts.supervisors, &facts.members, settings).verdict(settings.policy)
}

fn candidates<'a>(
    facts: &'a ElectionFacts,
    settings: &Settings,
    verdicts: &BTreeMap<Storage, Verdict>,
) -> Vec<(&'a ReplicaFacts, Rank)> {
    let eligible: Vec<&ReplicaFacts> =
        facts.replicas.iter().filter(|replica| refusal(replica, facts, settings, verdicts).is_none()).collect();
    let mut ranked: Vec<_> = eligible.into_iter().map(|replica| (replica, rank(replica, settings))).collect();
    ranked.sort_by(|a, b| a.0.storage.cmp(&b.0.storage));
    ranked
}

fn rank(replica: &ReplicaFacts, settings: &Settings) -> Rank {
    match settings.policy {
        QuorumPolicy::Half => (!replica.assigned, false, false, std::cmp::Reverse(0)),
        QuorumPolicy::Majority => {
            let attributes = &replica.attributes;
            (!replica.assigned, attributes.draining, attributes.penalised, std::cmp::Reverse(attributes.priority))
        }
    }
}

pub(in crate::core) fn refusal(
    replica: &ReplicaFacts,
    facts: &ElectionFacts,
    settings: &Settings,
    verdicts: &BTreeMap<Storage, Verdict>,
) -> Option<Refusal> {
    match verdicts.get(&replica.storage) {
        Some(Verdict::Healthy) => {}
        Some(Verdict::Undecided) => return Some(Refusal::Undecided),
        Some(Verdict::Unhealthy) | None => return Some(Refusal::Unhealthy),
    }
    if facts.generation != Some(replica.generation) {
        Some(Refusal::Outdated)
    } else if replica.marked {
        Some(Refusal::Marked)
    } else if settings.policy == QuorumPolicy::Majority && replica.attributes.priority <= 0 {
        Some(Refusal::NeverPrimary)
    } else {
        None
    }
}

/// Why the recorded primary may not stay; `None` if it may.
fn deposes(
    facts: &ElectionFacts,
    settings: &Settings,
    verdicts: &BTreeMap<Storage, Verdict>,
    candidates: &[(&ReplicaFacts, Rank)],
    primary: &Storage,
) -> Option<Reason> {
    let Some(replica) = facts.replicas.iter().find(|replica| replica.storage == *primary) else {
        return Some(Reason::ReplicaGone);
    };
    if verdicts.get(primary) == Some(&Verdict::Unhealthy) {
        return Some(Reason::Unhealthy);
    }
    if facts.generation != Some(replica.generation) {
        return Some(Reason::Outdated);
    }
    if replica.marked {
        return Some(Reason::Marked);
    }
    // From here on the primary is fit; it yields only to somebody better.
    let other =
        |better: &dyn Fn(&ReplicaFacts) -> bool| candidates.iter().any(|(c, _)| c.storage != *primary && better(c));
    if !replica.assigned && other(&|candidate| candidate.assigned) {
        return Some(Reason::Unassigned);
    }
    if settings.policy == QuorumPolicy::Half {
        return None;
    }
    if replica.attributes.priority <= 0 && other(&|_| true) {
        return Some(Reason::NeverPrimary);
    }
    // An assigned primary does not leave for an unassigned replica just because it drains.
    let same_standing = |candidate: &ReplicaFacts| candidate.assigned || !replica.assigned;
    (replica.attributes.draining && other(&|c| !c.attributes.draining && same_standing(c))).then_some(Reason::Draining)
}

fn without_candidate(facts: &ElectionFacts, settings: &Settings, proposer: &Voter, why: Reason) -> Decision {
    let Some(storage) = facts.primary.clone() else { return Decision::NoCandidate(NoCandidate::NeverElected) };
    match (settings.without_candidate, settings.policy) {
        (WithoutCandidate::Demote, _) => match must_wait(&facts.supervisors, settings, proposer) {
            Some(wait) => Decision::Wait(wait),
            None => Decision::Demote { from: storage, why },
        },
        // Praefect since 14.7 answers the recorded primary as a success and leaves the judgement to local health.
        (WithoutCandidate::Keep, QuorumPolicy::Half) => Decision::Keep { storage, epoch: facts.epoch },
        (WithoutCandidate::Keep, QuorumPolicy::Majority) => Decision::NoCandidate(unfit(storage, facts.epoch, why)),
    }
}

/// What is true of a recorded primary that may not stay and stays for want of another.
fn unfit(storage: Storage, epoch: Option<Epoch>, why: Reason) -> NoCandidate {
    match why {
        Reason::Outdated | Reason::ReplicaGone => NoCandidate::PrimaryOutdated { storage, epoch },
        Reason::Marked => NoCandidate::PrimaryMarked { storage, epoch },
        Reason::NoneRecorded
        | Reason::Unhealthy
        | Reason::NeverPrimary
        | Reason::Unassigned
        | Reason::Draining
        | Reason::NotConfigured
        | Reason::VirtualStorage => NoCandidate::PrimaryNotHealthy { storage, epoch },
    }
}

/// Whether this proposer must leave a due change alone. Praefect has no such rule, so policy `half` has none.
fn must_wait(supervisors: &[SupervisorRow], settings: &Settings, proposer: &Voter) -> Option<WaitReason> {
    if settings.policy == QuorumPolicy::Half {
        return None;
    }
    let Some(mine) = supervisors.iter().find(|row| row.name == proposer.name) else {
        return Some(WaitReason::NotRegistered);
    };
    if mine.incarnation != proposer.incarnation {
        return Some(WaitReason::Superseded);
    }
    if mine.recused {
        return Some(WaitReason::Recused);
    }
    if !mine.is_live(settings) {
        return Some(WaitReason::Lapsed);
    }
    let live = supervisors.iter().filter(|row| row.is_live(settings)).count();
    let somebody_is_new = supervisors.iter().any(|row| row.registered_age.is_within(settings.voter_ttl));
    let minority = live.saturating_mul(2) <= supervisors.len();
    (minority && somebody_is_new).then_some(WaitReason::OthersMayReturn)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
