//! A database for each test: an SQLite file in a directory of its own, or a PostgreSQL database on the shared cluster.
//! Both are gone when the value is dropped.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};

use changeover::database::{Database, DatabaseConnection, DatabaseUrl};
use changeover::primitives::Dialect;
use tempfile::TempDir;

use super::cluster::{Cluster, CrashingCluster};

/// Runs `test` on an empty database of each dialect: SQLite first, then PostgreSQL even if SQLite's run failed.
pub fn each_database(test: impl Fn(TestDatabase)) {
    let mut failures = Vec::new();
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        if let Err(failure) = catch_unwind(AssertUnwindSafe(|| test(TestDatabase::new(dialect)))) {
            eprintln!("^^^ failed on {dialect}");
            failures.push(failure);
        }
    }
    if let Some(failure) = failures.into_iter().next() {
        resume_unwind(failure);
    }
}

/// An empty database that belongs to one test.
pub struct TestDatabase {
    url: String,
    dialect: Dialect,
    place: Place,
}

enum Place {
    File {
        _directory: TempDir,
    },
    Cluster {
        name: String,
    },
    /// On a cluster that goes as a whole.
    Elsewhere,
}

impl TestDatabase {
    pub fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Sqlite => Self::sqlite(),
            Dialect::Postgres => Self::postgres(),
        }
    }

    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", directory.path().join("test.db").display());
        let database = Self { url, dialect: Dialect::Sqlite, place: Place::File { _directory: directory } };
        drop(database.connection());
        database
    }

    pub fn postgres() -> Self {
        Self::postgres_with("")
    }

    /// With more words for CREATE DATABASE, such as another locale.
    pub fn postgres_with(options: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("changeover_test_{}_{number}", std::process::id());
        let cluster = Cluster::shared();
        let mut maintenance = open(&cluster.maintenance_url());
        maintenance.batch(&format!("CREATE DATABASE {name} TEMPLATE template0 {options}")).expect("CREATE DATABASE");
        Self { url: cluster.url(&name), dialect: Dialect::Postgres, place: Place::Cluster { name } }
    }

    /// The one database of a cluster that a test has for itself.
    pub fn on(cluster: &CrashingCluster) -> Self {
        Self { url: cluster.url(), dialect: Dialect::Postgres, place: Place::Elsewhere }
    }

    /// What `--database-url` and `--app-database-url` take.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// A pool on this database, as commands open it.
    pub fn database(&self) -> Database {
        Database::open(parsed(&self.url)).expect("the test's database opens")
    }

    /// One connection of its own.
    pub fn connection(&self) -> DatabaseConnection {
        open(&self.url)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // Best effort: what is left goes with the cluster.
        if let Place::Cluster { name } = &self.place
            && let Ok(mut maintenance) = DatabaseConnection::open(&parsed(&Cluster::shared().maintenance_url()))
        {
            drop(maintenance.batch(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
        }
    }
}

fn parsed(url: &str) -> DatabaseUrl {
    url.parse().expect("a database URL")
}

fn open(url: &str) -> DatabaseConnection {
    DatabaseConnection::open(&parsed(url)).expect("the test's database opens")
}
