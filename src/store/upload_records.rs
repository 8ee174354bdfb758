//! Cuts the bytes of an upload into lines, or into records of CSV, as they come in. Nothing longer than [`RECORD_BYTES_MAX`] is kept,
//! however long a line is.

/// The longest line, or first field of CSV, that is looked at.
pub(super) const RECORD_BYTES_MAX: usize = 64 << 10;

/// A line, or what CSV says is one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// Where it begins, from 1.
    pub(super) line: u64,
    /// The line without its line feed, or the first field; nothing if it is too long.
    pub(super) bytes: Option<&'a [u8]>,
    /// Whether there is more than that in it: another field.
    pub(super) more: bool,
}

/// Bytes that are kept up to a limit.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    too_long: bool,
}

impl Kept {
    fn extend(&mut self, bytes: &[u8]) {
        if self.too_long || self.bytes.len() + bytes.len() > RECORD_BYTES_MAX {
            self.too_long = true;
            self.bytes.clear();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn get(&self) -> Option<&[u8]> {
        (!self.too_long).then_some(&*self.bytes)
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.too_long = false;
    }
}

/// Splits at line feeds.
#[derive(Debug)]
pub(super) struct Lines {
    line: u64,
    begun: Kept,
    is_begun: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self { line: 1, begun: Kept::default(), is_begun: false }
    }
}

impl Lines {
    pub(super) fn feed<E>(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if self.is_begun || line.len() > RECORD_BYTES_MAX {
                self.begun.extend(line);
                take(Record { line: self.line, bytes: self.begun.get(), more: false })?;
                self.begun.clear();
                self.is_begun = false;
            } else {
                take(Record { line: self.line, bytes: Some(line), more: false })?;
            }
            self.line += 1;
        }
        if !rest.is_empty() {
            self.begun.extend(rest);
            self.is_begun = true;
        }
        Ok(())
    }

