//! What others do to the same database: a Praefect's votes and primaries, rows that we would not write.
//!
//! A port cannot write them, so whoever can implements [`Foreign`] for a store's database and runs these stories too.

use super::world::{World, done, node, ok, rows, storage, storages, supervisor, virtual_storage};
use crate::core::{
    consensus::Opinion,
    epoch::Generation,
    ids::{NodeId, RepositoryId, Storage, SupervisorName, VirtualStorage},
    quorum::Verdict,
    settings::Profile,
};
use crate::store::{Outcome, Refused, Store, VotesWritten, memory::MemoryStore};
use futures_util::future::{BoxFuture, LocalBoxFuture};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Writes that no port of ours makes.
pub trait Foreign: Send + Sync {
    /// A Praefect's row: it tried the node, and last reached it, so long ago; `None` is never.
    fn vote<'a>(
        &'a self,
        praefect: &'a SupervisorName,
        node: &'a NodeId,
        contact_age: Option<Duration>,
        seen_age: Option<Duration>,
    ) -> BoxFuture<'a, ()>;
    /// A Praefect changes a primary, knowing nothing of epochs.
    fn primary<'a>(&'a self, repository: RepositoryId, primary: Option<&'a Storage>) -> BoxFuture<'a, ()>;
    /// A Praefect elects a primary for a whole virtual storage, or demotes it, knowing nothing of epochs.
    fn shard<'a>(&'a self, virtual_storage: &'a VirtualStorage, primary: Option<&'a Storage>) -> BoxFuture<'a, ()>;
    /// A Praefect sets a repository's generation; `None` is what its early rows hold.
    fn generation(&self, repository: RepositoryId, generation: Option<Generation>) -> BoxFuture<'_, ()>;
    /// Gives a repository a replica whose storage has a name that we do not allow.
    fn nameless_replica(&self, repository: RepositoryId) -> BoxFuture<'_, ()>;
    /// Makes a registered supervisor abstain, or take part again.
    fn recuse<'a>(&'a self, supervisor: &'a SupervisorName, recused: bool) -> BoxFuture<'a, ()>;
    /// Makes every heartbeat and every vote older, as if nobody had written for so long.
    fn silence(&self, lasting: Duration) -> BoxFuture<'_, ()>;
}

impl Foreign for MemoryStore {
    fn vote<'a>(
        &'a self,
        praefect: &'a SupervisorName,
        node: &'a NodeId,
        contact_age: Option<Duration>,
        seen_age: Option<Duration>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.foreign_vote(praefect, node, contact_age, seen_age) })
    }
    fn primary<'a>(&'a self, repository: RepositoryId, primary: Option<&'a Storage>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let epoch = self.foreign_primary(repository, primary.cloned());
            assert!(epoch.is_some(), "there is no repository {repository}");
        })
    }
    fn shard<'a>(&'a self, virtual_storage: &'a VirtualStorage, primary: Option<&'a Storage>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.foreign_shard(virtual_storage, primary.cloned());
        })
    }
    fn generation(&self, repository: RepositoryId, generation: Option<Generation>) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.foreign_generation(repository, generation) })
    }
    fn nameless_replica(&self, repository: RepositoryId) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.foreign_nameless_replica(repository) })
    }
    fn recuse<'a>(&'a self, supervisor: &'a SupervisorName, recused: bool) -> BoxFuture<'a, ()> {
        Box::pin(async move { MemoryStore::recuse(self, supervisor, recused) })
    }
    fn silence(&self, lasting: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.shift_stamps(lasting) })
    }
}

