//! From a URL to a session that is fit for use: reached, let in, new enough, writable, and set so that no statement, lock
//! or forgotten transaction of it can hold others up (D28).
//!
//! The socket is opened here and handed to the driver, so that connection errors keep their codes and the stream can be
//! read along (see `wire`). Several hosts may be named: the first that is writable is taken, which is how a promoted
//! standby is found.

use super::{
    PostgresOptions, errors,
    wire::{Io, LastError, Watched},
};
use crate::store::{StoreError, StoreErrorKind, StoreOp};
use diesel_async::AsyncPgConnection;
use std::{future::poll_fn, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::mpsc,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, NoTls, SimpleQueryMessage,
    config::{Host, SslMode, TargetSessionAttrs},
};

/// The oldest server whose SQL is ours: multiranges are not needed, `CREATE OR REPLACE TRIGGER` is.
const OLDEST: u32 = 140_000;
/// A peer that is silent for this long is probed; the driver's own default is two hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;
/// Data that stays unacknowledged for this long ends the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(10);
/// What the driver means by "not given".
const DRIVER_KEEPALIVE_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

const FORM: &str = "it must be postgres://user:password@host:port/database";
const PARAMETERS: [&str; 16] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslmode",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
];

/// Where the databases are, and who we are there. Has no `Debug`, for it holds the password.
#[derive(Clone)]
pub(super) struct Address(Config);

fn refused(what: impl Into<String>) -> StoreError {
    StoreError::new(StoreOp::Connect, StoreErrorKind::InvalidUrl(what.into()))
}

