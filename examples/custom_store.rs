//! A store of your own, and the proof that it is one.
//!
//! `cargo run --example custom_store --features testing`
//!
//! Whatever implements the traits of `quorate::store` can stand behind a supervisor. Here it is a store that wraps
//! another one and keeps count of its calls; yours may be another database. `store_suite` tells every story that the
//! supervisors rely on, each to a fresh store, and panics with a sentence where yours departs from it.

use quorate::{
    Config, Ports, Supervisor,
    config::{NodeConfig, VirtualStorageConfig},
    core::{
        election::{Fence, Incumbent},
        epoch::{Epoch, Era, FactsVersion, Generation, Given},
        ids::{NodeId, RelativePath, RepositoryId, Storage, VirtualStorage, Voter},
        lookup::Freshness,
        recusal::Distrust,
        settings::{Profile, Settings},
        time::DatabaseTime,
    },
    store::{
        Answer, CasOutcome, CensusStore, ChangeFeed, Created, Deleted, ElectionSnapshot, ElectionStore, FeedPosition,
        HealthSnapshot, HealthStore, Heartbeat, Listener, NewRepository, Outcome, Polled, PrimaryChange, Proposal,
        Registered, Registration, RepositoriesCount, RepositoryStore, SettleBatch, SettleOutcome, SettleSnapshot,
        SettleStore, ShardProposal, ShardSnapshot, ShardStore, StorageChange, Store, StoredSettings, Target, UpToDate,
        VoteBatch, VotesWritten, memory::MemoryStore,
    },
    testing::{probe::ScriptedTransport, store_suite},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Counts every call and passes it on.
#[derive(Debug, Default)]
struct Counting<S> {
    inner: S,
    calls: Mutex<BTreeMap<&'static str, u64>>,
}

impl<S> Counting<S> {
    fn count(&self, call: &'static str) {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(call).or_default() += 1;
    }
    fn calls(&self, call: &str) -> u64 {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).get(call).copied().unwrap_or(0)
    }
}

/// The methods of a trait, each counted and passed on.
macro_rules! counted {
    ($($method:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+) => {
        $(fn $method<'a>(&'a self, $($argument: $type),*) -> Answer<'a, $answer> {
            self.count(stringify!($method));
            self.inner.$method($($argument),*)
        })+
    };
}

