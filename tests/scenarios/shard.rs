//! The table of the elector of whole virtual storages, and two callers at once.
//!
//! Under profile `praefect` votes are Praefect's two timestamps and lapse after ten seconds; under ours they are opinions,
//! and hold until they change.

use crate::lab::{Kind, LIMIT, Lab, PROFILES, node, on_both, storage, supervisor};
use actix::{Actor, Addr};
use quorate::{
    Error,
    actors::{ElectorConfig, KnownPrimaries, VirtualStorageElector, VirtualStorageElectorConfig},
    core::{
        consensus::Opinion,
        election::{Target, WaitReason},
        ids::{Incarnation, RelativePath, RepositoryId, VirtualStorage, Voter},
        settings::{Profile, Settings},
        shard::Shard,
    },
    messages::election::{GetPrimary, GetShard},
    store::{ElectionStore, HealthStore, PrimaryChange, Registered, Registration, ShardStore, VoteBatch},
    telemetry::Meter,
    testing::wait,
};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::watch;

struct Scene {
    lab: Lab,
    profile: Profile,
    voter: Voter,
    elector: Addr<VirtualStorageElector>,
    votes: i64,
}

fn v() -> VirtualStorage {
    VirtualStorage::new("v").unwrap()
}

impl Scene {
    /// A supervisor that sees these nodes up, asked by message.
    async fn new(kind: Kind, profile: Profile, nodes: &[&str]) -> Scene {
        let mut settings = Settings::of(profile);
        settings.voter_ttl = Duration::from_secs(60);
        let lab = Lab::new(kind, &settings).await;
        let name = supervisor("praefect");
        let mut voter = Voter { name: name.clone(), incarnation: Incarnation(0) };
        if profile != Profile::Praefect {
            let nodes = nodes.iter().map(|name| node("v", name)).collect();
            let registration = Registration {
                name: name.clone(),
                previous: None,
                process: name.as_str().parse().unwrap(),
                attempt: 1,
                address: None,
                version: "1".into(),
                nodes,
            };
            match lab.store.supervisor_register(&registration).await.unwrap() {
                Registered::Registered { incarnation, .. } => voter.incarnation = incarnation,
                other @ (Registered::NameInUse { .. } | Registered::Superseded { .. }) => panic!("{other:?}"),
            }
        }
        let (_cell, registered) = watch::channel(Some(voter.clone()));
        let config = VirtualStorageElectorConfig {
            store: lab.store.clone(),
            repositories: lab.store.clone(),
            name: name.clone(),
            voter: registered,
            behind: watch::Sender::new(None).subscribe(),
            nodes: BTreeMap::from([(v(), nodes.iter().map(|name| storage(name)).collect())]).into(),
            primaries: KnownPrimaries::new(name, Meter::default()),
            timeout: LIMIT,
            lot: ElectorConfig::random_lot,
        };
        let mut scene = Scene { lab, profile, voter, elector: VirtualStorageElector::new(config).start(), votes: 0 };
        for name in nodes {
            scene.sees(name, true).await;
        }
        scene
    }

    /// The outcome of one probe. Praefect's failure leaves the last sighting, which lapses later.
    async fn sees(&mut self, name: &str, up: bool) {
        self.votes += 1;
        if self.profile == Profile::Praefect {
            self.lab.foreign_probe(name, up).await;
            return;
        }
        let opinion = if up { Opinion::Up } else { Opinion::Down };
        let batch = VoteBatch { number: self.votes, votes: vec![(node("v", name), opinion)] };
        self.lab.store.votes_write(&self.voter, &batch).await.unwrap();
    }

    /// As if the last sighting of a node had been so long ago that it counts no more.
    async fn sighting_lapses(&self, name: &str) {
        self.lab.age("node_status", "last_seen_active_at", 11, &format!("node_name = '{name}'")).await;
    }

    async fn all_die(&mut self, names: &[&str]) {
        for name in names {
            self.sees(name, false).await;
            self.sighting_lapses(name).await;
        }
    }

    /// As if the last election had been long ago.
    async fn election_ages(&self) {
        self.lab.age("shard_primaries", "elected_at", 11, "shard_name = 'v'").await;
    }

    async fn shard(&self) -> Result<Shard, Error> {
        self.elector.send(GetShard(v())).await.unwrap()
    }

    async fn is(&self, primary: &str, secondaries: &[&str], what: &str) -> Shard {
        let shard = self.shard().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(shard.primary, storage(primary), "{what}");
        assert_eq!(shard.secondaries, secondaries.iter().map(|name| storage(name)).collect::<Vec<_>>(), "{what}");
        assert!(shard.epoch.is_some(), "{what}");
        shard
    }

    async fn rows(&self) -> (i64, i64) {
        (self.lab.count("node_status").await, self.lab.count("shard_primaries").await)
    }

    async fn history(&self) -> Vec<PrimaryChange> {
        self.lab.store.shard_history(&v(), 100).await.unwrap()
    }
}

