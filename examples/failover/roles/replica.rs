//! The replicas of one node: every write checks the fence at the moment at which it commits, and nothing is answered
//! under an epoch before the state of its primary was adopted.

use super::disk::ObjectLog;
use crate::cluster::{
    node::connect,
    proto::{FetchRequest, Peer, object_store_client::ObjectStoreClient},
};
use quorate::{
    core::ids::{RepositoryId, Storage},
    fencing::{Claim, EpochGuard},
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::OwnedMutexGuard;
use tonic::{Request, Status};

/// Adoption copies a whole repository, small here.
const ADOPTED_WITHIN: Duration = Duration::from_secs(3);

/// What is broken on purpose, so that it can be shown what each part of the fence is for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// No fence at all.
    pub(crate) no_fence: bool,
    /// The guard is not asked again at commit.
    pub(crate) no_guard: bool,
    /// A new primary's state is not adopted.
    pub(crate) no_adoption: bool,
    /// The object that is held inside its handler until the parent lets go of it.
    pub(crate) hold: Option<u64>,
}

/// In whose name a call is made, and whether it still may commit.
#[derive(Clone)]
pub(crate) struct Permit {
    pub(crate) claim: Claim,
    /// `None` only where the fence was left out.
    guard: Option<EpochGuard>,
    faults: Arc<Faults>,
}

impl Permit {
    pub(crate) fn of<T>(request: &Request<T>, faults: &Arc<Faults>) -> Result<Self, Status> {
        let (claim, guard) = if faults.no_fence {
            let headers = request.metadata().clone().into_headers();
            (Claim::from_headers(&headers).map_err(|error| Status::invalid_argument(error.to_string()))?, None)
        } else {
            let guard = EpochGuard::of(request)?;
            (guard.claim().clone(), Some(guard))
        };
        Ok(Self { claim, guard, faults: Arc::clone(faults) })
    }

    /// Whether the call may still commit.
    pub(crate) fn check(&self) -> Result<(), Status> {
        match &self.guard {
            Some(guard) if !self.faults.no_guard => guard.check(),
            Some(_) | None => Ok(()),
        }
    }

    fn adoption_due(&self) -> bool {
        !self.faults.no_adoption && self.guard.as_ref().is_some_and(EpochGuard::adoption_due)
    }

    async fn adopted(&self) -> Result<(), Status> {
        match &self.guard {
            Some(guard) => guard.adopted().await,
            None => Ok(()),
        }
    }
}

type Shared = Arc<tokio::sync::Mutex<ObjectLog>>;

/// All replicas of this node.
pub(crate) struct Replicas {
    me: Storage,
    folder: PathBuf,
    open: Mutex<BTreeMap<RepositoryId, Shared>>,
}

impl Replicas {
    pub(crate) fn new(me: Storage, folder: PathBuf) -> Self {
        Self { me, folder, open: Mutex::default() }
    }

    /// The replica of a repository, which nobody else touches until the guard is dropped: the lock orders writes,
    /// adoption and the check of the fence.
    async fn lock(&self, repository: RepositoryId) -> Result<OwnedMutexGuard<ObjectLog>, Status> {
        let shared = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            match open.get(&repository) {
                Some(known) => Arc::clone(known),
                None => {
                    let log = ObjectLog::open(self.folder.join(format!("repository-{repository}.log")));
                    let shared = Arc::new(tokio::sync::Mutex::new(log.map_err(disk_failed)?));
                    open.insert(repository, Arc::clone(&shared));
                    shared
                }
            }
        };
        Ok(shared.lock_owned().await)
    }

    /// Stores an object of the primary's, and on another node first takes over the primary's state if that is due.
    pub(crate) async fn put(
        &self,
        permit: &Permit,
        number: u64,
        data: Vec<u8>,
        primary: Option<&Peer>,
    ) -> Result<(), Status> {
        let mut log = self.lock(permit.claim.repository).await?;
        if permit.adoption_due() {
            let primary = primary.ok_or_else(|| Status::failed_precondition("the primary's address is missing"))?;
            log = self.adopt(permit, log, primary).await?;
        }
        permit.check()?;
        on_disk(log, move |log| log.put(number, data)).await.map(drop)
    }

    /// Takes over the primary's state, due or not; answers how many objects that is.
    pub(crate) async fn catch_up(&self, permit: &Permit, primary: &Peer) -> Result<usize, Status> {
        if permit.claim.primary == self.me {
            return Err(Status::failed_precondition("the primary has nobody to catch up with"));
        }
        let log = self.lock(permit.claim.repository).await?;
        let log = self.adopt(permit, log, primary).await?;
        Ok(log.objects().len())
    }

    async fn adopt(
        &self,
        permit: &Permit,
        log: OwnedMutexGuard<ObjectLog>,
        primary: &Peer,
    ) -> Result<OwnedMutexGuard<ObjectLog>, Status> {
        let objects = tokio::time::timeout(ADOPTED_WITHIN, fetch(permit, primary))
            .await
            .map_err(|_| Status::unavailable("the primary's state did not arrive in time"))??;
        permit.check()?;
        let log = on_disk(log, move |log| log.replace(objects)).await?;
        // Only what is on disk may be remembered as adopted.
        permit.adopted().await?;
        Ok(log)
    }

    /// Reads. A replica that has yet to adopt may hold what nobody acknowledged; it says so instead of showing it.
    pub(crate) async fn read<T>(
        &self,
        permit: &Permit,
        look: impl FnOnce(&BTreeMap<u64, Vec<u8>>) -> T,
    ) -> Result<T, Status> {
        let log = self.lock(permit.claim.repository).await?;
        permit.check()?;
        if permit.adoption_due() {
            return Err(Status::unavailable("this replica has yet to adopt the primary's state; ask another one"));
        }
        Ok(look(log.objects()))
    }
}

/// The primary's whole state, asked for in the name in which we were called: a deposed primary will not hand out its.
async fn fetch(permit: &Permit, primary: &Peer) -> Result<BTreeMap<u64, Vec<u8>>, Status> {
    if primary.storage != permit.claim.primary.as_str() {
        return Err(Status::invalid_argument("the address given is not the primary's"));
    }
    let channel = connect(primary).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let mut request = Request::new(FetchRequest {});
    permit.claim.attach(request.metadata_mut());
    let mut stream = ObjectStoreClient::new(channel).fetch(request).await?.into_inner();
    let mut objects = BTreeMap::new();
    while let Some(object) = stream.message().await? {
        objects.insert(object.number, object.data);
    }
    Ok(objects)
}

/// Does something with a log where waiting for the disk delays nobody else.
async fn on_disk(
    mut log: OwnedMutexGuard<ObjectLog>,
    work: impl FnOnce(&mut ObjectLog) -> std::io::Result<()> + Send + 'static,
) -> Result<OwnedMutexGuard<ObjectLog>, Status> {
    let done = tokio::task::spawn_blocking(move || work(&mut log).map(|()| log)).await;
    done.map_err(|error| Status::internal(error.to_string()))?.map_err(disk_failed)
}

fn disk_failed(error: std::io::Error) -> Status {
    // The node's own complaint; a client has no use for its paths.
    eprintln!("the disk failed: {error}");
    Status::unavailable("the node's disk failed")
}
