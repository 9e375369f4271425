//! A primary dies between its replicas and the database: what one replica holds, nobody acknowledged.

use crate::{
    cluster::{Failure, world::World},
    stage::{Drill, elected, hold, play, put_blindly, storage, write_everywhere},
};
use std::collections::BTreeMap;

type Copy = BTreeMap<u64, Vec<u8>>;

/// `g1` applied 7 on itself and `g2` and died before the increment; `g3` is elected, and 8 is acknowledged by both who
/// are left. Answers what `g2` and `g3` hold then.
async fn left_a_tail(world: &mut World) -> Result<(Copy, Copy), Failure> {
    let first = elected(world, "g1").await?;
    write_everywhere(world, &first, 1, b"one").await?;
    let holders = put_blindly(world, &first, 7, "seven", &["g2"]).await?;
    hold(holders == ["g1", "g2"], || format!("7 was taken by {holders:?}"))?;
    world.node(&storage("g1"))?.kill()?;
    let new = elected(world, "g3").await?;
    let done = world.client.write(&new, 8, b"eight".to_vec()).await?;
    let both = [storage("g2"), storage("g3")].into();
    hold(done.holders == both, || format!("8 was not taken by both: {done:?}"))?;
    Ok((world.client.everything(&storage("g2")).await?, world.client.everything(&storage("g3")).await?))
}

#[tokio::test]
async fn d26_replicas_on_one_generation_hold_the_same_objects() {
    play(Drill { heir: "g3", ..Drill::default() }, async |world, _| {
        let (second, third) = left_a_tail(world).await?;
        hold(second == third, || format!("g2 holds {second:?}, g3 holds {third:?}"))?;
        let numbers: Vec<u64> = third.into_keys().collect();
        hold(numbers == [1, 8], || format!("they hold {numbers:?}"))
    })
    .await;
}

#[tokio::test]
async fn d26_contrast_without_adoption_they_differ() {
    let drill = Drill { heir: "g3", faults: &[("g2", &["--without-adoption"])], ..Drill::default() };
    play(drill, async |world, _| {
        let (second, third) = left_a_tail(world).await?;
        hold(second.contains_key(&7) && !third.contains_key(&7), || format!("g2: {second:?}, g3: {third:?}"))
    })
    .await;
}
