//! What is written through other connections and by other processes is heard of: somebody watches the file.

use crate::{
    support::{Database, Hand, create, options, repository, set, storage},
    synced::{Following, Led},
};
use quorate::{
    actors::FeedStatus,
    core::{
        consensus::Opinion,
        election::Target,
        epoch::Generation,
        ids::{Incarnation, NodeId, RepositoryId, Voter},
        lookup::{Freshness, Source},
        settings::{Profile, Settings},
    },
    store::{
        Change, ChangeFeed, ChangeKind, ElectionStore, HealthStore, Listener, NewRepository, Outcome, RepositoryStore,
        StoreError, StoreErrorKind, StoreOp, VoteBatch, sqlite::SqliteStore,
    },
    testing::wait,
};
use std::{sync::Arc, time::Duration};

const LIMIT: Duration = Duration::from_secs(30);

/// A repository that `g1` leads.
fn led(at: &str) -> NewRepository {
    NewRepository { primary: Some(storage("g1")), ..repository(at) }
}

/// What the listener hears next.
async fn next(listener: &mut Box<dyn Listener>) -> Result<Vec<Change>, StoreError> {
    tokio::time::timeout(LIMIT, listener.next()).await.expect("something is heard")
}

/// Hears until a change of this kind was told.
async fn hears(listener: &mut Box<dyn Listener>, kind: ChangeKind) {
    while !next(listener).await.unwrap().iter().any(|change| change.kind == kind) {}
}

/// Why the listener ends.
async fn ends(listener: &mut Box<dyn Listener>) -> StoreErrorKind {
    loop {
        if let Err(error) = next(listener).await {
            return error.kind().clone();
        }
    }
}

#[actix::test]
async fn another_processes_change_is_heard_and_the_status_says_that_somebody_listens() {
    let database = Database::new();
    let mut settings = Settings::of(Profile::Praefect);
    settings.voter_ttl *= 10;
    let (other, _) = database.started(&settings).await;
    let Outcome::Done(created) = other.repository_create(&repository("r")).await.unwrap() else { panic!() };
    let id: RepositoryId = created.repository;
    let following = Following::of(Arc::new(SqliteStore::open(&database.url(), options()).await.unwrap()));
    following.warm("r").await;
    assert_eq!(following.table.status(), FeedStatus::Listening);
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
async fn d15_what_another_process_does_to_a_primary_is_heard_and_the_latest_known_at_once() {
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

/// The store's own pool, another store on the file, and a hand without our code: one reader hears them all, and nobody polls.
#[actix::test]
async fn votes_settings_and_primaries_are_heard_whoever_commits_them() {
    let database = Database::new();
    let (store, voter) = database.started(&Settings::of(Profile::Default)).await;
    let other = database.open().await;
    let mut listener = store.listen().await.unwrap().expect("it listens");
    for (number, writer) in [(1, &store), (2, &other)] {
        let opinion = if number == 1 { Opinion::Up } else { Opinion::Down };
        let votes = vec![(NodeId::new("v".parse().unwrap(), storage("g1")), opinion)];
        writer.votes_write(&voter, &VoteBatch { number, votes }).await.unwrap();
        hears(&mut listener, ChangeKind::Votes).await;
        writer.settings_update(&Settings::of(Profile::Lan)).await.unwrap();
        hears(&mut listener, ChangeKind::Votes).await;
        create(writer, &led(&format!("r{number}"))).await;
        hears(&mut listener, ChangeKind::Primaries).await;
    }
    database.hand().run("UPDATE repositories SET \"primary\" = 'g3'");
    hears(&mut listener, ChangeKind::Primaries).await;
}

/// Whoever asks hears first what was committed before the question, and is answered while somebody else holds the lock.
#[actix::test]
async fn a_check_is_answered_at_once_and_by_no_lock_kept_waiting() {
    let database = Database::new();
    let (store, _) = database.started(&Settings::of(Profile::Default)).await;
    let other = database.open().await;
    let mut listener = store.listen().await.unwrap().expect("it listens");
    for number in 0..20 {
        create(&other, &led(&format!("r{number}"))).await;
        let told = listener.check().await.unwrap();
        assert!(told.iter().any(|change| change.kind == ChangeKind::Primaries), "{number}: {told:?}");
    }
    let mut hand: Hand = database.hand();
    hand.run("BEGIN IMMEDIATE");
    assert_eq!(listener.check().await.unwrap(), []);
    hand.run("COMMIT");
}

/// SQLite would go on answering from the file that has gone. Nothing that is remembered may be believed then.
#[actix::test]
async fn d16_a_file_that_is_no_longer_the_one_watched_ends_the_listener() {
    for replaced in [true, false] {
        let database = Database::new();
        let (store, _) = database.started(&Settings::of(Profile::Default)).await;
        create(&store, &led("r")).await;
        let following = Following::of(Arc::new(database.open().await));
        following.warm("r").await;
        let mut listener = store.listen().await.unwrap().expect("it listens");
        let elsewhere = Database::new();
        let _another = elsewhere.started(&Settings::of(Profile::Default)).await;
        if replaced {
            std::fs::rename(elsewhere.path(), database.path()).unwrap();
        } else {
            std::fs::remove_file(database.path()).unwrap();
        }
        let expected = if replaced { StoreErrorKind::ConnectionLost } else { StoreErrorKind::DatabaseMissing };
        assert_eq!(ends(&mut listener).await, expected);
        assert!(listener.check().await.is_err(), "it stays ended");
        let evicted = || following.counts().evict == 1;
        wait::until("what was remembered is forgotten", LIMIT, evicted).await;
    }
}

/// An error of a statement, too: whoever cannot read what changed must not be believed.
#[actix::test]
async fn changes_that_cannot_be_read_end_the_listener() {
    let database = Database::new();
    let (store, _) = database.started(&Settings::of(Profile::Default)).await;
    let mut listener = store.listen().await.unwrap().expect("it listens");
    database.hand().run("ALTER TABLE changes RENAME TO gone");
    let error = loop {
        if let Err(error) = next(&mut listener).await {
            break error;
        }
    };
    assert_eq!(error.op(), StoreOp::ChangesListen, "{error}");
}

/// The reader has a thread and a connection of its own: both end with whoever listened.
#[cfg(target_os = "linux")]
#[actix::test]
async fn a_reader_ends_with_its_listener() {
    let database = Database::new();
    let (store, _) = database.started(&Settings::of(Profile::Default)).await;
    let listener = store.listen().await.unwrap().expect("it listens");
    drop(store);
    assert!(is_open(&database.path()), "the reader's own connection");
    drop(listener);
    wait::until("its connection is closed", LIMIT, || !is_open(&database.path())).await;
}

#[cfg(target_os = "linux")]
fn is_open(path: &std::path::Path) -> bool {
    let mut open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == path))
}
