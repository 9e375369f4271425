//! One fault, timed.

use crate::{
    cluster::{
        Failure,
        client::ASK,
        clock::{ms_between, now_us},
        supervisor::SupervisorProcess,
        until,
        wire::{Elected, Moved, Op, Polled, What},
        world::World,
    },
    faults::Fault,
    network::Network,
    server::Server,
    traffic::Traffic,
};
use futures_util::future::{join_all, try_join_all};
use quorate::core::{ids::Storage, quorum::Verdict};
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// The slowest profile takes eleven seconds; this is for a machine that is busy with other things.
const MOVED_WITHIN: Duration = Duration::from_secs(40);
/// What was done is undone within this: under the slowest profile a node is healthy ten seconds after it was.
const HEALED_WITHIN: Duration = Duration::from_secs(60);
/// How long is looked for something that must not happen: longer than a vote lives under the default profile.
const STEADY: Duration = Duration::from_secs(8);

/// A fault after which another primary is due.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failover {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) detect_ms: f64,
    pub(crate) verdict_ms: f64,
    pub(crate) first_ms: f64,
    pub(crate) every_ms: f64,
    pub(crate) write_ms: f64,
    /// Lookups of all supervisors that were answered with an error before the other primary was.
    pub(crate) failed_lookups: u64,
    pub(crate) last_error: Option<String>,
}

/// A fault after which nothing may move.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Steady {
    /// The longest time without an answer, on any supervisor that lives.
    pub(crate) longest_gap_ms: f64,
    /// From the fault to the first write that was acknowledged after it.
    pub(crate) write_ms: f64,
    pub(crate) failed_lookups: u64,
    pub(crate) last_error: Option<String>,
    pub(crate) moved: bool,
}

/// Does it to the primary and waits until everybody knows another.
pub(crate) async fn failover(
    world: &mut World,
    traffic: &Traffic,
    fault: Fault,
    network: Option<&Network>,
) -> Result<Failover, Failure> {
    let from = primary(world).await?.primary.storage;
    let supervisors = world.supervisors.clone();
    let waiting: Vec<_> = supervisors
        .iter()
        .map(|one| {
            let (one, path, from) = (Arc::clone(one), world.client.path.clone(), from.clone());
            tokio::spawn(async move {
                let within_ms = u64::try_from(MOVED_WITHIN.as_millis()).unwrap_or(u64::MAX);
                one.ask::<Moved>(MOVED_WITHIN + ASK, Op::Moved { path, from, within_ms }).await
            })
        })
        .collect();
    // They are all asking when it happens.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let fault_us = now_us();
    fault.strike(world, &from, network).await?;
    let moved: Vec<Moved> = try_join_all(waiting).await?.into_iter().collect::<Result<_, _>>()?;
    let verdicts = supervisors.iter().map(|one| one.verdict(fault_us, MOVED_WITHIN, &from, Verdict::Unhealthy));
    let verdicts: Vec<u64> = try_join_all(verdicts).await?.into_iter().map(|(at_us, _)| at_us).collect();
    let write_us = written(traffic, fault_us, Some(&from)).await?;
    let to = moved.first().map(|moved| moved.to.clone()).ok_or("there is no supervisor")?;
    if let Some(other) = moved.iter().find(|moved| moved.to != to) {
        return Err(format!("one supervisor answered {to}, another {}", other.to).into());
    }
    let after = |at_us: Option<u64>| at_us.map_or(f64::NAN, |at_us| ms_between(fault_us, at_us));
    let measured = Failover {
        from: from.to_string(),
        to: to.to_string(),
        detect_ms: after(supervisors.iter().filter_map(|one| accused(one, fault_us, &from)).min()),
        verdict_ms: after(verdicts.into_iter().max()),
        first_ms: after(moved.iter().map(|moved| moved.at_us).min()),
        every_ms: after(moved.iter().map(|moved| moved.at_us).max()),
        write_ms: after(Some(write_us)),
        failed_lookups: moved.iter().map(|moved| moved.failed).sum(),
        last_error: moved.into_iter().find_map(|moved| moved.last_error),
    };
    fault.heal(world, &from, network).await?;
    settled(world, traffic).await?;
    Ok(measured)
}

