//! Uploads of cohort ids: plain lines, CSV or NDJSON; trimmed, deduplicated, and accounted for line by line.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use super::sorted_ids::SortedIds;
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
    /// The first field of each line; a first line that says `id` is a heading.
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableUpload {
    #[error("the upload is not UTF-8: line {line} holds other bytes")]
    NotUtf8 { line: usize },
    #[error("the upload holds no id")]
    Empty,
    #[error("no line of the upload is an id; line {line} {what}")]
    NothingAccepted { line: u64, what: &'static str },
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// From 1.
    pub line: u64,
    pub what: &'static str,
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

/// Reads an upload. One without any id is refused: replacing a cohort with nothing is a mistake far more often than a wish.
pub fn read(bytes: &[u8], format: UploadFormat) -> Result<Upload, UnusableUpload> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        UnusableUpload::NotUtf8 { line: before.iter().filter(|byte| **byte == b'\n').count() + 1 }
    })?;
    let mut upload = Upload { ids: SortedIds::of([""]), read: 0, duplicates: 0, rejected: 0, rejections: Vec::new() };
    let mut ids = Vec::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        if line.trim().is_empty() {
            continue;
        }
        match id_in(line, number, format) {
            Ok(id) if id.is_empty() => {}
            Ok(id) => {
                upload.read += 1;
                ids.push(id.into_owned());
            }
            Err(what) => upload.reject(number, what),
        }
    }
    upload.ids = SortedIds::of(ids);
    upload.duplicates = upload.read - upload.ids.len();
    match (upload.ids.is_empty(), upload.rejections.first()) {
        (false, _) => Ok(upload),
        (true, None) => Err(UnusableUpload::Empty),
        (true, Some(first)) => Err(UnusableUpload::NothingAccepted { line: first.line, what: first.what }),
    }
}

impl Upload {
    fn reject(&mut self, line: u64, what: &'static str) {
        self.rejected += 1;
        if self.rejections.len() < REJECTIONS_LISTED_MAX {
            self.rejections.push(Rejection { line, what });
        }
    }
}

/// The id that a line holds; an empty one for a line that is to be passed over.
fn id_in(line: &str, number: u64, format: UploadFormat) -> Result<Cow<'_, str>, &'static str> {
    let id: Cow<'_, str> = match format {
        UploadFormat::Lines => Cow::Borrowed(line),
        UploadFormat::Csv => csv_field(line).ok_or("has a quote that is not closed")?,
        UploadFormat::Ndjson => Cow::Owned(json_id(line)?),
    };
    let trimmed = id.trim();
    if format == UploadFormat::Csv && number == 1 && trimmed.eq_ignore_ascii_case("id") {
        return Ok(Cow::Borrowed(""));
    }
    if trimmed.len() > ID_BYTES_MAX {
        return Err("is longer than 256 bytes");
    }
    if trimmed.chars().any(char::is_control) {
        return Err("has a control character in it");
    }
    Ok(if trimmed.len() == id.len() { id } else { Cow::Owned(trimmed.to_owned()) })
}

/// The first field of a CSV line; none if its quote is never closed.
fn csv_field(line: &str) -> Option<Cow<'_, str>> {
    let line = line.trim_start();
    let Some(quoted) = line.strip_prefix('"') else {
        return line.split(',').next().map(Cow::Borrowed);
    };
    let mut field = String::new();
    let mut characters = quoted.chars().peekable();
    loop {
        match characters.next()? {
            '"' if characters.peek() == Some(&'"') => field.extend(characters.next()),
            '"' => return Some(Cow::Owned(field)),
            character => field.push(character),
        }
    }
}

fn json_id(line: &str) -> Result<String, &'static str> {
    let value: Value = serde_json::from_str(line).map_err(|_| "is not JSON")?;
    let value = match &value {
        Value::Object(object) => object.get("id").ok_or("is an object without `id`")?,
        other => other,
    };
    match canonical_id(value) {
        Some(id) if !id.is_empty() => Ok(id.into_owned()),
        _ => Err("is neither a text nor a whole number that JSON keeps exactly"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_formats_say_the_same() {
        let lines = read(b"42\nb,\"c\n\n42\n", UploadFormat::Lines).unwrap();
        let csv = read(b"id,name\n42,x\n\"b,\"\"c\",y\n 42 ,z\n\"open\n", UploadFormat::Csv).unwrap();
        let ndjson = read(b"42\n{\"id\":\"b,\\\"c\"}\n\"42\"\n{}\n[1]\n\"a\\nb\"\nx\n", UploadFormat::Ndjson).unwrap();
        assert_eq!(lines.ids.sha256(), csv.ids.sha256());
        assert_eq!(lines.ids.sha256(), ndjson.ids.sha256());
        assert_eq!((csv.read, csv.duplicates, csv.rejected), (3, 1, 1));
        let rejected: Vec<u64> = ndjson.rejections.iter().map(|rejected| rejected.line).collect();
        assert_eq!((ndjson.rejected, rejected), (4, vec![4, 5, 6, 7]));
    }

    #[test]
    fn what_holds_no_id_is_refused() {
        assert_eq!(read(b"", UploadFormat::Lines).unwrap_err(), UnusableUpload::Empty);
        assert_eq!(read(b"id\n", UploadFormat::Csv).unwrap_err(), UnusableUpload::Empty);
        assert_eq!(read(b"a\n\xff", UploadFormat::Lines).unwrap_err(), UnusableUpload::NotUtf8 { line: 2 });
        assert!(matches!(read(b"\n{}", UploadFormat::Ndjson), Err(UnusableUpload::NothingAccepted { line: 2, .. })));
    }
}
