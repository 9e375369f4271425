//! HealthManager and elector from a set of probes and a store, without a supervisor.

use crate::world::{LIMIT, World, node, path, storage, vs};
use actix::Actor;
use quorate::{
    HealthClients,
    actors::PerRepositoryElector,
    core::{
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
async fn whoever_drops_a_watch_leaves_its_votes_to_lapse() {
    let world = World::new(Profile::Default);
    let watch = HealthClients::default().start(&world.config("alone"), world.store.clone()).await.unwrap();
    wait::until("it is registered", LIMIT, || watch.voter().is_some()).await;
    drop(watch);
    let rows = world.store.health_facts().await.unwrap().facts.supervisors;
    assert_eq!(rows.len(), 1, "no goodbye was said");
}
