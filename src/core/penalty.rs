//! How long who was deposed lately is passed over in elections (docs/protocol.md section 3, anti-flap).

use super::{
    ids::NodeId,
    time::{DatabaseTime, micros},
};
use std::{collections::BTreeMap, time::Duration};

/// The first penalty; each further one lasts twice as long as the last.
pub const FIRST: Duration = Duration::from_secs(10);
/// The longest. A storage that was penalised no more for so long begins anew.
pub const LONGEST: Duration = Duration::from_secs(600);

/// The last penalty of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Penalty {
    /// When it was deposed; `None`: somebody set it by hand.
    pub since: Option<DatabaseTime>,
    /// When it ends, or ended.
    pub until: DatabaseTime,
}

/// For how long a storage that is deposed now is penalised, after its last penalty.
#[must_use]
pub fn lasting(last: Option<Penalty>, now: DatabaseTime) -> Duration {
    let lately = |since: &DatabaseTime| now.0.saturating_sub(since.0) < micros(LONGEST);
    let before = last.and_then(|last| last.since.filter(lately).map(|since| last.until.0.saturating_sub(since.0)));
    let Some(before) = before else { return FIRST };
    u64::try_from(before.saturating_mul(2)).map_or(Duration::ZERO, Duration::from_micros).min(LONGEST)
}

/// Which storages are or were penalised because they were deposed, as last read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Penalties {
    /// The database's time of the read.
    pub at: DatabaseTime,
    /// The last one of each, by the same clock; those that ended are among them.
    pub last: BTreeMap<NodeId, Penalty>,
}

impl Penalties {
    /// How much longer each lasts; those that ended are left out.
    #[must_use]
    pub fn left(&self) -> BTreeMap<NodeId, Duration> {
        let left =
            |penalty: &Penalty| u64::try_from(penalty.until.0.saturating_sub(self.at.0)).ok().filter(|left| *left > 0);
        let lasting =
            |(node, penalty): (&NodeId, &Penalty)| Some((node.clone(), Duration::from_micros(left(penalty)?)));
        self.last.iter().filter_map(lasting).collect()
    }
}
