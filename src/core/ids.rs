//! Names and numbers that must not be mixed up: each is its own type, parsed once at the border.
//!
//! A name is 1 to 255 characters without control characters, which is what Praefect's `varchar(255)` columns
//! hold. The inner string is reachable only by reference, so a checked name stays checked. It is shared: names go into
//! every vote, message and memory, and a copy of one costs no copy of its text.

use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// The longest name of a virtual storage, a storage or a relative path's column, in characters.
pub const NAME_CHARS_MAX: usize = 255;
/// The longest supervisor name, in characters (`node_status.praefect_name` is `varchar(511)`).
pub const SUPERVISOR_NAME_CHARS_MAX: usize = 511;
/// The longest relative path, in characters.
pub const RELATIVE_PATH_CHARS_MAX: usize = 2_000;
/// The longest name or path of any kind, in bytes: it must fit in a database's index entry and in a notification.
pub const BYTES_MAX: usize = 2_000;

/// A name that was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {value:?} is not allowed: it must have 1 to {max} characters (at most {BYTES_MAX} bytes) and no control characters"
)]
pub struct InvalidName {
    /// What the name was to be, in the words of the field.
    pub what: &'static str,
    /// The refused value, cut to 80 characters.
    pub value: String,
    /// The most characters allowed.
    pub max: usize,
}

fn checked(what: &'static str, value: String, max: usize) -> Result<String, InvalidName> {
    let long = value.chars().count() > max || value.len() > BYTES_MAX;
    if value.is_empty() || long || value.chars().any(char::is_control) {
        return Err(InvalidName { what, value: value.chars().take(80).collect(), max });
    }
    Ok(value)
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            #[doc = concat!("Parses a ", $what, ". Fails on an empty or overlong name and on control characters.")]
            pub fn new(value: impl Into<String>) -> Result<Self, InvalidName> {
                checked($what, value.into(), $max).map(|checked| Self(checked.into()))
            }
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(value: String) -> Result<Self, InvalidName> {
                Self::new(value)
            }
        }
        impl std::str::FromStr for $type {
            type Err = InvalidName;
            fn from_str(value: &str) -> Result<Self, InvalidName> {
                Self::new(value)
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.as_str().to_owned()
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

name!(
    /// A named cluster of storages that clients see as one.
    VirtualStorage, "virtual storage name", NAME_CHARS_MAX
);
name!(
    /// The name of one physical storage node within its virtual storage.
    Storage, "storage name", NAME_CHARS_MAX
);
name!(
    /// The stable name of a supervisor, which is a voter.
    SupervisorName, "supervisor name", SUPERVISOR_NAME_CHARS_MAX
);
name!(
    /// The path by which clients know a repository, unique within its virtual storage.
    RelativePath, "relative path", RELATIVE_PATH_CHARS_MAX
);
name!(
    /// The random identity of one cluster, made once when its database is first migrated.
    /// A storage node's fence refuses requests of any other cluster.
    ClusterId, "cluster id", NAME_CHARS_MAX
);
name!(
    /// The random identity of one process that supervises, made at its start: by it a process knows a registration of its
    /// own whose answer was lost. It is no secret.
    ProcessToken, "process token", NAME_CHARS_MAX
);
name!(
    /// The identity of one decision, made by its proposer so that a retry finds its own.
    DecisionId, "decision id", NAME_CHARS_MAX
);

/// One physical storage node: its identity is the pair, never the storage name alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    /// The cluster it belongs to.
    pub virtual_storage: VirtualStorage,
    /// Its name there.
    pub storage: Storage,
}

impl NodeId {
    /// Pairs two names.
    #[must_use]
    pub fn new(virtual_storage: VirtualStorage, storage: Storage) -> Self {
        Self { virtual_storage, storage }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.virtual_storage, self.storage)
    }
}
impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub i64);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}
pub(crate) use number;

