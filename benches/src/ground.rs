//! A database filled to a known size, and an elector over it.

use crate::{Error, Result, postgres};
use actix::prelude::*;
use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use quorate::{
    actors::{Beliefs, Cells, ElectorConfig, PerRepositoryElector, PrimaryTable},
    core::{
        consensus::{Consensus, Opinion},
        election::{Primary, Target},
        epoch::Revision,
        ids::{NodeId, RelativePath, RepositoryId, Storage, SupervisorName, VirtualStorage, Voter},
        lookup::{Source, Trust},
        monitor::SettingsInForce,
        settings::{Profile, Settings},
    },
    messages::election::GetPrimary,
    store::{
        ElectionSnapshot, Heartbeat, Registered, Registration, Store, VoteBatch,
        postgres::{PostgresOptions, PostgresStore},
        sqlite::{SqliteOptions, SqliteStore},
    },
};
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

/// The supervisors that are registered and vote.
pub const SUPERVISORS: usize = 3;
/// The replicas of each repository.
pub const REPLICAS: usize = 3;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A temporary server of its own, with fsync; or the one that `DATABASE_URL` names.
    PostgreSQL,
    /// A temporary file.
    SQLite,
}

impl Kind {
    /// Both.
    pub const ALL: [Kind; 2] = [Kind::PostgreSQL, Kind::SQLite];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A store whose own type is known, for the baseline is no part of any port.
#[derive(Clone)]
enum Opened {
    PostgreSQL(Arc<PostgresStore>),
    SQLite(SqliteStore),
}

/// A fresh database with nothing in it but the settings.
pub struct Ground {
    kind: Kind,
    url: String,
    opened: Opened,
    _folder: tempfile::TempDir,
}

impl Ground {
    /// Makes one. Supervisors stay live for an hour, so that no heartbeat runs beside what is timed; everything else is
    /// as the profile has it.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn new(kind: Kind, profile: Profile) -> Result<Ground> {
        let folder = tempfile::tempdir()?;
        let url = match kind {
            Kind::SQLite => format!("sqlite:{}", folder.path().join("quorate.db").display()),
            Kind::PostgreSQL => postgres::cluster().database(true).await,
        };
        let opened = open(kind, &url).await?;
        let ground = Ground { kind, url, opened, _folder: folder };
        let mut settings = Settings::of(profile);
        settings.voter_ttl = Duration::from_secs(3_600);
        ground.store().settings_seed(&settings).await?;
        Ok(ground)
    }

