//! The form of an id, from which its exact text can be told again.

/// How a UUID can be written: with or without dashes, in lower or in upper case.
pub(super) const UUID_FORMS: usize = 4;

/// An id's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape<'a> {
    /// `prefix`, then the number: padded with zeros to `width`, or as it is (0).
    Number {
        prefix: &'a str,
        width: u8,
        number: u64,
    },
    Uuid {
        form: usize,
        number: u128,
    },
    Text,
}

impl<'a> Shape<'a> {
    pub(super) fn of(id: &'a str) -> Self {
        if let Some((form, number)) = uuid(id) {
            return Self::Uuid { form, number };
        }
        let digits = id.bytes().rev().take_while(u8::is_ascii_digit).count();
        let (prefix, digits) = id.split_at(id.len() - digits);
        // A number of 64 bits has at most 20 digits.
        let number = if digits.len() <= 20 { digits.parse().ok() } else { None };
        let padded = digits.len() > 1 && digits.starts_with('0');
        let width = if padded { u8::try_from(digits.len()).ok() } else { Some(0) };
        match (width, number) {
            (Some(width), Some(number)) => Self::Number { prefix, width, number },
            _ => Self::Text,
        }
    }
}

pub(super) fn number_text(prefix: &str, width: u8, number: u64) -> String {
    format!("{prefix}{number:0width$}", width = usize::from(width))
}

/// A UUID's form and number. One without a letter counts as lower case. Without a branch on a digit's kind: half of them would be
/// guessed wrong by the processor, which costs more than all the rest.
fn uuid(id: &str) -> Option<(usize, u128)> {
    let bytes = id.as_bytes();
    let dashes = match bytes.len() {
        36 => true,
        32 => false,
        _ => return None,
    };
    let mut digits = [0; 32];
    if dashes {
        if [8, 13, 18, 23].iter().any(|at| bytes.get(*at) != Some(&b'-')) {
            return None;
        }
        for (to, from) in [(0, 0), (8, 9), (12, 14), (16, 19), (20, 24)] {
            let length = if to == 0 {
                8
            } else if to == 20 {
                12
            } else {
                4
            };
            digits.get_mut(to..to + length)?.copy_from_slice(bytes.get(from..from + length)?);
        }
    } else {
        digits.copy_from_slice(bytes);
    }
    let (mut halves, mut kinds) = ([0u64; 2], 0);
    for (half, digits) in halves.iter_mut().zip(digits.as_chunks::<16>().0) {
        for digit in digits {
            let decoded = HEXADECIMAL.get(usize::from(*digit)).copied().unwrap_or(OTHER);
            kinds |= decoded;
            *half = (*half << 4) | u64::from(decoded & 0xf);
        }
    }
    if kinds & OTHER != 0 || kinds & (LOWER | UPPER) == LOWER | UPPER {
        return None;
    }
    let [high, low] = halves;
    let form = usize::from(kinds & UPPER != 0) * 2 + usize::from(dashes);
    Some((form, (u128::from(high) << 64) | u128::from(low)))
}

/// Beside a digit's value: that it is a letter in lower or in upper case, or no digit at all.
const LOWER: u8 = 0x10;
const UPPER: u8 = 0x20;
const OTHER: u8 = 0x40;

/// What each byte is as a hexadecimal digit.
const HEXADECIMAL: [u8; 256] = hexadecimal();

#[expect(clippy::indexing_slicing, clippy::as_conversions, reason = "evaluated by the compiler, which checks both")]
const fn hexadecimal() -> [u8; 256] {
    let mut table = [OTHER; 256];
    let mut value = 0;
    while value < 16 {
        if value < 10 {
            table[b'0' as usize + value] = value as u8;
        } else {
            table[b'a' as usize + value - 10] = value as u8 | LOWER;
            table[b'A' as usize + value - 10] = value as u8 | UPPER;
        }
        value += 1;
    }
    table
}

pub(super) fn uuid_text(form: usize, number: u128) -> String {
    let mut text = if form >= 2 { format!("{number:032X}") } else { format!("{number:032x}") };
    if form % 2 == 1 {
        for at in [20, 16, 12, 8] {
            text.insert(at, '-');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_of(id: &str) -> String {
        match Shape::of(id) {
            Shape::Number { prefix, width, number } => number_text(prefix, width, number),
            Shape::Uuid { form, number } => uuid_text(form, number),
            Shape::Text => id.to_owned(),
        }
    }

    proptest! {
        #[test]
        fn a_shape_is_the_text(id in "[0-9]{0,22}|-[0-9]{1,20}|[a-z]{0,3}-?0{0,3}[0-9]{0,20}|[a-fA-F0-9]{32}|[A-F0-9]{32}|[0-9]{32}|[0-9a-f-]{36}|\\PC{0,8}") {
            prop_assert_eq!(text_of(&id), id);
        }

        #[test]
        fn uuids_print_as_they_were_read(number: u128, form in 0..UUID_FORMS) {
            let text = uuid_text(form, number);
            prop_assert_eq!(text_of(&text), text.clone());
            let is_uuid = matches!(Shape::of(&text), Shape::Uuid { number: read, .. } if read == number);
            prop_assert!(is_uuid);
        }
    }
}
