//! Every connection to a node goes through the handshake, whoever makes it.

use crate::world::{LONG, Node, called_back, say};
use futures_util::future::BoxFuture;
use quorate::{
    Config, Supervisor,
    config::{NodeConfig, VirtualStorageConfig},
    core::{evidence::Evidence, prober::Via, settings::Profile},
    telemetry::Meter,
    testing::wait,
    transport::{
        DialOptions, NodeAddress, Transport,
        grpc::{GrpcTransport, Resolver, ping},
    },
};
use std::{io, net::SocketAddr, sync::Arc};

/// One virtual storage with two storages at one address.
fn two_at(address: SocketAddr, place: &tempfile::TempDir) -> Config {
    let mut config = Config::new(Profile::Lan, format!("sqlite:{}", place.path().join("q.db").display()));
    config.name = Some("s1".parse().unwrap());
    let node = |name: &str| NodeConfig::new(name.parse().unwrap(), format!("tcp://{address}"));
    let nodes = vec![node("g1"), node("g2")];
    config.virtual_storages = vec![VirtualStorageConfig { nodes, ..VirtualStorageConfig::new("v".parse().unwrap()) }];
    config
}

#[actix::test]
async fn every_node_of_a_supervisor_is_reached_over_multiplexed_connections_alone() {
    let node = Node::plain().await;
    let place = tempfile::tempdir().unwrap();
    let backchannel = Arc::new(called_back(7));
    let supervisor = Supervisor::start_with(two_at(node.address, &place), Meter::default(), |transport| {
        transport.with_handshaker(backchannel)
    })
    .await
    .unwrap();
    let healthy = || supervisor.healthy_nodes().0.values().map(Vec::len).sum::<usize>();
    wait::until("both are up", LONG, || healthy() == 2).await;

    assert_eq!(supervisor.nodes().len(), 2);
    for handle in supervisor.nodes().iter() {
        assert_eq!(say(&handle.connection(), "back").await.unwrap(), 7, "{:?}", handle.node());
    }
    assert_eq!(node.plain_calls(), 0, "a probe or a call came over an ordinary connection");
    assert!(node.multiplexed_calls() >= 4);
    supervisor.stop().await;
}

#[actix::test]
async fn without_a_handshaker_no_connection_is_multiplexed() {
    let node = Node::plain().await;
    let place = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(two_at(node.address, &place)).await.unwrap();
    wait::until("both are up", LONG, || supervisor.nodes().iter().all(|handle| handle.is_healthy())).await;
    for handle in supervisor.nodes().iter() {
        let refused = say(&handle.connection(), "back").await.unwrap_err();
        assert!(refused.message().contains("non-multiplexed connection"), "{refused}");
    }
    assert_eq!(node.multiplexed_calls(), 0);
    assert!(node.plain_calls() >= 4);
    supervisor.stop().await;
}

/// Two machines behind one name.
struct Two([SocketAddr; 2]);

impl Resolver for Two {
    fn resolve(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let peers = self.0.to_vec();
        Box::pin(async move { Ok(peers) })
    }
}

#[tokio::test]
async fn each_machine_behind_a_name_has_a_session_of_its_own() {
    let machines = [Node::plain().await, Node::plain().await];
    let transport = GrpcTransport::new(DialOptions::default())
        .unwrap()
        .resolver(Arc::new(Two([machines[0].address, machines[1].address])))
        .with_handshaker(Arc::new(called_back(42)));
    let link = transport.open(&NodeAddress::new("dns:///storage.example.org:2305").unwrap(), None).unwrap();
    let channel = link.connection.borrow().clone();
    wait::until_async("both are called", LONG, async || {
        assert_eq!(say(&channel, "back").await.unwrap(), 42);
        machines.iter().all(|machine| machine.multiplexed_calls() > 0)
    })
    .await;
    for via in [Via::Kept, Via::Fresh] {
        assert_eq!(link.probe.check(via, LONG).await, Evidence::Serving, "{via:?}");
    }
    for machine in &machines {
        assert_eq!(machine.plain_calls(), 0);
    }
}

#[tokio::test]
async fn a_ping_goes_through_the_handshake_too() {
    let node = Node::plain().await;
    let place = tempfile::tempdir().unwrap();
    let config = two_at(node.address, &place);
    let transport = GrpcTransport::new(DialOptions::default()).unwrap().with_handshaker(Arc::new(called_back(42)));
    let reports = ping::ping_with(&transport, &config, ping::PingOptions::default()).await;
    assert_eq!(reports.len(), 1, "one address");
    assert!(node.multiplexed_calls() > 0);
    assert_eq!(node.plain_calls(), 0);
}
