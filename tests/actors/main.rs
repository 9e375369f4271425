//! Actors by message injection, on a paused clock: no socket, no database, no luck.

mod alone;
mod drills;
mod elections;
mod eras;
mod feed;
mod guardian;
mod health;
mod lookups;
mod manager;
mod mocks;
mod nodes;
mod notifier;
mod outages;
mod recusal;
mod reload;
mod replacing;
mod restarting;
mod rolling;
mod settling;
mod shards;
mod supervisor;
mod suspicion;
mod traffic;
mod watching;
mod whole;
mod world;
