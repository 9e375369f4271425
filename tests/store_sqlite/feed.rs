//! The memory of who is up to date: SQLite cannot speak first, so it is polled, also for what another process wrote.

use crate::{
    support::{Database, options, repository, set, storage},
    synced::{Following, Led},
};
use quorate::{
    actors::FeedStatus,
    core::{
        election::Target,
        epoch::Generation,
        ids::{Incarnation, RepositoryId, Voter},
        lookup::{Freshness, Source},
        settings::{Profile, Settings},
    },
    store::{ElectionStore, Outcome, RepositoryStore, sqlite::SqliteStore},
};
use std::sync::Arc;

#[actix::test]
async fn another_processes_change_is_found_by_polling_and_the_status_says_that() {
    let database = Database::new();
    let mut settings = Settings::of(Profile::Praefect);
    settings.voter_ttl *= 10;
    let (other, _) = database.started(&settings).await;
    let Outcome::Done(created) = other.repository_create(&repository("r")).await.unwrap() else { panic!() };
    let id: RepositoryId = created.repository;
    let following = Following::of(Arc::new(SqliteStore::open(&database.url(), options()).await.unwrap()));
    following.warm("r").await;
    let FeedStatus::Polling { why } = following.table.status() else { panic!("{:?}", following.table.status()) };
    assert!(why.contains("cannot notify"), "{why}");
    assert_eq!(following.up_to_date("r").await, ["g1", "g2", "g3"]);
    let written = other.generation_increment(id, None, &set(&["g1"])).await.unwrap();
    assert!(matches!(written, Outcome::Done(_)), "{written:?}");
    following.becomes("r", &["g1"]).await;
    following.warm("r").await;
    let caught_up = other.generation_set(id, None, &storage("g3"), Generation(1)).await.unwrap();
    assert!(matches!(caught_up, Outcome::Done(())), "{caught_up:?}");
    following.becomes("r", &["g1", "g3"]).await;
}

#[actix::test]
async fn d15_what_another_process_does_to_a_primary_is_found_by_polling_and_the_latest_at_once() {
    let database = Database::new();
    let (other, _) = database.started(&Settings::of(Profile::Default)).await;
    let Outcome::Done(created) = other.repository_create(&repository("r")).await.unwrap() else { panic!() };
    let id: RepositoryId = created.repository;
    let operator = Voter { name: "operator".parse().unwrap(), incarnation: Incarnation(1) };
    let authoritative = async |name: &str| {
        let facts = other.election_facts(&Target::Id(id)).await.unwrap().unwrap().facts;
        let done = other.authoritative_set(id, &storage(name), facts.facts_version, &operator).await.unwrap();
        assert!(matches!(done, Outcome::Done(_)), "{done:?}");
    };
    authoritative("g1").await;
    let led = Led::of(Arc::new(SqliteStore::open(&database.url(), options()).await.unwrap()));
    led.remembers("r", "g1").await;
    authoritative("g2").await;
    let latest = led.ask("r", Freshness::Latest).await.unwrap();
    assert_eq!((latest.storage.as_str(), latest.source), ("g2", Source::Fresh));
    led.remembers("r", "g2").await;
}
