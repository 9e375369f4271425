//! What a dead node led, read and committed in sets: as many single reads and commits would.

use super::world::{World, decision, done, ok, path, rows, storage, storages, supervisor, virtual_storage, wait_until};
use crate::core::{
    consensus::{Opinion, VoteRow},
    epoch::{Epoch, Era, Generation},
    ids::{NodeId, RepositoryId, Voter},
    settings::Profile,
    settling::{LedRepository, SettlementOf},
    synced::Scope,
    time::micros,
};
use crate::store::{ChangeKind, SettleBatch, SettleOutcome, SettleSnapshot, StorageChange, Store};
use futures_util::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

fn g1() -> NodeId {
    NodeId::new(virtual_storage("v"), storage("g1"))
}

const START: RepositoryId = RepositoryId(i64::MIN);

async fn facts(world: &World) -> SettleSnapshot {
    ok("read what g1 leads", world.store.settle_facts(&g1(), START, 1_000).await)
}

/// A batch that gives each of these to `to`, with a decision id of its own.
pub(super) fn batch(read: &SettleSnapshot, to: Option<&str>, proposer: &Voter) -> SettleBatch {
    let one = |led: &LedRepository| SettlementOf {
        repository: led.repository,
        epoch: led.epoch,
        facts_version: led.facts_version,
        to: to.map(storage),
    };
    SettleBatch {
        decision: decision(),
        node: read.facts.node.clone(),
        era: read.facts.era,
        at: read.facts.at,
        proposer: proposer.clone(),
        why: "unhealthy".to_owned(),
        evidence: r#"{"settled":1}"#.to_owned(),
        repositories: read.facts.repositories.iter().map(one).collect(),
    }
}

pub(super) async fn settle(world: &World, batch: &SettleBatch) -> BTreeMap<RepositoryId, Epoch> {
    match ok("settle", world.store.settle_cas(batch).await) {
        SettleOutcome::Done(won) => won,
        other @ (SettleOutcome::Busy | SettleOutcome::EraChanged) => panic!("nobody else settles, yet {other:?}"),
    }
}

async fn wins_nothing(world: &World, why: &str, batch: &SettleBatch) {
    let before = facts(world).await.facts.repositories;
    assert_eq!(settle(world, batch).await, BTreeMap::new(), "{why}");
    assert_eq!(facts(world).await.facts.repositories, before, "{why}: it lost, yet something changed");
}

/// Without what time changes, in one order.
fn timeless(votes: &[VoteRow]) -> Vec<VoteRow> {
    let mut votes = votes.to_vec();
    for vote in &mut votes {
        vote.contact_age = vote.contact_age.map(|_| crate::core::time::Age(0));
        vote.seen_age = vote.seen_age.map(|_| crate::core::time::Age(0));
    }
    votes.sort_by(|a, b| (&a.node, &a.supervisor).cmp(&(&b.node, &b.supervisor)));
    votes
}

/// What is read of many at once is what would be read of each alone, under both policies.
pub async fn facts_are_what_single_reads_find(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    world.voter("s2").await;
    world.votes(&s1, 1, &[("g1", Opinion::Down), ("g2", Opinion::Up), ("g3", Opinion::Misconfigured)]).await;
    let change = StorageChange { priority: Some(7), draining: Some(true) };
    ok("prefer g2", world.store.storage_update(&NodeId::new(virtual_storage("v"), storage("g2")), change).await);
    let plain = world.repository("plain").await;
    let marked = world.repository("marked").await;
    done("mark", world.store.replica_mark(marked, &storage("g3")).await);
    let assigned = world.repository("assigned").await;
    let version = world.facts(assigned).await.facts_version;
    done("assign", world.store.assignments_replace(assigned, version, &storages(&["g1", "g9"])).await);
    let written = world.repository("written").await;
    world.write(written, &["g1", "g2"]).await;
    let few = world.new_repository("few", &["g1", "g2"], Some("g1"));
    let few = done("create", world.store.repository_create(&few).await).repository;
    world.repository_with("led by another", Some("g2")).await;
    world.repository_with("led by nobody", None).await;
    for profile in [Profile::Default, Profile::Praefect] {
        world.profile(profile).await;
        let read = facts(&world).await;
        let ids: Vec<_> = read.facts.repositories.iter().map(|led| led.repository).collect();
        assert_eq!(ids, [plain, marked, assigned, written, few], "what g1 leads, in order of id");
        for led in &read.facts.repositories {
            let (alone, together) = (world.facts(led.repository).await, read.facts.election(led));
            assert_eq!(rows(&together), rows(&alone), "{profile:?}");
            assert_eq!(timeless(&together.votes), timeless(&alone.votes), "{profile:?}");
            let names = |facts: &crate::core::election::ElectionFacts| -> (Vec<_>, BTreeSet<_>) {
                let supervisors = facts.supervisors.iter().map(|row| (row.name.clone(), row.incarnation)).collect();
                (supervisors, facts.members.iter().map(|member| member.supervisor.clone()).collect())
            };
            assert_eq!(names(&together), names(&alone), "{profile:?}");
        }
        assert_eq!(read.settings, world.health().await.settings);
    }
}

