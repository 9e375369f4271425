//! One primary for a whole virtual storage.

use super::world::{World, done, node, ok, path, storage, supervisor, virtual_storage, wait_until};
use crate::core::{
    consensus::Opinion,
    election::{Lags, RecordedShard, ShardFacts},
    epoch::{Epoch, Era, Generation},
    ids::{Incarnation, Voter},
    settings::Profile,
    time::micros,
};
use crate::store::{CasOutcome, ShardExpected, ShardProposal, StorageChange, Store};
use futures_util::future::join_all;
use std::{sync::Arc, time::Duration};

impl World {
    pub(super) async fn shard(&self) -> ShardFacts {
        ok("read the shard's facts", self.store.shard_facts(&virtual_storage("v"), false).await).facts
    }
    async fn lags(&self) -> Lags {
        let facts = ok("count the lags", self.store.shard_facts(&virtual_storage("v"), true).await).facts;
        match facts.lags {
            Some(lags) => lags,
            None => panic!("lags were asked for"),
        }
    }
    async fn recorded(&self) -> RecordedShard {
        match self.shard().await.recorded {
            Some(recorded) => recorded,
            None => panic!("the virtual storage has no row"),
        }
    }
    fn shard_proposal(&self, facts: &ShardFacts, to: Option<&str>, proposer: &Voter) -> ShardProposal {
        let epoch = facts.recorded.as_ref().and_then(|recorded| recorded.epoch);
        ShardProposal {
            decision: super::world::decision(),
            virtual_storage: facts.virtual_storage.clone(),
            expected: ShardExpected { epoch, era: facts.era, at: facts.at },
            from: facts.recorded.as_ref().filter(|recorded| !recorded.demoted).map(|recorded| recorded.storage.clone()),
            to: to.map(storage),
            proposer: proposer.clone(),
            why: "unhealthy".to_owned(),
            evidence: r#"{"votes":[]}"#.to_owned(),
        }
    }
    async fn shard_cas(&self, proposal: &ShardProposal) -> CasOutcome {
        ok("propose", self.store.shard_cas(proposal).await)
    }
    /// Commits a change that must win, and answers its epoch.
    async fn shard_elect(&self, to: Option<&str>, proposer: &Voter) -> Epoch {
        let proposal = self.shard_proposal(&self.shard().await, to, proposer);
        match self.shard_cas(&proposal).await {
            CasOutcome::Won { epoch } => epoch,
            other @ (CasOutcome::Lost | CasOutcome::EraChanged) => panic!("{to:?} was to be elected, got {other:?}"),
        }
    }
    /// The proposal must be lost, and the row untouched.
    async fn shard_loses(&self, why: &str, proposal: &ShardProposal) {
        let row = async || self.shard().await.recorded.map(|row| (row.storage, row.demoted, row.epoch));
        let before = row().await;
        assert_eq!(self.shard_cas(proposal).await, CasOutcome::Lost, "{why}");
        assert_eq!(row().await, before, "{why}: a lost proposal changes nothing");
    }
}

/// Nobody was ever elected: no row, no epoch, nobody's lag.
pub async fn a_virtual_storage_begins_without_a_row(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let facts = world.shard().await;
    assert_eq!((facts.recorded, facts.lags, facts.era), (None, None, Era(1)));
    assert_eq!(world.lags().await, Lags::default(), "there are no repositories");
    let none = ok("history", world.store.shard_history(&virtual_storage("v"), 10).await);
    assert!(none.is_empty(), "{none:?}");
}

/// The row appears with its first primary and changes with the next, under one sequence of epochs with the repositories.
pub async fn its_primary_is_elected_under_an_epoch_of_the_one_sequence(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let repository = world.facts(id).await.epoch;
    let first = world.shard_elect(Some("g2"), &s1).await;
    assert!(Some(first) > repository, "{first} must be above {repository:?}");
    let RecordedShard { storage: elected, demoted, epoch, elected_age } = world.recorded().await;
    assert_eq!((elected, demoted, epoch), (storage("g2"), false, Some(first)));
    let young = elected_age.is_some_and(|age| age.is_within(Duration::from_secs(100)));
    assert!(young, "it was elected just now: {elected_age:?}");
    let second = world.shard_elect(Some("g1"), &s1).await;
    let other = world.repository("b").await;
    assert!(second > first && world.facts(other).await.epoch > Some(second));
    assert_eq!(world.facts(id).await.epoch, repository, "a repository's own row is another matter");
    let elsewhere = ok("read", world.store.shard_facts(&virtual_storage("w"), true).await).facts;
    assert_eq!((elsewhere.recorded, elsewhere.lags), (None, Some(Lags::default())), "another one's row is not ours");
}

