//! Who is primary?

use crate::{
    core::{
        election::{Primary, Target},
        ids::VirtualStorage,
        lookup::{Freshness, Source},
        shard::Shard,
    },
    error::Error,
};
use actix::Message;
use std::{ops::Deref, sync::Arc, time::Duration};

/// To an elector: who is primary of this repository? If a change is due, it is made first.
///
/// An elector with a primary for each repository may answer from memory, as `freshness` allows; the others find out each time.
/// An elector of whole virtual storages looks at the repository's virtual storage alone: whether there is such a path it
/// does not ask. Only a repository named by its number must exist, for nothing else tells where it is.
///
/// Errors: [`Error::VirtualStorageNotFound`], [`Error::RepositoryNotFound`], [`Error::NoPrimary`],
/// [`Error::PrimaryNotHealthy`], [`Error::PrimaryOutdated`], [`Error::ElectionPending`], [`Error::Contended`],
/// [`Error::StoreUnavailable`], [`Error::Busy`], [`Error::Timeout`].
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<PrimaryAnswer, Error>")]
pub struct GetPrimary {
    /// Which repository.
    pub target: Target,
    /// How fresh the answer has to be.
    pub freshness: Freshness,
}

impl GetPrimary {
    /// What is remembered will do.
    #[must_use]
    pub fn of(target: Target) -> Self {
        Self { target, freshness: Freshness::Cached }
    }
    /// Found out for this question.
    #[must_use]
    pub fn latest(target: Target) -> Self {
        Self { target, freshness: Freshness::Latest }
    }
}

/// Who is primary, how old that knowledge is at most, and where it comes from. It reads like the primary itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryAnswer {
    /// The primary. Shared, so that an answer from memory copies nothing.
    pub primary: Arc<Primary>,
    /// How long ago this was known to be so: since the last proof that changes are heard of, zero if it was found out now.
    pub age: Duration,
    /// Where it comes from.
    pub source: Source,
}

impl PrimaryAnswer {
    /// What was found out for this question.
    #[must_use]
    pub fn fresh(primary: Primary) -> Self {
        Self { primary: Arc::new(primary), age: Duration::ZERO, source: Source::Fresh }
    }
    /// The primary alone.
    #[must_use]
    pub fn into_primary(self) -> Primary {
        Arc::unwrap_or_clone(self.primary)
    }
}

impl Deref for PrimaryAnswer {
    type Target = Primary;
    fn deref(&self) -> &Primary {
        &self.primary
    }
}

/// To an elector: who is primary of this virtual storage, and who else is there? If a change is due, it is made first.
/// The answer is of one moment; a later election does not change it.
///
/// Errors: [`Error::VirtualStorageNotFound`], [`Error::PrimaryPerRepository`] of an elector with a primary for each repository, and
/// those of [`GetPrimary`] that are not about a repository.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<Shard, Error>")]
pub struct GetShard(pub VirtualStorage);
