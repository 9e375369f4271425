//! What an operator decides: plain data with a default and a reason for each value.
//!
//! A minimal file is one virtual storage with its nodes. Unknown keys are errors, wrong types are errors, broken
//! relations are errors, and [`Config::from_toml`] tells all of them at once, each with its key, its value and what is
//! allowed. `serde` alone was rejected for that: it stops at the first.
//!
//! All keys stand in one table (`table`), each with its slot, range, default and reason. The parser walks it, and so do
//! the environment's variables, the checks, [`Supervisor::reload`](crate::Supervisor::reload) and the page
//! `docs/configuration.md`: none of them can know a key that the others do not.

mod database;
mod environment;
mod error;
mod failover;
mod file;
mod key;
mod page;
mod praefect;
mod relations;
mod reload;
mod secret;
mod table;

pub use database::{DatabaseConfig, DatabaseUrl};
pub use environment::PREFIX;
pub use error::{ConfigError, Problem};
pub use page::reference;
pub use secret::Secret;

use crate::core::{
    error_tracker::ErrorLimits,
    ids::{NodeId, Storage, SupervisorName, VirtualStorage},
    patience::Patience,
    recusal::Limits,
    settings::{Profile, Settings},
    window::Thresholds,
};
use std::{path::PathBuf, time::Duration};

/// Everything that one supervisor is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The supervisor's stable name. Default: `host:listen`; required without a listen address, for two processes of
    /// one host would take each other's name.
    pub name: Option<SupervisorName>,
    /// Where this process listens, as others know it. Names the supervisor and is shown in its row; nothing is opened.
    pub listen: Option<String>,
    /// The database.
    pub database: DatabaseConfig,
    /// How nodes are probed.
    pub health: HealthConfig,
    /// Who is elected, and whether anybody is. It should be the same for all supervisors of a cluster.
    /// If it is not, nothing is lost: what fences a write is its repository's own row, and there is one. But supervisors
    /// may then move it by different rules, and one under `local` knows nothing of the others.
    pub failover: FailoverConfig,
    /// How often this supervisor says that it lives. Default 1 s (`lan`: 500 ms); three must fit in `voter_ttl`.
    pub heartbeat: Duration,
    /// How this supervisor hears of changes, and what it keeps in memory.
    pub feed: FeedConfig,
    /// The settings that the first start of a cluster stores. Later the database wins.
    pub settings: Settings,
    /// How long a start may take until the first consensus. Default 30 s.
    pub start_timeout: Duration,
    /// How long one lookup or operation may take, retries included. Default 5 s.
    pub request_timeout: Duration,
    /// How long a stop may wait for lookups under way, before it takes the supervisor's row and votes away. Default 1 min
    /// (as Praefect's).
    pub graceful_stop_timeout: Duration,
    /// The clusters to watch.
    pub virtual_storages: Vec<VirtualStorageConfig>,
}

/// How nodes are probed.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthConfig {
    /// Time between two probes of a node, jittered by a tenth. Default 750 ms (`lan` 100 ms, `praefect` 1 s after the
    /// last round).
    pub interval: Duration,
    /// Time between two probes of a node about which nothing is known yet. Default 100 ms (`praefect`: no use for it, a
    /// round is a round): a start need not wait for a whole interval because the first probe told nothing.
    pub bootstrap_interval: Duration,
    /// How long one probe may take. Default 300 ms (`lan` 100 ms, `praefect` 1 s for a whole round).
    pub timeout: Duration,
    /// The shortest time that the first look at a node is given, if it has answered faster than that so far: twice what is
    /// usual for its answers, never more than `timeout`. What follows a miss always has the whole `timeout`. Default none:
    /// the first look has it, too, for round trips do not tell how long a node may pause and still be well.
    pub timeout_floor: Option<Duration>,
    /// How long a node whose port is closed may take to come back before it is voted down. Default 0: it is down at once.
    /// Below `voter_ttl`.
    pub restart_grace: Duration,
    /// Misses in a row that make a node down, successes in a row that bring it back, and those that a node without an
    /// opinion needs. Default 3, 3, 1 of 10 (`lan` 2, 3, 1 of 10; `praefect` the last check only). Praefect's old
    /// manager wanted [`Thresholds::LAST_THREE`].
    pub thresholds: Thresholds,
    /// Whether a node that offers a `grpc.health.v1/Watch` is listened to. Default yes (`praefect` no): its death is noticed
    /// as it happens.
    pub watch: bool,
    /// How long this supervisor's own event loop may stand still before it abstains: what it saw meanwhile is nothing to
    /// vote on. Default 250 ms (`lan` 100 ms; `praefect`: nobody abstains).
    pub stall_limit: Duration,
    /// How many real calls to a node may fail before it is out for a while (section `failover` of the file). Default
    /// none: failing traffic says nothing.
    pub errors: Option<ErrorLimits>,
    /// How long a connection may take to be made. Default 300 ms.
    pub connect_timeout: Duration,
    /// HTTP/2 keepalive of node connections. Default 20 s: servers made with grpc-go refuse faster pings.
    pub keepalive: Duration,
    /// How long an HTTP/2 keepalive may stay unanswered before the connection is given up. Default 20 s.
    pub keepalive_timeout: Duration,
    /// The longest pause between two attempts to connect to a node that is away. Default 1 s, as Praefect's. Real
    /// traffic fails at once meanwhile; probes do not wait for it.
    pub reconnect_pause_max: Duration,
    /// How old the answer of a name server for a `dns:` address may become before it is asked again. Default 30 s.
    pub dns_refresh: Duration,
    /// The certificate authority of `tls://` nodes, a PEM file. Default: the system's.
    pub tls_ca: Option<PathBuf>,
    /// The certificate that `tls://` nodes are shown, a PEM file. Default none. Needs `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// The key of `tls_cert`, a PEM file. Default none.
    pub tls_key: Option<PathBuf>,
    /// The name that the certificates of `tls://` nodes must carry. Default: the address's host.
    pub tls_server_name: Option<String>,
}

