//! Sorted texts in blocks of eight, each text as what differs from the one before it. A table of hashes says in which block a text is
//! if it is there at all; the block's bytes decide.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

/// Texts in a block.
const BLOCK: usize = 8;

const CACHE_LINE_BYTES: usize = 64;
const CACHE_LINES: usize = 3;

#[derive(Debug, Clone, Default)]
pub(super) struct Texts {
    count: usize,
    /// The blocks one after the other, each from a multiple of [`ALIGNMENT`] on.
    buffer: Box<[u8]>,
    /// In each used slot where a block begins, divided by [`ALIGNMENT`] and plus one, in the low `place_bits`; above them a part of the
    /// text's hash. So a look-up waits for memory twice: here and in the block.
    slots: Box<[u32]>,
    place_bits: u32,
}

/// Blocks begin at multiples of so many bytes: it leaves three more bits of a slot for the hash.
const ALIGNMENT: usize = 8;

impl Texts {
    pub(super) fn contains(&self, text: &str) -> bool {
        if self.slots.is_empty() {
            return false;
        }
        let (mut at, tag) = self.slot(text.as_bytes());
        loop {
            match self.slots.get(at).copied() {
                None => at = 0,
                Some(0) => return false,
                Some(slot) => {
                    if slot >> self.place_bits == tag && self.is_in_block(slot & self.place_mask(), text.as_bytes()) {
                        return true;
                    }
                    at += 1;
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.buffer.len() + size_of_val(&*self.slots)
    }

    /// The texts' bytes as they are held: what [`Texts::of_bytes`] takes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    pub(super) fn cursor(&self) -> Cursor<'_> {
        Cursor { buffer: &self.buffer, offset: 0, at: 0, left: self.count, text: Vec::new() }
    }

    /// Without `removed` and with `added`, both sorted and distinct.
    pub(super) fn changed(&self, removed: &[String], added: &[String]) -> Self {
        let mut writer = Writer::default();
        let (mut removed, mut added) = (removed.iter().peekable(), added.iter().peekable());
        let mut cursor = self.cursor();
        while let Some(text) = cursor.next() {
            while let Some(new) = added.next_if(|new| new.as_str() < text) {
                writer.push(new);
            }
            while removed.next_if(|gone| gone.as_str() < text).is_some() {}
            let gone = removed.next_if(|gone| gone.as_str() == text).is_some();
            let new = added.next_if(|new| new.as_str() == text).is_some();
            if new || !gone {
                writer.push(text);
            }
        }
        added.for_each(|new| writer.push(new));
        writer.finish()
    }

    /// Reads the bytes of so many texts; nothing if they are not sorted texts written by this module.
    pub(super) fn of_bytes(count: usize, bytes: &[u8]) -> Option<Self> {
        // A text takes at least two bytes, so a count that lies cannot make this reserve memory.
        if count > bytes.len() {
            return None;
        }
        let mut cursor = Cursor { buffer: bytes, offset: 0, at: 0, left: count, text: Vec::new() };
        let mut before = None::<Vec<u8>>;
        for _ in 0..count {
            let text = cursor.next()?;
            if before.as_deref().is_some_and(|before| before >= text.as_bytes()) {
                return None;
            }
            let before = before.get_or_insert_default();
            before.clear();
            before.extend_from_slice(text.as_bytes());
        }
        if cursor.offset != bytes.len() {
            return None;
        }
        Some(Self::indexed(count, bytes.into()))
    }

    fn indexed(count: usize, buffer: Box<[u8]>) -> Self {
        let places = buffer.len() / ALIGNMENT + 1;
        let place_bits = (usize::BITS - places.leading_zeros()).min(31);
        let mut slots = vec![0; if count == 0 { 0 } else { count + count / 4 + 1 }];
        let texts = Self { count, buffer, slots: Box::default(), place_bits };
        let (mut cursor, mut number, mut start) = (texts.cursor(), 0usize, 0);
        loop {
            let before = cursor.offset;
            let Some(text) = cursor.next() else { break };
            let (mut at, tag) = place(text.as_bytes(), slots.len(), place_bits);
            if number.is_multiple_of(BLOCK) {
                start = before.next_multiple_of(ALIGNMENT);
            }
            while slots.get(at).is_none_or(|slot| *slot != 0) {
                at = if at + 1 < slots.len() { at + 1 } else { 0 };
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = (tag << place_bits) | u32::try_from(start / ALIGNMENT + 1).unwrap_or(u32::MAX);
            }
            number += 1;
        }
        Self { slots: slots.into_boxed_slice(), ..texts }
    }

    fn slot(&self, text: &[u8]) -> (usize, u32) {
        place(text, self.slots.len(), self.place_bits)
    }

    fn place_mask(&self) -> u32 {
        (1 << self.place_bits) - 1
    }

    /// Compares without putting the texts together: `same` is how many bytes the text before begins with the same as `wanted`.
    fn is_in_block(&self, block: u32, wanted: &[u8]) -> bool {
        let start = usize::try_from(block).unwrap_or(usize::MAX).saturating_sub(1).saturating_mul(ALIGNMENT);
        let mut rest = self.buffer.get(start..).unwrap_or_default();
        // Asks memory for all of a common block at once: otherwise each of its cache lines would be waited for in turn.
        let lines = rest.iter().step_by(CACHE_LINE_BYTES).take(CACHE_LINES);
        std::hint::black_box(lines.fold(0, |all, byte| all ^ byte));
        let mut same = 0;
        for _ in 0..BLOCK {
            let Some((shared, own)) = read_text(&mut rest) else { return false };
            if shared < same {
                return false;
            }
            if shared == same {
                let left = wanted.get(same..).unwrap_or_default();
                let more = own.iter().zip(left).take_while(|(own, left)| own == left).count();
                if more == own.len() && more == left.len() {
                    return true;
                }
                same += more;
            }
        }
        false
    }
}

/// The slot where the search for a text begins, and the part of its hash that is kept.
fn place(text: &[u8], slots: usize, place_bits: u32) -> (usize, u32) {
    let hash = FixedState::default().hash_one(text);
    let slots = u64::try_from(slots).unwrap_or(u64::MAX);
    let at = (u128::from(hash) * u128::from(slots)) >> 64;
    let low = u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0);
    (usize::try_from(at).unwrap_or(0), low.checked_shr(place_bits).unwrap_or(0))
}

/// How many bytes a text shares with the one before, and its own.
fn read_text<'a>(rest: &mut &'a [u8]) -> Option<(usize, &'a [u8])> {
    let shared = read_length(rest)?;
    let length = read_length(rest)?;
    let (own, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((shared, own))
}

fn read_length(rest: &mut &[u8]) -> Option<usize> {
    // Nearly every length is one byte.
    if let Some((byte, after)) = rest.split_first()
        && *byte < 0x80
    {
        *rest = after;
        return Some(usize::from(*byte));
    }
    let (mut length, mut shift) = (0usize, 0);
    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(length);
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
}

fn write_length(buffer: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        buffer.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
        length >>= 7;
    }
    buffer.push(u8::try_from(length).unwrap_or(0));
}

