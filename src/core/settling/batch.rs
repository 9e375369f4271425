//! One batch: what is to be done about each of its repositories.

use super::SettleFacts;
use crate::core::{
    consensus::tally,
    election::{Decision, Reason, Refusal, WaitReason, decide_knowing, refusal},
    epoch::{Epoch, FactsVersion},
    ids::{NodeId, RepositoryId, Storage, Voter},
    quorum::Verdict,
    settings::Settings,
};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be done about a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// What the facts say of the node. Unless it is down by them, its repositories are none of the settler's.
    pub verdict: Verdict,
    /// Changes that are due, those for the same reason together: one commit each.
    pub due: Vec<Settlement>,
    /// How many keep their primary.
    pub kept: usize,
    /// How many have nobody who could lead them.
    pub without_candidate: usize,
    /// Why this supervisor may change nothing now, if something is due.
    pub waits: Option<WaitReason>,
    /// Where the walk goes on; `None` if it has come to the end.
    pub until: Option<RepositoryId>,
    /// How many were read, those that are unreadable among them.
    pub read: usize,
    /// What the votes say of each storage that holds a replica.
    pub verdicts: BTreeMap<Storage, Verdict>,
}

/// Changes for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Why the node may not stay their primary.
    pub why: Reason,
    /// Whether they are demoted instead of getting a new primary.
    pub demotes: bool,
    /// Each repository's change, in order of id.
    pub repositories: Vec<SettlementOf>,
    /// How many each storage gets.
    pub shares: BTreeMap<Storage, u64>,
    /// How many times each other replica was no candidate, and why.
    pub refused: BTreeMap<Storage, BTreeMap<Refusal, u64>>,
}

/// The change of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettlementOf {
    /// The repository.
    pub repository: RepositoryId,
    /// The epoch seen; `None` is seen, too.
    pub epoch: Option<Epoch>,
    /// The facts version seen.
    pub facts_version: FactsVersion,
    /// The new primary; `None` demotes.
    pub to: Option<Storage>,
}

/// Decides about every repository of the facts, each as a lookup would. `lot` spreads the successors: equals are drawn
/// among for each repository anew.
#[must_use]
pub fn decide(facts: &SettleFacts, settings: &Settings, proposer: &Voter, lot: u64) -> Batch {
    let verdicts = verdicts(facts, settings);
    let verdict = verdicts.get(&facts.node.storage).copied().unwrap_or(Verdict::Undecided);
    let mut batch = Batch {
        verdict,
        due: Vec::new(),
        kept: 0,
        without_candidate: 0,
        waits: None,
        until: facts.until,
        read: facts.read(),
        verdicts,
    };
    let (mut one, mut due) = (None, BTreeMap::new());
    for led in &facts.repositories {
        let one = one.get_or_insert_with(|| facts.in_common(led.relative_path.clone()));
        facts.fill(one, led);
        let (to, why) = match decide_knowing(one, settings, &batch.verdicts, proposer, seed(lot, led.repository)) {
            Decision::Elect(election) => (Some(election.to), election.why),
            Decision::Demote { why, .. } => (None, why),
            Decision::Keep { .. } => {
                batch.kept = batch.kept.saturating_add(1);
                continue;
            }
            Decision::NoCandidate(_) => {
                batch.without_candidate = batch.without_candidate.saturating_add(1);
                continue;
            }
            Decision::Wait(why) => {
                batch.waits = Some(why);
                continue;
            }
        };
        let demotes = to.is_none();
        let settlement = due.entry((why, demotes)).or_insert_with(|| {
            let (repositories, shares, refused) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
            Settlement { why, demotes, repositories, shares, refused }
        });
        for replica in &one.replicas {
            if let Some(why) = refusal(replica, one, settings, &batch.verdicts) {
                count(settlement.refused.entry(replica.storage.clone()).or_default().entry(why).or_default());
            }
        }
        if let Some(to) = &to {
            count(settlement.shares.entry(to.clone()).or_default());
        }
        let of = SettlementOf { repository: led.repository, epoch: led.epoch, facts_version: led.facts_version, to };
        settlement.repositories.push(of);
    }
    batch.due = due.into_values().collect();
    batch
}

fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

/// The quorum's verdict about the node and about each storage that holds a replica.
fn verdicts(facts: &SettleFacts, settings: &Settings) -> BTreeMap<Storage, Verdict> {
    let held = facts.repositories.iter().flat_map(|led| led.replicas.iter().map(|(storage, _)| storage));
    let storages: BTreeSet<&Storage> = held.chain([&facts.node.storage]).collect();
    let of = |storage: &Storage| {
        let node = NodeId::new(facts.node.virtual_storage.clone(), storage.clone());
        let tally = tally(&node, &facts.votes, &facts.supervisors, &facts.members, settings);
        (storage.clone(), tally.verdict(settings.policy))
    };
    storages.into_iter().map(of).collect()
}

/// A seed of each repository's own. Neighbours must not be alike: who holds a replica often depends on the number, too.
/// (The finalizer of splitmix64.)
fn seed(lot: u64, repository: RepositoryId) -> u64 {
    let mixed = lot ^ repository.0.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
