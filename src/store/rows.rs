//! What the two SQL stores read, decoded once for both.
//!
//! Every read returns one JSON document of the same shape from both databases, built by the database in the one
//! statement that took the snapshot. So there is one decoder, and a row that nobody could have written is refused in
//! one place, with the name of the column. Times are microseconds; ages are `now - stamp`.

#![cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "SQLite decides its outcomes between statements"))]

use super::{
    Created, Current, Deleted, ElectionSnapshot, HealthSnapshot, Outcome, PrimaryChange, Refused, SettleOutcome,
    SettleSnapshot, ShardSnapshot, StoreError, StoreErrorKind, StoreOp, StoredSettings,
};
use crate::core::{
    consensus::{HealthFacts, MemberRow, Opinion, SupervisorRow, VoteRow},
    election::{ElectionFacts, Lags, RecordedShard, ReplicaFacts, ShardFacts, StorageAttributes},
    epoch::{Epoch, Era, FactsVersion, Generation},
    ids::{Incarnation, NodeId, RelativePath, RepositoryId, Storage, SupervisorName, VirtualStorage},
    penalty::Penalty,
    settling::{LedRepository, SettleFacts},
    time::{Age, DatabaseTime},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use std::collections::BTreeMap;

/// Decodes a document, or says which part of it is not allowed.
pub(super) fn decode<T: DeserializeOwned>(op: StoreOp, json: &str) -> Result<T, StoreError> {
    serde_json::from_str(json)
        .map_err(|error| StoreError::with_source(op, StoreErrorKind::BadRow(error.to_string()), error))
}

/// A name in a table that a Praefect writes too; `None` if it is none that we allow. Whoever cannot be named has no vote,
/// and must not make every supervisor blind.
struct Foreign<T>(Option<T>);

impl<'de, T: TryFrom<String>> Deserialize<'de> for Foreign<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Foreign(T::try_from(name).ok()))
    }
}

/// `{"supervisor","virtual_storage","storage","opinion","incarnation","contact_age","seen_age"}`
#[derive(Deserialize)]
struct VoteDoc {
    supervisor: Foreign<SupervisorName>,
    virtual_storage: Foreign<VirtualStorage>,
    storage: Foreign<Storage>,
    opinion: Option<Opinion>,
    incarnation: Option<Incarnation>,
    contact_age: Option<Age>,
    seen_age: Option<Age>,
}

impl VoteDoc {
    fn row(self) -> Option<VoteRow> {
        Some(VoteRow {
            supervisor: self.supervisor.0?,
            node: NodeId::new(self.virtual_storage.0?, self.storage.0?),
            opinion: self.opinion,
            incarnation: self.incarnation,
            contact_age: self.contact_age,
            seen_age: self.seen_age,
        })
    }
}

/// `{"virtual_storage","supervisor","contact_age"}`
#[derive(Deserialize)]
struct MemberDoc {
    virtual_storage: VirtualStorage,
    supervisor: Foreign<SupervisorName>,
    contact_age: Age,
}

impl MemberDoc {
    fn row(self) -> Option<MemberRow> {
        let MemberDoc { virtual_storage, supervisor, contact_age } = self;
        Some(MemberRow { virtual_storage, supervisor: supervisor.0?, contact_age })
    }
}

/// The members of a list of them; those that cannot be named are left out.
#[cfg(feature = "postgres")]
pub(super) fn members(op: StoreOp, json: &str) -> Result<Vec<MemberRow>, StoreError> {
    Ok(decode::<Vec<MemberDoc>>(op, json)?.into_iter().filter_map(MemberDoc::row).collect())
}

/// The rows of supervisors, `{"name","incarnation","heartbeat_age","registered_age","recused"}`. One that we would not
/// have written (a name that is not allowed, a stamp without an end) is nobody's: it must cost itself, not everybody.
#[derive(Deserialize)]
#[serde(transparent)]
struct SupervisorDocs(Vec<serde_json::Value>);

impl SupervisorDocs {
    /// The rows that stand for somebody, and the names of those that do not.
    fn rows(self) -> (Vec<SupervisorRow>, Vec<String>) {
        let (mut rows, mut ignored) = (Vec::new(), Vec::new());
        for doc in self.0 {
            match SupervisorRow::deserialize(&doc) {
                Ok(row) => rows.push(row),
                Err(_) => ignored.push(doc.get("name").unwrap_or_default().to_string().chars().take(80).collect()),
            }
        }
        (rows, ignored)
    }
}

