//! The elector, asked by message.

use crate::world::{LIMIT, World, ms, name, node, path, storage, verdict, vs, write};
use actix::Actor;
use quorate::{
    Error, Supervisor,
    actors::{ElectorConfig, PerRepositoryElector},
    core::{
        election::{Primary, Target, WaitReason},
        evidence::{Evidence, Hard},
        ids::{RelativePath, VirtualStorage},
        lookup::Freshness,
        quorum::Verdict,
        settings::{Profile, WithoutCandidate},
    },
    error::GrpcCode,
    messages::election::{GetPrimary, PrimaryAnswer},
    store::{HealthStore, Refused, StorageChange, StoreErrorKind, StoreOp},
    testing::wait,
};
use std::sync::Arc;

const DEAD: Evidence = Evidence::Hard(Hard::Refused);

/// What is, whatever is remembered: what is remembered has tests of its own (`lookups.rs`).
async fn latest(one: &Supervisor<u64>, at: &str) -> Result<Primary, Error> {
    one.lookup(&path(at), Freshness::Latest).await.map(PrimaryAnswer::into_primary)
}

#[actix::test]
async fn the_first_question_elects_and_the_next_ones_write_nothing() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2", "g3"]).await;
    let first = one.primary(&path("r")).await.unwrap();
    let (rows, commits) = (world.store.rows_written(), world.store.activity()[&StoreOp::PrimaryCas].calls);
    for _ in 0..100 {
        assert_eq!(latest(&one, "r").await.unwrap(), first);
    }
    assert_eq!((world.store.rows_written(), world.store.activity()[&StoreOp::PrimaryCas].calls), (rows, commits));
}

#[actix::test]
async fn a_dead_primary_is_replaced_under_a_higher_epoch_and_the_decision_explains_itself() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let id = world.repository("r", &["g1", "g2"]).await;
    let before = one.primary(&path("r")).await.unwrap();
    world.node(before.storage.as_str()).answers(DEAD);
    verdict(&one, before.storage.as_str(), Verdict::Unhealthy).await;
    let after = one.primary(&path("r")).await.unwrap();
    assert_ne!(after.storage, before.storage);
    assert!(after.epoch > before.epoch);
    let history = one.primary_history(id, 10).await.unwrap();
    assert_eq!(history[0].why.as_deref(), Some("unhealthy"));
    assert_eq!(history[0].supervisor, Some(name("s1")));
    let evidence: serde_json::Value = serde_json::from_str(history[0].evidence.as_deref().unwrap()).unwrap();
    assert_eq!(evidence["refused"][before.storage.as_str()], "unhealthy");
    assert_eq!(evidence["candidates"], serde_json::json!([after.storage]));
}

#[actix::test]
async fn a_hundred_askers_at_once_get_one_answer_and_make_one_change() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let id = world.repository("r", &["g1", "g2", "g3"]).await;
    world.store.delay(ms(5));
    let answers = futures_util::future::join_all((0..100).map(|_| latest(&one, "r"))).await;
    let distinct: std::collections::BTreeSet<_> =
        answers.into_iter().map(|answer| answer.map(|p| (p.storage, p.epoch)).unwrap()).collect();
    assert_eq!(distinct.len(), 1, "{distinct:?}");
    assert_eq!(one.primary_history(id, 10).await.unwrap().len(), 1);
}

#[actix::test]
async fn nobody_else_fit_keeps_the_row_and_says_which_is_true() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2"]).await;
    let primary = one.primary(&path("r")).await.unwrap();
    // The other replica falls behind, then the primary dies.
    write(&one, &path("r"), &[primary.storage.as_str()]).await.unwrap();
    world.node(primary.storage.as_str()).answers(DEAD);
    verdict(&one, primary.storage.as_str(), Verdict::Unhealthy).await;
    let error = one.primary(&path("r")).await.unwrap_err();
    assert!(
        matches!(&error, Error::PrimaryNotHealthy { storage, epoch } if *storage == primary.storage && *epoch == primary.epoch)
    );
    assert!(error.is_retryable() && error.grpc_code() == GrpcCode::Unavailable);

    world.node(primary.storage.as_str()).answers(Evidence::Serving);
    verdict(&one, primary.storage.as_str(), Verdict::Healthy).await;
    assert_eq!(latest(&one, "r").await.unwrap(), primary, "the same, under the same epoch");
}

