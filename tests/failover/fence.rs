//! A primary sleeps through its own deposition.

use crate::{
    cluster::{
        Failure,
        client::{StaleBy, stale},
        wire::{Elected, Order},
        world::World,
    },
    disk::ObjectLog,
    stage::{CHANGE, Drill, elected, hold, play, put_blindly, storage, tell, write_everywhere},
};
use quorate::fencing::Claim;
use std::path::Path;

/// Freezes `g1` as primary and has `g2` elected; answers both primaries.
async fn deposed(world: &World) -> Result<(Elected, Elected), Failure> {
    write_everywhere(world, &elected(world, "g1").await?, 1, b"one").await?;
    let old = world.client.primary().await?;
    world.node(&storage("g1"))?.freeze()?;
    let new = elected(world, "g2").await?;
    hold(new.primary.epoch > old.primary.epoch, || format!("{new:?} is not above {old:?}"))?;
    world.client.write(&new, 2, b"two".to_vec()).await?;
    Ok((old, new))
}

/// The database refuses to acknowledge what was written under an old epoch.
async fn increment_is_refused(world: &World, old: &Elected) -> Result<(), Failure> {
    match world.client.acknowledge(old, &[storage("g1")].into()).await {
        Ok(generation) => Err(format!("a stale write was acknowledged as generation {generation}").into()),
        Err(error) if stale(&error) == Some(StaleBy::Database) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What lies on a node's disk, whatever its fence would say.
async fn on_disk(world: &mut World, folder: &Path, name: &str, number: u64) -> Result<Option<Vec<u8>>, Failure> {
    let repository = world.repository;
    let node = world.node_mut(&storage(name))?;
    node.kill()?;
    node.gone().await?;
    let log = ObjectLog::open(folder.join(name).join(format!("repository-{repository}.log")))?;
    Ok(log.objects().get(&number).cloned())
}

#[tokio::test]
async fn d01_a_thawed_primary_acknowledges_nothing() {
    play(Drill::default(), async |world, folder| {
        let (old, new) = deposed(world).await?;
        world.node(&storage("g1"))?.thaw()?;
        increment_is_refused(world, &old).await?;
        hold(tell(world, "g1", &new).await?, || "g1's fence did not hear of its successor".into())?;
        match put_blindly(world, &old, 1, "stale", &["g2", "g3"]).await {
            Ok(holders) => return Err(format!("the stale write was taken by {holders:?}").into()),
            Err(error) => hold(stale(&error) == Some(StaleBy::Node), || format!("refused, but not as stale: {error}"))?,
        }
        increment_is_refused(world, &old).await?;
        world.client.write(&elected(world, "g2").await?, 3, b"three".to_vec()).await?;
        let kept = on_disk(world, folder, "g1", 1).await?;
        hold(kept.as_deref() == Some(b"one"), || format!("g1 holds {kept:?}"))
    })
    .await;
}

#[tokio::test]
async fn d01_contrast_a_node_without_a_fence_overwrites_its_copy() {
    let drill = Drill { faults: &[("g1", &["--without-fence"])], ..Drill::default() };
    play(drill, async |world, folder| {
        let (old, new) = deposed(world).await?;
        world.node(&storage("g1"))?.thaw()?;
        hold(!tell(world, "g1", &new).await?, || "a node without a fence cannot have heard".into())?;
        let holders = put_blindly(world, &old, 1, "stale", &["g2", "g3"]).await?;
        // The others have fences.
        hold(holders == ["g1"], || format!("taken by {holders:?}"))?;
        increment_is_refused(world, &old).await?;
        let kept = on_disk(world, folder, "g1", 1).await?;
        hold(kept.as_deref() == Some(b"stale"), || format!("g1 holds {kept:?}"))
    })
    .await;
}

/// `g1` is frozen while a write is inside its handler, and hears of its successor before the handler goes on. Answers
/// what became of the write, and what of it lies on disk.
async fn slept_inside_the_handler(
    world: &mut World,
    folder: &Path,
) -> Result<(Result<(), Failure>, Option<Vec<u8>>), Failure> {
    let old = elected(world, "g1").await?;
    let (node, claim) = (world.client.node(&storage("g1"))?.clone(), Claim::of(&old.primary)?);
    let write =
        tokio::spawn(async move { node.put(&claim, 7, b"seven".to_vec(), Vec::new(), CHANGE.saturating_mul(2)).await });
    world.node(&storage("g1"))?.holds(7).await?;
    let (_, new) = deposed(world).await?;
    world.node(&storage("g1"))?.thaw()?;
    hold(tell(world, "g1", &new).await?, || "g1's fence did not hear of its successor".into())?;
    world.node_mut(&storage("g1"))?.tell(Order::Release).await?;
    let outcome = write.await?.map(drop).map_err(Failure::from);
    increment_is_refused(world, &old).await?;
    let kept = on_disk(world, folder, "g1", 7).await?;
    Ok((outcome, kept))
}

#[tokio::test]
async fn d02_a_write_that_slept_inside_the_handler_is_refused_at_commit() {
    let drill = Drill { faults: &[("g1", &["--hold", "7"])], ..Drill::default() };
    play(drill, async |world, folder| {
        let (outcome, kept) = slept_inside_the_handler(world, folder).await?;
        let refused = outcome.as_ref().err().and_then(stale);
        hold(refused == Some(StaleBy::Node), || format!("the guard let it pass: {outcome:?}"))?;
        hold(kept.is_none(), || format!("it lies on g1's disk: {kept:?}"))
    })
    .await;
}

#[tokio::test]
async fn d02_contrast_without_the_guard_it_lands_on_disk() {
    let drill = Drill { faults: &[("g1", &["--hold", "7", "--without-guard"])], ..Drill::default() };
    play(drill, async |world, folder| {
        let (outcome, kept) = slept_inside_the_handler(world, folder).await?;
        hold(outcome.is_ok(), || format!("{outcome:?}"))?;
        hold(kept.as_deref() == Some(b"seven"), || format!("g1 holds {kept:?}"))
    })
    .await;
}
