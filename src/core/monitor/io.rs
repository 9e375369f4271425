//! What happens to a monitor, and what it wants done.

use crate::core::{
    consensus::{Consensus, HealthFacts, Opinion},
    epoch::Revision,
    evidence::Evidence,
    ids::{Incarnation, NodeId, Voter},
    monitor::Suspicion,
    penalty::Penalties,
    recusal::Distrust,
    settings::Settings,
    time::{DatabaseTime, Timestamp},
};
use std::{collections::BTreeSet, time::Duration};

/// Settings as stored, with their number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsInForce {
    /// Grows by one per change.
    pub revision: Revision,
    /// The settings.
    pub settings: Settings,
}

/// A batch of votes whose write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenBatch {
    /// Under which incarnation it was sent.
    pub incarnation: Incarnation,
    /// Its number.
    pub number: i64,
    /// What was in it.
    pub votes: Vec<(NodeId, Opinion)>,
}

/// The database's answer to a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterReply {
    /// It votes from now on.
    Registered {
        /// Its incarnation.
        incarnation: Incarnation,
        /// The database's time.
        at: DatabaseTime,
    },
    /// Another process keeps the name.
    NameInUse {
        /// Its incarnation.
        held_by: Incarnation,
    },
    /// A newer process has taken the name from this one.
    Superseded {
        /// Its incarnation.
        by: Incarnation,
    },
}

/// The database's answer to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatReply {
    /// It was stamped.
    Alive {
        /// The database's time.
        at: DatabaseTime,
    },
    /// The last one was too long ago.
    Lapsed,
    /// The row is gone.
    Gone,
    /// A newer process has the name.
    Superseded {
        /// Its incarnation.
        by: Incarnation,
    },
}

/// What happens to a monitor. `None` in a reply stands for a database that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A heartbeat is due; in profile `praefect`, a round.
    Tick,
    /// A node actor tells what it thinks.
    Reported {
        /// About which node.
        node: NodeId,
        /// What it thinks.
        opinion: Opinion,
        /// What the last probe said; trouble of our own tells nothing about the node.
        evidence: Evidence,
        /// The machine that it is on, or its socket; `None`: not known.
        host: Option<String>,
    },
    /// The supervisor looked at its own clocks. Due every [`Limits::pace`](crate::core::recusal::Limits::pace).
    Looked {
        /// By how many microseconds the wall clock is ahead of the monotonic one.
        wall: i64,
    },
    /// The penalties of storages, as read together with the facts before.
    Penalties(Penalties),
    /// Somebody's votes or state changed in the database.
    VotesChanged,
    /// Somebody missed a probe of some nodes.
    Suspected(Suspicion),
    /// The others were told of a suspicion, or could not be.
    SuspicionTold,
    /// The database was told whether this supervisor abstains.
    TrustStored {
        /// As whom.
        voter: Voter,
        /// What it was told.
        reason: Option<Distrust>,
        /// Whether the incarnation was the registered one.
        mine: Option<bool>,
    },
    /// A node actor answers a round.
    RoundReported {
        /// The round's number; any other than the open one is dropped.
        round: u64,
        /// About which node.
        node: NodeId,
        /// Whether it was seen.
        up: bool,
    },
    /// A round's deadline passed.
    RoundOver {
        /// The round's number.
        round: u64,
    },
    /// A registration ended.
    Registered {
        /// When it was sent.
        sent: Timestamp,
        /// The answer.
        reply: Option<RegisterReply>,
    },
    /// A heartbeat ended.
    HeartbeatAnswered {
        /// When it was sent.
        sent: Timestamp,
        /// The answer.
        reply: Option<HeartbeatReply>,
    },
    /// A write of votes ended.
    VotesWritten {
        /// Which.
        batch: WrittenBatch,
        /// Whether the incarnation was the registered one.
        mine: Option<bool>,
    },
    /// A read of everybody's votes ended.
    FactsRead(Option<(HealthFacts, SettingsInForce)>),
    /// Other nodes are to be watched from now on.
    Watch(BTreeSet<NodeId>),
    /// The database was told which nodes are watched.
    Watched {
        /// As whom.
        voter: Voter,
        /// Which.
        nodes: Vec<NodeId>,
        /// Whether the incarnation was the registered one.
        mine: Option<bool>,
    },
    /// The supervisor stops gracefully.
    Stop,
}

