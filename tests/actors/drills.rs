//! Drills that need no process, no socket and no SQL; each with its contrast.

use crate::world::{LIMIT, World, ms, name, node, path, storage, verdict, write};
use quorate::{
    Error,
    core::{
        consensus::Opinion,
        election::WaitReason,
        evidence::{Evidence, Hard},
        lookup::Freshness,
        quorum::Verdict,
        settings::Profile,
    },
    store::{HealthStore, StoreErrorKind, StoreOp},
    testing::wait,
};

const DEAD: Evidence = Evidence::Hard(Hard::Refused);

/// An election's process is frozen between facts and commit, and the old primary recovers meanwhile. Answers who is
/// primary in the end, and who was.
async fn frozen_between_facts_and_commit(decision_ttl: u64) -> (String, String) {
    let mut world = World::new(Profile::Default);
    world.settings.voter_ttl = ms(60_000);
    world.settings.decision_ttl = ms(decision_ttl);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2"]).await;
    let before = one.primary(&path("r")).await.unwrap().storage;
    world.node(before.as_str()).answers(DEAD);
    verdict(&one, before.as_str(), Verdict::Unhealthy).await;
    world.store.hold(StoreOp::PrimaryCas);
    let asking = actix::spawn({
        let one = one.clone();
        async move { one.primary(&path("r")).await }
    });
    let store = world.store.clone();
    wait::until("the commit is on its way", LIMIT, || store.held(StoreOp::PrimaryCas) == 1).await;
    world.node(before.as_str()).answers(Evidence::Serving);
    verdict(&one, before.as_str(), Verdict::Healthy).await;
    world.store.release(StoreOp::PrimaryCas);
    let after = asking.await.unwrap().unwrap().storage;
    (before.to_string(), after.to_string())
}

#[actix::test]
async fn d04_a_decision_that_slept_moves_nothing() {
    let (before, after) = frozen_between_facts_and_commit(1_000).await;
    assert_eq!(before, after);
}

#[actix::test]
async fn d04_contrast_without_the_age_of_facts_it_would() {
    let (before, after) = frozen_between_facts_and_commit(50_000).await;
    assert_ne!(before, after);
}

#[actix::test]
async fn d05_after_a_power_loss_no_vote_from_before_counts() {
    let world = World::new(Profile::Default);
    {
        let three = (world.supervisor("s1").await, world.supervisor("s2").await, world.supervisor("s3").await);
        wait::until("all have voted", LIMIT, || {
            ["s1", "s2", "s3"].iter().all(|voter| world.opinion(voter, "g1") == Some(Opinion::Up))
        })
        .await;
        verdict(&three.0, "g1", Verdict::Healthy).await;
        world.repository("r", &["g1"]).await;
        three.0.primary(&path("r")).await.unwrap();
    }
    // Everything lost power: the rows stay, nobody said goodbye. G1 stays dead, and its host answers nothing.
    world.node("g1").takes(LIMIT);
    tokio::time::sleep(ms(6_000)).await;
    let naive =
        world.store.stored_votes().iter().filter(|v| v.node == node("g1") && v.opinion == Some(Opinion::Up)).count();
    assert_eq!(naive, 3, "contrast: a count that forgot incarnations and heartbeats would hold G1 up");
    let facts = world.store.health_facts().await.unwrap();
    let verdicts = facts.facts.evaluate(&facts.settings.settings);
    assert_eq!(verdicts[&node("g1")].verdict, Verdict::Undecided, "before anybody has looked");
    let one = world.supervisor("s1").await;
    let _two = world.supervisor("s2").await;
    verdict(&one, "g1", Verdict::Unhealthy).await;
}

#[actix::test]
async fn d06_who_slept_a_minute_does_not_hold_a_dead_node_up() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    {
        let _two = world.supervisor("s2").await;
        let _three = world.supervisor("s3").await;
        verdict(&one, "g1", Verdict::Healthy).await;
        wait::until("all have voted", LIMIT, || {
            ["s2", "s3"].iter().all(|voter| world.opinion(voter, "g1") == Some(Opinion::Up))
        })
        .await;
    }
    tokio::time::sleep(ms(60_000)).await;
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    assert_eq!(world.opinion("s2", "g1"), Some(Opinion::Up), "contrast: two of three stored votes still say up");
    assert_eq!(world.opinion("s3", "g1"), Some(Opinion::Up));
}