/// `{"at","settings","votes":[..],"supervisors":[..]}`
#[derive(Deserialize)]
pub(super) struct HealthDoc {
    at: DatabaseTime,
    settings: StoredSettings,
    votes: Vec<VoteDoc>,
    supervisors: SupervisorDocs,
    penalties: Vec<PenaltyDoc>,
}

#[derive(Deserialize)]
struct PenaltyDoc {
    virtual_storage: String,
    storage: String,
    since: Option<DatabaseTime>,
    until: DatabaseTime,
}

impl PenaltyDoc {
    /// `None`: a storage that nobody could watch.
    fn entry(self) -> Option<(NodeId, Penalty)> {
        let place = (VirtualStorage::new(self.virtual_storage).ok()?, Storage::new(self.storage).ok()?);
        Some((NodeId::new(place.0, place.1), Penalty { since: self.since, until: self.until }))
    }
}

impl From<HealthDoc> for HealthSnapshot {
    fn from(doc: HealthDoc) -> HealthSnapshot {
        let votes = doc.votes.into_iter().filter_map(VoteDoc::row).collect();
        let (supervisors, ignored) = doc.supervisors.rows();
        let penalties = doc.penalties.into_iter().filter_map(PenaltyDoc::entry).collect();
        let (at, settings, facts) = (doc.at, doc.settings, HealthFacts { votes, supervisors });
        HealthSnapshot { at, settings, facts, penalties, ignored }
    }
}

/// The facts of one repository; `era` is the era in force, `epoch` the raw number.
#[derive(Deserialize)]
pub(super) struct ElectionDoc {
    at: DatabaseTime,
    settings: StoredSettings,
    era: Era,
    repository: RepositoryId,
    virtual_storage: VirtualStorage,
    relative_path: RelativePath,
    generation: Option<Generation>,
    primary: Option<Storage>,
    #[serde(deserialize_with = "optional_epoch")]
    epoch: Option<Epoch>,
    facts_version: FactsVersion,
    replicas: Vec<ReplicaFacts>,
    assignments: Vec<Storage>,
    votes: Vec<VoteDoc>,
    supervisors: SupervisorDocs,
    members: Vec<MemberDoc>,
}

impl From<ElectionDoc> for ElectionSnapshot {
    fn from(doc: ElectionDoc) -> ElectionSnapshot {
        let facts = ElectionFacts {
            cluster: doc.settings.cluster.clone(),
            repository: doc.repository,
            virtual_storage: doc.virtual_storage,
            relative_path: doc.relative_path,
            generation: doc.generation,
            primary: doc.primary,
            epoch: doc.epoch,
            era: doc.era,
            facts_version: doc.facts_version,
            at: doc.at,
            replicas: doc.replicas,
            assignments: doc.assignments,
            votes: doc.votes.into_iter().filter_map(VoteDoc::row).collect(),
            supervisors: doc.supervisors.rows().0,
            members: doc.members.into_iter().filter_map(MemberDoc::row).collect(),
        };
        ElectionSnapshot { facts, settings: doc.settings }
    }
}

/// What a storage lacks, as the databases count it: the sums, and what each storage has.
#[derive(Deserialize)]
struct LagsDoc {
    expected: Option<i64>,
    held: Vec<HeldDoc>,
}

#[derive(Deserialize)]
struct HeldDoc {
    storage: Foreign<Storage>,
    held: i64,
}

/// A storage that cannot be named holds no replica that could be read, so what is said of it concerns nobody.
#[derive(Deserialize)]
struct AttributesDoc {
    storage: Foreign<Storage>,
    #[serde(flatten)]
    attributes: StorageAttributes,
}

impl AttributesDoc {
    fn entry(self) -> Option<(Storage, StorageAttributes)> {
        Some((self.storage.0?, self.attributes))
    }
}

/// The row of a virtual storage; a storage that we do not allow is refused, for somebody may be writing to it.
#[derive(Deserialize)]
struct RecordedDoc {
    storage: Storage,
    demoted: bool,
    #[serde(deserialize_with = "optional_epoch")]
    epoch: Option<Epoch>,
    elected_age: Option<Age>,
}

/// The facts of one virtual storage; `lags` is NULL if they were not asked for.
#[derive(Deserialize)]
pub(super) struct ShardDoc {
    at: DatabaseTime,
    settings: StoredSettings,
    era: Era,
    virtual_storage: VirtualStorage,
    recorded: Option<RecordedDoc>,
    attributes: Vec<AttributesDoc>,
    lags: Option<LagsDoc>,
    votes: Vec<VoteDoc>,
    supervisors: Vec<SupervisorRow>,
}

