//! The bounds of a session.

use std::{num::NonZeroU16, time::Duration};

/// What a session may cost, and how long it may take to come to be. Both ends have their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Streams that may be open at once, in each direction, at least one. One more is refused: at our end the caller
    /// gets an error, a stream of the peer's is reset and the session lives on. Default 256, as Praefect's backlog.
    pub streams: NonZeroU16,
    /// Bytes that all streams together may have received and not yet read, beyond the 256 KiB that the protocol grants
    /// to each. With 0, the default, every stream has these 256 KiB, as Praefect's have; more lets busy streams over
    /// long lines go faster.
    pub extra_window: usize,
    /// How long setting up may take: what a new connection says first, and everything up to the acknowledgement of a
    /// sidechannel. Default 5 s, as Praefect's: on a connection that stands already, more means a fault.
    pub setup_timeout: Duration,
    /// How long a sidechannel may find no room to write before writing fails: its peer has stopped reading, or has
    /// closed its end in a way that the protocol does not tell. Default 60 s.
    pub write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: NonZeroU16::MIN.saturating_add(255),
            extra_window: 0,
            setup_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(60),
        }
    }
}

impl Limits {
    pub(super) fn streams(self) -> usize {
        usize::from(self.streams.get())
    }

    /// The bounds that the multiplexer keeps by itself. It answers with a goodbye to the whole session when they are
    /// passed, so they are wider than ours, which cost the one stream. It reads on only when what it has to say is
    /// written, so a peer that takes nothing cannot make it hoard resets.
    pub(super) fn hard(self) -> yamux::Config {
        let streams = self.streams() * 4 + 4;
        let window = streams.saturating_mul(yamux::DEFAULT_CREDIT as usize).saturating_add(self.extra_window);
        let mut config = yamux::Config::default();
        // In this order: each setter panics while the window is less than the streams' least.
        config.set_max_connection_receive_window(None);
        config.set_max_num_streams(streams);
        config.set_max_connection_receive_window(Some(window));
        config
    }
}
