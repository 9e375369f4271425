//! What a router asks: shards, reads and who is up. The rows of Praefect's own tests of its manager are told by name.

use crate::world::{LIMIT, World, ms, node, path, storage, verdict, vs, write};
use futures_util::future::BoxFuture;
use quorate::{
    ConsistentStorages, Error, Manager, Supervisor,
    core::{
        election::Target,
        evidence::{Evidence, Hard, Soft},
        ids::{RelativePath, RepositoryId, VirtualStorage},
        quorum::Verdict,
        settings::Profile,
    },
    messages::health::HealthyNodes,
    store::{StoreErrorKind, StoreOp, UpToDate},
    testing::wait,
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A source of who is up to date that answers as it is told.
struct Told(Box<dyn Fn() -> Result<Vec<&'static str>, Error> + Send + Sync>);

impl ConsistentStorages for Told {
    fn consistent_storages<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, Result<UpToDate, Error>> {
        let answer = (self.0)().map(|names| UpToDate {
            repository: RepositoryId(1),
            virtual_storage: vs(),
            relative_path: RelativePath::new("r").unwrap(),
            replica_path: None,
            storages: Arc::new(names.into_iter().map(storage).collect()),
        });
        Box::pin(async { answer })
    }
}

fn told(
    supervisor: &Supervisor<u64>,
    answer: impl Fn() -> Result<Vec<&'static str>, Error> + Send + Sync + 'static,
) -> Supervisor<u64> {
    supervisor.clone().with_consistent_storages(Arc::new(Told(Box::new(answer))))
}

/// One supervisor that sees three nodes up, and a repository on all of them with a primary.
async fn scene() -> (World, Supervisor<u64>, String) {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    for name in ["g1", "g2", "g3"] {
        verdict(&one, name, Verdict::Healthy).await;
    }
    world.repository("r", &["g1", "g2", "g3"]).await;
    let primary = one.primary(&path("r")).await.unwrap().storage.to_string();
    (world, one, primary)
}

async fn down(world: &World, one: &Supervisor<u64>, name: &str) {
    world.node(name).answers(Evidence::Hard(Hard::Refused));
    wait::until("it is seen down", LIMIT, || !one.node(&node(name)).unwrap().is_healthy()).await;
}

async fn reads_from(one: &Supervisor<u64>) -> Result<String, Error> {
    one.synced_node(&path("r")).await.map(|handle| handle.storage().to_string())
}

#[actix::test]
async fn a_read_of_an_unknown_virtual_storage_is_told_so() {
    let (_world, one, _) = scene().await;
    let elsewhere = Target::Path("elsewhere".parse().unwrap(), "r".parse().unwrap());
    let error = one.synced_node(&elsewhere).await.unwrap_err();
    assert!(matches!(error, Error::VirtualStorageNotFound(_)), "{error}");
    let source = told(&one, || Err(Error::VirtualStorageNotFound("w".parse().unwrap())));
    let error = reads_from(&source).await.unwrap_err();
    assert!(matches!(&error, Error::VirtualStorageNotFound(name) if name.as_str() == "w"), "the source's own: {error}");
}

#[actix::test]
async fn a_read_falls_back_to_the_primary_if_nobody_is_known_to_be_up_to_date() {
    let (world, one, primary) = scene().await;
    assert_eq!(reads_from(&told(&one, || Ok(vec![]))).await.unwrap(), primary, "nobody is up to date");
    let unknown = told(&one, || Err(Error::RepositoryNotFound));
    assert_eq!(reads_from(&unknown).await.unwrap(), primary, "the source does not know the repository");
    world.store.fail(Some(StoreOp::PrimaryCas), StoreErrorKind::ReadOnly);
    down(&world, &one, &primary).await;
    assert!(reads_from(&unknown).await.is_err(), "and no further than to the primary");
}

#[actix::test]
async fn a_source_that_fails_is_quoted_and_nobody_is_guessed() {
    let (_world, one, _) = scene().await;
    let failing = told(&one, || {
        Err(Error::StoreUnavailable(quorate::store::StoreError::new(StoreOp::UpToDate, StoreErrorKind::Unreachable)))
    });
    let error = reads_from(&failing).await.unwrap_err();
    assert_eq!(error.store_kind(), Some(&StoreErrorKind::Unreachable), "{error}");
}

#[actix::test]
async fn reads_are_spread_over_those_who_are_up_to_date() {
    let (_world, one, _) = scene().await;
    let mut seen = BTreeSet::new();
    for _ in 0..1_000 {
        seen.insert(reads_from(&one).await.unwrap());
    }
    assert!(seen.len() >= 2, "{seen:?}");
    let counter = AtomicU64::new(0);
    let fair = one.with_lot(move || counter.fetch_add(1 << 32, Ordering::SeqCst));
    let picked = [reads_from(&fair).await.unwrap(), reads_from(&fair).await.unwrap(), reads_from(&fair).await.unwrap()];
    assert_eq!(picked, ["g1", "g2", "g3"], "the lot decides, over the nodes in order of configuration");
}

#[actix::test]
async fn a_read_passes_by_those_who_are_down() {
    let (world, one, _) = scene().await;
    down(&world, &one, "g2").await;
    let two = told(&one, || Ok(vec!["g1", "g2"]));
    for _ in 0..50 {
        assert_eq!(reads_from(&two).await.unwrap(), "g1");
    }
}

#[actix::test]
async fn a_read_passes_by_those_who_are_not_up_to_date() {
    let (_world, one, primary) = scene().await;
    write(&one, &path("r"), &[primary.as_str()]).await.unwrap();
    for _ in 0..50 {
        assert_eq!(reads_from(&one).await.unwrap(), primary);
    }
}

#[actix::test]
async fn without_a_healthy_node_that_is_up_to_date_nobody_is_read_from() {
    let (world, one, _) = scene().await;
    down(&world, &one, "g1").await;
    down(&world, &one, "g2").await;
    let error = reads_from(&told(&one, || Ok(vec!["g1", "g2", "g9"]))).await.unwrap_err();
    assert_eq!(error.to_string(), "no healthy nodes: none of g1, g2, g9 is up");
    assert!(error.is_retryable());
}

#[actix::test]
async fn a_shard_pairs_names_with_nodes_and_stays_as_it_was() {
    let (world, one, primary) = scene().await;
    let shard = one.shard_of(&path("r")).await.unwrap();
    assert_eq!(shard.primary.storage().as_str(), primary);
    let names: Vec<&str> = shard.secondaries.iter().map(|node| node.storage().as_str()).collect();
    let others: Vec<&str> = ["g1", "g2", "g3"].into_iter().filter(|name| *name != primary).collect();
    assert_eq!(names, others, "in order of configuration");
    for name in ["g1", "g2", "g3"] {
        assert_eq!(shard.node(&storage(name)).unwrap().node(), &node(name));
    }
    assert!(shard.node(&storage("g9")).is_none());
    down(&world, &one, names[0]).await;
    let up: Vec<&str> = shard.healthy_secondaries().iter().map(|node| node.storage().as_str()).collect();
    assert_eq!(up, [others[1]], "the nodes in it are live");
    down(&world, &one, &primary).await;
    verdict(&one, &primary, Verdict::Unhealthy).await;
    assert_eq!(one.shard_of(&path("r")).await.unwrap().primary.storage().as_str(), others[1]);
    assert_eq!(shard.primary.storage().as_str(), primary, "a later election does not change it");
    down(&world, &one, others[1]).await;
    assert!(shard.healthy_secondaries().is_empty());
}

#[actix::test]
async fn a_shard_leaves_out_replicas_on_storages_that_are_not_configured_here() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g9"]).await;
    let shard = one.shard_of(&path("r")).await.unwrap();
    assert_eq!(shard.primary.storage(), &storage("g1"));
    assert!(shard.secondaries.is_empty());
    assert!(matches!(one.shard_of(&path("absent")).await, Err(Error::RepositoryNotFound)));
}

#[actix::test]
async fn a_virtual_storage_without_a_healthy_node_is_a_key_of_the_managers_answer_and_none_of_the_health_managers() {
    let world = World::new(Profile::Default);
    let mut config = world.config("s1");
    let mut other = config.virtual_storages[0].clone();
    other.name = VirtualStorage::new("w").unwrap();
    other.nodes.truncate(1);
    other.nodes[0].address = "tcp://w1:1".to_owned();
    config.virtual_storages[0].nodes.reverse();
    config.virtual_storages.push(other);
    world.node("w1").answers(Evidence::Soft(Soft::Timeout));
    world.node("g2").answers(Evidence::Hard(Hard::Refused));
    let one = world.assemble(config).await.unwrap();
    wait::until("two are up", LIMIT, || one.healthy_nodes().0[&vs()].len() == 2).await;
    let named = |vs: &str, names: &[&str]| {
        (VirtualStorage::new(vs).unwrap(), names.iter().map(|name| storage(name)).collect::<Vec<_>>())
    };
    let expected = HealthyNodes([named("v", &["g3", "g1"]), named("w", &[])].into());
    assert_eq!(one.healthy_nodes(), expected, "in order of configuration");
    let as_manager: &dyn Manager<u64> = &one;
    assert_eq!(as_manager.healthy_nodes(), expected);
    let all: Vec<usize> = as_manager.nodes().into_values().map(|nodes| nodes.len()).collect();
    assert_eq!(all, [3, 1], "nodes are listed whether they are up or not");
    one.stop().await;

    let clients = world.clients();
    let watch = clients.start(&world.config("alone"), world.store.clone()).await.unwrap();
    let seen = || watch.healthy_nodes();
    wait::until("two are up", LIMIT, || seen().0.get(&vs()).is_some_and(|up| up.len() == 2)).await;
    assert_eq!(seen(), HealthyNodes([named("v", &["g1", "g3"])].into()), "in order of name, without w");
    world.node("g1").answers(Evidence::Hard(Hard::Refused));
    world.node("g3").answers(Evidence::Hard(Hard::Refused));
    wait::until("no key is left", LIMIT, || seen() == HealthyNodes::default()).await;
}

#[actix::test]
async fn a_manager_is_asked_through_the_trait() {
    let (_world, one, primary) = scene().await;
    let manager: Arc<dyn Manager<u64>> = Arc::new(one);
    let answer = tokio::spawn({
        let manager = Arc::clone(&manager);
        async move { manager.primary(&path("r")).await.map(|primary| primary.storage.to_string()) }
    });
    assert_eq!(answer.await.unwrap().unwrap(), primary, "from another task");
    assert_eq!(manager.shard_of(&path("r")).await.unwrap().primary.storage().as_str(), primary);
    assert!(manager.synced_node(&path("r")).await.is_ok());
    let unknown = manager.shard(&"w".parse().unwrap()).await.unwrap_err();
    assert!(matches!(unknown, Error::VirtualStorageNotFound(_)), "{unknown}");
    tokio::time::sleep(ms(1)).await;
}
