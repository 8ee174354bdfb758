//! The two examples: their schemas and change files, which stand in `examples/` and travel inside the binary.

use std::path::PathBuf;

use crate::database::{DatabaseConnection, DatabaseError};
use crate::primitives::Dialect;

/// An example of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Example {
    /// Generated: users and videos become accounts whose members share the charges
    VideoHosting,
    /// Real: the FOCUS sample's 1,000 cloud charges, allocated to business units
    CloudCosts,
}

impl Example {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::VideoHosting => "video-hosting",
            Self::CloudCosts => "cloud-costs",
        }
    }

    #[must_use]
    pub fn schema(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::VideoHosting, Dialect::Postgres) => {
                include_str!("../../../examples/video-hosting/schema.postgres.sql")
            }
            (Self::VideoHosting, Dialect::Sqlite) => include_str!("../../../examples/video-hosting/schema.sqlite.sql"),
            (Self::CloudCosts, Dialect::Postgres) => include_str!("../../../examples/cloud-costs/schema.postgres.sql"),
            (Self::CloudCosts, Dialect::Sqlite) => include_str!("../../../examples/cloud-costs/schema.sqlite.sql"),
        }
    }

    #[must_use]
    pub fn change_file(self) -> &'static str {
        match self {
            Self::VideoHosting => include_str!("../../../examples/video-hosting/change.toml"),
            Self::CloudCosts => include_str!("../../../examples/cloud-costs/change.toml"),
        }
    }

    /// The tables that the schema creates.
    #[must_use]
    pub fn tables(self) -> &'static [&'static str] {
        match self {
            Self::VideoHosting => &[
                "users",
                "videos",
                "periods",
                "charges",
                "accounts",
                "memberships",
                "video_accounts",
                "charge_allocations",
            ],
            Self::CloudCosts => &["billing_accounts", "sub_accounts", "charges", "cost_shares", "charge_allocations"],
        }
    }
}

/// Why an example could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "the database already has a table `{table}`: name a new SQLite file or an empty PostgreSQL database with --database-url"
    )]
    TableExists { table: String },
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: csv::Error },
    #[error("{} line {line}: {what}", path.display())]
    Data { path: PathBuf, line: u64, what: String },
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Creates the example's tables; refuses a database that already has one of them.
pub fn create_tables(connection: &mut DatabaseConnection, example: Example) -> Result<(), LoadError> {
    let exists = match connection.dialect() {
        Dialect::Postgres => "SELECT count(*) AS n FROM pg_class WHERE oid = to_regclass($1)",
        Dialect::Sqlite => "SELECT count(*) AS n FROM sqlite_master WHERE name = $1",
    };
    for table in example.tables() {
        if connection.get_row(exists, &[(*table).into()])?.integer("n")? > 0 {
            return Err(LoadError::TableExists { table: (*table).to_owned() });
        }
    }
    connection.batch(example.schema(connection.dialect()))?;
    Ok(())
}

/// Explicit ids do not move PostgreSQL's sequences: moves those of the tables that mint ids behind the greatest one, and
/// lets the planner know what has been loaded.
pub fn settle(
    connection: &mut DatabaseConnection,
    example: Example,
    minting_tables: &[&str],
) -> Result<(), DatabaseError> {
    if connection.dialect() == Dialect::Postgres {
        for table in minting_tables {
            connection.batch(&format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'id'), coalesce((SELECT max(id) FROM {table}), 0) + 1, false)"
            ))?;
        }
    }
    for table in example.tables() {
        connection.batch(&format!("ANALYZE {table}"))?;
    }
    Ok(())
}
