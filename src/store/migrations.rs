//! Brings the service's tables up to date: embedded migrations, run in one transaction under a lock, recorded in a table
//! of our own. Not in Diesel's `__diesel_schema_migrations`: by default the service shares the application's database, and an
//! application written with Diesel keeps its own migrations there.

use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::{StoreError, now};
use crate::database::{DatabaseConnection, Value};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// The key of the advisory lock under which one server migrates while the others wait: `chgovr` in ASCII.
const LOCK: i64 = 0x6368_676f_7672;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the migrations that have not run yet. A database that is ahead of this program is an error.
pub fn run(connection: &mut DatabaseConnection) -> Result<(), StoreError> {
    connection.in_transaction_with_retry(super::ATTEMPTS, StoreError::is_retryable, |connection| {
        let done = recorded(connection)?;
        let known = versions()?;
        if let Some(unknown) = done.iter().find(|version| !known.contains(version)) {
            return Err(StoreError::NewerSchema(unknown.clone()));
        }
        for version in known.iter().filter(|version| !done.contains(version)) {
            step(connection, version, Way::Up)?;
            connection.execute(
                "INSERT INTO svc_changeover_migrations (version, run_at) VALUES ($1, $2)",
                &[Value::from(version.as_str()), Value::Integer(now().as_micros())],
            )?;
            tracing::info!(version, "migrated the service's tables");
        }
        Ok(())
    })
}

/// Undoes every migration, the last first, and removes the record of them.
pub fn revert(connection: &mut DatabaseConnection) -> Result<(), StoreError> {
    connection.in_transaction(|connection| {
        let mut done = recorded(connection)?;
        done.sort_unstable();
        for version in done.iter().rev() {
            step(connection, version, Way::Down)?;
        }
        connection.batch("DROP TABLE svc_changeover_migrations")?;
        Ok(())
    })
}

/// Takes the lock and reads which migrations have run. On SQLite the transaction itself, BEGIN IMMEDIATE, is the lock.
fn recorded(connection: &mut DatabaseConnection) -> Result<Vec<String>, StoreError> {
    if let DatabaseConnection::Postgres(_) = connection {
        connection.query("SELECT pg_advisory_xact_lock($1)", &[Value::Integer(LOCK)])?;
    }
    connection.batch(
        "CREATE TABLE IF NOT EXISTS svc_changeover_migrations (version TEXT NOT NULL PRIMARY KEY, run_at BIGINT NOT NULL)",
    )?;
    let rows = connection.query("SELECT version FROM svc_changeover_migrations", &[])?;
    Ok(rows.iter().map(|row| row.text("version")).collect::<Result<_, _>>()?)
}

/// The versions that this program knows, in order. Both databases have the same ones; a test holds them to it.
fn versions() -> Result<Vec<String>, StoreError> {
    let migrations: Vec<Box<dyn Migration<diesel::pg::Pg>>> = POSTGRES.migrations().map_err(failed("list"))?;
    let mut versions: Vec<String> = migrations.iter().map(|migration| migration.name().version().to_string()).collect();
    versions.sort_unstable();
    Ok(versions)
}

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

fn step(connection: &mut DatabaseConnection, version: &str, way: Way) -> Result<(), StoreError> {
    macro_rules! on {
        ($source:expr, $backend:ty, $connection:expr) => {{
            let migrations: Vec<Box<dyn Migration<$backend>>> = $source.migrations().map_err(failed(version))?;
            let found = migrations.iter().find(|migration| migration.name().version().to_string() == version);
            let migration = found.ok_or_else(|| StoreError::NewerSchema(version.to_owned()))?;
            match way {
                Way::Up => migration.run($connection),
                Way::Down => migration.revert($connection),
            }
            .map_err(failed(version))
        }};
    }
    match connection {
        DatabaseConnection::Postgres(connection) => on!(POSTGRES, diesel::pg::Pg, connection),
        DatabaseConnection::Sqlite(connection) => on!(SQLITE, diesel::sqlite::Sqlite, connection),
    }
}

fn failed(version: &str) -> impl Fn(Failure) -> StoreError {
    move |source| StoreError::Migration { version: version.to_owned(), source }
}
