//! What a real node says by itself, and what its kernel says when it is gone.

use crate::nodes::{Node, check, loopback, open, raw};
use actix::Actor;
use quorate::{
    actors::{NodeActor, NodeCell, NodeSpec, Relay},
    core::{
        consensus::Opinion,
        evidence::{Evidence, Hard, Misconfigured},
        ids::{NodeId, Storage, VirtualStorage},
        patience::Patience,
        prober::Via,
        watching::Word,
        window::Thresholds,
    },
    messages::health::{CheckHealth, GetNodeHealth, NodeReport},
    testing::{
        inbox::{Inbox, Received},
        storage_node::{Health, StorageNode},
        wait,
    },
    transport::{Link, TrafficErrors, grpc::NodeChannel},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{io::copy_bidirectional, net::TcpStream, sync::watch, time::Instant};
use tonic_health::ServingStatus;

/// For a busy machine: far above what anything here takes, far below the next probe.
const LIMIT: Duration = Duration::from_secs(10);
const SERVING: Word = Word::Says(Evidence::Serving);

/// A supervisor's eye on one node, which looks once a minute and listens all the time.
struct Eye {
    actor: actix::Addr<NodeActor>,
    reports: Received<NodeReport>,
}

impl Eye {
    async fn on(link: &Link<NodeChannel>) -> Eye {
        let eye = Eye::every(link, Duration::from_secs(60));
        wait::until("up", LIMIT, || eye.opinion() == Some(Opinion::Up)).await;
        eye
    }
    fn every(link: &Link<NodeChannel>, interval: Duration) -> Eye {
        Eye::patient(link, interval, Duration::ZERO)
    }
    /// One that gives the node so long to restart.
    fn patient(link: &Link<NodeChannel>, interval: Duration, restart_grace: Duration) -> Eye {
        let (inbox, reports) = Inbox::<NodeReport>::start();
        let node = NodeId::new(VirtualStorage::new("v").unwrap(), Storage::new("g1").unwrap());
        let spec = NodeSpec {
            node,
            probe: Arc::clone(&link.probe),
            thresholds: Thresholds { fall: 3, rise: 3, first: 1, window: 10 },
            patience: Patience { restart_grace, ..Duration::from_millis(300).into() },
            interval: Some(interval),
            bootstrap_interval: interval,
            watch: true,
            reports: Relay::to(&inbox),
            rounds: Relay::vacant(),
            errors: None,
            traffic: TrafficErrors::default(),
            latency: Arc::new(()),
            cell: NodeCell::default(),
        };
        Eye { actor: NodeActor::new(spec).start(), reports }
    }
    fn opinion(&self) -> Option<Opinion> {
        self.reports.last().map(|report| report.opinion)
    }
    async fn is(&self, opinion: Opinion) {
        wait::until(&format!("{opinion:?}"), LIMIT, || self.opinion() == Some(opinion)).await;
    }
    async fn watches(&self, watched: bool) {
        wait::until_async(&format!("watched: {watched}"), LIMIT, async || {
            self.actor.send(GetNodeHealth).await.unwrap().watched == watched
        })
        .await;
    }
    async fn check(&self) -> Evidence {
        self.actor.send(CheckHealth).await.unwrap().unwrap()
    }
}

/// The eye on a node that offers a watch, once that is heard.
async fn watched(node: &StorageNode) -> Eye {
    let eye = Eye::on(&open(&node.address().to_string())).await;
    wait::until("a watcher", LIMIT, || node.watchers() == 1).await;
    eye
}

#[actix::test]
async fn a_killed_node_is_down_without_waiting_for_a_probe() {
    let node = StorageNode::start();
    let eye = watched(&node).await;
    let began = Instant::now();
    node.kill();
    eye.is(Opinion::Down).await;
    let took = began.elapsed();
    println!("down {took:?} after the kill began");
    assert!(took < Duration::from_secs(5), "{took:?}: that was a probe");
    assert!(matches!(eye.reports.last().unwrap().evidence, Evidence::Hard(Hard::Refused | Hard::Reset)));
}

/// Probes are due once a minute, so whatever happens within seconds was looked for because the node was gone.
#[actix::test]
async fn a_node_that_restarts_within_its_grace_is_never_reported_down_and_one_that_does_not_is() {
    let node = StorageNode::start();
    let link = open(&node.address().to_string());
    let hasty = Eye::on(&link).await;
    let patient = Eye::patient(&link, Duration::from_secs(60), Duration::from_secs(8));
    patient.is(Opinion::Up).await;
    wait::until("both listen", LIMIT, || node.watchers() == 2).await;
    node.kill();
    hasty.is(Opinion::Down).await;
    let refused = |eye: &Eye| {
        let gone = |report: &&NodeReport| matches!(report.evidence, Evidence::Hard(Hard::Refused | Hard::Reset));
        eye.reports.all().iter().filter(gone).count()
    };
    wait::until("it keeps looking", LIMIT, || refused(&patient) >= 5).await;
    node.restart();
    wait::until("back", LIMIT, || patient.reports.last().is_some_and(|report| report.evidence == Evidence::Serving))
        .await;
    assert!(patient.reports.all().iter().all(|report| report.opinion == Opinion::Up), "{:?}", patient.reports.all());

    // One that does not serve is not waited for, though it is in the middle of its restart.
    node.reports(Health::NotServing);
    patient.is(Opinion::Down).await;

    let gone = StorageNode::start();
    let eye = Eye::patient(&open(&gone.address().to_string()), Duration::from_secs(60), Duration::from_millis(900));
    eye.is(Opinion::Up).await;
    wait::until("a watcher", LIMIT, || gone.watchers() == 1).await;
    gone.kill();
    let began = Instant::now();
    eye.is(Opinion::Down).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(800) && took < Duration::from_secs(5), "{took:?}");
}