    /// Which database.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        match &self.opened {
            Opened::PostgreSQL(store) => store.clone(),
            Opened::SQLite(store) => Arc::new(store.clone()),
        }
    }

    /// The baseline: the recorded primary by one bare SELECT through the same pool.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn bare_select(&self, repository: RepositoryId) -> Result<Option<String>> {
        Ok(match &self.opened {
            Opened::PostgreSQL(store) => store.bare_select(repository).await?,
            Opened::SQLite(store) => store.bare_select(repository).await?,
        })
    }

    /// Where the database is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file of a SQLite database.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        PathBuf::from(self.url.trim_start_matches("sqlite:"))
    }

    /// A session beside the store's. It panics if there is no such server, as the test support does.
    pub async fn raw(&self) -> tokio_postgres::Client {
        postgres::raw(&self.url).await
    }

    /// Runs statements beside the store; both dialects must understand them.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn sql(&self, text: &str) -> Result<()> {
        match self.kind {
            Kind::PostgreSQL => self.raw().await.batch_execute(text).await?,
            Kind::SQLite => {
                let mut connection = SqliteConnection::establish(&self.file().display().to_string())?;
                connection.batch_execute("PRAGMA busy_timeout = 30000")?;
                connection.batch_execute(text)?;
            }
        }
        Ok(())
    }

    /// Registers the supervisors, who watch this many nodes and say of each what `opinion` answers for its number and
    /// theirs, both from 0.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn vote(&self, nodes: usize, opinion: impl Fn(usize, usize) -> Opinion) -> Result<Vec<Voter>> {
        let (store, mut voters) = (self.store(), Vec::new());
        for supervisor in 0..SUPERVISORS {
            let name = SupervisorName::new(format!("s{}", supervisor + 1))?;
            let watched = (0..nodes).map(node).collect::<Result<Vec<NodeId>>>()?;
            let registration = Registration {
                name: name.clone(),
                previous: None,
                process: name.as_str().parse()?,
                attempt: 1,
                address: None,
                version: "bench".to_owned(),
                nodes: watched.clone(),
            };
            let Registered::Registered { incarnation, .. } = store.supervisor_register(&registration).await? else {
                return Err(format!("{name} is taken").into());
            };
            let voter = Voter { name, incarnation };
            let said = watched.into_iter().enumerate().map(|(index, node)| (node, opinion(index, supervisor)));
            store.votes_write(&voter, &VoteBatch { number: 1, votes: said.collect() }).await?;
            voters.push(voter);
        }
        Ok(voters)
    }

    /// Makes repositories 1 to `repositories`, each with a replica and an assignment on three nodes in a row; who is
    /// primary is an expression of the repository's number `i`.
    ///
    /// On PostgreSQL the triggers are passed by, which would gather millions of rows in one array, and what they do is done
    /// by hand: an epoch, a version of the facts, a line of history. That takes a superuser, as in a temporary server.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn fill(&self, nodes: usize, repositories: usize, primary: &str) -> Result<()> {
        let numbers = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {repositories}), \
             k(j) AS (SELECT 0 UNION ALL SELECT j + 1 FROM k WHERE j < {})",
            REPLICAS - 1
        );
        let (before, column, value, after) = match self.kind {
            Kind::SQLite => ("", "", "", ""),
            Kind::PostgreSQL => (
                "SET session_replication_role = replica;",
                ", primary_epoch, facts_version",
                ", quorate_next_epoch(), quorate_micros(clock_timestamp())",
                "INSERT INTO primary_changes (epoch, repository_id, previous, current)
                 SELECT primary_epoch, repository_id, NULL, \"primary\" FROM repositories;",
            ),
        };
        self.sql(&format!(
            "{before}
             INSERT INTO repositories
                 (virtual_storage, relative_path, generation, \"primary\", repository_id, replica_path{column})
             {numbers} SELECT 'v', '@hashed/' || i, 0, {primary}, i, '@hashed/' || i{value} FROM n ORDER BY i;
             INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
             {numbers} SELECT 'v', '@hashed/' || i, 'g' || ((i + j - 1) % {nodes} + 1), 0, i FROM n, k WHERE TRUE;
             INSERT INTO repository_assignments (virtual_storage, relative_path, storage, repository_id)
             {numbers} SELECT 'v', '@hashed/' || i, 'g' || ((i + j - 1) % {nodes} + 1), i FROM n, k WHERE TRUE;
             {after}"
        ))
        .await?;
        self.settle().await
    }

    /// Brings statistics up to date and dead rows out of the way, as a server does by itself within a minute.
    async fn settle(&self) -> Result<()> {
        if self.kind == Kind::PostgreSQL {
            self.raw().await.batch_execute("VACUUM ANALYZE").await?;
        }
        Ok(())
    }
}

/// Opens a store with its defaults.
async fn open(kind: Kind, url: &str) -> Result<Opened> {
    Ok(match kind {
        Kind::PostgreSQL => {
            Opened::PostgreSQL(Arc::new(PostgresStore::connect(url, PostgresOptions::default()).await?))
        }
        Kind::SQLite => Opened::SQLite(SqliteStore::open(url, SqliteOptions::default()).await?),
    })
}

/// The node with this number, from 0.
///
/// # Errors
/// None: the names are sound.
pub fn node(index: usize) -> Result<NodeId> {
    Ok(NodeId::new(VirtualStorage::new("v")?, Storage::new(format!("g{}", index + 1))?))
}

/// A filled database and an elector over it, on this thread's arbiter.
pub struct Elections {
    /// The database.
    pub ground: Ground,
    /// The store that the elector reads.
    pub store: Arc<dyn Store>,
    elector: Addr<PerRepositoryElector>,
    proposer: Voter,
    /// Kept, for the elector reads it.
    _cells: Arc<Cells>,
    repositories: usize,
    next: usize,
    due: usize,
}

