//! The handle: start, stop, and what it says when it cannot.

use crate::world::{LIMIT, World, ms, name, node, path, storage, verdict, write};
use quorate::{
    Error, Ports, Supervisor,
    config::Secret,
    core::{
        consensus::Opinion,
        evidence::{Evidence, Hard},
        quorum::Verdict,
        settings::Profile,
    },
    store::{HealthStore, Refused, StoreErrorKind, StoreOp},
    testing::{probe::ScriptedTransport, wait},
    transport::{DialError, Link, NodeAddress, Transport},
};
use std::sync::{Arc, Mutex};

#[actix::test]
async fn two_supervisors_in_one_process_agree() {
    let world = World::new(Profile::Default);
    let (one, two) = (world.supervisor("s1").await, world.supervisor("s2").await);
    verdict(&one, "g1", Verdict::Healthy).await;
    verdict(&two, "g1", Verdict::Healthy).await;
    world.repository("r", &["g1", "g2"]).await;
    let primary = one.primary(&path("r")).await.unwrap();
    assert_eq!(two.primary(&path("r")).await.unwrap(), primary);
    world.node(primary.storage.as_str()).answers(Evidence::Hard(Hard::Refused));
    verdict(&one, primary.storage.as_str(), Verdict::Unhealthy).await;
    verdict(&two, primary.storage.as_str(), Verdict::Unhealthy).await;
    let after = two.primary(&path("r")).await.unwrap();
    assert_eq!(one.primary(&path("r")).await.unwrap(), after);
    assert_ne!(after.storage, primary.storage);
}

#[actix::test]
async fn a_start_is_ready_for_the_first_question() {
    let world = World::new(Profile::Default);
    ["g1", "g2", "g3"].iter().for_each(|name| world.node(name).takes(ms(100)));
    world.repository("r", &["g1"]).await;
    let one = world.supervisor("s1").await;
    assert_eq!(one.primary(&path("r")).await.unwrap().storage, storage("g1"));
}

#[actix::test]
async fn a_graceful_stop_takes_its_row_and_votes_away_at_once() {
    let world = World::new(Profile::Default);
    let (one, two) = (world.supervisor("s1").await, world.supervisor("s2").await);
    verdict(&one, "g1", Verdict::Healthy).await;
    two.stop().await;
    assert!(!world.store.stored_votes().iter().any(|vote| vote.supervisor == name("s2")));
    assert!(matches!(two.primary(&path("r")).await, Err(Error::Stopped)));
    two.stop().await;
    let facts = world.store.health_facts().await.unwrap().facts;
    assert_eq!(facts.supervisors.len(), 1);
    verdict(&one, "g1", Verdict::Healthy).await;
}

#[actix::test]
async fn an_unreachable_node_neither_blocks_nor_fails_a_start() {
    let world = World::new(Profile::Default);
    world.node("g1").takes(LIMIT);
    world.node("g2").answers(Evidence::Hard(Hard::Refused));
    let began = tokio::time::Instant::now();
    let one = world.supervisor("s1").await;
    assert!(began.elapsed() < ms(2_000), "{:?}", began.elapsed());
    assert_eq!(one.healthy_nodes().0.into_values().flatten().collect::<Vec<_>>(), vec![storage("g3")]);
}

#[actix::test]
async fn nine_silent_nodes_take_no_probe_away_from_the_tenth() {
    let mut world = World::new(Profile::Default);
    world.nodes = vec!["g1", "g2", "g3", "g4", "g5", "g6", "g7", "g8", "g9", "g10"];
    for silent in &world.nodes[..9] {
        world.node(silent).takes(LIMIT);
    }
    let _one = world.supervisor("s1").await;
    let before = world.node("g10").probes().len();
    tokio::time::sleep(ms(30_000)).await;
    let probes = world.node("g10").probes().len() - before;
    assert!((36..=45).contains(&probes), "one each 750 ms, give or take a tenth: {probes}");
}

