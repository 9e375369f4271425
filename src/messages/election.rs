//! Who is primary?

use crate::{
    core::election::{Primary, Target},
    error::Error,
};
use actix::Message;

/// To an elector: who is primary of this repository? If a change is due, it is made first.
///
/// Errors: [`Error::VirtualStorageNotFound`], [`Error::RepositoryNotFound`], [`Error::NoPrimary`],
/// [`Error::PrimaryNotHealthy`], [`Error::PrimaryOutdated`], [`Error::ElectionPending`], [`Error::Contended`],
/// [`Error::StoreUnavailable`], [`Error::Busy`], [`Error::Timeout`].
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<Primary, Error>")]
pub struct GetPrimary(pub Target);