/// A demotion takes an epoch, keeps the name, forgets no election; the same node can be elected again (F4).
pub async fn a_demoted_primary_can_be_elected_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let nothing = world.shard_proposal(&world.shard().await, None, &s1);
    assert_eq!(world.shard_cas(&nothing).await, CasOutcome::Lost, "there is nothing to demote");
    assert_eq!(world.shard().await.recorded, None);
    let first = world.shard_elect(Some("g1"), &s1).await;
    let down = world.shard_elect(None, &s1).await;
    let row = world.recorded().await;
    assert_eq!((row.storage, row.demoted, row.epoch), (storage("g1"), true, Some(down)));
    let again = world.shard_elect(Some("g1"), &s1).await;
    let row = world.recorded().await;
    assert_eq!((row.storage, row.demoted, row.epoch), (storage("g1"), false, Some(again)));
    assert!(first < down && down < again);
    let history = ok("history", world.store.shard_history(&virtual_storage("v"), 2).await);
    let told: Vec<_> = history.iter().map(|row| (row.epoch, row.previous.clone(), row.current.clone())).collect();
    assert_eq!(told, [(again, None, Some(storage("g1"))), (down, Some(storage("g1")), None)]);
    assert!(
        history.iter().all(|row| row.why.as_deref() == Some("unhealthy") && row.supervisor == Some(s1.name.clone()))
    );
}

/// D25: "no epoch" is an expectation like any other, and so is an epoch.
pub async fn its_expectations_are_null_safe(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let before = world.shard().await;
    let mut wrong = world.shard_proposal(&before, Some("g1"), &s1);
    wrong.expected.epoch = Epoch::new(Era(1), 77_777).ok();
    world.shard_loses("an epoch is expected where there is none", &wrong).await;
    let late = world.shard_proposal(&before, Some("g1"), &s1);
    world.shard_elect(Some("g2"), &s1).await;
    world.shard_loses("no epoch is expected where there is one", &late).await;
    let old = world.shard_proposal(&world.shard().await, Some("g1"), &s1);
    world.shard_elect(Some("g3"), &s1).await;
    world.shard_loses("the epoch is an older one", &old).await;
}

/// Another era, old facts, facts of the future, and everybody who may not propose.
pub async fn whoever_may_not_change_it_does_not(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    world.shard_elect(Some("g1"), &s1).await;
    let facts = world.shard().await;
    let wrong = |change: &dyn Fn(&mut ShardProposal)| {
        let mut proposal = world.shard_proposal(&facts, Some("g2"), &s1);
        change(&mut proposal);
        proposal
    };
    world.shard_loses("the era is another", &wrong(&|wrong| wrong.expected.era = Era(2))).await;
    let ahead = micros(Duration::from_secs(50));
    world.shard_loses("the facts are of the future", &wrong(&|wrong| wrong.expected.at.0 += ahead)).await;
    world.shard_loses("the proposer never registered", &wrong(&|wrong| wrong.proposer.name = supervisor("s9"))).await;
    let never = Incarnation(s1.incarnation.0 + 1);
    world.shard_loses("no such incarnation", &wrong(&|wrong| wrong.proposer.incarnation = never)).await;
    let newer = world.voter("s1").await;
    world.shard_loses("the proposer is superseded", &wrong(&|_| {})).await;
    let ttl = Duration::from_millis(50);
    let old = wrong(&|wrong| wrong.proposer = newer.clone());
    world.set(|settings| settings.decision_ttl = ttl).await;
    wait_until("the facts are too old", async || world.health().await.at.0 - facts.at.0 >= micros(ttl)).await;
    world.shard_loses("D4: the facts are older than decision_ttl", &old).await;
    world.set(|settings| settings.decision_ttl = Duration::from_secs(60)).await;
    world.voter_ttl(Duration::from_millis(50)).await;
    world.lapse(&newer).await;
    world.shard_loses("the proposer has lapsed", &world.shard_proposal(&world.shard().await, Some("g2"), &newer)).await;
    world.profile(Profile::Praefect).await;
    world.set(|settings| settings.decision_ttl = Duration::from_secs(50)).await;
    let stranger = Voter { name: supervisor("s9"), incarnation: Incarnation(0) };
    world.shard_elect(Some("g2"), &stranger).await;
}

