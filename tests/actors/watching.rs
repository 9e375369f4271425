//! What a node says by itself: heard at once, confirmed, and never believed against its silence.
//!
//! Probes are due once an hour here, so whatever happens within seconds happened because the node said something.

use crate::world::{LIMIT, World, ms, node, verdict};
use quorate::{
    Supervisor,
    core::{
        consensus::Opinion,
        evidence::{Evidence, Hard},
        prober::Via,
        quorum::Verdict,
        settings::Profile,
        watching::Word,
    },
    messages::health::NodeHealth,
    testing::{probe::ScriptedNode, wait},
};

const DEAD: Evidence = Evidence::Hard(Hard::Refused);
const HUNG_UP: Word = Word::Ended(Evidence::Hard(Hard::Reset));
const NOT_SERVING: Evidence = Evidence::Hard(Hard::NotServing);

struct Listening {
    world: World,
    one: Supervisor<u64>,
    g1: ScriptedNode,
}

/// One supervisor that looks once an hour and listens to g1.
async fn listening() -> Listening {
    let world = World::new(Profile::Default);
    let mut config = world.config("s1");
    config.settings.voter_ttl = ms(3_600_000);
    config.settings.vote_ttl = ms(3_600_000);
    config.health.interval = ms(3_599_000);
    let one = world.assemble(config).await.unwrap();
    let g1 = world.node("g1");
    let listening = Listening { world, one, g1 };
    verdict(&listening.one, "g1", Verdict::Healthy).await;
    listening.listeners(1).await;
    listening
}

impl Listening {
    async fn listeners(&self, count: usize) {
        wait::until(&format!("{count} listeners"), LIMIT, || self.g1.listeners() == count).await;
    }
    async fn health(&self) -> NodeHealth {
        self.one.node(&node("g1")).unwrap().health().await.unwrap()
    }
    async fn check(&self) -> Evidence {
        self.one.node(&node("g1")).unwrap().check_health().await.unwrap()
    }
}

#[actix::test]
async fn a_node_that_dies_is_voted_down_at_once_though_no_probe_is_due() {
    let story = listening().await;
    let began = tokio::time::Instant::now();
    story.g1.answers(DEAD);
    story.g1.says(HUNG_UP);
    verdict(&story.one, "g1", Verdict::Unhealthy).await;
    assert!(began.elapsed() < ms(100), "{:?}", began.elapsed());
    assert_eq!(story.g1.probes(), [Via::Kept, Via::Fresh], "the first, and the confirmation");
    assert_eq!(story.world.opinion("s1", "g1"), Some(Opinion::Down), "the vote, too");
}

#[actix::test]
async fn a_stream_that_breaks_while_the_node_serves_moves_nothing() {
    let story = listening().await;
    story.g1.says(HUNG_UP);
    wait::until("the confirmation", LIMIT, || story.g1.probes() == [Via::Kept, Via::Fresh]).await;
    let health = story.health().await;
    assert_eq!((health.opinion, health.window), (Opinion::Up, vec![true, true]));
    assert!(!health.watched);
    tokio::time::sleep(ms(100)).await;
    assert_eq!(story.check().await, Evidence::Serving);
    story.listeners(1).await;
    assert!(story.health().await.watched, "opened again by the next answer");
}

#[actix::test]
async fn a_node_that_says_that_it_does_not_serve_is_down_and_hurries_back_but_needs_all_its_probes() {
    let story = listening().await;
    story.g1.answers(NOT_SERVING);
    story.g1.says(Word::Says(NOT_SERVING));
    verdict(&story.one, "g1", Verdict::Unhealthy).await;
    story.g1.answers(Evidence::Serving);
    let before = story.g1.probes().len();
    story.g1.says(Word::Says(Evidence::Serving));
    wait::until("a probe at once", LIMIT, || story.g1.probes().len() == before + 1).await;
    assert_eq!(story.health().await.opinion, Opinion::Down, "its word is not enough");
    for expected in [Opinion::Down, Opinion::Up] {
        assert_eq!(story.check().await, Evidence::Serving);
        assert_eq!(story.health().await.opinion, expected);
    }
    verdict(&story.one, "g1", Verdict::Healthy).await;
}

#[actix::test]
async fn a_node_that_never_stops_talking_is_asked_no_more_often_than_there_are_moments_to_look() {
    let story = listening().await;
    let before = story.g1.probes().len();
    for _ in 0..5_000 {
        story.g1.says(Word::Says(NOT_SERVING));
        story.g1.says(Word::Says(Evidence::Serving));
    }
    let began = tokio::time::Instant::now();
    tokio::time::sleep(ms(500)).await;
    let probes = story.g1.probes().len() - before;
    assert!(probes <= 15, "{probes} probes for 10,000 words within {:?}", began.elapsed());
    assert_eq!(story.health().await.opinion, Opinion::Up);
    story.g1.answers(NOT_SERVING);
    story.g1.says(Word::Says(NOT_SERVING));
    verdict(&story.one, "g1", Verdict::Unhealthy).await;
}

#[actix::test]
async fn a_silent_node_goes_down_by_its_missed_probes_however_well_it_talks() {
    let story = listening().await;
    story.g1.takes(LIMIT);
    let began = tokio::time::Instant::now();
    let one = story.one.node(&node("g1")).unwrap().clone();
    let checking = actix::spawn(async move { one.check_health().await });
    while story.one.health_consensus().is_none_or(|known| known.verdict(&node("g1")) != Verdict::Unhealthy) {
        story.g1.says(Word::Says(Evidence::Serving));
        tokio::time::sleep(ms(20)).await;
        assert!(story.g1.probes().len() < 100, "never down");
    }
    assert!(began.elapsed() < ms(1_000), "three timeouts, whatever it says: {:?}", began.elapsed());
    assert!(checking.await.unwrap().is_ok());
    assert_eq!(story.g1.reconnects(), 1);
    story.listeners(0).await;
}

#[actix::test]
async fn a_node_without_a_watch_is_probed_as_before_and_not_asked_for_one_again() {
    let world = World::new(Profile::Default);
    world.node("g1").offers_watch(false);
    let one = world.supervisor("s1").await;
    verdict(&one, "g1", Verdict::Healthy).await;
    tokio::time::sleep(ms(60_000)).await;
    assert_eq!(world.node("g1").watches(), 1);
    assert!(world.node("g1").probes().len() >= 60, "{}", world.node("g1").probes().len());
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    world.node("g1").offers_watch(true);
    world.node("g1").answers(Evidence::Serving);
    verdict(&one, "g1", Verdict::Healthy).await;
    assert_eq!(world.node("g1").listeners(), 1, "whoever returned may be another process");
}

#[actix::test]
async fn in_profile_praefect_nobody_listens() {
    let world = World::new(Profile::Praefect);
    let one = world.supervisor("s1").await;
    verdict(&one, "g1", Verdict::Healthy).await;
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(world.node("g1").watches(), 0);
}
