//! Where the demo runs: a new SQLite file or an empty PostgreSQL database, and never one that somebody uses.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::cli::Settings;
use crate::database::{DatabaseConnection, DatabaseUrl};
use crate::primitives::Dialect;

const FILE_STEM: &str = "changeover-demo";

/// The database to run in. `--database-url` names it; a URL from the environment is not the demo's to write into, and
/// without one it is a new file in the current directory.
pub fn choose(settings: &Settings) -> anyhow::Result<DatabaseUrl> {
    let named = std::env::args_os().any(|argument| argument.to_string_lossy().starts_with("--database-url"));
    if !named {
        return Ok(DatabaseUrl::Sqlite(unused_file(Path::new(""))?));
    }
    let url = settings.database_url.clone();
    ensure_empty(&url)?;
    Ok(url)
}

/// `changeover-demo.db`, or the first of `changeover-demo-2.db`, … that does not exist yet.
fn unused_file(directory: &Path) -> anyhow::Result<PathBuf> {
    let numbered = (2..1000).map(|number| format!("{FILE_STEM}-{number}.db"));
    std::iter::once(format!("{FILE_STEM}.db"))
        .chain(numbered)
        .map(|name| directory.join(name))
        .find(|path| !path.exists())
        .context(
            "there are a thousand demo databases in this directory: remove some, or name a file with --database-url",
        )
}

fn ensure_empty(url: &DatabaseUrl) -> anyhow::Result<()> {
    if let DatabaseUrl::Sqlite(path) = url
        && !path.exists()
    {
        return Ok(());
    }
    let mut connection = DatabaseConnection::open(url)?;
    let tables = match connection.dialect() {
        Dialect::Postgres => {
            "SELECT CAST(c.oid::regclass AS text) AS name FROM pg_class c
             WHERE c.relkind IN ('r', 'p', 'v', 'm') AND c.relnamespace NOT IN
               (SELECT oid FROM pg_namespace WHERE nspname LIKE 'pg\\_%' OR nspname = 'information_schema') ORDER BY 1"
        }
        Dialect::Sqlite => "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name",
    };
    let rows = connection.query(tables, &[])?;
    let names = rows.iter().take(3).map(|row| row.text("name")).collect::<Result<Vec<_>, _>>()?;
    ensure!(
        names.is_empty(),
        "{url} is not empty: it has {}{}. {}",
        names.join(", "),
        if rows.len() > names.len() { ", …" } else { "" },
        match connection.dialect() {
            Dialect::Postgres => "Name a database made for the demo: createdb changeover_demo",
            Dialect::Sqlite => "Name a file that does not exist yet, or leave --database-url out",
        }
    );
    Ok(())
}

/// The file next to the database that a report is written to; on PostgreSQL it is in the current directory.
pub fn report_file(url: &DatabaseUrl) -> anyhow::Result<PathBuf> {
    let directory = match url {
        DatabaseUrl::Sqlite(path) => return Ok(path.with_extension("html")),
        DatabaseUrl::Postgres(_) => Path::new(""),
    };
    for number in 1..1000 {
        let name = if number == 1 { format!("{FILE_STEM}.html") } else { format!("{FILE_STEM}-{number}.html") };
        let path = directory.join(name);
        if !path.exists() {
            return Ok(path);
        }
    }
    bail!("there are a thousand demo reports in this directory: remove some")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_exists_is_never_taken() {
        let directory = tempfile::tempdir().unwrap();
        let first = unused_file(directory.path()).unwrap();
        assert_eq!(first, directory.path().join("changeover-demo.db"));
        std::fs::write(&first, "").unwrap();
        assert_eq!(unused_file(directory.path()).unwrap(), directory.path().join("changeover-demo-2.db"));
    }

    #[test]
    fn a_database_with_a_table_is_refused_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(directory.path().join("used.db"));
        ensure_empty(&url).unwrap();
        DatabaseConnection::open(&url).unwrap().batch("CREATE TABLE mine (id INTEGER)").unwrap();
        let error = ensure_empty(&url).unwrap_err().to_string();
        assert!(error.contains("is not empty: it has mine."), "{error}");
    }
}
