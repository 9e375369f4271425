//! The SQLite store against real files, and against other processes on the same file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod drills;
mod feed;
mod opening;
mod processes;
mod rules;
mod supervisors;
mod support;
#[path = "../support/synced.rs"]
mod synced;
