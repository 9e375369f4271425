//! The electors of whole virtual storages, and what is left of elections where they are switched off.

use crate::world::{LIMIT, World, ms, name, node, path, storage, verdict, vs};
use actix::{Actor, Addr};
use quorate::{
    Error, Supervisor,
    actors::{
        ConfiguredNodes, FixedElector, FixedElectorConfig, KnownPrimaries, LocalElector, LocalElectorConfig, LocalView,
        NodeNames,
    },
    config::ElectionStrategy,
    core::{
        election::{Target, WaitReason},
        evidence::{Evidence, Hard},
        ids::{ClusterId, NodeId, RepositoryId, VirtualStorage},
        quorum::Verdict,
        settings::Profile,
        shard::Shard,
    },
    error::GrpcCode,
    messages::election::{GetPrimary, GetShard},
    store::{NewRepository, RepositoryStore, StorageChange, StoreErrorKind, StoreOp, memory::MemoryStore},
    telemetry::Meter,
    testing::wait,
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::watch;

const DEAD: Evidence = Evidence::Hard(Hard::Refused);

async fn started(world: &World, of: &str, strategy: ElectionStrategy, enabled: bool) -> Supervisor<u64> {
    let mut config = world.config(of);
    (config.failover.election_strategy, config.failover.enabled) = (strategy, enabled);
    world.assemble(config).await.unwrap()
}

async fn seen_up(of: &Supervisor<u64>, about: &str, up: bool) {
    let what = format!("{about} is seen up: {up}");
    wait::until(&what, LIMIT, || of.node(&node(about)).unwrap().is_healthy() == up).await;
}

fn names(shard: &Shard) -> (String, Vec<String>) {
    (shard.primary.to_string(), shard.secondaries.iter().map(ToString::to_string).collect())
}

fn nothing_heard() -> KnownPrimaries {
    KnownPrimaries::new(name("s1"), Meter::default())
}

/// A view in hand, and an elector on it.
struct Hand {
    view: watch::Sender<LocalView>,
    nodes: ConfiguredNodes,
    store: Arc<MemoryStore>,
    primaries: KnownPrimaries,
}

impl Hand {
    fn new(nodes: &[&str]) -> Hand {
        let hand = Hand {
            view: watch::Sender::new(LocalView::default()),
            nodes: NodeNames::from([(vs(), nodes.iter().map(|name| storage(name)).collect())]).into(),
            store: Arc::new(MemoryStore::default()),
            primaries: nothing_heard(),
        };
        hand.up(nodes);
        hand
    }
    fn up(&self, names: &[&str]) {
        let up: BTreeSet<NodeId> = names.iter().map(|name| node(name)).collect();
        self.view.send_replace(Arc::new(up));
    }
    fn local(&self) -> Addr<LocalElector> {
        LocalElector::new(LocalElectorConfig {
            store: self.store.clone(),
            cluster: ClusterId::new("c").unwrap(),
            nodes: self.nodes.clone(),
            local: self.view.subscribe(),
            primaries: self.primaries.clone(),
            timeout: ms(1_000),
        })
        .start()
    }
    fn fixed(&self) -> Addr<FixedElector> {
        FixedElector::new(FixedElectorConfig {
            store: self.store.clone(),
            cluster: ClusterId::new("c").unwrap(),
            nodes: self.nodes.clone(),
            local: self.view.subscribe(),
            primaries: self.primaries.clone(),
            timeout: ms(1_000),
        })
        .start()
    }
}

#[actix::test]
async fn the_local_elector_begins_with_the_first_node_and_does_not_fail_back() {
    let hand = Hand::new(&["g2", "g1", "g3"]);
    let local = hand.local();
    let shard = async || local.send(GetShard(vs())).await.unwrap();
    let first = shard().await.unwrap();
    assert_eq!(names(&first), ("g2".into(), vec!["g1".into(), "g3".into()]), "in order of configuration");
    assert_eq!(first.epoch, None);
    hand.up(&["g1", "g3"]);
    assert_eq!(names(&shard().await.unwrap()), ("g1".into(), vec!["g2".into(), "g3".into()]));
    hand.up(&["g1", "g2", "g3"]);
    assert_eq!(shard().await.unwrap().primary, storage("g1"), "no way back");
    hand.up(&[]);
    let error = shard().await.unwrap_err();
    assert!(
        matches!(&error, Error::PrimaryNotHealthy { storage: of, epoch: None } if *of == storage("g1")),
        "{error:?}"
    );
    hand.up(&["g2", "g3"]);
    assert_eq!(shard().await.unwrap().primary, storage("g2"));
}

#[actix::test]
async fn a_rebuilt_local_elector_goes_on_where_the_last_one_was() {
    let hand = Hand::new(&["g1", "g2"]);
    hand.up(&["g2"]);
    let shard = |local: Addr<LocalElector>| async move { local.send(GetShard(vs())).await.unwrap().unwrap() };
    assert_eq!(shard(hand.local()).await.primary, storage("g2"));
    hand.up(&["g1", "g2"]);
    assert_eq!(shard(hand.local()).await.primary, storage("g2"));
    let forgetful = Hand { primaries: nothing_heard(), ..hand };
    assert_eq!(shard(forgetful.local()).await.primary, storage("g1"), "what would happen without the memory");
}

#[actix::test]
async fn many_local_questions_at_once_see_one_shard() {
    let hand = Hand::new(&["g1", "g2", "g3"]);
    let local = hand.local();
    for up in [["g1", "g2"], ["g2", "g3"], ["g1", "g3"]] {
        hand.up(&up);
        let answers = futures_util::future::join_all((0..100).map(|_| local.send(GetShard(vs())))).await;
        let primaries: BTreeSet<_> = answers.into_iter().map(|answer| answer.unwrap().unwrap().primary).collect();
        assert_eq!(primaries.len(), 1, "{up:?}: {primaries:?}");
    }
}

#[actix::test]
async fn a_local_primary_is_that_of_its_virtual_storage_whatever_the_path() {
    let hand = Hand::new(&["g1", "g2"]);
    hand.store.fail(None, StoreErrorKind::Unreachable);
    let (local, fixed) = (hand.local(), hand.fixed());
    for answer in
        [local.send(GetPrimary::of(path("r"))).await.unwrap(), fixed.send(GetPrimary::of(path("r"))).await.unwrap()]
    {
        let primary = answer.expect("no database is asked");
        assert_eq!((primary.storage.clone(), primary.epoch, primary.repository), (storage("g1"), None, None));
        assert_eq!(primary.fence(), None);
    }
    hand.store.heal();
    let new = NewRepository::new(vs(), "r".parse().unwrap(), vec![storage("g2")]);
    let created = match hand.store.repository_create(&new).await.unwrap() {
        quorate::store::Outcome::Done(created) => created.repository,
        other => panic!("{other:?}"),
    };
    let primary = local.send(GetPrimary::of(Target::Id(created))).await.unwrap().unwrap();
    assert_eq!((primary.storage.clone(), primary.repository), (storage("g1"), Some(created)), "a number is looked up");
    let unknown = local.send(GetPrimary::of(Target::Id(RepositoryId(99)))).await.unwrap();
    assert!(matches!(unknown, Err(Error::RepositoryNotFound)), "{unknown:?}");
    let elsewhere = VirtualStorage::new("w").unwrap();
    for answer in
        [local.send(GetShard(elsewhere.clone())).await.unwrap(), fixed.send(GetShard(elsewhere.clone())).await.unwrap()]
    {
        assert!(matches!(answer, Err(Error::VirtualStorageNotFound(of)) if of == elsewhere));
    }
}

#[actix::test]
async fn the_fixed_elector_goes_on_looking_at_its_one_node() {
    let hand = Hand::new(&["g2", "g1"]);
    let fixed = hand.fixed();
    let shard = async || fixed.send(GetShard(vs())).await.unwrap();
    assert_eq!(names(&shard().await.unwrap()), ("g2".into(), vec!["g1".into()]));
    hand.up(&["g1"]);
    for _ in 0..3 {
        let error = shard().await.unwrap_err();
        assert!(matches!(&error, Error::PrimaryNotHealthy { storage: of, .. } if *of == storage("g2")), "{error:?}");
    }
    hand.up(&["g1", "g2"]);
    assert_eq!(shard().await.unwrap().primary, storage("g2"), "defect B: not frozen at what the start saw");
}

/// Defect B, with everything between the probe and the answer.
async fn fixed_by_configuration(strategy: ElectionStrategy) {
    let world = World::new(Profile::Default);
    let one = started(&world, "s1", strategy, false).await;
    seen_up(&one, "g1", true).await;
    assert_eq!(names(&one.shard(&vs()).await.unwrap().names()), ("g1".into(), vec!["g2".into(), "g3".into()]));
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    for _ in 0..2 {
        let error = one.primary(&path("r")).await.unwrap_err();
        assert!(matches!(&error, Error::PrimaryNotHealthy { storage: of, .. } if *of == storage("g1")), "{error:?}");
    }
    world.node("g1").answers(Evidence::Serving);
    seen_up(&one, "g1", true).await;
    assert_eq!(one.primary(&path("r")).await.unwrap().storage, storage("g1"));
    let asked = world.store.activity().get(&StoreOp::ShardCas).copied().unwrap_or_default();
    assert_eq!(asked.calls, 0, "nothing was ever elected");
}

#[actix::test]
async fn failover_disabled_with_sql_strategy_configured() {
    fixed_by_configuration(ElectionStrategy::Sql).await;
}

#[actix::test]
async fn failover_disabled_with_local_strategy_configured() {
    fixed_by_configuration(ElectionStrategy::Local).await;
}

/// Defect C: the same death, with elections and without.
async fn a_recorded_primary_dies(enabled: bool) {
    let world = World::new(Profile::Default);
    let one = started(&world, "s1", ElectionStrategy::PerRepository, enabled).await;
    let mut new = NewRepository::new(vs(), "r".parse().unwrap(), ["g1", "g2"].map(storage).to_vec());
    new.primary = Some(storage("g1"));
    let created = one.repository_create(&new).await.unwrap();
    world.repository("s", &["g1", "g2"]).await;
    let before = one.primary(&path("r")).await.unwrap();
    assert_eq!((before.storage.clone(), before.epoch), (storage("g1"), created.epoch));
    match one.primary(&path("s")).await {
        Ok(_) if enabled => {}
        Err(Error::NoPrimary) if !enabled => {}
        other => panic!("{other:?}"),
    }
    one.storage_update(&node("g1"), StorageChange { priority: None, draining: Some(true) }).await.unwrap();
    if !enabled {
        assert_eq!(one.primary(&path("r")).await.unwrap(), before, "nor for a better one");
    }
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    match one.primary(&path("r")).await {
        Ok(primary) if enabled => assert_eq!(primary.storage, storage("g2")),
        Err(Error::PrimaryNotHealthy { storage: of, epoch }) if !enabled => {
            assert_eq!((of, epoch), (storage("g1"), before.epoch));
        }
        other => panic!("{other:?}"),
    }
    let changes = one.primary_history(created.repository, 10).await.unwrap().len();
    assert_eq!(changes, if enabled { 2 } else { 1 });
    world.node("g1").answers(Evidence::Serving);
    verdict(&one, "g1", Verdict::Healthy).await;
    if !enabled {
        assert_eq!(one.primary(&path("r")).await.unwrap(), before, "the same, under the same epoch");
    }
}

#[actix::test]
async fn with_failover_off_no_recorded_primary_of_a_repository_is_changed() {
    a_recorded_primary_dies(false).await;
}

#[actix::test]
async fn with_failover_on_the_same_primary_is_replaced() {
    a_recorded_primary_dies(true).await;
}

#[actix::test]
async fn a_repositorys_elector_has_no_shard_and_says_so() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let error = one.shard(&vs()).await.unwrap_err();
    assert!(matches!(&error, Error::PrimaryPerRepository(of) if *of == vs()), "{error:?}");
    assert_eq!((error.grpc_code(), error.is_retryable()), (GrpcCode::InvalidArgument, false));
    let elsewhere = VirtualStorage::new("w").unwrap();
    assert!(matches!(one.shard(&elsewhere).await, Err(Error::VirtualStorageNotFound(_))));
}

