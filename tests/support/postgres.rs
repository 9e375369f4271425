//! One temporary PostgreSQL server per test binary, one fresh database per test.
//!
//! The server is the child of a shell that waits on a pipe held by this process: when the binary ends, however it ends,
//! the pipe closes and the shell stops the server and removes its files. With `DATABASE_URL` set, that server is used
//! instead (its role must be able to create databases and roles). Without server binaries the tests fail; they are never
//! passed over.
#![allow(dead_code, reason = "each test binary uses its part")]

use quorate::store::postgres::{PostgresOptions, PostgresStore};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio_postgres::{Client, NoTls};

const TEMPLATE: &str = "quorate_template";
/// The role that must show a password.
pub const GUARDED: &str = "guarded";
/// Its password.
pub const PASSWORD: &str = "open-sesame";

pub struct Cluster {
    admin: String,
    /// Ends the server when this process ends.
    _shell: Option<Child>,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The server of this binary, started and migrated once.
pub fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(|| std::thread::spawn(Cluster::start).join().expect("the test server starts"))
}

impl Cluster {
    fn start() -> Cluster {
        let (admin, shell) = match std::env::var_os("DATABASE_URL") {
            Some(url) => (url.into_string().expect("DATABASE_URL is text"), None),
            None => launch(true),
        };
        let cluster = Cluster { admin, _shell: shell };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let admin = cluster.admin().await;
            let sql = format!(
                "DROP DATABASE IF EXISTS {TEMPLATE}; CREATE DATABASE {TEMPLATE}; DROP ROLE IF EXISTS {GUARDED}; \
                 CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'"
            );
            for statement in sql.split(';') {
                admin.batch_execute(statement).await.unwrap();
            }
            let store = PostgresStore::connect(&cluster.url(TEMPLATE), PostgresOptions::default()).await;
            store.expect("the template is migrated").disconnect();
        });
        cluster
    }

    /// A session in the server's own database.
    pub async fn admin(&self) -> Client {
        raw(&self.admin).await
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        let mut url = url::Url::parse(&self.admin).unwrap();
        url.set_path(database);
        url.to_string()
    }

    /// The same, as a role that must show a password.
    pub fn guarded_url(&self, database: &str, password: Option<&str>) -> String {
        let mut url = url::Url::parse(&self.url(database)).unwrap();
        url.set_username(GUARDED).unwrap();
        url.set_password(password).unwrap();
        url.to_string()
    }

    /// A database that nobody has used: migrated, or empty.
    pub async fn database(&self, migrated: bool) -> String {
        let name = format!("t{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let template = if migrated { TEMPLATE } else { "template1" };
        let admin = self.admin().await;
        for attempt in 0.. {
            // Refused while anybody, another test's copy included, is connected to the template.
            match admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await {
                Ok(()) => break,
                Err(error) => assert!(attempt < 400, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.url(&name)
    }
}

/// A session beside the store's.
pub async fn raw(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn binaries() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()))
        .filter(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .collect();
    found.sort();
    found.pop().expect("no PostgreSQL server (initdb, postgres) in /usr/lib/postgresql/*/bin or PATH: install one, or set DATABASE_URL")
}

fn as_postgres(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]).arg(program);
    command
}

/// One of the server's programs, as the user that may run it.
pub fn server_program(name: &str) -> Command {
    as_postgres(&binaries().join(name))
}

/// Starts a server on the loopback; answers its administrator's URL and the shell that guards it.
pub fn launch(fsync: bool) -> (String, Option<Child>) {
    let bin = binaries();
    let home = tempfile::Builder::new().prefix("quorate-pg-").tempdir().unwrap().keep();
    if rustix::process::geteuid().is_root() {
        assert!(Command::new("chown").arg("postgres").arg(&home).status().unwrap().success());
    }
    let data = home.join("data");
    let made = as_postgres(&bin.join("initdb"))
        .current_dir(&home)
        .args(["-A", "trust", "-U", "postgres", "-N", "-E", "UTF8", "--locale=C.UTF-8", "-D"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    let rules = format!("host all {GUARDED} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n");
    std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = as_postgres(&bin.join("postgres"));
    let words: Vec<_> = std::iter::once(server.get_program()).chain(server.get_args()).collect();
    let words = words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ");
    let (home, data) = (home.display(), data.display());
    let fsync = if fsync { "on" } else { "off" };
    let script = format!(
        "{words} -D {data} -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
         -c max_connections=300 -c fsync={fsync} >{home}/log 2>&1 & server=$!; \
         read -r _; kill -QUIT $server 2>/dev/null; wait $server; rm -rf {home}"
    );
    let mut shell = Command::new("sh").arg("-c").arg(script).stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.as_mut().unwrap().flush().unwrap();
    for attempt in 0.. {
        match std::net::TcpStream::connect(("127.0.0.1", port)) {
            Ok(_) => break,
            Err(error) => assert!(attempt < 600, "the server does not listen: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let admin = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    for attempt in 0.. {
        // It listens before it lets anybody in.
        let ready = Command::new(bin.join("pg_isready")).args(["-q", "-d", &admin]).status();
        if ready.map_or(attempt > 40, |status| status.success()) {
            break;
        }
        assert!(attempt < 600, "the server does not get ready");
        std::thread::sleep(Duration::from_millis(50));
    }
    (admin, Some(shell))
}
