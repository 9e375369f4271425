//! What an embedder adds to every call: metadata, refusals, metrics.
//!
//! One trait with two moments instead of a list of interceptors per kind of call: a call to a node begins once and ends
//! once, whether it is unary or a stream. No exporter and no tracing library is named here; [`Propagate`] is all that
//! W3C trace context needs.

use crate::transport::NodeAddress;
use http_body::{Body as _, Frame, SizeHint};
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Instant;
use tonic::{
    Code, Status,
    body::Body,
    metadata::{MetadataMap, MetadataValue},
};

/// The metadata key of a call's correlation id; GitLab's programs log its value.
pub const CORRELATION_ID_KEY: &str = "x-gitlab-correlation-id";

/// One call to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method's path, as in `/grpc.health.v1.Health/Check`.
    pub method: String,
    /// The node.
    pub address: NodeAddress,
    /// What it carries as [`CORRELATION_ID_KEY`]: the caller's, or a fresh one.
    pub correlation_id: String,
}

/// Sees every call to a node, probes too. Both moments are on the call's own path: they must not block.
pub trait CallHook: Send + Sync {
    /// A call is about to go out: metadata may be added or changed, and an error is what the caller gets instead. What
    /// signs the call is added later.
    fn starting(&self, call: &Call, metadata: &mut MetadataMap) -> Result<(), Status> {
        let _ = (call, metadata);
        Ok(())
    }
    /// A call is over: with the node's trailers, with an error, or because the caller dropped it (`Cancelled`). Comes
    /// once for each call that went out. A stream lasts until its last message was read; an answer without a status of
    /// gRPC is `Unknown`.
    fn ended(&self, call: &Call, code: Code, took: Duration) {
        let _ = (call, code, took);
    }
}

/// A trace that a call belongs to, as W3C's `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace, not zero.
    pub trace: u128,
    /// The span that the call is made in, not zero.
    pub span: u64,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// Sends the trace along that a function names, as metadata `traceparent`. The function looks wherever the embedder's
/// tracing library keeps the current span; a zero trace or span is not sent.
///
/// ```
/// use quorate::transport::grpc::{Propagate, TraceParent};
/// let hook = Propagate(|| Some(TraceParent { trace: 7, span: 9, sampled: true }));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Propagate<F>(pub F);

impl<F: Fn() -> Option<TraceParent> + Send + Sync> CallHook for Propagate<F> {
    fn starting(&self, _: &Call, metadata: &mut MetadataMap) -> Result<(), Status> {
        let parent = (self.0)().filter(|parent| parent.trace != 0 && parent.span != 0);
        if let Some(Ok(value)) = parent.map(|parent| MetadataValue::try_from(parent.to_string())) {
            metadata.insert("traceparent", value);
        }
        Ok(())
    }
}

/// The hooks of a connection, in order.
pub(super) type Hooks = Arc<[Arc<dyn CallHook>]>;

/// Tells the hooks once how a call ended, even if nobody lets it end.
pub(super) struct End {
    call: Call,
    hooks: Hooks,
    started: Instant,
    told: bool,
}

impl End {
    /// Lets every hook see the call before it goes out.
    pub(super) fn begin(hooks: &Hooks, call: Call, headers: &mut http::HeaderMap) -> Result<Self, Status> {
        let mut metadata = MetadataMap::from_headers(std::mem::take(headers));
        let seen = hooks.iter().try_for_each(|hook| hook.starting(&call, &mut metadata));
        *headers = metadata.into_headers();
        seen?;
        Ok(Self { call, hooks: Arc::clone(hooks), started: Instant::now(), told: false })
    }

    pub(super) fn with(mut self, code: Code) {
        self.tell(code);
    }

    fn tell(&mut self, code: Code) {
        if !std::mem::replace(&mut self.told, true) {
            let took = self.started.elapsed();
            self.hooks.iter().for_each(|hook| hook.ended(&self.call, code, took));
        }
    }

    /// Follows an answer to its end.
    pub(super) fn watch(self, response: http::Response<Body>) -> http::Response<Body> {
        if let Some(code) = code_in(response.headers()) {
            self.with(code);
            return response;
        }
        if response.body().is_end_stream() {
            self.with(Code::Unknown);
            return response;
        }
        response.map(|body| Body::new(Watched { body, end: self }))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.tell(Code::Cancelled);
    }
}

fn code_in(headers: &http::HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()))
}

struct Watched {
    body: Body,
    end: End,
}

impl http_body::Body for Watched {
    type Data = tonic::codegen::Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { body, end } = self.get_mut();
        let frame = ready!(Pin::new(body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    end.tell(code_in(trailers).unwrap_or(Code::Unknown));
                }
            }
            Some(Err(status)) => end.tell(status.code()),
            None => end.tell(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
