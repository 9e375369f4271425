//! Praefect's scenario of dialling: every configured node is dialled, whatever it says.

use crate::nodes::{Node, TIMEOUT, loopback};
use quorate::{
    Config, Supervisor,
    config::{NodeConfig, VirtualStorageConfig},
    core::{
        evidence::{Evidence, Hard},
        settings::Profile,
    },
};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_check_response::ServingStatus as Status, health_client::HealthClient},
};

#[actix::test]
async fn a_node_that_serves_one_that_does_not_and_one_that_is_not_there_are_all_dialled() {
    let (serving, refusing) = (Node::tcp(loopback()), Node::tcp(loopback()));
    serving.0.report(ServingStatus::Serving).await;
    refusing.0.report(ServingStatus::NotServing).await;
    let place = tempfile::tempdir().unwrap();
    let mut config = Config::new(Profile::Lan, format!("sqlite:{}", place.path().join("q.db").display()));
    config.name = Some("s1".parse().unwrap());
    let node = |name: &str, address: String| NodeConfig::new(name.parse().unwrap(), address);
    let nodes = vec![
        node("serving", format!("tcp://{}", serving.1)),
        node("refusing", format!("tcp://{}", refusing.1)),
        node("missing", format!("unix:{}", place.path().join("non-existent-socket").display())),
    ];
    config.virtual_storages = vec![VirtualStorageConfig { name: "v".parse().unwrap(), nodes }];

    let supervisor = Supervisor::start(config).await.unwrap();

    let said = [Evidence::Serving, Evidence::Hard(Hard::NotServing), Evidence::Hard(Hard::Refused)];
    assert_eq!(supervisor.nodes().len(), said.len());
    for (handle, said) in supervisor.nodes().iter().zip(said) {
        assert_eq!(handle.check_health().await.unwrap(), said, "{:?}", handle.node());
        // Each has a connection, over which a client is told the same.
        let request = HealthCheckRequest { service: String::new() };
        let answer =
            tokio::time::timeout(TIMEOUT, HealthClient::new(handle.connection()).check(request)).await.unwrap();
        match said {
            Evidence::Serving => assert_eq!(answer.unwrap().into_inner().status(), Status::Serving),
            Evidence::Hard(Hard::NotServing) => assert_eq!(answer.unwrap().into_inner().status(), Status::NotServing),
            _ => assert_eq!(answer.unwrap_err().code(), tonic::Code::Unavailable),
        }
    }
    supervisor.stop().await;
}
