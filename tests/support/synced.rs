//! A memory of who is up to date over a real database.

use actix::Actor;
use quorate::{
    CachedStorages, ConsistentStorages,
    actors::{Follower, FollowerConfig, SyncedTable},
    core::{election::Target, synced::Counts},
    store::ChangeFeed,
    telemetry::Meter,
    testing::wait,
};
use std::{sync::Arc, time::Duration};

const LIMIT: Duration = Duration::from_secs(60);

pub struct Following {
    pub table: Arc<SyncedTable>,
    source: CachedStorages,
}

impl Following {
    /// Follows this database; must be called inside an actix system.
    pub fn of(store: Arc<dyn ChangeFeed>) -> Following {
        let table = SyncedTable::new(1_000, Duration::from_secs(30), Meter::default());
        let config =
            FollowerConfig { ttl: Duration::from_secs(30), ..FollowerConfig::new(store.clone(), table.clone()) };
        Follower::new(config).start();
        Following { source: CachedStorages::new(store, Arc::clone(&table), LIMIT), table }
    }
    pub async fn up_to_date(&self, at: &str) -> Vec<String> {
        let target = Target::Path("v".parse().unwrap(), at.parse().unwrap());
        let found = self.source.consistent_storages(&target).await.unwrap();
        found.storages.iter().map(ToString::to_string).collect()
    }
    pub fn counts(&self) -> Counts {
        self.table.counts().get(&"v".parse().unwrap()).copied().unwrap_or_default()
    }
    /// Asks until the answer comes from memory.
    pub async fn warm(&self, at: &str) {
        wait::until_async("an answer from memory", LIMIT, async || {
            let before = self.counts().hit;
            self.up_to_date(at).await;
            self.counts().hit > before
        })
        .await;
    }
    /// Asks, from memory or not, until the answer is this.
    pub async fn becomes(&self, at: &str, expected: &[&str]) {
        wait::until_async("the change is known", LIMIT, async || self.up_to_date(at).await == expected).await;
    }
}
