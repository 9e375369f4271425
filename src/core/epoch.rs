//! Fencing epochs, and the other counters that only grow.
//!
//! An epoch is one `i64`, so that it fits every database and wire: the era in the upper 26 bits, a number from one
//! cluster-wide sequence in the lower 37. Comparing two epochs compares the era first: after the database was
//! replaced, every new epoch is above every old one, whatever the sequence says. A Raft term would do the same with
//! one counter, but a restored backup would hand the same term out twice.

use super::ids::number;
use serde::{Deserialize, Serialize, de::Error as _};
use std::{fmt, str::FromStr};

/// Bits of the number within an era.
const NUMBER_BITS: u32 = 37;
/// The largest number within an era: 137 billion decisions.
pub const EPOCH_NUMBER_MAX: i64 = (1 << NUMBER_BITS) - 1;
/// The largest era: with one a minute, enough until the year 2153.
pub const ERA_MAX: i64 = (1 << 26) - 1;

/// Number of one life of the database; raised when the database itself was replaced. Starts at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Era(pub i64);

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Number of one primary decision: the fencing token. Shown, and written in JSON, as `era.number`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(i64);

/// A value that is no epoch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("epoch {value:?} is not allowed: it must be `era.number`, era 1 to {ERA_MAX}, number 1 to {EPOCH_NUMBER_MAX}")]
pub struct InvalidEpoch {
    /// The refused value.
    pub value: String,
}

impl Epoch {
    /// Joins an era (1 to [`ERA_MAX`]) and a number (1 to [`EPOCH_NUMBER_MAX`]).
    pub fn new(era: Era, number: i64) -> Result<Self, InvalidEpoch> {
        if !(1..=ERA_MAX).contains(&era.0) || !(1..=EPOCH_NUMBER_MAX).contains(&number) {
            return Err(InvalidEpoch { value: format!("{era}.{number}") });
        }
        Ok(Self((era.0 << NUMBER_BITS) | number))
    }
    /// Reads the database's form.
    pub fn from_i64(raw: i64) -> Result<Self, InvalidEpoch> {
        Self::new(Era(raw >> NUMBER_BITS), raw & EPOCH_NUMBER_MAX).map_err(|_| InvalidEpoch { value: raw.to_string() })
    }
    /// The database's form.
    #[must_use]
    pub fn to_i64(self) -> i64 {
        self.0
    }
    /// The life of the database in which it was given.
    #[must_use]
    pub fn era(self) -> Era {
        Era(self.0 >> NUMBER_BITS)
    }
    /// Its number within the cluster-wide sequence.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0 & EPOCH_NUMBER_MAX
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.era(), self.number())
    }
}
impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl FromStr for Epoch {
    type Err = InvalidEpoch;
    fn from_str(text: &str) -> Result<Self, InvalidEpoch> {
        let refused = || InvalidEpoch { value: text.chars().take(80).collect() };
        let (era, number) = text.split_once('.').ok_or_else(refused)?;
        let (era, number) = (era.parse().map_err(|_| refused())?, number.parse().map_err(|_| refused())?);
        Self::new(Era(era), number).map_err(|_| refused())
    }
}
impl Serialize for Epoch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// How far a database has come: its era, and the last number that it gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Given {
    /// The era in force.
    pub era: Era,
    /// The last number of its one sequence; 0: it gave none yet.
    pub number: i64,
}

impl Given {
    /// Whether this database may have given that epoch: its next one is above it.
    #[must_use]
    pub fn reaches(self, epoch: Epoch) -> bool {
        (self.era, self.number) >= (epoch.era(), epoch.number())
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.era, self.number)
    }
}

number!(
    /// Version of the data that a replica holds, or that a repository is expected to have. Raised by an acknowledged write.
    Generation
);
number!(
    /// Raised by every change of a repository's replicas, generations, marks or assignments: what a decision rested on.
    FactsVersion
);

/// Number of a published consensus, or of the stored settings; grows by one per change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_era_is_above_every_epoch_of_the_old_one() {
        let last = Epoch::new(Era(1), EPOCH_NUMBER_MAX).unwrap();
        let first = Epoch::new(Era(2), 1).unwrap();
        assert!(first > last && first.to_i64() > last.to_i64());
    }

    #[test]
    fn an_epoch_survives_every_form_it_is_written_in() {
        for (era, number) in [(1, 1), (ERA_MAX, EPOCH_NUMBER_MAX), (474_240, 7)] {
            let epoch = Epoch::new(Era(era), number).unwrap();
            assert_eq!(Epoch::from_i64(epoch.to_i64()).unwrap(), epoch);
            assert_eq!(epoch.to_string().parse::<Epoch>().unwrap(), epoch);
            let json = serde_json::to_string(&epoch).unwrap();
            assert_eq!(json, format!("\"{era}.{number}\""));
            assert_eq!(serde_json::from_str::<Epoch>(&json).unwrap(), epoch);
        }
    }

    #[test]
    fn what_is_no_epoch_is_refused_by_name() {
        for bad in ["", "1", "0.1", "1.0", "-1.2", "1.2.3", "67108864.1", "a.b"] {
            assert!(bad.parse::<Epoch>().is_err(), "{bad}");
        }
        assert!(Epoch::from_i64(0).is_err() && Epoch::from_i64(-1).is_err() && Epoch::from_i64(5).is_err());
    }
}
