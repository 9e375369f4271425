//! Counts the calls that a node failed, as a tower layer around the channel that real traffic goes over.
//!
//! Every call is judged once, when it ends: by the error that kept it from being sent or answered, by the status in the
//! headers, or by the status in the trailers (or the error) with which its body ends, for a stream tells only there.
//! Whoever drops a call before that cancelled it, which says nothing about the node.
//!
//! | code | counts | for |
//! |---|---|---|
//! | `Unavailable`, `Internal`, `Unknown`, `DataLoss` | yes | the node, or the way to it, failed |
//! | `DeadlineExceeded` | yes | a disk that hangs looks like this and like nothing else |
//! | `Cancelled` | no | the caller went away; a connection that broke says so by the socket error beneath |
//! | `ResourceExhausted` | no | it defends itself, and taking it out would push its load onto the next |
//! | `Unauthenticated`, `PermissionDenied` | no | the caller's credentials; if they are ours, the probe sees it, too |
//! | `Unimplemented` | no | the caller is newer than the node |
//! | `Aborted`, `FailedPrecondition`, `OutOfRange` | no | the state that it met, which it should report |
//! | `NotFound`, `AlreadyExists`, `InvalidArgument` | no | the caller's own mistake |
//!
//! Errors without a code count, unless what lies beneath is trouble of our own (no descriptors, no route, a name that
//! does not resolve), a polite GOAWAY, or a misconfiguration, which probes see.

use super::classify;
use crate::{
    core::{error_tracker::Traffic, evidence::Evidence},
    transport::{MethodClassifier, TrafficErrors},
};
use futures_util::future::BoxFuture;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tonic::{Code, Status};

const GRPC_STATUS: &str = "grpc-status";

/// Puts the error tracking around a channel. `Supervisor`'s own connections come with it; this is for channels that
/// an embedder made, with `NodeHandle::traffic` as the place to record at.
#[derive(Clone)]
pub struct TrackErrors {
    errors: TrafficErrors,
    classifier: Arc<dyn MethodClassifier>,
}

impl TrackErrors {
    /// Records at `errors` what `classifier` calls a read or a write.
    #[must_use]
    pub fn new(errors: TrafficErrors, classifier: Arc<dyn MethodClassifier>) -> Self {
        Self { errors, classifier }
    }
}

impl fmt::Debug for TrackErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackErrors").finish_non_exhaustive()
    }
}

impl<S> tower::Layer<S> for TrackErrors {
    type Service = Tracked<S>;
    fn layer(&self, inner: S) -> Tracked<S> {
        Tracked { track: self.clone(), inner }
    }
}

/// A channel whose errors are counted.
#[derive(Debug, Clone)]
pub struct Tracked<S> {
    track: TrackErrors,
    inner: S,
}

impl<S> Tracked<S> {
    /// The channel itself, whose errors nobody counts.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, A, B> tower::Service<http::Request<A>> for Tracked<S>
where
    S: tower::Service<http::Request<A>, Response = http::Response<B>>,
    S::Future: Send + 'static,
    S::Error: Error + 'static,
{
    type Response = http::Response<TrackedBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<A>) -> Self::Future {
        let kind = self.track.classifier.classify(request.uri().path());
        let mut call = Call(kind.map(|kind| (self.track.errors.clone(), kind)));
        let answer = self.inner.call(request);
        Box::pin(async move {
            match answer.await {
                Ok(response) => {
                    call.answered(&response);
                    Ok(response.map(|body| TrackedBody { inner: body, call }))
                }
                Err(error) => {
                    call.broke(&error);
                    Err(error)
                }
            }
        })
    }
}

/// A call that was not judged yet; `None` once it was, or if it does not count.
#[derive(Debug)]
struct Call(Option<(TrafficErrors, Traffic)>);

