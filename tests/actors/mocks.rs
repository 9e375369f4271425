//! The doubles that embedders test their routers with.

use crate::world::{node, path, storage, vs};
use quorate::{
    Error, Manager, Shard,
    core::{
        consensus::Opinion,
        evidence::{Evidence, Hard},
    },
    testing::{MockManager, MockNode, manager::Call},
};

#[actix::test]
async fn a_mock_node_is_as_it_was_told_on_every_handle() {
    let mock = MockNode::start(node("g1"), "first");
    let (one, other) = (mock.handle(), mock.handle());
    assert!(one.is_healthy() && other.is_healthy(), "up until told otherwise");
    mock.set_healthy(false);
    mock.set_connection("second");
    assert!(!one.is_healthy() && !other.is_healthy());
    assert_eq!(one.connection(), "second");
    assert_eq!(one.health().await.unwrap().opinion, Opinion::Down);
    assert_eq!(one.check_health().await.unwrap(), Evidence::Hard(Hard::Refused), "a probe finds it as it was told");
    assert_eq!((mock.checks(), one.is_healthy()), (1, false), "it is counted and changes nothing");
    let elsewhere = MockNode::start_at(node("g2"), "unix:/run/g2.sock".parse().unwrap(), ());
    assert_eq!(elsewhere.handle().address().to_string(), "unix:/run/g2.sock");
}

#[actix::test]
async fn a_mock_manager_answers_what_it_was_told_and_remembers_what_it_was_asked() {
    let nodes = ["g1", "g2", "g3"].map(|name| MockNode::start(node(name), ()));
    let shard =
        Shard { primary: nodes[0].handle(), secondaries: vec![nodes[1].handle(), nodes[2].handle()], epoch: None };
    let read = nodes[2].handle();
    let manager = MockManager::new(nodes)
        .on_shard(move |_| Ok(shard.clone()))
        .on_shard_of(|_| Err(Error::NoPrimary))
        .on_primary(|_| Err(Error::RepositoryNotFound))
        .on_synced_node(move |_| Ok(read.clone()));
    manager.mocks()[1].set_healthy(false);
    let asked: &dyn Manager<()> = &manager;
    let shard = asked.shard(&vs()).await.unwrap();
    assert_eq!(shard.node(&storage("g2")).unwrap().storage(), &storage("g2"));
    assert_eq!(shard.healthy_secondaries().len(), 1);
    assert!(matches!(asked.shard_of(&path("r")).await, Err(Error::NoPrimary)));
    assert!(matches!(asked.primary(&path("r")).await, Err(Error::RepositoryNotFound)));
    assert_eq!(asked.synced_node(&path("r")).await.unwrap().storage(), &storage("g3"));
    assert_eq!(asked.healthy_nodes().0[&vs()], [storage("g1"), storage("g3")]);
    assert_eq!(asked.nodes()[&vs()].len(), 3);
    let calls = [
        Call::Shard(vs()),
        Call::ShardOf(path("r")),
        Call::Primary(path("r")),
        Call::SyncedNode(path("r")),
        Call::HealthyNodes,
        Call::Nodes,
    ];
    assert_eq!(manager.calls(), calls);
}

#[actix::test]
#[should_panic = "the mock manager has no answer to Primary"]
async fn a_mock_manager_without_an_answer_says_what_it_was_asked() {
    let manager = MockManager::<()>::new([]);
    drop(manager.primary(&path("r")));
}
