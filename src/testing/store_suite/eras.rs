//! The life of the database: how far its epochs have come, and the new era that an operator begins.

use super::world::{World, ok};
use crate::core::{
    epoch::{Epoch, Era, Given},
    synced::Scope,
};
use crate::store::{Change, ChangeKind, Store};
use std::sync::Arc;

async fn given(world: &World) -> Given {
    ok("read what was given", world.store.epochs_given().await)
}

async fn raise(world: &World, seen: Era, reported: Option<Epoch>) -> Era {
    ok("begin an era", world.store.era_raise(seen, reported, "a story").await)
}

/// An epoch as a node may have reported it.
fn epoch(era: i64, number: i64) -> Epoch {
    match Epoch::new(Era(era), number) {
        Ok(epoch) => epoch,
        Err(error) => panic!("the story uses an epoch that is not allowed: {error}"),
    }
}

/// None before the first one, and then the last one, whatever it was given for.
pub async fn what_was_given_is_the_last_epoch(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    assert_eq!(given(&world).await, Given { era: Era(1), number: 0 });
    let id = world.repository_with("a", None).await;
    assert_eq!(given(&world).await.number, 0, "a repository without a primary takes none");
    let s1 = world.voter("s1").await;
    for to in [Some("g1"), Some("g2"), None] {
        let elected = world.elect(id, to, &s1).await;
        let now = given(&world).await;
        assert_eq!((now.era, now.number), (elected.era(), elected.number()));
        assert!(now.reaches(elected) && !now.reaches(epoch(1, elected.number() + 1)));
    }
}

/// A repair begins an era above every one that was recorded or reported; every later epoch is above every earlier one.
pub async fn d13_an_era_is_above_all_that_is_known(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository_with("a", Some("g1")).await;
    let s1 = world.voter("s1").await;
    let before = world.elect(id, Some("g2"), &s1).await;
    let second = raise(&world, Era(1), None).await;
    assert!(second > Era(1));
    let elected = world.elect(id, Some("g1"), &s1).await;
    assert!(elected > before && elected.era() == second && elected.number() > before.number(), "{elected}");
    // Far above the minutes of the calendar.
    let reported = epoch(60_000_000, 7);
    assert!(!given(&world).await.reaches(reported));
    let third = raise(&world, second, Some(reported)).await;
    assert_eq!(third, Era(60_000_001));
    assert!(given(&world).await.reaches(reported));
    assert!(world.elect(id, Some("g2"), &s1).await > reported);
}

/// Of those who repair at one time one begins the era, and all of them hear which it is.
pub async fn d13_two_who_repair_at_one_time_begin_one_era(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (one, other) = tokio::join!(raise(&world, Era(1), None), raise(&world, Era(1), None));
    assert_eq!(one, other);
    assert_eq!(raise(&world, Era(1), Some(epoch(60_000_000, 1))).await, one, "who comes late has seen another era");
    assert_eq!(given(&world).await.era, one);
    assert!(raise(&world, one, None).await > one, "who has seen this one begins the next");
}

/// Decisions that rest on the era before are lost, and whoever keeps primaries in mind forgets them.
pub async fn d13_a_new_era_is_told_and_leaves_the_decisions_of_the_old_one_behind(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository_with("a", Some("g1")).await;
    let s1 = world.voter("s1").await;
    let proposal = world.proposal(&world.facts(id).await, Some("g2"), &s1);
    let begun = ok("begin to poll", world.store.changes_since(None).await).position;
    raise(&world, Era(1), None).await;
    let told = ok("poll", world.store.changes_since(Some(&begun)).await).changes;
    assert_eq!(told, [Change::everything(ChangeKind::Primaries)]);
    assert_eq!(told[0].scope, Scope::Everything);
    world.loses("it rests on the era before", &proposal).await;
    let facts = world.facts(id).await;
    assert_eq!(facts.primary, Some(super::world::storage("g1")), "recorded primaries stay");
}
