//! Where a node is, parsed once.
//!
//! | form | meaning |
//! |---|---|
//! | `unix:/path`, `unix:///path`, `unix:relative` | a unix socket |
//! | `tcp://host:port` | plain text |
//! | `tls://host:port` | TLS 1.2 or newer |
//! | `dns:[//authority/]host[:port]` | plain text; the name is resolved anew for each connection, port 50051 if none is given |
//!
//! A bare `localhost:1234` is refused rather than guessed at: to a URL parser its scheme is `localhost`.

use serde::{Deserialize, Serialize};
use std::{fmt, net::Ipv6Addr, path::PathBuf, str::FromStr};

/// The port of `dns:` addresses that name none.
pub const DNS_PORT: u16 = 50051;
/// The longest path of a unix socket that every supported system takes, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// A node's address, checked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeAddress {
    text: String,
    place: Place,
}

/// What an address means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A unix socket.
    Unix {
        /// Where it lies; a relative path is relative to the process's working directory.
        path: PathBuf,
    },
    /// Plain text over TCP.
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// TLS over TCP.
    Tls {
        /// A name or an IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// Plain text to a name that is resolved anew for each connection.
    Dns {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
}

/// An address that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "node address {value:?} is not allowed: {problem}; allowed are `unix:/path`, `tcp://host:port`, `tls://host:port` and `dns:[//authority/]host[:port]`"
)]
pub struct InvalidAddress {
    /// The refused value, cut to 200 characters; what stood before an `@` is left out, for it may be a password.
    pub value: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl NodeAddress {
    /// Parses an address.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidAddress> {
        let text = text.into();
        match parse(&text) {
            Ok(place) => Ok(Self { text, place }),
            Err(problem) => Err(InvalidAddress { value: shown(&text), problem }),
        }
    }
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// What it means.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }
}

/// Nobody's password in an error.
fn shown(text: &str) -> String {
    let text = match (text.split_once("//"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}//…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        (_, None) => text.to_owned(),
    };
    text.chars().take(200).collect()
}

fn parse(text: &str) -> Result<Place, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it has control characters or blanks");
    }
    let (scheme, rest) = text.split_once(':').ok_or("it has no scheme")?;
    match scheme {
        "unix" => socket(rest),
        "tcp" => remote(rest).map(|(host, port)| Place::Tcp { host, port }),
        "tls" => remote(rest).map(|(host, port)| Place::Tls { host, port }),
        "dns" => name(rest).map(|(host, port)| Place::Dns { host, port }),
        _ => Err("its scheme is unknown"),
    }
}

fn socket(rest: &str) -> Result<Place, &'static str> {
    // `unix:///path` has an empty authority; `unix://host/path` would have a host, which a socket has not.
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Err("a unix socket has no host: write `unix:/path` or `unix:///path`"),
        None => rest,
    };
    if path.is_empty() {
        return Err("it has no path");
    }
    if path.len() > SOCKET_PATH_BYTES_MAX {
        return Err("a unix socket's path has at most 103 bytes");
    }
    Ok(Place::Unix { path: PathBuf::from(path) })
}

fn remote(rest: &str) -> Result<(String, u16), &'static str> {
    let authority = rest.strip_prefix("//").ok_or("its scheme must be followed by `//`")?;
    let (host, port) = host_and_port(authority)?;
    Ok((host, port.ok_or("it has no port")?))
}

fn name(rest: &str) -> Result<(String, u16), &'static str> {
    let name = match rest.strip_prefix("//") {
        // The authority names a DNS server. It is read, so that addresses written for other gRPC programs are
        // understood, but the system's resolver is the one that is asked.
        Some(rest) => rest.split_once('/').ok_or("the name must follow the authority: `dns://authority/host`")?.1,
        None => rest,
    };
    let (host, port) = host_and_port(name)?;
    Ok((host, port.unwrap_or(DNS_PORT)))
}

fn host_and_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    if text.contains(['/', '?', '#']) {
        return Err("a remote address has no path");
    }
    if text.contains('@') {
        return Err("a node address carries no credentials");
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("its `[` is not closed")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err("what stands in brackets is not an IPv6 address");
        }
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err("something follows the brackets"),
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address stands in brackets: `[::1]:2305`"),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() {
        return Err("it has no host");
    }
    if !host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':')) {
        return Err("its host has characters that no host name has");
    }
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(0) | Err(_) => return Err("its port is not a number from 1 to 65535"),
            Ok(port) => Some(port),
        },
    };
    Ok((host.to_owned(), port))
}

impl FromStr for NodeAddress {
    type Err = InvalidAddress;
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        Self::new(text)
    }
}
impl TryFrom<String> for NodeAddress {
    type Error = InvalidAddress;
    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        Self::new(text)
    }
}
impl From<NodeAddress> for String {
    fn from(address: NodeAddress) -> String {
        address.text
    }
}
impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl fmt::Debug for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
