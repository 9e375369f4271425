//! Who is up to date, and the word to those who keep it in mind: by polling, and by listening where a store can speak.

use super::world::{World, done, named_target, node, ok, path, storage, storages, virtual_storage};
use crate::core::{epoch::Generation, ids::RepositoryId, monitor::Suspicion, synced::Scope};
use crate::store::{Change, ChangeKind, FeedPosition, Listener, NewRepository, Store, Target, UpToDate};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

async fn up_to_date(world: &World, target: &Target) -> Option<UpToDate> {
    ok("ask who is up to date", world.store.up_to_date(target).await)
}

/// Whether a change may be about this path.
fn concerns(change: &Change, at: &str) -> bool {
    change.kind == ChangeKind::Replicas
        && match &change.scope {
            Scope::Repository(of, relative_path) => (of, relative_path) == (&virtual_storage("v"), &path(at)),
            Scope::VirtualStorage(of) => *of == virtual_storage("v"),
            // Who leads is no matter of who is up to date.
            Scope::LedBy(_) => false,
            Scope::Everything => true,
        }
}

/// A poller that reads on from where it stood.
struct Poller<'a> {
    world: &'a World,
    position: FeedPosition,
}

impl<'a> Poller<'a> {
    async fn begin(world: &'a World) -> Poller<'a> {
        let polled = ok("begin to poll", world.store.changes_since(None).await);
        assert_eq!(polled.changes, [], "the first poll says where to begin and nothing else");
        Poller { world, position: polled.position }
    }
    async fn poll(&mut self) -> Vec<Change> {
        let polled = ok("poll", self.world.store.changes_since(Some(&self.position)).await);
        self.position = polled.position;
        polled.changes
    }
    async fn told_of(&mut self, at: &str) -> bool {
        self.poll().await.iter().any(|change| concerns(change, at))
    }
}

/// Those on the repository's generation, whether anybody has configured them or not.
pub async fn those_on_the_latest_generation_are_up_to_date(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let by_path = named_target("a");
    let found = up_to_date(&world, &by_path).await;
    let expected = UpToDate {
        repository: id,
        virtual_storage: virtual_storage("v"),
        relative_path: path("a"),
        replica_path: Some("a".to_owned()),
        storages: Arc::new(storages(&["g1", "g2", "g3"])),
    };
    assert_eq!(found, Some(expected.clone()));
    world.write(id, &["g1", "g3"]).await;
    let expected = UpToDate { storages: Arc::new(storages(&["g1", "g3"])), ..expected };
    assert_eq!(up_to_date(&world, &by_path).await, Some(expected.clone()));
    assert_eq!(up_to_date(&world, &Target::Id(id)).await, Some(expected));
    let fence = world.fence(id).await;
    done("raise", world.store.generation_set(id, Some(&fence), &storage("g9"), Generation(7)).await);
    let found = up_to_date(&world, &Target::Id(id)).await.map(|found| found.storages);
    assert_eq!(found, Some(Arc::new(storages(&["g9"]))), "the highest counts, wherever it is");
}

/// What is not there has nobody; what has no replica has none.
pub async fn the_unknown_has_nobody_up_to_date(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    assert_eq!(up_to_date(&world, &Target::Id(RepositoryId(4_711))).await, None);
    assert_eq!(up_to_date(&world, &named_target("a")).await, None);
    let empty = NewRepository::new(virtual_storage("v"), path("a"), Vec::new());
    done("create", world.store.repository_create(&empty).await);
    assert_eq!(up_to_date(&world, &named_target("a")).await.map(|found| found.storages), Some(Arc::new(storages(&[]))));
}

/// Each change of the set is told, under the name that it was known by.
pub async fn a_poller_is_told_when_the_set_changes(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    world.repository("b").await;
    let mut poller = Poller::begin(&world).await;
    assert_eq!(poller.poll().await, [], "nothing has changed");
    world.write(id, &["g1", "g2"]).await;
    let told = poller.poll().await;
    assert!(told.iter().any(|change| concerns(change, "a")), "g3 was left behind: {told:?}");
    assert!(!told.iter().any(|change| concerns(change, "b")), "b has not changed: {told:?}");
    assert!(!poller.told_of("a").await, "it was told once");
    let fence = world.fence(id).await;
    done("catch up", world.store.generation_set(id, Some(&fence), &storage("g3"), Generation(1)).await);
    assert!(poller.told_of("a").await, "g3 caught up");
    done("delete a replica", world.store.replica_delete(id, Some(&fence), &storage("g3")).await);
    assert!(poller.told_of("a").await, "g3 went");
    let version = world.facts(id).await.facts_version;
    let s1 = world.voter("s1").await;
    done("authoritative", world.store.authoritative_set(id, &storage("g2"), version, &s1).await);
    assert!(poller.told_of("a").await, "g2 alone is the truth");
    let fence = world.fence(id).await;
    done("rename", world.store.repository_rename(id, Some(&fence), &path("c")).await);
    let told = poller.poll().await;
    assert!(told.iter().any(|change| concerns(change, "a")), "a is no more: {told:?}");
    assert!(told.iter().any(|change| concerns(change, "c")), "c means something now: {told:?}");
    done("delete", world.store.repository_delete(id, Some(&fence)).await);
    assert!(poller.told_of("c").await, "the repository went");
}

/// NOTIFY takes a lock at commit, so the most frequent write of all tells nobody.
pub async fn a_write_that_all_acknowledged_is_told_to_nobody(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let mut poller = Poller::begin(&world).await;
    world.write(id, &["g1", "g2", "g3"]).await;
    assert_eq!(poller.poll().await, []);
    world.write(id, &["g1", "g2"]).await;
    assert!(poller.told_of("a").await);
    world.write(id, &["g1", "g2"]).await;
    assert_eq!(poller.poll().await, [], "those who are behind stay behind");
}

/// Each has its own position.
pub async fn two_pollers_do_not_disturb_each_other(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let (mut one, mut other) = (Poller::begin(&world).await, Poller::begin(&world).await);
    world.write(id, &["g1"]).await;
    assert!(one.told_of("a").await);
    assert!(other.told_of("a").await);
    let mut late = Poller::begin(&world).await;
    assert!(!late.told_of("a").await, "it began after the change");
}

/// A great many changes become one: read everything again. None is lost, and nothing fails for being too large.
pub async fn d20_very_many_changes_are_told_as_one(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let fence = world.fence(id).await;
    let mut poller = Poller::begin(&world).await;
    for generation in 1..=1_100 {
        let ahead = storage(if generation % 2 == 0 { "g1" } else { "g2" });
        done("raise", world.store.generation_set(id, Some(&fence), &ahead, Generation(generation)).await);
    }
    let told = poller.poll().await;
    assert!(told.contains(&Change::everything(ChangeKind::Replicas)), "{} changes", told.len());
    assert!(!poller.told_of("a").await);
}

/// Where the store speaks first, it says the same; what it said before a check is known once that is answered.
pub async fn a_listener_hears_what_pollers_read(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let Some(mut listener) = ok("listen", world.store.listen().await) else { return };
    let id = world.repository("a").await;
    world.write(id, &["g1", "g2"]).await;
    loop {
        let told = match tokio::time::timeout(Duration::from_secs(5), listener.next()).await {
            Ok(told) => ok("hear", told),
            Err(_) => panic!("the change was not heard in 5 s"),
        };
        if told.iter().any(|change| concerns(change, "a")) {
            break;
        }
    }
    ok("check", listener.check().await);
    world.write(id, &["g1"]).await;
    let checked = ok("check", listener.check().await);
    assert!(checked.iter().any(|change| concerns(change, "a")), "committed before the question: {checked:?}");
}

/// What a listener hears next of nodes that missed a probe.
async fn suspicions(listener: &mut dyn Listener) -> Vec<Suspicion> {
    loop {
        match tokio::time::timeout(Duration::from_secs(5), listener.next()).await {
            Ok(told) => drop(ok("hear", told)),
            Err(_) => panic!("the suspicion was not heard in 5 s"),
        }
        let heard = listener.suspicions();
        if !heard.is_empty() {
            return heard;
        }
    }
}

/// It is a hint to those who are there: it leaves nothing that somebody could read later.
pub async fn a_suspicion_is_heard_by_those_who_listen_and_stored_nowhere(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let by = world.voter("s1").await.name;
    let mut poller = Poller::begin(&world).await;
    let listener = ok("listen", world.store.listen().await);
    let one = Suspicion { by: by.clone(), nodes: [node("g1"), node("g2")].into() };
    let told = ok("tell", world.store.suspicion_tell(&one).await);
    assert!(listener.is_some() || !told, "whoever cannot tell says so");
    let votes = async || {
        let votes = ok("read", world.store.health_facts().await).facts.votes;
        votes.into_iter().map(|vote| (vote.supervisor, vote.node, vote.opinion)).collect::<Vec<_>>()
    };
    let before = votes().await;
    if let Some(mut listener) = listener.filter(|_| told) {
        assert_eq!(suspicions(&mut *listener).await, std::slice::from_ref(&one));
        ok("tell", world.store.suspicion_tell(&one).await);
        ok("check", listener.check().await);
        assert_eq!(listener.suspicions(), [one], "told before the question");
        let long = |number: usize| format!("{number:03}{}", "n".repeat(240));
        let nodes: BTreeSet<_> = (0..100).map(|number| node(&long(number))).collect();
        let very_long = Suspicion { by, nodes };
        ok("tell", world.store.suspicion_tell(&very_long).await);
        let heard = suspicions(&mut *listener).await;
        assert_eq!(heard.len(), 1);
        assert!(heard.iter().all(|heard| !heard.nodes.is_empty() && heard.nodes.is_subset(&very_long.nodes)));
    }
    assert_eq!(poller.poll().await, [], "nobody finds it later");
    assert_eq!(votes().await, before);
}
