//! Where the database is: one address, or the parts that Praefect's files have, made into one.

use super::{Problem, Secret};
use std::{fmt, fmt::Write as _, path::Path, path::PathBuf};

/// The database that all supervisors of a cluster share.
#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseConfig {
    /// `sqlite:PATH` (one machine) or `postgres://user:password@host/name`.
    pub url: DatabaseUrl,
    /// A way to the same PostgreSQL database on which a session is ours alone, for what a pooler that works by
    /// transactions breaks. `None`: `url` is one.
    pub session_pooled: Option<DatabaseUrl>,
    /// Whether outstanding migrations are run at start. Default yes.
    pub migrate: bool,
    /// The most connections. Default 8: more do not make one database faster, and two per core are enough to fill it.
    pub pool_size: u32,
}

/// A database's address. It may hold a password, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Takes an address as it is; the store that it names checks it.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }
    /// The address itself, password included.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
    /// The part before the colon: which kind of database.
    #[must_use]
    pub fn scheme(&self) -> &str {
        // What precedes the colon of something else may be a password.
        let scheme = self.0.split_once(':').map_or("", |(scheme, _)| scheme);
        if scheme.bytes().all(|byte| byte.is_ascii_lowercase()) { scheme } else { "" }
    }
    pub(super) fn is_postgres(&self) -> bool {
        ["postgres", "postgresql"].contains(&self.scheme())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.scheme())
    }
}

/// An address as a file gives it: whole, or in parts.
#[derive(Clone, Default)]
pub(super) struct Place {
    pub(super) url: Option<Secret>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u32>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) dbname: Option<String>,
}

impl Place {
    /// What is missing here is taken from there. Whoever names a whole address here means it whole, but for the
    /// password; whoever names a part means the parts of there, and if there is a whole address, says so.
    pub(super) fn or(self, there: &Place) -> Place {
        let has_password = self.password.is_some() || self.password_file.is_some();
        let (password, password_file) = if has_password {
            (self.password, self.password_file)
        } else {
            (there.password.clone(), there.password_file.clone())
        };
        if self.url.is_some() {
            return Place { password, password_file, ..self };
        }
        Place {
            url: there.url.clone(),
            host: self.host.or_else(|| there.host.clone()),
            port: self.port.or(there.port),
            user: self.user.or_else(|| there.user.clone()),
            dbname: self.dbname.or_else(|| there.dbname.clone()),
            password,
            password_file,
        }
    }

    /// Whether nothing was given.
    pub(super) fn is_empty(&self) -> bool {
        self.url.is_none() && self.password.is_none() && self.password_file.is_none() && self.part().is_none()
    }

    /// A part that makes no sense beside a whole address.
    fn part(&self) -> Option<&'static str> {
        let parts = [
            ("host", self.host.is_some()),
            ("port", self.port.is_some()),
            ("user", self.user.is_some()),
            ("dbname", self.dbname.is_some()),
        ];
        parts.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
    }

    /// The one address that all of this means. `section` is where it stands in the file.
    pub(super) fn address(&self, section: &str, problems: &mut Vec<Problem>) -> Option<DatabaseUrl> {
        let before = problems.len();
        let mut say = |key: &str, what: String| problems.push(Problem::new(format!("{section}.{key}"), what));
        let password = match (&self.password, &self.password_file) {
            (Some(_), Some(_)) => {
                say("password_file", "is not allowed beside `password`: give one of them".to_owned());
                None
            }
            (Some(password), None) => Some(password.clone()),
            (None, Some(path)) => read(path).map_err(|what| say("password_file", what)).ok(),
            (None, None) => None,
        };
        if let (Some(_), Some(part)) = (&self.url, self.part()) {
            say(part, "is not allowed beside `url`: give one address, whole or in parts".to_owned());
        }
        let address = match &self.url {
            Some(url) => {
                let url = DatabaseUrl::new(url.expose());
                match &password {
                    None => Some(url),
                    Some(password) => with_password(&url, password).map_err(|what| say("url", what.to_owned())).ok(),
                }
            }
            None if self.part().is_none() && password.is_none() => {
                say("url", "is missing: `sqlite:PATH` or `postgres://user:password@host/name`".to_owned());
                None
            }
            None => {
                for (key, missing) in
                    [("host", self.host.is_none()), ("user", self.user.is_none()), ("dbname", self.dbname.is_none())]
                {
                    if missing {
                        say(key, "is missing: an address in parts needs `host`, `user` and `dbname`".to_owned());
                    }
                }
                Some(self.assembled(password.as_ref()))
            }
        };
        address.filter(|_| problems.len() == before)
    }

    fn assembled(&self, password: Option<&Secret>) -> DatabaseUrl {
        let text = |part: &Option<String>| escaped(part.as_deref().unwrap_or_default());
        let password = password.map(|password| format!(":{}", escaped(password.expose()))).unwrap_or_default();
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let hosts = self.host.as_deref().unwrap_or_default().split(',').map(str::trim);
        let hosts: Vec<String> = hosts.map(|host| format!("{}{port}", bracketed(host))).collect();
        let hosts = hosts.join(",");
        DatabaseUrl(format!("postgres://{}{password}@{hosts}/{}", text(&self.user), text(&self.dbname)))
    }
}

fn read(path: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(format!("{} is empty: it must hold the password", path.display()));
    }
    Ok(Secret::new(text))
}

fn with_password(url: &DatabaseUrl, password: &Secret) -> Result<DatabaseUrl, &'static str> {
    if !url.is_postgres() {
        return Err("is no `postgres://` address: nothing else takes a password");
    }
    let (scheme, rest) = url.expose().split_once("//").ok_or("is no `postgres://` address")?;
    let (user, place) = rest.split_once('@').ok_or("names no user to whom the password could belong")?;
    if user.contains(':') {
        return Err("holds a password already: give one of them");
    }
    Ok(DatabaseUrl(format!("{scheme}//{user}:{}@{place}", escaped(password.expose()))))
}

/// An IPv6 address stands in brackets, and the folder of a socket has its slashes escaped.
fn bracketed(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { escaped(host) }
}

/// Everything but what is itself in any part of a URL.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
