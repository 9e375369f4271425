//! The tower layer in front of a storage node's services.

use super::{
    guard::{EpochGuard, bounded},
    metadata::{Claim, InvalidMetadata},
    refusal::FenceRefusal,
    server::{FenceReporter, FenceServer},
    store::{EpochStore, Observed},
};
use crate::core::ids::Storage;
use futures_util::future::BoxFuture;
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tonic::Status;

/// Paths that need no epoch, by prefix: health is asked before anything is known, reflection changes nothing, and a
/// supervisor reads the fence's report to learn the epochs.
pub const EXEMPT: [&str; 3] = ["/grpc.health.v1.Health/", "/grpc.reflection", "/quorate.fence.v1.Fence/Report"];

/// How long a call may wait for the epoch store. Far more than an fsync, far less than a client waits.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// What happens to calls that carry no epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FenceMode {
    /// They are refused.
    #[default]
    Required,
    /// They pass, without a guard: for the time in which clients learn to send epochs, and for no longer. A claim that
    /// is there is judged as ever, and one that cannot be read is refused.
    Optional,
}

/// Puts a fence in front of services.
#[derive(Clone)]
pub struct FenceLayer {
    fence: Arc<Fence>,
}

#[derive(Clone)]
struct Fence {
    me: Storage,
    store: Arc<dyn EpochStore>,
    mode: FenceMode,
    exempt: Vec<String>,
    timeout: Duration,
}

impl fmt::Debug for FenceLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fence { me, mode, exempt, .. } = &*self.fence;
        f.debug_struct("FenceLayer").field("me", me).field("mode", mode).field("exempt", exempt).finish_non_exhaustive()
    }
}

impl FenceLayer {
    /// A fence for this storage, over its one store. Requires epochs, except on [`EXEMPT`] paths.
    #[must_use]
    pub fn new(me: Storage, store: Arc<dyn EpochStore>) -> Self {
        let exempt = EXEMPT.map(str::to_owned).to_vec();
        Self { fence: Arc::new(Fence { me, store, mode: FenceMode::default(), exempt, timeout: STORE_TIMEOUT }) }
    }

    /// The same with another mode.
    #[must_use]
    pub fn mode(mut self, mode: FenceMode) -> Self {
        Arc::make_mut(&mut self.fence).mode = mode;
        self
    }

    /// The same with one more exempt prefix, such as `/my.package.Reads/`. Calls under it get no guard.
    #[must_use]
    pub fn exempt(mut self, prefix: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.fence).exempt.push(prefix.into());
        self
    }

    /// The same with these exempt prefixes instead of [`EXEMPT`]. Without the paths of health checks among them no
    /// supervisor can see the node.
    #[must_use]
    pub fn exempt_only(mut self, prefixes: impl IntoIterator<Item = String>) -> Self {
        Arc::make_mut(&mut self.fence).exempt = prefixes.into_iter().collect();
        self
    }

    /// The same with another limit to the wait for the epoch store. Default 5 s.
    #[must_use]
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        Arc::make_mut(&mut self.fence).timeout = timeout;
        self
    }

    /// The fence's own service, to be added to the same server.
    #[must_use]
    pub fn server(&self) -> FenceServer {
        FenceServer::new(FenceReporter::new(Arc::clone(&self.fence.store)))
    }
}

impl Fence {
    /// The guard of a call that may pass; `None` for one that passes without.
    async fn judge(&self, path: &str, headers: &http::HeaderMap) -> Result<Option<EpochGuard>, Status> {
        if self.exempt.iter().any(|prefix| path.starts_with(prefix.as_str())) {
            return Ok(None);
        }
        let claim = match (Claim::from_headers(headers), self.mode) {
            (Ok(claim), FenceMode::Required | FenceMode::Optional) => claim,
            (Err(InvalidMetadata::Absent), FenceMode::Optional) => return Ok(None),
            (Err(error), FenceMode::Required | FenceMode::Optional) => return Err(FenceRefusal::from(error).into()),
        };
        match bounded(self.timeout, self.store.observe(&claim)).await? {
            Observed::Accepted(_) => {
                Ok(Some(EpochGuard::new(claim, self.me.clone(), Arc::clone(&self.store), self.timeout)))
            }
            Observed::Refused(refusal) => Err(refusal.into()),
        }
    }
}

impl<S> tower::Layer<S> for FenceLayer {
    type Service = FenceService<S>;

    fn layer(&self, inner: S) -> FenceService<S> {
        FenceService { fence: Arc::clone(&self.fence), inner }
    }
}

/// A fenced service.
#[derive(Clone)]
pub struct FenceService<S> {
    fence: Arc<Fence>,
    inner: S,
}

impl<S> fmt::Debug for FenceService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceService").field("me", &self.fence.me).finish_non_exhaustive()
    }
}

impl<S: tonic::server::NamedService> tonic::server::NamedService for FenceService<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B, R> tower::Service<http::Request<B>> for FenceService<S>
where
    S: tower::Service<http::Request<B>, Response = http::Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        // The one that was polled ready is the one to call; its clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let fence = Arc::clone(&self.fence);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let judged = fence.judge(parts.uri.path(), &parts.headers).await;
            request = http::Request::from_parts(parts, body);
            match judged {
                Ok(guard) => {
                    // Whatever an outer layer left there is not ours to trust.
                    request.extensions_mut().remove::<EpochGuard>();
                    if let Some(guard) = guard {
                        request.extensions_mut().insert(guard);
                    }
                    inner.call(request).await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
