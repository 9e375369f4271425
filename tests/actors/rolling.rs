//! Three supervisors follow another configuration one after the other, and nobody loses a verdict meanwhile (defect G).

use crate::world::{LIMIT, World, ms, node, verdict};
use quorate::{
    Supervisor,
    core::{consensus::Opinion, evidence::Evidence, evidence::Hard, quorum::Verdict, settings::Profile},
    store::{HealthStore, memory::MemoryStore},
    testing::wait,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

const NAMES: [&str; 3] = ["s1", "s2", "s3"];

/// Who may have which verdict from now on, and who was seen with another.
#[derive(Clone, Default)]
struct Witness {
    allowed: Arc<Mutex<BTreeMap<&'static str, Vec<Verdict>>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Witness {
    /// Looks at what the database says every few milliseconds, and at each consensus that a supervisor publishes.
    fn of(store: &Arc<MemoryStore>, three: &[Supervisor<u64>]) -> Witness {
        let witness = Witness::default();
        let (database, store) = (witness.clone(), Arc::clone(store));
        actix::spawn(async move {
            loop {
                let read = store.health_facts().await.unwrap();
                let known = read.facts.evaluate(&read.settings.settings);
                database.look("the database", |name| known.get(&node(name)).map(|known| known.verdict));
                tokio::time::sleep(ms(5)).await;
            }
        });
        for one in three {
            let (published, mut consensus) = (witness.clone(), one.consensus());
            actix::spawn(async move {
                while consensus.changed().await.is_ok() {
                    let known = consensus.borrow_and_update().clone();
                    let verdict = |name: &str| known.as_ref()?.nodes.get(&node(name)).map(|known| known.verdict);
                    published.look("a supervisor", verdict);
                }
            });
        }
        witness
    }

    fn allow(&self, name: &'static str, verdicts: &[Verdict]) {
        self.allowed.lock().unwrap().insert(name, verdicts.to_vec());
    }

    fn look(&self, who: &str, verdict: impl Fn(&str) -> Option<Verdict>) {
        for (name, allowed) in self.allowed.lock().unwrap().iter() {
            let found = verdict(name).unwrap_or(Verdict::Undecided);
            if !allowed.contains(&found) {
                self.seen.lock().unwrap().push(format!("{who}: {name} is {found:?}"));
            }
        }
    }

    fn assert(&self, when: &str) {
        assert_eq!(*self.seen.lock().unwrap(), Vec::<String>::new(), "{when}");
    }
}

async fn three(world: &World) -> Vec<Supervisor<u64>> {
    let mut three = Vec::new();
    for name in NAMES {
        three.push(world.supervisor(name).await);
    }
    for (one, name) in three.iter().zip(NAMES) {
        for about in &world.nodes {
            verdict(one, about, Verdict::Healthy).await;
            wait::until("it has looked itself", LIMIT, || world.opinion(name, about) == Some(Opinion::Up)).await;
        }
    }
    three
}

#[actix::test]
async fn defect_g_a_node_added_to_one_after_the_other_is_voted_down_by_nobody() {
    let mut world = World::new(Profile::Default);
    let three = three(&world).await;
    let witness = Witness::of(&world.store, &three);
    for about in ["g1", "g2", "g3"] {
        witness.allow(about, &[Verdict::Healthy]);
    }
    world.nodes.push("g4");
    for (place, one) in three.iter().enumerate() {
        // Whoever watches it from now on abstains until it has looked, which holds nobody down.
        witness.allow("g4", &[Verdict::Undecided, Verdict::Healthy]);
        one.reload(world.config(NAMES[place])).await.unwrap();
        wait::until("it votes", LIMIT, || world.opinion(NAMES[place], "g4") == Some(Opinion::Up)).await;
        for other in &three {
            verdict(other, "g4", Verdict::Healthy).await;
        }
        // And it stays so, though the others do not know it.
        witness.allow("g4", &[Verdict::Healthy]);
        tokio::time::sleep(ms(3_000)).await;
        for late in &NAMES[place + 1..] {
            assert_eq!(world.opinion(late, "g4"), None, "{late} does not know it, and says nothing");
        }
        witness.assert(NAMES[place]);
    }
    // The witness would have seen it.
    world.node("g4").answers(Evidence::Hard(Hard::Refused));
    verdict(&three[0], "g4", Verdict::Unhealthy).await;
    wait::until("witnessed", LIMIT, || !witness.seen.lock().unwrap().is_empty()).await;
}

#[actix::test]
async fn defect_g_of_a_new_node_those_decide_who_know_it() {
    let mut world = World::new(Profile::Default);
    let three = three(&world).await;
    world.nodes.push("g4");
    world.node("g4").answers(Evidence::Hard(Hard::Refused));
    three[0].reload(world.config("s1")).await.unwrap();
    for one in &three {
        verdict(one, "g4", Verdict::Unhealthy).await;
        verdict(one, "g1", Verdict::Healthy).await;
    }
    world.node("g4").answers(Evidence::Serving);
    for one in &three {
        verdict(one, "g4", Verdict::Healthy).await;
    }
}

#[actix::test]
async fn defect_g_a_node_removed_from_one_after_the_other_stays_healthy_to_the_last() {
    let mut world = World::new(Profile::Default);
    let three = three(&world).await;
    let witness = Witness::of(&world.store, &three);
    for about in ["g1", "g2", "g3"] {
        witness.allow(about, &[Verdict::Healthy]);
    }
    world.nodes = vec!["g1", "g2"];
    for (place, one) in three.iter().enumerate() {
        if place == 2 {
            // Whoever knows it last takes it along.
            witness.allowed.lock().unwrap().remove("g3");
        }
        one.reload(world.config(NAMES[place])).await.unwrap();
        wait::until("its row went", LIMIT, || world.opinion(NAMES[place], "g3").is_none()).await;
        tokio::time::sleep(ms(3_000)).await;
        for late in &NAMES[place + 1..] {
            assert_eq!(world.opinion(late, "g3"), Some(Opinion::Up), "{late} watches it still");
        }
        witness.assert(NAMES[place]);
    }
    for one in &three {
        wait::until("nobody votes on it", LIMIT, || {
            one.health_consensus().is_some_and(|known| !known.nodes.contains_key(&node("g3")))
        })
        .await;
    }
}
