//! One store living a history. Both sides do the same by the same rules; only ids, epochs and times may differ.

use super::{
    Action, FenceKind, Names, Said, Scene, Tampering, ViewRows, Views,
    observe::{Numbers, rendered},
};
use crate::core::{
    consensus::Opinion,
    election::{Decision, ElectionFacts, Fence, Incumbent, candidates_of, decide},
    epoch::{Era, FactsVersion, Generation},
    ids::{DecisionId, Incarnation, NodeId, ProcessToken, RelativePath, RepositoryId, Storage, SupervisorName, Voter},
    quorum::{QuorumPolicy, Verdict},
    settings::Settings,
    time::micros,
};
use crate::store::{
    Expected, NewRepository, Outcome, Proposal, Registered, Registration, StorageChange, Store, StoreError, Target,
    VoteBatch,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Times under which everybody lapses at once, without upsetting the relations between settings.
const LAPSED: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(10));
/// All storages of a history.
const EVERYWHERE: u8 = 0b1111;
const POLL: Duration = Duration::from_millis(3);
const POLLS_MAX: u32 = 3_000;

/// One repository as this side knows it.
pub(super) struct Known {
    pub(super) id: RepositoryId,
    pub(super) fences: Vec<Fence>,
    pub(super) version: FactsVersion,
    pub(super) content: String,
}

/// One store and what this side remembers.
pub(super) struct Side {
    pub(super) store: Arc<dyn Store>,
    pub(super) names: Arc<Names>,
    pub(super) settings: Settings,
    pub(super) numbers: Numbers,
    pub(super) repositories: Vec<Known>,
    /// Every process that each supervisor has been, oldest first.
    pub(super) voters: Vec<Vec<Voter>>,
    batch: i64,
    last: Option<Proposal>,
}

impl Side {
    pub(super) fn new(store: Arc<dyn Store>, names: Arc<Names>, settings: Settings) -> Side {
        let voters = names.supervisors.iter().map(|_| Vec::new()).collect();
        Side {
            store,
            names,
            settings,
            numbers: Numbers::default(),
            repositories: Vec::new(),
            voters,
            // Above the number of a row that nobody wrote to yet, so that a late batch is late for some batch.
            batch: 10,
            last: None,
        }
    }

    pub(super) async fn begin(&mut self, from_nothing: bool) -> Result<(), StoreError> {
        self.store.settings_seed(&self.settings).await?;
        self.store.settings_update(&self.settings).await?;
        if !from_nothing {
            for by in 0..self.names.supervisors.len() {
                self.register(by, true, EVERYWHERE).await?;
            }
            self.sweep(None, EVERYWHERE).await?;
            self.create(0, EVERYWHERE, Some(0), 0).await?;
            self.create(1, EVERYWHERE, None, 0b0011).await?;
            // What appeared here is numbered in this order on both sides.
            self.observe().await?;
        }
        Ok(())
    }

    /// Removes what the next history on this database would trip over: the supervisors, which are everybody's.
    pub(super) async fn clear_away(&mut self) -> Result<(), StoreError> {
        for process in self.voters.iter().filter_map(|processes| processes.last()) {
            self.store.supervisor_remove(process).await?;
        }
        Ok(())
    }

    pub(super) fn scene(&self, step: usize) -> Scene {
        Scene {
            step,
            virtual_storage: self.names.virtual_storage.clone(),
            storages: self.names.storages.clone(),
            repositories: self.repositories.iter().map(|known| known.id).collect(),
        }
    }

    /// Does one action and says what came of it and how everything looks now.
    pub(super) async fn step(&mut self, action: &Action) -> Result<Vec<String>, StoreError> {
        let outcome = self.apply(action).await?;
        let mut seen = vec![format!("outcome: {outcome}")];
        seen.extend(self.observe().await?);
        Ok(seen)
    }

