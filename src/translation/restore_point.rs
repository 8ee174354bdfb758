//! A point that the application's database can be put back to, made before each move of a stage. On PostgreSQL it is a name in the
//! write-ahead log (`pg_create_restore_point`); on SQLite a copy of the file, of which a bounded number is kept. It never keeps a move
//! from being made: why there is none stands in the history.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::change::Stage;
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::primitives::{ChangeName, Instant};
use crate::sql::names::own;

/// A copy that was begun and is older belongs to a process that has died.
const BEGUN_FOR: Duration = Duration::from_secs(60 * 60);

/// Where copies of an SQLite file go, how many are kept, and how large a file is copied.
#[derive(Debug, Clone)]
pub struct RestorePoints {
    /// `None`: beside the file, in a directory with its name and `.restore-points`.
    pub directory: Option<PathBuf>,
    pub keep: usize,
    pub bytes_max: u64,
}

impl Default for RestorePoints {
    fn default() -> Self {
        Self { directory: None, keep: 5, bytes_max: 256 << 20 }
    }
}

/// The move that a restore point is made for.
#[derive(Debug, Clone, Copy)]
pub struct Before<'a> {
    pub change: &'a ChangeName,
    pub from: Stage,
    pub to: Stage,
    pub at: Instant,
}

/// What became of it, as it stands in the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePoint {
    pub made: bool,
    /// What `recovery_target_name` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The copy, on the machine that made the move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Why there is none, or what it still takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A restore point of a change's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastRestorePoint {
    /// When the change was moved.
    pub at: Instant,
    pub from: String,
    pub to: String,
    #[serde(flatten)]
    pub point: RestorePoint,
}

impl RestorePoint {
    fn none(note: String) -> Self {
        Self { made: false, name: None, file: None, note: Some(note) }
    }

    /// In one line.
    #[must_use]
    pub fn told(&self) -> String {
        let name = self.name.clone();
        let what = name.or_else(|| self.file.as_ref().map(|file| file.display().to_string()));
        match (what, &self.note) {
            (Some(what), Some(note)) => format!("{what} ({note})"),
            (Some(what), None) => what,
            (None, note) => format!("none: {}", note.as_deref().unwrap_or_default()),
        }
    }

    /// Without where on the server's machine the copy is: that is for admins.
    #[must_use]
    pub fn without_directory(self) -> Self {
        let file = self.file.as_deref().and_then(Path::file_name).map(PathBuf::from);
        Self { file, ..self }
    }

    /// Removes a copy whose move was not made.
    pub fn discard(&self) {
        if let Some(file) = &self.file {
            drop(fs::remove_file(file));
        }
    }
}

impl RestorePoints {
    /// Makes one, outside of any transaction.
    #[must_use]
    pub fn make(&self, connection: &mut DatabaseConnection, before: Before<'_>) -> RestorePoint {
        let made = match connection.is_in_transaction() {
            Ok(false) => match connection.dialect() {
                Dialect::Postgres => in_log(connection, before),
                Dialect::Sqlite => self.in_file(connection, before),
            },
            Ok(true) => Err(String::from("the move is part of a transaction")),
            Err(error) => Err(error.to_string()),
        };
        made.unwrap_or_else(RestorePoint::none)
    }

    fn in_file(&self, connection: &mut DatabaseConnection, before: Before<'_>) -> Result<RestorePoint, String> {
        let failed = |error: DatabaseError| format!("the file could not be copied: {error}");
        let sql = "SELECT d.file AS file, p.page_count * s.page_size AS bytes
                   FROM pragma_database_list d, pragma_page_count p, pragma_page_size s WHERE d.name = 'main'";
        let row = connection.get_row(sql, &[]).map_err(failed)?;
        let source = PathBuf::from(row.text("file").map_err(failed)?);
        let bytes = u64::try_from(row.integer("bytes").map_err(failed)?).unwrap_or(u64::MAX);
        if bytes > self.bytes_max {
            let (has, max) = (bytes >> 20, self.bytes_max >> 20);
            return Err(format!(
                "the file has {has} MiB, and those of more than {max} MiB are not copied (--restore-point-max-mib): back it up yourself"
            ));
        }
        let directory = self.directory_of(&source);
        let io = |error: std::io::Error| format!("{} cannot be written: {error}", directory.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(io)?;
        let free = rustix::fs::statvfs(&directory).map_err(|error| io(error.into()))?;
        // What the application still writes must not find the disk full.
        if free.f_bavail.saturating_mul(free.f_frsize) < bytes.saturating_mul(2) {
            return Err(format!("{} has less room than twice the file's {} MiB", directory.display(), bytes >> 20));
        }
        let file = directory.join(file_name(&source, before));
        let begun = with_ending(&file, &format!(".begun-{}", std::process::id()));
        let path = begun.to_str().ok_or_else(|| format!("{} is not Unicode", directory.display()))?;
        let copied = connection.execute("VACUUM INTO $1", &[Value::from(path)]).map_err(failed);
        let placed = copied.and_then(|_| place(&source, &begun, &file).map_err(io));
        if let Err(reason) = placed {
            drop(fs::remove_file(&begun));
            return Err(reason);
        }
        Ok(RestorePoint { made: true, name: None, file: Some(file), note: None })
    }

    fn directory_of(&self, source: &Path) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| with_ending(source, ".restore-points"))
    }

    /// Removes the oldest copies of the same database beyond those that are kept, and copies that were begun and never ended.
    pub fn tidy(&self, newest: &RestorePoint) {
        let Some(file) = &newest.file else { return };
        let (Some(directory), Some(stem)) = (file.parent(), parts(file).map(|(stem, _)| stem)) else { return };
        let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let (mut copies, mut dead) = (Vec::new(), Vec::new());
        for path in files {
            match parts(&path) {
                Some((of, at)) if of == stem => copies.push((at, path)),
                Some(_) => {}
                None if is_dead(&path, &stem) => dead.push(path),
                None => {}
            }
        }
        copies.sort_unstable_by(|a, b| b.cmp(a));
        let surplus = copies.into_iter().map(|(_, path)| path).skip(self.keep.max(1));
        for path in surplus.chain(dead) {
            drop(fs::remove_file(path));
        }
    }
}