    pub(super) fn finish<E>(self, take: &mut impl FnMut(Record<'_>) -> Result<(), E>) -> Result<(), E> {
        if !self.is_begun {
            return Ok(());
        }
        take(Record { line: self.line, bytes: self.begun.get(), more: false })
    }
}

/// Splits CSV (RFC 4180) into records, of which only the first field is kept. A quoted field may have line feeds and, doubled, quotes;
/// blanks before a quote are passed over. A quote inside an unquoted field stands for itself.
#[derive(Debug)]
pub(super) struct Csv {
    line: u64,
    record_line: u64,
    quote_line: u64,
    state: State,
    fields: u64,
    first: Kept,
    is_begun: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Plain,
    Quoted,
    /// After a quote in a quoted field: its end, or the first of two.
    Quote,
}

/// The line of a quote that is never closed: what follows it cannot be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenQuote(pub(super) u64);

impl Default for Csv {
    fn default() -> Self {
        Self {
            line: 1,
            record_line: 1,
            quote_line: 1,
            state: State::Start,
            fields: 0,
            first: Kept::default(),
            is_begun: false,
        }
    }
}

impl Csv {
    pub(super) fn feed<E>(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for byte in bytes {
            match (self.state, byte) {
                (State::Quoted, b'"') => self.state = State::Quote,
                (State::Quoted, _) => self.keep(*byte),
                (State::Quote, b'"') => {
                    self.keep(b'"');
                    self.state = State::Quoted;
                }
                (_, b'\n') => self.end(take)?,
                (_, b',') => {
                    self.fields += 1;
                    self.state = State::Start;
                }
                (State::Start, b' ' | b'\t') => {}
                (State::Start, b'"') => {
                    self.quote_line = self.line;
                    self.state = State::Quoted;
                }
                // A byte order mark before the first quote of all.
                (State::Start, 0xef | 0xbb | 0xbf) if self.line == 1 && self.fields == 0 => self.keep(*byte),
                _ => {
                    self.keep(*byte);
                    self.state = State::Plain;
                }
            }
            self.is_begun |= *byte != b'\n' || self.state == State::Quoted;
            if *byte == b'\n' {
                self.line += 1;
                if !self.is_begun {
                    self.record_line = self.line;
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish<E: From<OpenQuote>>(
        mut self,
        take: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.state == State::Quoted {
            return Err(OpenQuote(self.quote_line).into());
        }
        if self.is_begun { self.end(take) } else { Ok(()) }
    }

    fn keep(&mut self, byte: u8) {
        if self.fields == 0 {
            self.first.extend(&[byte]);
        }
    }

    fn end<E>(&mut self, take: &mut impl FnMut(Record<'_>) -> Result<(), E>) -> Result<(), E> {
        take(Record { line: self.record_line, bytes: self.first.get(), more: self.fields > 0 })?;
        self.first.clear();
        self.fields = 0;
        self.state = State::Start;
        self.is_begun = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq)]
    struct Open(u64);

    impl From<OpenQuote> for Open {
        fn from(open: OpenQuote) -> Self {
            Self(open.0)
        }
    }

    type Found = Vec<(u64, Option<Vec<u8>>)>;

    fn csv(pieces: &[&[u8]]) -> Result<Found, Open> {
        let mut found = Found::new();
        let mut take = |record: Record<'_>| {
            found.push((record.line, record.bytes.map(<[u8]>::to_vec)));
            Ok::<(), Open>(())
        };
        let mut records = Csv::default();
        for piece in pieces {
            records.feed(piece, &mut take)?;
        }
        records.finish(&mut take)?;
        Ok(found)
    }

    #[test]
    fn lines_know_their_numbers_and_stay_short() {
        let long = vec![b'x'; RECORD_BYTES_MAX];
        let mut found = Found::new();
        let mut take = |record: Record<'_>| {
            found.push((record.line, record.bytes.map(<[u8]>::to_vec)));
            Ok::<(), Open>(())
        };
        let mut lines = Lines::default();
        for piece in [b"a\n".as_slice(), b"b", b"c\n\n", &long, b"y", &long, b"\n", &long, b"\nlast"] {
            lines.feed(piece, &mut take).unwrap();
        }
        lines.finish(&mut take).unwrap();
        let kept = |line: u64, text: &[u8]| (line, Some(text.to_vec()));
        let wanted = vec![kept(1, b"a"), kept(2, b"bc"), kept(3, b""), (4, None), kept(5, &long), kept(6, b"last")];
        assert_eq!(found, wanted);
    }

    #[test]
    fn records_begin_where_they_begin() {
        let found = csv(&[b"a,\"x\n\ny\"\r\n \"b\"\"\n\"\n\nc\"d,\",\""]).unwrap();
        let found: Vec<(u64, String)> =
            found.into_iter().map(|(line, bytes)| (line, String::from_utf8(bytes.unwrap()).unwrap())).collect();
        let wanted = [(1, "a"), (4, "b\"\n"), (6, ""), (7, "c\"d")];
        assert_eq!(found, wanted.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(csv(&[b"a\nb,\"c\nd\n"]), Err(Open(2)));
    }

    proptest! {
        #[test]
        fn records_are_those_of_the_csv_crate(
            records in prop::collection::vec(prop::collection::vec("[a-c\",\n é]{0,5}", 1..4), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            for record in &records {
                writer.write_record(record).unwrap();
            }
            let bytes = writer.into_inner().unwrap();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let found: Vec<String> =
                csv(&pieces).unwrap().into_iter().map(|(_, bytes)| String::from_utf8(bytes.unwrap()).unwrap()).collect();
            // Blanks at the ends are trimmed from every id later on.
            let trimmed = |text: &String| text.trim_matches(' ').to_owned();
            let wanted: Vec<String> = records.iter().map(|record| trimmed(&record[0])).collect();
            prop_assert_eq!(found.iter().map(trimmed).collect::<Vec<_>>(), wanted);
        }
    }
}
