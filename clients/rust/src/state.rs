//! The last known answers on disk, so that a start without the server serves them. Contexts are written as hashes only.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::{now, wall};
use crate::random::{duration, unique_id};
use crate::sha256::sha256;
use crate::sync::{Signal, lock};
use crate::warn::warning;

const FORMAT: u64 = 1;
const AGE_S_MAX: f64 = 30.0 * 86_400.0;
const FILE_BYTES_MAX: usize = 64 << 20;
const SOON_S: f64 = 1.0;
const PAUSE_S: f64 = 5.0;

/// A context's answers by flag.
pub(crate) type Items = Arc<HashMap<String, Value>>;

/// The answers of a context that are to be written.
pub(crate) struct Saved {
    pub(crate) identity: Arc<str>,
    pub(crate) items: Items,
    pub(crate) etag: Option<String>,
    pub(crate) age: f64,
}

/// The answers of a context that were read.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) items: Items,
    pub(crate) etag: Option<String>,
    pub(crate) size: usize,
    at: f64,
}

pub(crate) struct State {
    path: Option<PathBuf>,
    url: String,
    contexts: HashMap<String, Found>,
    stages: Mutex<HashMap<String, (String, f64)>>,
    schedule: Mutex<Schedule>,
    closing: Signal,
    /// One at a time writes.
    saving: Mutex<()>,
}

struct Schedule {
    is_due: bool,
    saved_at: f64,
}