/// What a monitor wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Register, and feed the answer back.
    Register {
        /// To be handed back with the answer.
        sent: Timestamp,
        /// The incarnation this process had before.
        previous: Option<Incarnation>,
        /// The nodes it watches.
        nodes: Vec<NodeId>,
    },
    /// Beat, and feed the answer back.
    Heartbeat {
        /// To be handed back with the answer.
        sent: Timestamp,
        /// As whom.
        voter: Voter,
    },
    /// Write votes, and feed the answer back. At most one write is under way.
    WriteVotes {
        /// As whom.
        voter: Voter,
        /// The batch's number.
        batch: i64,
        /// The votes.
        votes: Vec<(NodeId, Opinion)>,
    },
    /// Make rows for exactly these nodes, those of the others go; feed the answer back. No write of votes is under way
    /// then, and none begins before the answer.
    Watch {
        /// As whom.
        voter: Voter,
        /// The nodes that are watched.
        nodes: Vec<NodeId>,
    },
    /// Read everybody's votes, and feed them back. At most one read is under way.
    ReadFacts,
    /// Probe every node now: a new incarnation looks before it votes.
    ProbeAll,
    /// Probe these now.
    Probe(BTreeSet<NodeId>),
    /// Tell those who listen, and nobody else, of nodes that missed a probe, and feed back when that was done. At most one
    /// is under way.
    TellSuspicion(Suspicion),
    /// The quorum deposed this node: penalise it, if nobody has.
    Penalise {
        /// Which.
        node: NodeId,
        /// When its penalty ended, as last read; `None`: it had none.
        seen: Option<DatabaseTime>,
        /// For how long.
        lasting: Duration,
    },
    /// This supervisor abstains from now on, and why; `None`: it takes part again.
    Recused(Option<Distrust>),
    /// Tell the database whether it abstains, and feed the answer back.
    StoreTrust {
        /// As whom.
        voter: Voter,
        /// Why it abstains; `None`: it does not.
        reason: Option<Distrust>,
    },
    /// Probe every node for this round, and feed its reports or its end back.
    OpenRound {
        /// The round's number.
        round: u64,
    },
    /// It votes under this registration from now on.
    Voting(Voter),
    /// Its own view of who is up changed.
    PublishLocal(BTreeSet<NodeId>),
    /// Its own view of one node changed, and of no other: ten thousand nodes that come up must not copy all for each.
    PublishOne {
        /// Which node.
        node: NodeId,
        /// Whether it is up now.
        up: bool,
    },
    /// The quorum's view changed.
    Publish(Consensus),
    /// The quorum's view is the same, but other votes stand behind it: for those who look, nobody is told.
    Refresh(Consensus),
    /// The stored settings changed.
    SettingsChanged(SettingsInForce),
    /// Something that an operator should see; it goes on by itself.
    Worry(Worry),
    /// It ended for good.
    Ended(Worry),
    /// Remove its row and votes.
    Leave(Voter),
}

/// Something that an operator should see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worry {
    /// It was silent for longer than the voter time, or its row was removed: it registers anew.
    Lapsed,
    /// The database's clock stepped: it registers anew.
    ClockStep {
        /// By how many microseconds.
        micros: i64,
    },
    /// A newer process took the name.
    Superseded {
        /// Its incarnation.
        by: Incarnation,
    },
    /// The name is kept by a process that itself took it a moment ago.
    NameInUse {
        /// Its incarnation.
        held_by: Incarnation,
    },
}