#[actix::test]
async fn demote_sets_the_row_to_null_once() {
    let mut world = World::new(Profile::Default);
    world.settings.without_candidate = WithoutCandidate::Demote;
    let one = world.supervisor("s1").await;
    let id = world.repository("r", &["g1"]).await;
    one.primary(&path("r")).await.unwrap();
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    for _ in 0..5 {
        assert!(matches!(one.primary(&path("r")).await, Err(Error::NoPrimary)));
    }
    assert_eq!(one.primary_history(id, 10).await.unwrap().len(), 2, "elected once, demoted once");
}

#[actix::test]
async fn what_is_unknown_is_told_apart() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let error = one.primary(&path("nothing")).await.unwrap_err();
    assert!(matches!(error, Error::RepositoryNotFound), "{error:?}");
    let elsewhere = Target::Path(VirtualStorage::new("w").unwrap(), RelativePath::new("r").unwrap());
    let error = one.primary(&elsewhere).await.unwrap_err();
    assert_eq!(error.to_string(), "virtual storage \"w\" does not exist");
    assert_eq!((error.grpc_code(), error.is_retryable()), (GrpcCode::InvalidArgument, false));
}

#[actix::test]
async fn an_operator_may_accept_the_loss_by_name() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let id = world.repository("r", &["g1", "g2"]).await;
    let primary = one.primary(&path("r")).await.unwrap();
    let other = if primary.storage == storage("g1") { "g2" } else { "g1" };
    write(&one, &path("r"), &[primary.storage.as_str()]).await.unwrap();
    world.node(primary.storage.as_str()).answers(DEAD);
    verdict(&one, primary.storage.as_str(), Verdict::Unhealthy).await;
    assert!(one.primary(&path("r")).await.is_err(), "never an outdated node by itself");

    let seen = one.repository(&path("r")).await.unwrap().facts.facts_version;
    let epoch = one.authoritative_set(id, &storage(other), seen).await.unwrap();
    let chosen = one.primary(&path("r")).await.unwrap();
    assert_eq!((chosen.storage, chosen.epoch), (storage(other), Some(epoch)));
    let again = one.authoritative_set(id, &storage("g1"), seen).await.unwrap_err();
    assert!(matches!(again, Error::Refused(Refused::FactsMoved)), "an operator who saw old facts: {again:?}");
}

#[actix::test]
async fn the_store_gone_is_an_error_of_its_own_and_comes_back() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1"]).await;
    let primary = one.primary(&path("r")).await.unwrap();
    world.store.fail(None, StoreErrorKind::Unreachable);
    let error = latest(&one, "r").await.unwrap_err();
    assert!(matches!(error, Error::StoreUnavailable(_)) && error.is_retryable(), "{error:?}");
    world.store.heal();
    assert_eq!(latest(&one, "r").await.unwrap(), primary);
}

#[actix::test]
async fn a_store_that_never_answers_costs_the_request_timeout_and_no_more() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1"]).await;
    world.store.hold(StoreOp::ElectionFacts);
    let began = tokio::time::Instant::now();
    let answer = latest(&one, "r").await;
    // The elector's own deadline: its caller's is longer, and would leave the lookup running.
    assert!(matches!(answer, Err(Error::Timeout(limit)) if limit == ms(5_000)), "{answer:?}");
    assert!(began.elapsed() <= ms(5_050), "{:?}", began.elapsed());
    world.store.heal();
    one.primary(&path("r")).await.unwrap();
}

#[actix::test]
async fn others_that_keep_moving_the_facts_end_in_contended() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let id = world.repository("r", &["g1", "g2"]).await;
    world.store.delay(ms(10));
    let meddling = actix::spawn({
        let store = world.store.clone();
        async move {
            loop {
                store.foreign_generation(id, Some(quorate::core::epoch::Generation(0)));
                tokio::time::sleep(ms(1)).await;
            }
        }
    });
    let answer = one.primary(&path("r")).await;
    assert!(matches!(answer, Err(Error::Contended)), "{answer:?}");
    assert!(answer.unwrap_err().is_retryable());
    meddling.abort();
    one.primary(&path("r")).await.unwrap();
}

