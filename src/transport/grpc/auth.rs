//! Signed calls: `authorization: Bearer v2.<hex HMAC-SHA256 of the time>.<Unix time in seconds>`, the second version
//! of Praefect and Gitaly.
//!
//! The secret stays at home, and a signature that leaks is worth nothing half a minute later. It covers nothing but the
//! time: it says who calls, not what is called, and who can read the wire can repeat it for as long. So it belongs on a
//! network that is trusted, or inside TLS, like Praefect's, which does not ask for TLS either.
//!
//! Storage nodes check with a [`Verifier`], an interceptor for any tonic service.

use crate::config::Secret;
use ring::hmac;
use std::{
    fmt,
    fmt::Write,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tonic::{Request, Status, metadata::MetadataMap, service::Interceptor};

/// How far a signature's time may be from the verifier's own, either way. More skew than that between two machines
/// makes every call fail.
pub const WINDOW: Duration = Duration::from_secs(30);

const VERSION: &str = "v2";

/// Tells the time of day; tests bring their own.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The machine's clock.
#[must_use]
pub fn system_clock() -> WallClock {
    // The other side reads its own wall clock, so nothing else would do.
    #[allow(clippy::disallowed_methods, reason = "a signature carries the time of day")]
    Arc::new(SystemTime::now)
}

fn unix_seconds(clock: &WallClock) -> u64 {
    clock().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn key(secret: &Secret) -> Option<hmac::Key> {
    let secret = secret.expose().as_bytes();
    (!secret.is_empty()).then(|| hmac::Key::new(hmac::HMAC_SHA256, secret))
}

/// Signs calls.
#[derive(Clone)]
pub(super) struct Signer {
    key: hmac::Key,
    clock: WallClock,
}

impl Signer {
    /// `None` for an empty secret: everybody can sign with that, so it would only look like a signature.
    pub(super) fn new(token: &Secret, clock: WallClock) -> Option<Self> {
        Some(Self { key: key(token)?, clock })
    }

    /// A fresh signature. `None` cannot happen: it is all hexadecimal, digits and dots.
    pub(super) fn header(&self) -> Option<http::HeaderValue> {
        let now = unix_seconds(&self.clock).to_string();
        let mut value = format!("Bearer {VERSION}.");
        for byte in hmac::sign(&self.key, now.as_bytes()).as_ref() {
            let _ = write!(value, "{byte:02x}");
        }
        value.push('.');
        value.push_str(&now);
        let mut header = http::HeaderValue::try_from(value).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

/// Why a call is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum AuthError {
    /// There is no signature.
    #[error("no authorization")]
    Missing,
    /// What is there is no signature.
    #[error("malformed authorization")]
    Malformed,
    /// It is a signature of another kind.
    #[error("wrong version")]
    WrongVersion,
    /// It was made with another secret.
    #[error("wrong hmac signature")]
    WrongSignature,
    /// What was signed is no time.
    #[error("cannot parse timestamp")]
    NoTimestamp,
    /// It was made more than [`WINDOW`] ago: somebody repeats it, or the caller's clock is behind.
    #[error("timestamp too old")]
    TooOld,
    /// It was made more than [`WINDOW`] ahead: the caller's clock is.
    #[error("timestamp too new")]
    TooNew,
}

impl From<AuthError> for Status {
    /// Tells the caller no more than Gitaly does: which of the checks failed is the verifier's business.
    fn from(error: AuthError) -> Status {
        match error {
            AuthError::Missing | AuthError::Malformed => Status::unauthenticated("authentication required"),
            AuthError::WrongVersion
            | AuthError::WrongSignature
            | AuthError::NoTimestamp
            | AuthError::TooOld
            | AuthError::TooNew => Status::permission_denied("permission denied"),
        }
    }
}

/// The storage node's side: lets in who knows the secret. An empty one lets nobody in.
///
/// ```
/// use quorate::{config::Secret, transport::grpc::auth::Verifier};
/// use tonic::service::interceptor::InterceptedService;
///
/// let (_, health) = tonic_health::server::health_reporter();
/// let guarded = InterceptedService::new(health, Verifier::new(&Secret::new("secret")));
/// ```
#[derive(Clone)]
pub struct Verifier {
    key: Option<hmac::Key>,
    clock: WallClock,
}

impl Verifier {
    /// Checks with this secret, by the machine's clock.
    #[must_use]
    pub fn new(token: &Secret) -> Self {
        Self::with_clock(token, system_clock())
    }

    /// The same by another clock.
    #[must_use]
    pub fn with_clock(token: &Secret, clock: WallClock) -> Self {
        Self { key: key(token), clock }
    }

    /// Checks a call's metadata. The error's text is a metric's label of Gitaly's.
    pub fn verify(&self, metadata: &MetadataMap) -> Result<(), AuthError> {
        let header = metadata.get(http::header::AUTHORIZATION.as_str()).ok_or(AuthError::Missing)?;
        let header = header.to_str().map_err(|_| AuthError::Malformed)?;
        let (scheme, credentials) = header.split_once(' ').ok_or(AuthError::Malformed)?;
        let mut parts = credentials.trim_start().splitn(3, '.');
        let (Some(version), Some(signature), Some(signed)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(AuthError::Malformed);
        };
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(AuthError::Malformed);
        }
        if version != VERSION {
            return Err(AuthError::WrongVersion);
        }
        let signature = unhex(signature).ok_or(AuthError::WrongSignature)?;
        let key = self.key.as_ref().ok_or(AuthError::WrongSignature)?;
        hmac::verify(key, signed.as_bytes(), &signature).map_err(|_| AuthError::WrongSignature)?;
        let signed: u64 = signed.parse().map_err(|_| AuthError::NoTimestamp)?;
        let now = unix_seconds(&self.clock);
        if now.saturating_sub(signed) > WINDOW.as_secs() {
            return Err(AuthError::TooOld);
        }
        if signed.saturating_sub(now) > WINDOW.as_secs() {
            return Err(AuthError::TooNew);
        }
        Ok(())
    }
}

impl Interceptor for Verifier {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.verify(request.metadata())?;
        Ok(request)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
