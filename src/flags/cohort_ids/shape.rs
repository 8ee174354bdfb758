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

/// A UUID's form and number. One without a letter counts as lower case.
fn uuid(id: &str) -> Option<(usize, u128)> {
    let dashes = match id.len() {
        36 => true,
        32 => false,
        _ => return None,
    };
    let (mut number, mut lower, mut upper) = (0u128, false, false);
    for (at, byte) in id.bytes().enumerate() {
        if dashes && matches!(at, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => {
                lower = true;
                byte - b'a' + 10
            }
            b'A'..=b'F' => {
                upper = true;
                byte - b'A' + 10
            }
            _ => return None,
        };
        number = (number << 4) | u128::from(digit);
    }
    if lower && upper { None } else { Some((usize::from(upper) * 2 + usize::from(dashes), number)) }
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
