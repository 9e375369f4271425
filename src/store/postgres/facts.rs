//! The facts of one election as plain columns.
//!
//! Every lookup reads them, and building a JSON document of some 200 values cost the server more than finding the rows
//! did. So this one read has columns of its own: single values, and of each list one array per column, all of one order.
//! Times come as they are stored and become ages here.

use crate::core::{
    consensus::{SupervisorRow, VoteRow},
    election::{ElectionFacts, ReplicaFacts},
    epoch::{Epoch, Era, FactsVersion, Generation, Revision},
    ids::{ClusterId, Incarnation, NodeId, RelativePath, RepositoryId, Storage, SupervisorName, VirtualStorage},
    settings::Settings,
    time::{Age, DatabaseTime},
};
use crate::store::{
    ElectionSnapshot, StoreError, StoreOp, StoredSettings, Target,
    incumbent::{attributes, bad, name},
    rows,
    statement::Statement,
};
use diesel::{
    QueryableByName,
    data_types::PgTimestamp,
    sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz},
};
use serde::{
    Deserialize,
    de::{IntoDeserializer, value},
};
use std::time::Duration;

/// One statement, one snapshot, index lookups only: the votes are those about storages that hold a replica, so that 300
/// nodes cost no more than 3.
macro_rules! election_facts {
    ($members:literal, $condition:literal) => {
        concat!(
            "\
SELECT statement_timestamp() AS at,
    s.cluster_id, s.revision, s.profile, s.policy, s.expected_supervisors, s.voter_ttl_ms, s.vote_ttl_ms,
    s.decision_ttl_ms, s.without_candidate, s.praefect_notifications, (SELECT max(era) FROM eras) AS era,
    r.repository_id, r.virtual_storage, r.relative_path, r.generation, r.\"primary\", r.primary_epoch, r.facts_version,
    replica.*, vote.*, supervisor.*,
    ARRAY(SELECT ra.storage FROM repository_assignments ra WHERE ra.repository_id = r.repository_id) AS assignments,
    ARRAY(SELECT rq.job ->> 'target_node_storage' FROM replication_queue rq
        WHERE rq.state NOT IN ('completed', 'dead', 'cancelled') AND rq.job ->> 'change' = 'delete_replica'
          AND (rq.job ->> 'repository_id')::bigint = r.repository_id) AS marks,
    ",
            $members,
            " AS members
FROM repositories r CROSS JOIN settings s
CROSS JOIN LATERAL (
    SELECT array_agg(sr.storage) AS replica_storages, array_agg(sr.generation) AS replica_generations,
        array_agg(st.priority) AS replica_priorities, array_agg(st.draining) AS replica_drainings,
        array_agg(st.penalty_until) AS replica_penalties
    FROM storage_repositories sr
    LEFT JOIN storages st ON st.virtual_storage = r.virtual_storage AND st.storage = sr.storage
    WHERE sr.repository_id = r.repository_id) replica
CROSS JOIN LATERAL (
    SELECT array_agg(ns.praefect_name::text) AS vote_supervisors, array_agg(ns.node_name::text) AS vote_storages,
        array_agg(ns.verdict) AS vote_opinions, array_agg(ns.incarnation) AS vote_incarnations,
        array_agg(ns.last_contact_attempt_at) AS vote_contacts, array_agg(ns.last_seen_active_at) AS vote_sightings
    FROM node_status ns
    WHERE ns.shard_name = r.virtual_storage AND ns.node_name = ANY (replica.replica_storages)) vote
CROSS JOIN LATERAL (
    SELECT array_agg(name) AS supervisor_names, array_agg(incarnation) AS supervisor_incarnations,
        array_agg(heartbeat_at) AS supervisor_heartbeats, array_agg(registered_at) AS supervisor_registrations,
        array_agg(recused_since IS NOT NULL) AS supervisor_recusals
    FROM supervisors) supervisor
WHERE ",
            $condition
        )
    };
}

