//! Answers "who is primary?", and makes the change that is due first. One of four, as the configuration says.
//!
//! | elector | one primary for | recorded | epoch |
//! |---|---|---|---|
//! | [`PerRepositoryElector`] | each repository | in the database | yes |
//! | [`VirtualStorageElector`] | each virtual storage | in the database | yes |
//! | [`LocalElector`] | each virtual storage | in memory, for one supervisor | none |
//! | [`FixedElector`] | each virtual storage | in the configuration | none |
//!
//! All answer [`GetPrimary`](crate::messages::election::GetPrimary) and
//! [`GetShard`](crate::messages::election::GetShard), so nobody who asks knows which one answers. One actor with a strategy
//! inside was rejected: the four share a bounded lookup and nothing else.

pub(super) mod asked;
mod fixed;
mod known;
mod local;
mod per_repository;
mod repository;
mod virtual_storage;

pub(crate) use asked::abreast;
pub use asked::{BehindCell, ConfiguredNodes, NodeNames};
pub use fixed::{FixedElector, FixedElectorConfig};
pub use known::KnownPrimaries;
pub use local::{LocalElector, LocalElectorConfig};
pub use per_repository::{ElectorConfig, PerRepositoryElector, Reply};
pub use virtual_storage::{VirtualStorageElector, VirtualStorageElectorConfig};
