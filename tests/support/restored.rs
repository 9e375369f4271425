//! Drill 13 on a real database: real nodes with real fences, and a real copy of the database from before their last epochs.

use quorate::{
    Config, Error, Ports, Supervisor,
    config::{NodeConfig, VirtualStorageConfig},
    core::{
        election::{Fence, Primary, Target},
        epoch::Epoch,
        ids::{NodeId, RepositoryId, Storage, VirtualStorage},
        lookup::{Freshness, Source},
        quorum::Verdict,
        settings::Profile,
    },
    fencing::{Claim, EpochStore, FenceLayer, MemoryEpochStore, Observed},
    store::{NewRepository, Store},
    testing::{storage_node::StorageNode, wait},
    transport::{
        DialOptions,
        grpc::{GrpcTransport, NodeChannel},
    },
};
use std::{sync::Arc, time::Duration};

/// For a machine that is busy with other things.
const LIMIT: Duration = Duration::from_secs(30);

/// The database and its backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Original,
    Backup,
}

struct Node {
    storage: Storage,
    fence: Arc<MemoryEpochStore>,
    server: StorageNode,
}

impl Node {
    fn start(name: &str) -> Node {
        let (storage, fence) = (Storage::new(name).unwrap(), Arc::new(MemoryEpochStore::new()));
        let server = StorageNode::fenced(FenceLayer::new(storage.clone(), fence.clone()).server());
        Node { storage, fence, server }
    }
    /// Hears of a primary, as with the first write under it.
    async fn hears(&self, primary: &Primary) {
        let observed = self.fence.observe(&Claim::of(primary).unwrap()).await.unwrap();
        assert!(matches!(observed, Observed::Accepted(_)), "{observed:?}");
    }
}

fn vs() -> VirtualStorage {
    "v".parse().unwrap()
}
fn path(at: &str) -> Target {
    Target::Path(vs(), at.parse().unwrap())
}

async fn start(name: &str, nodes: &[Node], store: Arc<dyn Store>) -> Supervisor<NodeChannel> {
    let mut config = Config::new(Profile::Lan, "sqlite:unused");
    config.name = Some(name.parse().unwrap());
    let mut cluster = VirtualStorageConfig::new(vs());
    cluster.nodes =
        nodes.iter().map(|node| NodeConfig::new(node.storage.clone(), node.server.address().to_string())).collect();
    config.virtual_storages = vec![cluster];
    // Far above what a busy machine takes, and no part of the story.
    (config.settings.voter_ttl, config.settings.vote_ttl) = (LIMIT, LIMIT);
    config.settings.decision_ttl = LIMIT / 3;
    config.health.timeout = Duration::from_secs(2);
    config.health.stall_limit = LIMIT / 4;
    let transport = GrpcTransport::new(DialOptions::default()).unwrap();
    let supervisor = Supervisor::assemble(config, Ports::new(store, transport)).await.unwrap();
    wait::until("all nodes are healthy", LIMIT, || {
        let known = supervisor.health_consensus();
        let healthy = |node: &Node| {
            let node = NodeId::new(vs(), node.storage.clone());
            known.as_ref().is_some_and(|known| known.verdict(&node) == Verdict::Healthy)
        };
        nodes.iter().all(healthy)
    })
    .await;
    supervisor
}

async fn create(on: &Supervisor<NodeChannel>, at: &str, primary: Option<&str>) -> RepositoryId {
    let storages = ["g1", "g2", "g3"].map(|name| name.parse().unwrap()).to_vec();
    let new = NewRepository {
        primary: primary.map(|name| name.parse().unwrap()),
        ..NewRepository::new(vs(), at.parse().unwrap(), storages)
    };
    on.repository_create(&new).await.unwrap().repository
}

async fn version(on: &Supervisor<NodeChannel>, at: &str) -> quorate::core::epoch::FactsVersion {
    on.repository(&path(at)).await.unwrap().facts.facts_version
}

fn is_behind<T: std::fmt::Debug>(answer: Result<T, Error>, highest: Epoch) {
    let error = answer.unwrap_err();
    let Error::DatabaseBehind(behind) = &error else { panic!("{error:?}") };
    assert_eq!(behind.reported.epoch, highest);
}

/// Opens either database, and makes the backup while nobody uses the original. Answers the era that the repair began.
pub async fn an_older_backup_is_restored(
    open: impl AsyncFn(Which) -> Arc<dyn Store>,
    back_up: impl AsyncFnOnce(),
) -> quorate::core::epoch::Era {
    let nodes = ["g1", "g2", "g3"].map(Node::start);
    let one = start("s1", &nodes, open(Which::Original).await).await;
    let id = create(&one, "r", Some("g1")).await;
    create(&one, "due", None).await;
    one.stop().await;
    drop(one);
    back_up().await;

    let one = start("s1", &nodes, open(Which::Original).await).await;
    let g2: Storage = "g2".parse().unwrap();
    one.authoritative_set(id, &g2, version(&one, "r").await).await.unwrap();
    for at in ["r", "due"] {
        let primary = one.primary(&path(at)).await.unwrap();
        for node in &nodes {
            node.hears(&primary).await;
        }
    }
    let highest = nodes[0].fence.report().highest.unwrap();
    let known = || one.reported().is_some_and(|reported| reported.epoch == highest);
    wait::until("the nodes have reported", LIMIT, known).await;
    assert_eq!(one.behind(), None, "contrast: this database has given it");
    one.stop().await;
    drop(one);

    let (one, two) =
        (start("s1", &nodes, open(Which::Backup).await).await, start("s2", &nodes, open(Which::Backup).await).await);
    for on in [&one, &two] {
        is_behind(on.primary(&path("due")).await, highest);
        let kept = on.lookup(&path("r"), Freshness::Cached).await.unwrap();
        assert_eq!((kept.storage.as_str(), kept.source), ("g1", Source::Behind));
        let fence: Fence = kept.fence().unwrap();
        let acknowledged = [kept.storage.clone()].into();
        is_behind(on.generation_increment(id, Some(&fence), &acknowledged).await, highest);
        is_behind(on.authoritative_set(id, &g2, version(on, "r").await).await, highest);
    }
    let era = one.repair("an older backup was restored").await.unwrap();
    assert!(era > highest.era() && one.behind().is_none());
    wait::until("the other one noticed", LIMIT, || two.behind().is_none()).await;
    let elected = two.primary(&path("due")).await.unwrap();
    assert!(elected.epoch.unwrap() > highest, "{elected:?}");
    let truth = one.authoritative_set(id, &g2, version(&one, "r").await).await.unwrap();
    assert!(truth > elected.epoch.unwrap());
    let primary = two.lookup(&path("r"), Freshness::Latest).await.unwrap();
    assert_eq!((primary.storage.as_str(), primary.source), ("g2", Source::Fresh));
    for node in &nodes {
        node.hears(&primary).await;
    }
    one.generation_increment(id, primary.fence().as_ref(), &[g2].into()).await.unwrap();
    two.stop().await;
    one.stop().await;
    era
}
