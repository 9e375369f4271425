//! Supervisors that see nothing, or stood still, do no harm; each with its contrast among the guards.

use crate::world::{LIMIT, World, ms, node, path, verdict};
use quorate::{
    Supervisor,
    core::{
        consensus::Opinion,
        evidence::{Evidence, Hard},
        quorum::Verdict,
        recusal::Distrust,
        settings::Profile,
        watching::Word,
    },
    store::HealthStore,
    testing::{
        probe::{ScriptedNode, ScriptedTransport},
        wait,
    },
};

const DEAD: Evidence = Evidence::Hard(Hard::Refused);
const HUNG_UP: Word = Word::Ended(Evidence::Hard(Hard::Reset));

/// A supervisor with a network of its own.
struct Eye {
    supervisor: Supervisor<u64>,
    nodes: Vec<ScriptedNode>,
}

impl Eye {
    fn silence(&self) {
        self.nodes.iter().for_each(|node| node.takes(LIMIT));
    }
    fn hear(&self) {
        self.nodes.iter().for_each(|node| node.takes(ms(0)));
    }
    async fn recused(&self, wanted: Option<Distrust>) {
        wait::until(&format!("recused: {wanted:?}"), LIMIT, || self.supervisor.recused() == wanted).await;
    }
    fn verdict(&self, about: &str) -> Verdict {
        self.supervisor.health_consensus().map_or(Verdict::Undecided, |known| known.verdict(&node(about)))
    }
}

async fn eye(world: &mut World, name: &str, change: impl FnOnce(&mut quorate::Config)) -> Eye {
    world.transport = ScriptedTransport::default();
    let mut config = world.config(name);
    change(&mut config);
    let supervisor = world.assemble(config).await.unwrap();
    let nodes = world.nodes.iter().map(|name| world.node(name)).collect();
    Eye { supervisor, nodes }
}

/// How many of all supervisors abstain, as everybody reads it.
async fn abstaining(world: &World) -> usize {
    world.store.health_facts().await.unwrap().facts.supervisors.iter().filter(|row| row.recused).count()
}

/// Everything but what the story says happens once an hour.
fn hourly(config: &mut quorate::Config) {
    config.settings.voter_ttl = ms(3_600_000);
    config.settings.vote_ttl = ms(3_600_000);
    config.heartbeat = ms(1_000_000);
    config.health.interval = ms(3_599_000);
}

#[actix::test]
async fn d08_who_lost_the_network_holds_nobody_up_and_takes_nobody_down() {
    let mut world = World::new(Profile::Default);
    let mut eyes = Vec::new();
    for name in ["s1", "s2", "s3"] {
        eyes.push(eye(&mut world, name, |_| {}).await);
    }
    let [one, two, three] = &eyes[..] else { unreachable!() };
    for name in ["g1", "g2", "g3"] {
        verdict(&one.supervisor, name, Verdict::Healthy).await;
    }
    world.repository("r", &["g1", "g2", "g3"]).await;
    let before = one.supervisor.primary(&path("r")).await.unwrap().storage;
    let others = || world.nodes.iter().filter(|name| **name != before.as_str());
    two.silence();
    three.silence();
    two.recused(Some(Distrust::Blind)).await;
    three.recused(Some(Distrust::Blind)).await;
    // One that has just registered would wait for the others to return.
    tokio::time::sleep(ms(5_000)).await;
    let place = world.nodes.iter().position(|name| *name == before.as_str()).unwrap();
    one.nodes[place].answers(DEAD);
    verdict(&one.supervisor, before.as_str(), Verdict::Unhealthy).await;
    assert_ne!(one.supervisor.primary(&path("r")).await.unwrap().storage, before, "s1's word holds");
    // The blind ones go on seeing nothing, for as long as they like.
    for _ in 0..50 {
        tokio::time::sleep(ms(200)).await;
        for name in others() {
            assert_eq!(one.verdict(name), Verdict::Healthy, "{name} serves, and s1 sees it");
            for voter in ["s2", "s3"] {
                assert_ne!(world.opinion(voter, name), Some(Opinion::Down), "{voter} about {name}");
            }
        }
    }
    assert_eq!(abstaining(&world).await, 2);
    two.hear();
    three.hear();
    two.recused(None).await;
    three.recused(None).await;
    wait::until_async("all take part", LIMIT, async || abstaining(&world).await == 0).await;
    for name in others() {
        verdict(&one.supervisor, name, Verdict::Healthy).await;
    }
}