/// Everybody who votes in the virtual storage, whom policy `half` alone counts. Even where it is not carried out it costs
/// a tenth of the statement to set up, so it is a part of the statement only where that policy was last seen.
macro_rules! with_members {
    ($condition:literal) => {
        election_facts!(
            "\
CASE WHEN s.policy = 'half' THEN (
        SELECT json_agg(json_build_object(
            'virtual_storage', r.virtual_storage, 'supervisor', m.praefect_name, 'contact_age', quorate_age(m.at)))::text
        FROM (SELECT praefect_name, max(last_contact_attempt_at) AS at
              FROM node_status WHERE shard_name = r.virtual_storage AND isfinite(last_contact_attempt_at)
              GROUP BY praefect_name) m) END",
            $condition
        )
    };
}
macro_rules! without_members {
    ($condition:literal) => {
        election_facts!("NULL::text", $condition)
    };
}

/// Reads the facts of one repository; with `members`, what policy `half` needs besides.
pub(super) fn read(target: &Target, members: bool) -> Statement {
    match target {
        Target::Id(id) => {
            let by_id = [without_members!("r.repository_id = $1"), with_members!("r.repository_id = $1")];
            Statement::new(by_id[usize::from(members)]).bigint(id.0)
        }
        Target::Path(virtual_storage, path) => {
            let by_path = [
                without_members!("r.virtual_storage = $1 AND r.relative_path = $2"),
                with_members!("r.virtual_storage = $1 AND r.relative_path = $2"),
            ];
            Statement::new(by_path[usize::from(members)]).text(virtual_storage.as_str()).text(path.as_str())
        }
    }
}

/// Microseconds from 1970, the beginning of [`DatabaseTime`], to 2000, the server's own.
const SERVER_EPOCH: i64 = 946_684_800_000_000;

type Texts = Vec<String>;
type Numbers = Vec<i64>;
type Times = Vec<PgTimestamp>;

/// The one row. An array without elements comes as NULL.
#[derive(QueryableByName)]
pub(super) struct FactsRow {
    #[diesel(sql_type = Timestamptz)]
    at: PgTimestamp,
    #[diesel(sql_type = Text)]
    cluster_id: String,
    #[diesel(sql_type = BigInt)]
    revision: i64,
    #[diesel(sql_type = Text)]
    profile: String,
    #[diesel(sql_type = Text)]
    policy: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    expected_supervisors: Option<i64>,
    #[diesel(sql_type = BigInt)]
    voter_ttl_ms: i64,
    #[diesel(sql_type = BigInt)]
    vote_ttl_ms: i64,
    #[diesel(sql_type = BigInt)]
    decision_ttl_ms: i64,
    #[diesel(sql_type = Text)]
    without_candidate: String,
    #[diesel(sql_type = Bool)]
    praefect_notifications: bool,
    #[diesel(sql_type = Nullable<BigInt>)]
    era: Option<i64>,
    #[diesel(sql_type = BigInt)]
    repository_id: i64,
    #[diesel(sql_type = Text)]
    virtual_storage: String,
    #[diesel(sql_type = Text)]
    relative_path: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    generation: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    primary: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    primary_epoch: Option<i64>,
    #[diesel(sql_type = BigInt)]
    facts_version: i64,
    #[diesel(sql_type = Nullable<Array<Text>>)]
    replica_storages: Option<Texts>,
    #[diesel(sql_type = Nullable<Array<BigInt>>)]
    replica_generations: Option<Numbers>,
    #[diesel(sql_type = Nullable<Array<Nullable<Integer>>>)]
    replica_priorities: Option<Vec<Option<i32>>>,
    #[diesel(sql_type = Nullable<Array<Nullable<Bool>>>)]
    replica_drainings: Option<Vec<Option<bool>>>,
    #[diesel(sql_type = Nullable<Array<Nullable<Timestamptz>>>)]
    replica_penalties: Option<Vec<Option<PgTimestamp>>>,
    #[diesel(sql_type = Nullable<Array<Text>>)]
    vote_supervisors: Option<Texts>,
    #[diesel(sql_type = Nullable<Array<Text>>)]
    vote_storages: Option<Texts>,
    #[diesel(sql_type = Nullable<Array<Nullable<Text>>>)]
    vote_opinions: Option<Vec<Option<String>>>,
    #[diesel(sql_type = Nullable<Array<Nullable<BigInt>>>)]
    vote_incarnations: Option<Vec<Option<i64>>>,
    #[diesel(sql_type = Nullable<Array<Nullable<Timestamptz>>>)]
    vote_contacts: Option<Vec<Option<PgTimestamp>>>,
    #[diesel(sql_type = Nullable<Array<Nullable<Timestamptz>>>)]
    vote_sightings: Option<Vec<Option<PgTimestamp>>>,
    #[diesel(sql_type = Nullable<Array<Text>>)]
    supervisor_names: Option<Texts>,
    #[diesel(sql_type = Nullable<Array<BigInt>>)]
    supervisor_incarnations: Option<Numbers>,
    #[diesel(sql_type = Nullable<Array<Timestamptz>>)]
    supervisor_heartbeats: Option<Times>,
    #[diesel(sql_type = Nullable<Array<Timestamptz>>)]
    supervisor_registrations: Option<Times>,
    #[diesel(sql_type = Nullable<Array<Bool>>)]
    supervisor_recusals: Option<Vec<bool>>,
    #[diesel(sql_type = Array<Text>)]
    assignments: Texts,
    #[diesel(sql_type = Array<Nullable<Text>>)]
    marks: Vec<Option<String>>,
    #[diesel(sql_type = Nullable<Text>)]
    members: Option<String>,
}

