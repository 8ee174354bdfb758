//! The file that a server starts from while the database is away: flags, cohorts, tokens (their hashes), what is set for edges, and
//! versions as the database last confirmed them. It is replaced as a whole, and believed only if every byte of it is what was written.

mod encoding;

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::memory::{Contents, Saved};
use crate::database::DatabaseUrl;

/// Only the user that the server runs as may read it.
const MODE: u32 = 0o600;

/// Where a server keeps what it has in memory.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    path: PathBuf,
    /// The database's name, so that no server answers from another service's file.
    database: String,
}

/// Why a snapshot file is not used, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFileError {
    #[error("{path} cannot be {verb}")]
    Io {
        path: PathBuf,
        verb: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not a snapshot file of ours: name another with --snapshot-file")]
    Foreign { path: PathBuf },
    #[error(
        "{path} is in format {found}, this program reads {}: run the program that wrote it, or remove the file",
        encoding::FORMAT
    )]
    OtherFormat { path: PathBuf, found: u32 },
    #[error("{path} is damaged ({what}): remove it; the next one is written as soon as the database can be reached")]
    Damaged { path: PathBuf, what: String },
    #[error("{path} is of the database `{found}`, not of `{wanted}`: name another with --snapshot-file")]
    OtherDatabase { path: PathBuf, found: String, wanted: String },
}

impl SnapshotFile {
    /// The file at `path`, for the service's database.
    #[must_use]
    pub fn new(path: PathBuf, url: &DatabaseUrl) -> Self {
        Self { path, database: name_of(url) }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds; `None` if there is none.
    pub fn read(&self) -> Result<Option<Saved>, SnapshotFileError> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("read", error)),
        };
        let path = || self.path.clone();
        let (database, saved) = encoding::decode(&bytes).map_err(|refusal| match refusal {
            encoding::Refusal::Foreign => SnapshotFileError::Foreign { path: path() },
            encoding::Refusal::OtherFormat(found) => SnapshotFileError::OtherFormat { path: path(), found },
            encoding::Refusal::Damaged(what) => SnapshotFileError::Damaged { path: path(), what },
        })?;
        if database != self.database {
            let wanted = self.database.clone();
            return Err(SnapshotFileError::OtherDatabase { path: path(), found: database, wanted });
        }
        Ok(Some(saved))
    }

    /// Puts the contents in place of what the file holds. Whenever this process or the machine stops, the file is the old one or the
    /// new one.
    pub fn write(&self, contents: &Contents) -> Result<(), SnapshotFileError> {
        let bytes = encoding::encode(&self.database, contents);
        if let Some(directory) = self.directory() {
            std::fs::create_dir_all(directory).map_err(|error| self.io("written", error))?;
        }
        let temporary = self.temporary();
        let outcome = write_durably(&temporary, &bytes).and_then(|()| std::fs::rename(&temporary, &self.path));
        if let Err(error) = outcome {
            drop(std::fs::remove_file(&temporary));
            return Err(self.io("written", error));
        }
        // The new name is durable once the directory is.
        let synced = File::open(self.directory().unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all());
        synced.map_err(|error| self.io("written", error))
    }

    /// Removes what writers that were killed have left beside the file.
    pub fn clean(&self) {
        let Some(prefix) = self.path.file_name().map(|name| format!("{}.new-", name.to_string_lossy())) else { return };
        let entries = std::fs::read_dir(self.directory().unwrap_or(Path::new("."))).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)) {
            let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|at| at.elapsed());
            // A younger one may be another server's that is being written.
            if matches!(age, Ok(Ok(age)) if age.as_secs() > 600) {
                drop(std::fs::remove_file(entry.path()));
            }
        }
    }

    fn directory(&self) -> Option<&Path> {
        self.path.parent().filter(|directory| !directory.as_os_str().is_empty())
    }

    /// Beside the file, so that a rename puts it in place; with the process's number, because servers may share a file.
    fn temporary(&self) -> PathBuf {
        let mut name: OsString = self.path.clone().into_os_string();
        name.push(format!(".new-{}", std::process::id()));
        PathBuf::from(name)
    }

    fn io(&self, verb: &'static str, source: std::io::Error) -> SnapshotFileError {
        SnapshotFileError::Io { path: self.path.clone(), verb, source }
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path)?;
    // The mode above is for a new file only.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What tells a service's database from another's: its name on PostgreSQL, whose host may change, and the file's name on SQLite.
fn name_of(url: &DatabaseUrl) -> String {
    match url {
        DatabaseUrl::Sqlite(path) => {
            path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        }
        DatabaseUrl::Postgres(_) => {
            let shown = url.to_string();
            let rest = shown.split_once("://").map_or("", |(_, rest)| rest);
            rest.split_once('/').map_or("", |(_, name)| name).to_owned()
        }
    }
}
