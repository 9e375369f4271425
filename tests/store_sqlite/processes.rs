//! Other processes on the same file: this test binary runs itself again, as a helper that does as it is told.
//!
//! The helper is the test `helper_process`, which does nothing unless the environment says which part to play; a
//! thread would not do, for SQLite's locks belong to processes, and only a process can be killed.

use crate::support::{Database, create, facts, lan, options, repository, storage};
use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use quorate::{
    core::{
        epoch::{Epoch, Era, FactsVersion},
        ids::{DecisionId, Incarnation, RepositoryId, SupervisorName, VirtualStorage, Voter},
        time::DatabaseTime,
    },
    store::{
        CasOutcome, ElectionStore, Expected, HealthStore, Proposal, StoreErrorKind,
        sqlite::{SqliteOptions, SqliteStore},
    },
};
use std::{error::Error, os::unix::fs::PermissionsExt, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{Instant, timeout},
};

const PART: &str = "QUORATE_TEST_PART";
const PATH: &str = "QUORATE_TEST_PATH";
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Helper {
    pub(crate) child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    pub(crate) fn start(part: &str, database: &Database, user: Option<u32>) -> Helper {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "processes::helper_process", "--nocapture"]);
        command.env(PART, part).env(PATH, database.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        if let Some(user) = user {
            command.uid(user).gid(user).current_dir("/");
        }
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Helper { child, input, output: BufReader::new(output).lines() }
    }
    /// Its next word; what the test harness prints around it is passed over.
    pub(crate) async fn says(&mut self) -> String {
        let word = async {
            loop {
                let line = self.output.next_line().await.unwrap().expect("it still runs");
                if let Some((_, word)) = line.split_once("@@") {
                    return word.to_owned();
                }
            }
        };
        timeout(PATIENCE, word).await.expect("the helper answers")
    }
    pub(crate) async fn tell(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
    }
}

fn listen() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim().to_owned()
}

#[test]
fn helper_process() {
    let (Some(part), Some(path)) = (std::env::var_os(PART), std::env::var_os(PATH)) else { return };
    let path = path.into_string().unwrap();
    let url = format!("sqlite:{path}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match part.to_str().unwrap() {
        "hold" => {
            let mut connection = SqliteConnection::establish(&path).unwrap();
            connection.batch_execute("BEGIN IMMEDIATE; INSERT INTO hello_world VALUES (1)").unwrap();
            println!("@@held");
            listen();
        }
        // A whole supervisor, which votes and is then caught inside a write.
        "supervise" => actix::System::new().block_on(async {
            let _supervisor = crate::supervisors::supervisor(&url, "s3", &Default::default()).await;
            println!("@@votes");
            let mut connection = SqliteConnection::establish(&path).unwrap();
            connection.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
            let mut told = BufReader::new(tokio::io::stdin()).lines();
            told.next_line().await.unwrap();
            connection.batch_execute("BEGIN IMMEDIATE; INSERT INTO hello_world VALUES (1)").unwrap();
            println!("@@held");
            listen();
        }),
        "open" => {
            let opened = runtime.block_on(SqliteStore::open(&url, options()));
            println!("@@{:?}", opened.map_err(|error| error.kind().clone()));
        }
        "race" => runtime.block_on(async {
            let store = SqliteStore::open(&url, options()).await.unwrap();
            println!("@@ready");
            let word = listen();
            let won = race(&store, &serde_json::from_str(&word).unwrap(), 50, "theirs").await;
            println!("@@{won}");
        }),
        other => panic!("no such part: {other}"),
    }
}

/// What both racers propose on: repository, facts version, time, incarnation.
type Ground = (i64, i64, i64, i64);

async fn race(store: &SqliteStore, ground: &Ground, sessions: u32, whose: &str) -> usize {
    let (repository, facts_version, at, incarnation) = *ground;
    let session = |number: u32| {
        let proposal = Proposal {
            decision: DecisionId::new(format!("{whose}-{number}")).unwrap(),
            repository: RepositoryId(repository),
            virtual_storage: VirtualStorage::new("v").unwrap(),
            from: None,
            expected: Expected {
                epoch: None::<Epoch>,
                era: Era(1),
                facts_version: FactsVersion(facts_version),
                at: DatabaseTime(at),
            },
            to: Some(storage(["g1", "g2", "g3"][number as usize % 3])),
            proposer: Voter { name: SupervisorName::new("s1").unwrap(), incarnation: Incarnation(incarnation) },
            why: "race".into(),
            evidence: "{}".into(),
        };
        let store = store.clone();
        tokio::spawn(async move { store.primary_cas(&proposal).await.unwrap() })
    };
    let sessions: Vec<_> = (0..sessions).map(session).collect();
    let mut won = 0;
    for session in sessions {
        won += usize::from(matches!(session.await.unwrap(), CasOutcome::Won { .. }));
    }
    won
}