/// One of a few words.
fn word<'de, T: Deserialize<'de>>(column: &'static str, text: &'de str) -> Result<T, StoreError> {
    let text: value::BorrowedStrDeserializer<'de, value::Error> = value::BorrowedStrDeserializer::new(text);
    T::deserialize(text.into_deserializer()).map_err(|error| bad(column, error))
}

fn millis(column: &'static str, value: i64) -> Result<Duration, StoreError> {
    u64::try_from(value).map(Duration::from_millis).map_err(|error| bad(column, error))
}

impl FactsRow {
    /// How long ago a stamp was set.
    fn age(&self, stamp: PgTimestamp) -> Age {
        Age(self.at.0.saturating_sub(stamp.0))
    }

    /// The same of a stamp that a Praefect may have written: one without an end counts as none.
    fn finite_age(&self, stamp: PgTimestamp) -> Option<Age> {
        (stamp.0 != i64::MAX && stamp.0 != i64::MIN).then(|| self.age(stamp))
    }

    /// Whether the policy in force counts the members.
    pub(super) fn needs_members(&self) -> bool {
        self.policy == "half"
    }

    fn settings(&self) -> Result<StoredSettings, StoreError> {
        let expected = self.expected_supervisors.map(u32::try_from).transpose();
        Ok(StoredSettings {
            cluster: name("cluster_id", ClusterId::new(self.cluster_id.as_str()))?,
            revision: Revision(u64::try_from(self.revision).map_err(|error| bad("revision", error))?),
            settings: Settings {
                profile: word("profile", &self.profile)?,
                policy: word("policy", &self.policy)?,
                expected_supervisors: expected.map_err(|error| bad("expected_supervisors", error))?,
                voter_ttl: millis("voter_ttl_ms", self.voter_ttl_ms)?,
                vote_ttl: millis("vote_ttl_ms", self.vote_ttl_ms)?,
                decision_ttl: millis("decision_ttl_ms", self.decision_ttl_ms)?,
                without_candidate: word("without_candidate", &self.without_candidate)?,
                praefect_notifications: self.praefect_notifications,
            },
        })
    }

