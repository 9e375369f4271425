//! What real traffic goes over: a tower service that any tonic client takes.

use super::{
    auth::Signer,
    balance::RoundRobin,
    connector::Connector,
    hook::{CORRELATION_ID_KEY, Call, End, Hooks},
};
use crate::transport::NodeAddress;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{Status, body::Body, transport::Channel};
use tower::ServiceExt as _;

/// A lazy connection to one node. Cheap to clone; clones share what is beneath.
///
/// Each call carries a correlation id (its own, if the caller gave it one), is seen by the hooks and is signed with the
/// node's token. An authorization that a caller has put in is replaced by that; a proxy that must not hand on what its
/// own clients sent removes it itself where nodes have no token.
#[derive(Clone)]
pub struct Connection {
    route: Route,
    shared: Arc<Shared>,
}

#[derive(Clone)]
pub(super) enum Route {
    /// One address, and who connects to it.
    One(Channel, Connector),
    /// All machines that a name stands for.
    Many(RoundRobin),
}

/// What all connections to a node have in common.
pub(super) struct Shared {
    pub(super) address: NodeAddress,
    pub(super) signer: Option<Signer>,
    pub(super) hooks: Hooks,
}

impl Connection {
    pub(super) fn new(route: Route, shared: Arc<Shared>) -> Self {
        Self { route, shared }
    }

    /// Lets the next call try to connect, however short ago that failed.
    pub(super) fn cut_pause(&self) {
        match &self.route {
            Route::One(_, connector) => connector.pace().cut(),
            Route::Many(machines) => machines.cut_pause(),
        }
    }
}

impl Shared {
    /// Adds what each call carries; answers who wants to know how it ends.
    fn prepare(&self, request: &mut http::Request<Body>) -> Result<Option<End>, Status> {
        let correlation_id = correlate(request.headers_mut());
        let end = if self.hooks.is_empty() {
            None
        } else {
            let method = request.uri().path().to_owned();
            let call = Call { method, address: self.address.clone(), correlation_id };
            Some(End::begin(&self.hooks, call, request.headers_mut())?)
        };
        if let Some(signature) = self.signer.as_ref().and_then(Signer::header) {
            request.headers_mut().insert(http::header::AUTHORIZATION, signature);
        }
        Ok(end)
    }
}

/// The call's correlation id; a call without one gets one.
fn correlate(headers: &mut HeaderMap) -> String {
    const KEY: HeaderName = HeaderName::from_static(CORRELATION_ID_KEY);
    if let Some(id) = headers.get(KEY).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty()) {
        return id.to_owned();
    }
    let id = uuid::Uuid::new_v4().simple().to_string();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(KEY, value);
    }
    id
}

impl tower::Service<http::Request<Body>> for Connection {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        match &mut self.route {
            Route::One(channel, _) => channel.poll_ready(cx).map_err(failed),
            // Which machine a call goes to is decided for each call.
            Route::Many(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let end = match self.shared.prepare(&mut request) {
            Ok(end) => end,
            Err(refused) => return Box::pin(async move { Err(refused) }),
        };
        let answering = match &mut self.route {
            Route::One(channel, connector) => {
                let (answering, connector) = (channel.call(request), connector.clone());
                Answering::One(answering, connector)
            }
            Route::Many(machines) => Answering::Many(machines.clone(), request),
        };
        Box::pin(async move {
            match (answering.answer().await, end) {
                (Ok(response), Some(end)) => Ok(end.watch(response)),
                (Err(status), Some(end)) => {
                    end.with(status.code());
                    Err(status)
                }
                (answer, None) => answer,
            }
        })
    }
}

enum Answering {
    One(<Channel as tower::Service<http::Request<Body>>>::Future, Connector),
    Many(RoundRobin, http::Request<Body>),
}

impl Answering {
    async fn answer(self) -> Result<http::Response<Body>, Status> {
        let (answer, connector) = match self {
            Answering::One(answering, connector) => (answering.await, connector),
            Answering::Many(machines, request) => {
                let (channel, connector) = machines.pick().await?;
                (channel.oneshot(request).await, connector)
            }
        };
        if answer.is_ok() {
            connector.pace().answered();
        }
        answer.map_err(failed)
    }
}

/// The status that a client would make of it, with the error beneath.
pub(super) fn failed(error: impl Into<tonic::codegen::StdError>) -> Status {
    Status::from_error(error.into())
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.shared.address).finish_non_exhaustive()
    }
}
