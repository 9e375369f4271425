//! The storage node: gRPC in front, replicas behind, the fence between them.

use super::{
    listen_to_parent,
    replica::{Faults, Permit, Replicas},
    tell,
};
use crate::cluster::{
    Failure,
    node::connect,
    proto::{
        CatchUpReply, CatchUpRequest, FetchRequest, GetRequest, ListReply, ListRequest, Object, Peer, PutReply,
        PutRequest, ReplicateReply, ReplicateRequest,
        object_store_client::ObjectStoreClient,
        object_store_server::{ObjectStore, ObjectStoreServer},
    },
    until,
    wire::{Order, What},
};
use futures_util::future::join_all;
use quorate::{
    core::ids::Storage,
    fencing::{FenceLayer, FileEpochStore},
};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{Mutex, oneshot, watch},
};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_health::ServingStatus;

/// How long the primary waits for one replica. A replica that is slower is simply not among the acknowledged.
const REPLICA_WITHIN: Duration = Duration::from_millis(400);
/// How long a port of ours may be held by what is left of an earlier process.
const PORT_WITHIN: Duration = Duration::from_secs(3);
/// How long a node that was told to stop goes on with what is under way.
const FINISHED_WITHIN: Duration = Duration::from_millis(500);
/// The longest that a handler is held.
const HELD_AT_MOST: Duration = Duration::from_secs(60);

/// What the node is told on its command line.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: Storage,
    pub(crate) listen: SocketAddr,
    pub(crate) data: PathBuf,
    pub(crate) faults: Faults,
}

/// Serves until the parent ends.
pub(crate) async fn run(settings: Settings) -> Result<(), Failure> {
    let mut parent = listen_to_parent()?;
    let (release, released) = watch::channel(false);
    let (health, health_service) = tonic_health::server::health_reporter();
    let reporter = health.clone();
    let ended = async move {
        while let Some(line) = parent.recv().await {
            match serde_json::from_str(&line) {
                Ok(Order::Release) => drop(release.send_replace(true)),
                Ok(Order::Serve(true)) => reporter.set_service_status("", ServingStatus::Serving).await,
                Ok(Order::Serve(false)) => reporter.set_service_status("", ServingStatus::NotServing).await,
                Ok(Order::Stop) => return reporter.set_service_status("", ServingStatus::NotServing).await,
                Err(error) => eprintln!("told what is not understood ({error}): {line}"),
            }
        }
    };
    let (leave, left) = oneshot::channel();
    // Streams of those who watch our health end with us, not before.
    let ended = async move {
        ended.await;
        tokio::spawn(async move {
            tokio::time::sleep(FINISHED_WITHIN).await;
            let _ = leave.send(());
        });
    };
    let Settings { name, listen, data, faults } = settings;
    let listener = until(PORT_WITHIN, "the port is free", || async { Ok(TcpListener::bind(listen).await?) }).await?;
    let fence = FenceLayer::new(name.clone(), Arc::new(FileEpochStore::open(data.join("epochs"))?));
    let fenced = !faults.no_fence;
    let service = ObjectStoreServer::new(Node {
        peer: Peer { storage: name.to_string(), address: format!("http://{listen}") },
        replicas: Replicas::new(name, data),
        faults: Arc::new(faults),
        channels: Mutex::default(),
        released,
    });
    // The epochs are loaded; adoption is per repository and never gates health.
    health.set_service_status("", ServingStatus::Serving).await;
    tell(What::Ready);
    // A small answer waits for nobody's acknowledgement: with Nagle's algorithm that costs 40 ms now and then.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    if fenced {
        let routes = Server::builder().layer(fence.clone()).add_service(fence.server());
        let routes = routes.add_service(health_service).add_service(service);
        finished(left, routes.serve_with_incoming_shutdown(incoming, ended)).await
    } else {
        let routes = Server::builder().add_service(health_service).add_service(service);
        finished(left, routes.serve_with_incoming_shutdown(incoming, ended)).await
    }
}

/// Serves until the end, and then no longer than it may.
async fn finished<E: Into<Failure>>(
    left: oneshot::Receiver<()>,
    serve: impl Future<Output = Result<(), E>>,
) -> Result<(), Failure> {
    tokio::select! {
        served = serve => served.map_err(Into::into),
        _ = left => Ok(()),
    }
}

struct Node {
    peer: Peer,
    replicas: Replicas,
    faults: Arc<Faults>,
    channels: Mutex<BTreeMap<String, Channel>>,
    released: watch::Receiver<bool>,
}

