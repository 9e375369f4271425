//! What is measured, by a recorder of the test's own.

use crate::{
    recording::Recording,
    said::Said,
    world::{LIMIT, World, ms, path, storage, verdict},
};
use actix::prelude::*;
use quorate::{
    Error, Ports, Supervisor,
    config::{ElectionStrategy, NodeConfig},
    core::{
        evidence::{Evidence, Hard, Misconfigured, Ours, Soft},
        ids::{NodeId, Storage, VirtualStorage},
        lookup::Freshness,
        quorum::Verdict,
        settings::{Profile, WithoutCandidate},
    },
    messages::consensus::ConsensusChanged,
    store::{StoreErrorKind, StoreOp},
    telemetry::{
        Meter, metrics as m,
        prometheus::{Prometheus, Registry, render},
    },
    testing::wait,
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::Notify;
use tracing::Level;

const DEAD: Evidence = Evidence::Hard(Hard::Refused);

fn metered(profile: Profile) -> (World, Recording) {
    let (mut world, recording) = (World::new(profile), Recording::default());
    world.meter = Meter::new(recording.clone());
    (world, recording)
}

/// A supervisor of the same cluster that tells the recording nothing.
async fn unheard(world: &World, name: &str, nodes: &[&str]) -> Supervisor<u64> {
    let mut config = world.config(name);
    let template = config.virtual_storages[0].nodes[0].clone();
    config.virtual_storages[0].nodes = nodes
        .iter()
        .map(|node| NodeConfig { storage: storage(node), address: format!("tcp://{node}:1"), ..template.clone() })
        .collect();
    Supervisor::assemble(config, Ports::new(world.store.clone(), world.transport.clone())).await.unwrap()
}

/// A subscriber that reads nothing until it is let go.
struct Stuck(Arc<Notify>);
impl Actor for Stuck {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(1);
    }
}
impl Handler<ConsensusChanged> for Stuck {
    type Result = AtomicResponse<Self, ()>;
    fn handle(&mut self, _: ConsensusChanged, _: &mut Context<Self>) -> Self::Result {
        let gate = Arc::clone(&self.0);
        AtomicResponse::new(Box::pin(async move { gate.notified().await }.into_actor(self)))
    }
}

async fn dies_and_returns(world: &World, one: &Supervisor<u64>, name: &str) {
    world.node(name).answers(DEAD);
    verdict(one, name, Verdict::Unhealthy).await;
    world.node(name).answers(Evidence::Serving);
    verdict(one, name, Verdict::Healthy).await;
}

/// Everything that is measured happens once; nothing that is measured is missing (defect D: in the mode that everybody
/// ran, Praefect measured neither nodes nor elections).
async fn nothing_is_missing(profile: Profile) {
    let (world, recording) = metered(profile);
    let mut config = world.config("s1");
    let settles = profile != Profile::Praefect;
    config.failover.settle_batch = if settles { 10 } else { 0 };
    let one = world.assemble(config).await.unwrap();
    world.repository("secret/path.git", &["g1", "g2"]).await;
    let first = one.primary(&path("secret/path.git")).await.unwrap().storage;
    world.node(first.as_str()).answers(DEAD);
    verdict(&one, first.as_str(), Verdict::Unhealthy).await;
    let settled = || recording.value(&m::SETTLED, &["v"]) == Some(1.0);
    wait::until("it is settled before anybody asks", LIMIT, || settled() || !settles).await;
    one.primary(&path("secret/path.git")).await.unwrap();
    world.node(first.as_str()).answers(Evidence::Serving);
    verdict(&one, first.as_str(), Verdict::Healthy).await;
    one.synced_node(&path("secret/path.git")).await.unwrap();

    one.repositories_count().await.unwrap();

    let gate = Arc::new(Notify::new());
    one.subscribe(Stuck(gate.clone()).start().recipient()).await.unwrap();
    for _ in 0..4 {
        dies_and_returns(&world, &one, "g3").await;
    }
    let skipped = || recording.value(&m::SKIPPED_REVISIONS, &[]).is_some();
    wait::until("the stuck one catches up", LIMIT, || {
        gate.notify_one();
        skipped()
    })
    .await;

    world.store.fail_next(Some(StoreOp::ElectionFacts), StoreErrorKind::Locked, 1);
    assert!(one.lookup(&path("secret/path.git"), Freshness::Latest).await.is_err());
    world.node("g3").panics(true);
    wait::until_async("it died", LIMIT, async || one.restarts().await["node v/g3"] >= 1).await;
    world.node("g3").panics(false);
    tokio::time::sleep(ms(5_000)).await;

    if settles {
        assert_eq!(recording.value(&m::SETTLING, &["v"]), Some(0.0), "nothing is left to settle");
    }
    let mut all: BTreeSet<&str> = m::ALL.iter().map(|metric| metric.name).collect();
    if profile == Profile::Praefect {
        // It keeps nothing in memory, so nothing is listened to, it settles nothing before anybody asks, and it penalises nobody.
        for metric in [&m::LISTENER_RECONNECTS, &m::SETTLED, &m::SETTLING, &m::SETTLE_BATCH, &m::NODE_PENALTY] {
            all.remove(metric.name);
        }
    }
    assert_eq!(recording.names(), all, "{profile:?}");
    let leaked: Vec<_> = recording.labels().into_iter().filter(|label| label.contains("secret")).collect();
    assert!(leaked.is_empty(), "no repository is a label: {leaked:?}");
    let addresses: Vec<_> = recording.labels().into_iter().filter(|label| label.contains("tcp")).collect();
    assert!(addresses.is_empty(), "no address is a label: {addresses:?}");
}

