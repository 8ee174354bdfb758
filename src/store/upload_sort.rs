//! Sorts any number of ids in bounded memory: runs of some megabytes are sorted and put into a temporary file, and in the end merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use super::hexadecimal;
use super::sorted_ids::{Body, SortedIds};

/// What a run takes in memory at most; a merge takes about as much.
const RUN_BYTES_MAX: usize = 64 << 20;
const BUFFER_BYTES: usize = 256 << 10;

/// Takes ids in any order.
#[derive(Debug)]
pub(super) struct IdSorter {
    run_bytes_max: usize,
    text: String,
    ids: Vec<Entry>,
    /// Earlier runs: one file, and where each begins and ends.
    spool: Option<File>,
    runs: Vec<(u64, u64)>,
}

/// An id in `text`. Most comparisons are decided by its first bytes, which need no look at the text.
#[derive(Debug, Clone, Copy)]
struct Entry {
    head: u64,
    start: u32,
    length: u32,
}

impl Default for IdSorter {
    fn default() -> Self {
        Self::with_runs_of(RUN_BYTES_MAX)
    }
}

impl IdSorter {
    fn with_runs_of(run_bytes_max: usize) -> Self {
        Self { run_bytes_max, text: String::new(), ids: Vec::new(), spool: None, runs: Vec::new() }
    }

    /// Takes an id without a line feed.
    pub(super) fn push(&mut self, id: &str) -> io::Result<()> {
        if self.text.len() + id.len() + (self.ids.len() + 1) * size_of::<Entry>() > self.run_bytes_max {
            self.spill()?;
        }
        let (Ok(start), Ok(length)) = (u32::try_from(self.text.len()), u32::try_from(id.len())) else {
            return Err(io::Error::other("an id is too long to be sorted"));
        };
        self.ids.push(Entry { head: head(id), start, length });
        self.text.push_str(id);
        Ok(())
    }

    /// All ids, sorted, each once.
    pub(super) fn finish(mut self) -> io::Result<SortedIds> {
        if self.spool.is_none() {
            let (mut sink, mut lines) = (Counting::default(), Vec::with_capacity(self.text.len() + self.ids.len()));
            self.sorted(|id| sink.write(&mut lines, id))?;
            let text = String::from_utf8(lines).map_err(io::Error::other)?;
            return Ok(SortedIds::new(Body::Memory(text), sink.count, sink.sha256()));
        }
        self.spill()?;
        (self.text, self.ids) = (String::new(), Vec::new());
        let Some(spool) = &self.spool else { return Err(io::Error::other("no spool")) };
        let mut merge = Merge::of(spool, &self.runs)?;
        let (mut sink, mut file) = (Counting::default(), BufWriter::with_capacity(BUFFER_BYTES, tempfile::tempfile()?));
        while let Some(id) = merge.next()? {
            sink.write(&mut file, &id)?;
        }
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(SortedIds::new(Body::File(file), sink.count, sink.sha256()))
    }

    /// Sorts what is in memory and hands out each id once.
    fn sorted(&mut self, mut take: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let text = |entry: &Entry| {
            let start = usize::try_from(entry.start).unwrap_or(usize::MAX);
            let end = start.saturating_add(usize::try_from(entry.length).unwrap_or(0));
            self.text.get(start..end).unwrap_or_default()
        };
        self.ids.sort_unstable_by(|a, b| a.head.cmp(&b.head).then_with(|| text(a).cmp(text(b))));
        let mut last = None;
        for entry in &self.ids {
            let id = text(entry);
            if last != Some(id) {
                take(id)?;
            }
            last = Some(id);
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let file = match self.spool.take() {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        let start = self.runs.last().map_or(0, |(_, end)| *end);
        let mut end = start;
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        self.sorted(|id| {
            end += u64::try_from(id.len() + 1).unwrap_or(0);
            writer.write_all(id.as_bytes())?;
            writer.write_all(b"\n")
        })?;
        self.spool = Some(writer.into_inner().map_err(io::IntoInnerError::into_error)?);
        self.runs.push((start, end));
        self.text.clear();
        self.ids.clear();
        Ok(())
    }
}

/// The first eight bytes, as a number that sorts as they do.
fn head(id: &str) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(id.bytes()) {
        *to = from;
    }
    u64::from_be_bytes(bytes)
}

/// Counts and hashes what is written.
#[derive(Default)]
struct Counting {
    count: u64,
    hash: Sha256,
}

impl Counting {
    fn write(&mut self, to: &mut impl Write, id: &str) -> io::Result<()> {
        self.count += 1;
        self.hash.update(id.as_bytes());
        self.hash.update(b"\n");
        to.write_all(id.as_bytes())?;
        to.write_all(b"\n")
    }

    fn sha256(self) -> String {
        hexadecimal(&self.hash.finalize())
    }
}

/// A part of a file that others read at the same time.
struct Part<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        let read = self.file.read_at(buffer.get_mut(..length).unwrap_or_default(), self.at)?;
        self.at += u64::try_from(read).unwrap_or(0);
        Ok(read)
    }
}

/// The runs' ids in order, each once.
struct Merge<'a> {
    runs: Vec<BufReader<Part<'a>>>,
    heads: BinaryHeap<Reverse<(String, usize)>>,
    last: Option<String>,
}

impl<'a> Merge<'a> {
    fn of(file: &'a File, runs: &[(u64, u64)]) -> io::Result<Self> {
        let runs: Vec<_> = runs
            .iter()
            .map(|(start, end)| BufReader::with_capacity(BUFFER_BYTES, Part { file, at: *start, end: *end }))
            .collect();
        let mut merge = Self { heads: BinaryHeap::with_capacity(runs.len()), runs, last: None };
        for run in 0..merge.runs.len() {
            merge.refill(run, String::new())?;
        }
        Ok(merge)
    }

    fn refill(&mut self, run: usize, mut line: String) -> io::Result<()> {
        line.clear();
        let Some(reader) = self.runs.get_mut(run) else { return Ok(()) };
        if reader.read_line(&mut line)? > 0 {
            line.truncate(line.trim_end_matches('\n').len());
            self.heads.push(Reverse((line, run)));
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<String>> {
        while let Some(Reverse((id, run))) = self.heads.pop() {
            if self.last.as_ref() == Some(&id) {
                self.refill(run, id)?;
                continue;
            }
            let spare = self.last.replace(id.clone()).unwrap_or_default();
            self.refill(run, spare)?;
            return Ok(Some(id));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn runs_in_files_are_the_same_as_memory(ids in prop::collection::vec("[a-c]{1,12}|[0-9]{1,3}|é{1,5}", 0..300)) {
            let sorted: BTreeSet<&String> = ids.iter().collect();
            let wanted = SortedIds::of(&ids);
            for run_bytes in [100, 2_000, 1 << 20] {
                let mut sorter = IdSorter::with_runs_of(run_bytes);
                ids.iter().for_each(|id| sorter.push(id).unwrap());
                let found = sorter.finish().unwrap();
                prop_assert_eq!(found.len(), u64::try_from(sorted.len()).unwrap());
                prop_assert_eq!(found.sha256(), wanted.sha256());
            }
        }
    }
}
