//! Drills of several supervisors on one file.

use crate::{
    processes::Helper,
    support::{Database, create, node, path, repository, storage, v},
};
use quorate::{
    Config, Error, Ports, Supervisor,
    config::{NodeConfig, VirtualStorageConfig},
    core::{
        evidence::{Evidence, Hard},
        ids::Incarnation,
        lookup::Freshness,
        quorum::Verdict,
        settings::Profile,
        time::Age,
    },
    store::{
        HealthStore, StoreErrorKind, Target,
        sqlite::{SqliteOptions, SqliteStore},
    },
    testing::{probe::ScriptedTransport, wait},
};
use std::{error::Error as _, sync::Arc, time::Duration};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(60);
const DEAD: Evidence = Evidence::Hard(Hard::Refused);

/// A supervisor with the default times, on the store that its configuration would have opened.
pub(crate) async fn supervisor(url: &str, name: &str, transport: &ScriptedTransport) -> Supervisor<u64> {
    let mut config = Config::new(Profile::Default, url);
    config.name = Some(name.parse().unwrap());
    config.failover.settle_batch = 0;
    let mut cluster = VirtualStorageConfig::new(v());
    let node = |name: &str| NodeConfig::new(storage(name), format!("tcp://{name}:1"));
    cluster.nodes = ["g1", "g2", "g3"].map(node).into();
    config.virtual_storages = vec![cluster];
    let store = SqliteStore::open(url, SqliteOptions::default()).await.unwrap();
    let supervisor = Supervisor::assemble(config, Ports::new(Arc::new(store), transport.clone())).await.unwrap();
    verdict(&supervisor, "g1", Verdict::Healthy).await;
    supervisor
}

async fn verdict(of: &Supervisor<u64>, about: &str, verdict: Verdict) {
    let what = format!("{about} {verdict:?}; known is {:?}", of.health_consensus());
    wait::until(&what, LIMIT, || of.health_consensus().is_some_and(|known| known.verdict(&node(about)) == verdict))
        .await;
}

fn target() -> Target {
    Target::Path(v(), path("r"))
}