#[actix::test]
async fn a_supervisor_without_a_registration_answers_but_decides_nothing() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1"]).await;
    world.repository("s", &["g1"]).await;
    let primary = one.primary(&path("r")).await.unwrap();
    let (_cell, voter) = tokio::sync::watch::channel(None);
    let stranger = PerRepositoryElector::new(ElectorConfig {
        store: world.store.clone(),
        name: name("stranger"),
        voter,
        behind: tokio::sync::watch::Sender::new(None).subscribe(),
        virtual_storages: None,
        memory: None,
        timeout: ms(1_000),
        lot: ElectorConfig::random_lot,
    })
    .start();
    assert_eq!(stranger.send(GetPrimary::of(path("r"))).await.unwrap().unwrap().into_primary(), primary);
    let answer = stranger.send(GetPrimary::of(path("s"))).await.unwrap();
    assert!(matches!(answer, Err(Error::ElectionPending(WaitReason::NotRegistered))), "{answer:?}");
}

#[actix::test]
async fn a_recused_supervisor_leaves_elections_to_others() {
    let world = World::new(Profile::Default);
    let (one, two) = (world.supervisor("s1").await, world.supervisor("s2").await);
    verdict(&one, "g1", Verdict::Healthy).await;
    world.repository("r", &["g1"]).await;
    world.store.recuse(&name("s1"), true);
    let answer = one.primary(&path("r")).await;
    assert!(matches!(answer, Err(Error::ElectionPending(WaitReason::Recused))), "{answer:?}");
    // Two rows, one live, nobody new: the other may decide, once the registrations are old.
    tokio::time::sleep(ms(6_000)).await;
    two.primary(&path("r")).await.unwrap();
}

#[actix::test]
async fn priority_draining_and_zero_are_obeyed() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let change = |priority, draining| StorageChange { priority, draining };
    one.storage_update(&node("g2"), change(Some(200), None)).await.unwrap();
    one.storage_update(&node("g3"), change(Some(0), None)).await.unwrap();
    for at in ["a", "b", "c"] {
        world.repository(at, &["g1", "g2", "g3"]).await;
        assert_eq!(one.primary(&path(at)).await.unwrap().storage, storage("g2"));
    }
    one.storage_update(&node("g2"), change(None, Some(true))).await.unwrap();
    assert_eq!(one.primary(&path("a")).await.unwrap().storage, storage("g1"), "moved before it stops serving");
    one.storage_update(&node("g1"), change(None, Some(true))).await.unwrap();
    assert_eq!(one.primary(&path("a")).await.unwrap().storage, storage("g1"), "nobody better: stays");
}

#[actix::test]
async fn a_penalised_node_is_passed_over_while_there_is_another() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.store.penalise(&node("g1"), ms(10_000));
    for at in ["a", "b", "c", "d", "e"] {
        world.repository(at, &["g1", "g2"]).await;
        assert_eq!(one.primary(&path(at)).await.unwrap().storage, storage("g2"));
    }
    world.repository("alone", &["g1"]).await;
    assert_eq!(one.primary(&path("alone")).await.unwrap().storage, storage("g1"));
}

#[actix::test]
async fn a_replaced_database_begins_a_new_era_and_the_lookup_goes_on() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2"]).await;
    let before = one.primary(&path("r")).await.unwrap();
    world.store.replace_database();
    world.node(before.storage.as_str()).answers(DEAD);
    verdict(&one, before.storage.as_str(), Verdict::Unhealthy).await;
    let after = one.primary(&path("r")).await.unwrap();
    assert!(after.epoch.unwrap().era() > before.epoch.unwrap().era());
}

