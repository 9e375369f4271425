//! Who is up to date: from memory where it is believed, else one read of the database, made once for all who ask.

use crate::{
    actors::{Looked, SyncedTable},
    core::election::Target,
    error::Error,
    manager::{ConsistentStorages, Reply},
    store::{Store, UpToDate},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Questions under way at once. More would only queue at the store's pool, where nobody could refuse them.
const READS_MAX: usize = 1_024;

/// The default.
pub(super) struct CachedStorages {
    store: Arc<dyn Store>,
    table: Arc<SyncedTable>,
    limit: Duration,
    places: Semaphore,
}

impl CachedStorages {
    pub(super) fn new(store: Arc<dyn Store>, table: Arc<SyncedTable>, limit: Duration) -> Self {
        Self { store, table, limit, places: Semaphore::new(READS_MAX) }
    }

    async fn read(&self, target: &Target) -> Result<Arc<UpToDate>, Error> {
        let _place = self.places.try_acquire().map_err(|_| Error::Busy)?;
        let read = tokio::time::timeout(self.limit, self.store.up_to_date(target)).await;
        read.map_err(|_| Error::Timeout(self.limit))??.map(Arc::new).ok_or(Error::RepositoryNotFound)
    }

    async fn ask(&self, target: &Target) -> Result<Arc<UpToDate>, Error> {
        // The memory is one of paths: those are what clients ask by.
        let Target::Path(virtual_storage, path) = target else { return self.read(target).await };
        match self.table.look(virtual_storage, path) {
            Looked::Hit(found) => Ok(found),
            Looked::Bypass => self.read(target).await,
            Looked::Lead(leading) => {
                let found = self.read(target).await?;
                leading.land(Arc::clone(&found));
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
    fn consistent_storages<'a>(&'a self, target: &'a Target) -> Reply<'a, Arc<UpToDate>> {
        Box::pin(self.ask(target))
    }
}
