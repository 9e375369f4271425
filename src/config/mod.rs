//! What an operator decides: plain data with a default and a reason for each value.
//!
//! A minimal file is one virtual storage with its nodes. Unknown keys are errors, wrong types are errors, broken
//! relations are errors, and [`Config::from_toml`] tells all of them at once, each with its key, its value and what is
//! allowed. `serde` alone was rejected for that: it stops at the first.

mod error;
mod file;
mod reader;
mod relations;
mod secret;

pub use error::{ConfigError, Problem};
pub use secret::Secret;

use crate::core::{
    error_tracker::ErrorLimits,
    ids::{NodeId, Storage, SupervisorName, VirtualStorage},
    settings::{Profile, Settings},
    window::Thresholds,
};
use std::{fmt, path::PathBuf, time::Duration};

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
    /// Who is elected, and whether anybody is. The same for all supervisors of a cluster, or they answer different primaries.
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
    /// The clusters to watch.
    pub virtual_storages: Vec<VirtualStorageConfig>,
}

/// The database that all supervisors of a cluster share.
#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseConfig {
    /// `sqlite:PATH` (one machine) or `postgres://user:password@host/name`.
    pub url: DatabaseUrl,
    /// Whether outstanding migrations are run at start. Default yes.
    pub migrate: bool,
    /// The most connections. Default 8: more do not make one database faster, and two per core are enough to fill it.
    pub pool_size: u32,
    /// Whether a connection to PostgreSQL is a session of ours alone, as it is without a pooler or behind one that pools
    /// sessions. Behind one that hands out transactions nobody hears a notification: changes are polled there. Default
    /// yes; a pooler that was not told of is noticed, too.
    pub session_pooled: bool,
}

/// A database's address. It may hold a password, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Takes an address as it is; the store that it names checks it.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }
    /// The address itself, password included.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
    /// The part before the colon: which kind of database.
    #[must_use]
    pub fn scheme(&self) -> &str {
        // What precedes the colon of something else may be a password.
        let scheme = self.0.split_once(':').map_or("", |(scheme, _)| scheme);
        if scheme.bytes().all(|byte| byte.is_ascii_lowercase()) { scheme } else { "" }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.scheme())
    }
}

/// How nodes are probed.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthConfig {
    /// Time between two probes of a node, jittered by a tenth. Default 750 ms (`lan` 100 ms, `praefect` 1 s after the
    /// last round).
    pub interval: Duration,
    /// How long one probe may take. Default 300 ms (`lan` 100 ms, `praefect` 1 s for a whole round).
    pub timeout: Duration,
    /// Misses in a row that make a node down, successes in a row that bring it back, and those that a node without an
    /// opinion needs. Default 3, 3, 1 of 10 (`lan` 2, 3, 1 of 10; `praefect` the last check only). Praefect's old
    /// manager wanted [`Thresholds::LAST_THREE`].
    pub thresholds: Thresholds,
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

/// Who is elected, and whether anybody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailoverConfig {
    /// Whether a primary may be replaced. Default yes. Without it no strategy elects: `per_repository` answers the
    /// recorded primary while it is fit, `sql` and `local` the first configured node while it is up.
    pub enabled: bool,
    /// What has a primary, and where it is recorded. Default `per_repository`.
    pub election_strategy: ElectionStrategy,
}

/// What has a primary, and where it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ElectionStrategy {
    /// Each repository has a primary of its own, in the database.
    #[default]
    PerRepository,
    /// Each virtual storage has one for all its repositories, in the database; a node that lags may be elected. Its
    /// epochs are no repository's, so writes are acknowledged in profile `praefect` alone, which asks for no fence.
    Sql,
    /// Each virtual storage has one, in the memory of a supervisor that is alone. No epochs; acknowledged as under `Sql`.
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
    /// Time between two polls where the database cannot notify (SQLite, a pooler), and so the age of what is answered
    /// from memory there. Default 100 ms; two must fit in `ttl`.
    pub poll: Duration,
    /// The most repositories whose up-to-date storages are kept in memory, at some 500 bytes each. 0 keeps none, and then
    /// nothing is listened to either. Default 100,000: those that are read within minutes (`praefect`: 0).
    pub entries: u32,
}

impl Default for FeedConfig {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { ttl: ms(2_000), check: ms(500), poll: ms(100), entries: 100_000 }
    }
}

/// One cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualStorageConfig {
    /// Its name.
    pub name: VirtualStorage,
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
                migrate: true,
                pool_size: 8,
                session_pooled: true,
            },
            health: HealthConfig {
                interval,
                timeout,
                thresholds: Thresholds { fall, rise, first: 1, window },
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
            failover: FailoverConfig { enabled: true, election_strategy: ElectionStrategy::PerRepository },
            heartbeat,
            feed: match profile {
                Profile::Default | Profile::Lan => FeedConfig::default(),
                Profile::Praefect => FeedConfig { entries: 0, ..FeedConfig::default() },
            },
            settings: Settings::of(profile),
            start_timeout: ms(30_000),
            request_timeout: ms(5_000),
            virtual_storages: Vec::new(),
        }
    }

    /// Reads a configuration file's text. Tells every problem at once.
    pub fn from_toml(text: &str) -> Result<Config, ConfigError> {
        let mut problems = Vec::new();
        let config = file::read(text, &mut problems);
        problems.extend(relations::problems(&config));
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