#[actix::test]
async fn d07_a_node_actor_that_stays_dead_stops_voting() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    assert_eq!(world.opinion("s1", "g1"), Some(Opinion::Up));
    world.node("g1").panics(true);
    wait::until_async("it died", LIMIT, async || one.restarts().await["node v/g1"] >= 1).await;
    assert_eq!(world.opinion("s1", "g1"), Some(Opinion::Up), "contrast: without retraction this would stand for ever");
    let died = tokio::time::Instant::now();
    wait::until("retracted", LIMIT, || world.opinion("s1", "g1") == Some(Opinion::None)).await;
    assert!(died.elapsed() <= ms(6_100), "vote_ttl and a heartbeat: {:?}", died.elapsed());
    assert_eq!(world.opinion("s1", "g2"), Some(Opinion::Up));
}

/// One of `supervisors` accuses a healthy node. Answers the verdict of the others.
async fn one_accuser_of(supervisors: usize) -> Verdict {
    use quorate::testing::probe::ScriptedTransport;
    let mut world = World::new(Profile::Default);
    let mut honest = Vec::new();
    for number in 1..supervisors {
        honest.push(world.supervisor(&format!("s{number}")).await);
    }
    world.transport = ScriptedTransport::default();
    world.node("g1").answers(DEAD);
    let accuser = world.supervisor("accuser").await;
    wait::until("accused", LIMIT, || world.opinion("accuser", "g1") == Some(Opinion::Down)).await;
    tokio::time::sleep(ms(3_000)).await;
    accuser.health_consensus().unwrap().verdict(&node("g1"))
}

#[actix::test]
async fn d09_one_of_two_accusers_deposes_nobody() {
    assert_eq!(one_accuser_of(2).await, Verdict::Undecided);
}

#[actix::test]
async fn d09_nor_does_one_of_three() {
    assert_eq!(one_accuser_of(3).await, Verdict::Healthy);
}

#[actix::test]
async fn d09_contrast_a_lone_supervisor_is_its_own_majority() {
    assert_eq!(one_accuser_of(1).await, Verdict::Unhealthy);
}

#[actix::test]
async fn d10_the_first_to_return_must_not_rule_alone() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let two = world.supervisor("s2").await;
    let three = world.supervisor("s3").await;
    for supervisor in [&one, &two, &three] {
        verdict(supervisor, "g1", Verdict::Healthy).await;
    }
    world.repository("r", &["g1", "g2"]).await;
    let before = one.primary(&path("r")).await.unwrap();
    drop((two, three));
    world.store.fail(None, StoreErrorKind::Unreachable);
    world.node(before.storage.as_str()).answers(DEAD);
    tokio::time::sleep(ms(10_000)).await;
    world.store.heal();
    verdict(&one, before.storage.as_str(), Verdict::Unhealthy).await;
    let answer = one.primary(&path("r")).await;
    assert!(matches!(answer, Err(Error::ElectionPending(WaitReason::OthersMayReturn))), "{answer:?}");
    // Contrast: once nobody is new any more, nobody else is waited for.
    tokio::time::sleep(ms(5_000)).await;
    assert_ne!(one.primary(&path("r")).await.unwrap().storage, before.storage);
}