impl HealthConfig {
    /// How long a node is waited for: for an answer, and for a restart.
    #[must_use]
    pub fn patience(&self) -> Patience {
        let Self { timeout, restart_grace, .. } = *self;
        Patience { timeout, timeout_floor: self.timeout_floor.unwrap_or(timeout), restart_grace }
    }

    /// When a supervisor that probes like this abstains.
    #[must_use]
    pub fn recusal(&self) -> Limits {
        Limits::of(self.stall_limit, self.interval, self.timeout, self.thresholds.fall)
    }
}

/// Who is elected, and whether anybody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailoverConfig {
    /// Whether a primary may be replaced. Default yes. Without it no strategy elects: `per_repository` answers the
    /// recorded primary while it is fit, `sql` and `local` the first configured node while it is up.
    pub enabled: bool,
    /// What has a primary, and where it is recorded. Default `per_repository`.
    pub election_strategy: ElectionStrategy,
    /// The most repositories of a dead node that get another primary in one transaction before anybody asks for them, where
    /// each has a primary of its own; 0: none, each waits until somebody asks. Default 500 (`praefect`: 0, and no use for it).
    pub settle_batch: u32,
    /// The pause between two such transactions, so that lookups and writes get their turn. Default 5 ms; an eighth of what
    /// the last one took, at most 1 s, if that is longer.
    pub settle_pause: Duration,
}

impl Default for FailoverConfig {
    fn default() -> Self {
        let (enabled, election_strategy) = (true, ElectionStrategy::PerRepository);
        Self { enabled, election_strategy, settle_batch: 500, settle_pause: Duration::from_millis(5) }
    }
}

/// What has a primary, and where it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ElectionStrategy {
    /// Each repository has a primary of its own, in the database.
    #[default]
    PerRepository,
    /// Each virtual storage has one for all its repositories, in the database; a node that lags may be elected, and a
    /// repository that is behind on it takes no writes until it has caught up ([`Error::PrimaryOutdated`](crate::Error)).
    /// Each repository's own row follows, so its writes are fenced as under `PerRepository`.
    Sql,
    /// Each virtual storage has one, in the memory of a supervisor that is alone. Nothing is recorded and there are no
    /// epochs, so writes are acknowledged in profile `praefect` alone, which asks for no fence; in any other one an
    /// acknowledgement without a fence is refused (`FenceRequired`).
    Local,
}

impl ElectionStrategy {
    /// The name, as written in configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ElectionStrategy::PerRepository => "per_repository",
            ElectionStrategy::Sql => "sql",
            ElectionStrategy::Local => "local",
        }
    }
}

/// How a supervisor hears of changes of the database, and what it keeps in memory because it does.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedConfig {
    /// What is in memory is believed for so long after the last sign that changes are heard of. Default 2 s.
    pub ttl: Duration,
    /// Time between two checks that the database is heard still. Default 500 ms; two must fit in `ttl`.
    pub check: Duration,
    /// Time between two polls where nobody can be listened to (a pooler, or until PostgreSQL or the reader of SQLite's file
    /// is heard again), and so the age of what is answered from memory there. Default 100 ms; two must fit in `ttl`.
    pub poll: Duration,
    /// Whether PostgreSQL is asked to notify. Behind a pooler that hands out transactions nobody would hear it (unless
    /// `database.session_pooled` leads past it): changes are polled then. Default yes; a pooler that was not told of is
    /// noticed, too.
    pub listen: bool,
    /// The most repositories whose up-to-date storages are kept in memory, at some 200 bytes each, and the most whose
    /// primaries are, at some 400. 0 keeps none, and then nothing is listened to either. Default 100,000: those that are asked
    /// for within minutes (`praefect`: 0).
    pub entries: u32,
    /// While the database is down, primaries are answered from memory for so long after the last sign of it, and said to be
    /// what was last known. Default 60 s; at least `ttl`.
    pub failsafe_ttl: Duration,
}

impl Default for FeedConfig {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { ttl: ms(2_000), check: ms(500), poll: ms(100), listen: true, entries: 100_000, failsafe_ttl: ms(60_000) }
    }
}

