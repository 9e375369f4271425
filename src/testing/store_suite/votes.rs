//! Votes: the latest opinion of the current incarnation stands, whatever order the writes arrive in.

use super::world::{World, node, wait_until};
use crate::core::consensus::Opinion;
use crate::store::{Store, VotesWritten};
use futures_util::future::join_all;
use std::sync::Arc;

/// `up` stamps both times, `down` and `misconfigured` the attempt only, `none` neither.
pub async fn each_opinion_stamps_what_it_should(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let stamps = async |world: &World| {
        let row = world.vote_row("s1", "g1").await;
        row.map(|row| (row.contact_age.is_some(), row.seen_age.is_some(), row.opinion))
    };
    assert_eq!(stamps(&world).await, Some((false, false, Some(Opinion::None))), "never tried");
    world.votes(&s1, 1, &[("g1", Opinion::Down)]).await;
    assert_eq!(stamps(&world).await, Some((true, false, Some(Opinion::Down))), "tried, never seen");
    world.votes(&s1, 2, &[("g1", Opinion::Up)]).await;
    assert_eq!(stamps(&world).await, Some((true, true, Some(Opinion::Up))), "tried and seen");
    let older = |row: Option<crate::core::consensus::VoteRow>| row.and_then(|row| row.seen_age).map_or(0, |age| age.0);
    wait_until("the sighting is 30 ms old", async || older(world.vote_row("s1", "g1").await) > 30_000).await;
    world.votes(&s1, 3, &[("g1", Opinion::Misconfigured)]).await;
    let row = world.vote_row("s1", "g1").await;
    let ages = row.map(|row| (row.contact_age, row.seen_age));
    assert!(matches!(ages, Some((Some(contact), Some(seen))) if seen.0 >= contact.0 + 30_000), "{ages:?}");
    wait_until("the attempt is 30 ms old", async || {
        let row = world.vote_row("s1", "g1").await;
        row.and_then(|row| row.contact_age).is_some_and(|age| age.0 > 30_000)
    })
    .await;
    world.votes(&s1, 4, &[("g1", Opinion::None)]).await;
    let row = world.vote_row("s1", "g1").await;
    let contact = row.as_ref().and_then(|row| row.contact_age);
    assert!(contact.is_some_and(|age| age.0 > 30_000), "a retraction is no attempt: {row:?}");
    assert_eq!(row.and_then(|row| row.opinion), Some(Opinion::None));
}

/// D27, first half: a delayed `up` of incarnation 1 lands after the `down` of incarnation 2.
pub async fn d27_an_old_incarnation_writes_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let first = world.voter("s1").await;
    let second = world.voter_again("s1", Some(first.incarnation)).await;
    world.votes(&second, 1, &[("g1", Opinion::Down)]).await;
    assert_eq!(world.votes(&first, 99, &[("g1", Opinion::Up)]).await, VotesWritten::NotMine);
    assert_eq!(world.opinion("s1", "g1").await, Some(Opinion::Down), "the stored vote must be the latest opinion");
}

/// D27, second half: two writes of one supervisor overtake each other.
pub async fn d27_an_old_batch_changes_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    world.votes(&s1, 8, &[("g1", Opinion::Down)]).await;
    let late = world.votes(&s1, 7, &[("g1", Opinion::Up), ("g2", Opinion::Up)]).await;
    assert_eq!(late, VotesWritten::Written { changed: 1 }, "only what no later batch had stored is stored");
    assert_eq!(world.opinion("s1", "g1").await, Some(Opinion::Down), "the later batch stands");
    assert_eq!(world.opinion("s1", "g2").await, Some(Opinion::Up), "the later batch said nothing about this one");
}

/// A new incarnation counts its batches from the beginning, and its first beats the last of the old one.
pub async fn a_new_incarnation_starts_its_batches_anew(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let first = world.voter("s1").await;
    world.votes(&first, 1_000, &[("g1", Opinion::Up)]).await;
    let second = world.voter_again("s1", Some(first.incarnation)).await;
    world.votes(&second, 1, &[("g1", Opinion::Down)]).await;
    assert_eq!(world.opinion("s1", "g1").await, Some(Opinion::Down));
}

/// Batches sent all at once end as the one with the highest number.
pub async fn batches_in_any_order(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let (world, s1) = (&world, &s1);
    let batches = [5, 2, 9, 1, 7, 3, 8, 4, 6].map(|number| async move {
        let opinion = if number == 9 { Opinion::Misconfigured } else { Opinion::Up };
        world.votes(s1, number, &[("g1", opinion), ("g2", opinion), ("g3", opinion)]).await
    });
    join_all(batches).await;
    for about in ["g1", "g2", "g3"] {
        assert_eq!(
            world.opinion("s1", about).await,
            Some(Opinion::Misconfigured),
            "batch 9 is the last word on {about}"
        );
    }
}

/// After registering anew, what the older incarnation said counts as none, though the row still stands.
pub async fn votes_die_with_their_incarnation(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    world.votes(&s1, 1, &[("g1", Opinion::Up)]).await;
    assert_eq!(world.consensus("g1").await.tally.up, 1);
    let anew = world.voter_again("s1", Some(s1.incarnation)).await;
    let tally = world.consensus("g1").await.tally;
    assert_eq!((tally.up, tally.electorate), (0, 1), "it is a voter that has said nothing yet");
    let written = world.votes(&anew, 1, &[("g1", Opinion::Up)]).await;
    assert_eq!(written, VotesWritten::Written { changed: 1 }, "none became up: others must be told");
    assert_eq!(world.consensus("g1").await.tally.up, 1);
}

/// `changed` counts opinions that changed, so that a repeated write notifies nobody.
pub async fn changes_are_counted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let all = [("g1", Opinion::Up), ("g2", Opinion::Up), ("g3", Opinion::Down)];
    assert_eq!(world.votes(&s1, 1, &all).await, VotesWritten::Written { changed: 3 });
    assert_eq!(world.votes(&s1, 2, &all).await, VotesWritten::Written { changed: 0 });
    let one = [("g1", Opinion::Up), ("g2", Opinion::Misconfigured), ("g3", Opinion::Down)];
    assert_eq!(world.votes(&s1, 3, &one).await, VotesWritten::Written { changed: 1 });
    assert_eq!(world.votes(&s1, 3, &one).await, VotesWritten::Written { changed: 0 }, "a retried batch");
    assert_eq!(world.votes(&s1, 4, &[]).await, VotesWritten::Written { changed: 0 }, "an empty batch");
}

/// A node that came to be watched after the registration has no row yet: the vote makes it.
pub async fn an_unwatched_node_can_be_voted_on(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let written = world.votes(&s1, 1, &[("g9", Opinion::Up)]).await;
    assert_eq!(written, VotesWritten::Written { changed: 1 });
    assert_eq!(world.opinion("s1", "g9").await, Some(Opinion::Up));
}

/// One supervisor's votes are its own.
pub async fn supervisors_do_not_touch_each_others_votes(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (s1, s2) = (world.voter("s1").await, world.voter("s2").await);
    world.votes(&s1, 1, &[("g1", Opinion::Up)]).await;
    world.votes(&s2, 5, &[("g1", Opinion::Down)]).await;
    assert_eq!(world.opinion("s1", "g1").await, Some(Opinion::Up));
    assert_eq!(world.opinion("s2", "g1").await, Some(Opinion::Down));
    let tally = world.consensus("g1").await.tally;
    assert_eq!((tally.up, tally.down, tally.electorate), (1, 1, 2), "{}", node("g1"));
}
