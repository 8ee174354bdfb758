//! Settings that every command shares: arguments and `CHANGEOVER_*` variables.

use clap::Args;

use crate::database::{Database, DatabaseError, DatabaseUrl};
use crate::store::{Origin, Store, StoreError};

/// Where the databases are and how to print.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// The service's own database: flags, cohorts, tokens, reports, audit
    #[arg(
        long,
        global = true,
        env = "CHANGEOVER_DATABASE_URL",
        default_value = "sqlite:changeover.db",
        value_name = "URL",
        hide_env_values = true
    )]
    pub database_url: DatabaseUrl,

    /// The application's database, with the old and the new model [default: the service's own]
    #[arg(long, global = true, env = "CHANGEOVER_APP_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub app_database_url: Option<DatabaseUrl>,

    /// Where comparisons read, such as a replica of the application's database [default: the application's database]
    #[arg(long, global = true, env = "CHANGEOVER_REPORT_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub report_database_url: Option<DatabaseUrl>,

    /// Print one JSON document instead of text
    #[arg(long, global = true, env = "CHANGEOVER_JSON")]
    pub json: bool,

    /// Who does this, as it will stand in the audit log
    #[arg(long, global = true, env = "CHANGEOVER_ACTOR", default_value = "cli", value_name = "NAME")]
    pub actor: String,
}

/// Why a write is made.
#[derive(Debug, Clone, Args)]
pub struct Why {
    /// Why, for the history and the audit log
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub reason: String,
}

/// Why a flag is written, and whether its limits are set aside.
#[derive(Debug, Clone, Args)]
pub struct Word {
    #[command(flatten)]
    pub why: Why,
    /// Set aside how many subjects may move in an hour, and the ban on weakening a protection; it takes a reason
    #[arg(long = "override")]
    pub overriding: bool,
}

impl Settings {
    /// The service's store, its tables brought up to date.
    pub fn open_store(&self) -> Result<Store, StoreError> {
        Store::open(Database::open(self.database_url.clone())?)
    }

    /// Who does this, and why, for the history and the audit log.
    #[must_use]
    pub fn origin<'a>(&'a self, why: &'a Why) -> Origin<'a> {
        Origin { actor: &self.actor, reason: &why.reason }
    }

    /// What comparisons read, if it is not the application's database itself.
    pub fn open_report_database(&self) -> Result<Option<Database>, DatabaseError> {
        self.report_database_url.clone().map(Database::open).transpose()
    }

    /// The application's database; an SQLite file that does not exist is an error rather than a new empty file.
    pub fn open_app_database(&self) -> Result<Database, DatabaseError> {
        let url = self.app_database_url.clone().unwrap_or_else(|| self.database_url.clone());
        if let DatabaseUrl::Sqlite(path) = &url
            && !path.exists()
        {
            return Err(DatabaseError::Open { url: url.to_string(), reason: String::from("there is no such file") });
        }
        Database::open(url)
    }
}
