//! Decimal numbers as text, exact: what JSON and databases write of integers and NUMERIC, never through a float.

/// Digits before and after the point that are taken at all.
const DIGITS_MAX: usize = 1_000;

/// A decimal number without leading and trailing zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    is_negative: bool,
    whole: String,
    fraction: String,
}

impl Decimal {
    /// Reads `-12.50`, `1e3`, `0.1E-4`; nothing else, no blanks. `None` also for what has more than a thousand digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (is_negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix('+').unwrap_or(exponent).parse().ok()?),
            None => (unsigned, 0i32),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        let ends_in_point = mantissa.ends_with('.');
        if whole.is_empty() || ends_in_point || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        if whole.len() + fraction.len() > DIGITS_MAX || usize::try_from(exponent.unsigned_abs()).ok()? > DIGITS_MAX {
            return None;
        }
        let digits = format!("{whole}{fraction}");
        let point = i64::try_from(whole.len()).ok()? + i64::from(exponent);
        let (whole, fraction) = split(&digits, point)?;
        let whole = whole.trim_start_matches('0').to_owned();
        let fraction = fraction.trim_end_matches('0').to_owned();
        let is_zero = whole.is_empty() && fraction.is_empty();
        Some(Self { is_negative: is_negative && !is_zero, whole, fraction })
    }

    /// Digits before the point, leading zeros left out.
    #[must_use]
    pub fn whole_digits(&self) -> usize {
        self.whole.len()
    }

    /// Digits after the point, trailing zeros left out.
    #[must_use]
    pub fn fraction_digits(&self) -> usize {
        self.fraction.len()
    }

    /// The number without an exponent: `-12.5`, `0`, `1000`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let sign = if self.is_negative { "-" } else { "" };
        let whole = if self.whole.is_empty() { "0" } else { &self.whole };
        if self.fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{}", self.fraction) }
    }
}

/// The digits before and after `point`, which may lie outside of them.
fn split(digits: &str, point: i64) -> Option<(String, String)> {
    let length = i64::try_from(digits.len()).ok()?;
    if point <= 0 {
        let zeros = usize::try_from(-point).ok()?;
        return Some((String::new(), format!("{}{digits}", "0".repeat(zeros))));
    }
    if point >= length {
        let zeros = usize::try_from(point - length).ok()?;
        return Some((format!("{digits}{}", "0".repeat(zeros)), String::new()));
    }
    let (whole, fraction) = digits.split_at_checked(usize::try_from(point).ok()?)?;
    Some((whole.to_owned(), fraction.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_number_is_the_same_number() {
        for (text, plain) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("007", "7"),
            ("1e3", "1000"),
            ("12.50", "12.5"),
            ("1.25e1", "12.5"),
            ("125E-1", "12.5"),
            ("-1e-3", "-0.001"),
            ("9223372036854775807", "9223372036854775807"),
            ("123456789012345678901234567.12345678901", "123456789012345678901234567.12345678901"),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().to_text(), plain, "{text}");
        }
        for bad in ["", "-", ".5", "1.", " 1", "1 ", "1e", "0x10", "NaN", "1e9999999999", "1,5", "٣", "--1"] {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }
}
