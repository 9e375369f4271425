//! Repositories and their replicas.

use super::{
    MemoryStore,
    state::{Barred, Decided, Repository, State},
};
use crate::core::{
    election::Fence,
    epoch::{Epoch, FactsVersion, Generation},
    ids::{NodeId, RelativePath, RepositoryId, Storage, VirtualStorage, Voter},
    synced::Scope,
};
use crate::store::{
    Answer, Change, ChangeKind, Created, Deleted, NewRepository, Outcome, Refused, RepositoryStore, StorageChange,
    StoreOp,
};
use std::collections::BTreeSet;

impl<T> From<Barred> for Outcome<T> {
    fn from(barred: Barred) -> Outcome<T> {
        match barred {
            Barred::NotFound => Outcome::NotFound,
            Barred::Stale(current) => Outcome::Stale(current),
            Barred::EraChanged => Outcome::EraChanged,
            Barred::Refused(why) => Outcome::Refused(why),
        }
    }
}

/// What a transaction on one repository comes to: what was done, or what barred it.
type Done<T> = Result<T, Barred>;

fn refused<T>(why: Refused) -> Done<T> {
    Err(Barred::Refused(why))
}

fn outcome<T>(done: Done<T>) -> Outcome<T> {
    match done {
        Ok(done) => Outcome::Done(done),
        Err(barred) => barred.into(),
    }
}

impl RepositoryStore for MemoryStore {
    fn repository_create<'a>(&'a self, new: &'a NewRepository) -> Answer<'a, Outcome<Created>> {
        self.call(StoreOp::RepositoryCreate, move |state| outcome(state.create(new)))
    }

    fn repository_delete<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
    ) -> Answer<'a, Outcome<Deleted>> {
        self.call(StoreOp::RepositoryDelete, move |state| outcome(state.delete(repository, fence)))
    }

    fn repository_rename<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        to: &'a RelativePath,
    ) -> Answer<'a, Outcome<()>> {
        self.call(StoreOp::RepositoryRename, move |state| outcome(state.rename(repository, fence, to)))
    }

    fn generation_increment<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        acknowledged: &'a BTreeSet<Storage>,
    ) -> Answer<'a, Outcome<Generation>> {
        self.call(StoreOp::GenerationIncrement, move |state| outcome(state.increment(repository, fence, acknowledged)))
    }

    fn generation_set<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        storage: &'a Storage,
        generation: Generation,
    ) -> Answer<'a, Outcome<()>> {
        self.call(StoreOp::GenerationSet, move |state| {
            outcome(state.set_generation(repository, fence, storage, generation))
        })
    }

    fn replica_mark<'a>(&'a self, repository: RepositoryId, storage: &'a Storage) -> Answer<'a, Outcome<()>> {
        self.call(StoreOp::ReplicaMark, move |state| outcome(state.mark(repository, storage)))
    }

    fn replica_delete<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        storage: &'a Storage,
    ) -> Answer<'a, Outcome<()>> {
        self.call(StoreOp::ReplicaDelete, move |state| outcome(state.remove_replica(repository, fence, storage)))
    }

    fn authoritative_set<'a>(
        &'a self,
        repository: RepositoryId,
        storage: &'a Storage,
        expected: FactsVersion,
        operator: &'a Voter,
    ) -> Answer<'a, Outcome<Epoch>> {
        self.call(StoreOp::AuthoritativeSet, move |state| {
            outcome(state.make_authoritative(repository, storage, expected, operator))
        })
    }

    fn assignments_replace<'a>(
        &'a self,
        repository: RepositoryId,
        expected: FactsVersion,
        assignments: &'a BTreeSet<Storage>,
    ) -> Answer<'a, Outcome<()>> {
        self.call(StoreOp::AssignmentsReplace, move |state| outcome(state.assign(repository, expected, assignments)))
    }

    fn storage_update<'a>(&'a self, node: &'a NodeId, change: StorageChange) -> Answer<'a, ()> {
        self.call(StoreOp::StorageUpdate, move |state| {
            let row = state.storages.entry(node.clone()).or_default();
            row.priority = change.priority.unwrap_or(row.priority);
            row.draining = change.draining.unwrap_or(row.draining);
            state.touched(1);
            let scope = Scope::VirtualStorage(node.virtual_storage.clone());
            state.feed.add(Change { kind: ChangeKind::Primaries, scope });
        })
    }
}

