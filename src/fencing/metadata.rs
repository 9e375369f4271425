//! What a fenced call says about itself, in four metadata keys.
//!
//! Names may have characters that a header cannot carry; those, and `%`, travel percent-encoded. A name of letters,
//! digits and the like is carried as it is.

use crate::core::{
    election::Primary,
    epoch::Epoch,
    ids::{ClusterId, RepositoryId, Storage},
};
use http::HeaderMap;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

/// The cluster that the epoch belongs to.
pub const CLUSTER_KEY: &str = "quorate-cluster";
/// The repository, by number.
pub const REPOSITORY_KEY: &str = "quorate-repository";
/// The epoch, as `era.number`.
pub const EPOCH_KEY: &str = "quorate-epoch";
/// The storage that is primary under that epoch.
pub const PRIMARY_KEY: &str = "quorate-primary";

/// In whose name a call is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The cluster that the epoch belongs to.
    pub cluster: ClusterId,
    /// The repository.
    pub repository: RepositoryId,
    /// The epoch.
    pub epoch: Epoch,
    /// The primary of that epoch.
    pub primary: Storage,
}

/// A primary that no storage node would accept: its elector gives no epochs, or knows no number of the repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the primary {primary} has no {missing}: its elector gives none, and fences refuse it")]
pub struct MissingEpoch {
    /// What is missing: `epoch`, or `number of a repository`.
    pub missing: &'static str,
    /// The primary without it.
    pub primary: Storage,
}

/// Metadata that no claim can be read from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetadata {
    /// None of the keys is there.
    #[error("the call carries no epoch")]
    Absent,
    /// Some keys are there, this one is not.
    #[error("the call carries no `{key}`, but other fencing metadata")]
    Missing {
        /// The missing key.
        key: &'static str,
    },
    /// A key is there twice: two of ours would let a proxy and a node read different ones.
    #[error("the call carries `{key}` more than once")]
    Repeated {
        /// The repeated key.
        key: &'static str,
    },
    /// A value cannot be read.
    #[error("`{key}` of the call cannot be read: {problem}")]
    Unreadable {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
}

impl Claim {
    /// The claim of a primary.
    pub fn of(primary: &Primary) -> Result<Self, MissingEpoch> {
        let lacks = |missing| MissingEpoch { missing, primary: primary.storage.clone() };
        Ok(Self {
            cluster: primary.cluster.clone(),
            epoch: primary.epoch.ok_or_else(|| lacks("epoch"))?,
            repository: primary.repository.ok_or_else(|| lacks("number of a repository"))?,
            primary: primary.storage.clone(),
        })
    }

    /// Writes the claim into a call's metadata, over whatever claim was there.
    pub fn attach(&self, metadata: &mut MetadataMap) {
        metadata.insert(CLUSTER_KEY, encoded(self.cluster.as_str()));
        metadata.insert(REPOSITORY_KEY, encoded(&self.repository.to_string()));
        metadata.insert(EPOCH_KEY, encoded(&self.epoch.to_string()));
        metadata.insert(PRIMARY_KEY, encoded(self.primary.as_str()));
    }

    /// Reads the claim of a call.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, InvalidMetadata> {
        if [CLUSTER_KEY, REPOSITORY_KEY, EPOCH_KEY, PRIMARY_KEY].iter().all(|key| !headers.contains_key(*key)) {
            return Err(InvalidMetadata::Absent);
        }
        let repository = value(headers, REPOSITORY_KEY)?;
        let repository = repository.parse().map_err(|_| InvalidMetadata::Unreadable {
            key: REPOSITORY_KEY,
            problem: "it is not the number of a repository".into(),
        })?;
        Ok(Self {
            cluster: ClusterId::new(value(headers, CLUSTER_KEY)?).map_err(unreadable(CLUSTER_KEY))?,
            repository: RepositoryId(repository),
            epoch: value(headers, EPOCH_KEY)?.parse().map_err(unreadable(EPOCH_KEY))?,
            primary: Storage::new(value(headers, PRIMARY_KEY)?).map_err(unreadable(PRIMARY_KEY))?,
        })
    }
}

/// Writes a primary's claim into a call's metadata. Fails, and writes nothing, if the primary has no epoch.
pub fn attach(primary: &Primary, metadata: &mut MetadataMap) -> Result<(), MissingEpoch> {
    Claim::of(primary)?.attach(metadata);
    Ok(())
}

fn unreadable<E: std::fmt::Display>(key: &'static str) -> impl Fn(E) -> InvalidMetadata {
    move |error| InvalidMetadata::Unreadable { key, problem: error.to_string() }
}

fn value(headers: &HeaderMap, key: &'static str) -> Result<String, InvalidMetadata> {
    let mut values = headers.get_all(key).iter();
    let value = values.next().ok_or(InvalidMetadata::Missing { key })?;
    if values.next().is_some() {
        return Err(InvalidMetadata::Repeated { key });
    }
    decoded(value.as_bytes()).ok_or_else(|| unreadable(key)("it is not percent-encoded UTF-8"))
}

fn encoded(text: &str) -> MetadataValue<Ascii> {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    // Cannot fail: only printable ASCII is left. An empty value would be refused by every reader.
    MetadataValue::try_from(out).unwrap_or_else(|_| MetadataValue::from_static(""))
}

fn decoded(bytes: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let (high, low) = (char::from(*rest.next()?).to_digit(16)?, char::from(*rest.next()?).to_digit(16)?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}