#[actix::test]
async fn a_store_that_does_not_answer_bounds_the_start_and_says_why() {
    let world = World::new(Profile::Default);
    world.store.fail(Some(StoreOp::SupervisorRegister), StoreErrorKind::ReadOnly);
    let mut config = world.config("s1");
    config.start_timeout = ms(3_000);
    let began = tokio::time::Instant::now();
    let error = world.assemble(config).await.unwrap_err();
    assert!(began.elapsed() < ms(9_000), "{:?}", began.elapsed());
    assert!(matches!(&error, Error::NotReady { .. }), "{error:?}");
    assert!(error.to_string().contains("read-only"), "{error}");
}

/// Remembers with which token each node was opened.
struct Remembering(ScriptedTransport, Arc<Mutex<Vec<Option<Secret>>>>);

impl Transport for Remembering {
    type Connection = u64;
    fn open(&self, address: &NodeAddress, token: Option<&Secret>) -> Result<Link<u64>, DialError> {
        self.1.lock().unwrap().push(token.cloned());
        self.0.open(address, token)
    }
}

#[actix::test]
async fn each_node_is_opened_with_its_own_token() {
    let world = World::new(Profile::Default);
    let mut config = world.config("s1");
    let token = Secret::new("hunter2");
    config.virtual_storages[0].nodes[1].token = Some(token.clone());
    let opened = Arc::default();
    let transport = Remembering(world.transport.clone(), Arc::clone(&opened));
    let supervisor = Supervisor::assemble(config, Ports::new(world.store.clone(), transport)).await.unwrap();
    assert_eq!(*opened.lock().unwrap(), [None, Some(token), None]);
    assert!(!format!("{supervisor:?} {:?}", supervisor.nodes()).contains("hunter2"));
}

#[actix::test]
async fn every_malformed_address_is_named_at_start() {
    let world = World::new(Profile::Default);
    let mut config = world.config("s1");
    config.virtual_storages[0].nodes[0].address = "localhost:1234".to_owned();
    config.virtual_storages[0].nodes[2].address = "tcp://host:1/path".to_owned();
    let error = world.assemble(config).await.unwrap_err();
    let shown = error.to_string();
    assert!(matches!(error, Error::Config(_)));
    assert!(shown.contains("v/g1") && shown.contains("localhost:1234"), "{shown}");
    assert!(shown.contains("v/g3") && shown.contains("/path"), "{shown}");
}

#[actix::test]
async fn a_node_that_returns_after_an_hour_is_seen_within_a_second_and_healthy_after_rise() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.node("g1").answers(Evidence::Hard(Hard::Refused));
    verdict(&one, "g1", Verdict::Unhealthy).await;
    tokio::time::sleep(ms(3_600_000)).await;
    world.node("g1").answers(Evidence::Serving);
    let before = world.node("g1").probes().len();
    tokio::time::sleep(ms(1_000)).await;
    assert!(world.node("g1").probes().len() > before, "probed within a second");
    verdict(&one, "g1", Verdict::Healthy).await;
    assert_eq!(world.opinion("s1", "g1"), Some(Opinion::Up));
}

#[actix::test]
async fn bookkeeping_is_fenced_as_the_documentation_says() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let id = world.repository("r", &["g1", "g2"]).await;
    let primary = one.primary(&path("r")).await.unwrap();
    let other = storage(if primary.storage == storage("g1") { "g2" } else { "g1" });
    let fence = primary.fence().unwrap();
    let refused = |error: Error| match error {
        Error::Refused(why) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refused(one.generation_increment(id, None, &[primary.storage.clone()].into()).await.unwrap_err()),
        Refused::FenceRequired
    );
    assert_eq!(
        refused(one.generation_increment(id, Some(&fence), &[other.clone()].into()).await.unwrap_err()),
        Refused::PrimaryNotAcknowledged
    );
    write(&one, &path("r"), &[primary.storage.as_str()]).await.unwrap();
    assert_eq!(refused(one.replica_mark(id, &primary.storage).await.unwrap_err()), Refused::IsPrimary);
    one.replica_mark(id, &other).await.unwrap();
    one.replica_delete(id, Some(&fence), &other).await.unwrap();
    assert_eq!(one.repository(&path("r")).await.unwrap().facts.replicas.len(), 1);
    let deleted = one.repository_delete(id, Some(&fence)).await.unwrap();
    assert_eq!(deleted.storages, vec![primary.storage]);
    assert!(matches!(one.primary(&path("r")).await, Err(Error::RepositoryNotFound)));
}

