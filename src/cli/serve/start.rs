//! How a server gets its first memory: from the database, or from its snapshot file while the database is away.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, anyhow};

use crate::database::DatabaseUrl;
use crate::store::{Memory, Saved, SnapshotFile, Store, StoreError, sha256};

/// How long a server that has a snapshot file waits for the database before it serves from the file: for a connection, and, once there
/// is one, for what is newer to be read.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(1);
const READING_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, clap::Args)]
pub struct SnapshotArguments {
    /// Where what is in memory is kept, to start from while the database is away [default: beside an SQLite file; otherwise in
    /// $STATE_DIRECTORY or $XDG_STATE_HOME/changeover]
    #[arg(long, env = "CHANGEOVER_SNAPSHOT_FILE", value_name = "PATH")]
    pub snapshot_file: Option<PathBuf>,

    /// Keep no such file: a server cannot start while the database is away
    #[arg(long, env = "CHANGEOVER_NO_SNAPSHOT_FILE", conflicts_with = "snapshot_file")]
    pub no_snapshot_file: bool,
}

/// The snapshot file, unless there is to be none.
pub fn snapshot_file(arguments: &SnapshotArguments, url: &DatabaseUrl) -> Option<SnapshotFile> {
    if arguments.no_snapshot_file {
        return None;
    }
    let path = arguments.snapshot_file.clone().or_else(|| default_path(url));
    if path.is_none() {
        tracing::warn!(
            "there is no place for a snapshot file: without --snapshot-file PATH no start while the database is away"
        );
    }
    path.map(|path| SnapshotFile::new(path, url))
}

/// Beside an SQLite file; for PostgreSQL in the directory that systemd or the user's session gives for such things.
fn default_path(url: &DatabaseUrl) -> Option<PathBuf> {
    if let DatabaseUrl::Sqlite(path) = url {
        let mut name = path.clone().into_os_string();
        name.push(".snapshot");
        return Some(PathBuf::from(name));
    }
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let given = variable("STATE_DIRECTORY").and_then(|given| given.to_str()?.split(':').next().map(PathBuf::from));
    let directory = given
        .or_else(|| variable("XDG_STATE_HOME").map(|home| home.join("changeover")))
        .or_else(|| variable("HOME").map(|home| home.join(".local/state/changeover")))?;
    // Services that share the directory have files of their own.
    let database: String = sha256(&url.to_string()).chars().take(12).collect();
    Some(directory.join(format!("{database}.snapshot")))
}

/// Memory as the database holds it; while that is away, as the file does. An error if there is neither.
pub fn memory(store: Store, file: Option<&SnapshotFile>) -> anyhow::Result<Arc<Memory>> {
    let saved = match file.map(SnapshotFile::read).transpose() {
        Ok(saved) => Ok(saved.flatten()),
        Err(refused) => {
            tracing::error!(error = %refused, "the snapshot file is not used");
            Err(refused)
        }
    };
    let path = file.map(SnapshotFile::path);
    let memory = match saved {
        Ok(Some(saved)) => with_saved(store, saved)?,
        outcome => {
            let memory = Memory::starting(store, None);
            let refused = outcome.err().map(|refused| refused.to_string());
            memory.refresh().map_err(|error| nothing_to_serve(error, refused, path))?;
            Arc::new(memory)
        }
    };
    memory.serve();
    Ok(memory)
}

fn with_saved(store: Store, saved: Saved) -> anyhow::Result<Arc<Memory>> {
    let memory = Arc::new(Memory::starting(store, Some(saved)));
    let (done, outcome) = channel();
    let reading = Arc::clone(&memory);
    let thread = std::thread::Builder::new().name(String::from("start"));
    thread.spawn(move || drop(done.send(reading.refresh()))).context("no thread could be started")?;
    let mut refreshed = outcome.recv_timeout(CONNECTION_PATIENCE);
    if refreshed.is_err() && memory.is_reached() {
        refreshed = outcome.recv_timeout(READING_PATIENCE);
    }
    let reason = match refreshed {
        Ok(Ok(_)) => return Ok(memory),
        Ok(Err(error)) if !error.is_of_the_database() => return Err(cannot_be_used(error)),
        Ok(Err(error)) => error.to_string(),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => String::from("it does not answer"),
    };
    tracing::error!(
        reason,
        version = memory.snapshot().version(),
        confirmed_at = %memory.confirmed_at(),
        "the database cannot be reached: flags are evaluated from the snapshot file until it is back"
    );
    Ok(memory)
}

fn nothing_to_serve(error: StoreError, refused: Option<String>, path: Option<&Path>) -> anyhow::Error {
    if !error.is_of_the_database() {
        return cannot_be_used(error);
    }
    let why = match (refused, path) {
        (Some(refused), _) => refused,
        (None, Some(path)) => format!("there is no snapshot file {} to serve from", path.display()),
        (None, None) => String::from("no snapshot file is kept"),
    };
    cannot_be_used(error).context(anyhow!(
        "nothing can be served: the database cannot be reached, and {why}. Start the database, or correct --database-url"
    ))
}

fn cannot_be_used(error: StoreError) -> anyhow::Error {
    anyhow::Error::new(error).context("the service's database cannot be used")
}