impl State {
    fn path_is_taken(
        &self,
        virtual_storage: &VirtualStorage,
        path: &RelativePath,
        except: Option<RepositoryId>,
    ) -> bool {
        self.repositories.iter().any(|(id, row)| {
            Some(*id) != except && row.virtual_storage == *virtual_storage && row.relative_path == *path
        })
    }

    fn at_version(&mut self, id: RepositoryId, expected: FactsVersion) -> Done<&mut Repository> {
        self.touched_ids.insert(id);
        match self.repositories.get_mut(&id) {
            None => Err(Barred::NotFound),
            Some(row) if row.facts_version != expected => refused(Refused::FactsMoved),
            Some(row) => Ok(row),
        }
    }

    fn create(&mut self, new: &NewRepository) -> Done<Created> {
        if self.path_is_taken(&new.virtual_storage, &new.relative_path, None) {
            return refused(Refused::PathTaken);
        }
        if new.id.is_some_and(|id| self.repositories.contains_key(&id)) {
            return refused(Refused::IdTaken);
        }
        let id = new.id.unwrap_or(RepositoryId(self.repository_ids.saturating_add(1)));
        // An id that was asked for is not given again either.
        self.repository_ids = self.repository_ids.max(id.0);
        let row = Repository {
            virtual_storage: new.virtual_storage.clone(),
            relative_path: new.relative_path.clone(),
            replica_path: new.replica_path.clone().unwrap_or_else(|| new.relative_path.as_str().to_owned()),
            generation: Some(Generation(0)),
            primary: None,
            epoch: None,
            // Above those of all that went: made again under its id, a repository comes to no version of its former life.
            facts_version: FactsVersion(self.last_facts_version.0.saturating_add(1)),
            replicas: new.replicas.iter().map(|storage| (storage.clone(), Generation(0))).collect(),
            marked: None,
            assignments: new.assignments.iter().cloned().collect(),
        };
        self.touched(row.replicas.len().saturating_add(row.assignments.len()).saturating_add(1));
        self.repositories.insert(id, row);
        self.touched_ids.insert(id);
        let epoch = new.primary.clone().and_then(|primary| self.primary_set(id, Some(primary), None));
        Ok(Created { repository: id, epoch })
    }

    fn delete(&mut self, id: RepositoryId, fence: Option<&Fence>) -> Done<Deleted> {
        self.admitted(id, fence)?;
        let Some(row) = self.repositories.remove(&id) else { return Err(Barred::NotFound) };
        self.last_facts_version = self.last_facts_version.max(row.facts_version);
        self.touched(row.replicas.len().saturating_add(row.assignments.len()).saturating_add(1));
        Ok(Deleted { replica_path: Some(row.replica_path), storages: row.replicas.into_keys().collect() })
    }

    fn rename(&mut self, id: RepositoryId, fence: Option<&Fence>, to: &RelativePath) -> Done<()> {
        let virtual_storage = self.admitted(id, fence)?.virtual_storage.clone();
        if self.path_is_taken(&virtual_storage, to, Some(id)) {
            return refused(Refused::PathTaken);
        }
        let row = self.admitted(id, fence)?;
        row.relative_path = to.clone();
        row.moved();
        self.touched(1);
        Ok(())
    }