#[actix::test]
async fn a_heartbeat_too_slow_for_the_stored_settings_is_refused_at_start_and_by_an_update() {
    let mut world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let mut settings = one.settings();
    settings.voter_ttl = ms(2_900);
    settings.vote_ttl = ms(2_900);
    let error = one.settings_update(&settings).await.unwrap_err();
    assert!(error.to_string().contains("1s × 3 must be below the cluster's voter_ttl = 2.9s"), "{error}");
    // Ours would do, but the stored ones win.
    world.settings.voter_ttl = ms(30_000);
    let mut config = world.config("s2");
    config.heartbeat = ms(2_000);
    let error = world.assemble(config).await.unwrap_err();
    assert!(matches!(&error, Error::Config(_)), "{error:?}");
    assert!(error.to_string().contains("voter_ttl = 5s"), "{error}");
}

/// Its registration is still on its way to the database when it is told to go.
#[actix::test]
async fn a_stop_during_a_registration_leaves_no_row() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.store.hold(StoreOp::SupervisorRegister);
    world.store.shift_stamps(ms(60_000));
    let store = world.store.clone();
    wait::until("it lapsed and registers anew", LIMIT, || store.held(StoreOp::SupervisorRegister) == 1).await;
    let (_, ()) = futures_util::future::join(one.stop(), async {
        tokio::time::sleep(ms(500)).await;
        world.store.release(StoreOp::SupervisorRegister);
    })
    .await;
    let left = world.store.health_facts().await.unwrap().facts;
    assert_eq!((left.supervisors, left.votes), (vec![], vec![]));
}

/// What a supervisor holds of g1 that hears `mine` from it, while the two others hear `theirs`: whether it would send
/// real traffic there, and the quorum's verdict.
async fn seen_otherwise(mine: Evidence, theirs: Evidence) -> (bool, Verdict) {
    let mut world = World::new(Profile::Default);
    world.node("g1").answers(theirs);
    let _others = (world.supervisor("s1").await, world.supervisor("s2").await);
    world.transport = ScriptedTransport::default();
    world.node("g1").answers(mine);
    let three = world.supervisor("s3").await;
    wait::until("s3 has voted", LIMIT, || matches!(world.opinion("s3", "g1"), Some(Opinion::Up | Opinion::Down))).await;
    tokio::time::sleep(ms(3_000)).await;
    let routed = three.healthy_nodes().0.into_values().flatten().any(|up| up == storage("g1"));
    assert_eq!(three.node(&node("g1")).unwrap().is_healthy(), routed);
    (routed, three.health_consensus().unwrap().verdict(&node("g1")))
}

#[actix::test]
async fn what_this_supervisor_cannot_reach_is_not_routed_to_though_the_quorum_holds_it_up() {
    let seen = seen_otherwise(Evidence::Hard(Hard::Refused), Evidence::Serving).await;
    assert_eq!(seen, (false, Verdict::Healthy));
}

#[actix::test]
async fn what_this_supervisor_reaches_is_routed_to_though_the_quorum_holds_it_dead() {
    let seen = seen_otherwise(Evidence::Serving, Evidence::Hard(Hard::Refused)).await;
    assert_eq!(seen, (true, Verdict::Unhealthy));
}
