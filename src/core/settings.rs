//! The rules in force for a whole cluster. They stand in the database, so that all supervisors obey the same ones.

use super::quorum::QuorumPolicy;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which family of rules a cluster runs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Majority of live voters, votes on change, fenced acknowledgements.
    #[default]
    Default,
    /// The default rules with faster probes and a shorter voter time.
    Lan,
    /// Praefect's rules to the letter, for comparison and for sharing a database.
    Praefect,
}

impl Profile {
    /// The name, as written in configuration and database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::Default => "default",
            Profile::Lan => "lan",
            Profile::Praefect => "praefect",
        }
    }
}

/// What happens to a recorded primary that may not stay when nobody can take its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WithoutCandidate {
    /// The row stays (Praefect since 14.7, F27): "no better candidate" is not "no primary".
    #[default]
    Keep,
    /// The row is set to NULL, once (Praefect 14.4).
    Demote,
}

/// The stored settings of a cluster. The first start seeds them; afterwards the database wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Which family of rules.
    pub profile: Profile,
    /// How many votes make a verdict.
    pub policy: QuorumPolicy,
    /// The least size of an electorate, so that a lone survivor does not rule; `None`: the live voters alone.
    pub expected_supervisors: Option<u32>,
    /// A supervisor silent for longer is dead and comes back as a new incarnation.
    #[serde(with = "millis")]
    pub voter_ttl: Duration,
    /// A node without a probe outcome for longer is retracted; in profile `praefect`, how long a sighting counts.
    #[serde(with = "millis")]
    pub vote_ttl: Duration,
    /// The oldest facts that a decision may rest on.
    #[serde(with = "millis")]
    pub decision_ttl: Duration,
    /// What to do when nobody may become primary.
    pub without_candidate: WithoutCandidate,
    /// Whether Praefect's own notification channels are fed.
    pub praefect_notifications: bool,
}

impl Settings {
    /// The settings of a profile (docs/protocol.md section 11).
    #[must_use]
    pub fn of(profile: Profile) -> Settings {
        let (voter_ttl, vote_ttl) = match profile {
            Profile::Default => (Duration::from_secs(5), Duration::from_secs(5)),
            Profile::Lan => (Duration::from_secs(2), Duration::from_secs(2)),
            Profile::Praefect => (Duration::from_secs(60), Duration::from_secs(10)),
        };
        let policy = if profile == Profile::Praefect { QuorumPolicy::Half } else { QuorumPolicy::Majority };
        Settings {
            profile,
            policy,
            expected_supervisors: None,
            voter_ttl,
            vote_ttl,
            decision_ttl: Duration::from_secs(1),
            without_candidate: WithoutCandidate::Keep,
            praefect_notifications: profile == Profile::Praefect,
        }
    }

    /// Everything that is wrong with these settings, each with the value and what is allowed. Empty: none.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (key, value) in
            [("voter_ttl", self.voter_ttl), ("vote_ttl", self.vote_ttl), ("decision_ttl", self.decision_ttl)]
        {
            if value < Duration::from_millis(10) || value > Duration::from_secs(3_600) {
                found.push(format!("{key} = {value:?} is not allowed: it must be 10 ms to 1 h"));
            }
        }
        if self.decision_ttl >= self.voter_ttl {
            found.push(format!(
                "decision_ttl = {:?} must be below voter_ttl = {:?}: a decision may not outlive its proposer",
                self.decision_ttl, self.voter_ttl
            ));
        }
        if self.expected_supervisors.is_some_and(|n| n == 0 || n > 1_000) {
            found.push(format!(
                "expected_supervisors = {:?} is not allowed: it must be 1 to 1000",
                self.expected_supervisors
            ));
        }
        if (self.profile == Profile::Praefect) != (self.policy == QuorumPolicy::Half) {
            found.push(format!(
                "quorum policy {} is not allowed in profile {}: `half` belongs to `praefect` alone",
                self.policy.as_str(),
                self.profile.as_str()
            ));
        }
        found
    }
}

/// Durations as whole milliseconds, the unit of the settings row.
pub(crate) mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_sound() {
        for profile in [Profile::Default, Profile::Lan, Profile::Praefect] {
            assert_eq!(Settings::of(profile).problems(), Vec::<String>::new(), "{profile:?}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut settings = Settings::of(Profile::Default);
        settings.voter_ttl = Duration::from_millis(1);
        settings.expected_supervisors = Some(0);
        settings.policy = QuorumPolicy::Half;
        assert_eq!(settings.problems().len(), 4, "{:?}", settings.problems());
    }
}
