//! A database that cannot answer.

use std::{error::Error, fmt};

/// Which operation failed; the label of its latency and its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is named after the method it stands for")]
pub enum StoreOp {
    Connect,
    Migrate,
    SettingsSeed,
    SettingsUpdate,
    SupervisorRegister,
    SupervisorHeartbeat,
    SupervisorRemove,
    SupervisorRecuse,
    PenaltyRaise,
    PenaltyLift,
    NodesWatch,
    VotesWrite,
    EpochsGiven,
    EraRaise,
    SuspicionTell,
    HealthFacts,
    ElectionFacts,
    PrimaryCas,
    PrimaryHistory,
    SettleFacts,
    SettleCas,
    ShardFacts,
    ShardCas,
    ShardHistory,
    RepositoryCreate,
    RepositoryDelete,
    RepositoryRename,
    GenerationIncrement,
    GenerationSet,
    ReplicaMark,
    ReplicaDelete,
    AuthoritativeSet,
    AssignmentsReplace,
    StorageUpdate,
    RepositoriesCount,
    UpToDate,
    ChangesListen,
    ChangesSince,
}

impl StoreOp {
    /// The name, as a metric's label and a log field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StoreOp::Connect => "connect",
            StoreOp::Migrate => "migrate",
            StoreOp::SettingsSeed => "settings_seed",
            StoreOp::SettingsUpdate => "settings_update",
            StoreOp::SupervisorRegister => "supervisor_register",
            StoreOp::SupervisorHeartbeat => "supervisor_heartbeat",
            StoreOp::SupervisorRemove => "supervisor_remove",
            StoreOp::SupervisorRecuse => "supervisor_recuse",
            StoreOp::PenaltyRaise => "penalty_raise",
            StoreOp::PenaltyLift => "penalty_lift",
            StoreOp::NodesWatch => "nodes_watch",
            StoreOp::VotesWrite => "votes_write",
            StoreOp::EpochsGiven => "epochs_given",
            StoreOp::EraRaise => "era_raise",
            StoreOp::SuspicionTell => "suspicion_tell",
            StoreOp::HealthFacts => "health_facts",
            StoreOp::ElectionFacts => "election_facts",
            StoreOp::PrimaryCas => "primary_cas",
            StoreOp::PrimaryHistory => "primary_history",
            StoreOp::SettleFacts => "settle_facts",
            StoreOp::SettleCas => "settle_cas",
            StoreOp::ShardFacts => "shard_facts",
            StoreOp::ShardCas => "shard_cas",
            StoreOp::ShardHistory => "shard_history",
            StoreOp::RepositoryCreate => "repository_create",
            StoreOp::RepositoryDelete => "repository_delete",
            StoreOp::RepositoryRename => "repository_rename",
            StoreOp::GenerationIncrement => "generation_increment",
            StoreOp::GenerationSet => "generation_set",
            StoreOp::ReplicaMark => "replica_mark",
            StoreOp::ReplicaDelete => "replica_delete",
            StoreOp::AuthoritativeSet => "authoritative_set",
            StoreOp::AssignmentsReplace => "assignments_replace",
            StoreOp::StorageUpdate => "storage_update",
            StoreOp::RepositoriesCount => "repositories_count",
            StoreOp::UpToDate => "up_to_date",
            StoreOp::ChangesListen => "changes_listen",
            StoreOp::ChangesSince => "changes_since",
        }
    }
}

/// What went wrong, in kinds that a caller treats differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The database's address is malformed. Holds what is wrong with it, never the address, which may hold a password.
    InvalidUrl(String),
    /// Nobody answers there.
    Unreachable,
    /// The name or password was refused.
    Authentication,
    /// The server has no such database, or the file's folder does not exist.
    DatabaseMissing,
    /// The server is too old. Holds what it says of itself and what is needed.
    TooOld {
        /// The version found.
        found: String,
        /// The least version that works.
        needed: String,
    },
    /// Migrations are outstanding, and running them was forbidden. Holds their names.
    NotMigrated(Vec<String>),
    /// A newer version of this software has migrated the database. Holds the migrations unknown here.
    NewerSchema(Vec<String>),
    /// A Praefect made the database, but not one of release 16.7, or it was changed since. Holds every difference. Nothing
    /// was changed.
    SchemaDiffers(Vec<String>),
    /// The server takes no writes (a standby, or a file without write permission).
    ReadOnly,
    /// Somebody holds the database's lock beyond the deadline.
    Locked,
    /// No answer in time. Whether the statement took effect is unknown.
    Timeout,
    /// The connection broke. Whether the statement took effect is unknown.
    ConnectionLost,
    /// A row that this software could not have written. Holds the column, the value and what is allowed.
    BadRow(String),
    /// Anything else.
    Other,
}

