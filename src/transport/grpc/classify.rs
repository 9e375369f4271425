//! What a failed call says, by the types and numbers of the errors behind it and never by their texts.
//!
//! gRPC codes alone do not tell: one cause comes as `Cancelled`, `Unavailable` or `Unknown`, depending on when it
//! struck. So the chain of sources is searched from the outside in, and the innermost error that says something wins;
//! only a status that came over the wire has no chain, and there the code is the server's own word.

use super::connector::ConnectFailure;
use crate::core::evidence::{Evidence, Hard, Misconfigured, Ours, Soft};
use rustix::io::Errno;
use std::{error::Error, io};
use tonic::{Code, Status};

/// A call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) evidence: Evidence,
    /// Whether an attempt to connect ran out of its own time, which may have begun before the call.
    pub(super) connecting_timed_out: bool,
}

pub(super) fn status(status: &Status) -> Failure {
    let (found, connecting_timed_out) = chain(status.source());
    Failure { evidence: found.unwrap_or_else(|| code(status.code())), connecting_timed_out }
}

/// What it says that a stream, on which answers had come, is over. Whatever the node made of its end, it ended it: only
/// a connection that fell silent and trouble of our own are something else.
pub(super) fn ended(ended: &Status) -> Evidence {
    match (status(ended).evidence, ended.source()) {
        (Evidence::Soft(Soft::Unavailable), _) | (Evidence::Soft(_), None) => Evidence::Hard(Hard::Reset),
        (evidence, _) => evidence,
    }
}

/// What an error and those beneath it say; `None` if nothing in particular.
pub(super) fn beneath(error: &(dyn Error + 'static)) -> Option<Evidence> {
    chain(Some(error)).0
}

fn chain(mut next: Option<&(dyn Error + 'static)>) -> (Option<Evidence>, bool) {
    let (mut found, mut connecting_timed_out) = (None, false);
    while let Some(error) = next {
        connecting_timed_out |= matches!(error.downcast_ref(), Some(ConnectFailure::TimedOut(_)));
        found = one(error).or(found);
        next = error.source();
    }
    (found, connecting_timed_out)
}

/// What one link of the chain says by itself.
fn one(error: &(dyn Error + 'static)) -> Option<Evidence> {
    if let Some(failure) = error.downcast_ref::<ConnectFailure>() {
        return match failure {
            // Shared, so the chain ends here: what lies beneath is looked at now.
            ConnectFailure::Resolve(error) => {
                let beneath = error.as_ref().and_then(|error| socket(error));
                Some(beneath.unwrap_or(Evidence::Ours(Ours::NameResolution)))
            }
            ConnectFailure::TimedOut(_) => Some(Evidence::Soft(Soft::Timeout)),
            ConnectFailure::Socket(error) => socket(error),
            ConnectFailure::Paused => Some(Evidence::Soft(Soft::Unavailable)),
        };
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return socket(error);
    }
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        return http2(error);
    }
    hyper(error.downcast_ref::<hyper::Error>()?)
}

/// What a socket's error says; `None` if nothing in particular.
pub(super) fn socket(error: &io::Error) -> Option<Evidence> {
    if let Some(inner) = error.get_ref() {
        // The TLS library wraps its errors in I/O errors, whose own `source` would skip over them.
        if inner.is::<rustls::Error>() {
            return Some(Evidence::Misconfigured(Misconfigured::Tls));
        }
        if let Some(inner) = inner.downcast_ref::<h2::Error>() {
            return http2(inner);
        }
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            return socket(inner);
        }
    }
    if let Some(errno) = Errno::from_io_error(error) {
        return by_number(errno);
    }
    by_kind(error.kind())
}

fn by_number(errno: Errno) -> Option<Evidence> {
    Some(match errno {
        // No socket file is what a unix socket has for "nobody listens there".
        Errno::CONNREFUSED | Errno::NOENT | Errno::NOTDIR => Evidence::Hard(Hard::Refused),
        Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED | Errno::NOTCONN => Evidence::Hard(Hard::Reset),
        Errno::TIMEDOUT => Evidence::Soft(Soft::Timeout),
        Errno::AGAIN => Evidence::Soft(Soft::WouldBlock),
        Errno::HOSTUNREACH | Errno::HOSTDOWN => Evidence::Soft(Soft::HostUnreachable),
        Errno::MFILE | Errno::NFILE => Evidence::Ours(Ours::NoDescriptors),
        Errno::NOBUFS | Errno::NOMEM => Evidence::Ours(Ours::NoBuffers),
        // Without an address or a port to come from, our own network is what is missing.
        Errno::NETUNREACH | Errno::NETDOWN | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT => {
            Evidence::Ours(Ours::NetworkUnreachable)
        }
        // A unix socket whose mode keeps us out.
        Errno::ACCESS | Errno::PERM => Evidence::Misconfigured(Misconfigured::PermissionDenied),
        _ => return None,
    })
}

/// For errors that libraries made themselves, which carry no number.
fn by_kind(kind: io::ErrorKind) -> Option<Evidence> {
    if kind == io::ErrorKind::UnexpectedEof
        || kind == io::ErrorKind::BrokenPipe
        || kind == io::ErrorKind::ConnectionReset
        || kind == io::ErrorKind::ConnectionAborted
        || kind == io::ErrorKind::NotConnected
    {
        return Some(Evidence::Hard(Hard::Reset));
    }
    // What the connector makes of TLS where plain text was meant, and the TLS library of the opposite, after HTTP/2 has
    // taken the error apart and kept its kind alone.
    if kind == io::ErrorKind::InvalidData {
        return Some(Evidence::Misconfigured(Misconfigured::Tls));
    }
    (kind == io::ErrorKind::TimedOut).then_some(Evidence::Soft(Soft::Timeout))
}

fn http2(error: &h2::Error) -> Option<Evidence> {
    if let Some(error) = error.get_io() {
        return socket(error);
    }
    let reason = error.reason()?;
    if error.is_go_away() && error.is_remote() && reason == h2::Reason::NO_ERROR {
        return Some(Evidence::Graceful);
    }
    // We could not read what it sent: it does not speak HTTP/2, most often because it speaks TLS and we do not.
    let unreadable = reason == h2::Reason::PROTOCOL_ERROR || reason == h2::Reason::FRAME_SIZE_ERROR;
    if error.is_library() && unreadable {
        return Some(Evidence::Misconfigured(Misconfigured::Tls));
    }
    Some(Evidence::Soft(Soft::Unavailable))
}

fn hyper(error: &hyper::Error) -> Option<Evidence> {
    if error.is_timeout() {
        // A PING that nobody answered.
        return Some(Evidence::Soft(Soft::Timeout));
    }
    // A connection's task ended, and with it the calls under way.
    let ended = error.is_canceled() || error.is_closed() || error.is_incomplete_message();
    ended.then_some(Evidence::Hard(Hard::Reset))
}

fn code(code: Code) -> Evidence {
    match code {
        Code::Unauthenticated => Evidence::Misconfigured(Misconfigured::Unauthenticated),
        Code::PermissionDenied => Evidence::Misconfigured(Misconfigured::PermissionDenied),
        Code::Unimplemented => Evidence::Misconfigured(Misconfigured::Unimplemented),
        Code::NotFound => Evidence::Hard(Hard::ServiceUnknown),
        Code::DeadlineExceeded | Code::Cancelled => Evidence::Soft(Soft::Timeout),
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Evidence::Soft(Soft::Unavailable),
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
