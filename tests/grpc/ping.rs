//! The question that is asked once, of every node.

use crate::nodes::{HealthService, Node, loopback, raw};
use futures_util::future::BoxFuture;
use quorate::{
    Config,
    config::{NodeConfig, Secret, VirtualStorageConfig},
    core::{
        ids::{Storage, VirtualStorage},
        settings::Profile,
    },
    transport::{
        DialOptions,
        grpc::{
            GrpcTransport,
            auth::Verifier,
            ping::{PingError, PingOptions, PingProblem, PingReport, Served, ServedStorage, ping, ping_with},
        },
    },
};
use std::{
    convert::Infallible,
    path::Path,
    task::{Context, Poll},
    time::Duration,
};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::{
    Request, Response, Status, body::Body, codegen::http, server::NamedService,
    service::interceptor::InterceptedService, transport::Server,
};
use tonic_health::server::HealthReporter;
use tonic_prost::ProstCodec;

// Written by hand from Gitaly's own definition, so that a wrong number in ours would show.

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct Info {
    #[prost(string, tag = "1")]
    server_version: String,
    #[prost(string, tag = "2")]
    git_version: String,
    #[prost(message, repeated, tag = "3")]
    storage_statuses: Vec<Disk>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Disk {
    #[prost(string, tag = "1")]
    storage_name: String,
    #[prost(bool, tag = "2")]
    readable: bool,
    #[prost(bool, tag = "3")]
    writeable: bool,
    #[prost(string, tag = "4")]
    fs_type: String,
}

#[derive(Clone)]
struct Gitaly(Result<Vec<Disk>, Status>);

impl NamedService for Gitaly {
    const NAME: &'static str = "gitaly.ServerService";
}

impl tower::Service<http::Request<Body>> for Gitaly {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        assert_eq!(request.uri().path(), "/gitaly.ServerService/ServerInfo");
        let gitaly = self.clone();
        let codec = ProstCodec::<Info, Nothing>::default();
        Box::pin(async move { Ok(tonic::server::Grpc::new(codec).unary(gitaly, request).await) })
    }
}

impl tonic::server::UnaryService<Nothing> for Gitaly {
    type Response = Info;
    type Future = BoxFuture<'static, Result<Response<Info>, Status>>;
    fn call(&mut self, _: Request<Nothing>) -> Self::Future {
        let answer = self.0.clone().map(|storage_statuses| {
            Response::new(Info { server_version: "16.7".into(), git_version: "2.43".into(), storage_statuses })
        });
        Box::pin(async move { answer })
    }
}

fn disk(storage: &str, readable: bool, writeable: bool) -> Disk {
    Disk { storage_name: storage.into(), readable, writeable, fs_type: "EXT_2_3_4".into() }
}

/// A node that says this of its disks, with its address.
async fn gitaly(answer: Result<Vec<Disk>, Status>) -> String {
    let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let health = tonic_health::server::HealthService::from_health_reporter(HealthReporter::new());
    let server = Server::builder().add_service(HealthService::new(health)).add_service(Gitaly(answer));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// A storage, its address and its token.
type Configured<'a> = (&'a str, &'a str, Option<&'a str>);

