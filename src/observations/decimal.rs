//! Decimal numbers as they are written in JSON, compared exactly: no binary fraction comes between.

use std::cmp::Ordering;

/// Digits of a number that is taken as one; a longer one is compared as a text.
const DIGITS_MAX: usize = 200;
const EXPONENT_MAX: i32 = 400;

/// An exact decimal. Equal numbers are equal, however they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    /// The lowest first, neither end zero; empty for zero.
    digits: Vec<u8>,
    exponent: i32,
}

impl Decimal {
    /// Reads a number of JSON's grammar; `None` if it is none, or larger than anything that is compared.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, unsigned) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let is_long = whole.len() + fraction.len() > DIGITS_MAX || exponent.abs() > EXPONENT_MAX;
        if whole.is_empty() || is_long || (unsigned.contains('.') && fraction.is_empty()) {
            return None;
        }
        let shift = i32::try_from(fraction.len()).ok()?;
        let digit = |c: char| c.to_digit(10).and_then(|digit| u8::try_from(digit).ok());
        let digits: Option<Vec<u8>> = whole.chars().chain(fraction.chars()).rev().map(digit).collect();
        Some(Self { negative, digits: digits?, exponent: exponent - shift }.normal())
    }

    fn normal(mut self) -> Self {
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        let zeros = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.drain(..zeros);
        if self.digits.is_empty() {
            return Self { negative: false, digits: Vec::new(), exponent: 0 };
        }
        self.exponent += i32::try_from(zeros).unwrap_or(i32::MAX);
        self
    }

    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    fn absolute(&self) -> Self {
        Self { negative: false, ..self.clone() }
    }

    /// The digits with the exponent brought down to `exponent`.
    fn at(&self, exponent: i32) -> Vec<u8> {
        let zeros = usize::try_from(self.exponent - exponent).unwrap_or(0);
        let mut digits = vec![0; if self.digits.is_empty() { 0 } else { zeros }];
        digits.extend(&self.digits);
        digits
    }

    fn aligned(&self, other: &Self) -> (Vec<u8>, Vec<u8>, i32) {
        let exponent = self.exponent.min(other.exponent);
        (self.at(exponent), other.at(exponent), exponent)
    }

    fn order_of_sizes(&self, other: &Self) -> Ordering {
        let (ours, theirs, _) = self.aligned(other);
        ours.len().cmp(&theirs.len()).then_with(|| ours.iter().rev().cmp(theirs.iter().rev()))
    }

    /// How far apart two numbers are.
    #[must_use]
    pub fn distance(&self, other: &Self) -> Self {
        let (larger, smaller) = match self.order_of_sizes(other) {
            Ordering::Less => (other, self),
            _ => (self, other),
        };
        let (large, small, exponent) = larger.aligned(smaller);
        let mut carry = 0_i16;
        let mut digits = Vec::with_capacity(large.len() + 1);
        for place in 0..=large.len() {
            let digit = |digits: &[u8]| i16::from(digits.get(place).copied().unwrap_or(0));
            let sign = if self.negative == other.negative { -1 } else { 1 };
            let sum = digit(&large) + sign * digit(&small) + carry;
            carry = sum.div_euclid(10);
            digits.push(u8::try_from(sum.rem_euclid(10)).unwrap_or(0));
        }
        Self { negative: false, digits, exponent }.normal()
    }

    fn times(&self, other: &Self) -> Self {
        let mut sums = vec![0_u32; self.digits.len() + other.digits.len()];
        for (place, ours) in self.digits.iter().enumerate() {
            for (sum, theirs) in sums.iter_mut().skip(place).zip(&other.digits) {
                *sum += u32::from(*ours) * u32::from(*theirs);
            }
        }
        let mut carry = 0;
        let mut digits = Vec::with_capacity(sums.len());
        for sum in sums {
            let all = sum + carry;
            carry = all / 10;
            digits.push(u8::try_from(all % 10).unwrap_or(0));
        }
        let exponent = self.exponent + other.exponent;
        Self { negative: self.negative != other.negative, digits, exponent }.normal()
    }

    /// True if the numbers differ by no more than `tolerance`.
    #[must_use]
    pub fn is_within(&self, other: &Self, tolerance: &Self) -> bool {
        self.distance(other).order_of_sizes(tolerance) != Ordering::Greater
    }

    /// True if the numbers differ by no more than `share` of the larger of them.
    #[must_use]
    pub fn is_within_share(&self, other: &Self, share: &Self) -> bool {
        let larger = if self.order_of_sizes(other) == Ordering::Less { other } else { self };
        self.is_within(other, &larger.absolute().times(share))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn numbers_are_equal_however_they_are_written() {
        assert_eq!(decimal("1.50"), decimal("15e-1"));
        assert_eq!(decimal("-0.0"), decimal("0"));
        assert_ne!(decimal("9007199254740993"), decimal("9007199254740992"));
        for bad in ["", "-", "1.", "x", "1e", "1e99999", ".5"] {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn tolerances_are_exact_at_their_edge() {
        assert!(decimal("0.3").is_within(&decimal("0.1"), &decimal("0.2")));
        assert!(!decimal("0.3").is_within(&decimal("0.1"), &decimal("0.19999999999999999999")));
        assert!(decimal("-1").is_within(&decimal("1"), &decimal("2")));
        assert!(decimal("100").is_within_share(&decimal("99"), &decimal("0.01")));
        assert!(!decimal("100").is_within_share(&decimal("98.99"), &decimal("0.01")));
        assert!(!decimal("1e300").is_within(&decimal("1e-300"), &decimal("1e299")));
    }

    proptest! {
        #[test]
        fn distance_is_what_integers_say(a in -1_000_000_000_i64..1_000_000_000, b in -1_000_000_000_i64..1_000_000_000, by in 0_i64..9) {
            let (x, y) = (decimal(&format!("{a}e-{by}")), decimal(&format!("{b}e-{by}")));
            prop_assert_eq!(x.distance(&y), decimal(&format!("{}e-{by}", (a - b).abs())));
            prop_assert_eq!(x.distance(&y), y.distance(&x));
            prop_assert_eq!(x.times(&y), decimal(&format!("{}e-{}", i128::from(a) * i128::from(b), by * 2)));
        }

        #[test]
        fn tolerance_is_symmetric(a in -5_000_i64..5_000, b in -5_000_i64..5_000, by in 0_i64..100) {
            let (x, y, tolerance) = (decimal(&a.to_string()), decimal(&b.to_string()), decimal(&format!("{by}e-2")));
            prop_assert_eq!(x.is_within(&y, &tolerance), y.is_within(&x, &tolerance));
            prop_assert_eq!(x.is_within_share(&y, &tolerance), y.is_within_share(&x, &tolerance));
            prop_assert_eq!(x.is_within(&y, &tolerance), (a - b).abs() * 100 <= by);
            prop_assert_eq!(x.is_within_share(&y, &tolerance), (a - b).abs() * 100 <= by * a.abs().max(b.abs()));
        }
    }
}
