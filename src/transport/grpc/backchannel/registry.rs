//! The ways back that a storage node knows.
//!
//! A call finds its caller's backchannel by the connection that it came over, never by what it says of itself: an id in
//! the metadata of a client's call could be another client's. The number serves parts of the node that are not handed
//! the call, a hook in another process for one; whoever handles the call passes it on, as Gitaly does with its
//! transactions.

use super::{
    session::Session,
    sidechannel::{self, Sidechannel, SidechannelError},
};
use std::{
    collections::BTreeMap,
    fmt,
    num::ParseIntError,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tonic::{Request, Status, transport::Channel};

/// The number of a connection over which the node can call back. Never given twice by one registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackchannelId(u64);

impl fmt::Display for BackchannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BackchannelId {
    type Err = ParseIntError;
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// The caller of a call, if it can be called back. Cheap to clone.
#[derive(Clone)]
pub struct Peer {
    id: BackchannelId,
    channel: Channel,
    session: Session,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The call came over an ordinary connection, over which nobody can be called back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("non-multiplexed connection: the caller cannot be called back")]
pub struct NotMultiplexed;

impl From<NotMultiplexed> for Status {
    fn from(error: NotMultiplexed) -> Self {
        Status::failed_precondition(error.to_string())
    }
}

/// No connection has this number, or its connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no backchannel {0}: its connection has ended, or never was")]
pub struct UnknownBackchannel(pub BackchannelId);

impl Peer {
    /// The caller of this call. Only calls that a server got from [`accept`](super::accept) have one.
    pub fn of<T>(request: &Request<T>) -> Result<Self, NotMultiplexed> {
        request.extensions().get::<super::ConnectionInfo>().and_then(|info| info.peer().cloned()).ok_or(NotMultiplexed)
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> BackchannelId {
        self.id
    }

    /// For generated clients: calls go to the server that the peer gave its backchannel, over the connection that the
    /// peer dialled. Once that has ended, calls fail; nothing is dialled.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Opens the sidechannel that this call's caller awaits, which its metadata name. Takes at most `setup_timeout`
    /// for a stream and as much for the acknowledgement.
    pub async fn sidechannel<T>(&self, request: &Request<T>) -> Result<Sidechannel, SidechannelError> {
        sidechannel::open(&self.session, request.metadata()).await
    }
}

/// The backchannels of one storage node, by number. Clones are the same registry.
#[derive(Debug, Clone, Default)]
pub struct Backchannels {
    shared: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    last: u64,
    /// Bounded by the connections that the node has: each goes with its connection.
    peers: BTreeMap<BackchannelId, Peer>,
}

impl Backchannels {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The peer of this number.
    pub fn get(&self, id: BackchannelId) -> Result<Peer, UnknownBackchannel> {
        self.known().peers.get(&id).cloned().ok_or(UnknownBackchannel(id))
    }

    /// How many connections can be called back over now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known().peers.len()
    }

    /// Keeps a session's peer for as long as the session lives.
    pub(super) fn register(&self, session: Session, channel: Channel) -> Peer {
        let peer = {
            let mut known = self.known();
            known.last += 1;
            let peer = Peer { id: BackchannelId(known.last), channel, session };
            known.peers.insert(peer.id, peer.clone());
            peer
        };
        let (registry, session, id) = (self.clone(), peer.session.clone(), peer.id);
        tokio::spawn(async move {
            session.ended().await;
            registry.known().peers.remove(&id);
        });
        peer
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
