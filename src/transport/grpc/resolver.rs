//! Names to addresses.

use futures_util::future::BoxFuture;
use std::{io, net::SocketAddr};

/// Looks names up. Bring your own for a name server of yours, or for a test.
pub trait Resolver: Send + Sync {
    /// All addresses of a name, in the order in which they should be tried; none is a failure. Whoever asks keeps the
    /// deadline, and never asks twice at once for one node.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect()) })
    }
}