/// Tells every story about foreign writers, each on an empty database of its own.
pub async fn run_foreign(make: &impl Fn() -> BoxFuture<'static, (Arc<dyn Store>, Arc<dyn Foreign>)>) {
    type Tell = fn(Arc<dyn Store>, Arc<dyn Foreign>) -> LocalBoxFuture<'static, ()>;
    let stories: [(&str, Tell); 9] = [
        ("foreign::a_praefects_votes_count", |store, foreign| Box::pin(a_praefects_votes_count(store, foreign))),
        ("foreign::a_foreign_primary_gets_an_epoch", |store, foreign| {
            Box::pin(a_foreign_primary_gets_an_epoch(store, foreign))
        }),
        ("foreign::a_foreign_shard_primary_gets_an_epoch", |store, foreign| {
            Box::pin(a_foreign_shard_primary_gets_an_epoch(store, foreign))
        }),
        ("foreign::without_a_generation_nobody_is_current", |store, foreign| {
            Box::pin(without_a_generation_nobody_is_current(store, foreign))
        }),
        ("foreign::a_foreign_generation_moves_the_facts", |store, foreign| {
            Box::pin(a_foreign_generation_moves_the_facts(store, foreign))
        }),
        ("foreign::the_truth_is_above_every_replica", |store, foreign| {
            Box::pin(the_truth_is_above_every_replica(store, foreign))
        }),
        ("foreign::a_recused_supervisor_proposes_nothing", |store, foreign| {
            Box::pin(a_recused_supervisor_proposes_nothing(store, foreign))
        }),
        ("foreign::an_unreadable_repository_costs_itself_alone", |store, foreign| {
            Box::pin(an_unreadable_repository_costs_itself_alone(store, foreign))
        }),
        ("foreign::q_what_the_gone_left_behind_expires", |store, foreign| {
            Box::pin(q_what_the_gone_left_behind_expires(store, foreign))
        }),
    ];
    for (name, tell) in stories {
        let (store, foreign) = make().await;
        super::run_bounded(name, tell(store, foreign)).await;
    }
}

const ONE_SECOND: Option<Duration> = Some(Duration::from_secs(1));
const HALF_A_MINUTE: Option<Duration> = Some(Duration::from_secs(30));
const TWO_MINUTES: Option<Duration> = Some(Duration::from_secs(120));

/// A Praefect and our supervisors vote in one quorum, by its two timestamps.
pub async fn a_praefects_votes_count(store: Arc<dyn Store>, foreign: Arc<dyn Foreign>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let all = [("g1", Opinion::Up), ("g2", Opinion::Down), ("g3", Opinion::Up)];
    assert!(matches!(world.votes(&s1, 1, &all).await, VotesWritten::Written { .. }));
    foreign.vote(&supervisor("p1"), &node("g1"), ONE_SECOND, ONE_SECOND).await;
    foreign.vote(&supervisor("p1"), &node("g2"), ONE_SECOND, HALF_A_MINUTE).await;
    foreign.vote(&supervisor("p1"), &node("g3"), TWO_MINUTES, TWO_MINUTES).await;
    let tally = async |about: &str| world.consensus(about).await;
    assert_eq!(tally("g1").await.verdict, Verdict::Healthy, "both see it");
    assert_eq!(tally("g2").await.verdict, Verdict::Unhealthy, "neither sees it");
    assert_eq!(tally("g3").await.tally.electorate, 1, "a Praefect that stopped trying is forgotten");
    let row = world.vote_row("p1", "g1").await;
    assert_eq!(row.map(|row| (row.opinion, row.incarnation)), Some((None, None)), "a foreign row has no verdict");
    world.profile(Profile::Praefect).await;
    assert_eq!(world.consensus("g1").await.verdict, Verdict::Healthy);
    assert_eq!(world.consensus("g2").await.verdict, Verdict::Unhealthy);
}

/// A foreign change of a primary takes an epoch and leaves a row of history without a decision.
pub async fn a_foreign_primary_gets_an_epoch(store: Arc<dyn Store>, foreign: Arc<dyn Foreign>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let old = world.fence(id).await;
    foreign.primary(id, Some(&storage("g2"))).await;
    let facts = world.facts(id).await;
    assert_eq!(facts.primary, Some(storage("g2")));
    assert!(facts.epoch > Some(old.epoch), "{:?} must be above {}", facts.epoch, old.epoch);
    let history = ok("history", world.store.primary_history(id, 1).await);
    let Some(change) = history.first() else { panic!("a foreign change leaves a row of history") };
    assert_eq!((Some(change.epoch), change.previous.clone()), (facts.epoch, Some(storage("g1"))));
    assert_eq!((&change.why, &change.supervisor, &change.evidence), (&None, &None, &None));
    let outcome = ok("increment", world.store.generation_increment(id, Some(&old), &storages(&["g1"])).await);
    assert!(matches!(outcome, Outcome::Stale(_)), "{outcome:?}");
    foreign.primary(id, None).await;
    assert!(world.facts(id).await.epoch > facts.epoch, "to NULL is a change too");
}