#[actix::test]
async fn d18_an_elector_whose_mailbox_is_full_acts_on_the_new_consensus() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2"]).await;
    let before = one.primary(&path("r")).await.unwrap().storage;
    world.store.hold(StoreOp::ElectionFacts);
    let asking: Vec<_> = (0..3_000)
        .map(|_| {
            let one = one.clone();
            // Questions for what is remembered are answered by the new consensus, too: `lookups.rs`.
            actix::spawn(async move { one.lookup(&path("r"), Freshness::Latest).await })
        })
        .collect();
    let store = world.store.clone();
    wait::until("full", LIMIT, || store.held(StoreOp::ElectionFacts) == 1_024).await;
    world.node(before.as_str()).answers(DEAD);
    verdict(&one, before.as_str(), Verdict::Unhealthy).await;
    world.store.release(StoreOp::ElectionFacts);
    let (mut moved, mut busy) = (0, 0);
    for answer in asking {
        match answer.await.unwrap() {
            Ok(primary) if primary.storage != before => moved += 1,
            // Contrast: an elector that believed what it knew when the question came would have answered this.
            Ok(primary) => panic!("answered {} from before the failover", primary.storage),
            Err(Error::Busy) => busy += 1,
            // All of them asked for one commit; three lost rounds are an honest answer, too.
            Err(Error::Contended) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(moved >= 1 && busy >= 1, "{moved} moved, {busy} refused");
    assert_ne!(one.primary(&path("r")).await.unwrap().storage, before);
}

#[actix::test]
async fn d21_the_newer_process_of_a_name_votes_and_the_older_ends() {
    let world = World::new(Profile::Default);
    let older = world.supervisor("s1").await;
    let newer = world.supervisor("s1").await;
    wait::until_async("the older ends", LIMIT, async || {
        matches!(older.primary(&path("r")).await, Err(Error::Superseded { .. }))
    })
    .await;
    older.stop().await;
    assert_eq!(world.opinion("s1", "g1"), Some(Opinion::Up), "its stop removes nothing of the newer");
    world.repository("r", &["g1"]).await;
    newer.primary(&path("r")).await.unwrap();
    // Both under restart=always: the third would take the place of one that just took it.
    let third = world.start("s1").await;
    assert!(matches!(third, Err(Error::NameInUse { .. })), "{third:?}");
    // Contrast: a minute later it is an ordinary restart.
    tokio::time::sleep(ms(60_000)).await;
    world.supervisor("s1").await;
}

#[actix::test]
async fn d21_a_crash_and_restart_within_a_second_is_not_held_up() {
    let world = World::new(Profile::Default);
    drop(world.supervisor("s1").await);
    let began = tokio::time::Instant::now();
    let again = world.supervisor("s1").await;
    assert!(began.elapsed() < ms(1_000), "{:?}", began.elapsed());
    verdict(&again, "g1", Verdict::Healthy).await;
}

#[actix::test]
async fn d21_a_health_manager_that_was_rebuilt_takes_over_its_own_registration() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let first = one.voter().unwrap();
    // The row goes: it registers anew, in its own name, twice within a minute, and nobody calls that a takeover.
    for _ in 0..3 {
        let voter = one.voter().unwrap();
        assert!(world.store.supervisor_remove(&voter).await.unwrap());
        wait::until("registered anew", LIMIT, || one.voter().is_some_and(|now| now.incarnation > voter.incarnation))
            .await;
        verdict(&one, "g1", Verdict::Healthy).await;
    }
    assert_eq!(one.voter().unwrap().name, first.name);
}

#[actix::test]
async fn d23_an_answer_that_was_lost_finds_its_own_decision() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let id = world.repository("r", &["g1", "g2"]).await;
    world.store.lose_answer(Some(StoreOp::PrimaryCas));
    let primary = one.primary(&path("r")).await.unwrap();
    let history = one.primary_history(id, 10).await.unwrap();
    assert_eq!(history.len(), 1, "decided once");
    assert_eq!((Some(history[0].epoch), history[0].current.clone()), (primary.epoch, Some(primary.storage)));
}

#[actix::test]
async fn d25_after_all_nodes_lost_power_one_that_returns_up_to_date_is_elected() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2", "g3"]).await;
    let before = one.primary(&path("r")).await.unwrap().storage;
    write(&one, &path("r"), &["g1", "g2", "g3"]).await.unwrap();
    for node in ["g1", "g2", "g3"] {
        world.node(node).answers(DEAD);
        verdict(&one, node, Verdict::Unhealthy).await;
    }
    assert!(matches!(one.primary(&path("r")).await, Err(Error::PrimaryNotHealthy { .. })), "contrast: nobody is up");
    for back in ["g1", "g2", "g3"].into_iter().filter(|name| storage(name) != before) {
        world.node(back).answers(Evidence::Serving);
        verdict(&one, back, Verdict::Healthy).await;
    }
    assert_ne!(one.primary(&path("r")).await.unwrap().storage, before);
    assert_eq!(one.voter().unwrap().name, name("s1"));
}
