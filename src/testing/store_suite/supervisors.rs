//! Being a voter: registering, staying alive, being superseded, going.

use super::world::{World, node, ok, storages, supervisor, token};
use crate::core::{
    consensus::Opinion,
    ids::Voter,
    penalty::{Penalty, lasting},
    recusal::Distrust,
};
use crate::store::{Change, ChangeKind, Heartbeat, Registered, Store, VotesWritten};
use futures_util::future::{join_all, join3};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

const SHORT: Duration = Duration::from_millis(150);

async fn beat(world: &World, voter: &Voter) -> Heartbeat {
    ok("heartbeat", world.store.supervisor_heartbeat(voter).await)
}

/// Every registration gets a number that nobody ever had, even after its row was removed.
pub async fn incarnations_are_never_reused(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let first = world.voter("s1").await;
    assert!(ok("remove", world.store.supervisor_remove(&first).await), "its own row must be removable");
    let second = world.voter("s1").await;
    let other = world.voter("s2").await;
    assert!(first.incarnation < second.incarnation, "{first} then {second}: incarnations must grow");
    assert!(second.incarnation < other.incarnation, "{second} then {other}: one sequence for all names");
}

/// `none` rows for watched nodes without a row; rows of nodes no longer watched go; the others stay as they are.
pub async fn registering_makes_rows_for_the_watched_nodes(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    for about in ["g1", "g2", "g3"] {
        let row = world.vote_row("s1", about).await;
        assert!(row.is_some(), "a watched node must have a row at once: {about}");
        assert_eq!(row.and_then(|row| row.opinion), Some(Opinion::None), "nothing was said about {about} yet");
    }
    world.votes(&s1, 1, &[("g1", Opinion::Up), ("g2", Opinion::Up)]).await;
    let registration = world.registration("s1", Some(s1.incarnation), &["g1", "g4"]);
    ok("register anew", world.store.supervisor_register(&registration).await);
    let health = world.health().await;
    let watched: BTreeSet<_> = health.facts.votes.iter().map(|row| row.node.storage.clone()).collect();
    assert_eq!(watched, storages(&["g1", "g4"]), "exactly the watched nodes have rows");
    let tally = world.consensus("g1").await.tally;
    assert_eq!((tally.up, tally.electorate), (0, 1), "the vote of the older incarnation must count as none");
}

/// Silent longer than `voter_ttl`: the heartbeat is refused until it registers anew.
pub async fn a_lapse_is_a_death(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    world.voter_ttl(SHORT).await;
    let s1 = world.voter("s1").await;
    world.lapse(&s1).await;
    assert_eq!(beat(&world, &s1).await, Heartbeat::Lapsed);
    assert_eq!(beat(&world, &s1).await, Heartbeat::Lapsed, "a refused heartbeat must not revive");
    world.voter_ttl(Duration::from_secs(60)).await;
    let again = world.voter_again("s1", Some(s1.incarnation)).await;
    assert!(matches!(beat(&world, &again).await, Heartbeat::Alive { .. }));
}

/// A heartbeat without a row says so.
pub async fn a_removed_supervisor_is_gone(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    ok("remove", world.store.supervisor_remove(&s1).await);
    assert_eq!(beat(&world, &s1).await, Heartbeat::Gone);
}

/// D21: the newer process of a name wins at once; the older learns by whom, writes nothing and removes nothing.
pub async fn the_newer_process_wins(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let old = world.voter("s1").await;
    let new = world.voter("s1").await;
    assert_eq!(beat(&world, &old).await, Heartbeat::Superseded { by: new.incarnation });
    assert_eq!(world.votes(&old, 1, &[("g1", Opinion::Up)]).await, VotesWritten::NotMine);
    let removed = ok("the older one stops", world.store.supervisor_remove(&old).await);
    assert!(!removed, "the stop of the older one must remove nothing of the newer");
    assert!(matches!(beat(&world, &new).await, Heartbeat::Alive { .. }), "the newer one lives on");
    assert_eq!(world.opinion("s1", "g1").await, Some(Opinion::None), "its votes are untouched");
}

