//! What actors say to each other and to you: plain data, one file per conversation.
//!
//! | message | from | to | reply | bound |
//! |---|---|---|---|---|
//! | [`health::ProbeNow`] | HealthManager, anybody | a node | - | mailbox 16; the probe under way answers for all |
//! | [`health::CheckHealth`] | anybody | a node | the outcome of a probe | mailbox 16; 256 waiting |
//! | [`health::RunRound`] | HealthManager | a node | - | one per round |
//! | [`health::NodeReport`] | a node | HealthManager | - | one per probe; mailbox as many as nodes, and 64 |
//! | [`health::RoundReport`] | a node | HealthManager | - | one per node and round |
//! | [`health::GetNodeHealth`] | anybody | a node | [`health::NodeHealth`] | mailbox 16 |
//! | [`health::Tick`] | timer, tests | HealthManager | - | coalesced by the core |
//! | [`health::GetHealthyNodes`] | anybody | HealthManager | storages by virtual storage | mailbox |
//! | [`consensus::GetHealthConsensus`] | anybody | HealthManager | the last published consensus | mailbox |
//! | [`consensus::Subscribe`] | anybody | notifier | whether there was room | 1,000 subscribers |
//! | [`consensus::ConsensusChanged`] | notifier | subscribers | - | the subscriber's mailbox; the last is retried |
//! | [`election::GetPrimary`] | anybody | elector | the primary or why there is none | 1,024 lookups at once |
//! | [`election::GetShard`] | anybody | elector | primary and secondaries of a virtual storage, or why not | 1,024 lookups at once |
//! | [`control::Leave`] | supervisor | HealthManager | once its row is removed | once |
//! | [`control::GetRestarts`] | anybody | guardian | restarts by actor | mailbox |
//!
//! Two more carry what actors are made of, and so live beside them: [`Reconfigure`](crate::actors::Reconfigure) (a reload to a
//! node or the HealthManager) and [`Change`](crate::actors::Change) (a reload to the guardian), one each per reload.
//!
//! Every late answer carries its number (probe, round, batch, incarnation, revision) and is dropped in the core.

pub mod consensus;
pub mod control;
pub mod election;
pub mod health;