impl StoreErrorKind {
    /// The name, as a metric's label: never what the database said.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            StoreErrorKind::InvalidUrl(_) => "invalid_url",
            StoreErrorKind::Unreachable => "unreachable",
            StoreErrorKind::Authentication => "authentication",
            StoreErrorKind::DatabaseMissing => "database_missing",
            StoreErrorKind::TooOld { .. } => "too_old",
            StoreErrorKind::NotMigrated(_) => "not_migrated",
            StoreErrorKind::NewerSchema(_) => "newer_schema",
            StoreErrorKind::SchemaDiffers(_) => "schema_differs",
            StoreErrorKind::ReadOnly => "read_only",
            StoreErrorKind::Locked => "locked",
            StoreErrorKind::Timeout => "timeout",
            StoreErrorKind::ConnectionLost => "connection_lost",
            StoreErrorKind::BadRow(_) => "bad_row",
            StoreErrorKind::Other => "other",
        }
    }
}

/// A database that cannot answer: which operation, what kind, and the cause beneath.
#[derive(Debug)]
pub struct StoreError {
    op: StoreOp,
    kind: StoreErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error without a cause beneath.
    #[must_use]
    pub fn new(op: StoreOp, kind: StoreErrorKind) -> Self {
        Self { op, kind, source: None }
    }
    /// An error with its cause.
    #[must_use]
    pub fn with_source(op: StoreOp, kind: StoreErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { op, kind, source: Some(source.into()) }
    }
    /// Which operation failed.
    #[must_use]
    pub fn op(&self) -> StoreOp {
        self.op
    }
    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> &StoreErrorKind {
        &self.kind
    }
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind {
            StoreErrorKind::Unreachable
            | StoreErrorKind::ReadOnly
            | StoreErrorKind::Locked
            | StoreErrorKind::Timeout
            | StoreErrorKind::ConnectionLost => true,
            StoreErrorKind::InvalidUrl(_)
            | StoreErrorKind::Authentication
            | StoreErrorKind::DatabaseMissing
            | StoreErrorKind::TooOld { .. }
            | StoreErrorKind::NotMigrated(_)
            | StoreErrorKind::NewerSchema(_)
            | StoreErrorKind::SchemaDiffers(_)
            | StoreErrorKind::BadRow(_)
            | StoreErrorKind::Other => false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.op.as_str())?;
        match &self.kind {
            StoreErrorKind::InvalidUrl(what) => write!(f, "the database's address is not allowed: {what}"),
            StoreErrorKind::Unreachable => f.write_str("the database cannot be reached"),
            StoreErrorKind::Authentication => f.write_str("the database refused the user or the password"),
            StoreErrorKind::DatabaseMissing => f.write_str("the database does not exist"),
            StoreErrorKind::TooOld { found, needed } => {
                write!(f, "the database is too old: {found}, needed is {needed}")
            }
            StoreErrorKind::NotMigrated(names) => {
                write!(
                    f,
                    "the database is not migrated, and migrating is not allowed; outstanding: {}",
                    names.join(", ")
                )
            }
            StoreErrorKind::NewerSchema(names) => {
                write!(f, "a newer version has migrated the database; unknown here: {}", names.join(", "))
            }
            StoreErrorKind::SchemaDiffers(differences) => {
                write!(f, "the database is not as Praefect 16.7 leaves it: {}", differences.join("; "))
            }
            StoreErrorKind::ReadOnly => f.write_str("the database is read-only"),
            StoreErrorKind::Locked => f.write_str("the database is locked by somebody else"),
            StoreErrorKind::Timeout => f.write_str("the database did not answer in time"),
            StoreErrorKind::ConnectionLost => f.write_str("the connection to the database broke"),
            StoreErrorKind::BadRow(what) => write!(f, "the database holds a row that is not allowed: {what}"),
            StoreErrorKind::Other => f.write_str("the database reported an error"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