    fn replicas(&mut self) -> Result<Vec<ReplicaFacts>, StoreError> {
        let storages = self.replica_storages.take().unwrap_or_default();
        let generations = self.replica_generations.take().unwrap_or_default();
        let priorities = self.replica_priorities.take().unwrap_or_default();
        let drainings = self.replica_drainings.take().unwrap_or_default();
        let penalties = self.replica_penalties.take().unwrap_or_default();
        let said = priorities.into_iter().zip(drainings).zip(penalties);
        let rows = storages.into_iter().zip(generations).zip(said);
        let mut replicas = rows
            .map(|((storage, generation), ((priority, draining), penalty))| {
                Ok(ReplicaFacts {
                    marked: self.marks.iter().flatten().any(|marked| *marked == storage),
                    assigned: self.assignments.contains(&storage),
                    storage: name("storage_repositories.storage", Storage::new(storage))?,
                    generation: Generation(generation),
                    attributes: attributes(priority, draining, penalty.map(|until| until.0 > self.at.0)),
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        replicas.sort_unstable_by(|a, b| a.storage.cmp(&b.storage));
        Ok(replicas)
    }

    fn votes(&mut self, virtual_storage: &VirtualStorage) -> Result<Vec<VoteRow>, StoreError> {
        let supervisors = self.vote_supervisors.take().unwrap_or_default();
        let storages = self.vote_storages.take().unwrap_or_default();
        let opinions = self.vote_opinions.take().unwrap_or_default();
        let incarnations = self.vote_incarnations.take().unwrap_or_default();
        let contacts = self.vote_contacts.take().unwrap_or_default();
        let sightings = self.vote_sightings.take().unwrap_or_default();
        let said = opinions.into_iter().zip(incarnations).zip(contacts.into_iter().zip(sightings));
        let rows = supervisors.into_iter().zip(storages).zip(said);
        let mut votes = Vec::new();
        for ((supervisor, storage), ((opinion, incarnation), (contact, sighting))) in rows {
            // Praefect's columns hold names that we do not allow. Whoever cannot be named has no vote, and must not make
            // every supervisor blind.
            let (Ok(supervisor), Ok(storage)) = (SupervisorName::new(supervisor), Storage::new(storage)) else {
                continue;
            };
            votes.push(VoteRow {
                supervisor,
                node: NodeId::new(virtual_storage.clone(), storage),
                opinion: opinion.as_deref().map(|opinion| word("node_status.verdict", opinion)).transpose()?,
                incarnation: incarnation.map(Incarnation),
                contact_age: contact.and_then(|stamp| self.finite_age(stamp)),
                seen_age: sighting.and_then(|stamp| self.finite_age(stamp)),
            });
        }
        Ok(votes)
    }

    fn supervisors(&mut self) -> Vec<SupervisorRow> {
        let names = self.supervisor_names.take().unwrap_or_default();
        let incarnations = self.supervisor_incarnations.take().unwrap_or_default();
        let heartbeats = self.supervisor_heartbeats.take().unwrap_or_default();
        let registrations = self.supervisor_registrations.take().unwrap_or_default();
        let recusals = self.supervisor_recusals.take().unwrap_or_default();
        let stamps = heartbeats.into_iter().zip(registrations).zip(recusals);
        let mut rows = names
            .into_iter()
            .zip(incarnations)
            .zip(stamps)
            // A row that we would not have written is nobody's; the reads of everybody's health tell its name.
            .filter_map(|((supervisor, incarnation), ((heartbeat, registration), recused))| {
                Some(SupervisorRow {
                    name: SupervisorName::new(supervisor).ok()?,
                    incarnation: Incarnation(incarnation),
                    heartbeat_age: self.finite_age(heartbeat)?,
                    registered_age: self.finite_age(registration)?,
                    recused,
                })
            })
            .collect::<Vec<_>>();
        rows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    /// The snapshot that the row stands for, or the name of the column that nobody could have written.
    pub(super) fn into_snapshot(mut self) -> Result<ElectionSnapshot, StoreError> {
        let settings = self.settings()?;
        let virtual_storage =
            name("virtual_storage", VirtualStorage::new(::core::mem::take(&mut self.virtual_storage)))?;
        let (replicas, votes) = (self.replicas()?, self.votes(&virtual_storage)?);
        let supervisors = self.supervisors();
        let assigned = self.assignments.into_iter().map(|storage| name("assignments", Storage::new(storage)));
        let mut assignments = assigned.collect::<Result<Vec<Storage>, StoreError>>()?;
        assignments.sort_unstable();
        let members = match &self.members {
            Some(members) => rows::members(StoreOp::ElectionFacts, members)?,
            None => Vec::new(),
        };
        let primary = self.primary.map(|primary| name("primary", Storage::new(primary))).transpose()?;
        let epoch = self.primary_epoch.map(Epoch::from_i64).transpose();
        let facts = ElectionFacts {
            cluster: settings.cluster.clone(),
            repository: RepositoryId(self.repository_id),
            relative_path: name("relative_path", RelativePath::new(self.relative_path))?,
            virtual_storage,
            generation: self.generation.map(Generation),
            primary,
            epoch: epoch.map_err(|error| bad("primary_epoch", error))?,
            era: Era(self.era.ok_or_else(|| bad("era", "there is none"))?),
            facts_version: FactsVersion(self.facts_version),
            at: DatabaseTime(self.at.0.saturating_add(SERVER_EPOCH)),
            replicas,
            assignments,
            votes,
            supervisors,
            members,
        };
        Ok(ElectionSnapshot { facts, settings })
    }
}
