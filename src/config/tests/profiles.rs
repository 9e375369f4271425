//! What the profiles set, and what they have no use for.

use super::MINIMAL;
use crate::config::*;

#[test]
fn every_profile_satisfies_its_own_relations() {
    for profile in ["default", "lan", "praefect"] {
        let text = format!("profile = {profile:?}\n{MINIMAL}");
        assert!(Config::from_toml(&text).is_ok(), "{profile}: {:?}", Config::from_toml(&text));
    }
}

#[test]
fn a_key_that_a_profile_has_no_use_for_is_refused_there_and_taken_elsewhere() {
    let file = |profile: &str, line: &str| Config::from_toml(&format!("profile = {profile:?}\n{line}\n{MINIMAL}"));
    for (key, value) in [("heartbeat", "\"900ms\""), ("health.bootstrap_interval", "\"50ms\"")] {
        let error = file("praefect", &format!("{key} = {value}")).unwrap_err();
        assert!(error.problems.iter().any(|problem| problem.key == key), "{key}\n{error}");
        assert!(file("default", &format!("{key} = {value}")).is_ok(), "{key}");
    }
    for line in ["health.interval = \"900ms\"", "health.window = 3\nhealth.fall = 2"] {
        assert!(file("praefect", line).is_ok(), "{line}");
    }
}

#[test]
fn what_is_believed_while_the_database_answers_is_believed_when_it_does_not() {
    let file = |ttl: &str| Config::from_toml(&format!("feed.failsafe_ttl = {ttl:?}\n{MINIMAL}"));
    let error = file("1999ms").unwrap_err().to_string();
    assert!(error.contains("feed.failsafe_ttl") && error.contains("must not be below feed.ttl = 2s"), "{error}");
    assert!(file("2s").is_ok());
}

#[test]
fn the_profiles_are_those_of_the_protocol() {
    let ms = Duration::from_millis;
    let rows = [
        (Profile::Default, 750, 300, (3, 3, 10), 1_000, 5_000, 5_000),
        (Profile::Lan, 100, 100, (2, 3, 10), 500, 2_000, 2_000),
        (Profile::Praefect, 1_000, 1_000, (1, 1, 1), 1_000, 60_000, 10_000),
    ];
    for (profile, interval, timeout, (fall, rise, window), heartbeat, voter_ttl, vote_ttl) in rows {
        let config = Config::new(profile, "sqlite:x");
        assert_eq!((config.health.interval, config.health.timeout), (ms(interval), ms(timeout)), "{profile:?}");
        assert_eq!(config.health.thresholds, Thresholds { fall, rise, first: 1, window }, "{profile:?}");
        assert_eq!(config.heartbeat, ms(heartbeat), "{profile:?}");
        let settings = &config.settings;
        assert_eq!((settings.voter_ttl, settings.vote_ttl), (ms(voter_ttl), ms(vote_ttl)), "{profile:?}");
        assert_eq!(settings.decision_ttl, ms(1_000), "{profile:?}");
        let policy = if profile == Profile::Praefect { "half" } else { "majority" };
        assert_eq!(settings.policy.as_str(), policy, "{profile:?}");
    }
}