/// A pooler that hands out another server each time: nothing is changed, and the caller may ask again.
#[actix::test]
async fn a_database_that_is_replaced_again_and_again_is_contended() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2"]).await;
    let primary = one.primary(&path("r")).await.unwrap();
    let names = [primary.storage.clone()].into();
    let increment =
        async || one.generation_increment(primary.repository.unwrap(), primary.fence().as_ref(), &names).await;
    world.store.replace_database();
    increment().await.expect("once is noticed, and started over");
    world.store.delay(ms(10));
    let failing_over = actix::spawn({
        let store = world.store.clone();
        async move {
            loop {
                store.replace_database();
                tokio::time::sleep(ms(1)).await;
            }
        }
    });
    let before = world.store.activity()[&StoreOp::GenerationIncrement].calls;
    let answer = increment().await;
    assert!(matches!(answer, Err(Error::Contended)), "{answer:?}");
    assert!(answer.unwrap_err().is_retryable());
    assert_eq!(world.store.activity()[&StoreOp::GenerationIncrement].calls, before + 3);
    world.repository("new", &["g1", "g2"]).await;
    let answer = one.primary(&path("new")).await;
    assert!(matches!(answer, Err(Error::Contended)), "{answer:?}");
    failing_over.abort();
}

#[actix::test]
async fn the_replication_factor_names_its_storages() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2", "g3"]).await;
    let primary = one.primary(&path("r")).await.unwrap().storage;
    assert_eq!(one.replication_factor_set(&path("r"), 1).await.unwrap(), [primary.clone()].into());
    assert!(one.replication_factor_set(&path("r"), 2).await.unwrap().contains(&primary));
    let error = one.replication_factor_set(&path("r"), 4).await.unwrap_err();
    assert!(matches!(error, Error::ReplicationFactor(_)), "{error:?}");
    let _ = (Arc::clone(&world.store) as Arc<dyn HealthStore>, vs());
}

#[actix::test]
async fn a_read_goes_to_a_node_that_is_up_and_up_to_date() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    world.repository("r", &["g1", "g2", "g3"]).await;
    let primary = one.primary(&path("r")).await.unwrap().storage;
    let mut served = std::collections::BTreeSet::new();
    for _ in 0..200 {
        served.insert(one.synced_node(&path("r")).await.unwrap().storage().clone());
    }
    assert_eq!(served.len(), 3);
    write(&one, &path("r"), &[primary.as_str()]).await.unwrap();
    wait::until("the write's word came", LIMIT, || one.synced_counts()[&vs()].evict == 1).await;
    for _ in 0..50 {
        assert_eq!(one.synced_node(&path("r")).await.unwrap().storage(), &primary);
    }
    world.node(primary.as_str()).answers(DEAD);
    verdict(&one, primary.as_str(), Verdict::Unhealthy).await;
    assert!(matches!(one.synced_node(&path("r")).await, Err(Error::NoHealthyNodes { .. })));
}

#[actix::test]
async fn who_was_deposed_is_penalised_once_and_elected_again_only_when_that_is_over_or_forgiven() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let two = world.supervisor("s2").await;
    verdict(&one, "g1", Verdict::Healthy).await;
    verdict(&two, "g1", Verdict::Healthy).await;
    assert_eq!(one.penalties().len(), 0, "contrast: nobody was deposed");
    for lasting in [10_000, 20_000] {
        world.node("g1").answers(DEAD);
        verdict(&one, "g1", Verdict::Unhealthy).await;
        world.node("g1").answers(quorate::core::evidence::Evidence::Serving);
        verdict(&one, "g1", Verdict::Healthy).await;
        let left = one.penalties()[&node("g1")];
        assert!(left > ms(lasting - 5_000) && left <= ms(lasting), "once, though two saw it: {left:?}");
        for at in 0..4 {
            let at = format!("{lasting}-{at}");
            world.repository(&at, &["g1", "g2"]).await;
            assert_eq!(one.primary(&path(&at)).await.unwrap().storage, storage("g2"));
        }
    }
    world.repository("alone", &["g1"]).await;
    assert_eq!(one.primary(&path("alone")).await.unwrap().storage, storage("g1"), "it serves, after all");
    assert!(one.forgive(&node("g1")).await.unwrap());
    assert!(!one.forgive(&node("g1")).await.unwrap());
    one.tick();
    wait::until("forgiven", LIMIT, || one.penalties().is_empty()).await;
}