/// A graceful stop removes its own row and votes, and nobody else's.
pub async fn stop_removes_row_and_votes(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (s1, s2) = (world.voter("s1").await, world.voter("s2").await);
    assert!(ok("remove", world.store.supervisor_remove(&s1).await));
    assert!(!ok("remove twice", world.store.supervisor_remove(&s1).await), "there is nothing left to remove");
    let facts = world.health().await.facts;
    assert!(facts.supervisors.iter().all(|row| row.name == s2.name), "{:?}", facts.supervisors);
    assert!(facts.votes.iter().all(|row| row.supervisor == s2.name) && facts.votes.len() == 3, "{:?}", facts.votes);
}

/// D21: whoever took a live name less than a minute ago keeps it against the next.
pub async fn two_hosts_do_not_take_turns(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    world.voter("s1").await;
    let second = world.voter("s1").await;
    let third = world.register("s1", None).await;
    assert_eq!(third, Registered::NameInUse { held_by: second.incarnation });
    assert!(matches!(beat(&world, &second).await, Heartbeat::Alive { .. }), "the refused start changed nothing");
}

/// D21: whoever had the name before its holder is the older process, and does not take it back: not while the holder
/// lives, and not while it only sleeps.
pub async fn a_predecessor_takes_no_name_back(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let first = world.voter("s1").await;
    let second = world.voter("s1").await;
    let back = world.register("s1", Some(first.incarnation)).await;
    assert_eq!(back, Registered::Superseded { by: second.incarnation });
    world.voter_ttl(SHORT).await;
    world.lapse(&second).await;
    let back = world.register("s1", Some(first.incarnation)).await;
    assert_eq!(back, Registered::Superseded { by: second.incarnation });
    let again = world.voter_again("s1", Some(second.incarnation)).await;
    assert!(again.incarnation > second.incarnation, "its successor comes back as itself");
}

/// D23 for a name: the answer to a registration was lost. The process asks again, without knowing what it is called by
/// now, and finds its own place: that is no takeover, and whoever starts next may take the name once.
pub async fn a_lost_registration_is_found_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let mut mine = world.registration("s1", None, &["g1"]);
    for attempt in 1..=3 {
        mine.attempt = attempt;
        let outcome = ok("register", world.store.supervisor_register(&mine).await);
        assert!(matches!(outcome, Registered::Registered { .. }), "attempt {attempt}: {outcome:?}");
    }
    let second = world.voter("s1").await;
    assert_eq!(world.register("s1", None).await, Registered::NameInUse { held_by: second.incarnation });
}

/// A registration that was given up lands after its successor of the same process: it changes nothing.
pub async fn a_registration_that_lands_late_supersedes_nobody(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let mut late = world.registration("s1", None, &["g1"]);
    late.process = token();
    let newer = crate::store::Registration { attempt: 2, ..late.clone() };
    let outcome = ok("register", world.store.supervisor_register(&newer).await);
    let Registered::Registered { incarnation, .. } = outcome else { panic!("refused: {outcome:?}") };
    for attempt in [1, 2] {
        late.attempt = attempt;
        let outcome = ok("register late", world.store.supervisor_register(&late).await);
        assert_eq!(outcome, Registered::Superseded { by: incarnation }, "attempt {attempt}");
    }
    let voter = Voter { name: supervisor("s1"), incarnation };
    assert!(matches!(beat(&world, &voter).await, Heartbeat::Alive { .. }), "it goes on as if nothing had been");
}

/// A process that lapsed takes its own place; that is no takeover, and does not wash off an earlier one.
pub async fn coming_back_as_oneself_is_no_takeover(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let mut mine = world.voter("s1").await;
    for _ in 0..3 {
        mine = world.voter_again("s1", Some(mine.incarnation)).await;
    }
    let taker = world.voter("s1").await;
    let taker = world.voter_again("s1", Some(taker.incarnation)).await;
    let refused = world.register("s1", None).await;
    assert_eq!(refused, Registered::NameInUse { held_by: taker.incarnation });
}