impl From<ShardDoc> for ShardSnapshot {
    fn from(doc: ShardDoc) -> ShardSnapshot {
        let lags = |LagsDoc { expected, held }| Lags {
            expected,
            held: held.into_iter().filter_map(|row: HeldDoc| Some((row.storage.0?, row.held))).collect(),
        };
        let recorded = |RecordedDoc { storage, demoted, epoch, elected_age }| RecordedShard {
            storage,
            demoted,
            epoch,
            elected_age,
        };
        let facts = ShardFacts {
            cluster: doc.settings.cluster.clone(),
            virtual_storage: doc.virtual_storage,
            recorded: doc.recorded.map(recorded),
            era: doc.era,
            at: doc.at,
            attributes: doc.attributes.into_iter().filter_map(AttributesDoc::entry).collect(),
            lags: doc.lags.map(lags),
            health: HealthFacts {
                votes: doc.votes.into_iter().filter_map(VoteDoc::row).collect(),
                supervisors: doc.supervisors,
            },
        };
        ShardSnapshot { facts, settings: doc.settings }
    }
}

/// The facts of what one node leads. Each repository is a list, for there are many: its id, path, generation, epoch and
/// facts version; its replicas, each with its generation; the storages to be deleted from, and those assigned. An empty
/// list may be NULL. One that nobody could have written must cost itself, not what its neighbours wait for.
#[derive(Deserialize)]
pub(super) struct SettleDoc {
    at: DatabaseTime,
    settings: StoredSettings,
    era: Era,
    attributes: Vec<AttributesDoc>,
    votes: Vec<VoteDoc>,
    supervisors: SupervisorDocs,
    members: Vec<MemberDoc>,
    until: Option<RepositoryId>,
    repositories: Vec<Led>,
}

/// Read, or only its id and why not.
enum Led {
    Row(LedDoc),
    Unreadable(RepositoryId, String),
}

impl<'de> Deserialize<'de> for Led {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let row = serde_json::Value::deserialize(deserializer)?;
        LedDoc::deserialize(&row).map(Led::Row).or_else(|why| {
            let repository = row.get(0).ok_or_else(|| D::Error::custom("a repository without an id"))?;
            let repository = RepositoryId::deserialize(repository).map_err(D::Error::custom)?;
            Ok(Led::Unreadable(repository, why.to_string().chars().take(500).collect()))
        })
    }
}

#[derive(Deserialize)]
struct LedDoc(
    RepositoryId,
    RelativePath,
    Option<Generation>,
    #[serde(deserialize_with = "optional_epoch")] Option<Epoch>,
    FactsVersion,
    Option<Vec<(Storage, Generation)>>,
    Option<Vec<Storage>>,
    Option<Vec<Storage>>,
);

impl LedDoc {
    fn row(self) -> LedRepository {
        let LedDoc(repository, relative_path, generation, epoch, facts_version, replicas, marked, assignments) = self;
        let (mut replicas, mut assignments) = (replicas.unwrap_or_default(), assignments.unwrap_or_default());
        replicas.sort_unstable();
        assignments.sort_unstable();
        let marked = marked.unwrap_or_default();
        LedRepository { repository, relative_path, generation, epoch, facts_version, replicas, marked, assignments }
    }
}

impl SettleDoc {
    pub(super) fn snapshot(self, node: &NodeId) -> SettleSnapshot {
        let (mut repositories, mut unreadable) = (Vec::new(), BTreeMap::new());
        for led in self.repositories {
            match led {
                Led::Row(row) => repositories.push(row.row()),
                Led::Unreadable(repository, why) => drop(unreadable.insert(repository, why)),
            }
        }
        let facts = SettleFacts {
            cluster: self.settings.cluster.clone(),
            node: node.clone(),
            era: self.era,
            at: self.at,
            attributes: self.attributes.into_iter().filter_map(AttributesDoc::entry).collect(),
            votes: self.votes.into_iter().filter_map(VoteDoc::row).collect(),
            supervisors: self.supervisors.rows().0,
            members: self.members.into_iter().filter_map(MemberDoc::row).collect(),
            repositories,
            unreadable,
            until: self.until,
        };
        SettleSnapshot { facts, settings: self.settings }
    }
}

/// What became of a batch: `{"outcome":"done","won":[[repository,epoch],..]}`, `busy` or `era_changed`.
#[derive(Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum SettledDoc {
    Done { won: Vec<WonDoc> },
    Busy,
    EraChanged,
}

