//! The set-ups work, at sizes that take no time.

use quorate::{
    config::Config,
    core::{settings::Profile, window::Thresholds},
    testing::storage_node::StorageNode,
};
use quorate_benches::{
    false_alarms::{Model, simulate},
    fleet::{self, Order},
    ground::{Elections, Kind},
    proxy,
    rounds::{self, Story},
    scale::Pair,
    synced,
};
use std::time::Duration;

#[actix_rt::test]
async fn a_lookup_answers_what_the_bare_select_reads() {
    for kind in Kind::ALL {
        let mut scene = Elections::at_rest(kind, 5, 20).await.unwrap();
        for _ in 0..20 {
            let repository = scene.any();
            let bare = scene.bare(repository).await.unwrap();
            assert_eq!(scene.lookup(repository).await.unwrap().storage.as_str(), bare, "{kind}");
            let other = scene.after(repository);
            let bare = scene.bare(other).await.unwrap();
            assert_eq!(scene.lookup_by_path(other).await.unwrap().storage.as_str(), bare, "{kind}");
        }
    }
}

#[actix_rt::test]
async fn every_iteration_elects_even_after_the_table_was_turned_back() {
    for kind in Kind::ALL {
        let mut scene = Elections::due(kind, 5).await.unwrap();
        for _ in 0..12 {
            let repository = scene.any_due().await.unwrap();
            assert_eq!(scene.bare(repository).await.unwrap(), "g1", "{kind}");
            let elected = scene.elect(repository).await.unwrap();
            assert_eq!(scene.bare(repository).await.unwrap(), elected.storage.as_str(), "{kind}");
        }
    }
}

#[actix_rt::test]
async fn rounds_write_what_their_profile_says() {
    for kind in Kind::ALL {
        for (story, calls, rows) in [(Story::Praefect, 3.0, 6.0), (Story::AtRest, 2.0, 1.0), (Story::OneVote, 2.0, 2.0)]
        {
            let cost =
                rounds::measure(kind, story, 5, 4).await.unwrap_or_else(|error| panic!("{kind} {story:?}: {error:?}"));
            assert_eq!(cost.calls, calls, "{cost:?}");
            assert!(cost.log > 0.0, "{cost:?}");
            if kind == Kind::PostgreSQL {
                assert_eq!((cost.rows, cost.statements), (Some(rows), Some(calls)), "{cost:?}");
            }
        }
    }
}

/// The statement is prepared once per connection: a lookup is one round trip, not two.
#[actix_rt::test]
async fn a_lookup_is_prepared_once() {
    let scene = Elections::at_rest(Kind::PostgreSQL, 3, 10).await.unwrap();
    let (url, passed) = proxy::before(scene.ground.url()).await.unwrap();
    let store = quorate_benches::ground::postgres_at(&url).await.unwrap();
    let target = quorate::core::election::Target::Id(quorate::core::ids::RepositoryId(1));
    // The first one opens the connection, whose own settings are statements too.
    assert!(quorate::store::ElectionStore::election_facts(&store, &target).await.unwrap().is_some());
    let [_, _, executed, prepared] = passed.counts();
    for _ in 0..10 {
        assert!(quorate::store::ElectionStore::election_facts(&store, &target).await.unwrap().is_some());
    }
    let [_, _, executed_after, prepared_after] = passed.counts();
    assert_eq!((executed_after - executed, prepared_after - prepared), (10, 0));
}

#[actix_rt::test]
async fn a_large_database_and_a_small_one_answer_alike() {
    for kind in Kind::ALL {
        let mut pair = Pair::new(kind, [20, 60]).await.unwrap();
        let mut costs = pair.lookups(10).await.unwrap();
        costs.extend(pair.factors(5).await.unwrap());
        costs.push(pair.counts(2).await.unwrap());
        for cost in costs {
            assert!(cost.times.iter().all(|time| time.count > 0 && time.median_us > 0.0), "{cost:?}");
            assert_eq!(cost.repositories, [20, 60]);
        }
    }
}

#[actix_rt::test]
async fn a_fleet_is_all_healthy_and_measured_at_rest() {
    let real = StorageNode::start();
    for (database, addresses) in
        [(Kind::SQLite, Vec::new()), (Kind::SQLite, vec![real.address().to_string()]), (Kind::PostgreSQL, Vec::new())]
    {
        let at_rest = Duration::from_secs(3);
        let (supervisors, profile) = (2, Profile::Default);
        let order = Order { database, supervisors, profile, virtual_storages: 2, each: 4, addresses, at_rest };
        let fleet = fleet::measure(order).await.unwrap();
        assert!(fleet.round.count >= 2 && fleet.start <= fleet.healthy, "{fleet:?}");
        // How busy is no matter here: the other tests of this process are counted with it.
        assert_eq!(fleet.rows_each_second.is_some_and(|rows| rows > 0.0), database == Kind::PostgreSQL, "{fleet:?}");
        assert!(fleet.after_kib > 0 && fleet.busy_percent > 0.0, "{fleet:?}");
    }
    assert!(real.checks() >= 8, "the real one was asked");
}

#[actix_rt::test]
async fn a_table_is_filled_and_asked_from_memory() {
    for database in Kind::ALL {
        let table = synced::measure(synced::Order { database, entries: 40, samples: 20 }).await.unwrap();
        // That a hit came from memory and a miss did not is counted by the harness itself, which fails otherwise.
        assert!([table.bypass, table.cold, table.miss, table.hit].iter().all(|times| times.count == 20), "{table:?}");
    }
}

/// The count of false verdicts can be other than none: with an eye that believes one lost probe it is.
#[test]
fn false_alarms_are_found_where_one_miss_is_enough() {
    let health = Config::new(Profile::Default, "sqlite:unused").health;
    let model = Model::of(&health, Duration::from_millis(500));
    let careful = simulate(&model, 1, 1_000);
    assert!(careful.probes > 14_000_000 && careful.missed > 100_000, "{careful:?}");
    let hasty = Model { thresholds: Thresholds { fall: 1, ..model.thresholds }, ..model };
    let hasty = simulate(&hasty, 1, 1_000);
    assert!(hasty.verdicts > 100 && careful.verdicts * 100 < hasty.verdicts, "{careful:?} {hasty:?}");
}

/// The harness of real processes plays its faults, and loses nothing.
#[test]
fn the_failover_harness_plays() {
    let folder = tempfile::tempdir().unwrap();
    let words =
        "--trials 1 --profiles lan --databases sqlite --repositories 30 --faults kill,not-serving,stop,supervisor";
    let played = std::process::Command::new(env!("CARGO_BIN_EXE_failover"))
        .args(words.split(' '))
        .args(["--out".as_ref(), folder.path().as_os_str()])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&played.stdout);
    assert!(played.status.success(), "{told}\n{}", String::from_utf8_lossy(&played.stderr));
    for fault in ["kill", "not-serving", "stop", "supervisor"] {
        assert!(told.contains(&format!("| lan | {fault} | 1 |")), "{told}");
    }
    let plot = std::fs::read_to_string(folder.path().join("failover.svg")).unwrap();
    assert_eq!(plot.matches("<circle").count(), 3, "one dot for each failover");
}