/// Who leads, as the database has it now; `None` while an election has to wait: for a deadline, or for votes about the others.
async fn leads(on: &Supervisor<u64>) -> Option<String> {
    match on.lookup(&target(), Freshness::Latest).await {
        Ok(answer) => Some(answer.primary.storage.to_string()),
        Err(Error::ElectionPending(_) | Error::PrimaryNotHealthy { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// How long, in seconds, a supervisor says that the database has been locked.
async fn locked_since(of: &Supervisor<u64>) -> f64 {
    let error = of.drain(&node("g3")).await.unwrap_err();
    assert_eq!(error.store_kind(), Some(&StoreErrorKind::Locked), "{error:?}");
    let cause = error.source().and_then(|error| error.source()).unwrap().to_string();
    let seconds = cause.strip_prefix("locked since ").and_then(|rest| rest.split(' ').next());
    seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("{cause}"))
}

#[actix::test]
async fn d22_two_supervisors_say_since_when_the_third_holds_the_lock_and_recover_when_it_dies() {
    let (database, transport) = (Database::new(), ScriptedTransport::default());
    let one = supervisor(&database.url(), "s1", &transport).await;
    let two = supervisor(&database.url(), "s2", &transport).await;
    let mut third = Helper::start("supervise", &database, None);
    assert_eq!(third.says().await, "votes");
    let store = database.open().await;
    create(&store, &repository("r")).await;
    let before = leads(&one).await.unwrap();
    for supervisor in [&one, &two] {
        verdict(supervisor, &before, Verdict::Healthy).await;
    }
    let mut hand = database.hand();
    let changes = hand.ask("SELECT COUNT(*) FROM primary_changes");

    third.tell("write").await;
    assert_eq!(third.says().await, "held");
    third.signal(rustix::process::Signal::STOP);
    let frozen = Instant::now();
    let first = [locked_since(&one).await, locked_since(&two).await];
    transport.node(&format!("tcp://{before}:1")).answers(DEAD);
    // Longer than the voter time: none of the three counts any more.
    while frozen.elapsed() < Duration::from_secs(7) {
        for supervisor in [&one, &two] {
            let leader = leads(supervisor).await;
            assert!(leader.as_ref().is_none_or(|leader| *leader == before), "{leader:?} after {:?}", frozen.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (supervisor, first) in [&one, &two].into_iter().zip(first) {
        let now = locked_since(supervisor).await;
        assert!(now > first + 4.0 && now <= frozen.elapsed().as_secs_f64() + 0.1, "{first} s, then {now} s");
    }
    assert_eq!(hand.ask("SELECT COUNT(*) FROM primary_changes"), changes, "nothing moved");

    third.signal(rustix::process::Signal::KILL);
    third.child.wait().await.unwrap();
    for supervisor in [&one, &two] {
        verdict(supervisor, &before, Verdict::Unhealthy).await;
        supervisor.undrain(&node("g3")).await.unwrap();
    }
    wait::until_async("another one leads", LIMIT, async || leads(&two).await.is_some_and(|now| now != before)).await;
    assert_eq!(hand.ask("SELECT COUNT(*) FROM hello_world"), "0", "what the third wrote is gone");
}

fn incarnation(of: &Supervisor<u64>) -> Option<Incarnation> {
    of.voter().map(|voter| voter.incarnation)
}

/// What a clock that was set back or ahead by so many milliseconds makes of every stamp. SQLite reads the machine's clock,
/// which no test may set; but all that its statements do with a time of theirs is to compare it with a stamp.
fn step(database: &Database, millis: i64) {
    database.hand().run(&format!(
        "UPDATE supervisors SET heartbeat_at = heartbeat_at - {millis}, registered_at = registered_at - {millis}; \
         UPDATE node_status SET last_contact_attempt_at = last_contact_attempt_at - {millis}, \
         last_seen_active_at = last_seen_active_at - {millis}"
    ));
}

#[actix::test]
async fn d11_when_the_clock_steps_no_primary_moves() {
    let (database, transport) = (Database::new(), ScriptedTransport::default());
    let mut three = Vec::new();
    for name in ["s1", "s2", "s3"] {
        three.push(supervisor(&database.url(), name, &transport).await);
    }
    create(&database.open().await, &repository("r")).await;
    let before = leads(&three[0]).await.unwrap();
    let other = ["g1", "g2", "g3"].into_iter().find(|name| *name != before).unwrap();
    transport.node(&format!("tcp://{other}:1")).answers(DEAD);
    verdict(&three[1], other, Verdict::Unhealthy).await;
    for millis in [6_000, -3_600_000] {
        let registered: Vec<_> = three.iter().map(incarnation).collect();
        step(&database, millis);
        wait::until_async(&format!("all came back after {millis} ms"), LIMIT, async || {
            for supervisor in &three {
                let leader = leads(supervisor).await;
                assert!(leader.as_ref().is_none_or(|leader| *leader == before), "{millis}: {leader:?}");
            }
            three.iter().zip(&registered).all(|(supervisor, before)| incarnation(supervisor) > *before)
        })
        .await;
        for supervisor in &three {
            verdict(supervisor, &before, Verdict::Healthy).await;
            verdict(supervisor, other, Verdict::Unhealthy).await;
        }
    }
    assert_eq!(database.hand().ask("SELECT COUNT(*) FROM primary_changes"), "1", "since it was first elected");
}

#[actix::test]
async fn d11_dead_voters_do_not_live_on() {
    let (database, transport) = (Database::new(), ScriptedTransport::default());
    let one = supervisor(&database.url(), "s1", &transport).await;
    let store = database.open().await;
    create(&store, &repository("r")).await;
    let before = leads(&one).await.unwrap();
    {
        let _two = supervisor(&database.url(), "s2", &transport).await;
        let _three = supervisor(&database.url(), "s3", &transport).await;
        let holds_it_up = format!("SELECT COUNT(*) FROM node_status WHERE node_name = '{before}' AND verdict = 'up'");
        wait::until("all vote", LIMIT, || database.hand().ask(&holds_it_up) == "3").await;
    }
    step(&database, -3_600_000);
    transport.node(&format!("tcp://{before}:1")).answers(DEAD);
    verdict(&one, &before, Verdict::Unhealthy).await;
    let facts = store.health_facts().await.unwrap().facts;
    let ahead = facts.supervisors.iter().filter(|row| row.heartbeat_age < Age(-1_000_000)).count();
    assert_eq!(ahead, 2, "contrast: no voter time has passed since these heartbeats");
    wait::until_async("another one leads", LIMIT, async || leads(&one).await.is_some_and(|now| now != before)).await;
}
