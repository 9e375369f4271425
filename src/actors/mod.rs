//! Thin shells around the core: a message becomes an input, an effect becomes I/O.
//!
//! ```text
//!                      Guardian ── rebuilds whatever dies, backs off, counts
//!        ┌────────────────┼──────────────┬───────────────┐
//!   NodeActor × n    HealthManager     Notifier       one of four electors
//!   probes, window   votes, consensus  subscribers   facts, decision, commit
//!        └── NodeReport ──▶│── watch cells ──▶│              │
//!                          ▼                                 ▼
//!                     HealthStore                     ElectionStore
//! ```
//!
//! Beside them a [`Follower`] hears of changes and keeps the memories of who is up to date ([`SyncedTable`]) and of who is
//! primary ([`PrimaryTable`]) fresh, a [`Settler`] gives what a dead node led to others, in sets, and an [`EraKeeper`]
//! compares what nodes report with what the database has given.
//!
//! An actor names no other actor: a neighbour is a [`Relay`] handed in, which is what makes message injection work,
//! and what finds the neighbour's new address after it was rebuilt. State that outlives an actor stands in watch
//! cells ([`Cells`]). A flooded mailbox starves a whole arbiter, so every mailbox is bounded and every sender uses
//! `try_send`: whatever does not fit is made good by the next tick, read or probe. actix's own `Supervisor` was
//! rejected: it does not survive a panic.

mod cells;
mod change_feed;
mod clock;
mod elector;
mod era_keeper;
mod guardian;
mod health_manager;
mod node;
mod node_handle;
mod notifier;
mod primaries;
mod reconfigure;
mod relay;
mod settler;
mod synced;

pub use cells::{Cells, LocalView, NodeCell};
pub use change_feed::{Follower, FollowerConfig};
pub(crate) use elector::abreast;
pub use elector::{
    BehindCell, ConfiguredNodes, ElectorConfig, FixedElector, FixedElectorConfig, KnownPrimaries, LocalElector,
    LocalElectorConfig, NodeNames, PerRepositoryElector, Reply, VirtualStorageElector, VirtualStorageElectorConfig,
};
pub use era_keeper::{EraKeeper, EraKeeperConfig};
pub use guardian::{Change, ChildKey, ChildSpec, Guardian};
pub use health_manager::{HealthManager, HealthManagerConfig, WatchedNode};
pub(crate) use health_manager::{healthy_nodes, works_in_rounds};
pub use node::{NodeActor, NodeSpec};
pub use node_handle::{NodeHandle, NodePlace};
pub use notifier::{Notifier, SUBSCRIBERS_MAX, Subscribers};
pub use primaries::{Beliefs, PrimaryTable};
pub use reconfigure::Reconfigure;
pub use relay::Relay;
pub use settler::{SettleProgress, Settler, SettlerConfig};
pub(crate) use synced::Looked;
pub use synced::{FeedStatus, SyncedTable};
