//! What remembering who is up to date costs and saves: lookups answered from memory, and those that have to read, with
//! ever more repositories remembered; and the memory that each of them takes.
//!
//! One process measures one size, for memory that was used once does not come back.

use crate::{
    Result,
    fleet::memory,
    ground::{Ground, Kind},
    sample::{Samples, Summary, machine},
};
use actix::Actor;
use futures_util::{StreamExt, TryStreamExt, stream};
use quorate::{
    CachedStorages, ConsistentStorages,
    actors::{Follower, FollowerConfig, SyncedTable},
    core::{
        election::Target,
        ids::{RelativePath, VirtualStorage},
        settings::Profile,
    },
    telemetry::Meter,
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lookups that fill the table at once, untimed. The store has fewer connections.
const AT_ONCE: usize = 8;

/// Which table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// Which database.
    pub database: Kind,
    /// How many repositories are remembered.
    pub entries: usize,
    /// How many lookups of each kind are timed.
    pub samples: usize,
}

/// What it cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Synced {
    /// Which table.
    pub order: Order,
    /// A read past the table, as before anything proves that changes are heard of.
    pub bypass: Summary,
    /// First lookups into the empty table.
    pub cold: Summary,
    /// First lookups into the full table.
    pub miss: Summary,
    /// Lookups answered from memory.
    pub hit: Summary,
    /// Memory of the process before, in KiB.
    pub before_kib: u64,
    /// And with all remembered.
    pub after_kib: u64,
    /// What the machine was doing.
    pub machine: String,
}

impl Synced {
    /// Bytes of each repository that is remembered.
    #[must_use]
    pub fn bytes_each(&self) -> f64 {
        self.after_kib.saturating_sub(self.before_kib) as f64 * 1_024.0 / self.order.entries.max(1) as f64
    }
}

/// Fills a database and a table over it, and times lookups.
///
/// # Errors
/// Whatever the database says; if nothing proves in time that changes are heard of; and if a lookup did not come from
/// where it should.
pub async fn measure(order: Order) -> Result<Synced> {
    let Order { database, entries, samples } = order;
    let ground = Ground::new(database, Profile::Default).await?;
    // As many more as are first looked for when the table is full.
    ground.fill(5, entries + samples, "'g1'").await?;
    let table = SyncedTable::new(2 * (entries + samples), Duration::from_secs(2), Meter::default());
    let source = CachedStorages::new(ground.store(), Arc::clone(&table), PATIENCE);

    let mut bypass = Samples::default();
    for number in 0..samples {
        look(&source, &mut bypass, number).await?;
    }
    let before_kib = memory()?;
    let follower = Follower::new(FollowerConfig::new(ground.store(), Arc::clone(&table))).start();
    let heard = async {
        while !table.is_live() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.map_err(|_| "changes are not heard of in time")?;

    let [mut cold, mut miss, mut hit] = [(); 3].map(|()| Samples::default());
    let first = samples.min(entries);
    for number in 0..first {
        look(&source, &mut cold, number).await?;
    }
    let rest = stream::iter(first..entries).map(|number| {
        let source = &source;
        async move { look(source, &mut Samples::default(), number).await }
    });
    rest.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    let after_kib = memory()?;
    if table.len() != entries {
        return Err(format!("{} repositories are remembered instead of {entries}", table.len()).into());
    }
    for turn in 0..samples {
        look(&source, &mut hit, turn * 7_919 % entries).await?;
        look(&source, &mut miss, entries + turn).await?;
    }
    let counts = table.counts().into_values().next().unwrap_or_default();
    if counts.hit != u64::try_from(samples)? || table.len() != entries + samples {
        return Err(format!("{counts:?} of {samples} hits and {entries} entries").into());
    }
    drop(follower);
    let [bypass, cold, miss, hit] = [bypass, cold, miss, hit].map(|samples| samples.summary());
    Ok(Synced { order, bypass, cold, miss, hit, before_kib, after_kib, machine: machine() })
}

/// One lookup, which must answer all three replicas.
async fn look(source: &CachedStorages, samples: &mut Samples, number: usize) -> Result<()> {
    let path = RelativePath::new(format!("@hashed/{}", number + 1))?;
    let target = Target::Path(VirtualStorage::new("v")?, path);
    let found = samples.time(source.consistent_storages(&target)).await?;
    if found.storages.len() == 3 { Ok(()) } else { Err(format!("{found:?}").into()) }
}
