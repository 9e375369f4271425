//! For storage nodes: the layer that refuses what was decided by somebody who no longer decides.
//!
//! A primary that was frozen through its own deposition thaws in the middle of a write and knows nothing. The database
//! will not acknowledge that write, but without a fence on the node it still overwrites the successor's copy. So every
//! fenced call carries in its metadata who sent it under which epoch, and each node remembers, durably and before it
//! answers, the highest epoch that it has seen per repository:
//!
//! ```text
//! request ── metadata ──▶ FenceLayer ── observe ──▶ EpochStore      lower epoch, other primary, other cluster,
//!                             │                        │            no metadata: FAILED_PRECONDITION + ErrorInfo
//!                             ▼                     durable
//!                          handler ◀── EpochGuard ─────┘
//!                             │   guard.adoption_due()?  take over the primary's state, then guard.adopted()
//!                             │   guard.check()?         again at commit: the request may have slept
//!                             ▼
//!                           reply
//! ```
//!
//! **Adoption.** A replica that learns a higher epoch may hold writes that nobody acknowledged; before it acknowledges
//! anything under that epoch it takes over the new primary's state. That is due as well for the first epoch that a
//! node ever sees of a repository: it cannot tell an empty disk from one whose epoch store was lost, and fetching the
//! state of a new repository costs nothing. The primary itself never adopts under its own epoch: its own tail becomes
//! part of the state. Adoption is per repository and never gates the node's health.
//!
//! **The cluster** is learned from the first claim that a node accepts, and pinned: node and claim must agree ever after.
//!
//! Serving takes a store, a layer and, for announcements and reports, the fence's own service:
//!
//! ```no_run
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! use quorate::{core::ids::Storage, fencing::{FenceLayer, FileEpochStore}};
//! use std::sync::Arc;
//!
//! let store = Arc::new(FileEpochStore::open("/var/lib/g1/epochs")?);
//! let fence = FenceLayer::new(Storage::new("g1")?, store);
//! tonic::transport::Server::builder()
//!     .layer(fence.clone())
//!     .add_service(fence.server())
//!     // .add_service(your service)
//!     .serve("127.0.0.1:2305".parse()?)
//!     .await?;
//! # Ok(())
//! # }
//! ```

mod announce;
mod file;
mod guard;
mod layer;
mod log;
mod memory;
mod metadata;
mod refusal;
mod server;
mod store;
mod table;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::unwrap_used, reason = "generated")]
mod generated {
    include!("generated.rs");
}

pub use announce::{AnnounceOptions, Announced, Reached, announce};
pub use file::FileEpochStore;
pub use guard::EpochGuard;
pub use layer::{EXEMPT, FenceLayer, FenceMode, FenceService};
pub use memory::MemoryEpochStore;
pub use metadata::{CLUSTER_KEY, Claim, EPOCH_KEY, InvalidMetadata, MissingEpoch, PRIMARY_KEY, REPOSITORY_KEY, attach};
pub use refusal::{ERROR_DOMAIN, FenceRefusal};
pub use server::{FenceReporter, FenceServer, report};
pub use store::{EpochStore, EpochStoreError, FenceReport, Observed, StoreAnswer};
pub use table::{Entry, EpochRecord, EpochTable};