#[actix::test]
async fn every_metric_has_values_under_the_default_profile() {
    nothing_is_missing(Profile::Default).await;
}
#[actix::test]
async fn every_metric_has_values_with_fast_probes() {
    nothing_is_missing(Profile::Lan).await;
}
#[actix::test]
async fn every_metric_has_values_in_rounds() {
    nothing_is_missing(Profile::Praefect).await;
}

#[actix::test]
async fn lookups_of_who_is_up_to_date_and_the_listener_are_counted() {
    let (world, recording) = metered(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2"]).await;
    let listener = |state: &str| recording.value(&m::LISTENER_RECONNECTS, &[state]);
    let accesses = |kind: &str| recording.value(&m::SYNCED_ACCESS, &["v", kind]).unwrap_or_default();
    wait::until("it listens", LIMIT, || listener("connected") == Some(1.0)).await;
    wait::until_async("an answer from memory", LIMIT, async || {
        one.synced_node(&path("r")).await.unwrap();
        accesses("hit") >= 1.0
    })
    .await;
    let evicted = accesses("evict");
    assert!(accesses("miss") >= 1.0);
    assert_eq!(accesses("populate") - evicted, 1.0, "one answer is kept");
    assert_eq!(listener("disconnected"), None);
    world.store.cut_listeners();
    wait::until("it listens again", LIMIT, || listener("connected") == Some(2.0)).await;
    assert_eq!(
        (listener("disconnected"), accesses("evict")),
        (Some(1.0), evicted + 1.0),
        "a purge counts what it drops"
    );
}

#[actix::test]
async fn a_node_shows_its_verdict_its_votes_and_what_the_quorum_needs() {
    let (world, recording) = metered(Profile::Default);
    let one = world.supervisor("s1").await;
    let others = [unheard(&world, "s2", &["g1"]).await, unheard(&world, "s3", &["g1"]).await];
    let votes = |vote: &str| recording.value(&m::NODE_VOTES, &["v", "g1", vote]);
    wait::until("three votes", LIMIT, || votes("up") == Some(3.0)).await;
    let shown = |verdict: &str| recording.value(&m::NODE_VERDICT, &["v", "g1", verdict]);
    assert_eq!((shown("healthy"), shown("unhealthy"), shown("undecided")), (Some(1.0), Some(0.0), Some(0.0)));
    assert_eq!((votes("down"), votes("misconfigured"), votes("none")), (Some(0.0), Some(0.0), Some(0.0)));
    assert_eq!(recording.value(&m::QUORUM_SIZE, &["v", "g1"]), Some(2.0));
    assert_eq!(recording.value(&m::NODE_LAST_HEALTHCHECK_UP, &["v", "g1"]), Some(1.0));

    world.node("g1").answers(Evidence::Misconfigured(Misconfigured::Tls));
    wait::until("three accuse it", LIMIT, || votes("misconfigured") == Some(3.0)).await;
    assert_eq!((shown("healthy"), shown("unhealthy"), shown("undecided")), (Some(0.0), Some(1.0), Some(0.0)));
    assert_eq!(recording.value(&m::NODE_LAST_HEALTHCHECK_UP, &["v", "g1"]), Some(0.0));
    assert!(recording.value(&m::PROBES, &["v", "g1", "tls"]).is_some());
    let revision = one.health_consensus().unwrap().revision.0;
    assert_eq!(recording.value(&m::CONSENSUS_REVISION, &[]), Some(revision as f64));
    for other in others {
        other.stop().await;
    }
    wait::until("it is alone", LIMIT, || recording.value(&m::QUORUM_SIZE, &["v", "g1"]) == Some(1.0)).await;
}

#[actix::test]
async fn a_node_that_nobody_votes_on_any_more_is_taken_away() {
    let (world, recording) = metered(Profile::Default);
    let one = world.supervisor("s1").await;
    let two = unheard(&world, "s2", &["g1", "stranger"]).await;
    let shown = || recording.value(&m::NODE_VERDICT, &["v", "stranger", "healthy"]);
    wait::until("it is shown", LIMIT, || shown() == Some(1.0)).await;
    two.stop().await;
    wait::until("it is gone", LIMIT, || shown().is_none()).await;
    assert_eq!(recording.value(&m::QUORUM_SIZE, &["v", "stranger"]), None);
    assert_eq!(recording.value(&m::NODE_VOTES, &["v", "stranger", "up"]), None);
    assert_eq!(recording.value(&m::NODE_VERDICT, &["v", "g1", "healthy"]), Some(1.0), "the others stay");
    drop(one);
}

#[actix::test]
async fn trouble_of_our_own_is_counted_and_does_not_call_the_node_down() {
    let (world, recording) = metered(Profile::Default);
    let one = world.supervisor("s1").await;
    world.node("g1").answers(Evidence::Ours(Ours::NoDescriptors));
    wait::until("counted", LIMIT, || recording.value(&m::PROBES, &["v", "g1", "no_descriptors"]).is_some()).await;
    assert_eq!(recording.value(&m::NODE_LAST_HEALTHCHECK_UP, &["v", "g1"]), Some(1.0));
    drop(one);
}

#[actix::test]
async fn equal_storage_names_in_two_virtual_storages_are_two_nodes() {
    let (world, recording) = metered(Profile::Default);
    let mut config = world.config("s1");
    let mut second = config.virtual_storages[0].clone();
    second.name = VirtualStorage::new("w").unwrap();
    second.nodes.truncate(1);
    second.nodes[0].address = "tcp://other:1".to_owned();
    config.virtual_storages.push(second);
    world.transport.node("tcp://other:1").answers(DEAD);
    let one = world.assemble(config).await.unwrap();
    let other = NodeId::new(VirtualStorage::new("w").unwrap(), Storage::new("g1").unwrap());
    wait::until("both are known", LIMIT, || {
        one.health_consensus().is_some_and(|known| known.verdict(&other) == Verdict::Unhealthy)
    })
    .await;
    assert_eq!(recording.value(&m::NODE_LAST_HEALTHCHECK_UP, &["v", "g1"]), Some(1.0));
    assert_eq!(recording.value(&m::NODE_LAST_HEALTHCHECK_UP, &["w", "g1"]), Some(0.0));
}

#[actix::test]
async fn elections_are_counted_by_reason_and_a_steady_lookup_is_none() {
    let (world, recording) = metered(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2"]).await;
    let first = one.primary(&path("r")).await.unwrap().storage;
    for _ in 0..5 {
        one.primary(&path("r")).await.unwrap();
    }
    let elected = |why: &str| recording.value(&m::ELECTIONS, &["v", "elected", why]);
    assert_eq!((elected("none_recorded"), elected("unhealthy")), (Some(1.0), None));
    world.node(first.as_str()).answers(DEAD);
    verdict(&one, first.as_str(), Verdict::Unhealthy).await;
    one.primary(&path("r")).await.unwrap();
    assert_eq!((elected("none_recorded"), elected("unhealthy")), (Some(1.0), Some(1.0)));
    assert_eq!(recording.value(&m::LOOKUP, &["ok"]), Some(7.0));
    assert_eq!(recording.value(&m::STORE_OPERATION, &["primary_cas"]), Some(2.0));
}

#[actix::test]
async fn a_failover_is_measured_from_the_first_failing_probe_to_the_first_successor() {
    let (world, recording) = metered(Profile::Default);
    let one = world.supervisor("s1").await;
    for at in ["a", "b"] {
        let id = world.repository(at, &["g1", "g2"]).await;
        world.store.foreign_primary(id, Some(storage("g1")));
    }
    // One lost probe long ago is no beginning.
    world.node("g1").answers(Evidence::Soft(Soft::Timeout));
    wait::until("a miss", LIMIT, || recording.value(&m::PROBES, &["v", "g1", "timeout"]).is_some()).await;
    world.node("g1").answers(Evidence::Serving);
    tokio::time::sleep(ms(20_000)).await;
    assert_eq!(one.primary(&path("a")).await.unwrap().storage, storage("g1"));
    assert_eq!(recording.value(&m::FAILOVER, &["v"]), None);

    let dead = tokio::time::Instant::now();
    world.node("g1").answers(Evidence::Soft(Soft::Timeout));
    verdict(&one, "g1", Verdict::Unhealthy).await;
    tokio::time::sleep(ms(2_000)).await;
    assert_eq!(one.primary(&path("a")).await.unwrap().storage, storage("g2"));
    let took = recording.last(&m::FAILOVER, &["v"]).unwrap();
    let interval = world.config("s1").health.interval;
    assert!(took <= dead.elapsed() && took + interval * 11 / 10 >= dead.elapsed(), "{took:?} of {:?}", dead.elapsed());
    // Whoever asks for the next one an hour later tells nothing about the failover.
    tokio::time::sleep(ms(3_600_000)).await;
    assert_eq!(one.primary(&path("b")).await.unwrap().storage, storage("g2"));
    assert_eq!(recording.value(&m::FAILOVER, &["v"]), Some(1.0));

    world.node("g1").answers(Evidence::Serving);
    verdict(&one, "g1", Verdict::Healthy).await;
    world.node("g2").answers(DEAD);
    verdict(&one, "g2", Verdict::Unhealthy).await;
    assert_eq!(one.primary(&path("a")).await.unwrap().storage, storage("g1"));
    assert_eq!(recording.value(&m::FAILOVER, &["v"]), Some(2.0), "another outage");
    assert!(recording.last(&m::FAILOVER, &["v"]).unwrap() < ms(2_000));
}

#[actix::test]
async fn a_demotion_and_an_error_of_the_store_are_counted_by_kind() {
    let (mut world, recording) = metered(Profile::Praefect);
    world.settings.without_candidate = WithoutCandidate::Demote;
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1"]).await;
    one.primary(&path("r")).await.unwrap();
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    assert!(matches!(one.primary(&path("r")).await, Err(Error::NoPrimary)));
    assert_eq!(recording.value(&m::ELECTIONS, &["v", "demoted", "unhealthy"]), Some(1.0));
    assert_eq!(recording.value(&m::LOOKUP, &["unavailable"]), Some(1.0));
    world.store.fail_next(Some(StoreOp::ElectionFacts), StoreErrorKind::BadRow("a secret".to_owned()), 1);
    assert!(one.primary(&path("r")).await.is_err());
    assert_eq!(recording.value(&m::STORE_ERRORS, &["election_facts", "bad_row"]), Some(1.0));
}

#[actix::test]
async fn repositories_are_counted_by_primary_and_a_count_that_failed_shows_nothing() {
    let (world, recording) = metered(Profile::Default);
    let one = world.supervisor("s1").await;
    let (said, _listening) = Said::listen();
    for at in ["a", "b", "c"] {
        world.repository(at, &["g1"]).await;
    }
    let led = |by: &str| recording.value(&m::PRIMARIES, &["v", by]);
    let unavailable = || recording.value(&m::UNAVAILABLE_REPOSITORIES, &["v"]);
    one.primary(&path("a")).await.unwrap();
    one.primary(&path("b")).await.unwrap();
    one.repositories_count().await.unwrap();
    assert_eq!((led("g1"), led("g2"), unavailable()), (Some(2.0), Some(0.0), Some(0.0)));
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    one.repositories_count().await.unwrap();
    assert_eq!((led("g1"), unavailable()), (Some(2.0), Some(3.0)));
    assert!(said.of("failed collecting unavailable repository count metric").is_empty());
    world.store.fail_next(Some(StoreOp::RepositoriesCount), StoreErrorKind::Timeout, 1);
    assert!(one.repositories_count().await.is_err());
    assert_eq!((led("g1"), unavailable()), (None, None), "what is not known is not shown");
    let line = said.only("failed collecting unavailable repository count metric");
    assert_eq!((line.level, line.field("component")), (Level::ERROR, "RepositoryStoreCollector"));
    assert!(line.field("error").contains("did not answer in time"), "{line:?}");
}

#[actix::test]
async fn a_count_that_takes_too_long_shows_nothing_and_says_so() {
    let (world, recording) = metered(Profile::Default);
    let one = world.supervisor("s1").await;
    let (said, _listening) = Said::listen();
    world.repository("a", &["g1"]).await;
    one.repositories_count().await.unwrap();
    let shown = || recording.value(&m::UNAVAILABLE_REPOSITORIES, &["v"]);
    assert_eq!(shown(), Some(0.0));
    world.store.hold(StoreOp::RepositoriesCount);
    assert!(matches!(one.repositories_count().await, Err(Error::Timeout(limit)) if limit == ms(31_000)));
    world.store.release(StoreOp::RepositoriesCount);
    assert_eq!(shown(), None);
    let line = said.only("failed collecting unavailable repository count metric");
    assert!(line.field("error").contains("31s"), "{line:?}");
    one.repositories_count().await.unwrap();
    assert_eq!(shown(), Some(0.0), "and the next one is shown again");
}

/// It reads everything, and nobody routes by it: a lookup's patience is not its own.
#[actix::test]
async fn a_count_may_take_longer_than_a_request() {
    let (world, _) = metered(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("a", &["g1"]).await;
    world.store.hold(StoreOp::RepositoriesCount);
    let counted = actix::spawn({
        let one = one.clone();
        async move { one.repositories_count().await }
    });
    wait::until("it counts", LIMIT, || world.store.held(StoreOp::RepositoriesCount) == 1).await;
    tokio::time::sleep(ms(29_000)).await;
    world.store.release(StoreOp::RepositoriesCount);
    assert_eq!(counted.await.unwrap().unwrap().len(), 1);
}

#[actix::test]
async fn one_count_runs_at_a_time_however_many_ask() {
    let (world, recording) = metered(Profile::Default);
    let one = world.supervisor("s1").await;
    let (said, _listening) = Said::listen();
    world.store.hold(StoreOp::RepositoriesCount);
    let first = actix::spawn({
        let one = one.clone();
        async move { one.repositories_count().await }
    });
    wait::until("the first one counts", LIMIT, || world.store.held(StoreOp::RepositoriesCount) == 1).await;
    for _ in 0..20 {
        assert!(matches!(one.repositories_count().await, Err(Error::Busy)));
    }
    assert_eq!(world.store.held(StoreOp::RepositoriesCount), 1);
    world.store.release(StoreOp::RepositoriesCount);
    first.await.unwrap().unwrap();
    assert_eq!(recording.value(&m::UNAVAILABLE_REPOSITORIES, &["v"]), Some(0.0), "nobody took the answer away");
    assert!(said.of("failed collecting unavailable repository count metric").is_empty());
    assert_eq!(one.repositories_count().await.unwrap(), []);
}

/// Praefect's collector read the tables at each scrape.
#[actix::test]
async fn neither_a_start_nor_a_scrape_counts_repositories() {
    let mut registry = Registry::default();
    let mut world = World::new(Profile::Default);
    world.meter = Meter::new(Prometheus::register(&mut registry));
    let one = world.supervisor("s1").await;
    world.repository("a", &["g1"]).await;
    for _ in 0..60 {
        tokio::time::sleep(ms(60_000)).await;
        let page = render(&registry).unwrap();
        assert!(!page.contains("gitaly_praefect_unavailable_repositories{"), "{page}");
    }
    assert!(!world.store.activity().contains_key(&StoreOp::RepositoriesCount));
    one.repositories_count().await.unwrap();
    let page = render(&registry).unwrap();
    assert!(page.contains(r#"gitaly_praefect_unavailable_repositories{virtual_storage="v"} 0"#), "{page}");
    assert_eq!(world.store.activity()[&StoreOp::RepositoriesCount].calls, 1);
}

async fn rounds_in_ten_seconds(profile: Profile) -> f64 {
    let (world, recording) = metered(profile);
    let _one = world.supervisor("s1").await;
    tokio::time::sleep(ms(10_000)).await;
    let before = recording.value(&m::ROUND, &[]).unwrap();
    tokio::time::sleep(ms(10_000)).await;
    recording.value(&m::ROUND, &[]).unwrap() - before
}

#[actix::test]
async fn each_heartbeat_is_measured_once() {
    let rounds = rounds_in_ten_seconds(Profile::Default).await;
    assert!((9.0..=11.0).contains(&rounds), "{rounds}");
}
#[actix::test]
async fn each_round_is_measured_once() {
    let rounds = rounds_in_ten_seconds(Profile::Praefect).await;
    assert!((9.0..=11.0).contains(&rounds), "{rounds}");
}

/// Every gauge about one node that has a value.
fn gauges_of(recording: &Recording, name: &str) -> BTreeSet<&'static str> {
    let has = |metric: &&&m::Metric| {
        metric.kind == m::Kind::Gauge && {
            let verdicts = ["healthy", "unhealthy", "undecided", "up", "down", "misconfigured", "none"];
            let labels = verdicts.map(|last| vec!["v", name, last]).into_iter().chain([vec!["v", name]]);
            let fitting = labels.into_iter().filter(|labels| labels.len() == metric.labels.len());
            fitting.into_iter().any(|labels| recording.value(metric, &labels).is_some())
        }
    };
    m::ALL.iter().filter(has).map(|metric| metric.name).collect()
}

async fn nothing_is_told_of_a_removed_node(strategy: ElectionStrategy) {
    let (mut world, recording) = metered(Profile::Default);
    let mut config = world.config("s1");
    config.failover.election_strategy = strategy;
    let one = Supervisor::assemble(
        config,
        Ports::new(world.store.clone(), world.transport.clone()).metered(world.meter.clone()),
    )
    .await
    .unwrap();
    world.repository("r", &["g1", "g3"]).await;
    verdict(&one, "g3", Verdict::Healthy).await;
    one.primary(&path("r")).await.unwrap();
    one.repositories_count().await.unwrap();
    let all: BTreeSet<_> = [
        m::NODE_LAST_HEALTHCHECK_UP.name,
        m::PRIMARIES.name,
        m::NODE_VERDICT.name,
        m::NODE_VOTES.name,
        m::QUORUM_SIZE.name,
    ]
    .into();
    assert_eq!(gauges_of(&recording, "g3"), all, "{strategy:?}");
    world.nodes = vec!["g1", "g2"];
    let mut config = world.config("s1");
    config.failover.election_strategy = strategy;
    one.reload(config).await.unwrap();
    let own: BTreeSet<_> = [m::NODE_LAST_HEALTHCHECK_UP.name, m::PRIMARIES.name].into();
    assert!(gauges_of(&recording, "g3").is_disjoint(&own), "{strategy:?}: at once");
    wait::until("the quorum's too", LIMIT, || gauges_of(&recording, "g3").is_empty()).await;
    let _ = one.primary(&path("r")).await;
    one.repositories_count().await.unwrap();
    tokio::time::sleep(ms(15_000)).await;
    assert_eq!(gauges_of(&recording, "g3"), BTreeSet::new(), "{strategy:?}: and nothing brings them back");
    assert_eq!(gauges_of(&recording, "g1"), all, "{strategy:?}: those of the others stay");
}

#[actix::test]
async fn of_a_node_that_a_reload_removed_no_gauge_is_left_where_each_repository_has_a_primary() {
    nothing_is_told_of_a_removed_node(ElectionStrategy::PerRepository).await;
}
#[actix::test]
async fn of_a_node_that_a_reload_removed_no_gauge_is_left_where_a_virtual_storage_has_one() {
    nothing_is_told_of_a_removed_node(ElectionStrategy::Sql).await;
}
