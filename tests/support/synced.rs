//! A memory of who is up to date, and one of who is primary, over a real database.

use actix::{Actor, Addr};
use quorate::{
    CachedStorages, ConsistentStorages, Error,
    actors::{
        Beliefs, Cells, ElectorConfig, Follower, FollowerConfig, PerRepositoryElector, PrimaryTable, SyncedTable,
    },
    core::{
        election::Target,
        epoch::Revision,
        ids::{Incarnation, SupervisorName, Voter},
        lookup::{Freshness, Source, Trust},
        monitor::SettingsInForce,
        settings::{Profile, Settings},
        synced::Counts,
    },
    messages::election::{GetPrimary, PrimaryAnswer},
    store::{ChangeFeed, Store},
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

/// A memory of who is primary, with an elector on it.
pub struct Led {
    elector: Addr<PerRepositoryElector>,
    /// Whose cells are believed: there is a registration, and nobody says that anybody is down.
    _cells: Arc<Cells>,
}

impl Led {
    /// Follows this database; must be called inside an actix system.
    pub fn of(store: Arc<dyn Store>) -> Led {
        let settings = SettingsInForce { revision: Revision(1), settings: Settings::of(Profile::Default) };
        let cells = Cells::new(settings);
        let name = SupervisorName::new("led").unwrap();
        cells.voter.send_replace(Some(Voter { name: name.clone(), incarnation: Incarnation(1) }));
        let beliefs = Beliefs::of(&cells);
        // Long, for a machine that is busy: what is told is known at once all the same.
        let ttl = Duration::from_secs(30);
        let table = PrimaryTable::new(1_000, Trust { ttl, failsafe_ttl: ttl }, beliefs);
        let synced = SyncedTable::new(2, ttl, Meter::default());
        let primaries = Some(Arc::clone(&table));
        Follower::new(FollowerConfig { ttl, primaries, ..FollowerConfig::new(store.clone(), synced) }).start();
        let elector = PerRepositoryElector::new(ElectorConfig {
            store,
            name,
            voter: cells.voter.subscribe(),
            behind: cells.behind.subscribe(),
            virtual_storages: None,
            memory: Some(table),
            timeout: LIMIT,
            lot: ElectorConfig::random_lot,
        });
        Led { elector: elector.start(), _cells: cells }
    }
    pub async fn ask(&self, at: &str, freshness: Freshness) -> Result<PrimaryAnswer, Error> {
        let target = Target::Path("v".parse().unwrap(), at.parse().unwrap());
        self.elector.send(GetPrimary { target, freshness }).await.unwrap()
    }
    /// Asks until the answer comes from memory, and expects this storage.
    pub async fn remembers(&self, at: &str, storage: &str) {
        wait::until_async("an answer from memory", LIMIT, async || {
            let answer = self.ask(at, Freshness::Cached).await.unwrap();
            answer.source == Source::Memory && answer.storage.as_str() == storage
        })
        .await;
    }
}