/// When a supervisor first told of a vote against the node.
fn accused(supervisor: &SupervisorProcess, since_us: u64, node: &Storage) -> Option<u64> {
    supervisor.events().into_iter().filter(|event| event.at_us >= since_us).find_map(|event| match event.what {
        What::Consensus { nodes, .. } => nodes.get(node).filter(|view| view.tally.down > 0).map(|_| event.at_us),
        What::Ready | What::Ended { .. } | What::Held { .. } => None,
    })
}

/// When the first write after a moment counted, under another primary than this one.
async fn written(traffic: &Traffic, since_us: u64, other_than: Option<&Storage>) -> Result<u64, Failure> {
    let mut ledger = traffic.ledger.clone();
    let mut at_us = None;
    let wait = ledger.wait_for(|ledger| {
        let late = ledger.acknowledged.iter().rev().take_while(|done| done.at_us >= since_us);
        at_us = late.filter(|done| Some(&done.primary) != other_than).map(|done| done.at_us).last();
        at_us.is_some()
    });
    crate::cluster::within(MOVED_WITHIN, "a write counts again", wait).await??;
    at_us.ok_or_else(|| "no write".into())
}

async fn primary(world: &World) -> Result<Elected, Failure> {
    until(HEALED_WITHIN, "there is a primary", || world.client.primary()).await
}

/// Everybody is healthy again in everybody's eyes, and on the latest generation.
pub(crate) async fn settled(world: &World, traffic: &Traffic) -> Result<(), Failure> {
    until(HEALED_WITHIN, "every node is healthy and current again", || async {
        for one in &world.supervisors {
            let view = one.view();
            if let Some((node, _)) = view.iter().find(|(_, view)| view.verdict != Verdict::Healthy) {
                return Err(format!("{} does not hold {node} healthy", one.name).into());
            }
        }
        let current = world.client.facts().await?.current();
        // Others may have missed a write meanwhile, too: an adoption may take longer than a primary waits for a replica.
        for behind in world.nodes.keys().filter(|storage| !current.contains(storage)) {
            traffic.catch_up(behind).await?;
        }
        if current.len() < world.nodes.len() {
            return Err(format!("only {current:?} are current").into());
        }
        Ok(())
    })
    .await
}

/// Kills a supervisor, looks at the others for a while, and starts it again.
pub(crate) async fn supervisor(world: &mut World, traffic: &Traffic) -> Result<Steady, Failure> {
    let victim = world.supervisors.pop().ok_or("there is no supervisor")?;
    world.client.supervisors.clone_from(&world.supervisors);
    let polls = polls(world);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let fault_us = now_us();
    victim.child.lock().await.kill()?;
    let measured = steady(traffic, fault_us, polls).await?;
    let again = world.spawn(&victim.name)?;
    again.ready().await?;
    world.supervisors.push(again);
    world.client.supervisors.clone_from(&world.supervisors);
    Ok(measured)
}

/// Crashes the database and starts it again.
pub(crate) async fn database(world: &World, traffic: &Traffic, server: &Server) -> Result<Steady, Failure> {
    let polls = polls(world);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let fault_us = now_us();
    server.restart().await?;
    steady(traffic, fault_us, polls).await
}

type Polls = Vec<tokio::task::JoinHandle<Result<Polled, Failure>>>;

fn polls(world: &World) -> Polls {
    let for_ms = u64::try_from(STEADY.as_millis()).unwrap_or(u64::MAX);
    let ask = |one: &Arc<SupervisorProcess>| {
        let (one, path) = (Arc::clone(one), world.client.path.clone());
        tokio::spawn(async move { one.ask(STEADY + 2 * ASK, Op::Poll { path, for_ms }).await })
    };
    world.supervisors.iter().map(ask).collect()
}

async fn steady(traffic: &Traffic, fault_us: u64, polls: Polls) -> Result<Steady, Failure> {
    let write_us = written(traffic, fault_us, None).await?;
    let mut told = Vec::new();
    for polled in join_all(polls).await {
        told.push(polled??);
    }
    let mut primaries: Vec<&Storage> = told.iter().flat_map(|told| &told.primaries).collect();
    primaries.sort();
    primaries.dedup();
    Ok(Steady {
        moved: primaries.len() != 1,
        longest_gap_ms: told.iter().map(|told| told.longest_gap_us).max().map_or(0.0, |gap| ms_between(0, gap)),
        write_ms: ms_between(fault_us, write_us),
        failed_lookups: told.iter().map(|told| told.failed).sum(),
        last_error: told.iter().find_map(|told| told.last_error.clone()),
    })
}
