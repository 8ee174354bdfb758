//! Which database a URL means.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::primitives::Dialect;

/// `postgres://…`, `postgresql://…`, `sqlite:PATH`, or a plain file path (SQLite).
///
/// `Display` and `Debug` leave the password out, so that it can stand in logs and messages.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    Postgres(String),
    Sqlite(PathBuf),
}

/// The text names no database that we can open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a database URL: write postgres://user@host/database, sqlite:PATH, or the path of an SQLite file")]
pub struct InvalidDatabaseUrl;

impl DatabaseUrl {
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Dialect::Postgres,
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// The text to open it with, password and all. Never log it.
    #[must_use]
    pub fn secret(&self) -> String {
        match self {
            Self::Postgres(url) => url.clone(),
            Self::Sqlite(path) => path.display().to_string(),
        }
    }

    /// What to connect with: [`DatabaseUrl::secret`], and on PostgreSQL limits for a server that has vanished without a word, where the
    /// URL sets none. Without them a connection to it is waited for until the system gives up, after hours.
    #[must_use]
    pub fn connecting(&self) -> String {
        let Self::Postgres(url) = self else { return self.secret() };
        let mut url = url.clone();
        for (name, variable, value) in PATIENCE {
            let query = url.split_once('?').map_or("", |(_, query)| query);
            let is_set = query.split('&').any(|pair| pair.split('=').next() == Some(name))
                || (!variable.is_empty() && std::env::var_os(variable).is_some());
            if !is_set {
                let separator = if url.contains('?') { '&' } else { '?' };
                url.push_str(&format!("{separator}{name}={value}"));
            }
        }
        url
    }
}

/// Parameters of a connection, the variables that set them too, and what they are by default. A server that has vanished is given up
/// after 25 s on a connection where nothing happens, and after 10 s where something was sent.
const PATIENCE: [(&str, &str, &str); 5] = [
    ("connect_timeout", "PGCONNECT_TIMEOUT", "5"),
    ("keepalives_idle", "", "10"),
    ("keepalives_interval", "", "5"),
    ("keepalives_count", "", "3"),
    ("tcp_user_timeout", "", "10000"),
];

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        let text = text.trim();
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        let path = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")).unwrap_or(text);
        if path.is_empty() || path.contains("://") || path == ":memory:" {
            return Err(InvalidDatabaseUrl);
        }
        Ok(Self::Sqlite(PathBuf::from(path)))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `postgres://user:secret@host/db?password=x` → `postgres://user:…@host/db`.
fn without_password(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(before, _)| before);
    let Some((scheme, rest)) = url.split_once("://") else { return String::from("postgres://…") };
    match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:…@{host}"),
            None => format!("{scheme}://{user}@{host}"),
        },
        None => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_its_dialect_and_never_its_password() {
        let url: DatabaseUrl = "postgres://app:s3cret@db/app?password=again".parse().unwrap();
        assert_eq!(url.dialect(), Dialect::Postgres);
        assert_eq!(url.to_string(), "postgres://app:…@db/app");
        assert_eq!("sqlite:a.db".parse::<DatabaseUrl>().unwrap(), DatabaseUrl::Sqlite("a.db".into()));
        assert_eq!("./a.db".parse::<DatabaseUrl>().unwrap().dialect(), Dialect::Sqlite);
        for bad in ["", "mysql://x", ":memory:", "sqlite:"] {
            assert!(bad.parse::<DatabaseUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_the_user_set_stays() {
        let url: DatabaseUrl = "postgres://db/app?tcp_user_timeout=0&connect_timeout=30".parse().unwrap();
        let text = url.connecting();
        assert!(
            text.starts_with("postgres://db/app?tcp_user_timeout=0&connect_timeout=30&keepalives_idle=10&"),
            "{text}"
        );
        assert_eq!((text.matches("connect_timeout").count(), text.matches("tcp_user_timeout").count()), (1, 1));
        let url: DatabaseUrl = "postgres://db/app".parse().unwrap();
        assert!(url.connecting().contains("/app?connect_timeout=5&keepalives_idle=10&"), "{}", url.connecting());
    }
}