/// A walk goes on behind a repository, takes no more than it asks for, and comes by nothing of other virtual storages.
pub async fn a_walk_goes_in_order_and_in_steps(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        ids.push(world.repository(name).await);
    }
    let mut elsewhere = world.new_repository("a", &["g1"], Some("g1"));
    elsewhere.virtual_storage = virtual_storage("w");
    done("create", world.store.repository_create(&elsewhere).await);
    let (mut walked, mut after) = (Vec::new(), START);
    loop {
        let step = ok("read on", world.store.settle_facts(&g1(), after, 2).await).facts;
        assert!(step.repositories.len() <= 2, "{step:?}");
        walked.extend(step.repositories.iter().map(|led| led.repository));
        let Some(until) = step.until else { break };
        assert!(until > after, "it goes on: {until} after {after}");
        after = until;
    }
    assert_eq!(walked, ids);
    let nothing =
        ok("read", world.store.settle_facts(&NodeId::new(virtual_storage("x"), storage("g1")), START, 2).await);
    assert_eq!((nothing.facts.repositories, nothing.facts.until), (vec![], None));
}

/// A batch changes what as many single commits would: the rows, the epochs, the history.
pub async fn a_batch_commits_what_singles_would(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    for (number, to) in [Some("g2"), None].into_iter().enumerate() {
        let alone = world.repository(&format!("alone{number}")).await;
        world.elect(alone, to, &s1).await;
        let mut together = Vec::new();
        for name in ["x", "y", "z"] {
            together.push(world.repository(&format!("{name}{number}")).await);
        }
        let won = settle(&world, &batch(&facts(&world).await, to, &s1)).await;
        assert_eq!(won.keys().copied().collect::<Vec<_>>(), together);
        let of_one = ok("history", world.store.primary_history(alone, 10).await);
        let last = world.facts(alone).await;
        let mut epochs: BTreeSet<_> = of_one.iter().map(|change| change.epoch).collect();
        for id in together {
            let now = world.facts(id).await;
            assert_eq!((now.primary.clone(), now.epoch), (to.map(storage), won.get(&id).copied()));
            assert!(now.epoch > last.epoch, "epochs come from the one counter");
            let (mut now, mut as_alone) = (rows(&now), rows(&last));
            (now.repository, now.relative_path, now.epoch) = (alone, path("alone"), None);
            (as_alone.relative_path, as_alone.epoch) = (path("alone"), None);
            now.facts_version = as_alone.facts_version;
            assert_eq!(now, as_alone);
            let history = ok("history", world.store.primary_history(id, 10).await);
            let told = |changes: &[crate::store::PrimaryChange]| -> Vec<_> {
                let told = changes
                    .iter()
                    .map(|c| (c.previous.clone(), c.current.clone(), c.why.clone(), c.supervisor.clone()));
                told.collect()
            };
            assert_eq!(told(&history), told(&of_one), "creation and one change");
            assert_eq!(history.first().and_then(|change| change.evidence.as_deref()), Some(r#"{"settled":1}"#));
            assert!(history.iter().all(|change| epochs.insert(change.epoch)), "no two changes share an epoch");
        }
    }
}

/// D3, in sets: whatever moved since the facts were read is left out, and nothing else is.
pub async fn d03_what_moved_is_left_out(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let mut ids = Vec::new();
    for name in ["stays", "increment", "lower", "mark", "assign", "elect", "delete"] {
        ids.push(world.repository(name).await);
    }
    let [stays, increment, lower, mark, assign, elect, delete] = ids[..] else { panic!("{ids:?}") };
    let batch = batch(&facts(&world).await, Some("g2"), &s1);
    world.write(increment, &["g1", "g3"]).await;
    let fence = world.fence(lower).await;
    done("lower", world.store.generation_set(lower, Some(&fence), &storage("g2"), Generation(-1)).await);
    done("mark", world.store.replica_mark(mark, &storage("g2")).await);
    let version = world.facts(assign).await.facts_version;
    done("assign", world.store.assignments_replace(assign, version, &storages(&["g3"])).await);
    world.elect(elect, Some("g3"), &s1).await;
    let fence = world.fence(delete).await;
    done("delete", world.store.repository_delete(delete, Some(&fence)).await);
    let won = settle(&world, &batch).await;
    assert_eq!(won.keys().copied().collect::<Vec<_>>(), [stays]);
    for moved in [increment, lower, mark, assign] {
        assert_eq!(world.facts(moved).await.primary, Some(storage("g1")), "{moved}");
    }
    assert_eq!(world.facts(elect).await.primary, Some(storage("g3")));
}

/// D4, in sets: facts that are too old, of the future or of another era elect nobody.
pub async fn d04_old_facts_win_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    world.repository("a").await;
    let mut future = batch(&facts(&world).await, Some("g2"), &s1);
    future.at.0 += micros(Duration::from_secs(50));
    wins_nothing(&world, "the facts are of the future", &future).await;
    let mut other_era = batch(&facts(&world).await, Some("g2"), &s1);
    other_era.era = Era(2);
    wins_nothing(&world, "the era is another", &other_era).await;
    let old = batch(&facts(&world).await, Some("g2"), &s1);
    let ttl = Duration::from_millis(50);
    world.set(|settings| settings.decision_ttl = ttl).await;
    wait_until("the facts are too old", async || world.health().await.at.0 - old.at.0 >= micros(ttl)).await;
    wins_nothing(&world, "the facts are older than decision_ttl", &old).await;
}

/// Nobody settles who could not propose a single change.
pub async fn who_may_not_propose_wins_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let old = world.voter("s1").await;
    let s1 = world.voter("s1").await;
    world.repository("a").await;
    wins_nothing(&world, "the proposer is superseded", &batch(&facts(&world).await, Some("g2"), &old)).await;
    let stranger = Voter { name: supervisor("s9"), incarnation: s1.incarnation };
    wins_nothing(&world, "the proposer never registered", &batch(&facts(&world).await, Some("g2"), &stranger)).await;
    world.voter_ttl(Duration::from_millis(50)).await;
    world.lapse(&s1).await;
    wins_nothing(&world, "the proposer has lapsed", &batch(&facts(&world).await, Some("g2"), &s1)).await;
}

