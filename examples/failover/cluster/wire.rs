//! What supervisors and storage nodes say to the process that started them: one JSON value per line.

use quorate::{
    core::{
        consensus::Opinion,
        election::{Fence, Primary},
        epoch::{Epoch, Generation},
        ids::{RelativePath, RepositoryId, Storage, SupervisorName, Voter},
        quorum::{Tally, Verdict},
    },
    transport::NodeAddress,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// The one virtual storage of the example.
pub(crate) const VIRTUAL_STORAGE: &str = "default";

/// A question to a supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) op: Op,
}

/// What can be asked of a supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Op {
    /// Who is primary? Answered with [`Elected`].
    Primary { path: RelativePath },
    /// Acknowledges a write. Answered with the new [`Generation`].
    GenerationIncrement { repository: RepositoryId, fence: Fence, acknowledged: BTreeSet<Storage> },
    /// A replica has caught up.
    GenerationSet { repository: RepositoryId, fence: Fence, storage: Storage, generation: Generation },
    /// Asks for the primary again and again until it is another one. Answered with [`Moved`].
    Moved { path: RelativePath, from: Storage, within_ms: u64 },
    /// Asks for the primary again and again for a while. Answered with [`Polled`].
    Poll { path: RelativePath, for_ms: u64 },
    /// Creates many repositories with replicas on all these nodes, which lead the same number of them each.
    RepositoriesCreate { prefix: String, count: u32, replicas: Vec<Storage> },
    /// Answered with the [`RepositoryId`].
    RepositoryCreate { path: RelativePath, replicas: Vec<Storage>, primary: Option<Storage> },
    /// Answered with [`Facts`].
    Repository { path: RelativePath },
    /// Where may be read? Answered with a [`Place`].
    SyncedNode { path: RelativePath },
    /// Answered with [`Change`]s, newest first.
    History { repository: RepositoryId },
    /// An operator's preference.
    Priority { storage: Storage, priority: i32 },
    /// Under which registration does this supervisor vote? Answered with an optional [`Voter`].
    Voter,
    /// Leaves gracefully and ends.
    Stop,
}

/// A supervisor's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) at_us: u64,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Ok(serde_json::Value),
    Error(Refusal),
}

/// Why a supervisor did not do it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) retryable: bool,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.kind)
    }
}
impl std::error::Error for Refusal {}

/// What a child says unasked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) at_us: u64,
    #[serde(flatten)]
    pub(crate) what: What,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum What {
    /// It serves.
    Ready,
    /// The quorum's view changed.
    Consensus { revision: u64, nodes: BTreeMap<Storage, View> },
    /// It stopped voting for good; `reason` is an error's kind.
    Ended { reason: String, message: String },
    /// A storage node holds this object inside its handler, as it was told to.
    Held { number: u64 },
}

/// The quorum's view of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) verdict: Verdict,
    pub(crate) tally: Tally,
}

/// One line of a child.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    Answer(Answer),
    Event(Event),
}

/// Who is primary, and who else this supervisor sees serving: where a write should be copied to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Elected {
    pub(crate) primary: Primary,
    pub(crate) healthy: BTreeSet<Storage>,
}

/// When another primary was first answered, and how the lookups before that went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Moved {
    pub(crate) at_us: u64,
    pub(crate) to: Storage,
    pub(crate) lookups: u64,
    pub(crate) failed: u64,
    pub(crate) last_error: Option<String>,
}

/// How the lookups of a while went.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Polled {
    pub(crate) lookups: u64,
    pub(crate) failed: u64,
    pub(crate) last_error: Option<String>,
    /// The longest time from one good answer to the next.
    pub(crate) longest_gap_us: u64,
    /// Whoever was answered.
    pub(crate) primaries: BTreeSet<Storage>,
}

/// What a storage node is told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Let go of what is held inside handlers.
    Release,
    /// Say that you serve, or that you do not.
    Serve(bool),
    /// Say that you no longer serve, finish what is under way, and end.
    Stop,
}

/// A node to read from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) storage: Storage,
}

/// What the database knows of the repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) repository: RepositoryId,
    pub(crate) generation: Option<Generation>,
    pub(crate) primary: Option<Storage>,
    pub(crate) epoch: Option<Epoch>,
    /// The generation of each replica.
    pub(crate) replicas: BTreeMap<Storage, Generation>,
    /// Who votes at all.
    pub(crate) voters: Vec<Voter>,
    /// Who says what about each storage, under the registration in force.
    pub(crate) votes: BTreeMap<Storage, BTreeMap<SupervisorName, Opinion>>,
}

impl Facts {
    /// The storages on the latest generation.
    pub(crate) fn current(&self) -> BTreeSet<Storage> {
        let latest = |(_, generation): &(&Storage, &Generation)| Some(**generation) == self.generation;
        self.replicas.iter().filter(latest).map(|(storage, _)| storage.clone()).collect()
    }
}

/// One change of the primary.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) epoch: Epoch,
    pub(crate) previous: Option<Storage>,
    pub(crate) current: Option<Storage>,
    pub(crate) why: Option<String>,
    pub(crate) supervisor: Option<SupervisorName>,
    /// Who had voted what about the previous primary when it was decided.
    pub(crate) votes: BTreeMap<SupervisorName, String>,
}

/// A storage node, as everybody is told of it: `NAME=ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeSpec {
    pub(crate) storage: Storage,
    pub(crate) address: SocketAddr,
}

impl NodeSpec {
    /// Where it listens.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }
    /// Where it listens, as supervisors are configured with it.
    pub(crate) fn address(&self) -> String {
        format!("tcp://{}", self.host())
    }
    /// Reads `NAME=tcp://IP:PORT`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not allowed: it must be NAME=tcp://IP:PORT");
        let (name, address) = text.split_once('=').ok_or_else(refused)?;
        NodeAddress::new(address).map_err(|_| refused())?;
        let address = address.strip_prefix("tcp://").and_then(|address| address.parse().ok()).ok_or_else(refused)?;
        Ok(Self { storage: Storage::new(name).map_err(|_| refused())?, address })
    }
}

impl std::fmt::Display for NodeSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.storage, self.address())
    }
}
