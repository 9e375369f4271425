//! Supervisors that are frozen, killed, and started twice.

use crate::{
    cluster::{
        Failure,
        client::ASK,
        clock::now_us,
        supervisor::SupervisorProcess,
        until,
        wire::{Elected, Op, What},
        world::World,
    },
    stage::{CHANGE, Drill, elected, hold, play, storage},
};
use quorate::core::{consensus::Opinion, ids::Voter, quorum::Verdict};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// Profile `lan`: a supervisor that was silent for longer is dead.
const VOTER_TTL: Duration = Duration::from_secs(2);

fn lan() -> Drill {
    Drill { profile: "lan", ..Drill::default() }
}

/// Freezes all supervisors but the first, none of them inside a transaction: on SQLite that would hold up the first,
/// too, which is another story (drill 22). They all vote then: one that was just thawed abstains for a while.
async fn freeze_two(world: &World) -> Result<(), Failure> {
    for _ in 0..10 {
        until(CHANGE, "all three hold everybody up", || async {
            let votes = world.client.facts().await?.votes;
            let up = votes.values().flat_map(|votes| votes.values()).filter(|opinion| **opinion == Opinion::Up).count();
            hold(up == 9, || format!("the votes are {votes:?}"))
        })
        .await?;
        for supervisor in &world.supervisors[1..] {
            supervisor.child.lock().await.freeze()?;
        }
        let write = Op::Priority { storage: storage("g2"), priority: 200 };
        if world.first()?.ask::<()>(Duration::from_millis(400), write).await.is_ok() {
            return Ok(());
        }
        thaw_two(world).await?;
        until(CHANGE, "those two abstain", || async {
            let voters = world.client.facts().await?.voters;
            hold(voters.len() == 1, || format!("{voters:?} vote"))
        })
        .await?;
    }
    Err("a supervisor was frozen inside a transaction ten times in a row".into())
}

async fn thaw_two(world: &World) -> Result<(), Failure> {
    for supervisor in &world.supervisors[1..] {
        supervisor.child.lock().await.thaw()?;
    }
    Ok(())
}

#[tokio::test]
async fn d06_votes_of_before_a_long_freeze_hold_nobody_up() {
    play(lan(), async |world, _| {
        elected(world, "g1").await?;
        freeze_two(world).await?;
        sleep(VOTER_TTL + Duration::from_millis(500)).await;
        world.node(&storage("g1"))?.kill()?;
        let first = Arc::clone(world.first()?);
        first.verdict(now_us(), CHANGE, &storage("g1"), Verdict::Unhealthy).await?;
        let thawed_us = now_us();
        thaw_two(world).await?;
        elected(world, "g2").await?;
        // Everybody votes again under a new registration, and nobody at any time since the thaw held the dead one up.
        until(CHANGE, "three fresh votes against g1", || async {
            let votes = world.client.facts().await?.votes.remove(&storage("g1")).unwrap_or_default();
            let against = votes.values().filter(|opinion| **opinion == Opinion::Down).count();
            hold(against == 3, || format!("the votes are {votes:?}"))
        })
        .await?;
        for event in first.events().into_iter().filter(|event| event.at_us >= thawed_us) {
            let What::Consensus { nodes, .. } = event.what else { continue };
            let view = nodes.get(&storage("g1")).copied();
            hold(view.is_some_and(|view| view.verdict != Verdict::Healthy), || format!("g1 was held up: {nodes:?}"))?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn d06_contrast_votes_of_a_short_freeze_do_hold_it_up() {
    play(lan(), async |world, _| {
        elected(world, "g1").await?;
        freeze_two(world).await?;
        world.node(&storage("g1"))?.kill()?;
        sleep(VOTER_TTL / 3).await;
        let first = world.first()?;
        let view = first.view().get(&storage("g1")).copied().ok_or("nothing is known of g1")?;
        hold(view.verdict == Verdict::Healthy, || format!("two votes of three did not hold: {view:?}"))?;
        thaw_two(world).await?;
        elected(world, "g2").await.map(drop)
    })
    .await;
}

async fn voter(supervisor: &SupervisorProcess) -> Result<Voter, Failure> {
    let voter: Option<Voter> = supervisor.ask(ASK, Op::Voter).await?;
    voter.ok_or_else(|| format!("{} has no registration", supervisor.name).into())
}

#[tokio::test]
async fn d21_of_two_processes_with_one_name_the_newer_votes() {
    play(Drill { supervisors: 1, ..Drill::default() }, async |world, _| {
        let older = world.spawn("twin")?;
        older.ready().await?;
        let newer = world.spawn("twin")?;
        newer.ready().await?;
        let ended = |what: &What| match what {
            What::Ended { reason, .. } => Some(reason.clone()),
            What::Ready | What::Consensus { .. } | What::Held { .. } => None,
        };
        let (_, reason) = older.event(CHANGE, "to hear that it was superseded", ended).await?;
        hold(reason == "superseded", || format!("it ended as {reason}"))?;
        let () = older.ask(ASK, Op::Stop).await?;
        let registered = world.client.facts().await?.voters;
        let expected = voter(&newer).await?;
        hold(registered.contains(&expected), || format!("{expected} is not among {registered:?}"))?;
        // Its vote counts: with the other one they are two, and both say up.
        let counted = newer.event(CHANGE, "to count two votes", |what| match what {
            What::Consensus { nodes, .. } => nodes.get(&storage("g1")).filter(|view| view.tally.up == 2).copied(),
            What::Ready | What::Ended { .. } | What::Held { .. } => None,
        });
        counted.await?;
        // Under restart=always the older would come back; they must not take turns for ever.
        let again = world.spawn("twin")?;
        let error = again.ready().await.err().map(|error| error.to_string()).unwrap_or_default();
        hold(error.contains("name_in_use"), || format!("the older came back: {error:?}"))?;
        hold(voter(&newer).await? == expected, || "the newer lost its registration".into())
    })
    .await;
}

#[tokio::test]
async fn d21_a_crash_and_a_restart_within_a_second_hold_nobody_up() {
    play(Drill { supervisors: 2, ..Drill::default() }, async |world, _| {
        let old = Arc::clone(world.supervisors.last().ok_or("there is no supervisor")?);
        let before = voter(&old).await?;
        old.child.lock().await.kill()?;
        old.child.lock().await.gone().await?;
        let new = world.spawn(&old.name)?;
        let began = now_us();
        new.ready().await?;
        let took = now_us().saturating_sub(began);
        hold(took < 3_000_000, || format!("the restart took {took} µs"))?;
        let after = voter(&new).await?;
        hold(after.incarnation > before.incarnation, || format!("{after} after {before}"))?;
        // It votes at once: with two voters it takes both to depose anybody.
        world.node(&storage("g1"))?.kill()?;
        world.client.supervisors = vec![new];
        elected(world, "g2").await?;
        let voters = world.client.facts().await?.voters;
        hold(voters.iter().filter(|voter| voter.name == after.name).count() == 1, || format!("{voters:?}"))?;
        // A look from the other one, which was never away.
        let first = world.first()?;
        let to = until(CHANGE, "the other sees it, too", || async {
            first.ask::<Elected>(ASK, Op::Primary { path: world.client.path.clone() }).await
        });
        hold(to.await?.primary.storage == storage("g2"), || "the other names another primary".into())
    })
    .await;
}
