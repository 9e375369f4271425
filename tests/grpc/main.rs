//! The gRPC transport against real servers, in real time: on a paused clock a socket's timeout would fire at once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod auth;
mod balance;
#[cfg(feature = "sqlite")]
mod dialing;
mod evidence;
mod fence;
mod hooks;
mod nodes;
mod ping;
mod relay;
mod returning;
mod storage_node;
mod tls;
mod traffic;
mod watching;