    fn subset(&self, of: u8) -> BTreeSet<Storage> {
        let chosen = self.names.storages.iter().enumerate().filter(|(n, _)| of >> n & 1 == 1);
        chosen.map(|(_, storage)| storage.clone()).collect()
    }
    fn storage(&self, index: usize) -> Option<Storage> {
        self.names.storages.get(index % self.names.storages.len().max(1)).cloned()
    }
    fn node(&self, storage: &Storage) -> NodeId {
        NodeId::new(self.names.virtual_storage.clone(), storage.clone())
    }
    fn name(&self, by: usize) -> Option<SupervisorName> {
        self.names.supervisors.get(by % self.names.supervisors.len().max(1)).cloned()
    }
    /// The current process of a supervisor, or the one before it; one that never was, if there is none.
    fn process(&self, by: usize, stale: bool) -> Option<Voter> {
        let name = self.name(by)?;
        let known = self.voters.get(by % self.voters.len().max(1))?;
        let process = known.iter().rev().nth(usize::from(stale)).cloned();
        Some(process.unwrap_or(Voter { name, incarnation: Incarnation(0) }))
    }
    fn known(&self, repository: usize) -> Option<&Known> {
        self.repositories.get(repository % self.repositories.len().max(1))
    }
    fn fence(&self, known: &Known, kind: FenceKind) -> Option<Fence> {
        match kind {
            FenceKind::Missing => None,
            FenceKind::Oldest => known.fences.first().cloned(),
            FenceKind::Current => known.fences.last().cloned(),
            FenceKind::WrongPrimary => {
                let fence = known.fences.last()?;
                let other = self.names.storages.iter().find(|storage| **storage != fence.primary)?;
                Some(Fence { primary: other.clone(), ..fence.clone() })
            }
        }
    }

    async fn apply(&mut self, action: &Action) -> Result<String, StoreError> {
        let done = match action {
            Action::Register { by, as_itself, watched } => self.register(*by, *as_itself, *watched).await?,
            Action::Heartbeat { by, stale } => self.heartbeat(*by, *stale).await?,
            Action::Lapse { by, then } => self.lapse(*by, *then).await?,
            Action::Stop { by, stale } => match self.process(*by, *stale) {
                Some(process) => Some(format!("removed {}", self.store.supervisor_remove(&process).await?)),
                None => None,
            },
            Action::Vote(said) => self.vote(said).await?,
            Action::Sweep { by, up } => self.sweep(*by, *up).await?,
            Action::Create { path, replicas, primary, assignments } => {
                self.create(*path, *replicas, *primary, *assignments).await?
            }
            Action::Elect { repository, by, stale, seed, tampering, force } => {
                match (self.known(*repository).map(|known| known.id), self.process(*by, *stale)) {
                    (Some(id), Some(process)) => self.elect(id, &process, *seed, *tampering, *force).await?,
                    (_, _) => None,
                }
            }
            Action::Retry => match &self.last {
                Some(proposal) => Some(self.numbers.cas(self.store.primary_cas(proposal).await?)),
                None => None,
            },
            Action::UpdateStorage { storage, priority, draining } => match self.storage(*storage) {
                Some(storage) => {
                    let change = StorageChange { priority: *priority, draining: *draining };
                    self.store.storage_update(&self.node(&storage), change).await?;
                    Some("updated".to_owned())
                }
                None => None,
            },
            Action::Delete { repository, .. }
            | Action::Rename { repository, .. }
            | Action::Increment { repository, .. }
            | Action::SetGeneration { repository, .. }
            | Action::Mark { repository, .. }
            | Action::RemoveReplica { repository, .. }
            | Action::Authoritative { repository, .. }
            | Action::Assign { repository, .. } => match self.known(*repository).map(|known| known.id) {
                Some(id) => self.change(id, *repository, action).await?,
                None => None,
            },
        };
        Ok(done.unwrap_or_else(|| "nothing to act on".to_owned()))
    }

    async fn register(&mut self, by: usize, as_itself: bool, watched: u8) -> Result<Option<String>, StoreError> {
        let Some(name) = self.name(by) else { return Ok(None) };
        let Ok(process) = ProcessToken::new(uuid::Uuid::new_v4().to_string()) else { return Ok(None) };
        let previous = self.process(by, false).map(|process| process.incarnation).filter(|_| as_itself);
        let registration = Registration {
            name: name.clone(),
            previous,
            process,
            attempt: 1,
            address: None,
            version: "test".to_owned(),
            nodes: self.subset(watched).iter().map(|storage| self.node(storage)).collect(),
        };
        Ok(Some(match self.store.supervisor_register(&registration).await? {
            Registered::NameInUse { held_by } => format!("name in use by {}", self.numbers.incarnation(held_by)),
            Registered::Superseded { by } => format!("superseded by {}", self.numbers.incarnation(by)),
            Registered::Registered { incarnation, .. } => {
                let at = by % self.voters.len().max(1);
                if let Some(processes) = self.voters.get_mut(at) {
                    processes.push(Voter { name, incarnation });
                }
                format!("registered {}", self.numbers.incarnation(incarnation))
            }
        }))
    }

