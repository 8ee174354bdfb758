//! A set of ids as bytes, for a file, and back. What is read is checked as if anybody had written it: whatever the bytes are, the set
//! that comes out answers exactly for the ids that it lists, or there is an error. A checksum is the file's business.

use std::sync::Arc;

use super::shape::{Shape, UUID_FORMS};
use super::sorted::Sorted;
use super::texts::Texts;
use super::{CohortIds, Family};

/// The first bytes, which also name the version of what follows.
const MAGIC: &[u8] = b"chgids\x00\x01";

/// Bytes that are not a set of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are not cohort ids as this program writes them: {0}")]
pub struct UnreadableIds(&'static str);

impl CohortIds {
    /// The set as bytes; [`CohortIds::from_bytes`] reads them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        write_count(&mut bytes, self.families.len());
        for family in &self.families {
            write_count(&mut bytes, family.prefix.len());
            bytes.extend_from_slice(family.prefix.as_bytes());
            bytes.push(family.width);
            write_count(&mut bytes, family.numbers.len());
            let mut before = 0;
            for number in family.numbers.values() {
                write_number(&mut bytes, number - before);
                before = *number;
            }
        }
        for uuids in &self.uuids {
            write_count(&mut bytes, uuids.len());
            uuids.values().iter().for_each(|uuid| bytes.extend_from_slice(&uuid.to_be_bytes()));
        }
        write_count(&mut bytes, self.texts.len());
        bytes.extend_from_slice(self.texts.bytes());
        bytes
    }

    /// Reads what [`CohortIds::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableIds> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(UnreadableIds("they begin otherwise"))?;
        let mut reader = Reader { rest };
        let families = reader.families()?;
        let mut uuids: [Arc<Sorted<u128>>; UUID_FORMS] = Default::default();
        for (form, uuids) in uuids.iter_mut().enumerate() {
            *uuids = reader.uuids(form)?.into();
        }
        let count = reader.count()?;
        let texts = Texts::of_bytes(count, reader.rest).ok_or(UnreadableIds("the texts are not sorted texts"))?;
        let ids = Self { families: families.into_boxed_slice(), uuids, texts: texts.into() };
        if ids.texts_are_texts() { Ok(ids) } else { Err(UnreadableIds("a text is held where it is not looked for")) }
    }

    fn texts_are_texts(&self) -> bool {
        let mut cursor = self.texts.cursor();
        while let Some(text) = cursor.next() {
            let elsewhere = match Shape::of(text) {
                Shape::Number { prefix, width, .. } => self.family_at(prefix, width).is_some(),
                Shape::Uuid { .. } => true,
                Shape::Text => false,
            };
            if elsewhere {
                return false;
            }
        }
        true
    }
}

fn write_count(bytes: &mut Vec<u8>, count: usize) {
    write_number(bytes, u64::try_from(count).unwrap_or(u64::MAX));
}

fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn families(&mut self) -> Result<Vec<Family>, UnreadableIds> {
        let count = self.count()?;
        let mut families: Vec<Family> = Vec::new();
        for _ in 0..count {
            let family = self.family()?;
            let ascends =
                families.last().is_none_or(|before| (&before.prefix, before.width) < (&family.prefix, family.width));
            if !ascends {
                return Err(UnreadableIds("the families are not sorted"));
            }
            families.push(family);
        }
        Ok(families)
    }

    fn family(&mut self) -> Result<Family, UnreadableIds> {
        let length = self.count()?;
        let prefix = std::str::from_utf8(self.take(length)?).map_err(|_| UnreadableIds("a prefix is not UTF-8"))?;
        let width = self.take(1)?.first().copied().unwrap_or(0);
        let count = self.count()?;
        let mut numbers = Vec::with_capacity(count);
        let mut last: Option<u64> = None;
        for _ in 0..count {
            let step = self.number()?;
            let next = match last {
                Some(_) if step == 0 => None,
                Some(last) => last.checked_add(step),
                None => Some(step),
            };
            let next = next.ok_or(UnreadableIds("numbers are not sorted"))?;
            numbers.push(next);
            last = Some(next);
        }
        let family = Family { prefix: prefix.into(), width, numbers: Sorted::of_sorted(numbers).into() };
        let is_here = |number: &u64| {
            let text = super::shape::number_text(prefix, width, *number);
            matches!(Shape::of(&text), Shape::Number { prefix: other, width: wide, .. } if (other, wide) == (prefix, width))
        };
        let values = family.numbers.values();
        // If the smallest and the largest number are looked for in this family, so are all between them, unless they make a UUID.
        let found = if prefix.len() + 20 < 32 {
            values.first().is_none_or(is_here) && values.last().is_none_or(is_here)
        } else {
            values.iter().all(is_here)
        };
        if found { Ok(family) } else { Err(UnreadableIds("a number is held where it is not looked for")) }
    }

    fn uuids(&mut self, form: usize) -> Result<Sorted<u128>, UnreadableIds> {
        let count = self.count()?;
        let bytes = self.take(count.checked_mul(16).ok_or(UnreadableIds("they end too early"))?)?;
        let (chunks, _) = bytes.as_chunks::<16>();
        let uuids: Vec<u128> = chunks.iter().map(|chunk| u128::from_be_bytes(*chunk)).collect();
        if !uuids.is_sorted_by(|a, b| a < b) {
            return Err(UnreadableIds("UUIDs are not sorted"));
        }
        // A UUID without a letter is looked for as one in lower case.
        let lower_only = |uuid: &u128| (0..32).all(|at| (uuid >> (4 * at)) & 0xf < 10);
        if form >= 2 && uuids.iter().any(lower_only) {
            return Err(UnreadableIds("a UUID is held where it is not looked for"));
        }
        Ok(Sorted::of_sorted(uuids))
    }

    /// How many items follow. Each takes a byte at least, so a count that lies cannot make anybody reserve memory.
    fn count(&mut self) -> Result<usize, UnreadableIds> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count <= self.rest.len() { Ok(count) } else { Err(UnreadableIds("they end too early")) }
    }

    fn number(&mut self) -> Result<u64, UnreadableIds> {
        let (mut number, mut shift) = (0u64, 0);
        loop {
            let byte = self.take(1)?.first().copied().unwrap_or(0);
            let part = u64::from(byte & 0x7f);
            if shift > 63 || (shift == 63 && part > 1) {
                return Err(UnreadableIds("a number is too large"));
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
            shift += 7;
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], UnreadableIds> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(UnreadableIds("they end too early"))?;
        self.rest = rest;
        Ok(taken)
    }
}