fn in_log(connection: &mut DatabaseConnection, before: Before<'_>) -> Result<RestorePoint, String> {
    let failed = |error: DatabaseError| format!("it could not be made: {error}");
    let sql = "SELECT has_function_privilege('pg_catalog.pg_create_restore_point(text)', 'EXECUTE') AS may,
                      quote_ident(current_user) AS role, current_setting('wal_level') AS wal_level,
                      current_setting('archive_mode') AS archive_mode";
    let row = connection.get_row(sql, &[]).map_err(failed)?;
    if !row.boolean("may").map_err(failed)? {
        let role = row.text("role").map_err(failed)?;
        return Err(format!(
            "the role may not make one: GRANT EXECUTE ON FUNCTION pg_catalog.pg_create_restore_point(text) TO {role}"
        ));
    }
    if row.text("wal_level").map_err(failed)? == "minimal" {
        return Err(String::from("wal_level is minimal: the log cannot be replayed to a point"));
    }
    // 63 bytes at most: that is what recovery_target_name takes.
    let change: String = before.change.as_str().chars().take(18).collect();
    let name = format!("changeover-{change}-{}-{}", before.to, stamp(before.at));
    connection
        .query("SELECT pg_create_restore_point($1)::text AS position", &[Value::from(name.as_str())])
        .map_err(failed)?;
    let is_archived = row.text("archive_mode").map_err(failed)? != "off";
    let note = (!is_archived).then(|| String::from("archive_mode is off: it takes a log that is kept in another way"));
    Ok(RestorePoint { made: true, name: Some(name), file: None, note })
}

/// `20261123T184001123456Z`: as text in the order of time.
fn stamp(at: Instant) -> String {
    at.timestamp().strftime("%Y%m%dT%H%M%S%6fZ").to_string()
}

/// `app.db.billing.shadow-live.20261123T184001123456Z.db`
fn file_name(source: &Path, before: Before<'_>) -> String {
    let stem = source.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    format!("{stem}.{}.{}-{}.{}.db", before.change, before.from, before.to, stamp(before.at))
}

/// The database and the time in a copy's name. Neither a change nor a stage has a dot in its name.
fn parts(path: &Path) -> Option<(String, String)> {
    let name = path.file_name()?.to_str()?;
    let mut parts = name.rsplitn(5, '.');
    let (ending, at, step, _, stem) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_stamp = at.len() == 22 && at.ends_with('Z') && at.starts_with(|first: char| first.is_ascii_digit());
    (ending == "db" && is_stamp && step.contains('-')).then(|| (stem.to_owned(), at.to_owned()))
}

fn is_dead(path: &Path, stem: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_ours = name.starts_with(&format!("{stem}.")) && name.contains(".db.begun-");
    let modified = || path.metadata().and_then(|metadata| metadata.modified());
    is_ours && modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > BEGUN_FOR))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Gives the copy its name once it is whole and on the disk. Whoever may not read the database may not read the copy.
fn place(source: &Path, begun: &Path, file: &Path) -> std::io::Result<()> {
    fs::set_permissions(begun, source.metadata()?.permissions())?;
    File::open(begun)?.sync_all()?;
    fs::rename(begun, file)?;
    file.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// The restore points in a change's history, the newest first.
pub fn restore_points(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    limit: i64,
) -> Result<Vec<PastRestorePoint>, DatabaseError> {
    let sql = format!(
        "SELECT at, detail FROM {} WHERE change = $1 AND action = 'stage' ORDER BY id DESC LIMIT $2",
        own(connection.dialect(), "change_history")
    );
    let rows = connection.query(&sql, &[Value::from(change.as_str()), Value::from(limit)])?;
    let mut found = Vec::new();
    for row in rows {
        let detail: Detail = serde_json::from_str(&row.text("detail")?).unwrap_or_default();
        if let Some(point) = detail.restore_point {
            let at = Instant::from_micros(row.integer("at")?);
            found.push(PastRestorePoint { at, from: detail.from, to: detail.to, point });
        }
    }
    Ok(found)
}

/// What the history's detail of a move says of it.
#[derive(Default, Deserialize)]
struct Detail {
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    restore_point: Option<RestorePoint>,
}
