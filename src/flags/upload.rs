//! Reading a cohort's ids from a file: one id a line.

use std::collections::BTreeSet;

/// The longest id that is accepted, in bytes.
const ID_LENGTH_MAX: usize = 256;

/// At most this many rejected lines are listed; all are counted.
const REJECTED_LISTED_MAX: usize = 100;

/// What was read from a file of ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upload {
    /// The ids, trimmed, each once, in the order of their bytes.
    pub ids: Vec<String>,
    /// How many lines held an id.
    pub read: usize,
    /// How many of them stood there before.
    pub duplicates: usize,
    /// How many lines could not be read as an id.
    pub rejected: usize,
    /// The first of them.
    pub rejections: Vec<Rejected>,
}

/// A line that is not an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// From 1.
    pub line: usize,
    pub what: &'static str,
}

impl Upload {
    /// Reads one id a line; surrounding white space, a byte order mark and empty lines are passed over.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut upload = Self::default();
        let mut ids = BTreeSet::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let id = line.trim();
            if id.is_empty() {
                continue;
            }
            match refuse(id) {
                Some(what) => upload.reject(number + 1, what),
                None => {
                    upload.read += 1;
                    if !ids.insert(id) {
                        upload.duplicates += 1;
                    }
                }
            }
        }
        upload.ids = ids.into_iter().map(str::to_owned).collect();
        upload
    }

    fn reject(&mut self, line: usize, what: &'static str) {
        self.rejected += 1;
        if self.rejections.len() < REJECTED_LISTED_MAX {
            self.rejections.push(Rejected { line, what });
        }
    }
}

fn refuse(id: &str) -> Option<&'static str> {
    if id.len() > ID_LENGTH_MAX {
        Some("is longer than 256 bytes")
    } else if id.chars().any(char::is_control) {
        Some("has a control character in it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_trimmed_deduplicated_and_accounted_for() {
        let long = "x".repeat(257);
        let upload = Upload::read(&format!("\u{feff}42\r\n\n  user-1 \n42\na\tb\n{long}\n"));
        assert_eq!(upload.ids, ["42", "user-1"]);
        assert_eq!((upload.read, upload.duplicates, upload.rejected), (3, 1, 2));
        assert_eq!(upload.rejections.iter().map(|rejected| rejected.line).collect::<Vec<_>>(), [5, 6]);
    }
}
