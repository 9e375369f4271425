//! Backchannels and sidechannels over real sockets, in real time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod calling;
mod handshaking;
mod limits;
mod sidechannels;
mod sniffing;
mod tls;
mod wire;
mod world;