impl Node {
    /// Holds a call between the fence's check and its commit, if the parent wants to see what happens then.
    async fn hold(&self, number: u64) {
        if self.faults.hold == Some(number) {
            tell(What::Held { number });
            let mut released = self.released.clone();
            let _ = tokio::time::timeout(HELD_AT_MOST, released.wait_for(|released| *released)).await;
        }
    }

    async fn channel(&self, peer: &Peer) -> Result<Channel, Status> {
        let mut channels = self.channels.lock().await;
        if let Some(known) = channels.get(&peer.address) {
            return Ok(known.clone());
        }
        let channel = connect(peer).map_err(|error| Status::invalid_argument(error.to_string()))?;
        channels.insert(peer.address.clone(), channel.clone());
        Ok(channel)
    }

    async fn replicate(&self, permit: &Permit, number: u64, data: Vec<u8>, peer: &Peer) -> Result<(), Status> {
        let channel = self.channel(peer).await?;
        let mut request = Request::new(ReplicateRequest { number, data, primary: Some(self.peer.clone()) });
        permit.claim.attach(request.metadata_mut());
        let mut client = ObjectStoreClient::new(channel);
        let answer = tokio::time::timeout(REPLICA_WITHIN, client.replicate(request)).await;
        answer.map_err(|_| Status::deadline_exceeded("the replica did not answer in time"))?.map(drop)
    }
}

#[tonic::async_trait]
impl ObjectStore for Node {
    /// The primary first, then the replicas: so whatever a replica holds, the primary's state holds, too, and whoever
    /// adopts that state between the two loses nothing.
    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutReply>, Status> {
        let permit = Permit::of(&request, &self.faults)?;
        let PutRequest { number, data, peers } = request.into_inner();
        if permit.claim.primary.as_str() != self.peer.storage {
            return Err(Status::failed_precondition("only the primary takes writes"));
        }
        self.hold(number).await;
        self.replicas.put(&permit, number, data.clone(), None).await?;
        let others = peers.iter().filter(|peer| peer.storage != self.peer.storage);
        let copies = others.map(|peer| async {
            let copied = self.replicate(&permit, number, data.clone(), peer).await;
            copied.is_ok().then(|| peer.storage.clone())
        });
        let mut acknowledged = vec![self.peer.storage.clone()];
        acknowledged.extend(join_all(copies).await.into_iter().flatten());
        Ok(Response::new(PutReply { acknowledged }))
    }

    async fn replicate(&self, request: Request<ReplicateRequest>) -> Result<Response<ReplicateReply>, Status> {
        let permit = Permit::of(&request, &self.faults)?;
        let ReplicateRequest { number, data, primary } = request.into_inner();
        self.hold(number).await;
        self.replicas.put(&permit, number, data, primary.as_ref()).await?;
        Ok(Response::new(ReplicateReply {}))
    }

    type FetchStream = tokio_stream::Iter<std::vec::IntoIter<Result<Object, Status>>>;

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let permit = Permit::of(&request, &self.faults)?;
        let objects: Vec<_> = self
            .replicas
            .read(&permit, |objects| {
                objects.iter().map(|(number, data)| Ok(Object { number: *number, data: data.clone() })).collect()
            })
            .await?;
        Ok(Response::new(tokio_stream::iter(objects)))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Object>, Status> {
        let permit = Permit::of(&request, &self.faults)?;
        let number = request.into_inner().number;
        let data = self.replicas.read(&permit, |objects| objects.get(&number).cloned()).await?;
        let data = data.ok_or_else(|| Status::not_found(format!("there is no object {number}")))?;
        Ok(Response::new(Object { number, data }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        let permit = Permit::of(&request, &self.faults)?;
        let numbers = self.replicas.read(&permit, |objects| objects.keys().copied().collect()).await?;
        Ok(Response::new(ListReply { numbers }))
    }

    async fn catch_up(&self, request: Request<CatchUpRequest>) -> Result<Response<CatchUpReply>, Status> {
        let permit = Permit::of(&request, &self.faults)?;
        let primary = request.into_inner().primary;
        let primary = primary.ok_or_else(|| Status::invalid_argument("the primary's address is missing"))?;
        let objects = self.replicas.catch_up(&permit, &primary).await?;
        Ok(Response::new(CatchUpReply { objects: u64::try_from(objects).unwrap_or(u64::MAX) }))
    }
}