async fn one_node(kind: Kind) {
    for profile in PROFILES {
        let scene = Scene::new(kind, profile, &["g1"]).await;
        let shard = scene.is("g1", &[], "the only node").await;
        assert_eq!(scene.rows().await, (1, 1));
        assert_eq!(scene.is("g1", &[], "again").await, shard, "a lookup that changes nothing writes nothing");
        scene.lab.sql("UPDATE shard_primaries SET demoted = true WHERE shard_name = 'v'").await;
        match (profile, scene.shard().await) {
            (Profile::Praefect, Err(Error::PrimaryNotHealthy { storage: told, .. })) => assert_eq!(told, storage("g1")),
            (Profile::Default | Profile::Lan, Err(Error::ElectionPending(WaitReason::TooSoon))) => {}
            (profile, other) => panic!("{profile:?}: {other:?}"),
        }
        assert_eq!(scene.rows().await, (1, 1));
        scene.election_ages().await;
        let again = scene.is("g1", &[], "what was demoted can be elected again (F4)").await;
        assert!(again.epoch > shard.epoch);
        assert_eq!(scene.rows().await, (1, 1));
    }
}
on_both!(primary_and_secondaries, super::one_node);

/// In Praefect a vote is written and judged at one moment, so it counts even if votes live no time at all. Ours are judged
/// by their ages in the read that brought them: however long the change takes, they age no further, and the next question
/// sees what happened meanwhile.
async fn slow(kind: Kind) {
    for profile in PROFILES {
        let mut scene = Scene::new(kind, profile, &["g1", "g2"]).await;
        let lock = scene.lab.lock_shard().await;
        let commits = scene.lab.store.commits();
        let elector = scene.elector.clone();
        let asked = actix::spawn(async move { elector.send(GetShard(v())).await.unwrap() });
        wait::until("it has decided", LIMIT, || scene.lab.store.commits() - commits == 1).await;
        if let Kind::Postgres = kind {
            scene.all_die(&["g1", "g2"]).await;
        }
        lock.release().await;
        assert_eq!(asked.await.unwrap().unwrap().primary, storage("g1"), "{profile:?}: both were up when it looked");
        if let Kind::Sqlite = kind {
            // There nobody writes while somebody else does.
            scene.all_die(&["g1", "g2"]).await;
        }
        scene.election_ages().await;
        let answer = scene.shard().await;
        assert!(matches!(answer, Err(Error::PrimaryNotHealthy { .. })), "{profile:?}: {answer:?}");
        assert_eq!(scene.rows().await, (2, 1));
    }
}
on_both!(slow_execution, super::slow);

async fn failover(kind: Kind) {
    for profile in PROFILES {
        let praefect = profile == Profile::Praefect;
        let mut scene = Scene::new(kind, profile, &["g1", "g2"]).await;
        scene.is("g1", &["g2"], "both are healthy").await;
        assert_eq!(scene.rows().await, (2, 1));

        scene.sees("g1", false).await;
        if praefect {
            scene.election_ages().await;
            scene.is("g1", &["g2"], "its vote is fresh").await;
            scene.sighting_lapses("g1").await;
        } else {
            let answer = scene.shard().await;
            assert!(matches!(answer, Err(Error::ElectionPending(WaitReason::TooSoon))), "{answer:?}");
            scene.election_ages().await;
        }
        scene.is("g2", &["g1"], "its votes are gone").await;

        scene.sees("g1", true).await;
        scene.is("g2", &["g1"], "there is no way back by itself").await;
        scene.sees("g2", false).await;
        scene.sighting_lapses("g2").await;
        if praefect {
            scene.is("g2", &["g1"], "the last election was just now: the row stands").await;
        }
        scene.election_ages().await;
        scene.is("g1", &["g2"], "back to the first").await;

        scene.sees("g1", false).await;
        scene.sighting_lapses("g1").await;
        scene.election_ages().await;
        for _ in 0..2 {
            let answer = scene.shard().await;
            assert!(
                matches!(&answer, Err(Error::PrimaryNotHealthy { storage: told, .. }) if *told == storage("g1")),
                "{profile:?}: {answer:?}"
            );
        }
        assert_eq!(scene.rows().await, (2, 1));
        // Praefect demotes, once; ours keeps the row, for no better candidate is not no primary (F27).
        let told: Vec<_> = scene.history().await.into_iter().map(|row| row.current.map(|to| to.to_string())).collect();
        let demoted = praefect.then_some(None);
        let elected = ["g1", "g2", "g1"].map(|name| Some(name.to_owned()));
        assert_eq!(told, demoted.into_iter().chain(elected).collect::<Vec<_>>(), "{profile:?}");
    }
}
on_both!(basic_failover, super::failover);

/// Replicas of p1 to p5, all of generation 5; -1 is none.
async fn replicas(lab: &Lab, storage: &str, generations: [i64; 5]) {
    for (number, generation) in (1..=5).zip(generations).filter(|(_, generation)| *generation >= 0) {
        lab.sql(&format!(
            "INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
             VALUES ('v', 'p{number}', '{storage}', {generation}, {number});"
        ))
        .await;
    }
}