/// One cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualStorageConfig {
    /// Its name.
    pub name: VirtualStorage,
    /// How many storages a new repository is assigned to. Default 0: all of them, and nothing is stored.
    pub default_replication_factor: u32,
    /// Its nodes, at least one.
    pub nodes: Vec<NodeConfig>,
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// Its name, unique within its virtual storage.
    pub storage: Storage,
    /// Where it listens: `tcp://host:port`, `tls://host:port`, `unix:/path` or `dns:host:port`.
    pub address: String,
    /// The secret that proves to the node who calls. Default none.
    pub token: Option<Secret>,
}

impl VirtualStorageConfig {
    /// A cluster without nodes yet, whose new repositories are assigned to every storage.
    #[must_use]
    pub fn new(name: VirtualStorage) -> Self {
        Self { name, default_replication_factor: 0, nodes: Vec::new() }
    }
}

impl NodeConfig {
    /// A node without a token.
    pub fn new(storage: Storage, address: impl Into<String>) -> Self {
        Self { storage, address: address.into(), token: None }
    }
}

impl Config {
    /// The defaults of a profile, on this database, with nothing to watch yet.
    #[must_use]
    pub fn new(profile: Profile, database: impl Into<String>) -> Self {
        let ms = Duration::from_millis;
        let (interval, timeout, fall, rise, heartbeat) = match profile {
            Profile::Default => (ms(750), ms(300), 3, 3, ms(1_000)),
            Profile::Lan => (ms(100), ms(100), 2, 3, ms(500)),
            Profile::Praefect => (ms(1_000), ms(1_000), 1, 1, ms(1_000)),
        };
        let window = if profile == Profile::Praefect { 1 } else { 10 };
        Config {
            name: None,
            listen: None,
            database: DatabaseConfig {
                url: DatabaseUrl::new(database),
                session_pooled: None,
                migrate: true,
                pool_size: 8,
            },
            health: HealthConfig {
                interval,
                bootstrap_interval: if profile == Profile::Praefect { interval } else { ms(100) },
                timeout,
                timeout_floor: None,
                restart_grace: Duration::ZERO,
                thresholds: Thresholds { fall, rise, first: 1, window },
                watch: profile != Profile::Praefect,
                stall_limit: if profile == Profile::Lan { ms(100) } else { ms(250) },
                errors: None,
                connect_timeout: ms(300),
                keepalive: ms(20_000),
                keepalive_timeout: ms(20_000),
                reconnect_pause_max: ms(1_000),
                dns_refresh: ms(30_000),
                tls_ca: None,
                tls_cert: None,
                tls_key: None,
                tls_server_name: None,
            },
            failover: match profile {
                Profile::Default | Profile::Lan => FailoverConfig::default(),
                Profile::Praefect => FailoverConfig { settle_batch: 0, ..FailoverConfig::default() },
            },
            heartbeat,
            feed: match profile {
                Profile::Default | Profile::Lan => FeedConfig::default(),
                Profile::Praefect => FeedConfig { entries: 0, ..FeedConfig::default() },
            },
            settings: Settings::of(profile),
            start_timeout: ms(30_000),
            request_timeout: ms(5_000),
            graceful_stop_timeout: ms(60_000),
            virtual_storages: Vec::new(),
        }
    }

    /// Reads a configuration file's text. Tells every problem at once.
    pub fn from_toml(text: &str) -> Result<Config, ConfigError> {
        Self::from_sources(text, [])
    }

    /// Reads a configuration file's text, and over it what these variables say: `QUORATE_DATABASE__URL` stands for
    /// `database.url`, two underscores for each dot. Those that do not begin with [`PREFIX`] are left alone. Tells every
    /// problem at once, and which variable caused it.
    ///
    /// ```
    /// # use quorate::Config;
    /// let file = r#"
    ///     name = "s1"
    ///     virtual_storage = [{ name = "v", node = [{ storage = "g1", address = "tcp://10.0.0.1:2305" }] }]
    /// "#;
    /// let variables = [("QUORATE_DATABASE__URL".to_owned(), "sqlite:quorate.db".to_owned())];
    /// assert_eq!(Config::from_sources(file, variables)?.database.url.scheme(), "sqlite");
    /// # Ok::<(), quorate::ConfigError>(())
    /// ```
    pub fn from_sources(
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let mut problems = Vec::new();
        let (config, origins) = file::read(text, variables, &mut problems);
        let told: Vec<Problem> =
            relations::problems(&config).into_iter().filter(|problem| !problems.contains(problem)).collect();
        problems.extend(told);
        origins.name(&mut problems);
        if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
    }

    /// Checks every relation. Tells every problem at once; changes nothing.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let problems = relations::problems(self);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }

    /// Every configured node, in order of configuration.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &NodeConfig)> {
        self.virtual_storages.iter().flat_map(|cluster| {
            cluster.nodes.iter().map(|node| (NodeId::new(cluster.name.clone(), node.storage.clone()), node))
        })
    }
}

#[cfg(test)]
mod tests;