/// Goes through the texts in order.
pub(super) struct Cursor<'a> {
    buffer: &'a [u8],
    offset: usize,
    at: usize,
    left: usize,
    text: Vec<u8>,
}

impl Cursor<'_> {
    /// The next text; none at the end, or where the bytes are not those of texts.
    pub(super) fn next(&mut self) -> Option<&str> {
        self.left = self.left.checked_sub(1)?;
        let is_first = self.at.is_multiple_of(BLOCK);
        if is_first {
            let start = self.offset.next_multiple_of(ALIGNMENT);
            if self.buffer.get(self.offset..start)?.iter().any(|byte| *byte != 0) {
                return None;
            }
            self.offset = start;
        }
        let mut rest = self.buffer.get(self.offset..)?;
        let (shared, own) = read_text(&mut rest)?;
        if shared > self.text.len() || (is_first && shared > 0) {
            return None;
        }
        self.offset = self.buffer.len() - rest.len();
        self.at += 1;
        self.text.truncate(shared);
        self.text.extend_from_slice(own);
        std::str::from_utf8(&self.text).ok()
    }
}

/// Takes sorted texts one after the other.
#[derive(Default)]
pub(super) struct Writer {
    count: usize,
    buffer: Vec<u8>,
    last: Vec<u8>,
}

impl Writer {
    /// `text` follows the one before in the order of bytes; the same one again is passed over.
    pub(super) fn push(&mut self, text: &str) {
        let text = text.as_bytes();
        if self.count > 0 && self.last == text {
            return;
        }
        let mut shared = 0;
        if self.count.is_multiple_of(BLOCK) {
            self.buffer.resize(self.buffer.len().next_multiple_of(ALIGNMENT), 0);
        } else {
            shared = self.last.iter().zip(text).take_while(|(last, new)| last == new).count();
        }
        write_length(&mut self.buffer, shared);
        write_length(&mut self.buffer, text.len() - shared);
        self.buffer.extend_from_slice(text.get(shared..).unwrap_or_default());
        self.last.truncate(shared);
        self.last.extend_from_slice(text.get(shared..).unwrap_or_default());
        self.count += 1;
    }

    pub(super) fn finish(self) -> Texts {
        Texts::indexed(self.count, self.buffer.into_boxed_slice())
    }
}