number!(
    /// The numeric identity of a repository. Never given twice, so that a stale client deletes nothing.
    RepositoryId
);
number!(
    /// The number of one registration of a supervisor. From a sequence, never reused; its votes die with it.
    Incarnation
);

/// A supervisor without a name of its own. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSupervisorName {
    /// Neither a name nor a listen address was configured, or the host has no name.
    #[error(
        "is missing, and without a listen address and a host name none can be made: host {host:?}, listen {listen:?}"
    )]
    Missing {
        /// The host's name.
        host: String,
        /// The configured address.
        listen: String,
    },
    /// What was made of them is no name.
    #[error(transparent)]
    Invalid(#[from] InvalidName),
}

impl SupervisorName {
    /// The name under which a supervisor votes: the configured one, else `host:listen`, the address as it was written.
    ///
    /// A name says who it is, never which process: two processes that come to the same one are told apart by their
    /// incarnations, and the newer one votes. Where Praefect draws a name by lot (a host without one) or makes half of
    /// one (no address to listen on), this is an error: a voter that comes back under another name each time leaves a
    /// dead one behind.
    pub fn generate(
        configured: Option<&SupervisorName>,
        host: &str,
        listen: Option<&str>,
    ) -> Result<SupervisorName, InvalidSupervisorName> {
        if let Some(name) = configured {
            return Ok(name.clone());
        }
        let listen = listen.unwrap_or_default();
        if host.is_empty() || listen.is_empty() {
            let (host, listen) = (host.to_owned(), listen.to_owned());
            return Err(InvalidSupervisorName::Missing { host, listen });
        }
        Ok(SupervisorName::new(format!("{host}:{listen}"))?)
    }
}

/// A supervisor's name together with the registration that may act for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Voter {
    /// The stable name.
    pub name: SupervisorName,
    /// The registration. Every write names it and changes nothing if a newer one exists.
    pub incarnation: Incarnation,
}

impl fmt::Display for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_the_database_could_not_hold() {
        assert!(Storage::new("g1").is_ok());
        assert!(Storage::new("x".repeat(255)).is_ok());
        for bad in [String::new(), "x".repeat(256), "a\nb".into(), "a\0".into(), "ü".repeat(256)] {
            let error = Storage::new(bad.clone()).unwrap_err();
            assert!(error.to_string().starts_with("storage name"), "{error}");
        }
    }

    #[test]
    fn a_path_is_measured_in_bytes_too() {
        assert!(RelativePath::new("x".repeat(2_000)).is_ok());
        assert!(RelativePath::new("ü".repeat(1_001)).is_err());
    }

    #[test]
    fn a_name_is_checked_when_it_is_deserialised_too() {
        assert!(serde_json::from_str::<VirtualStorage>("\"\"").is_err());
        assert_eq!(serde_json::from_str::<VirtualStorage>("\"v\"").unwrap().as_str(), "v");
    }

    #[test]
    fn a_supervisor_is_called_as_configured_or_after_its_host_and_address() {
        let name = |text: &str| SupervisorName::new(text).unwrap();
        let generate = SupervisorName::generate;
        assert_eq!(generate(Some(&name("s1")), "host", Some("0.0.0.0:2305")), Ok(name("s1")));
        assert_eq!(generate(None, "host", Some("0.0.0.0:2305")), Ok(name("host:0.0.0.0:2305")), "as it was written");
        assert_eq!(generate(None, "host", Some("/run/q.socket")), Ok(name("host:/run/q.socket")));
    }

    #[test]
    fn v_no_supervisor_gets_half_a_name_or_one_by_lot() {
        for (host, listen) in [("", Some("a:1")), ("host", None), ("host", Some(""))] {
            let error = SupervisorName::generate(None, host, listen).unwrap_err();
            assert!(matches!(error, InvalidSupervisorName::Missing { .. }), "{host:?} {listen:?}: {error}");
        }
        let long = "x".repeat(SUPERVISOR_NAME_CHARS_MAX);
        assert!(SupervisorName::generate(None, "host", Some(&long)).is_err());
    }
}
