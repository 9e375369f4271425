//! What a supervisor says of itself: its log lines and its metrics, on a paused clock with scripted nodes.

mod log;
mod metrics;
mod page;
mod recording;
mod said;
mod suspicion;
#[allow(dead_code, reason = "what the actors' tests need beside")]
#[path = "../actors/world.rs"]
mod world;
