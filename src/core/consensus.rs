//! From rows of votes to the quorum's view of every node.
//!
//! The input is what one read of the database returned, with ages instead of times. Row order does not matter: all
//! maps are ordered. Under policy `half` only Praefect's two timestamps count, whoever wrote them.

use super::{
    epoch::Revision,
    ids::{Incarnation, NodeId, Storage, SupervisorName, VirtualStorage},
    quorum::{QuorumPolicy, Tally, Verdict},
    settings::Settings,
    time::Age,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a foreign voter (a Praefect) counts after it last tried a node (seed: 60 s).
pub const FOREIGN_VOTER_TTL: Duration = Duration::from_secs(60);
/// How long a foreign voter's sighting of a node counts (seed: 10 s).
pub const FOREIGN_SIGHTING_TTL: Duration = Duration::from_secs(10);

/// One supervisor's recorded opinion of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Opinion {
    /// It answers.
    Up,
    /// It does not.
    Down,
    /// No opinion: not looked yet, or not any more. Counted in the electorate, on neither side.
    None,
    /// It answers, but not as a node of this cluster. Counts as down, shown as what it is.
    Misconfigured,
}

impl Opinion {
    /// The name, as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Opinion::Up => "up",
            Opinion::Down => "down",
            Opinion::None => "none",
            Opinion::Misconfigured => "misconfigured",
        }
    }
}

/// One row of votes, as read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteRow {
    /// Who votes.
    pub supervisor: SupervisorName,
    /// About which node.
    pub node: NodeId,
    /// The opinion; `None` marks the row of a foreign voter.
    pub opinion: Option<Opinion>,
    /// Under which registration it was written; `None` for a foreign voter.
    pub incarnation: Option<Incarnation>,
    /// Age of the last attempt to reach the node.
    pub contact_age: Option<Age>,
    /// Age of the last success.
    pub seen_age: Option<Age>,
}

/// One registered supervisor, as read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorRow {
    /// Its name.
    pub name: SupervisorName,
    /// Its current registration.
    pub incarnation: Incarnation,
    /// Age of its last heartbeat.
    pub heartbeat_age: Age,
    /// Age of this registration.
    pub registered_age: Age,
    /// Whether it abstains because it does not trust itself.
    pub recused: bool,
}

impl SupervisorRow {
    /// Whether it counts: a young heartbeat, and not recused.
    #[must_use]
    pub fn is_live(&self, settings: &Settings) -> bool {
        !self.recused && self.heartbeat_age.is_within(settings.voter_ttl)
    }
}

/// Who counts in one virtual storage under policy `half`: a name and the age of its youngest attempt at any node there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    /// The virtual storage.
    pub virtual_storage: VirtualStorage,
    /// The member.
    pub supervisor: SupervisorName,
    /// Age of its youngest attempt.
    pub contact_age: Age,
}

/// What the quorum holds of one node, and from which votes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConsensus {
    /// The verdict.
    pub verdict: Verdict,
    /// The votes behind it.
    pub tally: Tally,
}

/// Counts the votes about one node. `votes` may hold rows about other nodes; they are passed over.
#[must_use]
pub fn tally(
    node: &NodeId,
    votes: &[VoteRow],
    supervisors: &[SupervisorRow],
    members: &[MemberRow],
    settings: &Settings,
) -> Tally {
    tally_of(node, votes.iter().filter(|vote| vote.node == *node), supervisors, members, settings)
}

/// The same with votes about this node alone.
fn tally_of<'a>(
    node: &NodeId,
    about: impl Iterator<Item = &'a VoteRow>,
    supervisors: &[SupervisorRow],
    members: &[MemberRow],
    settings: &Settings,
) -> Tally {
    let mut counted = Tally::default();
    match settings.policy {
        QuorumPolicy::Half => {
            let seen = |vote: &&VoteRow| vote.seen_age.is_some_and(|age| age.is_within_as_praefect(settings.vote_ttl));
            counted.up = count(about.filter(seen).map(|vote| &vote.supervisor));
            let here = members.iter().filter(|member| member.virtual_storage == node.virtual_storage);
            counted.electorate =
                count(here.filter(|m| m.contact_age.is_within_as_praefect(settings.voter_ttl)).map(|m| &m.supervisor));
            counted.down = counted.electorate.saturating_sub(counted.up);
        }
        QuorumPolicy::Majority => {
            for opinion in about.filter_map(|vote| opinion_of(vote, supervisors, settings)) {
                counted.electorate = counted.electorate.saturating_add(1);
                let side = match opinion {
                    Opinion::Up => &mut counted.up,
                    Opinion::Down => &mut counted.down,
                    Opinion::Misconfigured => &mut counted.misconfigured,
                    Opinion::None => continue,
                };
                *side = side.saturating_add(1);
            }
            counted.electorate = counted.electorate.max(settings.expected_supervisors.unwrap_or(0));
        }
    }
    counted
}

/// The opinion that a row stands for under policy `majority`; `None` if its writer is no part of the electorate.
fn opinion_of(vote: &VoteRow, supervisors: &[SupervisorRow], settings: &Settings) -> Option<Opinion> {
    let Some(writer) = supervisors.iter().find(|row| row.name == vote.supervisor) else {
        return vote.opinion.is_none().then(|| foreign_opinion(vote)).flatten();
    };
    let said = vote.opinion.filter(|_| vote.incarnation == Some(writer.incarnation));
    // What a Praefect of this name said before it was replaced is nothing that its successor has said.
    writer.is_live(settings).then_some(said.unwrap_or(Opinion::None))
}