async fn elects(kind: Kind, informed: bool) {
    for profile in PROFILES {
        let mut scene = Scene::new(kind, profile, &["g1", "g2", "g3"]).await;
        if informed {
            for number in 1..=5 {
                scene
                    .lab
                    .sql(&format!(
                        "INSERT INTO repositories (virtual_storage, relative_path, generation, repository_id, replica_path)
                         VALUES ('v', 'p{number}', 5, {number}, 'p{number}');"
                    ))
                    .await;
            }
            replicas(&scene.lab, "g2", [5, 5, 4, 3, -1]).await;
            replicas(&scene.lab, "g3", [5, 5, 4, 4, 5]).await;
            // What is elsewhere does not count.
            scene
                .lab
                .sql(
                    "INSERT INTO repositories (virtual_storage, relative_path, generation, repository_id, replica_path)
                     VALUES ('w', 'p', 50, 9, 'p');
                     INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
                     VALUES ('w', 'p', 'g2', 50, 9);",
                )
                .await;
        }
        scene.sees("g1", false).await;
        scene.sighting_lapses("g1").await;
        let (elected, other) = if informed { ("g3", "g2") } else { ("g2", "g3") };
        scene.is(elected, &["g1", other], "the most up to date, or the first").await;
        let evidence = scene.history().await.remove(0).evidence.unwrap();
        let evidence: serde_json::Value = serde_json::from_str(&evidence).unwrap();
        assert_eq!(evidence["fallback_choice"], !informed);
        let lags = if informed { serde_json::json!({"g2": 9, "g3": 2}) } else { serde_json::json!({"g2": 0, "g3": 0}) };
        assert_eq!(evidence["candidates"], lags);
        assert_eq!(evidence["refused"]["g1"], "unhealthy");
    }
}
on_both!(elect_new_primary_more_up_to_date_wins, |kind| super::elects(kind, true));
on_both!(elect_new_primary_without_information, |kind| super::elects(kind, false));

/// Callers that all saw the old row: whatever commits, commits while the others wait for the same row (F26).
async fn overlapping(kind: Kind) {
    for profile in PROFILES {
        let mut scene = Scene::new(kind, profile, &["g1", "g2"]).await;
        for (failed, elected) in [(None, "g1"), (Some("g1"), "g2")] {
            if let Some(failed) = failed {
                scene.sees(failed, false).await;
                scene.sighting_lapses(failed).await;
                scene.election_ages().await;
            }
            let (commits, before) = (scene.lab.store.commits(), scene.history().await.len());
            let lock = scene.lab.lock_shard().await;
            let asking = [0, 1, 2, 3].map(|_| {
                let elector = scene.elector.clone();
                actix::spawn(async move { elector.send(GetShard(v())).await.unwrap() })
            });
            wait::until("all are under way", LIMIT, || scene.lab.store.commits() - commits == 4).await;
            lock.release().await;
            let mut answers = Vec::new();
            for asked in asking {
                answers.push(asked.await.unwrap().unwrap());
            }
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
            assert_eq!(answers[0].primary, storage(elected));
            assert_eq!(scene.history().await.len(), before + 1, "exactly one change");
        }
    }
}
on_both!(of_overlapping_callers_one_changes_it, super::overlapping);

async fn adapter(kind: Kind) {
    for profile in PROFILES {
        let scene = Scene::new(kind, profile, &["g1", "g2"]).await;
        let shard = scene.is("g1", &["g2"], "both are healthy").await;
        scene
            .lab
            .sql(
                "INSERT INTO repositories (virtual_storage, relative_path, generation, repository_id, replica_path)
                 VALUES ('v', 'r', 0, 7, 'r');
                 INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
                 VALUES ('v', 'r', 'g1', 0, 7);",
            )
            .await;
        let path = |of: &str| Target::Path(v(), RelativePath::new(of).unwrap());
        for (target, number) in [(path("r"), Some(7)), (path("nobody knows"), None)] {
            let primary = scene.elector.send(GetPrimary::of(target)).await.unwrap().unwrap();
            assert_eq!(primary.storage, shard.primary);
            assert_eq!(primary.repository.map(|id| id.0), number);
            assert!(primary.epoch.is_some(), "{profile:?}: {primary:?}");
        }
        // Praefect knows no fence; ours is the repository's own row, which follows the virtual storage's.
        let followed = scene.lab.store.primary_history(RepositoryId(7), 10).await.unwrap();
        let followed: Vec<_> = followed.into_iter().map(|row| (row.current, row.why)).collect();
        let expected = (Some(storage("g1")), Some("none_recorded".to_owned()));
        assert_eq!(followed, if profile == Profile::Praefect { Vec::new() } else { vec![expected] });
        let unknown = scene.elector.send(GetShard(VirtualStorage::new("w").unwrap())).await.unwrap();
        assert!(matches!(unknown, Err(Error::VirtualStorageNotFound(_))), "{unknown:?}");
    }
}
on_both!(any_repository_has_the_primary_of_its_virtual_storage, super::adapter);
