//! Who is up to date: from memory where it is believed, else one read of the database, made once for all who ask.

use crate::{
    actors::{Looked, SyncedTable},
    core::election::Target,
    error::Error,
    manager::{ConsistentStorages, Reply},
    store::{ChangeFeed, UpToDate},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Questions under way at once. More would only queue at the store's pool, where nobody could refuse them.
const READS_MAX: usize = 1_024;

/// The source that a supervisor has by default: a database, and a table of what it answered.
///
/// It can be used without a supervisor. Without a [`Follower`](crate::actors::Follower) that keeps the table fresh nothing
/// is believed, and each question is a read.
///
/// ```no_run
/// # use quorate::{CachedStorages, ConsistentStorages, actors::{Follower, FollowerConfig, SyncedTable}};
/// # use quorate::{core::election::Target, store::memory::MemoryStore, telemetry::Meter};
/// # use actix::Actor;
/// # use std::{sync::Arc, time::Duration};
/// # async fn alone(target: Target) -> Result<(), quorate::Error> {
/// let store = Arc::new(MemoryStore::default());
/// let table = SyncedTable::new(100_000, Duration::from_secs(2), Meter::default());
/// Follower::new(FollowerConfig::new(store.clone(), Arc::clone(&table))).start();
/// let source = CachedStorages::new(store, table, Duration::from_secs(5));
/// let found = source.consistent_storages(&target).await?;
/// # Ok(())
/// # }
/// ```
pub struct CachedStorages {
    feed: Arc<dyn ChangeFeed>,
    table: Arc<SyncedTable>,
    limit: Duration,
    places: Semaphore,
}

impl CachedStorages {
    /// Asks this database, and no longer than `limit`, for what is not in the table.
    #[must_use]
    pub fn new(feed: Arc<dyn ChangeFeed>, table: Arc<SyncedTable>, limit: Duration) -> Self {
        Self { feed, table, limit, places: Semaphore::new(READS_MAX) }
    }

    async fn read(&self, target: &Target) -> Result<UpToDate, Error> {
        let _place = self.places.try_acquire().map_err(|_| Error::Busy)?;
        let read = tokio::time::timeout(self.limit, self.feed.up_to_date(target)).await;
        read.map_err(|_| Error::Timeout(self.limit))??.ok_or(Error::RepositoryNotFound)
    }

    async fn ask(&self, target: &Target) -> Result<UpToDate, Error> {
        // The table is one of paths: those are what clients ask by.
        let Target::Path(virtual_storage, path) = target else { return self.read(target).await };
        match self.table.look(virtual_storage, path) {
            Looked::Hit(found) => Ok(found),
            Looked::Bypass => self.read(target).await,
            Looked::Lead(leading) => {
                let found = self.read(target).await?;
                leading.land(&found);
                Ok(found)
            }
            Looked::Join(mut landed) => {
                let waited = tokio::time::timeout(self.limit, landed.wait_for(Option::is_some)).await;
                let found = waited.map_err(|_| Error::Timeout(self.limit))?.ok().and_then(|found| found.clone());
                match found {
                    Some(found) => Ok(found),
                    // Whoever read for all failed or went away: its error was its own.
                    None => self.read(target).await,
                }
            }
        }
    }
}

impl ConsistentStorages for CachedStorages {
    fn consistent_storages<'a>(&'a self, target: &'a Target) -> Reply<'a, UpToDate> {
        Box::pin(self.ask(target))
    }
}

impl std::fmt::Debug for CachedStorages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedStorages").field("table", &self.table).finish_non_exhaustive()
    }
}
