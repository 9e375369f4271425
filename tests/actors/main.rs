//! Actors by message injection, on a paused clock: no socket, no database, no luck.

mod drills;
mod elections;
mod guardian;
mod health;
mod nodes;
mod notifier;
mod supervisor;
mod traffic;
mod watching;
mod world;