impl<S: HealthStore> HealthStore for Counting<S> {
    counted! {
        settings_seed(wanted: &'a Settings) -> StoredSettings;
        settings_update(wanted: &'a Settings) -> StoredSettings;
        supervisor_register(registration: &'a Registration) -> Registered;
        supervisor_heartbeat(voter: &'a Voter) -> Heartbeat;
        supervisor_remove(voter: &'a Voter) -> bool;
        penalty_raise(node: &'a NodeId, seen: Option<DatabaseTime>, lasting: Duration) -> bool;
        penalty_lift(node: &'a NodeId) -> bool;
        supervisor_recuse(voter: &'a Voter, reason: Option<Distrust>) -> bool;
        nodes_watch(voter: &'a Voter, nodes: &'a [NodeId]) -> bool;
        votes_write(voter: &'a Voter, batch: &'a VoteBatch) -> VotesWritten;
        epochs_given() -> Given;
        era_raise(seen: Era, reported: Option<Epoch>, why: &'a str) -> Era;
        health_facts() -> HealthSnapshot;
    }
}

impl<S: ChangeFeed> ChangeFeed for Counting<S> {
    counted! {
        up_to_date(target: &'a Target) -> Option<UpToDate>;
        changes_since(since: Option<&'a FeedPosition>) -> Polled;
    }
    fn listen(&self) -> Answer<'_, Option<Box<dyn Listener>>> {
        self.count("listen");
        self.inner.listen()
    }
}

impl<S: ElectionStore> ElectionStore for Counting<S> {
    counted! {
        election_facts(target: &'a Target) -> Option<ElectionSnapshot>;
        incumbent(target: &'a Target) -> Option<Incumbent>;
        primary_cas(proposal: &'a Proposal) -> CasOutcome;
        primary_history(repository: RepositoryId, limit: u32) -> Vec<PrimaryChange>;
    }
}

impl<S: SettleStore> SettleStore for Counting<S> {
    counted! {
        settle_facts(node: &'a NodeId, after: RepositoryId, limit: u32) -> SettleSnapshot;
        settle_cas(batch: &'a SettleBatch) -> SettleOutcome;
    }
}

impl<S: ShardStore> ShardStore for Counting<S> {
    counted! {
        shard_facts(virtual_storage: &'a VirtualStorage, lags: bool) -> ShardSnapshot;
        shard_cas(proposal: &'a ShardProposal) -> CasOutcome;
        shard_history(virtual_storage: &'a VirtualStorage, limit: u32) -> Vec<PrimaryChange>;
    }
}

impl<S: RepositoryStore> RepositoryStore for Counting<S> {
    counted! {
        repository_create(new: &'a NewRepository) -> Outcome<Created>;
        repository_delete(id: RepositoryId, fence: Option<&'a Fence>) -> Outcome<Deleted>;
        repository_rename(id: RepositoryId, fence: Option<&'a Fence>, to: &'a RelativePath) -> Outcome<()>;
        generation_increment(id: RepositoryId, fence: Option<&'a Fence>, by: &'a BTreeSet<Storage>) -> Outcome<Generation>;
        generation_set(id: RepositoryId, fence: Option<&'a Fence>, of: &'a Storage, to: Generation) -> Outcome<()>;
        replica_mark(id: RepositoryId, storage: &'a Storage) -> Outcome<()>;
        replica_delete(id: RepositoryId, fence: Option<&'a Fence>, storage: &'a Storage) -> Outcome<()>;
        authoritative_set(id: RepositoryId, to: &'a Storage, expected: FactsVersion, by: &'a Voter) -> Outcome<Epoch>;
        assignments_replace(id: RepositoryId, expected: FactsVersion, to: &'a BTreeSet<Storage>) -> Outcome<()>;
        storage_update(node: &'a NodeId, change: StorageChange) -> ();
    }
}

impl<S: CensusStore> CensusStore for Counting<S> {
    counted! {
        repositories_count(healthy: &'a BTreeSet<NodeId>) -> Vec<RepositoriesCount>;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    actix::System::new().block_on(async {
        // Stories wait for things to grow old; on a paused clock that costs nothing.
        tokio::time::pause();
        let fresh = || Arc::new(Counting::<MemoryStore>::default());
        store_suite::run_all(&|| Box::pin(async move { fresh() as Arc<dyn Store> })).await;
        println!("{} stories hold", store_suite::stories().len());

        let store = fresh();
        let supervisor =
            Supervisor::assemble(config()?, Ports::new(store.clone(), ScriptedTransport::default())).await?;
        let path = RelativePath::new("group/project.git")?;
        let replicas = vec![Storage::new("g1")?, Storage::new("g2")?];
        supervisor.repository_create(&NewRepository::new(default()?, path.clone(), replicas)).await?;
        let target = Target::Path(default()?, path);
        for _ in 0..3 {
            // Not from memory, which would ask the store less often.
            println!("primary: {}", supervisor.lookup(&target, Freshness::Latest).await?.primary.storage);
        }
        println!("read three times, elected once: {:?}", store.calls);
        assert_eq!((store.calls("election_facts"), store.calls("primary_cas")), (3, 1));
        supervisor.stop().await;
        Ok(())
    })
}

fn default() -> Result<VirtualStorage, Box<dyn Error>> {
    Ok(VirtualStorage::new("default")?)
}

fn config() -> Result<Config, Box<dyn Error>> {
    // The database's address is not asked for: the store is handed in.
    let mut config = Config::new(Profile::Default, "sqlite:unused");
    config.name = Some("supervisor-1".parse()?);
    let node = |name: &str| Ok::<_, Box<dyn Error>>(NodeConfig::new(name.parse()?, format!("tcp://{name}:9999")));
    let nodes = ["g1", "g2"].map(node).into_iter().collect::<Result<_, Box<dyn Error>>>()?;
    config.virtual_storages = vec![VirtualStorageConfig { nodes, ..VirtualStorageConfig::new(default()?) }];
    Ok(config)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_stories_hold_for_a_store_of_ones_own() {
        super::main().unwrap();
    }
}