#[actix::test]
async fn a_node_that_stops_serving_says_so_and_says_when_it_serves_again() {
    let node = StorageNode::start();
    let eye = watched(&node).await;
    node.reports(Health::NotServing);
    eye.is(Opinion::Down).await;
    let asked = node.checks();
    node.reports(Health::Serving);
    wait::until("a probe at once", LIMIT, || node.checks() == asked + 1).await;
    // A check that comes while that probe is under way shares its answer.
    wait::until_async("up again", LIMIT, async || {
        assert_eq!(eye.check().await, Evidence::Serving);
        eye.opinion() == Some(Opinion::Up)
    })
    .await;
}

/// A port before a node's whose connections can all be cut at once while it stays open.
async fn cuttable(node: SocketAddr) -> (SocketAddr, watch::Sender<u32>) {
    let cut = watch::Sender::new(0);
    let cuts = cut.clone();
    let (_task, address) = raw(move |mut near| {
        let mut cut = cuts.subscribe();
        async move {
            let Ok(mut far) = TcpStream::connect(node).await else { return };
            tokio::select! {
                _ = cut.changed() => {}
                _ = copy_bidirectional(&mut near, &mut far) => {}
            }
        }
    })
    .await;
    (address, cut)
}

#[actix::test]
async fn dropped_connections_while_the_port_stays_open_move_nothing() {
    let node = StorageNode::start();
    let (address, cut) = cuttable(node.address().to_string().replace("tcp://", "").parse().unwrap()).await;
    let eye = Eye::on(&open(&format!("tcp://{address}"))).await;
    for _ in 0..3 {
        eye.watches(true).await;
        wait::until("a watcher", LIMIT, || node.watchers() == 1).await;
        let asked = node.checks();
        cut.send_modify(|cuts| *cuts += 1);
        wait::until("the confirmation", LIMIT, || node.checks() > asked).await;
        // The next answers open the stream again once its pause is over.
        wait::until_async("listened to again", LIMIT, async || {
            tokio::time::sleep(Duration::from_millis(20)).await;
            eye.check().await == Evidence::Serving && node.watchers() == 1
        })
        .await;
    }
    assert!(eye.reports.all().iter().all(|report| report.opinion == Opinion::Up), "{:?}", eye.reports.all());
}

#[actix::test]
async fn a_node_without_a_watch_is_probed_as_before() {
    let node = StorageNode::start();
    node.offers_watch(false);
    let eye = Eye::every(&open(&node.address().to_string()), Duration::from_millis(50));
    eye.is(Opinion::Up).await;
    wait::until("ten probes", LIMIT, || node.checks() >= 10).await;
    assert_eq!(node.watchers(), 0);
    node.kill();
    eye.is(Opinion::Down).await;
}

#[actix::test]
async fn a_frozen_node_goes_down_by_its_missed_probes_though_its_stream_is_open() {
    let node = StorageNode::start();
    let eye = Eye::every(&open(&node.address().to_string()), Duration::from_millis(100));
    eye.watches(true).await;
    node.freeze();
    eye.is(Opinion::Down).await;
    eye.watches(false).await;
    node.thaw();
    eye.is(Opinion::Up).await;
    eye.watches(true).await;
}

#[actix::test]
async fn a_watch_does_not_keep_a_node_from_stopping_politely() {
    let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("", ServingStatus::Serving).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(tokio_stream::wrappers::TcpListenerStream::new(listener), async {
                drop(stopped.await)
            }),
    );
    let eye = Eye::every(&open(&format!("tcp://{address}")), Duration::from_millis(100));
    eye.watches(true).await;
    stop.send(()).unwrap();
    eye.is(Opinion::Down).await;
    wait::within("the server's end", LIMIT, server).await.unwrap().unwrap();
}

#[tokio::test]
async fn each_word_arrives_by_itself_and_the_end_of_the_process_too() {
    let (node, address) = Node::tcp(loopback());
    let link = open(&format!("tcp://{address}"));
    let mut words = link.probe.watch();
    assert_eq!(words.latest().await, SERVING);
    for (status, hard) in [(ServingStatus::NotServing, Hard::NotServing), (ServingStatus::Unknown, Hard::NotServing)] {
        node.report(status).await;
        assert_eq!(words.latest().await, Word::Says(Evidence::Hard(hard)));
        node.report(ServingStatus::Serving).await;
        assert_eq!(words.latest().await, SERVING);
    }
    node.kill();
    assert_eq!(words.latest().await, Word::Ended(Evidence::Hard(Hard::Reset)));
}

#[tokio::test]
async fn a_node_that_knows_no_watch_says_so_and_one_that_ends_it_ended_it() {
    let node = StorageNode::start();
    let link = open(&node.address().to_string());
    let mut words = link.probe.watch();
    assert_eq!(words.latest().await, SERVING);
    node.offers_watch(false);
    assert_eq!(words.latest().await, Word::Ended(Evidence::Hard(Hard::Reset)));
    let none = Word::Ended(Evidence::Misconfigured(Misconfigured::Unimplemented));
    assert_eq!(link.probe.watch().latest().await, none);
    assert_eq!(check(&link, Via::Kept).await, Evidence::Serving);
}