impl Elections {
    /// Every recorded primary is healthy: no lookup has anything to do but to answer.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn at_rest(kind: Kind, nodes: usize, repositories: usize) -> Result<Elections> {
        let ground = Ground::new(kind, Profile::Default).await?;
        let voters = ground.vote(nodes, |_, _| Opinion::Up).await?;
        ground.fill(nodes, repositories, &format!("'g' || ((i - 1) % {nodes} + 1)")).await?;
        Elections::over(ground, voters, repositories).await
    }

    /// The first of three nodes is down by two votes of three, and led everything: each repository's first lookup elects.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn due(kind: Kind, repositories: usize) -> Result<Elections> {
        let ground = Ground::new(kind, Profile::Default).await?;
        let say = |node, supervisor| if node == 0 && supervisor != 0 { Opinion::Down } else { Opinion::Up };
        let voters = ground.vote(REPLICAS, say).await?;
        ground.fill(REPLICAS, repositories, "'g1'").await?;
        Elections::over(ground, voters, repositories).await
    }

    /// As in a supervisor that runs: the consensus is published and changes are heard of. Nobody is found in a memory of one.
    async fn over(ground: Ground, voters: Vec<Voter>, repositories: usize) -> Result<Elections> {
        let proposer = voters.into_iter().next().ok_or("nobody votes")?;
        let (name, store) = (proposer.name.clone(), ground.store());
        let health = store.health_facts().await?;
        let settings = health.settings.settings;
        let cells = Cells::new(SettingsInForce { revision: health.settings.revision, settings: settings.clone() });
        let nodes = health.facts.evaluate(&settings);
        cells.consensus.send_replace(Some(Arc::new(Consensus { revision: Revision(1), nodes })));
        cells.voter.send_replace(Some(proposer.clone()));
        let beliefs = Beliefs::of(&cells);
        let hour = Duration::from_secs(3_600);
        let memory = PrimaryTable::new(1, Trust { ttl: hour, failsafe_ttl: hour }, beliefs);
        memory.hear();
        let config = ElectorConfig {
            store: store.clone(),
            name,
            voter: cells.voter.subscribe(),
            behind: cells.behind.subscribe(),
            virtual_storages: None,
            memory: Some(memory),
            timeout: Duration::from_secs(10),
            lot: ElectorConfig::random_lot,
        };
        let elector = PerRepositoryElector::new(config).start();
        Ok(Elections { ground, store, elector, proposer, _cells: cells, repositories, next: 0, due: repositories })
    }

    /// Another repository each time, all over the table.
    pub fn any(&mut self) -> RepositoryId {
        // A step that shares no divisor with 10,000 visits all before it comes back.
        self.next = (self.next + 7_919) % self.repositories;
        RepositoryId(i64::try_from(self.next + 1).unwrap_or(1))
    }

    /// The next one by its number, of which nothing is remembered once this one was asked for.
    #[must_use]
    pub fn after(&self, RepositoryId(number): RepositoryId) -> RepositoryId {
        let many = i64::try_from(self.repositories).unwrap_or(i64::MAX);
        RepositoryId(1 + number % many.max(1))
    }

    /// A repository whose primary is down. When all have been elected, the clock is turned back, untimed.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn any_due(&mut self) -> Result<RepositoryId> {
        if self.due == 0 {
            self.ground.sql("UPDATE repositories SET \"primary\" = 'g1'").await?;
            self.ground.settle().await?;
            self.due = self.repositories;
        }
        self.due -= 1;
        Ok(self.any())
    }

    /// One uncached lookup through the actor, by the repository's number.
    ///
    /// # Errors
    /// Whatever the elector says.
    pub async fn lookup(&self, repository: RepositoryId) -> Result<Primary> {
        self.ask(Target::Id(repository)).await
    }

    /// The same by virtual storage and path.
    ///
    /// # Errors
    /// Whatever the elector says.
    pub async fn lookup_by_path(&self, repository: RepositoryId) -> Result<Primary> {
        let path = RelativePath::new(format!("@hashed/{repository}"))?;
        self.ask(Target::Path(VirtualStorage::new("v")?, path)).await
    }

    async fn ask(&self, target: Target) -> Result<Primary> {
        let answer = self.elector.send(GetPrimary::of(target)).await??;
        if answer.source == Source::Fresh { Ok(answer.into_primary()) } else { Err("it was remembered".into()) }
    }

    /// One lookup that must have elected.
    ///
    /// # Errors
    /// Whatever the elector says; and if it kept the old primary.
    pub async fn elect(&self, repository: RepositoryId) -> Result<Primary> {
        let primary = self.lookup(repository).await?;
        if primary.storage.as_str() == "g1" { Err("nobody was elected".into()) } else { Ok(primary) }
    }

    /// The facts alone: the statement, its decoding, no actor and no decision.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn facts(&self, repository: RepositoryId) -> Result<ElectionSnapshot> {
        let read = self.store.election_facts(&Target::Id(repository)).await?;
        read.ok_or_else(|| Error::from("there is no such repository"))
    }

    /// The smallest durable commit: one row, nothing else.
    ///
    /// # Errors
    /// Whatever the database says; and if the supervisor is not registered any more.
    pub async fn commit(&self) -> Result<()> {
        match self.store.supervisor_heartbeat(&self.proposer).await? {
            Heartbeat::Alive { .. } => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    }

    /// The baseline.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn bare(&self, repository: RepositoryId) -> Result<String> {
        self.ground.bare_select(repository).await?.ok_or_else(|| Error::from("no primary is recorded"))
    }
}

/// Opens a second PostgreSQL store, through another address of the same database.
///
/// # Errors
/// Whatever the database says.
pub async fn postgres_at(url: &str) -> Result<PostgresStore> {
    Ok(PostgresStore::connect(url, PostgresOptions::default()).await?)
}
