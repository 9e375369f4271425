//! A storage node in a process of its own, seen from outside: its process, and the calls that a client makes.

use super::{
    Failure,
    child::Child,
    proto::{CatchUpRequest, FetchRequest, GetRequest, Peer, PutRequest, object_store_client::ObjectStoreClient},
    until,
    wire::{Line, NodeSpec, Order, What},
    within,
};
use quorate::{core::ids::Storage, fencing::Claim};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};
use tokio::sync::watch;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

/// A node only has to read its files.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// A copy of everything, a few hundred objects here.
const COPIED_WITHIN: Duration = Duration::from_secs(5);

/// The handle of one node: its process, if it runs, and a way to call it that outlives the process.
pub(crate) struct NodeProcess {
    pub(crate) spec: NodeSpec,
    program: PathBuf,
    arguments: Vec<String>,
    namespace: Option<String>,
    child: Option<(Child, watch::Receiver<Vec<What>>)>,
    pub(crate) client: NodeClient,
}

impl NodeProcess {
    /// Starts a node, with its data in this folder and with extra arguments, in a network namespace if there is one, and
    /// waits until it serves.
    pub(crate) async fn start(
        program: &Path,
        spec: NodeSpec,
        data: &Path,
        extra: &[&str],
        namespace: Option<&str>,
    ) -> Result<Self, Failure> {
        let mut arguments = vec!["storage".to_owned(), "--name".into(), spec.storage.to_string()];
        arguments.extend(["--listen".into(), spec.host(), "--data".into()]);
        arguments.push(data.to_str().ok_or("the folder's name is not UTF-8")?.to_owned());
        arguments.extend(extra.iter().map(|&argument| argument.to_owned()));
        let client = NodeClient::new(&spec)?;
        let (program, namespace) = (program.to_owned(), namespace.map(str::to_owned));
        let mut node = Self { spec, program, arguments, namespace, child: None, client };
        node.restart().await?;
        Ok(node)
    }

    /// Starts it again, on the same port, with the same data.
    pub(crate) async fn restart(&mut self) -> Result<(), Failure> {
        let name = self.spec.storage.as_str();
        let (child, mut said) = match &self.namespace {
            None => Child::spawn(&self.program, name, &self.arguments)?,
            Some(namespace) => {
                let program = self.program.to_str().ok_or("the program's name is not UTF-8")?.to_owned();
                let entered = ["netns", "exec", namespace].map(str::to_owned).into_iter().chain([program]);
                // It becomes the node: the process started is the one that is killed and frozen.
                Child::spawn(Path::new("ip"), name, entered.chain(self.arguments.iter().cloned()))?
            }
        };
        let (publish, mut events) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Some(line) = said.recv().await {
                if let Line::Event(event) = line {
                    publish.send_modify(|events| events.push(event.what));
                }
            }
        });
        let serves = async { events.wait_for(|events| !events.is_empty()).await.is_ok() };
        let failed = match within(READY_WITHIN, "the node serves", serves).await {
            Ok(true) => None,
            Ok(false) => Some("it ended".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = failed {
            return Err(format!("{} did not start: {why}; {}", self.spec.storage, child.complaints()).into());
        }
        self.child = Some((child, events));
        Ok(())
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.spec.storage
    }

    fn child(&self) -> Result<&Child, Failure> {
        self.child.as_ref().map(|(child, _)| child).ok_or_else(|| format!("{} does not run", self.storage()).into())
    }
    pub(crate) fn freeze(&self) -> Result<(), Failure> {
        self.child()?.freeze()
    }
    pub(crate) fn thaw(&self) -> Result<(), Failure> {
        self.child()?.thaw()
    }
    pub(crate) fn kill(&self) -> Result<(), Failure> {
        self.child()?.kill()
    }
    /// Waits until a killed one is gone.
    pub(crate) async fn gone(&mut self) -> Result<(), Failure> {
        if let Some((mut child, _)) = self.child.take() {
            child.gone().await?;
        }
        Ok(())
    }
    /// Waits until it holds this object inside its handler.
    #[allow(dead_code, reason = "for drills")]
    pub(crate) async fn holds(&self, object: u64) -> Result<(), Failure> {
        let (_, events) = self.child.as_ref().ok_or("the node does not run")?;
        let mut events = events.clone();
        let held = events
            .wait_for(|events| events.iter().any(|event| matches!(event, What::Held { number } if *number == object)));
        within(READY_WITHIN, "the node holds the object inside its handler", held).await??;
        Ok(())
    }
    /// Gives it an order.
    #[allow(dead_code, reason = "for drills")]
    pub(crate) async fn tell(&mut self, order: Order) -> Result<(), Failure> {
        let (child, _) = self.child.as_mut().ok_or("the node does not run")?;
        child.say(&order).await
    }
    pub(crate) fn complaints(&self) -> String {
        self.child.as_ref().map(|(child, _)| child.complaints()).unwrap_or_default()
    }
}