fn config(clusters: &[(&str, &[Configured<'_>])]) -> Config {
    let mut config = Config::new(Profile::Default, "sqlite::memory:");
    for (name, nodes) in clusters {
        let nodes = nodes
            .iter()
            .map(|(storage, address, token)| NodeConfig {
                token: token.map(Secret::new),
                ..NodeConfig::new(Storage::new(*storage).unwrap(), *address)
            })
            .collect();
        config
            .virtual_storages
            .push(VirtualStorageConfig { nodes, ..VirtualStorageConfig::new(VirtualStorage::new(*name).unwrap()) });
    }
    config
}

/// The one report about a node that has these storages configured.
async fn one(address: &str, storages: &[&str]) -> PingReport {
    let nodes: Vec<_> = storages.iter().map(|storage| (*storage, address, None)).collect();
    let mut reports = ping(&config(&[("default", &nodes)])).await.unwrap();
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

fn storage(name: &str) -> Storage {
    Storage::new(name).unwrap()
}

fn unix(path: &Path, disks: Vec<Disk>) {
    let listener = tokio::net::UnixListener::bind(path).unwrap();
    let health = tonic_health::server::HealthService::from_health_reporter(HealthReporter::new());
    let server = Server::builder().add_service(HealthService::new(health)).add_service(Gitaly(Ok(disks)));
    tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
}

#[tokio::test]
async fn two_virtual_storages_with_two_storages_at_one_address_are_eight_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g.sock");
    unix(&path, vec![disk("1", true, true), disk("2", true, true), disk("not ours", false, false)]);
    let address = format!("unix://{}", path.display());
    let config = config(&[("one", &[("1", &address, None), ("2", &address, None)]), ("two", &[("1", &address, None)])]);
    let reports = ping(&config).await.unwrap();
    assert_eq!(PingError::of(&reports), Ok(()));
    let lines: Vec<String> = reports.iter().flat_map(PingReport::lines).collect();
    let expected = [
        "dialing...",
        "dialed successfully!",
        "checking health...",
        "SUCCESS: node is healthy!",
        "checking consistency...",
        "SUCCESS: confirmed Gitaly storage \"1\" in virtual storages [one two] is served",
        "SUCCESS: confirmed Gitaly storage \"2\" in virtual storages [one] is served",
        "SUCCESS: node configuration is consistent!",
    ];
    assert_eq!(lines, expected.map(|line| format!("[{address}]: {line}")));
    let unasked = ServedStorage { readable: false, writable: false };
    assert!(matches!(&reports[0].served, Served::Reported(all) if all["not ours"] == unasked));
}

#[tokio::test]
async fn an_address_is_pinged_once_for_each_token_that_is_configured_for_it() {
    let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let health = HealthService::new(tonic_health::server::HealthService::from_health_reporter(HealthReporter::new()));
    let service = InterceptedService::new(health, Verifier::new(&Secret::new("abc")));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    // The same address and token in two clusters is one node.
    let same = config(&[("meow", &[("foo", &address, Some("abc"))]), ("woof", &[("bar", &address, Some("abc"))])]);
    let reports = ping(&same).await.unwrap();
    assert_eq!(reports.len(), 1);
    let storages: Vec<_> =
        reports[0].storages.iter().map(|(storage, clusters)| (storage.as_str(), clusters.len())).collect();
    assert_eq!(storages, [("bar", 1), ("foo", 1)]);
    assert!(reports[0].healthy, "{:?}", reports[0].problems);
    // A second token at the same address is a mistake in the file, and is told.
    let differ = config(&[("meow", &[("foo", &address, Some("abc"))]), ("woof", &[("bar", &address, Some("xyz"))])]);
    let reports = ping(&differ).await.unwrap();
    assert_eq!(reports.iter().map(|report| report.healthy).collect::<Vec<_>>(), [true, false]);
    let denied = &reports[1].problems;
    assert!(matches!(&denied[..], [PingProblem::Health(why)] if why.contains("permission denied")), "{denied:?}");
    assert!(!format!("{reports:?}").contains("xyz"));
}

#[tokio::test]
async fn what_is_wrong_with_a_nodes_storages_is_told_storage_by_storage() {
    let problem = |what: PingProblem| vec![what];
    let cases = [
        (vec![], vec![PingProblem::NoStorages, PingProblem::NotReported(storage("a"))]),
        (vec![disk("a", false, true)], problem(PingProblem::NotAccessible(storage("a")))),
        (vec![disk("a", true, false)], problem(PingProblem::NotAccessible(storage("a")))),
        (vec![disk("a", true, true), disk("a", true, true)], problem(PingProblem::Duplicated(storage("a")))),
        (vec![disk("b", true, true)], problem(PingProblem::NotReported(storage("a")))),
        (vec![disk("b", true, true), disk("b", true, true), disk("a", true, true)], vec![]),
    ];
    for (disks, expected) in cases {
        let report = one(&gitaly(Ok(disks.clone())).await, &["a"]).await;
        assert_eq!(report.problems, expected, "{disks:?}");
        assert_eq!(report.confirmed().count(), usize::from(expected.is_empty()));
        let last = report.lines().pop().unwrap();
        let verdict =
            if expected.is_empty() { "node configuration is consistent!" } else { "consistency check failed" };
        assert!(last.ends_with(verdict), "{last}");
    }
}

#[tokio::test]
async fn a_node_that_offers_no_server_info_is_well_and_says_so() {
    let (_node, address) = Node::tcp(loopback());
    let report = one(&format!("tcp://{address}"), &["a"]).await;
    assert!(report.is_ok() && report.dialed && report.healthy);
    assert_eq!((report.served.clone(), report.confirmed().count()), (Served::NotOffered, 0));
    assert!(report.lines().pop().unwrap().contains("offers no ServerInfo"), "{:?}", report.lines());
    // One that offers it and fails is not.
    let report = one(&gitaly(Err(Status::internal("disk on fire"))).await, &["a"]).await;
    let problems = &report.problems;
    assert!(matches!(&problems[..], [PingProblem::Info(why)] if why.contains("disk on fire")), "{problems:?}");
}

#[tokio::test]
async fn each_step_that_fails_ends_the_ping_and_says_why() {
    let (node, address) = Node::tcp(loopback());
    node.report(tonic_health::ServingStatus::NotServing).await;
    let report = one(&format!("tcp://{address}"), &["a"]).await;
    assert_eq!(report.problems, [PingProblem::NotServing("NOT_SERVING")]);
    assert!(report.dialed && !report.healthy && report.served == Served::Unknown);

    let report = one("unix:///unreachable/socket", &["a"]).await;
    assert!(!report.dialed, "{report:?}");
    let error = PingError::of(std::slice::from_ref(&report)).unwrap_err();
    assert_eq!(error.to_string(), "the following nodes are not healthy: unix:///unreachable/socket");
    assert!(report.lines()[1].contains("ERROR: dialing failed: "), "{:?}", report.lines());
    assert!(report.lines()[1].contains("No such file or directory"), "{:?}", report.lines());

    let report = one("localhost:1234", &["a"]).await;
    assert!(matches!(&report.problems[..], [PingProblem::Address(error)] if error.value == "localhost:1234"));
}

#[tokio::test]
async fn a_node_that_never_answers_holds_up_neither_the_ping_nor_the_other_nodes() {
    let (_task, silent) = raw(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let (_node, well) = Node::tcp(loopback());
    let (silent, well) = (format!("tcp://{silent}"), format!("tcp://{well}"));
    let config = config(&[("default", &[("a", &silent, None), ("b", &well, None)])]);
    let transport = GrpcTransport::new(DialOptions::default()).unwrap();
    let options = PingOptions { timeout: Duration::from_millis(500), ..PingOptions::default() };
    let reports = ping_with(&transport, &config, options).await;
    for report in reports {
        assert_eq!(report.is_ok(), report.address == well, "{report:?}");
        assert!(report.took < Duration::from_secs(5), "{:?}", report.took);
        if report.address == silent {
            let problems = &report.problems;
            assert!(
                matches!(&problems[..], [PingProblem::Health(why)] if why == "no answer within 500ms"),
                "{problems:?}"
            );
        }
    }
}