    async fn heartbeat(&mut self, by: usize, stale: bool) -> Result<Option<String>, StoreError> {
        let Some(process) = self.process(by, stale) else { return Ok(None) };
        let outcome = self.store.supervisor_heartbeat(&process).await?;
        Ok(Some(self.numbers.heartbeat(&outcome)))
    }

    /// Shortens the time a voter may be silent, waits until the database says that all were, acts, and restores it.
    async fn lapse(&mut self, by: usize, then: u8) -> Result<Option<String>, StoreError> {
        if self.settings.policy == QuorumPolicy::Half {
            return Ok(None);
        }
        let calm = self.settings.clone();
        (self.settings.voter_ttl, self.settings.decision_ttl) = LAPSED;
        self.store.settings_update(&self.settings).await?;
        for _ in 0..POLLS_MAX {
            let rows = self.store.health_facts().await?.facts.supervisors;
            let mut own = rows.iter().filter(|row| self.names.supervisors.contains(&row.name));
            if own.all(|row| !row.is_live(&self.settings)) {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        let outcome = match then {
            0 => self.heartbeat(by, false).await?,
            1 => match (self.known(by).map(|known| known.id), self.process(by, false)) {
                (Some(id), Some(process)) => self.elect(id, &process, 0, Tampering::Honest, true).await?,
                (_, _) => None,
            },
            _ => self.register(by, false, EVERYWHERE).await?,
        };
        self.settings = calm;
        self.store.settings_update(&self.settings).await?;
        Ok(outcome)
    }

    async fn vote(&mut self, said: &Said) -> Result<Option<String>, StoreError> {
        let (Some(process), Some(storage)) = (self.process(said.by, said.stale), self.storage(said.about)) else {
            return Ok(None);
        };
        self.batch = self.batch.saturating_add(2);
        // Two numbers a batch, so that one that was overtaken has a number that nobody used.
        let number = if said.late { self.batch.saturating_sub(5) } else { self.batch };
        let batch = VoteBatch { number, votes: vec![(self.node(&storage), said.opinion)] };
        Ok(Some(rendered::votes(self.store.votes_write(&process, &batch).await?)))
    }

    async fn sweep(&mut self, by: Option<usize>, up: u8) -> Result<Option<String>, StoreError> {
        let all = 0..self.voters.len();
        let sweepers = by.map_or_else(|| all.collect(), |by| vec![by]);
        let up = self.subset(up);
        let opinion = |storage: &Storage| if up.contains(storage) { Opinion::Up } else { Opinion::Down };
        let votes: Vec<_> = self.names.storages.iter().map(|storage| (self.node(storage), opinion(storage))).collect();
        let mut outcome = Vec::new();
        for by in sweepers {
            let Some(process) = self.process(by, false) else { continue };
            self.batch = self.batch.saturating_add(2);
            let batch = VoteBatch { number: self.batch, votes: votes.clone() };
            outcome.push(rendered::votes(self.store.votes_write(&process, &batch).await?));
        }
        Ok(Some(outcome.join(", ")))
    }

    async fn create(
        &mut self,
        path: usize,
        replicas: u8,
        primary: Option<usize>,
        assignments: u8,
    ) -> Result<Option<String>, StoreError> {
        let Ok(relative_path) = RelativePath::new(format!("p{path}")) else { return Ok(None) };
        let replicas: Vec<Storage> = self.subset(replicas).into_iter().collect();
        let primary = primary.and_then(|index| replicas.get(index % replicas.len().max(1)).cloned());
        let new = NewRepository {
            virtual_storage: self.names.virtual_storage.clone(),
            relative_path,
            replica_path: None,
            id: None,
            replicas,
            primary,
            assignments: self.subset(assignments).into_iter().collect(),
        };
        let outcome = self.store.repository_create(&new).await?;
        if let Outcome::Done(created) = &outcome {
            let version = FactsVersion(i64::MIN);
            let known = Known { id: created.repository, fences: Vec::new(), version, content: String::new() };
            self.repositories.push(known);
        }
        Ok(Some(self.numbers.outcome(outcome, |numbers, created| {
            let epoch = created.epoch.map(|epoch| numbers.epoch(epoch));
            format!("{} {epoch:?}", numbers.repository(created.repository))
        })))
    }

    /// The facts without voters of other histories, which share the database's table of supervisors.
    pub(super) async fn facts(&self, target: &Target) -> Result<Option<ElectionFacts>, StoreError> {
        let mut facts = self.store.election_facts(target).await?.map(|snapshot| snapshot.facts);
        if let Some(facts) = &mut facts {
            facts.supervisors.retain(|row| self.names.supervisors.contains(&row.name));
            if let Some(mut found) = self.store.incumbent(target).await? {
                let mut known = Incumbent::of(facts);
                // The second read is a moment later, and a penalty may have ended between.
                for one in [&mut found].into_iter().chain(known.as_mut()) {
                    one.replica.attributes.penalised = false;
                }
                assert_eq!(Some(found), known, "of the primary alone it says something else");
            }
        }
        Ok(facts)
    }

    async fn elect(
        &mut self,
        id: RepositoryId,
        process: &Voter,
        seed: u64,
        tampering: Tampering,
        force: bool,
    ) -> Result<Option<String>, StoreError> {
        let Some(facts) = self.facts(&Target::Id(id)).await? else { return Ok(Some("no repository".to_owned())) };
        let decision = decide(&facts, &self.settings, process, seed);
        let decided = rendered::decision(&decision);
        let (to, why) = match decision {
            Decision::Elect(election) => (Some(election.to), election.why.as_str()),
            Decision::Demote { why, .. } => (None, why.as_str()),
            Decision::Keep { .. } | Decision::NoCandidate(_) | Decision::Wait(_) if force => {
                (facts.replicas.iter().map(|replica| replica.storage.clone()).min(), "forced")
            }
            Decision::Keep { .. } | Decision::NoCandidate(_) | Decision::Wait(_) => return Ok(Some(decided)),
        };
        let Ok(own) = DecisionId::new(uuid::Uuid::new_v4().to_string()) else { return Ok(None) };
        let mut expected =
            Expected { epoch: facts.epoch, era: facts.era, facts_version: facts.facts_version, at: facts.at };
        match tampering {
            Tampering::Honest => {}
            Tampering::Version => expected.facts_version.0 = expected.facts_version.0.saturating_sub(1),
            // A repository that never had a primary has no epoch; then this one is honest.
            Tampering::Epoch => expected.epoch = None,
            Tampering::Era => expected.era = Era(expected.era.0.saturating_add(1)),
            Tampering::Future => expected.at.0 = expected.at.0.saturating_add(micros(Duration::from_secs(600))),
        }
        let proposal = Proposal {
            decision: own,
            repository: id,
            virtual_storage: facts.virtual_storage.clone(),
            from: facts.primary.clone(),
            expected,
            to,
            proposer: process.clone(),
            why: why.to_owned(),
            evidence: rendered::EVIDENCE.to_owned(),
        };
        let outcome = self.store.primary_cas(&proposal).await?;
        self.last = Some(proposal);
        Ok(Some(format!("{decided}: {}", self.numbers.cas(outcome))))
    }

    async fn change(&mut self, id: RepositoryId, index: usize, action: &Action) -> Result<Option<String>, StoreError> {
        let Some(known) = self.known(index) else { return Ok(None) };
        let version = known.version;
        let behind = FactsVersion(version.0.saturating_sub(1));
        let fence = |kind: &FenceKind| self.fence(known, *kind);
        Ok(match action {
            Action::Delete { fence: kind, .. } => {
                let outcome = self.store.repository_delete(id, fence(kind).as_ref()).await?;
                Some(
                    self.numbers
                        .outcome(outcome, |_, deleted| format!("{:?} {:?}", deleted.replica_path, deleted.storages)),
                )
            }
            Action::Rename { fence: kind, path, .. } => match RelativePath::new(format!("p{path}")) {
                Ok(path) => {
                    let outcome = self.store.repository_rename(id, fence(kind).as_ref(), &path).await?;
                    Some(self.numbers.outcome(outcome, |_, ()| "renamed".to_owned()))
                }
                Err(_) => None,
            },
            Action::Increment { fence: kind, acknowledged, .. } => {
                let by = self.subset(*acknowledged);
                let outcome = self.store.generation_increment(id, fence(kind).as_ref(), &by).await?;
                Some(self.numbers.outcome(outcome, |_, generation| generation.to_string()))
            }
            Action::SetGeneration { fence: kind, storage, generation, .. } => match self.storage(*storage) {
                Some(storage) => {
                    let generation = Generation(*generation);
                    let outcome = self.store.generation_set(id, fence(kind).as_ref(), &storage, generation).await?;
                    Some(self.numbers.outcome(outcome, |_, ()| "set".to_owned()))
                }
                None => None,
            },
            Action::Mark { storage, .. } => match self.storage(*storage) {
                Some(storage) => {
                    let outcome = self.store.replica_mark(id, &storage).await?;
                    Some(rendered::mark(&outcome))
                }
                None => None,
            },
            Action::RemoveReplica { fence: kind, storage, .. } => match self.storage(*storage) {
                Some(storage) => {
                    let outcome = self.store.replica_delete(id, fence(kind).as_ref(), &storage).await?;
                    Some(self.numbers.outcome(outcome, |_, ()| "removed".to_owned()))
                }
                None => None,
            },
            Action::Authoritative { storage, outdated, .. } => {
                let expected = if *outdated { behind } else { version };
                let facts = self.facts(&Target::Id(id)).await?;
                let marked = |storage: &Storage| {
                    let mut replicas = facts.iter().flat_map(|facts| &facts.replicas);
                    replicas.any(|replica| replica.storage == *storage && replica.marked)
                };
                // What becomes of the mark of a replica that is declared the truth is not promised.
                match (self.storage(*storage).filter(|storage| !marked(storage)), self.process(0, false)) {
                    (Some(storage), Some(operator)) => {
                        let outcome = self.store.authoritative_set(id, &storage, expected, &operator).await?;
                        Some(self.numbers.outcome(outcome, |numbers, epoch| numbers.epoch(epoch)))
                    }
                    (_, _) => None,
                }
            }
            Action::Assign { assignments, outdated, .. } => {
                let (wanted, expected) = (self.subset(*assignments), if *outdated { behind } else { version });
                let outcome = self.store.assignments_replace(id, expected, &wanted).await?;
                Some(self.numbers.outcome(outcome, |_, ()| "assigned".to_owned()))
            }
            Action::Register { .. }
            | Action::Heartbeat { .. }
            | Action::Lapse { .. }
            | Action::Stop { .. }
            | Action::Vote(_)
            | Action::Sweep { .. }
            | Action::Create { .. }
            | Action::UpdateStorage { .. }
            | Action::Elect { .. }
            | Action::Retry => None,
        })
    }

    /// What the pure rule says and what the views say, of every repository, as lines that must be the same.
    pub(super) async fn compare_views(&self, views: &Views) -> Result<(Vec<String>, Vec<String>), StoreError> {
        let (mut rule, mut rows) = (Vec::new(), Vec::new());
        let health = self.store.health_facts().await?.facts.evaluate(&self.settings);
        let here = health.iter().filter(|(node, known)| {
            node.virtual_storage == self.names.virtual_storage && known.verdict == Verdict::Healthy
        });
        let healthy: BTreeSet<Storage> = here.map(|(node, _)| node.storage.clone()).collect();
        for known in &self.repositories {
            let Some(facts) = self.facts(&Target::Id(known.id)).await? else { continue };
            let ours =
                ViewRows { valid_primaries: candidates_of(&facts, &self.settings), healthy_storages: healthy.clone() };
            let theirs = views(known.id, self.names.virtual_storage.clone()).await;
            rule.push(format!("views of {}: {ours:?}", facts.relative_path));
            rows.push(format!("views of {}: {theirs:?}", facts.relative_path));
        }
        Ok((rule, rows))
    }
}
