use super::*;
use std::sync::Arc;

fn over(error: impl Error + Send + Sync + 'static) -> Evidence {
    status(&Status::from_error(Box::new(error))).evidence
}

#[test]
fn a_socket_error_is_told_by_its_number() {
    for (errno, evidence) in [
        (Errno::CONNREFUSED, Evidence::Hard(Hard::Refused)),
        (Errno::NOENT, Evidence::Hard(Hard::Refused)),
        (Errno::CONNRESET, Evidence::Hard(Hard::Reset)),
        (Errno::PIPE, Evidence::Hard(Hard::Reset)),
        (Errno::TIMEDOUT, Evidence::Soft(Soft::Timeout)),
        (Errno::AGAIN, Evidence::Soft(Soft::WouldBlock)),
        (Errno::HOSTUNREACH, Evidence::Soft(Soft::HostUnreachable)),
        (Errno::MFILE, Evidence::Ours(Ours::NoDescriptors)),
        (Errno::NFILE, Evidence::Ours(Ours::NoDescriptors)),
        (Errno::NOBUFS, Evidence::Ours(Ours::NoBuffers)),
        (Errno::NETUNREACH, Evidence::Ours(Ours::NetworkUnreachable)),
        (Errno::ACCESS, Evidence::Misconfigured(Misconfigured::PermissionDenied)),
        (Errno::INVAL, Evidence::Soft(Soft::Unavailable)),
    ] {
        assert_eq!(over(io::Error::from(errno)), evidence, "{errno:?}");
        assert_eq!(over(ConnectFailure::Socket(Arc::new(errno.into()))), evidence, "{errno:?}");
    }
}

#[test]
fn the_innermost_error_that_says_something_wins() {
    let tls = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::HandshakeNotComplete);
    assert_eq!(over(tls), Evidence::Misconfigured(Misconfigured::Tls));
    assert_eq!(over(ConnectFailure::Resolve(None)), Evidence::Ours(Ours::NameResolution));
    // A resolver that ran out of descriptors is our trouble just as well, and more exactly named.
    let no_descriptors = ConnectFailure::Resolve(Some(Arc::new(Errno::MFILE.into())));
    assert_eq!(over(no_descriptors), Evidence::Ours(Ours::NoDescriptors));
    let timed_out = Status::from_error(Box::new(ConnectFailure::TimedOut(std::time::Duration::ZERO)));
    assert!(status(&timed_out).connecting_timed_out);
    let wrapped = io::Error::other(io::Error::from(Errno::CONNRESET));
    assert_eq!(over(wrapped), Evidence::Hard(Hard::Reset));
}

#[test]
fn a_status_from_the_wire_is_told_by_its_code() {
    for (code, evidence) in [
        (Code::Unauthenticated, Evidence::Misconfigured(Misconfigured::Unauthenticated)),
        (Code::PermissionDenied, Evidence::Misconfigured(Misconfigured::PermissionDenied)),
        (Code::Unimplemented, Evidence::Misconfigured(Misconfigured::Unimplemented)),
        (Code::NotFound, Evidence::Hard(Hard::ServiceUnknown)),
        (Code::DeadlineExceeded, Evidence::Soft(Soft::Timeout)),
        (Code::Cancelled, Evidence::Soft(Soft::Timeout)),
        (Code::Unavailable, Evidence::Soft(Soft::Unavailable)),
        (Code::Internal, Evidence::Soft(Soft::Unavailable)),
    ] {
        assert_eq!(status(&Status::new(code, "")).evidence, evidence, "{code:?}");
    }
}

#[test]
fn a_polite_goodbye_is_no_death() {
    // What h2 makes of GOAWAY(NO_ERROR) cannot be built by hand; a bare reason stands for errors of other kinds.
    assert_eq!(over(h2::Error::from(h2::Reason::REFUSED_STREAM)), Evidence::Soft(Soft::Unavailable));
}
