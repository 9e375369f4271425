//! The end that dials.

use super::{
    limits::Limits,
    session::{Inbound, Mode, Session},
    sidechannel::Sidechannels,
    sniff::{BACKCHANNEL, Rewound, SIDECHANNEL, begins_with},
    stream::{Ends, MuxStream},
};
use crate::transport::{
    NodeAddress,
    grpc::{Handshaker, RawConnection},
};
use futures_util::future::BoxFuture;
use std::{fmt, io};
use tokio::{io::AsyncWriteExt, sync::mpsc, time::timeout};
use tonic::{service::Routes, transport::Server};

/// Streams that wait for the server, which takes them at once.
const READY: usize = 16;

/// The handshaker that turns each connection to a node into a session, with a server of ours on it.
#[derive(Clone)]
pub struct Backchannel {
    routes: Routes,
    sidechannels: Sidechannels,
    limits: Limits,
}

impl fmt::Debug for Backchannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backchannel").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Backchannel {
    /// Nodes can call these services over each connection that was dialled to them. They are whoever answers at the
    /// dialled address: only TLS says more about them.
    #[must_use]
    pub fn new(routes: Routes) -> Self {
        Self { routes, sidechannels: Sidechannels::default(), limits: Limits::default() }
    }

    /// The same with other limits.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same with sidechannels that are awaited in this registry.
    #[must_use]
    pub fn sidechannels(self, sidechannels: Sidechannels) -> Self {
        Self { sidechannels, ..self }
    }

    /// Serves what the node opens, until the session ends.
    async fn serve(self, mut inbound: Inbound) {
        let (calls, mut called) = mpsc::channel(READY);
        let called = futures_util::stream::poll_fn(move |cx| called.poll_recv(cx));
        let serving = Server::builder().add_routes(self.routes.clone()).serve_with_incoming(called);
        let sorting = async move {
            while let Some(stream) = inbound.recv().await {
                // As many at once as the session has streams.
                tokio::spawn(self.clone().take(stream, calls.clone()));
            }
        };
        let ((), served) = tokio::join!(sorting, serving);
        if let Err(error) = served {
            tracing::error!(error = &error as &dyn std::error::Error, "the backchannel's server failed");
        }
    }

    async fn take(self, stream: MuxStream, calls: mpsc::Sender<io::Result<Rewound<MuxStream>>>) {
        let taking = async {
            let (sidechannel, stream) = begins_with(stream, SIDECHANNEL).await?;
            if sidechannel {
                return self.sidechannels.receive(stream.into_inner(), self.limits.write_timeout).await;
            }
            // Fails if the server is gone, and with it the session.
            let _ = calls.send(Ok(stream)).await;
            Ok(())
        };
        let taken = timeout(self.limits.setup_timeout, taking).await;
        let taken =
            taken.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it said too little in time")));
        if let Err(error) = taken {
            tracing::debug!(%error, "a stream that a node opened was dropped");
        }
    }
}

impl Handshaker for Backchannel {
    fn handshake(&self, _: &NodeAddress, mut raw: RawConnection) -> BoxFuture<'static, io::Result<RawConnection>> {
        let backchannel = self.clone();
        Box::pin(async move {
            raw.write_all(BACKCHANNEL).await?;
            raw.flush().await?;
            let (session, inbound) = Session::start(raw, Mode::Client, backchannel.limits);
            let ends = Ends(session.clone());
            let stream = session.open().await?.ending(ends);
            tokio::spawn(backchannel.serve(inbound));
            let raw: RawConnection = Box::new(stream);
            Ok(raw)
        })
    }
}
