//! Who is primary?

use crate::{
    core::{
        election::{Primary, Target},
        ids::VirtualStorage,
        shard::Shard,
    },
    error::Error,
};
use actix::Message;

/// To an elector: who is primary of this repository? If a change is due, it is made first.
///
/// An elector of whole virtual storages looks at the repository's virtual storage alone: whether there is such a path it
/// does not ask. Only a repository named by its number must exist, for nothing else tells where it is.
///
/// Errors: [`Error::VirtualStorageNotFound`], [`Error::RepositoryNotFound`], [`Error::NoPrimary`],
/// [`Error::PrimaryNotHealthy`], [`Error::PrimaryOutdated`], [`Error::ElectionPending`], [`Error::Contended`],
/// [`Error::StoreUnavailable`], [`Error::Busy`], [`Error::Timeout`].
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<Primary, Error>")]
pub struct GetPrimary(pub Target);

/// To an elector: who is primary of this virtual storage, and who else is there? If a change is due, it is made first.
/// The answer is of one moment; a later election does not change it.
///
/// Errors: [`Error::VirtualStorageNotFound`], [`Error::PrimaryPerRepository`] of an elector with a primary for each repository, and
/// those of [`GetPrimary`] that are not about a repository.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<Shard, Error>")]
pub struct GetShard(pub VirtualStorage);
