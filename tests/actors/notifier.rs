//! Subscribers: quick ones, slow ones, dead ones.

use crate::world::{LIMIT, World, node, storage, verdict, vs};
use actix::prelude::*;
use quorate::{
    core::{
        evidence::{Evidence, Hard},
        quorum::Verdict,
        settings::Profile,
    },
    messages::consensus::ConsensusChanged,
    testing::{inbox::Inbox, wait},
};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

const DEAD: Evidence = Evidence::Hard(Hard::Refused);

#[actix::test]
async fn every_change_is_told_once_with_the_whole_view_and_rising_revisions() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let (inbox, received) = Inbox::<ConsensusChanged>::start();
    one.subscribe(inbox.recipient()).await.unwrap();
    wait::until("the last one at once", LIMIT, || received.count() == 1).await;
    world.node("g1").answers(DEAD);
    verdict(&one, "g1", Verdict::Unhealthy).await;
    wait::until("told", LIMIT, || received.count() == 2).await;
    let last = received.last().unwrap().0;
    assert_eq!(last.healthy(), [(vs(), [storage("g2"), storage("g3")].into())].into());
    tokio::time::sleep(LIMIT).await;
    assert_eq!(received.count(), 2, "nothing changed, nothing told");
    let revisions: Vec<_> = received.all().iter().map(|changed| changed.0.revision).collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
}

/// A subscriber that reads one message and then does not read until it is let go.
struct Stuck {
    seen: Arc<Mutex<Vec<u64>>>,
    gate: Arc<Notify>,
}
impl Actor for Stuck {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(1);
    }
}
impl Handler<ConsensusChanged> for Stuck {
    type Result = AtomicResponse<Self, ()>;
    fn handle(&mut self, changed: ConsensusChanged, _: &mut Context<Self>) -> Self::Result {
        self.seen.lock().unwrap().push(changed.0.revision.0);
        let gate = Arc::clone(&self.gate);
        AtomicResponse::new(Box::pin(async move { gate.notified().await }.into_actor(self)))
    }
}

#[actix::test]
async fn a_subscriber_that_does_not_read_delays_nobody_and_still_gets_the_last_one() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    let (seen, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
    let stuck = Stuck { seen: seen.clone(), gate: gate.clone() }.start();
    let (inbox, quick) = Inbox::<ConsensusChanged>::start();
    one.subscribe(stuck.clone().recipient()).await.unwrap();
    one.subscribe(inbox.recipient()).await.unwrap();
    for round in 0..6 {
        world.node("g1").answers(if round % 2 == 0 { DEAD } else { Evidence::Serving });
        verdict(&one, "g1", if round % 2 == 0 { Verdict::Unhealthy } else { Verdict::Healthy }).await;
    }
    let last = one.health_consensus().unwrap();
    wait::until("the quick one has it", LIMIT, || quick.last().is_some_and(|told| told.0.revision == last.revision))
        .await;
    assert_eq!(quick.count(), 7);
    wait::until("the stuck one is let go and catches up", LIMIT, || {
        gate.notify_one();
        seen.lock().unwrap().last() == Some(&last.revision.0)
    })
    .await;
    let seen = seen.lock().unwrap().clone();
    assert!(seen.is_sorted_by(|a, b| a < b), "never an older one after a newer: {seen:?}");
    assert!(seen.len() < 7, "intermediate revisions were skipped: {seen:?}");
    assert!(stuck.connected());
}

#[actix::test]
async fn a_dead_subscriber_is_forgotten_and_harms_nobody() {
    let world = World::new(Profile::Default);
    let one = world.supervisor("s1").await;
    {
        let (inbox, _) = Inbox::<ConsensusChanged>::start();
        one.subscribe(inbox.recipient()).await.unwrap();
    }
    let (inbox, received) = Inbox::<ConsensusChanged>::start();
    one.subscribe(inbox.recipient()).await.unwrap();
    world.node("g2").answers(DEAD);
    wait::until("told", LIMIT, || {
        received.last().is_some_and(|told| told.0.verdict(&node("g2")) == Verdict::Unhealthy)
    })
    .await;
}
