//! How nodes are, as this supervisor sees it.

use crate::core::{
    consensus::Opinion,
    error_tracker::TrafficHealth,
    evidence::Evidence,
    ids::{NodeId, Storage, VirtualStorage},
    monitor::Suspicion,
};
use actix::Message;
use serde::Serialize;
use std::collections::BTreeMap;

/// To a node actor: probe now, whatever the schedule says. A probe under way answers for this one too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ProbeNow;

/// To a node actor: probe now, and answer with the outcome once it is there: that of the first probe, confirmed if it
/// was hard evidence, or [`Evidence::ErrorRate`] if the node serves but its traffic keeps it out. A probe under way
/// answers for this one too. `None`: too many ask at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Option<Evidence>")]
pub struct CheckHealth;

/// To a node actor, in profile `praefect`: one probe for this round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct RunRound {
    /// The round that the report will carry.
    pub round: u64,
}

/// From a node actor: what it thinks after a probe.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct NodeReport {
    /// About which node.
    pub node: NodeId,
    /// What it thinks now.
    pub opinion: Opinion,
    /// Why: what the probe said, or [`Evidence::ErrorRate`].
    pub evidence: Evidence,
    /// The machine that the node is on, or its socket; `None`: not known (yet).
    pub host: Option<String>,
}

/// To the HealthManager: somebody's votes or state changed in the database, so read them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct VotesChanged;

/// To the HealthManager: somebody missed a probe of some nodes, so look at those that are held up. No evidence, and no
/// vote.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Suspected(pub Suspicion);

/// From a node actor: the outcome of a round's probe.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct RoundReport {
    /// The round that asked.
    pub round: u64,
    /// About which node.
    pub node: NodeId,
    /// What follows for the node. By the profile's own thresholds up is whatever answered SERVING just now. Only up
    /// counts as seen.
    pub opinion: Opinion,
    /// Why: what the probe said, or [`Evidence::ErrorRate`].
    pub evidence: Evidence,
}

/// To a node actor: how is it?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "NodeHealth")]
pub struct GetNodeHealth;

/// What one supervisor knows of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, actix::MessageResponse)]
pub struct NodeHealth {
    /// What it thinks.
    pub opinion: Opinion,
    /// Why: what the last probe said, or [`Evidence::ErrorRate`] if its traffic keeps it out though it serves; `None`
    /// before the first.
    pub evidence: Option<Evidence>,
    /// The last outcomes, oldest first.
    pub window: Vec<bool>,
    /// What its traffic says; `None` if that is not counted.
    pub traffic: Option<TrafficHealth>,
    /// Whether a stream is open by which the node says by itself how it is.
    pub watched: bool,
}

/// To the HealthManager: a heartbeat is due; in profile `praefect`, a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Tick;

/// To the HealthManager: who is up, as this supervisor itself sees it? Routing uses this; election uses consensus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "HealthyNodes")]
pub struct GetHealthyNodes;

/// Storages that are up, by virtual storage. Praefect has two shapes, and so have we: in the HealthManager's answer
/// storages are in order of name and a virtual storage without one has no key; in the supervisor's (and every
/// [`Manager`](crate::manager::Manager)'s) every configured one is a key, with its storages in order of configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, actix::MessageResponse)]
pub struct HealthyNodes(pub BTreeMap<VirtualStorage, Vec<Storage>>);
