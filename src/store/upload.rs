//! Uploads of cohort ids: plain lines, CSV or NDJSON; trimmed, deduplicated, and accounted for line by line, as the bytes come in and
//! in bounded memory. A line that is not an id is rejected with its number, and the rest goes on.

use std::borrow::Cow;
use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sorted_ids::SortedIds;
use super::upload_records::{Csv, Lines, OpenQuote, Record};
use super::upload_sort::IdSorter;
use crate::flags::canonical_id;

/// The longest id that is accepted.
const ID_BYTES_MAX: usize = 256;
/// At most this many rejected lines are listed; all are counted.
const REJECTIONS_LISTED_MAX: usize = 100;

/// How an upload is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadFormat {
    /// One id a line.
    Lines,
    /// The first field of each record; a first record that says `id` is a heading.
    Csv,
    /// A JSON text or number a line, or an object with `id`.
    Ndjson,
}

impl UploadFormat {
    /// By the ending of a file's name: `.csv`, `.ndjson` and `.jsonl`, anything else is lines.
    #[must_use]
    pub fn of_file(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).as_deref() {
            Some("csv") => Self::Csv,
            Some("ndjson" | "jsonl") => Self::Ndjson,
            _ => Self::Lines,
        }
    }
}

/// An upload that cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum UnusableUpload {
    #[error("the upload holds no id")]
    Empty,
    #[error("no line of the upload is an id; line {line} {what}")]
    NothingAccepted { line: u64, what: Cow<'static, str> },
    #[error("line {line} opens a quote that is never closed, so what follows it cannot be told apart")]
    OpenQuote { line: u64 },
    #[error("the upload is UTF-16: save it as UTF-8")]
    Utf16,
    #[error("{rejected} lines are not ids, more than the {max} that may be: line {line} {what}")]
    Rejections { rejected: u64, max: u64, line: u64, what: Cow<'static, str> },
    #[error("the upload is larger than {max} bytes")]
    TooLarge { max: u64 },
    #[error("the upload is not gzip, or it was cut short")]
    Gzip,
    #[error("a temporary file for the ids cannot be used: see that TMPDIR has room")]
    Spool(#[from] io::Error),
}

impl From<OpenQuote> for UnusableUpload {
    fn from(OpenQuote(line): OpenQuote) -> Self {
        Self::OpenQuote { line }
    }
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub cohort: String,
    /// The cohort's generation now.
    pub generation: i64,
    /// How many ids the cohort has now.
    pub ids: u64,
    /// How many lines held an id.
    pub read: u64,
    /// How many ids came in that were not there before.
    pub added: u64,
    /// How many ids went out.
    pub removed: u64,
    /// How many lines held an id that stood further up already.
    pub duplicates: u64,
    /// How many lines were not ids.
    pub rejected: u64,
    /// The first of them, with what is wrong.
    pub rejections: Vec<Rejection>,
    /// The sha-256 of the upload's distinct ids, sorted by their bytes, each followed by a line feed.
    pub sha256: String,
}

/// A line that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// From 1.
    pub line: u64,
    pub what: Cow<'static, str>,
}

/// The ids of an upload and what was counted on the way.
#[derive(Debug)]
pub struct Upload {
    /// The ids, trimmed, each once, in the order of their bytes.
    pub ids: SortedIds,
    pub read: u64,
    pub duplicates: u64,
    pub rejected: u64,
    pub rejections: Vec<Rejection>,
}

/// Reads an upload that is in memory already.
pub fn read(bytes: &[u8], format: UploadFormat) -> Result<Upload, UnusableUpload> {
    let mut reader = UploadReader::new(format);
    reader.feed(bytes)?;
    reader.finish()
}

/// Reads an upload piece by piece.
#[derive(Debug)]
pub struct UploadReader {
    records: Records,
    accepted: Accepted,
    is_utf16: bool,
    is_begun: bool,
}

#[derive(Debug)]
enum Records {
    Lines(Lines),
    Csv(Csv),
    Ndjson(Lines),
}

impl UploadReader {
    #[must_use]
    pub fn new(format: UploadFormat) -> Self {
        let records = match format {
            UploadFormat::Lines => Records::Lines(Lines::default()),
            UploadFormat::Csv => Records::Csv(Csv::default()),
            UploadFormat::Ndjson => Records::Ndjson(Lines::default()),
        };
        let accepted =
            Accepted { format, records: 0, sorter: IdSorter::default(), read: 0, rejected: 0, rejections: vec![] };
        Self { records, accepted, is_utf16: false, is_begun: false }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), UnusableUpload> {
        if !self.is_begun && !bytes.is_empty() {
            self.is_begun = true;
            self.is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        }
        let Self { records, accepted, .. } = self;
        let mut take = |record: Record<'_>| accepted.take(&record);
        match records {
            Records::Lines(lines) | Records::Ndjson(lines) => lines.feed(bytes, &mut take),
            Records::Csv(csv) => csv.feed(bytes, &mut take),
        }
    }

    /// Ends the upload. One without any id is refused: replacing a cohort with nothing is a mistake far more often than a wish.
    pub fn finish(self) -> Result<Upload, UnusableUpload> {
        let Self { records, mut accepted, .. } = self;
        let mut take = |record: Record<'_>| accepted.take(&record);
        match records {
            Records::Lines(lines) | Records::Ndjson(lines) => lines.finish(&mut take)?,
            Records::Csv(csv) => csv.finish(&mut take)?,
        }
        let Accepted { sorter, read, rejected, rejections, .. } = accepted;
        let ids = sorter.finish()?;
        match (ids.is_empty(), rejections.first()) {
            (false, _) => Ok(Upload { duplicates: read - ids.len().min(read), ids, read, rejected, rejections }),
            (true, Some(_)) if self.is_utf16 => Err(UnusableUpload::Utf16),
            (true, None) => Err(UnusableUpload::Empty),
            (true, Some(first)) => Err(UnusableUpload::NothingAccepted { line: first.line, what: first.what.clone() }),
        }
    }
}

impl Upload {
    /// What was read, for a receipt; what became of it is the cohort's to say.
    pub(super) fn receipt(&self, cohort: &str) -> Receipt {
        Receipt {
            cohort: cohort.to_owned(),
            generation: 0,
            ids: 0,
            read: self.read,
            added: 0,
            removed: 0,
            duplicates: self.duplicates,
            rejected: self.rejected,
            rejections: self.rejections.clone(),
            sha256: self.ids.sha256().to_owned(),
        }
    }

    /// Refuses the whole upload if more lines were rejected than may be.
    pub fn with_at_most_rejected(self, max: Option<u64>) -> Result<Self, UnusableUpload> {
        match (max, self.rejections.first()) {
            (Some(max), Some(first)) if self.rejected > max => {
                let Rejection { line, what } = first.clone();
                Err(UnusableUpload::Rejections { rejected: self.rejected, max, line, what })
            }
            _ => Ok(self),
        }
    }
}

/// The ids so far.
#[derive(Debug)]
struct Accepted {
    format: UploadFormat,
    records: u64,
    sorter: IdSorter,
    read: u64,
    rejected: u64,
    rejections: Vec<Rejection>,
}

impl Accepted {
    fn take(&mut self, record: &Record<'_>) -> Result<(), UnusableUpload> {
        let found = match record.bytes {
            None => Err("is longer than 64 KiB"),
            Some(bytes) => id_in(bytes, record.more, self.format),
        };
        let is_blank = matches!(&found, Ok(id) if id.is_empty());
        self.records += u64::from(!is_blank);
        let is_heading = self.format == UploadFormat::Csv && self.records == 1;
        match found {
            Ok(id) if id.is_empty() || (is_heading && id.eq_ignore_ascii_case("id")) => {}
            Ok(id) => {
                self.read += 1;
                self.sorter.push(&id)?;
            }
            Err(what) => {
                self.rejected += 1;
                if self.rejections.len() < REJECTIONS_LISTED_MAX {
                    self.rejections.push(Rejection { line: record.line, what: Cow::Borrowed(what) });
                }
            }
        }
        Ok(())
    }
}

/// The id that a record holds; an empty one for a blank line.
fn id_in(bytes: &[u8], more: bool, format: UploadFormat) -> Result<Cow<'_, str>, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
    let id = match format {
        UploadFormat::Lines | UploadFormat::Csv => Cow::Borrowed(trimmed(text)),
        UploadFormat::Ndjson if trimmed(text).is_empty() => Cow::Borrowed(""),
        UploadFormat::Ndjson => Cow::Owned(trimmed(&json_id(trimmed(text))?).to_owned()),
    };
    let has_more = more || (format == UploadFormat::Ndjson && !trimmed(text).is_empty());
    if id.is_empty() && has_more { Err("has no id") } else { checked(id) }
}