/// A crashed holder is no obstacle, and taking its place is no takeover of a live one.
pub async fn a_dead_holder_is_no_obstacle(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    world.voter_ttl(SHORT).await;
    let dead = world.voter("s1").await;
    world.lapse(&dead).await;
    world.voter("s1").await;
    world.voter_ttl(Duration::from_secs(60)).await;
    let second = world.voter("s1").await;
    assert!(second.incarnation > dead.incarnation, "taking over from one that took a dead one's place is allowed");
    assert_eq!(world.register("s1", None).await, Registered::NameInUse { held_by: second.incarnation });
}

/// Many processes start with one name at once: one begins, one takes over, the others are refused.
pub async fn a_race_of_registrations_has_one_winner(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let starts = (0..8).map(|_| world.register("s1", None));
    let mut winners = BTreeSet::new();
    for outcome in join_all(starts).await {
        if let Registered::Registered { incarnation, .. } = outcome {
            assert!(winners.insert(incarnation), "{incarnation} was given twice");
        }
    }
    assert_eq!(winners.len(), 2, "one begins and one takes over: {winners:?}");
    let rows = world.health().await.facts;
    let holders: Vec<_> = rows.supervisors.iter().filter(|row| row.name == supervisor("s1")).collect();
    assert_eq!(holders.len(), 1, "{holders:?}");
    assert_eq!(holders.first().map(|row| row.incarnation), winners.last().copied(), "the newer one holds the name");
    let about: Vec<_> = rows.votes.iter().map(|row| row.node.clone()).collect();
    assert_eq!(about, [node("g1"), node("g2"), node("g3")], "each watched node has one row");
}

/// Nodes come and go under one incarnation: rows for those that come, none for those that go, and not a vote of those that
/// stay is touched.
pub async fn watching_others_keeps_the_votes_of_those_that_stay(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let s2 = world.voter("s2").await;
    world.votes(&s1, 1, &[("g1", Opinion::Up), ("g2", Opinion::Up)]).await;
    world.votes(&s2, 1, &[("g2", Opinion::Down)]).await;
    let watch = async |voter: &Voter, names: &[&str]| {
        let nodes: Vec<_> = names.iter().map(|name| node(name)).collect();
        ok("watch", world.store.nodes_watch(voter, &nodes).await)
    };
    assert!(watch(&s1, &["g1", "g4"]).await, "it is registered");
    assert_eq!(world.opinion("s1", "g1").await, Some(Opinion::Up), "it stays, and so does its vote");
    assert_eq!(world.consensus("g1").await.tally.up, 1, "which counts as before");
    assert_eq!(world.opinion("s1", "g4").await, Some(Opinion::None), "nothing was said of it yet");
    assert!(world.vote_row("s1", "g2").await.is_none() && world.vote_row("s1", "g3").await.is_none(), "they went");
    assert_eq!(world.opinion("s2", "g2").await, Some(Opinion::Down), "another's votes are another's");
    assert!(watch(&s1, &["g1", "g4"]).await, "twice is once");
    // A later batch of the same incarnation counts, as ever.
    assert_eq!(world.votes(&s1, 2, &[("g4", Opinion::Up)]).await, VotesWritten::Written { changed: 1 });
    let newer = world.voter("s1").await;
    assert!(!watch(&s1, &["g9"]).await, "its place is taken");
    assert!(world.vote_row("s1", "g9").await.is_none() && world.vote_row("s1", "g1").await.is_some());
    assert!(watch(&newer, &[]).await, "nobody need be watched");
    assert!(world.vote_row("s1", "g1").await.is_none());
}

