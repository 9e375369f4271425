//! The secret that a supervisor shares with a storage node.

use std::fmt;

/// A node's secret. Calls are signed with it; it is itself never sent, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// A secret that proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("\"\" is not allowed: leave the key out for a node that asks for no token")]
pub struct EmptyToken;

impl Token {
    /// Takes any text but the empty one: everybody can sign with that, so it would only look like a secret.
    pub fn new(secret: impl Into<String>) -> Result<Self, EmptyToken> {
        let secret = secret.into();
        if secret.is_empty() { Err(EmptyToken) } else { Ok(Self(secret)) }
    }
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Token {
    type Err = EmptyToken;
    fn from_str(secret: &str) -> Result<Self, EmptyToken> {
        Self::new(secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
