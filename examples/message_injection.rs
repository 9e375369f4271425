//! How to test what you build on the actors: you are their nodes, their timer and their subscribers.
//!
//! `cargo run --example message_injection --features testing`
//!
//! No actor names another one. A neighbour is a [`Relay`] that is handed in, so anything that takes the message can
//! stand in for it. Here a HealthManager runs alone: no Supervisor, no database, no network. Then a node actor is put
//! before it whose node is slow, and one whose node is so broken that probing it panics.

use actix::prelude::*;
use quorate::{
    actors::{
        Cells, ChildSpec, Guardian, HealthManager, HealthManagerConfig, NodeActor, NodeCell, NodeSpec, Notifier, Relay,
        Subscribers, WatchedNode,
    },
    core::{
        consensus::Opinion,
        epoch::Revision,
        evidence::{Evidence, Hard},
        ids::{NodeId, Storage, SupervisorName, VirtualStorage},
        monitor::SettingsInForce,
        quorum::Verdict,
        settings::{Profile, Settings},
        window::Thresholds,
    },
    messages::{
        consensus::{ConsensusChanged, Subscribe},
        control::GetRestarts,
        health::{NodeReport, ProbeNow, Tick},
    },
    store::memory::MemoryStore,
    testing::{inbox::Inbox, probe::ScriptedNode, wait},
    transport::TrafficErrors,
};
use std::{error::Error, sync::Arc, time::Duration};

/// Nothing waits longer than this. It is virtual time: the clock is paused, and leaps when all wait.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    System::new().block_on(story())
}

async fn story() -> Result<(), Box<dyn Error>> {
    // Time stands still until everybody waits, so no line below depends on how fast the machine is.
    tokio::time::pause();
    let virtual_storage = VirtualStorage::new("default")?;
    let node = NodeId::new(virtual_storage, Storage::new("gitaly-1")?);

    // A HealthManager alone. It has no heartbeat of its own: `Tick` comes from here.
    let cells = Cells::new(SettingsInForce { revision: Revision(1), settings: Settings::of(Profile::Default) });
    let manager = HealthManager::new(HealthManagerConfig {
        recusal: quorate::core::recusal::Limits::default(),
        name: SupervisorName::new("supervisor-1")?,
        address: None,
        heartbeat: None,
        store_timeout: Duration::from_secs(2),
        round_timeout: Duration::from_secs(1),
        store: Arc::new(MemoryStore::default()),
        cells: cells.clone(),
        // It would ask its nodes to probe; nobody plays that part, which it must survive.
        nodes: vec![WatchedNode { node: node.clone(), probe: Relay::vacant(), round: Relay::vacant() }],
    })
    .start();

    // A subscriber that only remembers. In your tests this is where your own actor stands.
    let (inbox, received) = Inbox::<ConsensusChanged>::start();
    let notifier = Notifier::new(cells.clone(), Subscribers::default()).start();
    assert!(notifier.send(Subscribe(inbox.recipient())).await?, "there is room for one");
    let told = async |verdict: Verdict| {
        let holds = || received.last().is_some_and(|ConsensusChanged(known)| known.verdict(&node) == verdict);
        wait::until(&format!("told that {node} is {verdict:?}"), LIMIT, holds).await;
        let revision = received.last().map_or(0, |ConsensusChanged(known)| known.revision.0);
        println!("  revision {revision}: {node} is {verdict:?}");
    };

    println!("reports by hand:");
    manager.send(Tick).await?;
    wait::until("registered", LIMIT, || cells.voter.borrow().is_some()).await;
    let report = |opinion, evidence| manager.send(NodeReport { node: node.clone(), opinion, evidence, host: None });
    report(Opinion::Up, Evidence::Serving).await?;
    told(Verdict::Healthy).await;
    report(Opinion::Down, Evidence::Hard(Hard::Refused)).await?;
    told(Verdict::Unhealthy).await;

    println!("a real node actor, whose node is slow, then quick, then breaks whoever probes it (that panic is meant):");
    let (scripted, probe) = (ScriptedNode::default(), Relay::<ProbeNow>::vacant());
    let spec = NodeSpec {
        node: node.clone(),
        probe: Arc::new(scripted.clone()),
        thresholds: Thresholds { fall: 3, rise: 3, first: 1, window: 10 },
        patience: Duration::from_millis(300).into(),
        interval: None,
        bootstrap_interval: Duration::from_millis(100),
        watch: false,
        reports: Relay::to(&manager),
        rounds: Relay::vacant(),
        errors: None,
        traffic: TrafficErrors::default(),
        latency: Arc::new(()),
        cell: NodeCell::default(),
    };
    // The guardian rebuilds it after a panic; whoever holds the relay finds the new one in the old one's place.
    let place = probe.clone();
    let child = ChildSpec::new(
        "node gitaly-1",
        move || NodeActor::new(spec.clone()),
        move |address: &Addr<NodeActor>| place.set(address.clone().recipient()),
    );
    let guardian = Guardian::new(vec![child]).start();
    wait::until("the node actor probes", LIMIT, || probe.try_send(ProbeNow)).await;
    told(Verdict::Healthy).await;

    scripted.takes(Duration::from_secs(10));
    assert!(probe.try_send(ProbeNow));
    told(Verdict::Unhealthy).await;
    println!(
        "  probed {} times, {} new connection: only silence costs time",
        scripted.probes().len(),
        scripted.reconnects()
    );

    scripted.takes(Duration::ZERO);
    scripted.panics(true);
    assert!(probe.try_send(ProbeNow));
    let died = async || guardian.send(GetRestarts).await.is_ok_and(|counted| counted.values().any(|times| *times > 0));
    wait::until_async("the guardian notices the panic", LIMIT, died).await;
    scripted.panics(false);
    wait::until("the relay reaches the new actor", LIMIT, || probe.try_send(ProbeNow)).await;
    told(Verdict::Healthy).await;
    println!("  rebuilt: {:?}", guardian.send(GetRestarts).await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_story_holds() {
        super::main().unwrap();
    }
}