/// The same of the primary of a whole virtual storage: elected, demoted, elected again.
pub async fn a_foreign_shard_primary_gets_an_epoch(store: Arc<dyn Store>, foreign: Arc<dyn Foreign>) {
    let world = World::new(store).await;
    let v = virtual_storage("v");
    let mut last = None;
    for (primary, demoted, previous) in [
        (Some("g1"), false, None),
        (None, true, Some("g1")),
        (Some("g1"), false, None),
        (Some("g2"), false, Some("g1")),
    ] {
        foreign.shard(&v, primary.map(storage).as_ref()).await;
        let row = world.shard().await.recorded;
        let Some(row) = row else { panic!("a foreign election leaves a row") };
        assert!(row.epoch > last, "{:?} must be above {last:?}", row.epoch);
        assert_eq!((&row.storage, row.demoted), (&storage(primary.unwrap_or("g1")), demoted));
        last = row.epoch;
        let history = ok("history", world.store.shard_history(&v, 1).await);
        let Some(change) = history.first() else { panic!("a foreign change leaves a row of history") };
        assert_eq!((Some(change.epoch), change.previous.clone()), (last, previous.map(storage)));
        assert_eq!((change.current.clone(), change.why.clone()), (primary.map(storage), None));
    }
}

/// NULL equals nothing: no replica is current, nothing is acknowledged, until a generation is set.
pub async fn without_a_generation_nobody_is_current(store: Arc<dyn Store>, foreign: Arc<dyn Foreign>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let fence = world.fence(id).await;
    foreign.generation(id, None).await;
    let before = rows(&world.facts(id).await);
    assert_eq!(before.generation, None);
    let outcome = ok("increment", world.store.generation_increment(id, Some(&fence), &storages(&["g1"])).await);
    assert_eq!(outcome, Outcome::Refused(Refused::OutdatedNodes));
    assert_eq!(rows(&world.facts(id).await), before);
    done("set", world.store.generation_set(id, Some(&fence), &storage("g1"), Generation(3)).await);
    assert_eq!(world.facts(id).await.generation, Some(Generation(3)), "nothing is lower than a generation");
    assert_eq!(world.write(id, &["g1"]).await, Generation(4));
}

/// Decisions rest on generations, so a foreign change of one raises the version too.
pub async fn a_foreign_generation_moves_the_facts(store: Arc<dyn Store>, foreign: Arc<dyn Foreign>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let proposal = world.proposal(&world.facts(id).await, Some("g2"), &s1);
    foreign.generation(id, Some(Generation(5))).await;
    world.loses("a foreign writer raised the generation", &proposal).await;
}

/// A generation below that of a replica, or none at all, comes from outside. The authoritative replica is above them all:
/// else a replica whose data was given up would become current again as soon as the writes have counted up to it.
pub async fn the_truth_is_above_every_replica(store: Arc<dyn Store>, foreign: Arc<dyn Foreign>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    for (path, left) in [("a", None), ("b", Some(Generation(1)))] {
        let id = world.repository(path).await;
        for _ in 0..3 {
            world.write(id, &["g1"]).await;
        }
        foreign.generation(id, left).await;
        let at = world.facts(id).await.facts_version;
        done("make g2 authoritative", world.store.authoritative_set(id, &storage("g2"), at, &s1).await);
        assert_eq!(world.facts(id).await.generation, Some(Generation(4)));
    }
}