impl Address {
    /// Parses strictly. Its errors quote nothing of the URL: a misplaced `@` makes any part of it the password.
    pub(super) fn parse(url: &str) -> Result<Address, StoreError> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let rest = rest.ok_or_else(|| refused(FORM))?;
        let after = rest.split_once('@').map_or(rest, |(_, after)| after);
        let query = after.split_once('?').map_or("", |(_, query)| query);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| refused("a parameter after `?` must be key=value"))?;
            if (key == "sslmode" && !matches!(value, "disable" | "prefer"))
                || (key.starts_with("ssl") && key != "sslmode")
            {
                return Err(refused("TLS to the database is not supported yet: sslmode must be disable or prefer"));
            }
            if !PARAMETERS.contains(&key) {
                return Err(refused(format!("an unknown parameter after `?`; allowed are {}", PARAMETERS.join(", "))));
            }
        }
        let mut config: Config = url.parse().map_err(|_| refused(format!("a part is malformed; {FORM}")))?;
        for (given, what) in [
            (config.get_user().is_some_and(|user| !user.is_empty()), "the user is missing"),
            (config.get_dbname().is_some_and(|name| !name.is_empty()), "the database's name is missing"),
            (!config.get_hosts().is_empty() || !config.get_hostaddrs().is_empty(), "the host is missing"),
            (
                config.get_target_session_attrs() != TargetSessionAttrs::ReadOnly,
                "target_session_attrs must be any or read-write: a supervisor writes",
            ),
        ] {
            if !given {
                return Err(refused(format!("{what}; {FORM}")));
            }
        }
        config.ssl_mode(SslMode::Disable);
        if config.get_application_name().is_none() {
            config.application_name("quorate");
        }
        Ok(Address(config))
    }

    /// Every place to try, in order.
    fn places(&self) -> Vec<Place> {
        let (hosts, addresses, ports) = (self.0.get_hosts(), self.0.get_hostaddrs(), self.0.get_ports());
        let port_of = |index: usize| ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5_432);
        let many = hosts.len().max(addresses.len());
        (0..many)
            .filter_map(|index| match (addresses.get(index), hosts.get(index)) {
                (Some(address), _) => Some(Place::Tcp(address.to_string(), port_of(index))),
                (None, Some(Host::Tcp(name))) => Some(Place::Tcp(name.clone(), port_of(index))),
                (None, Some(Host::Unix(folder))) => {
                    Some(Place::Unix(folder.join(format!(".s.PGSQL.{}", port_of(index)))))
                }
                (None, None) => None,
            })
            .collect()
    }

    fn keepalive(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = socket2::SockRef::from(stream);
        if self.0.get_keepalives() {
            let idle = self.0.get_keepalives_idle();
            let keepalive = socket2::TcpKeepalive::new()
                .with_time(if idle == DRIVER_KEEPALIVE_IDLE { KEEPALIVE_IDLE } else { idle })
                .with_interval(self.0.get_keepalives_interval().unwrap_or(KEEPALIVE_INTERVAL))
                .with_retries(self.0.get_keepalives_retries().unwrap_or(KEEPALIVE_RETRIES));
            socket.set_tcp_keepalive(&keepalive)?;
        }
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(self.0.get_tcp_user_timeout().copied().unwrap_or(USER_TIMEOUT)))?;
        Ok(())
    }

    async fn open(&self, place: &Place) -> std::io::Result<Box<dyn Io>> {
        Ok(match place {
            Place::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                self.keepalive(&stream)?;
                Box::new(stream)
            }
            Place::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }

    /// Opens a session at the first place that has a writable server. If none has, the most telling error is the answer:
    /// one that a server gave, rather than that nobody answered elsewhere.
    pub(super) async fn establish(&self, options: &PostgresOptions) -> Result<Session, StoreError> {
        let Reached { client, noted, driver } = self.reach(options, None).await?;
        let connection = AsyncPgConnection::try_from(client)
            .await
            .map_err(|error| StoreError::with_source(StoreOp::Connect, StoreErrorKind::ConnectionLost, error))?;
        Ok(Session { connection, noted, driver })
    }

    /// The same without diesel, and with a queue for what the server says unasked. A full queue ends the connection.
    pub(super) async fn reach(&self, options: &PostgresOptions, heard: Option<Heard>) -> Result<Reached, StoreError> {
        let limit =
            self.0.get_connect_timeout().map_or(options.connect_timeout, |own| options.connect_timeout.min(*own));
        let mut told: Option<StoreError> = None;
        for place in self.places() {
            let error = match tokio::time::timeout(limit, self.reach_at(&place, options, heard.clone())).await {
                Ok(Ok(reached)) => return Ok(reached),
                Ok(Err(error)) => error,
                Err(elapsed) => StoreError::with_source(StoreOp::Connect, StoreErrorKind::Unreachable, elapsed),
            };
            if told.as_ref().is_none_or(|told| *told.kind() == StoreErrorKind::Unreachable) {
                told = Some(error);
            }
        }
        Err(told.unwrap_or_else(|| refused(format!("the host is missing; {FORM}"))))
    }

    async fn reach_at(
        &self,
        place: &Place,
        options: &PostgresOptions,
        heard: Option<Heard>,
    ) -> Result<Reached, StoreError> {
        let unreachable = |error| StoreError::with_source(StoreOp::Connect, StoreErrorKind::Unreachable, error);
        let noted = Arc::new(LastError::default());
        let stream = Watched::new(self.open(place).await.map_err(unreachable)?, Arc::clone(&noted));
        let has_password = self.0.get_password().is_some();
        let failed = |error| errors::of_connect(error, noted.take(), has_password);
        let (client, connection) = self.0.connect_raw(stream, NoTls).await.map_err(failed)?;
        let driver = Driver::of(tokio::spawn(drive(connection, heard)));
        client.batch_execute(&options.session_settings()).await.map_err(failed)?;
        let answer = client
            .simple_query(
                "SELECT current_setting('server_version_num'), current_setting('server_version'), \
                 pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean",
            )
            .await
            .map_err(failed)?;
        let row = answer.iter().find_map(|message| {
            let SimpleQueryMessage::Row(row) = message else { return None };
            Some((row.get(0), row.get(1), row.get(2)))
        });
        let (number, version, read_only) = row.unwrap_or((None, None, None));
        check_version(number.unwrap_or_default(), version.unwrap_or_default())?;
        if read_only == Some("t") {
            return Err(StoreError::new(StoreOp::Connect, StoreErrorKind::ReadOnly));
        }
        Ok(Reached { client, noted, driver })
    }
}

/// Where notifications go: channel and payload.
pub(super) type Heard = mpsc::Sender<(String, String)>;

/// A client that was let in and is fit for use.
pub(super) struct Reached {
    pub(super) client: Client,
    pub(super) noted: Arc<LastError>,
    pub(super) driver: Driver,
}