impl State {
    pub(crate) fn new(path: Option<PathBuf>, url: &str) -> Self {
        let mut state = Self {
            path,
            url: url.to_owned(),
            contexts: HashMap::new(),
            stages: Mutex::default(),
            schedule: Mutex::new(Schedule { is_due: false, saved_at: f64::NEG_INFINITY }),
            closing: Signal::default(),
            saving: Mutex::default(),
        };
        if let Some(path) = state.path.clone() {
            match state.load(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    warning!("the last known answers in {} are passed over: {error}", path.display());
                    state.contexts.clear();
                    lock(&state.stages).clear();
                }
            }
        }
        state
    }

    /// The answers that were read for a context.
    pub(crate) fn answers(&self, identity: &str) -> Option<Found> {
        if self.contexts.is_empty() {
            return None;
        }
        self.contexts.get(&sha256(identity.as_bytes())).cloned()
    }

    pub(crate) fn stage(&self, flag: &str) -> Option<String> {
        lock(&self.stages).get(flag).map(|(stage, _)| stage.clone())
    }

    /// True if it is another than before.
    pub(crate) fn set_stage(&self, flag: &str, stage: &str) -> bool {
        let mut stages = lock(&self.stages);
        if stages.get(flag).is_some_and(|(before, _)| before == stage) {
            return false;
        }
        stages.insert(flag.to_owned(), (stage.to_owned(), wall()));
        true
    }

    /// After which time to write, if nobody is about to.
    pub(crate) fn schedule(&self) -> Option<Duration> {
        self.path.as_ref()?;
        let mut schedule = lock(&self.schedule);
        if schedule.is_due || self.closing.is_set() {
            return None;
        }
        schedule.is_due = true;
        Some(duration(SOON_S.max(schedule.saved_at + PAUSE_S - now())))
    }

    /// Waits for that time; false if the client is closed first.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        !self.closing.wait(time)
    }

    /// Nobody can wait for it.
    pub(crate) fn unscheduled(&self) {
        lock(&self.schedule).is_due = false;
    }

    /// Nothing more is scheduled.
    pub(crate) fn close(&self) {
        self.closing.set();
    }

    /// Writes now.
    pub(crate) fn save(&self, kept: impl FnOnce() -> Vec<Saved>) {
        let Some(path) = &self.path else { return };
        let _one = lock(&self.saving);
        *lock(&self.schedule) = Schedule { is_due: false, saved_at: now() };
        if let Err(error) = replace(path, &self.document(&kept())) {
            warning!("the last known answers were not written to {}: {error}", path.display());
        }
    }

    /// The newest ones, as far as there is room.
    fn document(&self, kept: &[Saved]) -> String {
        let now = wall();
        let mut entries: Vec<(String, f64, &Items, &Option<String>)> =
            kept.iter().map(|one| (sha256(one.identity.as_bytes()), now - one.age, &one.items, &one.etag)).collect();
        entries.reverse();
        let mut older: Vec<_> =
            self.contexts.iter().filter(|(name, _)| entries.iter().all(|(kept, ..)| kept != *name)).collect();
        older.sort_by(|(_, one), (_, other)| other.at.total_cmp(&one.at));
        entries.extend(older.into_iter().map(|(name, found)| (name.clone(), found.at, &found.items, &found.etag)));
        let (mut room, mut pieces) = (FILE_BYTES_MAX - (1 << 20), Vec::new());
        for (name, at, items, etag) in entries {
            let items: Map<String, Value> = items.iter().map(|(key, item)| (key.clone(), item.clone())).collect();
            let piece = format!("\"{name}\":{}", json!({"at": at, "etag": etag, "flags": items}));
            if piece.len() > room {
                break;
            }
            room -= piece.len();
            pieces.push(piece);
        }
        let stages: Map<String, Value> = lock(&self.stages)
            .iter()
            .map(|(flag, (stage, at))| (flag.clone(), json!({"stage": stage, "at": at})))
            .collect();
        let head = json!({"format": FORMAT, "url": self.url, "saved_at": now, "stages": stages}).to_string();
        format!("{},\"contexts\":{{{}}}}}\n", head.strip_suffix('}').unwrap_or(&head), pieces.join(","))
    }

    fn load(&mut self, path: &Path) -> io::Result<()> {
        let wrong = || io::Error::other("they are of another server or another format");
        let file = File::open(path)?;
        if usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX) > FILE_BYTES_MAX {
            return Err(io::Error::other("the file is too large"));
        }
        let document: Value = serde_json::from_reader(io::BufReader::new(file))?;
        let is_ours = document.get("format").and_then(Value::as_u64) == Some(FORMAT)
            && document.get("url").and_then(Value::as_str) == Some(&self.url);
        let entries = |name: &str| document.get(name).and_then(Value::as_object).ok_or_else(wrong);
        let (contexts, stages) = if is_ours { (entries("contexts")?, entries("stages")?) } else { return Err(wrong()) };
        let oldest = wall() - AGE_S_MAX;
        for (name, entry) in contexts {
            let at = entry.get("at").and_then(Value::as_f64).ok_or_else(wrong)?;
            let flags = entry.get("flags").and_then(Value::as_object).ok_or_else(wrong)?;
            if at > oldest {
                let is_tag = |etag: &&str| etag.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
                let etag = entry.get("etag").and_then(Value::as_str).filter(is_tag).map(str::to_owned);
                let items = flags.iter().map(|(key, item)| (key.clone(), item.clone())).collect();
                let found = Found { items: Arc::new(items), etag, size: entry.to_string().len(), at };
                self.contexts.insert(name.clone(), found);
            }
        }
        for (flag, entry) in stages {
            let at = entry.get("at").and_then(Value::as_f64).ok_or_else(wrong)?;
            let stage = entry.get("stage").and_then(Value::as_str).ok_or_else(wrong)?;
            if at > oldest {
                lock(&self.stages).insert(flag.clone(), (stage.to_owned(), at));
            }
        }
        Ok(())
    }
}

/// Writes a new file beside it and puts it in its place: whoever reads has the old one or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?.to_owned();
    name.push(format!(".{}", unique_id()));
    let beside = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = |mut file: File| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    let done = options.open(&beside).and_then(write).and_then(|()| std::fs::rename(&beside, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sha256() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let long = sha256(&[b'a'; 1_000]);
        assert_eq!(long, "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3");
    }
}
