//! D11 on a real server: its clock steps.
//!
//! Nobody may set the machine's clock, but a session looks for a function's name along its search path. So the database
//! puts a schema of its own before the server's, with functions of the same names that show the server's time and an
//! offset. What is told from it goes through all of our SQL, functions, triggers and views of the migrations included.

use super::*;
use quorate::{
    Config, Error, Ports, Supervisor,
    config::{NodeConfig, VirtualStorageConfig},
    core::{evidence, lookup::Freshness, quorum::Verdict, time::Age},
    testing::{
        probe::{ScriptedNode, ScriptedTransport},
        wait,
    },
};
use std::sync::Arc;

const LIMIT: Duration = Duration::from_secs(60);
const DEAD: evidence::Evidence = evidence::Evidence::Hard(evidence::Hard::Refused);
const CLOCK: &str = "\
CREATE SCHEMA skewed;
CREATE TABLE skewed.step (by interval NOT NULL);
INSERT INTO skewed.step VALUES ('0');
CREATE FUNCTION skewed.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT pg_catalog.clock_timestamp() + by FROM skewed.step';
CREATE FUNCTION skewed.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT pg_catalog.statement_timestamp() + by FROM skewed.step';
CREATE FUNCTION skewed.now() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT pg_catalog.now() + by FROM skewed.step'";

/// A cluster on a database whose clock can be set.
struct Story {
    hand: tokio_postgres::Client,
    url: String,
    transport: ScriptedTransport,
}

impl Story {
    async fn new() -> Story {
        let url = cluster().database(false).await;
        let hand = raw(&url).await;
        hand.batch_execute(CLOCK).await.unwrap();
        let name: String = hand.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
        let path = format!("ALTER DATABASE {name} SET search_path = skewed, public, pg_catalog");
        hand.batch_execute(&path).await.unwrap();
        Story { hand: raw(&url).await, url, transport: ScriptedTransport::default() }
    }
    async fn steps(&self, by: &str) {
        self.hand.batch_execute(&format!("UPDATE skewed.step SET by = '{by}'")).await.unwrap();
    }
    fn node(&self, name: &str) -> ScriptedNode {
        self.transport.node(&format!("tcp://{name}:1"))
    }
    async fn supervisor(&self, name: &str) -> Supervisor<u64> {
        let mut config = Config::new(Profile::Default, "sqlite:unused");
        config.name = Some(name.parse().unwrap());
        config.failover.settle_batch = 0;
        let mut cluster = VirtualStorageConfig::new("v".parse().unwrap());
        let node = |name: &str| NodeConfig::new(storage(name), format!("tcp://{name}:1"));
        cluster.nodes = ["g1", "g2", "g3"].map(node).into();
        config.virtual_storages = vec![cluster];
        let store = Arc::new(connect(&self.url).await);
        Supervisor::assemble(config, Ports::new(store, self.transport.clone())).await.unwrap()
    }
    async fn changes(&self) -> i64 {
        self.hand.query_one("SELECT count(*) FROM primary_changes", &[]).await.unwrap().get(0)
    }
}

fn target() -> Target {
    Target::Path("v".parse().unwrap(), "r".parse().unwrap())
}

async fn verdict(of: &Supervisor<u64>, about: &str, verdict: Verdict) {
    let what = format!("{about} {verdict:?}; known is {:?}", of.health_consensus());
    wait::until(&what, LIMIT, || of.health_consensus().is_some_and(|known| known.verdict(&node(about)) == verdict))
        .await;
}

fn incarnation(of: &Supervisor<u64>) -> Option<Incarnation> {
    of.voter().map(|voter| voter.incarnation)
}

#[actix::test]
async fn d11_the_servers_clock_steps_and_no_primary_moves() {
    let story = Story::new().await;
    let three = [story.supervisor("s1").await, story.supervisor("s2").await, story.supervisor("s3").await];
    let store = connect(&story.url).await;
    store.repository_create(&new_repository("r", Some("g1"))).await.unwrap();
    for supervisor in &three {
        verdict(supervisor, "g1", Verdict::Healthy).await;
    }
    story.node("g2").answers(DEAD);
    verdict(&three[1], "g2", Verdict::Unhealthy).await;
    let before = story.changes().await;
    for step in ["6 seconds", "-1 hour"] {
        let registered: Vec<_> = three.iter().map(incarnation).collect();
        story.steps(step).await;
        // Each of them registers anew, looks, and votes; meanwhile it is asked all the time.
        wait::until_async(&format!("all came back after {step}"), LIMIT, async || {
            for supervisor in &three {
                match supervisor.lookup(&target(), Freshness::Latest).await {
                    Ok(answer) => assert_eq!(answer.primary.storage, storage("g1"), "{step}"),
                    Err(Error::ElectionPending(_)) => {}
                    Err(error) => panic!("{step}: {error}"),
                }
            }
            three.iter().zip(&registered).all(|(supervisor, before)| incarnation(supervisor) > *before)
        })
        .await;
        for supervisor in &three {
            verdict(supervisor, "g1", Verdict::Healthy).await;
            verdict(supervisor, "g2", Verdict::Unhealthy).await;
        }
        assert_eq!(story.changes().await, before, "{step}");
    }
}

#[actix::test]
async fn d11_dead_voters_do_not_live_on_in_the_servers_future() {
    let story = Story::new().await;
    let one = story.supervisor("s1").await;
    {
        let others = [story.supervisor("s2").await, story.supervisor("s3").await];
        for supervisor in others.iter().chain([&one]) {
            verdict(supervisor, "g1", Verdict::Healthy).await;
        }
        until(&story.hand, "SELECT count(*) FROM node_status WHERE node_name = 'g1' AND verdict = 'up'", 3).await;
    }
    let store = connect(&story.url).await;
    store.repository_create(&new_repository("r", Some("g1"))).await.unwrap();
    story.steps("-1 hour").await;
    story.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    let facts = store.health_facts().await.unwrap().facts;
    let ahead = facts.supervisors.iter().filter(|row| row.heartbeat_age < Age(-1_000_000)).count();
    let up = facts.votes.iter().filter(|vote| vote.node == node("g1") && vote.opinion == Some(Opinion::Up)).count();
    assert_eq!((ahead, up), (2, 2), "contrast: two heartbeats that no voter time has passed since, and their votes");
    wait::until_async("another one leads", LIMIT, async || {
        let answer = one.lookup(&target(), Freshness::Latest).await;
        answer.is_ok_and(|answer| answer.primary.storage != storage("g1"))
    })
    .await;
}