/// D23, in sets: a retry finds what its batch won, whatever came after, and changes nothing.
pub async fn d23_the_same_batch_wins_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let [a, b] = [world.repository("a").await, world.repository("b").await];
    let batch = batch(&facts(&world).await, Some("g2"), &s1);
    world.write(b, &["g1", "g2"]).await;
    let won = settle(&world, &batch).await;
    assert_eq!(won.keys().copied().collect::<Vec<_>>(), [a]);
    world.elect(a, Some("g3"), &s1).await;
    assert_eq!(settle(&world, &batch).await, won, "the answer was lost; the retry must get the same");
    assert_eq!(world.facts(a).await.primary, Some(storage("g3")), "and change nothing");
    assert_eq!(world.facts(b).await.primary, Some(storage("g1")), "what it lost it does not win later");
    assert_eq!(ok("history", world.store.primary_history(a, 10).await).len(), 3, "creation and two changes");
}

/// Many supervisors settle the same: each repository is changed once.
pub async fn a_race_of_batches_changes_each_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(world.repository(&format!("r{number}")).await);
    }
    let read = facts(&world).await;
    let batches: Vec<_> = (0..4).map(|n| batch(&read, Some(if n % 2 == 0 { "g2" } else { "g3" }), &s1)).collect();
    let outcomes = join_all(batches.iter().map(|batch| world.store.settle_cas(batch))).await;
    let mut won = BTreeSet::new();
    for outcome in outcomes {
        if let SettleOutcome::Done(some) = ok("settle", outcome) {
            assert!(some.keys().all(|id| won.insert(*id)), "two batches won the same repository");
        }
    }
    assert_eq!(won.into_iter().collect::<Vec<_>>(), ids, "whoever was first won them all");
    for id in ids {
        assert_eq!(ok("history", world.store.primary_history(id, 10).await).len(), 2, "creation and one change");
    }
}

/// Whoever keeps primaries in mind hears of every change: one by one, or at once of all that the dead node led. What others
/// lead need not be forgotten.
pub async fn a_batch_is_told(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    for many in [3, 70] {
        let mut paths = BTreeSet::new();
        for number in 0..many {
            world.repository(&format!("{many}/{number}")).await;
            paths.insert(path(&format!("{many}/{number}")));
        }
        let begin = ok("begin to poll", world.store.changes_since(None).await).position;
        assert_eq!(settle(&world, &batch(&facts(&world).await, Some("g2"), &s1)).await.len(), many);
        let told = ok("poll", world.store.changes_since(Some(&begin)).await).changes;
        let primaries: Vec<_> = told.into_iter().filter(|change| change.kind == ChangeKind::Primaries).collect();
        let whole = primaries.iter().any(|change| change.scope == Scope::LedBy(g1()));
        let each: BTreeSet<_> = primaries
            .into_iter()
            .filter_map(|change| match change.scope {
                Scope::Repository(_, path) => Some(path),
                Scope::LedBy(_) => None,
                Scope::VirtualStorage(_) | Scope::Everything => panic!("{change:?} is about those of others, too"),
            })
            .collect();
        assert!(whole || each == paths, "{each:?}");
        assert!(!whole || many > 64, "{many} are few enough to be named");
    }
}