impl Call {
    fn judged(&mut self, failed: bool) {
        if let Some((errors, kind)) = self.0.take()
            && failed
        {
            errors.record(kind);
        }
    }
    fn answered<B>(&mut self, response: &http::Response<B>) {
        if response.headers().contains_key(GRPC_STATUS) {
            self.told(response.headers());
        } else if !response.status().is_success() {
            // Whatever answered, it was not gRPC.
            self.judged(response.status().is_server_error());
        }
    }
    fn told(&mut self, headers: &http::HeaderMap) {
        if let Some(code) = headers.get(GRPC_STATUS) {
            self.judged(counts(Code::from_bytes(code.as_bytes())));
        }
    }
    fn broke(&mut self, error: &(dyn Error + 'static)) {
        self.judged(is_the_nodes(error));
    }
}

/// Whether a call that ended like this speaks against the node.
fn counts(code: Code) -> bool {
    match code {
        Code::Unavailable | Code::Internal | Code::Unknown | Code::DataLoss | Code::DeadlineExceeded => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => false,
    }
}

fn is_the_nodes(error: &(dyn Error + 'static)) -> bool {
    match classify::beneath(error) {
        Some(Evidence::Ours(_) | Evidence::Misconfigured(_) | Evidence::Graceful) => false,
        Some(Evidence::Hard(_)) => true,
        Some(Evidence::Soft(_) | Evidence::Serving | Evidence::ErrorRate(_)) | None => {
            deadline_passed(error) || error.downcast_ref::<Status>().is_none_or(|status| counts(status.code()))
        }
    }
}

/// tonic says `Cancelled` when a deadline that the caller gave the call passes on our side of the wire.
fn deadline_passed(error: &(dyn Error + 'static)) -> bool {
    error.is::<tonic::TimeoutExpired>() || error.source().is_some_and(deadline_passed)
}

/// The body of an answer, watched until it ends.
#[derive(Debug)]
pub struct TrackedBody<B> {
    inner: B,
    call: Call,
}

impl<B> Body for TrackedBody<B>
where
    B: Body + Unpin,
    B::Error: Error + 'static,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.call.told(trailers);
                }
            }
            Some(Err(error)) => self.call.broke(error),
            None => {}
        }
        Poll::Ready(frame)
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn status_over(code: Code, cause: Option<io::ErrorKind>) -> Status {
        let mut status = Status::new(code, "");
        if let Some(kind) = cause {
            status.set_source(Arc::new(io::Error::from(kind)));
        }
        status
    }

    #[test]
    fn callers_mistakes_and_cancellations_do_not_speak_against_the_node() {
        for code in 0..=16 {
            let code = Code::from(code);
            let expected = ["Unavailable", "Internal", "Unknown", "DataLoss", "DeadlineExceeded"];
            assert_eq!(counts(code), expected.contains(&format!("{code:?}").as_str()), "{code:?}");
        }
    }

    #[test]
    fn a_broken_connection_counts_by_whatever_code_it_comes() {
        let reset = Some(io::ErrorKind::ConnectionReset);
        assert!(is_the_nodes(&status_over(Code::Cancelled, reset)));
        assert!(!is_the_nodes(&status_over(Code::Cancelled, None)), "without it, the caller went away");
    }

    #[test]
    fn a_call_is_judged_once_though_headers_and_body_both_tell_of_its_end() {
        let errors = TrafficErrors::default();
        let mut call = Call(Some((errors.clone(), Traffic::Write)));
        call.answered(&http::Response::builder().header(GRPC_STATUS, "14").body(()).unwrap());
        call.broke(&Status::unavailable(""));
        assert_eq!(errors.take(), (0, 1));
    }

    #[test]
    fn trouble_of_our_own_is_not_the_nodes() {
        let no_descriptors = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        assert!(!is_the_nodes(&no_descriptors));
        let refused = io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error());
        assert!(is_the_nodes(&refused));
    }

    #[test]
    fn an_answer_that_is_not_grpc_counts_if_the_server_failed() {
        for (http_status, failed) in [(200, false), (404, false), (502, true), (503, true)] {
            let errors = TrafficErrors::default();
            let mut call = Call(Some((errors.clone(), Traffic::Read)));
            call.answered(&http::Response::builder().status(http_status).body(()).unwrap());
            assert_eq!(errors.take(), (u32::from(failed), 0), "{http_status}");
        }
    }
}