/// Who does not trust itself decides nothing, and leaves the electorate.
pub async fn a_recused_supervisor_proposes_nothing(store: Arc<dyn Store>, foreign: Arc<dyn Foreign>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    world.votes(&s1, 1, &[("g1", Opinion::Up)]).await;
    let id = world.repository("a").await;
    foreign.recuse(&s1.name, true).await;
    assert_eq!(world.consensus("g1").await.tally.electorate, 0);
    let facts = world.facts(id).await;
    assert!(facts.supervisors.iter().all(|row| row.recused), "{:?}", facts.supervisors);
    world.loses("the proposer abstains", &world.proposal(&facts, Some("g2"), &s1)).await;
    foreign.recuse(&s1.name, false).await;
    world.elect(id, Some("g2"), &s1).await;
}

/// Defect Q: whoever has been silent for a day is forgotten with its votes, be it ours or a Praefect, by the first heartbeat of
/// a minute; nobody who spoke since, and no row of whoever clears away.
pub async fn q_what_the_gone_left_behind_expires(store: Arc<dyn Store>, foreign: Arc<dyn Foreign>) {
    const DAY: Duration = Duration::from_secs(86_400);
    let world = World::new(store).await;
    let gone = world.voter("gone").await;
    world.votes(&gone, 1, &[("g1", Opinion::Up), ("g2", Opinion::Down)]).await;
    foreign.vote(&supervisor("p-gone"), &node("g1"), ONE_SECOND, ONE_SECOND).await;
    foreign.silence(DAY.saturating_sub(Duration::from_secs(30))).await;
    let s1 = world.voter("s1").await;
    world.votes(&s1, 1, &[("g1", Opinion::Up)]).await;
    foreign.vote(&supervisor("p1"), &node("g1"), ONE_SECOND, TWO_MINUTES).await;
    let names = async || {
        let facts = world.health().await.facts;
        let voters: BTreeSet<_> = facts.votes.iter().map(|row| row.supervisor.to_string()).collect();
        let registered: Vec<_> = facts.supervisors.iter().map(|row| row.name.to_string()).collect();
        (voters.into_iter().collect::<Vec<_>>().join(" "), registered.join(" "))
    };
    assert_eq!(names().await, ("gone p-gone p1 s1".to_owned(), "gone s1".to_owned()), "a day is not over");

    foreign.silence(Duration::from_secs(61)).await;
    ok("heartbeat", world.store.supervisor_heartbeat(&s1).await);
    assert_eq!(names().await, ("p1 s1".to_owned(), "s1".to_owned()), "a day is over");
    assert_eq!(world.opinion("s1", "g1").await, Some(Opinion::Up), "its own votes stand");
    let own = world.health().await.facts.votes.into_iter().filter(|row| row.supervisor == s1.name).count();
    assert_eq!(own, 3, "those that it has not cast yet, too");
}

/// Of what a dead node led one cannot be read: it is named, its neighbours are read and settled, and a walk goes on behind
/// it.
pub async fn an_unreadable_repository_costs_itself_alone(store: Arc<dyn Store>, foreign: Arc<dyn Foreign>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let [a, bad, c] = [world.repository("a").await, world.repository("bad").await, world.repository("c").await];
    foreign.nameless_replica(bad).await;
    let read = async |after: i64, limit: u32| {
        ok("read what g1 leads", world.store.settle_facts(&node("g1"), RepositoryId(after), limit).await)
    };
    let all = read(i64::MIN, 10).await;
    assert_eq!(all.facts.repositories.iter().map(|led| led.repository).collect::<Vec<_>>(), [a, c]);
    assert_eq!(all.facts.unreadable.keys().copied().collect::<Vec<_>>(), [bad]);
    assert!(all.facts.unreadable.values().all(|why| !why.is_empty()), "{:?}", all.facts.unreadable);
    let step = read(i64::MIN, 2).await;
    assert_eq!((step.facts.read(), step.facts.until), (2, Some(bad)), "it is a step of the walk");
    assert_eq!(read(bad.0, 2).await.facts.repositories.len(), 1);
    let won = super::settling::settle(&world, &super::settling::batch(&all, Some("g2"), &s1)).await;
    assert_eq!(won.into_keys().collect::<Vec<_>>(), [a, c]);
    let left = read(i64::MIN, 10).await.facts;
    assert_eq!((left.repositories, left.unreadable.into_keys().collect()), (vec![], vec![bad]), "it is left as it is");
}
