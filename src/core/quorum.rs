//! How many votes make a verdict about one node.
//!
//! Laws, held by property tests: a verdict is upward-closed (one more voter of the same opinion never undoes it), and
//! two majorities of one electorate intersect, so `healthy` and `unhealthy` exclude each other. Praefect's `ceil(n/2)`
//! breaks the second law (defect E: one of two, two of four suffice) and stands here only for comparison.

use serde::{Deserialize, Serialize};

/// What the quorum holds of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// More than half say up: it may be elected.
    Healthy,
    /// More than half say down: a recorded primary is deposed.
    Unhealthy,
    /// Neither. A recorded primary stays, nobody new is elected onto it.
    Undecided,
}

impl Verdict {
    /// The name, as a metric's label and a log field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Healthy => "healthy",
            Verdict::Unhealthy => "unhealthy",
            Verdict::Undecided => "undecided",
        }
    }
}

/// How many votes make a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuorumPolicy {
    /// More than half of the electorate, either way; else undecided.
    #[default]
    Majority,
    /// Praefect's: at least half, and at least one, say up; else unhealthy. Never undecided.
    Half,
}

impl QuorumPolicy {
    /// The name, as written in configuration and database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            QuorumPolicy::Majority => "majority",
            QuorumPolicy::Half => "half",
        }
    }

    /// How many votes up it takes to be healthy in an electorate of this size.
    #[must_use]
    pub fn votes_needed(self, electorate: u32) -> u32 {
        match self {
            QuorumPolicy::Majority => (electorate / 2).saturating_add(1),
            QuorumPolicy::Half => electorate.div_ceil(2).max(1),
        }
    }
}

/// The votes about one node, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Voters that say up.
    pub up: u32,
    /// Voters that say down.
    pub down: u32,
    /// Voters to whom the node is misconfigured; they count as down.
    pub misconfigured: u32,
    /// Everybody who could have voted, abstentions included.
    pub electorate: u32,
}

impl Tally {
    /// The verdict of these votes. With nobody to vote, majority is undecided and half unhealthy.
    #[must_use]
    pub fn verdict(&self, policy: QuorumPolicy) -> Verdict {
        let against = self.down.saturating_add(self.misconfigured);
        let more_than_half = |votes: u32| u64::from(votes).saturating_mul(2) > u64::from(self.electorate);
        match policy {
            QuorumPolicy::Majority if more_than_half(self.up) => Verdict::Healthy,
            QuorumPolicy::Majority if more_than_half(against) => Verdict::Unhealthy,
            QuorumPolicy::Majority => Verdict::Undecided,
            QuorumPolicy::Half if self.up > 0 && self.up >= self.electorate.div_ceil(2) => Verdict::Healthy,
            QuorumPolicy::Half => Verdict::Unhealthy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(up: u32, down: u32, electorate: u32) -> Tally {
        Tally { up, down, misconfigured: 0, electorate }
    }

    #[test]
    fn half_needs_what_the_table_of_the_original_says() {
        for (n, quorum) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)] {
            assert_eq!(tally(quorum, n - quorum, n).verdict(QuorumPolicy::Half), Verdict::Healthy, "{n}");
            assert_eq!(tally(quorum - 1, n - quorum + 1, n).verdict(QuorumPolicy::Half), Verdict::Unhealthy, "{n}");
        }
        assert_eq!(tally(0, 0, 0).verdict(QuorumPolicy::Half), Verdict::Unhealthy);
    }

    #[test]
    fn majority_leaves_a_tie_undecided() {
        assert_eq!(tally(1, 1, 2).verdict(QuorumPolicy::Majority), Verdict::Undecided);
        assert_eq!(tally(2, 2, 4).verdict(QuorumPolicy::Majority), Verdict::Undecided);
        assert_eq!(tally(2, 1, 3).verdict(QuorumPolicy::Majority), Verdict::Healthy);
        assert_eq!(tally(0, 2, 3).verdict(QuorumPolicy::Majority), Verdict::Unhealthy);
        assert_eq!(tally(0, 0, 0).verdict(QuorumPolicy::Majority), Verdict::Undecided);
    }

    #[test]
    fn the_votes_needed_are_the_fewest_that_suffice() {
        for policy in [QuorumPolicy::Majority, QuorumPolicy::Half] {
            for n in 1..20 {
                let needed = policy.votes_needed(n);
                assert_eq!(tally(needed, 0, n).verdict(policy), Verdict::Healthy, "{policy:?} {n}");
                assert_ne!(tally(needed - 1, 0, n).verdict(policy), Verdict::Healthy, "{policy:?} {n}");
            }
        }
    }

    #[test]
    fn misconfigured_counts_as_down() {
        let tally = Tally { up: 1, down: 1, misconfigured: 1, electorate: 3 };
        assert_eq!(tally.verdict(QuorumPolicy::Majority), Verdict::Unhealthy);
    }
}
