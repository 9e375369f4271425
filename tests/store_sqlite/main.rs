//! The SQLite store against real files, and against other processes on the same file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod drills;
#[cfg(feature = "grpc")]
mod eras;
mod feed;
mod opening;
mod processes;
#[cfg(feature = "grpc")]
#[path = "../support/restored.rs"]
mod restored;
mod rules;
mod supervisors;
mod support;
#[path = "../support/synced.rs"]
mod synced;