#[actix::test]
async fn under_local_a_supervisor_fails_over_by_its_own_view_without_the_database() {
    let world = World::new(Profile::Default);
    let one = started(&world, "s1", ElectionStrategy::Local, true).await;
    seen_up(&one, "g1", true).await;
    assert_eq!(one.primary(&path("r")).await.unwrap().storage, storage("g1"));
    world.store.fail(None, StoreErrorKind::Unreachable);
    world.node("g1").answers(DEAD);
    seen_up(&one, "g1", false).await;
    assert_eq!(names(&one.shard(&vs()).await.unwrap().names()), ("g2".into(), vec!["g1".into(), "g3".into()]));
}

#[actix::test]
async fn under_sql_all_supervisors_answer_one_primary_and_replace_it_once() {
    let world = World::new(Profile::Default);
    let one = started(&world, "s1", ElectionStrategy::Sql, true).await;
    let two = started(&world, "s2", ElectionStrategy::Sql, true).await;
    verdict(&one, "g1", Verdict::Healthy).await;
    verdict(&two, "g1", Verdict::Healthy).await;
    let before = one.shard(&vs()).await.unwrap().names();
    assert_eq!(names(&before), ("g1".into(), vec!["g2".into(), "g3".into()]));
    assert_eq!(two.shard(&vs()).await.unwrap().names(), before);
    let rows = world.store.activity()[&StoreOp::ShardCas].rows;
    for _ in 0..100 {
        assert_eq!(one.shard(&vs()).await.unwrap().names(), before);
    }
    assert_eq!(world.store.activity()[&StoreOp::ShardCas].rows, rows, "a lookup that changes nothing writes nothing");
    let id = world.repository("r", &["g1", "g2"]).await;
    let primary = two.primary(&path("r")).await.unwrap();
    assert_eq!((primary.storage, primary.repository), (storage("g1"), Some(id)));
    assert!(primary.epoch > before.epoch, "its own row follows, under an epoch of its own");

    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    let early = one.shard(&vs()).await;
    assert!(matches!(early, Err(Error::ElectionPending(WaitReason::TooSoon))), "{early:?}");
    tokio::time::sleep(ms(6_000)).await;
    world.store.delay(ms(5));
    let asked = (0..50).map(|n| if n % 2 == 0 { &one } else { &two });
    let cluster = vs();
    let answers = futures_util::future::join_all(asked.map(|of| of.shard(&cluster))).await;
    let distinct: BTreeSet<_> =
        answers.into_iter().map(|answer| answer.map(|of| (of.names().primary, of.epoch)).unwrap()).collect();
    assert_eq!(distinct.len(), 1, "{distinct:?}");
    let (after, epoch) = distinct.into_iter().next().unwrap();
    assert_eq!(after, storage("g2"));
    assert!(epoch > before.epoch);
    let history = quorate::store::ShardStore::shard_history(&*world.store, &vs(), 10).await.unwrap();
    assert_eq!(history.len(), 2, "{history:?}");
    assert_eq!((history[0].why.as_deref(), history[0].previous.clone()), (Some("unhealthy"), Some(storage("g1"))));
    assert!([Some(name("s1")), Some(name("s2"))].contains(&history[0].supervisor));
}