/// What a client says to one node. Every call carries the claim under which it is made, reads too: so a deposed
/// primary is not read from by those who know better, and a reader who knows worse is told so.
#[derive(Clone)]
pub(crate) struct NodeClient {
    pub(crate) peer: Peer,
    channel: Channel,
}

impl NodeClient {
    pub(crate) fn new(spec: &NodeSpec) -> Result<Self, Failure> {
        let peer = Peer { storage: spec.storage.to_string(), address: format!("http://{}", spec.host()) };
        let channel = connect(&peer)?;
        Ok(Self { peer, channel })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn request<T>(&self, claim: &Claim, message: T) -> (ObjectStoreClient<Channel>, Request<T>) {
        let mut request = Request::new(message);
        claim.attach(request.metadata_mut());
        (ObjectStoreClient::new(self.channel.clone()), request)
    }

    /// Writes an object on the primary; answers who holds it now.
    pub(crate) async fn put(
        &self,
        claim: &Claim,
        number: u64,
        data: Vec<u8>,
        peers: Vec<Peer>,
        limit: Duration,
    ) -> Result<Vec<String>, Status> {
        let (mut client, request) = self.request(claim, PutRequest { number, data, peers });
        let answer = bounded(limit, client.put(request)).await?;
        Ok(answer.into_inner().acknowledged)
    }

    /// Reads an object.
    pub(crate) async fn get(&self, claim: &Claim, number: u64, limit: Duration) -> Result<Vec<u8>, Status> {
        let (mut client, request) = self.request(claim, GetRequest { number });
        Ok(bounded(limit, client.get(request)).await?.into_inner().data)
    }

    /// Reads everything.
    pub(crate) async fn everything(&self, claim: &Claim) -> Result<BTreeMap<u64, Vec<u8>>, Status> {
        let (mut client, request) = self.request(claim, FetchRequest {});
        bounded(COPIED_WITHIN, async {
            let mut stream = client.fetch(request).await?.into_inner();
            let mut objects = BTreeMap::new();
            while let Some(object) = stream.message().await? {
                objects.insert(object.number, object.data);
            }
            Ok(objects)
        })
        .await
    }

    /// Makes a replica take over the primary's state; answers how many objects that was.
    pub(crate) async fn catch_up(&self, claim: &Claim, primary: Peer) -> Result<u64, Status> {
        let (mut client, request) = self.request(claim, CatchUpRequest { primary: Some(primary) });
        Ok(bounded(COPIED_WITHIN, client.catch_up(request)).await?.into_inner().objects)
    }
}

/// A channel that connects when it is used, and again whenever it has to.
pub(crate) fn connect(peer: &Peer) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(peer.address.clone())?;
    Ok(endpoint.connect_timeout(Duration::from_millis(500)).connect_lazy())
}

async fn bounded<T>(limit: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded(format!("no answer within {limit:?}"));
    tokio::time::timeout(limit, call).await.map_err(late)?
}

/// Free ports that stay free while a node is dead: below those that the kernel gives to outgoing connections, or the
/// very connections that ask whether the node lives might take its port.
pub(crate) async fn free_port() -> Result<u16, Failure> {
    const LOWEST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    until(READY_WITHIN, "a free port", || async {
        let offset = start.wrapping_mul(7).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = LOWEST.saturating_add(offset);
        tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        Ok(port)
    })
    .await
}
