//! What dies is rebuilt, counted, and slowed down.

use crate::world::{LIMIT, World, ms, path, verdict};
use actix::prelude::*;
use quorate::{
    actors::{ChildSpec, Guardian, Relay},
    core::{
        evidence::{Evidence, Hard},
        quorum::Verdict,
        settings::Profile,
    },
    messages::control::{GetRestarts, StopAll},
    testing::wait,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

struct Fragile {
    greeted: u64,
}
#[derive(Message)]
#[rtype(result = "u64")]
struct Greet;
#[derive(Message)]
#[rtype(result = "()")]
struct Break;

impl Actor for Fragile {
    type Context = Context<Self>;
}
impl Handler<Greet> for Fragile {
    type Result = u64;
    fn handle(&mut self, _: Greet, _: &mut Context<Self>) -> u64 {
        self.greeted += 1;
        self.greeted
    }
}
impl Handler<Break> for Fragile {
    type Result = ();
    fn handle(&mut self, _: Break, _: &mut Context<Self>) {
        panic!("told to");
    }
}

#[actix::test]
async fn a_panic_is_survived_with_nothing_of_the_old_memory() {
    tokio::time::pause();
    let (greet, break_it) = (Relay::<Greet>::vacant(), Relay::<Break>::vacant());
    let places = (greet.clone(), break_it.clone());
    let spec = ChildSpec::new(
        "fragile",
        || Fragile { greeted: 0 },
        move |address: &Addr<Fragile>| {
            places.0.set(address.clone().recipient());
            places.1.set(address.clone().recipient());
        },
    );
    let guardian = Guardian::new(vec![spec]).start();
    wait::until_async("it lives", LIMIT, async || greet.send(Greet).await.is_some()).await;
    assert!(greet.send(Greet).await > Some(1));
    for died in 1..=5 {
        assert!(break_it.try_send(Break));
        wait::until_async("it was counted", LIMIT, async || {
            guardian.send(GetRestarts).await.unwrap()["fragile"] == died
        })
        .await;
        wait::until_async("it lives again", LIMIT, async || greet.send(Greet).await.is_some()).await;
        assert_eq!(greet.send(Greet).await, Some(2), "a new one, which remembers nothing");
    }
    guardian.send(StopAll).await.unwrap();
    wait::until_async("it is gone", LIMIT, async || greet.send(Greet).await.is_none()).await;
}

#[actix::test]
async fn an_actor_that_dies_at_once_again_and_again_is_slowed_down() {
    tokio::time::pause();
    struct Stillborn;
    impl Actor for Stillborn {
        type Context = Context<Self>;
        fn started(&mut self, _: &mut Context<Self>) {
            panic!("born to");
        }
    }
    let builds = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&builds);
    let build = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Stillborn
    };
    let guardian = Guardian::new(vec![ChildSpec::new("stillborn", build, |_: &Addr<Stillborn>| {})]).start();
    tokio::time::sleep(ms(60_000)).await;
    let built = builds.load(Ordering::Relaxed);
    // 50 ms doubling to 10 s: nine in the first 13 s, then one every 10 s; without the pause it would be thousands.
    assert!((8..=16).contains(&built), "{built}");
    assert!(guardian.connected(), "the guardian itself lives on");
}

#[actix::test]
async fn a_node_actor_that_panics_is_back_and_votes_again() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.node("g1").panics(true);
    wait::until_async("it died", LIMIT, async || one.restarts().await["node v/g1"] >= 1).await;
    world.node("g1").panics(false);
    world.node("g1").answers(Evidence::Hard(Hard::Refused));
    verdict(&one, "g1", Verdict::Unhealthy).await;
    let restarts = one.restarts().await;
    assert_eq!(restarts["node v/g2"], 0, "nobody else was touched: {restarts:?}");
    world.repository("r", &["g1", "g2"]).await;
    assert_eq!(one.primary(&path("r")).await.unwrap().storage.as_str(), "g2");
}