/// One repository and its new epoch.
#[derive(Deserialize)]
pub(super) struct WonDoc(RepositoryId, #[serde(with = "super::types::raw_epoch")] Epoch);

impl From<SettledDoc> for SettleOutcome {
    fn from(doc: SettledDoc) -> SettleOutcome {
        match doc {
            SettledDoc::Done { won } => {
                SettleOutcome::Done(won.into_iter().map(|WonDoc(id, epoch)| (id, epoch)).collect())
            }
            SettledDoc::Busy => SettleOutcome::Busy,
            SettledDoc::EraChanged => SettleOutcome::EraChanged,
        }
    }
}

/// The changes of a batch, as both databases unpack them.
pub(super) fn settlements(batch: &super::SettleBatch) -> Result<String, StoreError> {
    let row = |one: &crate::core::settling::SettlementOf| {
        serde_json::json!({
            "id": one.repository,
            "epoch": one.epoch.map(Epoch::to_i64),
            "facts": one.facts_version,
            "elected": one.to,
        })
    };
    let rows: Vec<serde_json::Value> = batch.repositories.iter().map(row).collect();
    serde_json::to_string(&rows)
        .map_err(|error| StoreError::with_source(StoreOp::SettleCas, StoreErrorKind::Other, error))
}

/// The outcome of an operation on a repository: `{"outcome":"done",..}` with what it answers beside it.
#[derive(Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum OutcomeDoc {
    Done {
        repository: Option<RepositoryId>,
        #[serde(default, deserialize_with = "optional_epoch")]
        epoch: Option<Epoch>,
        generation: Option<Generation>,
        replica_path: Option<String>,
        storages: Option<Vec<Storage>>,
    },
    NotFound,
    Stale {
        #[serde(default, deserialize_with = "optional_epoch")]
        epoch: Option<Epoch>,
        primary: Option<Storage>,
    },
    EraChanged,
    Refused {
        why: Refused,
    },
}

/// What an operation answers, when it was done.
#[derive(Default)]
pub(super) struct Done {
    repository: Option<RepositoryId>,
    epoch: Option<Epoch>,
    generation: Option<Generation>,
    replica_path: Option<String>,
    storages: Option<Vec<Storage>>,
}

/// Decodes an outcome; `take` picks the answer out of what was done, `None` if the part it needs is missing.
pub(super) fn outcome<T>(
    op: StoreOp,
    json: &str,
    take: impl FnOnce(Done) -> Option<T>,
) -> Result<Outcome<T>, StoreError> {
    Ok(match decode(op, json)? {
        OutcomeDoc::Done { repository, epoch, generation, replica_path, storages } => {
            let done = Done { repository, epoch, generation, replica_path, storages };
            let missing = || StoreError::new(op, StoreErrorKind::BadRow(format!("the answer lacks a part: {json}")));
            Outcome::Done(take(done).ok_or_else(missing)?)
        }
        OutcomeDoc::NotFound => Outcome::NotFound,
        OutcomeDoc::Stale { epoch, primary } => Outcome::Stale(Current { epoch, primary }),
        OutcomeDoc::EraChanged => Outcome::EraChanged,
        OutcomeDoc::Refused { why } => Outcome::Refused(why),
    })
}

impl Done {
    pub(super) fn created(self) -> Option<Created> {
        Some(Created { repository: self.repository?, epoch: self.epoch })
    }
    pub(super) fn deleted(self) -> Option<Deleted> {
        Some(Deleted { replica_path: self.replica_path, storages: self.storages? })
    }
    pub(super) fn generation(self) -> Option<Generation> {
        self.generation
    }
    pub(super) fn epoch(self) -> Option<Epoch> {
        self.epoch
    }
    pub(super) fn nothing(self) -> Option<()> {
        Some(())
    }
}

/// `[{"epoch","previous","current","age","why","supervisor","evidence"}]`, newest first.
#[derive(Deserialize)]
pub(super) struct ChangeDoc {
    #[serde(with = "super::types::raw_epoch")]
    epoch: Epoch,
    previous: Option<Storage>,
    current: Option<Storage>,
    age: Age,
    why: Option<String>,
    supervisor: Option<SupervisorName>,
    evidence: Option<String>,
}

impl From<ChangeDoc> for PrimaryChange {
    fn from(doc: ChangeDoc) -> PrimaryChange {
        let ChangeDoc { epoch, previous, current, age, why, supervisor, evidence } = doc;
        PrimaryChange { epoch, previous, current, age, why, supervisor, evidence }
    }
}

pub(super) fn optional_epoch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Epoch>, D::Error> {
    let raw: Option<i64> = Option::deserialize(deserializer)?;
    raw.map(|raw| Epoch::from_i64(raw).map_err(D::Error::custom)).transpose()
}