/// An id as it is kept, if it is one: trimmed, not empty.
pub fn id_of(text: &str) -> Result<String, &'static str> {
    let id = trimmed(text);
    if id.is_empty() { Err("is empty") } else { checked(Cow::Borrowed(id)).map(Cow::into_owned) }
}

/// Without blanks and byte order marks around it: files that were put one behind the other have these in their middle.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|character: char| character.is_whitespace() || character == '\u{feff}')
}

fn checked(id: Cow<'_, str>) -> Result<Cow<'_, str>, &'static str> {
    if id.len() > ID_BYTES_MAX {
        return Err("is longer than 256 bytes");
    }
    if id.chars().any(char::is_control) {
        return Err("has a control character in it");
    }
    Ok(id)
}

fn json_id(line: &str) -> Result<String, &'static str> {
    let value: Value = serde_json::from_str(line).map_err(|_| "is not JSON")?;
    let value = match &value {
        Value::Object(object) => object.get("id").ok_or("is an object without `id`")?,
        other => other,
    };
    match canonical_id(value) {
        Some(id) => Ok(id.into_owned()),
        _ => Err("is neither a text nor a whole number that JSON keeps exactly"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(upload: &Upload) -> Vec<u64> {
        upload.rejections.iter().map(|rejected| rejected.line).collect()
    }

    #[test]
    fn the_three_formats_say_the_same() {
        let lines = read(b"\xef\xbb\xbf42\nb,\"c\r\n\n42\n", UploadFormat::Lines).unwrap();
        let csv = read(b"ID,name\n42,\"x\ny\"\n\"b,\"\"c\",y\n 42 ,z\n,no id\n\n", UploadFormat::Csv).unwrap();
        let ndjson = b"42\n{\"id\":\"b,\\\"c\"}\n\"42\"\n{}\n[1]\n\"a\\nb\"\nx\n\"\"\n";
        let ndjson = read(ndjson, UploadFormat::Ndjson).unwrap();
        assert_eq!(lines.ids.sha256(), csv.ids.sha256());
        assert_eq!(lines.ids.sha256(), ndjson.ids.sha256());
        assert_eq!((csv.read, csv.duplicates, csv.rejected, lines_of(&csv)), (3, 1, 1, vec![6]));
        assert_eq!((ndjson.rejected, lines_of(&ndjson)), (5, vec![4, 5, 6, 7, 8]));
    }

    #[test]
    fn a_line_that_is_no_id_does_not_hold_up_the_others() {
        let long = "x".repeat(257);
        let body = format!("a\n\u{0}\n{long}\nb\tc\n{}\nd\n", "y".repeat(70_000));
        let mut bytes = body.into_bytes();
        bytes.extend_from_slice(b"\xff\xfe\nlast");
        let upload = read(&bytes, UploadFormat::Lines).unwrap();
        assert_eq!((upload.ids.len(), upload.rejected, lines_of(&upload)), (3, 5, vec![2, 3, 4, 5, 7]));
        let refused = upload.with_at_most_rejected(Some(4)).unwrap_err();
        assert!(matches!(refused, UnusableUpload::Rejections { rejected: 5, max: 4, line: 2, .. }));
    }

    #[test]
    fn what_holds_no_id_is_refused() {
        assert!(matches!(read(b"", UploadFormat::Lines), Err(UnusableUpload::Empty)));
        assert!(matches!(read(b"id\n", UploadFormat::Csv), Err(UnusableUpload::Empty)));
        assert!(matches!(read(b"a\n\"b", UploadFormat::Csv), Err(UnusableUpload::OpenQuote { line: 2 })));
        assert!(matches!(read(b"\xff\xfea\0\n\0", UploadFormat::Lines), Err(UnusableUpload::Utf16)));
        assert!(matches!(read(b"\n{}", UploadFormat::Ndjson), Err(UnusableUpload::NothingAccepted { line: 2, .. })));
    }
}
