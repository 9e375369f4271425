//! A supervisor inside somebody's actix-web application.
//!
//! The application owns the runtime, the signals and the log; the supervisor is a guest: a handle among the
//! application's data. [`app`] answers questions, [`events`] pushes what changed.

pub mod app;
pub mod events;
