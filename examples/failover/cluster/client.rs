//! A client of the cluster: asks who is primary, writes there under the epoch it was told, and has the write
//! acknowledged. Until that is done, nothing was written.

use super::{
    Failure,
    clock::now_us,
    node::NodeClient,
    supervisor::{SupervisorProcess, refusal},
    wire::{Change, Elected, Facts, Op, Place},
};
use futures_util::future::select_all;
use quorate::{
    core::{
        epoch::{Epoch, Generation},
        ids::{RelativePath, Storage},
    },
    fencing::{AnnounceOptions, Claim, FenceRefusal, announce},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tonic::Status;

/// How long a supervisor may take: it waits for the database no longer than this itself.
pub(crate) const ASK: Duration = Duration::from_secs(6);
/// How long a write may take on the nodes. A frozen primary answers never.
const PUT: Duration = Duration::from_secs(2);
const GET: Duration = Duration::from_secs(1);
/// Announcing is best effort; who was not reached learns the epoch with the first write.
const ANNOUNCE: AnnounceOptions = AnnounceOptions { max_in_flight: 16, deadline: Duration::from_millis(250) };

/// One write that counts.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) number: u64,
    pub(crate) at_us: u64,
    pub(crate) epoch: Epoch,
    pub(crate) primary: Storage,
    pub(crate) generation: Generation,
    pub(crate) holders: BTreeSet<Storage>,
}

/// A client. Clones share nothing but the supervisors that they ask.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) path: RelativePath,
    pub(crate) supervisors: Vec<Arc<SupervisorProcess>>,
    pub(crate) nodes: BTreeMap<Storage, NodeClient>,
    pub(crate) turn: Arc<AtomicUsize>,
}

