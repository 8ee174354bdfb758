//! Shares as people write them: per cent, exact to a thousandth, which is one bucket. Never a float: `12.345` is 12,345 buckets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bucket::BUCKETS;

/// A share of all buckets, from 0 to 100 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

/// The text or number is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a share: {what}")]
pub struct InvalidPercent {
    given: String,
    what: &'static str,
}

/// Where a share is to go: to a value, or up or down by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareStep {
    To(Percent),
    Up(Percent),
    Down(Percent),
}

impl Percent {
    /// A share in buckets, of which 1,000 are one per cent; more than all of them is all of them.
    #[must_use]
    pub fn of_buckets(buckets: u32) -> Self {
        Self(buckets.min(BUCKETS))
    }

    #[must_use]
    pub fn buckets(self) -> u32 {
        self.0
    }
}

impl ShareStep {
    /// The share after the step, in buckets. Past 0 or 100 % there is nothing.
    pub fn from(self, current: u32) -> Result<u32, InvalidPercent> {
        let past = |what| InvalidPercent { given: self.to_string(), what };
        match self {
            Self::To(percent) => Ok(percent.0),
            Self::Up(percent) => {
                Some(current + percent.0).filter(|share| *share <= BUCKETS).ok_or_else(|| past("it leads above 100 %"))
            }
            Self::Down(percent) => current.checked_sub(percent.0).ok_or_else(|| past("it leads below 0 %")),
        }
    }
}

impl FromStr for Percent {
    type Err = InvalidPercent;

    fn from_str(text: &str) -> Result<Self, InvalidPercent> {
        let bad = |what| InvalidPercent { given: text.chars().take(40).collect(), what };
        let number = || bad("write a number from 0 to 100, such as 12.5");
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) {
            return Err(number());
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 3 {
            return Err(bad("the finest step is 0.001 %"));
        }
        let whole: u32 = whole.parse().map_err(|_| number())?;
        let thousandths: u32 = format!("{fraction:0<3}").parse().map_err(|_| number())?;
        let buckets = whole.checked_mul(1_000).and_then(|buckets| buckets.checked_add(thousandths));
        buckets.filter(|buckets| *buckets <= BUCKETS).map(Self).ok_or_else(|| bad("a share is at most 100 %"))
    }
}

impl FromStr for ShareStep {
    type Err = InvalidPercent;

    fn from_str(text: &str) -> Result<Self, InvalidPercent> {
        match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(up), _) => up.parse().map(Self::Up),
            (_, Some(down)) => down.parse().map(Self::Down),
            _ => text.parse().map(Self::To),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, thousandths) = (self.0 / 1_000, self.0 % 1_000);
        if thousandths == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{thousandths:03}").trim_end_matches('0'))
    }
}

impl fmt::Display for ShareStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(percent) => write!(f, "{percent}"),
            Self::Up(percent) => write!(f, "+{percent}"),
            Self::Down(percent) => write!(f, "-{percent}"),
        }
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1_000) {
            serializer.serialize_u32(self.0 / 1_000)
        } else {
            // The nearest float of a decimal with three places prints as that decimal.
            serializer.serialize_f64(f64::from(self.0) / 1_000.0)
        }
    }
}

/// A JSON number; its shortest decimal text is what counts.
impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number_text(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A JSON number, or a text such as `"+5"`.
impl<'de> Deserialize<'de> for ShareStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Number(number) if number.to_string().starts_with('-') => {
                return Err(serde::de::Error::custom(
                    "a share is not negative: write \"-5\", as a text, for five less",
                ));
            }
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::String(text) => text,
            _ => return Err(serde::de::Error::custom("a share is a number such as 12.5, or a text such as \"+5\"")),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn number_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(serde_json::Number::deserialize(deserializer)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exact_to_a_thousandth_of_a_per_cent() {
        for (text, buckets) in [("0", 0), ("100", 100_000), ("12.5", 12_500), ("0.001", 1), ("99.9990", 99_999)] {
            assert_eq!(text.parse::<Percent>().unwrap().buckets(), buckets, "{text}");
        }
        for bad in ["", "-1", "100.001", "0.0001", "1e1", "1.", ".5", "12,5", "+", "4294967297", "NaN", " 5"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_share_survives_json_and_text() {
        for buckets in 0..=BUCKETS {
            let share = Percent::of_buckets(buckets);
            assert_eq!(share.to_string().parse::<Percent>().unwrap(), share);
            let json = serde_json::to_string(&share).unwrap();
            assert_eq!(serde_json::from_str::<Percent>(&json).unwrap(), share, "{json}");
        }
        for finer in ["12.0001", "1e-4", "100.0001", "-1", "\"5\"", "null"] {
            assert!(serde_json::from_str::<Percent>(finer).is_err(), "{finer}");
        }
    }

    #[test]
    fn a_step_goes_to_a_value_or_by_one() {
        let step = |text: &str| serde_json::from_str::<ShareStep>(text);
        assert_eq!(step("12.5").unwrap().from(99).unwrap(), 12_500);
        assert_eq!(step("\"+5\"").unwrap().from(1).unwrap(), 5_001);
        assert_eq!(step("\"-0.001\"").unwrap().from(1).unwrap(), 0);
        assert!(step("\"-0.001\"").unwrap().from(0).is_err());
        assert!(step("\"+0.001\"").unwrap().from(BUCKETS).is_err());
        assert!(step("-5").is_err() && step("true").is_err() && step("12.0001").is_err());
    }
}
