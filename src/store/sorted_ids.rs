//! Ids in the order of their bytes, each once, read piece by piece: from memory, from a temporary file, or from the database. Ten
//! million of them need not be in memory at once.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use sha2::Digest;

use super::{StoreError, hexadecimal};
use crate::database::DatabaseConnection;

/// How much of a file is read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Sorted and distinct ids, one a line: in memory if they are few, otherwise in a temporary file that goes with this value.
#[derive(Debug)]
pub struct SortedIds {
    body: Body,
    count: u64,
    sha256: String,
}

#[derive(Debug)]
pub(super) enum Body {
    Memory(String),
    File(File),
}

impl SortedIds {
    /// Sorts ids that are in memory already. They are taken as they are; an empty one, or one with a line feed, is left out.
    pub fn of<T: AsRef<str>>(ids: impl IntoIterator<Item = T>) -> Self {
        let mut ids: Vec<T> = ids.into_iter().filter(|id| !id.as_ref().is_empty()).collect();
        ids.retain(|id| !id.as_ref().contains('\n'));
        ids.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        ids.dedup_by(|a, b| a.as_ref() == b.as_ref());
        let mut text = String::with_capacity(ids.iter().map(|id| id.as_ref().len() + 1).sum());
        for id in &ids {
            text.push_str(id.as_ref());
            text.push('\n');
        }
        let sha256 = hexadecimal(&sha2::Sha256::digest(text.as_bytes()));
        Self { body: Body::Memory(text), count: u64::try_from(ids.len()).unwrap_or(u64::MAX), sha256 }
    }

    pub(super) fn new(body: Body, count: u64, sha256: String) -> Self {
        Self { body, count, sha256 }
    }

    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The sha-256 of the ids, each followed by a line feed: what `sort -u | sha256sum` prints in the C locale.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    pub(super) fn pieces(&self) -> Result<Pieces<'_>, StoreError> {
        match &self.body {
            Body::Memory(text) => Ok(Pieces::Memory(Some(text))),
            Body::File(file) => {
                let mut file = file.try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                Ok(Pieces::File { file, rest: Vec::new() })
            }
        }
    }
}

/// Where pieces of sorted ids come from, one after the other.
pub(super) enum Pieces<'a> {
    Memory(Option<&'a str>),
    File { file: File, rest: Vec<u8> },
    Rows(ReadRow<'a>),
}

/// Reads the next row's ids.
pub(super) type ReadRow<'a> = Box<dyn FnMut(&mut DatabaseConnection) -> Result<Option<String>, StoreError> + 'a>;

impl Pieces<'_> {
    /// Whole lines, or none if that was all.
    pub(super) fn next(&mut self, connection: &mut DatabaseConnection) -> Result<Option<String>, StoreError> {
        match self {
            Self::Memory(text) => Ok(text.take().map(str::to_owned)),
            Self::File { file, rest } => next_of_file(file, rest),
            Self::Rows(next) => next(connection),
        }
    }
}

fn next_of_file(file: &mut File, rest: &mut Vec<u8>) -> Result<Option<String>, StoreError> {
    let mut bytes = std::mem::take(rest);
    let limit = u64::try_from(PIECE_BYTES).unwrap_or(u64::MAX);
    let read = file.take(limit).read_to_end(&mut bytes)?;
    if read == PIECE_BYTES {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        *rest = bytes.split_off(whole);
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    Ok(Some(String::from_utf8(bytes).map_err(std::io::Error::other)?))
}

/// One id after the other out of pieces.
pub(super) struct Feed<'a> {
    pieces: Pieces<'a>,
    piece: String,
    at: usize,
}

impl<'a> Feed<'a> {
    pub(super) fn new(pieces: Pieces<'a>) -> Self {
        Self { pieces, piece: String::new(), at: 0 }
    }

    /// The id that is next, without going on to the one after it.
    pub(super) fn peek(&mut self, connection: &mut DatabaseConnection) -> Result<Option<&str>, StoreError> {
        while self.at >= self.piece.len() {
            let Some(piece) = self.pieces.next(connection)? else { return Ok(None) };
            self.piece = piece;
            self.at = 0;
        }
        Ok(Some(line_at(&self.piece, self.at)))
    }

    /// Goes on to the id after the one that was peeked at.
    pub(super) fn advance(&mut self) {
        self.at += line_at(&self.piece, self.at).len() + 1;
    }
}

/// The line that begins at a byte of a text; empty at its end.
pub(super) fn line_at(text: &str, at: usize) -> &str {
    let rest = text.get(at..).unwrap_or_default();
    rest.find('\n').and_then(|end| rest.get(..end)).unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sorted_once_each() {
        let ids = SortedIds::of(["b", "a", "", "b", "c\nd"]);
        assert_eq!((ids.len(), ids.is_empty()), (2, false));
        assert_eq!(ids.sha256(), super::super::sha256("a\nb\n"));
    }
}