impl Client {
    /// Another supervisor each time: any of them may answer, and the one that does not is passed over by the next try.
    fn supervisor(&self) -> Result<&SupervisorProcess, Failure> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let at = turn.checked_rem(self.supervisors.len()).unwrap_or(0);
        Ok(self.supervisors.get(at).ok_or("there is no supervisor")?)
    }

    pub(crate) fn node(&self, storage: &Storage) -> Result<&NodeClient, Failure> {
        self.nodes.get(storage).ok_or_else(|| format!("{storage} is not a node of ours").into())
    }

    pub(crate) async fn primary(&self) -> Result<Elected, Failure> {
        self.supervisor()?.ask(ASK, Op::Primary { path: self.path.clone() }).await
    }

    pub(crate) async fn facts(&self) -> Result<Facts, Failure> {
        self.supervisor()?.ask(ASK, Op::Repository { path: self.path.clone() }).await
    }

    /// Newest first.
    pub(crate) async fn history(&self) -> Result<Vec<Change>, Failure> {
        let repository = self.facts().await?.repository;
        self.supervisor()?.ask(ASK, Op::History { repository }).await
    }

    /// The nodes that are worth talking to: those that the supervisor asked sees serving, but for those that another one
    /// has told us are down, for it may have heard of that earlier. Waiting for a frozen replica is what this spares.
    fn serving(&self, elected: &Elected) -> impl Iterator<Item = (&Storage, &NodeClient)> {
        let serves = |storage: &Storage| elected.healthy.contains(storage) || *storage == elected.primary.storage;
        let down = |storage: &Storage| self.supervisors.iter().any(|one| one.sees_down(storage));
        let nodes = self.nodes.iter();
        nodes.filter(|(storage, _)| serves(storage) && !down(storage)).collect::<Vec<_>>().into_iter()
    }

    /// Tells the nodes that serve of a new primary, so that they refuse the old one before the first write comes.
    pub(crate) async fn announce(&self, elected: &Elected) -> Result<(), Failure> {
        let channels: Vec<_> = self.serving(elected).map(|(storage, node)| (storage.clone(), node.channel())).collect();
        announce(&elected.primary, channels, ANNOUNCE).await?;
        Ok(())
    }

    /// The first half of a write: on the nodes. Nothing counts yet. Ends early if a supervisor tells that the quorum
    /// holds the primary to be down: a frozen one would keep us waiting for nothing.
    pub(crate) async fn put(
        &self,
        elected: &Elected,
        number: u64,
        data: Vec<u8>,
    ) -> Result<BTreeSet<Storage>, Failure> {
        let claim = Claim::of(&elected.primary)?;
        let primary = &elected.primary.storage;
        let peers = self.serving(elected).map(|(_, node)| node.peer.clone()).collect();
        let down = select_all(self.supervisors.iter().map(|one| Box::pin(one.holds_down(primary))));
        let names = tokio::select! {
            names = self.node(primary)?.put(&claim, number, data, peers, PUT) => names?,
            _ = down => return Err(format!("{primary} was voted down while it was written to").into()),
        };
        Ok(names.into_iter().map(Storage::new).collect::<Result<_, _>>()?)
    }

    /// The second half: in the database. From its answer on the write counts.
    pub(crate) async fn acknowledge(
        &self,
        elected: &Elected,
        holders: &BTreeSet<Storage>,
    ) -> Result<Generation, Failure> {
        let fence = elected.primary.fence().ok_or("the primary has no epoch")?;
        let repository = elected.primary.repository.ok_or("the primary is of no repository")?;
        let op = Op::GenerationIncrement { repository, fence, acknowledged: holders.clone() };
        self.supervisor()?.ask(ASK, op).await
    }

    /// A whole write under the primary given, current or not.
    pub(crate) async fn write(&self, elected: &Elected, number: u64, data: Vec<u8>) -> Result<Acknowledged, Failure> {
        let holders = self.put(elected, number, data).await?;
        let generation = self.acknowledge(elected, &holders).await?;
        let epoch = elected.primary.epoch.ok_or("the primary has no epoch")?;
        let primary = elected.primary.storage.clone();
        Ok(Acknowledged { number, at_us: now_us(), epoch, primary, generation, holders })
    }

    /// Reads an object where a supervisor says that it may be read.
    pub(crate) async fn read(&self, number: u64) -> Result<Vec<u8>, Failure> {
        let place: Place = self.supervisor()?.ask(ASK, Op::SyncedNode { path: self.path.clone() }).await?;
        let claim = Claim::of(&self.primary().await?.primary)?;
        Ok(self.node(&place.storage)?.get(&claim, number, GET).await?)
    }

    /// Everything that one node holds, read under the current epoch.
    pub(crate) async fn everything(&self, storage: &Storage) -> Result<BTreeMap<u64, Vec<u8>>, Failure> {
        let claim = Claim::of(&self.primary().await?.primary)?;
        Ok(self.node(storage)?.everything(&claim).await?)
    }

    /// Brings a replica up to date, between two writes: the generation is read first, so that the state fetched after
    /// it holds all that the generation stands for. Answers how many objects it now holds.
    pub(crate) async fn catch_up(&self, storage: &Storage) -> Result<u64, Failure> {
        let elected = self.primary().await?;
        let facts = self.facts().await?;
        let fence = elected.primary.fence().ok_or("the primary has no epoch")?;
        let generation = facts.generation.ok_or("the repository has no generation")?;
        let primary = self.node(&elected.primary.storage)?.peer.clone();
        let objects = self.node(storage)?.catch_up(&Claim::of(&elected.primary)?, primary).await?;
        let (repository, storage) = (facts.repository, storage.clone());
        let set = Op::GenerationSet { repository, fence, storage, generation };
        let () = self.supervisor()?.ask(ASK, set).await?;
        Ok(objects)
    }
}

/// Who said that an epoch is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StaleBy {
    /// A node's fence, or the guard in its handler.
    Node,
    /// The database, when the write was to be acknowledged.
    Database,
}

/// Whether a write failed because its epoch is over, and who said so.
pub(crate) fn stale(error: &Failure) -> Option<StaleBy> {
    let by_node = error.downcast_ref::<Status>().and_then(FenceRefusal::from_status);
    if matches!(by_node, Some(FenceRefusal::StaleEpoch { .. })) {
        return Some(StaleBy::Node);
    }
    refusal(error).filter(|refusal| refusal.kind == "stale_epoch").map(|_| StaleBy::Database)
}