/// D23: a retry finds its own decision, also after others decided anew, and changes nothing.
pub async fn its_same_decision_wins_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let proposal = world.shard_proposal(&world.shard().await, Some("g2"), &s1);
    let first = world.shard_cas(&proposal).await;
    assert!(matches!(first, CasOutcome::Won { .. }), "{first:?}");
    assert_eq!(world.shard_cas(&proposal).await, first, "the answer was lost; the retry must get the same");
    world.shard_elect(Some("g3"), &s1).await;
    assert_eq!(world.shard_cas(&proposal).await, first, "it did win, under that epoch, whatever came after");
    assert_eq!(world.recorded().await.storage, storage("g3"));
    assert_eq!(ok("history", world.store.shard_history(&virtual_storage("v"), 10).await).len(), 2);
}

/// Many decide on the same facts, before there is a row and after: one wins each time.
pub async fn its_race_has_one_winner(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    for round in 1..=2 {
        let facts = world.shard().await;
        let name = |n: usize| if n.is_multiple_of(2) { "g2" } else { "g3" };
        let proposals: Vec<_> = (0..8).map(|n| world.shard_proposal(&facts, Some(name(n)), &s1)).collect();
        let outcomes = join_all(proposals.iter().map(|proposal| world.shard_cas(proposal))).await;
        let mut won = outcomes.iter().zip(&proposals).filter(|(outcome, _)| matches!(outcome, CasOutcome::Won { .. }));
        let (winner, others) = (won.next().and_then(|(_, proposal)| proposal.to.clone()), won.count());
        assert_eq!(others, 0, "{outcomes:?}");
        assert_eq!(winner, Some(world.recorded().await.storage), "the winner's row stands");
        let changes = ok("history", world.store.shard_history(&virtual_storage("v"), 10).await).len();
        assert_eq!(changes, round, "exactly one change in each round");
    }
}

/// A missing replica lacks everything from generation -1 on, and what is elsewhere counts for nothing.
pub async fn lags_are_summed_over_all_repositories(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (a, b) = (world.repository("a").await, world.repository("b").await);
    let new = world.new_repository("c", &["g1"], Some("g1"));
    let c = done("create", world.store.repository_create(&new).await).repository;
    for _ in 0..3 {
        world.write(a, &["g1", "g2"]).await;
    }
    world.write(b, &["g1", "g3"]).await;
    world.write(c, &["g1"]).await;
    let mut elsewhere = world.new_repository("d", &["g2"], None);
    elsewhere.virtual_storage = virtual_storage("w");
    done("create", world.store.repository_create(&elsewhere).await);
    let lags = world.lags().await;
    let of = |name| lags.of(&storage(name));
    assert_eq!((of("g1"), of("g2"), of("g3"), of("g9")), (0, 1 + 2, 3 + 2, 4 + 2 + 2), "{lags:?}");
    let fence = world.fence(b).await;
    let set = world.store.generation_set(b, Some(&fence), &storage("g2"), Generation(1)).await;
    done("catch up", set);
    assert_eq!(world.lags().await.of(&storage("g2")), 2);
    let to = path("moved");
    done("rename", world.store.repository_rename(a, Some(&world.fence(a).await), &to).await);
    assert_eq!(world.lags().await.of(&storage("g3")), 5, "a path is no part of it");
}

/// Votes of the virtual storage, all supervisors, and what is said of its storages.
pub async fn what_an_election_of_it_rests_on_is_read_together(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    world.votes(&s1, 1, &[("g1", Opinion::Up), ("g2", Opinion::Down)]).await;
    let change = StorageChange { priority: Some(7), draining: Some(true) };
    ok("set attributes", world.store.storage_update(&node("g2"), change).await);
    let facts = world.shard().await;
    let votes: Vec<_> = facts.health.votes.iter().map(|vote| (vote.node.clone(), vote.opinion)).collect();
    for expected in [(node("g1"), Opinion::Up), (node("g2"), Opinion::Down), (node("g3"), Opinion::None)] {
        assert!(votes.contains(&(expected.0.clone(), Some(expected.1))), "{expected:?} in {votes:?}");
    }
    assert_eq!(facts.health.supervisors.len(), 1);
    let of = facts.attributes.get(&storage("g2")).map(|of| (of.priority, of.draining, of.penalised));
    assert_eq!((of, facts.attributes.len()), (Some((7, true, false)), 1));
    let elsewhere = ok("read", world.store.shard_facts(&virtual_storage("w"), false).await).facts;
    assert!(elsewhere.health.votes.is_empty() && elsewhere.attributes.is_empty(), "{elsewhere:?}");
    let settings = ok("read", world.store.shard_facts(&virtual_storage("v"), false).await).settings;
    assert_eq!(settings, world.health().await.settings);
}
