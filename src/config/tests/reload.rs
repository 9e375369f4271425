//! What may change live.

use super::MINIMAL;
use crate::config::*;

#[test]
fn what_cannot_change_live_is_told_whole_and_what_can_is_not() {
    let old = Config::from_toml(MINIMAL).unwrap();
    let mut new = old.clone();
    new.heartbeat = Duration::from_millis(700);
    new.health.interval = Duration::from_millis(300);
    new.health.timeout = Duration::from_millis(100);
    new.health.thresholds.fall = 2;
    new.health.timeout_floor = Some(Duration::from_millis(50));
    new.health.restart_grace = Duration::from_secs(2);
    new.graceful_stop_timeout = Duration::from_secs(1);
    new.virtual_storages[0].nodes.push(NodeConfig::new("g9".parse().unwrap(), "tcp://h:1"));
    assert_eq!(old.not_live(&new), []);
    new.name = Some("s2".parse().unwrap());
    new.database.url = DatabaseUrl::new("postgres://u:hunter2@h/d");
    new.health.keepalive = Duration::from_secs(30);
    new.settings.voter_ttl = Duration::from_secs(9);
    new.virtual_storages[0].name = "other".parse().unwrap();
    let found = old.not_live(&new);
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "name",
            "database.url",
            "health.keepalive",
            "consensus.voter_ttl",
            "virtual_storage[0].name",
            "virtual_storage"
        ]
    );
    assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
}
