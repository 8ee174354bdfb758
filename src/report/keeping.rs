//! Keeping what a comparison finds while it runs: every exception, and each chunk, so that a run which dies is gone on with.

use sha2::{Digest, Sha256};

use crate::allocation::{ComparePart, ExceptionLine};
use crate::store::{Store, StoreError, report_exceptions};
use crate::translation::compare::{CompareError, CompareWatcher};

/// Lines that are read at once for the checksum.
const LINES: i64 = 2_000;

/// Whoever waits for a report is told `done` and `total` charges, and may stop it by false.
pub type Telling<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// Keeps what a comparison finds under the id of the report that it will be.
pub(super) struct Keeper<'a> {
    store: &'a Store,
    /// The report's id.
    id: &'a str,
    /// The earlier report, unchanged chunks of which are taken over.
    earlier: Option<&'a str>,
    tell: Telling<'a>,
    /// The chunk whose exceptions come now.
    part: u64,
    /// The chunk of the earlier report that was offered last.
    offered: Option<ComparePart>,
}

impl<'a> Keeper<'a> {
    pub fn new(store: &'a Store, id: &'a str, earlier: Option<&'a str>, tell: Telling<'a>) -> Self {
        Self { store, id, earlier, tell, part: 0, offered: None }
    }

    /// The earlier report and its chunk, if `part` is that chunk, unchanged since.
    fn unchanged(&self, part: &ComparePart) -> Option<(&'a str, u64)> {
        let offered = self.offered.as_ref().filter(|offered| {
            part.checksum.is_some()
                && (&offered.checksum, &offered.from, &offered.to) == (&part.checksum, &part.from, &part.to)
        })?;
        self.earlier.map(|earlier| (earlier, offered.number))
    }
}

fn not_kept(error: StoreError) -> CompareError {
    CompareError::NotKept(Box::new(error))
}

impl CompareWatcher for Keeper<'_> {
    fn progress(&mut self, done: u64, total: u64) -> bool {
        (self.tell)(done, total)
    }

    fn exceptions(&mut self, lines: Vec<ExceptionLine>) -> Result<(), CompareError> {
        self.store.write(|connection| report_exceptions::keep(connection, self.id, self.part, &lines)).map_err(not_kept)
    }

    fn checkpoint(&mut self, part: &ComparePart) -> Result<(), CompareError> {
        let unchanged = self.unchanged(part);
        let kept = self.store.write(|connection| {
            if let Some(earlier) = unchanged {
                report_exceptions::take_over(connection, earlier, (self.id, part.number))?;
            }
            report_exceptions::keep_part(connection, self.id, part)
        });
        self.part = part.number + 1;
        kept.map_err(not_kept)
    }

    fn interrupted(&mut self, number: u64) -> Result<Option<ComparePart>, CompareError> {
        self.store.read(|connection| report_exceptions::find_part(connection, self.id, number)).map_err(not_kept)
    }

    fn earlier(&mut self, number: u64) -> Result<Option<ComparePart>, CompareError> {
        let Some(earlier) = self.earlier else { return Ok(None) };
        let found = self.store.read(|connection| report_exceptions::find_part(connection, earlier, number));
        self.offered = found.map_err(not_kept)?;
        Ok(self.offered.clone())
    }
}

/// The sha-256 of all exceptions that are kept, one line of JSON each, in the bytewise order of their charges' ids.
pub(super) fn exceptions_sha256(store: &Store, id: &str) -> Result<String, StoreError> {
    let mut digest = Sha256::new();
    let mut after = String::new();
    loop {
        let lines = store.read(|connection| report_exceptions::texts_after(connection, id, &after, LINES))?;
        for (_, text) in &lines {
            digest.update(text);
            digest.update("\n");
        }
        match lines.into_iter().next_back() {
            Some((charge, _)) => after = charge,
            None => break,
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