/// F23: an old and a new process of one name write the same rows at once, in opposite orders. Neither waits for the other
/// for ever, and no row is of the old one afterwards.
pub async fn f23_two_processes_of_one_name_write_at_once(store: Arc<dyn Store>) {
    const MANY: usize = 40;
    let world = World::new(store).await;
    let mut older = world.voter("s1").await;
    let names: Vec<String> = (0..MANY).map(|number| format!("n{number:02}")).collect();
    let votes = |opinion| names.iter().map(|name| (name.as_str(), opinion)).collect::<Vec<_>>();
    let (forth, mut back) = (votes(Opinion::Up), votes(Opinion::Down));
    back.reverse();
    for number in 1..=5 {
        let newer = world.voter_again("s1", Some(older.incarnation)).await;
        let (one, two, three) =
            join3(world.votes(&older, number, &back), world.votes(&newer, 2, &forth), world.votes(&newer, 1, &back))
                .await;
        assert_eq!(one, VotesWritten::NotMine, "the older process");
        assert!(matches!((two, three), (VotesWritten::Written { .. }, VotesWritten::Written { .. })));
        for name in &names {
            let row = world.vote_row("s1", name).await;
            let row = row.map(|row| (row.opinion, row.incarnation));
            assert_eq!(row, Some((Some(Opinion::Up), Some(newer.incarnation))), "{name}: its latest batch");
        }
        older = newer;
    }
}

/// A supervisor that does not trust itself says so in its own row: it leaves the electorate, keeps its votes, and beats on.
pub async fn who_abstains_counts_for_nothing_and_that_is_told(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    world.votes(&s1, 1, &[("g1", Opinion::Up)]).await;
    for (reason, electorate) in [(Some(Distrust::Blind), 0), (Some(Distrust::Stalled), 0), (None, 1)] {
        let begun = ok("begin to poll", world.store.changes_since(None).await).position;
        assert!(ok("recuse", world.store.supervisor_recuse(&s1, reason).await), "{reason:?}");
        let told = ok("poll", world.store.changes_since(Some(&begun)).await).changes;
        assert_eq!(told, [Change::everything(ChangeKind::Votes)], "{reason:?}");
        let tally = world.consensus("g1").await.tally;
        assert_eq!((tally.up, tally.electorate), (electorate, electorate), "{reason:?}");
        assert!(matches!(beat(&world, &s1).await, Heartbeat::Alive { .. }), "{reason:?}");
    }
    ok("recuse", world.store.supervisor_recuse(&s1, Some(Distrust::Blind)).await);
    let again = world.voter_again("s1", Some(s1.incarnation)).await;
    assert!(!ok("recuse", world.store.supervisor_recuse(&s1, Some(Distrust::Blind)).await), "an older incarnation");
    world.votes(&again, 1, &[("g1", Opinion::Up)]).await;
    assert_eq!(world.consensus("g1").await.tally.up, 1, "a new incarnation has nothing against itself yet");
}

/// Each deposition penalises once, however many saw it; each further one within ten minutes for twice as long.
pub async fn a_penalty_is_raised_once_for_all_who_saw_the_deposition(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let g1 = node("g1");
    let read = async || {
        let health = world.health().await;
        let last = health.penalties.get(&g1).copied();
        (last, last.map_or(0, |last| last.until.0 - health.at.0))
    };
    let raise = async |last: Option<Penalty>| {
        let lasting = lasting(last, world.health().await.at);
        ok("penalise", world.store.penalty_raise(&g1, last.map(|last| last.until), lasting).await)
    };
    assert_eq!(read().await, (None, 0));
    assert!(raise(None).await);
    assert!(!raise(None).await, "another supervisor saw the same deposition");
    let mut last = read().await;
    for seconds in [10, 20, 40, 80, 160, 320] {
        let (penalty, left) = last;
        assert!((seconds * 1_000_000 - 9_000_000..=seconds * 1_000_000).contains(&left), "{left} us of {seconds} s");
        assert!(raise(penalty).await && !raise(penalty).await, "once");
        last = read().await;
    }
    assert!((590_000_000..=600_000_000).contains(&last.1), "{} us, the longest", last.1);
    assert!(raise(last.0).await);
    assert!(read().await.1 <= 600_000_000, "no longer than the longest");
    assert!(ok("lift", world.store.penalty_lift(&g1).await));
    assert!(!ok("lift", world.store.penalty_lift(&g1).await), "there is none any more");
    assert_eq!(read().await, (None, 0));
    assert!(raise(None).await);
    assert!((1..=10_000_000).contains(&read().await.1), "forgiven is forgotten");
}
