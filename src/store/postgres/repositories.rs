//! Repositories and their replicas.

use super::{PostgresStore, json};
use crate::core::{
    election::Fence,
    epoch::{Epoch, FactsVersion, Generation},
    ids::{NodeId, RelativePath, RepositoryId, Storage, Voter},
};
use crate::store::{
    Answer, Created, Deleted, NewRepository, Outcome, RepositoryStore, StorageChange, StoreOp,
    rows::{self, Done},
    statement::Statement,
};
use std::collections::BTreeSet;

impl Statement {
    /// The three parameters with which every fenced operation begins.
    fn fenced(self, repository: RepositoryId, fence: Option<&Fence>) -> Self {
        self.bigint(repository.0)
            .optional_bigint(fence.map(|fence| fence.epoch.to_i64()))
            .optional_text(fence.map(|fence| fence.primary.as_str()))
    }
}

impl PostgresStore {
    async fn outcome<T>(
        &self,
        op: StoreOp,
        call: Statement,
        take: fn(Done) -> Option<T>,
    ) -> Result<Outcome<T>, crate::store::StoreError> {
        rows::outcome(op, &self.answer(op, call).await?, take)
    }
}

impl RepositoryStore for PostgresStore {
    fn repository_create<'a>(&'a self, new: &'a NewRepository) -> Answer<'a, Outcome<Created>> {
        Box::pin(async move {
            let op = StoreOp::RepositoryCreate;
            let NewRepository { virtual_storage, relative_path, replica_path, id, replicas, primary, assignments } =
                new;
            let call = Statement::new(
                "SELECT quorate_repository_create($1, $2, $3, $4, $5::json, $6, $7::json)::text AS document",
            )
            .text(virtual_storage.as_str())
            .text(relative_path.as_str())
            .optional_text(replica_path.as_deref())
            .optional_bigint(id.map(|id| id.0))
            .text(json(op, replicas)?)
            .optional_text(primary.as_ref().map(|storage| storage.as_str()))
            .text(json(op, assignments)?);
            self.outcome(op, call, Done::created).await
        })
    }

    fn repository_delete<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
    ) -> Answer<'a, Outcome<Deleted>> {
        let call = Statement::new("SELECT quorate_repository_delete($1, $2, $3)::text AS document");
        Box::pin(self.outcome(StoreOp::RepositoryDelete, call.fenced(repository, fence), Done::deleted))
    }

    fn repository_rename<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        to: &'a RelativePath,
    ) -> Answer<'a, Outcome<()>> {
        let call = Statement::new("SELECT quorate_repository_rename($1, $2, $3, $4)::text AS document")
            .fenced(repository, fence)
            .text(to.as_str());
        Box::pin(self.outcome(StoreOp::RepositoryRename, call, Done::nothing))
    }

    fn generation_increment<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        acknowledged: &'a BTreeSet<Storage>,
    ) -> Answer<'a, Outcome<Generation>> {
        Box::pin(async move {
            let op = StoreOp::GenerationIncrement;
            let call = Statement::new("SELECT quorate_generation_increment($1, $2, $3, $4::json)::text AS document")
                .fenced(repository, fence)
                .text(json(op, acknowledged)?);
            self.outcome(op, call, Done::generation).await
        })
    }

    fn generation_set<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        storage: &'a Storage,
        generation: Generation,
    ) -> Answer<'a, Outcome<()>> {
        let call = Statement::new("SELECT quorate_generation_set($1, $2, $3, $4, $5)::text AS document")
            .fenced(repository, fence)
            .text(storage.as_str())
            .bigint(generation.0);
        Box::pin(self.outcome(StoreOp::GenerationSet, call, Done::nothing))
    }

    fn replica_mark<'a>(&'a self, repository: RepositoryId, storage: &'a Storage) -> Answer<'a, Outcome<()>> {
        let call = Statement::new("SELECT quorate_replica_mark($1, $2)::text AS document")
            .bigint(repository.0)
            .text(storage.as_str());
        Box::pin(self.outcome(StoreOp::ReplicaMark, call, Done::nothing))
    }

    fn replica_delete<'a>(
        &'a self,
        repository: RepositoryId,
        fence: Option<&'a Fence>,
        storage: &'a Storage,
    ) -> Answer<'a, Outcome<()>> {
        let call = Statement::new("SELECT quorate_replica_delete($1, $2, $3, $4)::text AS document")
            .fenced(repository, fence)
            .text(storage.as_str());
        Box::pin(self.outcome(StoreOp::ReplicaDelete, call, Done::nothing))
    }

    fn authoritative_set<'a>(
        &'a self,
        repository: RepositoryId,
        storage: &'a Storage,
        expected: FactsVersion,
        operator: &'a Voter,
    ) -> Answer<'a, Outcome<Epoch>> {
        let call = Statement::new("SELECT quorate_authoritative_set($1, $2, $3, $4, $5)::text AS document")
            .bigint(repository.0)
            .text(storage.as_str())
            .bigint(expected.0)
            .text(operator.name.as_str())
            .bigint(operator.incarnation.0);
        Box::pin(self.outcome(StoreOp::AuthoritativeSet, call, Done::epoch))
    }

    fn assignments_replace<'a>(
        &'a self,
        repository: RepositoryId,
        expected: FactsVersion,
        assignments: &'a BTreeSet<Storage>,
    ) -> Answer<'a, Outcome<()>> {
        Box::pin(async move {
            let op = StoreOp::AssignmentsReplace;
            let call = Statement::new("SELECT quorate_assignments_replace($1, $2, $3::json)::text AS document")
                .bigint(repository.0)
                .bigint(expected.0)
                .text(json(op, assignments)?);
            self.outcome(op, call, Done::nothing).await
        })
    }

    fn storage_update<'a>(&'a self, node: &'a NodeId, change: StorageChange) -> Answer<'a, ()> {
        let call = Statement::new("SELECT quorate_storage_update($1, $2, $3, $4)::text AS document")
            .text(node.virtual_storage.as_str())
            .text(node.storage.as_str())
            .optional_integer(change.priority)
            .optional_bool(change.draining);
        Box::pin(async move { self.answer(StoreOp::StorageUpdate, call).await.map(drop) })
    }
}