#[actix::test]
async fn under_sql_a_lost_answer_is_found_again() {
    let world = World::new(Profile::Default);
    let one = started(&world, "s1", ElectionStrategy::Sql, true).await;
    verdict(&one, "g1", Verdict::Healthy).await;
    world.store.lose_answer(Some(StoreOp::ShardCas));
    assert_eq!(one.shard(&vs()).await.unwrap().names().primary, storage("g1"));
    let history = quorate::store::ShardStore::shard_history(&*world.store, &vs(), 10).await.unwrap();
    assert_eq!(history.len(), 1, "D23: asked again under the same decision");
}

#[actix::test]
async fn under_sql_a_draining_primary_leaves_once_and_stays_away() {
    let world = World::new(Profile::Default);
    let one = started(&world, "s1", ElectionStrategy::Sql, true).await;
    verdict(&one, "g1", Verdict::Healthy).await;
    assert_eq!(one.shard(&vs()).await.unwrap().names().primary, storage("g1"));
    one.storage_update(&node("g1"), StorageChange { priority: None, draining: Some(true) }).await.unwrap();
    tokio::time::sleep(ms(6_000)).await;
    let after = one.shard(&vs()).await.unwrap().names();
    assert_eq!(after.primary, storage("g2"));
    tokio::time::sleep(ms(6_000)).await;
    assert_eq!(one.shard(&vs()).await.unwrap().names(), after);
}
