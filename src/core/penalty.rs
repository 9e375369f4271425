//! How long who was deposed lately is passed over in elections.

use super::{ids::NodeId, time::DatabaseTime};
use std::{collections::BTreeMap, time::Duration};

/// Which storages are penalised because they were deposed, as last read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Penalties {
    /// The database's time of the read.
    pub at: DatabaseTime,
    /// When they end, by the same clock.
    pub until: BTreeMap<NodeId, DatabaseTime>,
}

impl Penalties {
    /// How much longer each lasts; those that ended are left out.
    #[must_use]
    pub fn left(&self) -> BTreeMap<NodeId, Duration> {
        let left =
            |until: &DatabaseTime| u64::try_from(until.0.saturating_sub(self.at.0)).ok().filter(|left| *left > 0);
        let lasting =
            |(node, until): (&NodeId, &DatabaseTime)| Some((node.clone(), Duration::from_micros(left(until)?)));
        self.until.iter().filter_map(lasting).collect()
    }
}
