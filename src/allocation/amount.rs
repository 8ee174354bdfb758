//! Amounts in minor units, and as a person reads them.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Neg, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount, or a sum of amounts, in the minor units of its currency. JSON has it as a decimal string, because many
/// readers of JSON cut numbers off at 53 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minor(i128);

impl Minor {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub fn new(units: i128) -> Self {
        Self(units)
    }

    #[must_use]
    pub fn units(self) -> i128 {
        self.0
    }

    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The amount's size as a float, for the length of a bar and nothing else.
    #[must_use]
    #[expect(clippy::as_conversions, reason = "a drawing needs no exactness")]
    pub fn length(self) -> f64 {
        self.0.unsigned_abs() as f64
    }

    /// With a decimal point and, for people, groups of three: `1234567` in EUR (exponent 2) is `12,345.67`.
    #[must_use]
    pub fn grouped(self, exponent: u16) -> String {
        self.written(exponent, ",", "\u{2212}")
    }

    /// With a decimal point and nothing else, for machines: `-12345.67`.
    #[must_use]
    pub fn decimal(self, exponent: u16) -> String {
        self.written(exponent, "", "-")
    }

    /// Like [`Minor::grouped`], but an increase bears a `+`.
    #[must_use]
    pub fn signed(self, exponent: u16) -> String {
        let plus = if self.0 > 0 { "+" } else { "" };
        format!("{plus}{}", self.grouped(exponent))
    }

    fn written(self, exponent: u16, separator: &str, minus: &str) -> String {
        let exponent = usize::from(exponent);
        let digits = format!("{:0>width$}", self.0.unsigned_abs(), width = exponent + 1);
        let (whole, fraction) = digits.split_at(digits.len() - exponent);
        let mut text = String::from(if self.0 < 0 { minus } else { "" });
        for (position, digit) in whole.chars().enumerate() {
            if position > 0 && (whole.len() - position).is_multiple_of(3) {
                text.push_str(separator);
            }
            text.push(digit);
        }
        if exponent > 0 {
            text.push('.');
            text.push_str(fraction);
        }
        text
    }
}

impl Add for Minor {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Minor {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Neg for Minor {
    type Output = Self;

    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Sum for Minor {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::add)
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Minor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Serialize for Minor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Minor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_print_with_their_currencys_decimals() {
        let amount = Minor::new(-1_234_567);
        assert_eq!(amount.grouped(2), "\u{2212}12,345.67");
        assert_eq!(amount.decimal(2), "-12345.67");
        assert_eq!(amount.decimal(0), "-1234567");
        assert_eq!(amount.decimal(3), "-1234.567");
        assert_eq!(Minor::new(5).grouped(2), "0.05");
        assert_eq!(Minor::new(5).signed(2), "+0.05");
        assert_eq!(Minor::ZERO.signed(2), "0.00");
        assert_eq!(Minor::new(2_052_022_672_899).decimal(11), "20.52022672899");
        assert_eq!(Minor::new(i128::MIN).decimal(2), "-1701411834604692317316873037158841057.28");
    }

    #[test]
    fn json_keeps_every_digit() {
        let amount = Minor::new(i128::from(i64::MAX) + 1);
        let text = serde_json::to_string(&amount).unwrap();
        assert_eq!(text, "\"9223372036854775808\"");
        assert_eq!(serde_json::from_str::<Minor>(&text).unwrap(), amount);
    }
}
