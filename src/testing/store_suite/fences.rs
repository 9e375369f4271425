//! A write counts when the database has accepted it under the current epoch, not before.

use super::world::{World, ok, path, rows, storage, storages};
use crate::core::{election::Fence, epoch::Generation, ids::RepositoryId, settings::Profile};
use crate::store::{Current, Outcome, Refused, Store};
use std::sync::Arc;

/// What each fenced operation comes to; the same for all of them if the fence is the reason.
async fn all_fenced(world: &World, id: RepositoryId, fence: Option<&Fence>) -> Vec<(&'static str, Outcome<()>)> {
    let (store, g2) = (&world.store, storage("g2"));
    let increment = ok("increment", store.generation_increment(id, fence, &storages(&["g1", "g2"])).await);
    vec![
        ("generation_increment", increment.map(|_| ())),
        ("generation_set", ok("set", store.generation_set(id, fence, &g2, Generation(7)).await)),
        ("replica_delete", ok("delete a replica", store.replica_delete(id, fence, &g2).await)),
        ("repository_rename", ok("rename", store.repository_rename(id, fence, &path("elsewhere")).await)),
        ("repository_delete", ok("delete", store.repository_delete(id, fence).await).map(|_| ())),
    ]
}

/// D1: G1 was frozen, G2 elected, G1 thawed. What G1's client asks for is refused; G2's own write counts.
pub async fn d01_a_stale_write_is_not_acknowledged(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let old = world.fence(id).await;
    let epoch = world.elect(id, Some("g2"), &s1).await;
    let outcome = ok("increment", world.store.generation_increment(id, Some(&old), &storages(&["g1"])).await);
    assert_eq!(outcome, Outcome::Stale(Current { epoch: Some(epoch), primary: Some(storage("g2")) }));
    assert_eq!(world.write(id, &["g2", "g3"]).await, Generation(1), "the new primary's write counts");
}

/// Every fenced operation answers whose the repository is now, and changes nothing.
pub async fn stale_fences_change_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let old = world.fence(id).await;
    // G1 again, so that only the epoch tells the difference.
    world.elect(id, Some("g2"), &s1).await;
    let epoch = world.elect(id, Some("g1"), &s1).await;
    let before = rows(&world.facts(id).await);
    let current = Current { epoch: Some(epoch), primary: Some(storage("g1")) };
    for (operation, outcome) in all_fenced(&world, id, Some(&old)).await {
        assert_eq!(outcome, Outcome::Stale(current.clone()), "{operation}");
    }
    assert_eq!(rows(&world.facts(id).await), before, "a stale fence must change nothing");
}

/// The right epoch with another primary is no fence.
pub async fn the_fence_names_the_primary_too(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let fence = Fence { primary: storage("g2"), ..world.fence(id).await };
    let before = rows(&world.facts(id).await);
    for (operation, outcome) in all_fenced(&world, id, Some(&fence)).await {
        assert!(matches!(outcome, Outcome::Stale(_)), "{operation}: {outcome:?}");
    }
    assert_eq!(rows(&world.facts(id).await), before);
}

/// Without a fence nothing is done in any profile but `praefect`.
pub async fn an_unfenced_form_is_refused(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let before = rows(&world.facts(id).await);
    for profile in [Profile::Default, Profile::Lan] {
        world.profile(profile).await;
        for (operation, outcome) in all_fenced(&world, id, None).await {
            assert_eq!(outcome, Outcome::Refused(Refused::FenceRequired), "{operation} in profile {profile:?}");
        }
    }
    assert_eq!(rows(&world.facts(id).await), before);
}

/// In profile `praefect` the unfenced forms do what Praefect's do, and a fence, where there is one, still holds.
pub async fn praefect_has_the_unfenced_forms(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    world.profile(Profile::Praefect).await;
    let id = world.repository("a").await;
    let increment = async |acknowledged: &[&str]| {
        ok("increment", world.store.generation_increment(id, None, &storages(acknowledged)).await)
    };
    assert_eq!(increment(&["g1", "g2"]).await, Outcome::Done(Generation(1)));
    assert_eq!(increment(&["g2", "g3"]).await, Outcome::Done(Generation(2)), "a secondary that is current is enough");
    assert_eq!(world.generation_of(id, "g1").await, Some(Generation(1)));
    assert_eq!(world.generation_of(id, "g3").await, Some(Generation(0)), "g3 was not current");
    assert_eq!(increment(&["g1", "g3"]).await, Outcome::Refused(Refused::OutdatedNodes));
    let stale = Fence { primary: storage("g3"), ..world.fence(id).await };
    let outcome = ok("increment", world.store.generation_increment(id, Some(&stale), &storages(&["g3"])).await);
    assert!(matches!(outcome, Outcome::Stale(_)), "{outcome:?}");
    for (operation, outcome) in all_fenced(&world, id, None).await {
        assert_eq!(outcome, Outcome::Done(()), "{operation}");
    }
}

/// A repository without a primary admits no fence at all.
pub async fn a_demoted_repository_admits_nobody(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let old = world.fence(id).await;
    let epoch = world.elect(id, None, &s1).await;
    let current = Current { epoch: Some(epoch), primary: None };
    for fence in [old, Fence { epoch, primary: storage("g1") }] {
        for (operation, outcome) in all_fenced(&world, id, Some(&fence)).await {
            assert_eq!(outcome, Outcome::Stale(current.clone()), "{operation} under {fence:?}");
        }
    }
}