#[actix::test]
async fn d24_when_every_node_is_silent_for_everybody_all_abstain_and_nothing_moves() {
    let mut world = World::new(Profile::Default);
    let (one, two) = (eye(&mut world, "s1", |_| {}).await, eye(&mut world, "s2", |_| {}).await);
    for name in ["g1", "g2", "g3"] {
        verdict(&one.supervisor, name, Verdict::Healthy).await;
    }
    world.repository("r", &["g1", "g2", "g3"]).await;
    let before = one.supervisor.primary(&path("r")).await.unwrap();
    one.silence();
    two.silence();
    one.recused(Some(Distrust::Blind)).await;
    two.recused(Some(Distrust::Blind)).await;
    for _ in 0..50 {
        tokio::time::sleep(ms(200)).await;
        for name in &world.nodes {
            assert_ne!(one.verdict(name), Verdict::Unhealthy, "{name}");
        }
    }
    let after = one.supervisor.primary(&path("r")).await.unwrap();
    assert_eq!((after.storage, after.epoch), (before.storage, before.epoch));
    one.hear();
    two.hear();
    one.recused(None).await;
    two.recused(None).await;
    for name in ["g1", "g2", "g3"] {
        verdict(&one.supervisor, name, Verdict::Healthy).await;
    }
}

#[actix::test]
async fn d24_three_of_a_hundred_that_are_silent_are_voted_down_as_usual() {
    let mut world = World::new(Profile::Default);
    world.nodes = (0..100).map(|number| &*Box::leak(format!("n{number}").into_boxed_str())).collect();
    let one = eye(&mut world, "s1", |_| {}).await;
    verdict(&one.supervisor, "n99", Verdict::Healthy).await;
    one.nodes[..3].iter().for_each(|node| node.takes(LIMIT));
    let began = tokio::time::Instant::now();
    for name in ["n0", "n1", "n2"] {
        verdict(&one.supervisor, name, Verdict::Unhealthy).await;
    }
    assert!(began.elapsed() < ms(1_900), "an interval and three timeouts: {:?}", began.elapsed());
    assert_eq!((one.supervisor.recused(), one.verdict("n3")), (None, Verdict::Healthy));
}

#[actix::test]
async fn d24_the_first_node_to_fall_silent_is_not_voted_down_before_the_others_were_asked() {
    let mut world = World::new(Profile::Default);
    let one = eye(&mut world, "s1", hourly).await;
    for name in ["g1", "g2", "g3"] {
        verdict(&one.supervisor, name, Verdict::Healthy).await;
    }
    one.silence();
    let asked = one.supervisor.node(&node("g1")).unwrap();
    while one.supervisor.recused().is_none() {
        let _ = asked.check_health().await;
        tokio::time::sleep(ms(50)).await;
        assert_eq!(world.opinion("s1", "g1"), Some(Opinion::Up), "the only node that was looked at");
    }
    assert_eq!(one.supervisor.recused(), Some(Distrust::Blind), "the others were asked, and are silent");
    assert_eq!(world.opinion("s1", "g1"), Some(Opinion::Up));
}

#[actix::test]
async fn a_supervisor_that_stood_still_abstains_for_a_round() {
    let mut world = World::new(Profile::Default);
    let one = eye(&mut world, "s1", |_| {}).await;
    verdict(&one.supervisor, "g1", Verdict::Healthy).await;
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(one.supervisor.recused(), None, "contrast: nothing stood still");
    tokio::time::advance(ms(1_000)).await;
    one.recused(Some(Distrust::Stalled)).await;
    let began = tokio::time::Instant::now();
    wait::until_async("its row says so", LIMIT, async || abstaining(&world).await == 1).await;
    one.recused(None).await;
    assert!(began.elapsed() >= ms(1_600), "{:?}", began.elapsed());
    wait::until_async("its row says so", LIMIT, async || abstaining(&world).await == 0).await;
    verdict(&one.supervisor, "g1", Verdict::Healthy).await;
}

#[actix::test]
async fn what_a_majority_saw_everybody_knows_at_once_and_the_accused_is_looked_at() {
    let mut world = World::new(Profile::Default);
    let mut eyes = Vec::new();
    for name in ["s1", "s2", "s3"] {
        eyes.push(eye(&mut world, name, hourly).await);
    }
    for eye in &eyes {
        wait::until("it listens", LIMIT, || eye.nodes[0].listeners() == 1).await;
    }
    wait::until("all have voted", LIMIT, || {
        ["s1", "s2", "s3"].iter().all(|voter| world.opinion(voter, "g1") == Some(Opinion::Up))
    })
    .await;
    let began = tokio::time::Instant::now();
    // Only s1 is told. What the others see of g1 they would ask for in an hour.
    eyes[0].nodes[0].answers(DEAD);
    eyes[1].nodes[0].answers(DEAD);
    eyes[0].nodes[0].says(HUNG_UP);
    for eye in &eyes {
        verdict(&eye.supervisor, "g1", Verdict::Unhealthy).await;
    }
    assert!(began.elapsed() < ms(500), "{:?}", began.elapsed());
    assert_eq!(world.opinion("s3", "g1"), Some(Opinion::Up), "it looked, too, and saw it serve");
    assert_eq!(eyes[2].nodes[0].probes().len(), 2);
}
