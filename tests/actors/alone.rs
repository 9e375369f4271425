//! HealthManager and elector from a set of probes and a store, without a supervisor.

use crate::world::{LIMIT, World, ms, node, path, storage, vs};
use actix::Actor;
use quorate::{
    Error, HealthClients,
    actors::PerRepositoryElector,
    core::{
        consensus::Opinion,
        evidence::{Evidence, Hard},
        quorum::Verdict,
        settings::Profile,
    },
    messages::election::GetPrimary,
    store::HealthStore,
    testing::{probe::ScriptedNode, wait},
    transport::HealthProbe,
};
use std::sync::Arc;

#[actix::test]
async fn probes_and_a_store_are_enough_to_vote_and_to_elect() {
    let world = World::new(Profile::Default);
    let watch = world.clients().start(&world.config("alone"), world.store.clone()).await.unwrap();
    let mut updated = watch.updated();
    wait::within("a first consensus", LIMIT, updated.wait_for(Option::is_some)).await.unwrap();
    let healthy = |name: &str| {
        let known = watch.health_consensus();
        known.is_some_and(|known| known.verdict(&node(name)) == Verdict::Healthy)
    };
    wait::until("its own votes decide", LIMIT, || healthy("g1") && healthy("g2")).await;
    assert_eq!(watch.healthy_nodes().0[&vs()].len(), 3);
    assert_eq!(watch.voter().unwrap().name.as_str(), "alone");

    world.repository("r", &["g1", "g2"]).await;
    let elector = PerRepositoryElector::new(watch.elector(world.store.clone())).start();
    let first = elector.send(GetPrimary::of(path("r"))).await.unwrap().unwrap();
    world.node(first.storage.as_str()).answers(Evidence::Hard(Hard::Refused));
    wait::until("it is voted down", LIMIT, || !healthy(first.storage.as_str())).await;
    let second = elector.send(GetPrimary::of(path("r"))).await.unwrap().unwrap();
    assert_ne!(first.storage, second.storage);
    assert!(second.epoch > first.epoch, "it proposes under the watcher's registration");

    watch.stop().await;
    assert!(world.store.stored_votes().is_empty(), "a graceful stop takes row and votes along");
    assert!(world.store.health_facts().await.unwrap().facts.supervisors.is_empty());
}

#[actix::test]
async fn a_probe_is_replaced_while_it_is_in_use() {
    let world = World::new(Profile::Default);
    let clients = world.clients();
    let watch = clients.start(&world.config("alone"), world.store.clone()).await.unwrap();
    let up = || watch.healthy_nodes().0.get(&vs()).is_some_and(|up| up.contains(&storage("g1")));
    wait::until("g1 is up", LIMIT, up).await;
    let moved = ScriptedNode::default();
    moved.answers(Evidence::Hard(Hard::Refused));
    let probe: Arc<dyn HealthProbe> = Arc::new(moved.clone());
    assert!(clients.replace(&node("g1"), Arc::clone(&probe)));
    wait::until("the new probe is asked", LIMIT, || !up()).await;
    assert!(!moved.probes().is_empty());
    assert!(!clients.replace(&node("g9"), probe), "nobody is added by this");
}

#[actix::test]
async fn a_watch_follows_other_clients_and_other_times_and_keeps_its_votes() {
    let world = World::new(Profile::Default);
    let clients = world.clients();
    let watch = clients.start(&world.config("alone"), world.store.clone()).await.unwrap();
    let up = |name: &str| world.opinion("alone", name) == Some(Opinion::Up);
    wait::until("all are up", LIMIT, || up("g1") && up("g2") && up("g3")).await;
    let (voter, probe): (_, Arc<dyn HealthProbe>) = (watch.voter(), Arc::new(world.node("g4")));
    let others = clients.clone().with(node("g4"), probe).without(&node("g3"));
    let mut config = world.config("alone");
    config.health.interval = ms(100);
    config.virtual_storages.clear();
    watch.reload(&others, &config).await.unwrap();
    wait::until("g3 went", LIMIT, || world.opinion("alone", "g3").is_none()).await;
    wait::until("g4 came", LIMIT, || up("g4")).await;
    assert!(up("g1") && up("g2"), "they stay");
    assert_eq!(watch.voter(), voter, "nobody registered anew");
    let probed = |name: &str| world.node(name).probes().len();
    let before = (probed("g1"), probed("g3"));
    tokio::time::sleep(ms(1_000)).await;
    assert!((8..=12).contains(&(probed("g1") - before.0)), "ten times a second");
    assert_eq!(probed("g3"), before.1, "nobody asks it any more");

    // The same node by another client is another way to it.
    let moved = ScriptedNode::default();
    moved.answers(Evidence::Hard(Hard::Refused));
    watch.reload(&others.clone().with(node("g1"), Arc::new(moved.clone())), &config).await.unwrap();
    wait::until("seen there", LIMIT, || world.opinion("alone", "g1") == Some(Opinion::Down)).await;
    assert_eq!(watch.healthy_nodes().0[&vs()], [storage("g2"), storage("g4")]);
}

#[actix::test]
async fn a_watch_that_cannot_follow_tells_every_reason_and_goes_on() {
    let world = World::new(Profile::Default);
    let clients = world.clients();
    let watch = clients.start(&world.config("alone"), world.store.clone()).await.unwrap();
    wait::until("up", LIMIT, || world.opinion("alone", "g1") == Some(Opinion::Up)).await;
    let mut config = world.config("other");
    config.heartbeat = ms(4_000);
    config.health.timeout = ms(0);
    let Err(Error::Config(error)) = watch.reload(&clients.clone().without(&node("g1")), &config).await else {
        panic!("it cannot follow")
    };
    let keys: Vec<&str> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["health.timeout", "heartbeat × 3", "name", "heartbeat"], "{error}");
    let Err(Error::Config(same)) = clients.start(&config, world.store.clone()).await else { panic!("nor start") };
    assert_eq!(same.problems, error.problems[..2]);
    let probed = world.node("g1").probes().len();
    wait::until("it goes on", LIMIT, || world.node("g1").probes().len() > probed).await;
    assert_eq!(world.opinion("alone", "g1"), Some(Opinion::Up));

    let _newer = world.supervisor("alone").await;
    wait::until_async("it ended", LIMIT, async || {
        matches!(watch.reload(&clients, &world.config("alone")).await, Err(Error::Superseded { .. }))
    })
    .await;
}

#[actix::test]
async fn whoever_drops_a_watch_leaves_its_votes_to_lapse() {
    let world = World::new(Profile::Default);
    let watch = HealthClients::default().start(&world.config("alone"), world.store.clone()).await.unwrap();
    wait::until("it is registered", LIMIT, || watch.voter().is_some()).await;
    drop(watch);
    let rows = world.store.health_facts().await.unwrap().facts.supervisors;
    assert_eq!(rows.len(), 1, "no goodbye was said");
}