#[tokio::test]
async fn a_hundred_sessions_of_two_processes_elect_once() {
    let database = Database::new();
    let mut settings = lan();
    (settings.decision_ttl, settings.voter_ttl) = (Duration::from_secs(30), Duration::from_secs(60));
    let (store, s1) = database.started(&settings).await;
    for round in 0..3 {
        let id = create(&store, &repository(&format!("r{round}"))).await;
        let mut other = Helper::start("race", &database, None);
        assert_eq!(other.says().await, "ready");
        let seen = facts(&store, id).await.facts;
        let ground: Ground = (id.0, seen.facts_version.0, seen.at.0, s1.incarnation.0);
        other.tell(&serde_json::to_string(&ground).unwrap()).await;
        let ours = race(&store, &ground, 50, "ours").await;
        let theirs: usize = other.says().await.parse().unwrap();
        assert_eq!(ours + theirs, 1, "ours {ours}, theirs {theirs}");
        assert_eq!(store.primary_history(id, 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn d22_a_writer_frozen_inside_a_transaction_is_reported_and_survived() {
    let database = Database::new();
    let (_, s1) = database.started(&lan()).await;
    let impatient = SqliteOptions { busy_timeout: Duration::from_millis(150), ..SqliteOptions::default() };
    let store = SqliteStore::open(&database.url(), impatient).await.unwrap();
    let mut frozen = Helper::start("hold", &database, None);
    assert_eq!(frozen.says().await, "held");
    frozen.signal(rustix::process::Signal::STOP);

    let first = store.supervisor_heartbeat(&s1).await.unwrap_err();
    assert_eq!(*first.kind(), StoreErrorKind::Locked);
    assert!(first.is_transient());
    tokio::time::sleep(Duration::from_millis(400)).await;
    store.health_facts().await.expect("readers wait for nobody");
    let second = store.supervisor_heartbeat(&s1).await.unwrap_err();
    let (first, second) = (first.source().unwrap().to_string(), second.source().unwrap().to_string());
    assert!(first.starts_with("locked since 0.0 s ago"), "{first}");
    assert!(second.starts_with("locked since 0.") && !second.contains(" 0.0 s"), "{second}");

    // Many callers at once share few connections; each still gets an answer in time, and the same one.
    let asked = Instant::now();
    let many: Vec<_> = (0..30)
        .map(|_| {
            let (store, s1) = (store.clone(), s1.clone());
            tokio::spawn(async move { store.supervisor_heartbeat(&s1).await })
        })
        .collect();
    for one in many {
        assert_eq!(*one.await.unwrap().unwrap_err().kind(), StoreErrorKind::Locked);
    }
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());

    frozen.signal(rustix::process::Signal::KILL);
    timeout(PATIENCE, frozen.child.wait()).await.unwrap().unwrap();
    let mut hand = database.hand();
    hand.run("UPDATE supervisors SET heartbeat_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)");
    store.supervisor_heartbeat(&s1).await.expect("its death frees the lock");
    assert_eq!(hand.ask("SELECT COUNT(*) FROM hello_world"), "0", "and what it wrote is gone");

    // A later lock is a new one: it does not inherit the time of the first.
    hand.run("BEGIN IMMEDIATE");
    let third = store.supervisor_heartbeat(&s1).await.unwrap_err();
    assert!(third.source().unwrap().to_string().starts_with("locked since 0.0 s ago"), "{third:?}");
}

#[tokio::test]
async fn a_file_or_folder_without_leave_to_write_is_told_as_read_only() {
    let mode = |path: &std::path::Path, bits| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
    };
    // Root may write everywhere, so the helper then runs as somebody else.
    let root = rustix::process::geteuid().is_root();
    for (file, folder, kind) in [(0o644, 0o777, "ReadOnly"), (0o666, 0o755, "ReadOnly"), (0o666, 0o777, "Ok")] {
        let database = Database::new();
        drop(database.open().await);
        let parent = database.path().parent().unwrap().to_owned();
        // Without root the owner's bits are the ones that count.
        let bits = |bits: u32| if root { bits } else { bits & !0o200 | (bits & 0o002) << 6 };
        mode(&database.path(), bits(file));
        mode(&parent, bits(folder));
        let said = Helper::start("open", &database, root.then_some(65_534)).says().await;
        assert!(said.contains(kind), "file {file:o}, folder {folder:o}: {said}");
        mode(&parent, 0o777);
    }
}
