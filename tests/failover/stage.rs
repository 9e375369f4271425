//! Where the drills are played.

use crate::cluster::{
    Failure,
    client::ASK,
    until,
    wire::{Elected, Op},
    world::{Plan, World},
};
use quorate::{
    core::ids::Storage,
    fencing::{AnnounceOptions, Claim, announce},
};
use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

/// A change of primary takes about a second; this is for a machine that is busy with other things.
pub(crate) const CHANGE: Duration = Duration::from_secs(20);

/// One stage, and what is measured is time: one drill after the other.
pub(crate) static ALONE: LazyLock<tokio::sync::Mutex<()>> = LazyLock::new(tokio::sync::Mutex::default);

/// What a drill needs, with the usual answers.
pub(crate) struct Drill {
    pub(crate) supervisors: u32,
    pub(crate) profile: &'static str,
    /// The node that is elected if `g1` falls.
    pub(crate) heir: &'static str,
    pub(crate) faults: &'static [(&'static str, &'static [&'static str])],
}

impl Default for Drill {
    fn default() -> Self {
        Self { supervisors: 3, profile: "default", heir: "g2", faults: &[] }
    }
}

/// Plays a drill on a cluster of its own whose primary is `g1`. A failure tells what the processes complained about.
pub(crate) async fn play(drill: Drill, act: impl AsyncFnOnce(&mut World, &Path) -> Result<(), Failure>) {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        program: program(),
        folder: folder.path().to_owned(),
        supervisors: drill.supervisors,
        database: None,
        profile: drill.profile,
        repository: "drill.git",
        primary: Some("g1"),
        namespace: None,
        faults: drill.faults,
    };
    let mut world = match World::start(plan).await {
        Ok(world) => world,
        Err(error) => panic!("the cluster did not start: {error}"),
    };
    let prepare = Op::Priority { storage: storage(drill.heir), priority: 200 };
    let played = async {
        let () = world.first()?.ask(ASK, prepare).await?;
        act(&mut world, folder.path()).await
    };
    if let Err(error) = played.await {
        panic!("{error}\n  {}", world.complaints().await);
    }
}

/// The example's program, beside this test's own.
pub(crate) fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(Path::parent).unwrap().join("examples/failover");
    assert!(program.exists(), "{} is missing: cargo build --example failover", program.display());
    program
}

pub(crate) fn storage(name: &str) -> Storage {
    Storage::new(name).unwrap()
}

/// Fails with a sentence.
pub(crate) fn hold(met: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
    if met { Ok(()) } else { Err(otherwise().into()) }
}

/// Waits until this node is primary.
pub(crate) async fn elected(world: &World, name: &str) -> Result<Elected, Failure> {
    until(CHANGE, &format!("{name} is elected"), || async {
        let elected = world.client.primary().await?;
        let now = elected.primary.storage.clone();
        if now.as_str() == name { Ok(elected) } else { Err(format!("{now} is primary").into()) }
    })
    .await
}

/// Writes, and brings up to date whoever was too slow for it on a busy machine: whoever misses a write cannot be elected.
pub(crate) async fn write_everywhere(world: &World, under: &Elected, number: u64, data: &[u8]) -> Result<(), Failure> {
    let done = world.client.write(under, number, data.to_vec()).await?;
    for behind in world.nodes.keys().filter(|storage| !done.holders.contains(storage)) {
        until(CHANGE, "it has caught up", || async { world.client.catch_up(behind).await.map(drop) }).await?;
    }
    Ok(())
}

/// Writes on a node as somebody does who asks nobody whether that is wise.
pub(crate) async fn put_blindly(
    world: &World,
    under: &Elected,
    number: u64,
    data: &str,
    peers: &[&str],
) -> Result<Vec<String>, Failure> {
    let claim = Claim::of(&under.primary)?;
    let node = world.client.node(&under.primary.storage)?;
    let peers = peers.iter().map(|name| world.client.node(&storage(name)).map(|node| node.peer.clone()));
    let peers = peers.collect::<Result<_, _>>()?;
    Ok(node.put(&claim, number, data.into(), peers, CHANGE).await?)
}

/// Tells one node of a primary.
pub(crate) async fn tell(world: &World, name: &str, of: &Elected) -> Result<bool, Failure> {
    let channel = world.client.node(&storage(name))?.channel();
    let options = AnnounceOptions { deadline: CHANGE, ..AnnounceOptions::default() };
    let announced = announce(&of.primary, [(storage(name), channel)], options).await?;
    Ok(announced.reached.contains_key(&storage(name)))
}