/// A Praefect votes by two timestamps. One that stopped trying is a voter without an opinion until it is forgotten:
/// its silence is no evidence against a node (the original counts it as such, defect F).
fn foreign_opinion(vote: &VoteRow) -> Option<Opinion> {
    let contact = vote.contact_age.filter(|age| age.is_within(FOREIGN_VOTER_TTL))?;
    Some(if vote.seen_age.is_some_and(|age| age.is_within(FOREIGN_SIGHTING_TTL)) {
        Opinion::Up
    } else if contact.is_within(FOREIGN_SIGHTING_TTL) {
        Opinion::Down
    } else {
        Opinion::None
    })
}

fn count<'a>(names: impl Iterator<Item = &'a SupervisorName>) -> u32 {
    u32::try_from(names.collect::<BTreeSet<_>>().len()).unwrap_or(u32::MAX)
}

/// What one read of the database says about everybody's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthFacts {
    /// Every vote.
    pub votes: Vec<VoteRow>,
    /// Every registered supervisor.
    pub supervisors: Vec<SupervisorRow>,
}

impl HealthFacts {
    /// The members of every virtual storage under policy `half`.
    #[must_use]
    pub fn members(&self) -> Vec<MemberRow> {
        let mut youngest: BTreeMap<(&VirtualStorage, &SupervisorName), Age> = BTreeMap::new();
        for vote in &self.votes {
            if let Some(age) = vote.contact_age {
                let slot = youngest.entry((&vote.node.virtual_storage, &vote.supervisor)).or_insert(age);
                *slot = age.min(*slot);
            }
        }
        let row = |((virtual_storage, supervisor), contact_age): ((&VirtualStorage, &SupervisorName), Age)| MemberRow {
            virtual_storage: virtual_storage.clone(),
            supervisor: supervisor.clone(),
            contact_age,
        };
        youngest.into_iter().map(row).collect()
    }

    /// Whether a Praefect votes here too: then every row is stamped every round, so that it reads us correctly. Rows of a
    /// name that is registered are ours, whoever wrote them before.
    #[must_use]
    pub fn foreign_voter_is_live(&self) -> bool {
        let is_ours = |name: &SupervisorName| self.supervisors.iter().any(|row| row.name == *name);
        let tried = |vote: &VoteRow| vote.contact_age.is_some_and(|age| age.is_within(FOREIGN_VOTER_TTL));
        self.votes.iter().any(|vote| vote.opinion.is_none() && tried(vote) && !is_ours(&vote.supervisor))
    }

    /// The consensus about every node that anybody votes on. It may name nodes that this supervisor does not watch.
    #[must_use]
    pub fn evaluate(&self, settings: &Settings) -> BTreeMap<NodeId, NodeConsensus> {
        let members = self.members();
        let mut by_node: BTreeMap<&NodeId, Vec<&VoteRow>> = BTreeMap::new();
        for vote in &self.votes {
            by_node.entry(&vote.node).or_default().push(vote);
        }
        by_node
            .into_iter()
            .map(|(node, votes)| {
                let tally = tally_of(node, votes.into_iter(), &self.supervisors, &members, settings);
                (node.clone(), NodeConsensus { verdict: tally.verdict(settings.policy), tally })
            })
            .collect()
    }
}

/// The quorum's view of all nodes, whole, with its number. Election uses it; routing uses local health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Consensus {
    /// Grows by one per published change.
    pub revision: Revision,
    /// Every node that anybody votes on.
    #[serde(serialize_with = "nodes_as_list")]
    pub nodes: BTreeMap<NodeId, NodeConsensus>,
}

impl Consensus {
    /// The verdict about a node; undecided for one that nobody votes on.
    #[must_use]
    pub fn verdict(&self, node: &NodeId) -> Verdict {
        self.nodes.get(node).map_or(Verdict::Undecided, |known| known.verdict)
    }

    /// The healthy storages by virtual storage; a virtual storage without one has no key (seed: `HealthConsensus`).
    #[must_use]
    pub fn healthy(&self) -> BTreeMap<VirtualStorage, BTreeSet<Storage>> {
        healthy(&self.nodes)
    }
}

fn healthy(nodes: &BTreeMap<NodeId, NodeConsensus>) -> BTreeMap<VirtualStorage, BTreeSet<Storage>> {
    let mut by_virtual_storage: BTreeMap<VirtualStorage, BTreeSet<Storage>> = BTreeMap::new();
    for (node, _) in nodes.iter().filter(|(_, known)| known.verdict == Verdict::Healthy) {
        by_virtual_storage.entry(node.virtual_storage.clone()).or_default().insert(node.storage.clone());
    }
    by_virtual_storage
}

/// Whether the second view tells a reader anything that the first did not. Under `half` only the set of healthy nodes
/// is compared (seed: `Updated`); otherwise every verdict is.
#[must_use]
pub fn differs(
    old: &BTreeMap<NodeId, NodeConsensus>,
    new: &BTreeMap<NodeId, NodeConsensus>,
    policy: QuorumPolicy,
) -> bool {
    match policy {
        QuorumPolicy::Half => healthy(old) != healthy(new),
        QuorumPolicy::Majority => {
            let verdicts = |(node, known): (_, &NodeConsensus)| (node, known.verdict);
            !old.iter().map(verdicts).eq(new.iter().map(verdicts))
        }
    }
}

fn nodes_as_list<S: serde::Serializer>(
    nodes: &BTreeMap<NodeId, NodeConsensus>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        node: &'a NodeId,
        #[serde(flatten)]
        known: &'a NodeConsensus,
    }
    serializer.collect_seq(nodes.iter().map(|(node, known)| Row { node, known }))
}
