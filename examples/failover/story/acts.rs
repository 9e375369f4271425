//! The acts of the story, each with what it measures.

use super::{
    report::{Failover, Report},
    traffic::{Ledger, Traffic},
    verify::verify,
};
use crate::cluster::{
    Failure,
    client::{ASK, Acknowledged, StaleBy, stale},
    clock::{ms_between, now_us},
    supervisor::{SupervisorProcess, refusal},
    until,
    wire::{Elected, Event, Op, What},
    within,
    world::World,
};
use futures_util::future::try_join_all;
use quorate::{
    core::{
        ids::{RelativePath, Storage},
        quorum::Verdict,
    },
    fencing::Claim,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::sleep;

/// How long a failover, or the return of a node, may take: far more than any profile needs.
const CHANGE: Duration = Duration::from_secs(20);
/// How long a node may take over a write that its peers refuse.
const STALE_PUT: Duration = Duration::from_secs(3);
/// How long the cluster is left alone between two acts.
const CALM: Duration = Duration::from_millis(800);

/// Plays all acts.
pub(crate) async fn play(world: &mut World, report: &mut Report) -> Result<(), Failure> {
    report.say("story", format!("everybody serves; {} holds an empty repository", world.nodes.len()));
    let mut traffic = Traffic::start(&world.client);
    let first = acknowledged(&mut traffic, "the first write", |_| true).await?;
    report.say("client", format!("writes through {}, elected under epoch {}", first.primary, first.epoch));
    sleep(CALM).await;

    let killed = failover(world, report, &mut traffic, Fault::Kill).await?;
    sleep(CALM).await;
    let old = world.client.primary().await?;
    let frozen = failover(world, report, &mut traffic, Fault::Freeze).await?;
    sleep(CALM).await;

    thawed(world, report, &traffic, &frozen, &old).await?;
    world.node_mut(&killed)?.gone().await?;
    world.node_mut(&killed)?.restart().await?;
    report.say(killed.as_str(), "is started again, with the disk that it died with".into());
    returned(world, report, &mut traffic, [&frozen, &killed]).await?;
    refused_at_the_door(world, report, &frozen, &old).await?;
    sleep(CALM).await;

    let (ledger, reads) = traffic.stop().await;
    report.summary.stale_writes_refused += ledger.stale_refused;
    verify(world, report, &ledger, &reads).await?;
    world.stop().await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Freeze,
}

/// Waits for an acknowledged write, and answers it.
async fn acknowledged(
    traffic: &mut Traffic,
    what: &str,
    wanted: impl Fn(&Acknowledged) -> bool,
) -> Result<Acknowledged, Failure> {
    let mut ledger = traffic.ledger.clone();
    let find = |ledger: &Ledger| ledger.acknowledged.iter().find(|done| wanted(done)).cloned();
    let seen = async { ledger.wait_for(|ledger| find(ledger).is_some()).await.map(|ledger| find(&ledger)) };
    match within(CHANGE, what, seen).await {
        Ok(Ok(Some(done))) => Ok(done),
        Ok(_) => Err("the writer has ended".into()),
        Err(error) => Err(format!("{error}; the writer's last error: {}", traffic.ledger.borrow().last_error).into()),
    }
}

/// Takes the primary away and measures what follows; answers who it was.
async fn failover(
    world: &mut World,
    report: &mut Report,
    traffic: &mut Traffic,
    fault: Fault,
) -> Result<Storage, Failure> {
    let elected = world.client.primary().await?;
    let (from, old) = (elected.primary.storage.clone(), elected.primary.epoch.ok_or("no epoch")?);
    let fault_us = now_us();
    let kind = match fault {
        Fault::Kill => {
            world.node(&from)?.kill()?;
            report.note(fault_us, from.as_str(), "is killed (SIGKILL) while it is written to".into());
            "kill"
        }
        Fault::Freeze => {
            world.node(&from)?.freeze()?;
            report.note(fault_us, from.as_str(), "is frozen (SIGSTOP): its port is open, its mouth shut".into());
            "freeze"
        }
    };
    let told = world.supervisors.iter().map(|one| told(one, &world.client.path, fault_us, &from));
    let told = try_join_all(told).await?;
    let accepted = acknowledged(traffic, "a write under the new primary", |done| done.epoch > old).await?;
    let before = {
        let ledger = traffic.ledger.borrow();
        ledger.acknowledged.iter().filter(|done| done.epoch <= old).map(|done| done.at_us).max().unwrap_or(fault_us)
    };
    let mut tallies = BTreeMap::new();
    for (supervisor, one) in world.supervisors.iter().zip(&told) {
        counted(&mut tallies, &supervisor.events(), fault_us, &from);
        report.note(one.elected_us, &supervisor.name, format!("answers: {} is primary", one.to));
    }
    for ((down, electorate), at_us) in tallies {
        report.note(at_us, "quorum", format!("{down} of {electorate} vote {from} down"));
    }
    let detect_us = told.iter().map(|one| one.detected_us).min().unwrap_or(fault_us);
    let elect_us = told.iter().map(|one| one.elected_us).min().unwrap_or(fault_us);
    report.note(detect_us, "quorum", format!("holds {from} to be down"));
    let history = world.client.history().await?;
    let change = history.iter().find(|change| change.epoch > old).ok_or("the history does not know of the election")?;
    if let Some(by) = &change.supervisor {
        let votes: Vec<String> = change.votes.iter().map(|(name, vote)| format!("{name} {vote}")).collect();
        let (to, epoch) = (&accepted.primary, change.epoch);
        let what = format!("elects {to} under epoch {epoch}; the votes were: {}", votes.join(", "));
        report.note(elect_us.saturating_sub(1), by.as_str(), what);
    }
    let gap = ms_between(before, accepted.at_us);
    let what = format!("object {} is the first write that counts again, after {gap} ms", accepted.number);
    report.note(accepted.at_us, "client", what);
    report.flush();
    report.expect("one new primary for all", told.iter().all(|one| one.to == accepted.primary), || format!("{told:?}"));
    report.summary.failovers.push(Failover {
        kind,
        from: from.to_string(),
        to: accepted.primary.to_string(),
        epoch: accepted.epoch.to_string(),
        detect_ms: ms_between(fault_us, detect_us),
        elect_ms: ms_between(fault_us, elect_us),
        write_gap_ms: gap,
    });
    Ok(from)
}

/// What one supervisor told after a fault.
#[derive(Debug)]
struct Told {
    detected_us: u64,
    elected_us: u64,
    to: Storage,
}

async fn told(
    supervisor: &SupervisorProcess,
    path: &RelativePath,
    fault_us: u64,
    from: &Storage,
) -> Result<Told, Failure> {
    let (detected_us, _) = supervisor.verdict(fault_us, CHANGE, from, Verdict::Unhealthy).await?;
    let (elected_us, to) = until(CHANGE, "another primary is elected", || async {
        let op = Op::Primary { path: path.clone() };
        let (at_us, elected) = supervisor.ask_timed::<Elected>(ASK, op).await?;
        let to = elected.primary.storage;
        if to == *from { Err(format!("{from} is still primary").into()) } else { Ok((at_us, to)) }
    })
    .await?;
    Ok(Told { detected_us, elected_us, to })
}

/// When each count of votes against a node was first told of.
fn counted(tallies: &mut BTreeMap<(u32, u32), u64>, events: &[Event], since_us: u64, about: &Storage) {
    for event in events.iter().filter(|event| event.at_us >= since_us) {
        let What::Consensus { nodes, .. } = &event.what else { continue };
        let Some(view) = nodes.get(about).filter(|view| view.tally.down > 0) else { continue };
        let first = tallies.entry((view.tally.down, view.tally.electorate)).or_insert(event.at_us);
        *first = event.at_us.min(*first);
    }
}

/// The deposed primary runs again and knows nothing; a client that knows nothing either writes to it.
async fn thawed(
    world: &World,
    report: &mut Report,
    traffic: &Traffic,
    frozen: &Storage,
    old: &Elected,
) -> Result<(), Failure> {
    let number = traffic.ledger.borrow().acknowledged.last().map_or(1, |done| done.number);
    world.node(frozen)?.thaw()?;
    report.say(frozen.as_str(), "is thawed (SIGCONT) and believes that it still is primary".into());
    stale_write(world, report, old, number).await
}

/// The same client, once the node has learned better.
async fn refused_at_the_door(
    world: &World,
    report: &mut Report,
    frozen: &Storage,
    old: &Elected,
) -> Result<(), Failure> {
    let before = world.client.everything(frozen).await?;
    stale_write(world, report, old, 1).await?;
    let after = world.client.everything(frozen).await?;
    let kept = before.iter().all(|(number, data)| after.get(number) == Some(data));
    report.expect("a fenced node takes no stale write", kept, || format!("{frozen} changed an object"));
    Ok(())
}

/// Writes under an epoch that is over, on the node that was primary then, and asks for the acknowledgement whatever the
/// node said: each of the two must refuse by itself.
async fn stale_write(world: &World, report: &mut Report, old: &Elected, number: u64) -> Result<(), Failure> {
    let epoch = old.primary.epoch.map(|epoch| epoch.to_string()).unwrap_or_default();
    let name = &old.primary.storage;
    report.say("client", format!("an old one rewrites object {number} on {name} under epoch {epoch}"));
    let client = &world.client;
    // Straight to the node: this client asks no supervisor how it is.
    let claim = Claim::of(&old.primary)?;
    let peers = client.nodes.values().map(|node| node.peer.clone()).collect();
    let bytes = format!("stale rewrite of {number}").into_bytes();
    let holders = match client.node(name)?.put(&claim, number, bytes, peers, STALE_PUT).await {
        Ok(names) => {
            report.say(name.as_str(), format!("takes it, not knowing better; acknowledged by {}", names.join(", ")));
            names.into_iter().map(Storage::new).collect::<Result<BTreeSet<_>, _>>()?
        }
        Err(status) => {
            let error = Failure::from(status);
            let known = stale(&error) == Some(StaleBy::Node);
            report.expect("a node refuses a stale write as stale", known, || error.to_string());
            if known {
                report.summary.stale_writes_refused += 1;
                report.say(name.as_str(), format!("refuses it: {}", message(&error)));
            }
            [name.clone()].into()
        }
    };
    report.expect("nobody else takes a stale write", holders.len() == 1, || format!("{holders:?} did"));
    match client.acknowledge(old, &holders).await {
        Ok(_) => report.expect("a stale write is not acknowledged", false, || format!("object {number} was")),
        Err(error) if stale(&error) == Some(StaleBy::Database) => {
            report.summary.stale_writes_refused += 1;
            report.say("database", format!("does not acknowledge it: {}", message(&error)));
        }
        Err(error) => {
            report.expect("the database refuses a stale write as stale", false, || error.to_string());
        }
    }
    Ok(())
}

/// What somebody said when he refused, without the wire's decoration.
fn message(error: &Failure) -> String {
    let by_node = error.downcast_ref::<tonic::Status>().map(|status| status.message().to_owned());
    by_node.or_else(|| refusal(error).map(|refusal| refusal.message.clone())).unwrap_or_else(|| error.to_string())
}

/// Two nodes come back: each adopts the state of the primary, and with it forgets what nobody acknowledged.
async fn returned(
    world: &mut World,
    report: &mut Report,
    traffic: &mut Traffic,
    nodes: [&Storage; 2],
) -> Result<(), Failure> {
    for storage in nodes {
        let objects = until(CHANGE, "a replica catches up", || traffic.catch_up(storage)).await?;
        report.say(storage.as_str(), format!("adopts the primary's state, {objects} objects, and drops its own tail"));
    }
    for storage in nodes {
        let healthy = world.supervisors.iter().map(|one| async move {
            until(CHANGE, "the node is healthy again", || async {
                let view = one.view();
                let healthy = view.get(storage).is_some_and(|view| view.verdict == Verdict::Healthy);
                healthy.then_some(now_us()).ok_or_else(|| format!("{} holds {storage} down", one.name).into())
            })
            .await
        });
        let at = try_join_all(healthy).await?.into_iter().max().unwrap_or_default();
        report.note(at, "quorum", format!("holds {storage} to be healthy again"));
    }
    report.flush();
    // A write of theirs may have failed between catching up and being healthy, so that they are behind again.
    until(CHANGE, "all replicas are on the latest generation", || async {
        for storage in nodes {
            if !world.client.facts().await?.current().contains(storage) {
                traffic.catch_up(storage).await?;
            }
        }
        let facts = world.client.facts().await?;
        let current = facts.current();
        if current.len() == world.nodes.len() { Ok(()) } else { Err(format!("only {current:?} are").into()) }
    })
    .await?;
    let back = now_us();
    let all = world.nodes.len();
    let done =
        acknowledged(traffic, "a write that every node takes", |done| done.at_us >= back && done.holders.len() == all)
            .await?;
    report.note(done.at_us, "client", format!("object {} is acknowledged by all {all} nodes", done.number));
    report.flush();
    Ok(())
}
