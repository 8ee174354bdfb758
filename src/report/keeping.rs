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
    pub store: &'a Store,
    /// The report's id.
    pub id: &'a str,
    /// The earlier report, unchanged chunks of which are taken over.
    pub earlier: Option<&'a str>,
    pub tell: Telling<'a>,
}

fn not_kept(error: StoreError) -> CompareError {
    CompareError::NotKept(Box::new(error))
}

impl CompareWatcher for Keeper<'_> {
    fn progress(&mut self, done: u64, total: u64) -> bool {
        (self.tell)(done, total)
    }

    fn exceptions(&mut self, lines: Vec<ExceptionLine>) -> Result<(), CompareError> {
        self.store.write(|connection| report_exceptions::keep(connection, self.id, &lines)).map_err(not_kept)
    }

    fn checkpoint(&mut self, part: &ComparePart) -> Result<(), CompareError> {
        self.store.write(|connection| report_exceptions::keep_part(connection, self.id, part)).map_err(not_kept)
    }

    fn interrupted(&mut self, number: u64) -> Result<Option<ComparePart>, CompareError> {
        self.store.read(|connection| report_exceptions::find_part(connection, self.id, number)).map_err(not_kept)
    }

    fn earlier(&mut self, number: u64) -> Result<Option<ComparePart>, CompareError> {
        let Some(earlier) = self.earlier else { return Ok(None) };
        self.store.read(|connection| report_exceptions::find_part(connection, earlier, number)).map_err(not_kept)
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
