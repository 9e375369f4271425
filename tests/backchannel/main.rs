//! Backchannels and sidechannels over real sockets, in real time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod calling;
mod handmade;
mod handshaking;
mod limits;
mod multiplexing;
mod sidechannels;
mod sniffing;
mod tls;
mod wire;
mod world;