    fn increment(
        &mut self,
        id: RepositoryId,
        fence: Option<&Fence>,
        acknowledged: &BTreeSet<Storage>,
    ) -> Done<Generation> {
        let row = self.admitted(id, fence)?;
        if fence.is_some_and(|fence| !acknowledged.contains(&fence.primary)) {
            return refused(Refused::PrimaryNotAcknowledged);
        }
        // A repository without a generation has no current replica.
        let Some(old) = row.generation else { return refused(Refused::OutdatedNodes) };
        let is_current = |storage: &Storage| row.replicas.get(storage) == Some(&old);
        let current: Vec<Storage> = acknowledged.iter().filter(|storage| is_current(storage)).cloned().collect();
        if current.is_empty() || fence.is_some_and(|fence| !current.contains(&fence.primary)) {
            return refused(Refused::OutdatedNodes);
        }
        let new = Generation(old.0.saturating_add(1));
        row.generation = Some(new);
        row.moved();
        let rows = current.len().saturating_add(1);
        row.replicas.extend(current.into_iter().map(|storage| (storage, new)));
        self.touched(rows);
        Ok(new)
    }

    fn set_generation(
        &mut self,
        id: RepositoryId,
        fence: Option<&Fence>,
        storage: &Storage,
        generation: Generation,
    ) -> Done<()> {
        let row = self.admitted(id, fence)?;
        row.replicas.insert(storage.clone(), generation);
        // A repository without a generation is below every other; it is raised, never lowered.
        row.generation = row.generation.max(Some(generation));
        row.moved();
        self.touched(2);
        Ok(())
    }

    fn assign(&mut self, id: RepositoryId, expected: FactsVersion, assignments: &BTreeSet<Storage>) -> Done<()> {
        let row = self.at_version(id, expected)?;
        let changed = row.assignments.symmetric_difference(assignments).count();
        if changed > 0 {
            row.assignments.clone_from(assignments);
            row.moved();
            self.touched(changed);
        }
        Ok(())
    }

    fn mark(&mut self, id: RepositoryId, storage: &Storage) -> Done<()> {
        let Some(row) = self.repositories.get_mut(&id) else { return Err(Barred::NotFound) };
        if !row.replicas.contains_key(storage) {
            return refused(Refused::ReplicaNotFound);
        }
        if row.primary.as_ref() == Some(storage) {
            return refused(Refused::IsPrimary);
        }
        match &row.marked {
            Some(marked) if marked == storage => Ok(()),
            Some(_) => refused(Refused::DeletionPending),
            None => {
                row.marked = Some(storage.clone());
                row.moved();
                self.touched(1);
                Ok(())
            }
        }
    }

    fn remove_replica(&mut self, id: RepositoryId, fence: Option<&Fence>, storage: &Storage) -> Done<()> {
        let row = self.admitted(id, fence)?;
        if row.primary.as_ref() == Some(storage) {
            return refused(Refused::IsPrimary);
        }
        if row.replicas.remove(storage).is_none() {
            return refused(Refused::ReplicaNotFound);
        }
        row.marked.take_if(|marked| marked == storage);
        row.moved();
        self.touched(1);
        Ok(())
    }

    fn make_authoritative(
        &mut self,
        id: RepositoryId,
        storage: &Storage,
        expected: FactsVersion,
        operator: &Voter,
    ) -> Done<Epoch> {
        let row = self.at_version(id, expected)?;
        // Above every replica even if a foreign writer left the repository without a generation.
        let highest = row.generation.max(row.replicas.values().max().copied()).unwrap_or(Generation(-1));
        let new = Generation(highest.0.saturating_add(1));
        row.generation = Some(new);
        row.replicas.insert(storage.clone(), new);
        // What an operator calls the truth is not about to be deleted.
        row.marked.take_if(|marked| marked == storage);
        row.moved();
        self.touched(2);
        let decided = Decided {
            id: None,
            supervisor: operator.name.clone(),
            why: "authoritative".to_owned(),
            evidence: "{}".to_owned(),
        };
        self.primary_set(id, Some(storage.clone()), Some(decided)).ok_or(Barred::NotFound)
    }
}