/// Moves a connection's bytes until it ends.
async fn drive<T: AsyncRead + AsyncWrite + Unpin>(mut connection: Connection<Watched, T>, heard: Option<Heard>) {
    while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
        if let (AsyncMessage::Notification(told), Some(heard)) = (message, &heard)
            && heard.try_send((told.channel().to_owned(), told.payload().to_owned())).is_err()
        {
            return;
        }
    }
}

enum Place {
    Tcp(String, u16),
    Unix(PathBuf),
}

fn check_version(number: &str, version: &str) -> Result<(), StoreError> {
    if number.parse().unwrap_or(0) >= OLDEST {
        return Ok(());
    }
    let needed = format!("PostgreSQL {}", OLDEST / 10_000);
    let found = format!("PostgreSQL {version}");
    Err(StoreError::new(StoreOp::Connect, StoreErrorKind::TooOld { found, needed }))
}

/// One connection, with what the pool needs to know of it.
pub(super) struct Session {
    pub(super) connection: AsyncPgConnection,
    pub(super) noted: Arc<LastError>,
    pub(super) driver: Driver,
}

impl Session {
    /// Whether the connection has ended. Asks nobody.
    pub(super) fn is_closed(&mut self) -> bool {
        use diesel_async::pooled_connection::PoolableConnection;
        self.connection.is_broken()
    }
}

/// The task that moves a connection's bytes.
pub(super) struct Driver {
    task: tokio::task::AbortHandle,
    /// Set while a statement runs. Whoever finds it set has a session whose statement nobody waited for.
    pub(super) in_use: bool,
}

impl Driver {
    fn of(task: tokio::task::JoinHandle<()>) -> Driver {
        Driver { task: task.abort_handle(), in_use: false }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // An idle session says goodbye by itself when its client goes. One in mid-statement may have a peer that is
        // silent for good: its socket is closed at once.
        if self.in_use {
            self.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> String {
        match Address::parse(url) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_bad_url_is_told_apart_without_being_quoted() {
        for (url, word) in [
            ("", "must be postgres://"),
            ("mysql://u:hunter2@h/d", "must be postgres://"),
            ("host=h user=u password=hunter2", "must be postgres://"),
            ("postgres://u:hunter2@h:port/d", "malformed"),
            ("postgres://u:hun?ter2@h/hunter2?hunter2=1", "unknown parameter"),
            ("postgres://u:hunter2@h/d?sslmode", "key=value"),
            ("postgres://h/d", "user is missing"),
            ("postgres://u:hunter2@h", "database's name is missing"),
            ("postgres://u:hunter2@/d", "host is missing"),
            ("postgres://u:hunter2@h/d?sslmode=require", "TLS to the database is not supported yet"),
            ("postgres://u:hunter2@h/d?sslmode=verify-full", "TLS to the database is not supported yet"),
            ("postgres://u:hunter2@h/d?sslrootcert=/x", "TLS to the database is not supported yet"),
            ("postgres://u:hunter2@h/d?target_session_attrs=read-only", "a supervisor writes"),
        ] {
            let text = problem(url);
            assert!(text.contains(word), "{url}: {text}");
            assert!(!text.contains("hunter2"), "{url}: {text}");
        }
    }

    #[test]
    fn several_hosts_and_sockets_are_tried_in_order() {
        let address = Address::parse("postgres://u:p@a:1,b:2/d?target_session_attrs=read-write").ok().unwrap();
        let told: Vec<String> = address
            .places()
            .iter()
            .map(|place| match place {
                Place::Tcp(host, port) => format!("{host}:{port}"),
                Place::Unix(path) => path.display().to_string(),
            })
            .collect();
        assert_eq!(told, ["a:1", "b:2"]);
        let socket = Address::parse("postgres://u@%2Ftmp/d").ok().unwrap();
        assert!(matches!(socket.places().as_slice(), [Place::Unix(path)] if path.ends_with(".s.PGSQL.5432")));
    }

    #[test]
    fn an_old_server_is_named() {
        let error = check_version("130014", "13.14").unwrap_err();
        assert_eq!(
            *error.kind(),
            StoreErrorKind::TooOld { found: "PostgreSQL 13.14".into(), needed: "PostgreSQL 14".into() }
        );
        assert!(check_version("140000", "14.0").is_ok());
    }
}
