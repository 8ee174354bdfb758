//! A billing period, of one of four kinds that its text tells: a month `2026-11`, a quarter `2026-Q4`, an ISO week `2026-W47`, or one
//! that begins on a day, `2026-11-15`. Which kind a change counts in, and what comes next, is its [`super::PeriodScheme`]'s.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, ISOWeekDate, Weekday};
use serde::{Deserialize, Serialize};

/// A billing period. Among periods of one kind the text sorts as time does, and so does `Ord`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(Shape);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Shape {
    Month(i16, i8),
    Quarter(i16, i8),
    Week(i16, i8),
    From(Date),
}

/// What a period is, without saying which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeriodKind {
    Month,
    Quarter,
    /// ISO 8601: from Monday, in the year that has its Thursday.
    Week,
    /// Begins on a day of a table.
    From,
}

impl PeriodKind {
    /// How a period of this kind is written, with an example.
    #[must_use]
    pub fn form(self) -> &'static str {
        match self {
            Self::Month => "a month as YYYY-MM, such as 2026-11",
            Self::Quarter => "a quarter as YYYY-Qn, such as 2026-Q4",
            Self::Week => "an ISO week as YYYY-Wnn, such as 2026-W47",
            Self::From => "the day on which it begins as YYYY-MM-DD, such as 2026-11-15",
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Week => "week",
            Self::From => "day",
        }
    }
}

/// The text is no period of any kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a period: write 2026-11 (a month), 2026-Q4 (a quarter), 2026-W47 (an ISO week) or 2026-11-15 (begins that day)"
)]
pub struct InvalidPeriod(String);

impl Period {
    /// The period of this kind that contains a day; one that begins on a day, begins on that one. `None` before the year 1.
    #[must_use]
    pub fn of(kind: PeriodKind, date: Date) -> Option<Self> {
        let shape = match kind {
            PeriodKind::Month => Shape::Month(date.year(), date.month()),
            PeriodKind::Quarter => Shape::Quarter(date.year(), (date.month() - 1) / 3 + 1),
            PeriodKind::Week => Shape::Week(date.iso_week_date().year(), date.iso_week_date().week()),
            PeriodKind::From => Shape::From(date),
        };
        (Self(shape).year() >= 1).then_some(Self(shape))
    }

    #[must_use]
    pub fn kind(self) -> PeriodKind {
        match self.0 {
            Shape::Month(..) => PeriodKind::Month,
            Shape::Quarter(..) => PeriodKind::Quarter,
            Shape::Week(..) => PeriodKind::Week,
            Shape::From(_) => PeriodKind::From,
        }
    }

    /// Its first day.
    #[must_use]
    pub fn first_day(self) -> Date {
        // What was parsed or came from a day is a day: the fall-back is never reached.
        match self.0 {
            Shape::Month(year, month) => Date::new(year, month, 1).unwrap_or_default(),
            Shape::Quarter(year, quarter) => Date::new(year, quarter * 3 - 2, 1).unwrap_or_default(),
            Shape::Week(year, week) => {
                ISOWeekDate::new(year, week, Weekday::Monday).map(ISOWeekDate::date).unwrap_or_default()
            }
            Shape::From(date) => date,
        }
    }

    /// The year that its text begins with.
    fn year(self) -> i16 {
        match self.0 {
            Shape::Month(year, _) | Shape::Quarter(year, _) | Shape::Week(year, _) => year,
            Shape::From(date) => date.year(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = |part: &str, length: usize| {
            let fits = part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
            fits.then(|| part.parse::<i16>().ok()).flatten()
        };
        let small = |part: &str, length: usize| digits(part, length).and_then(|number| i8::try_from(number).ok());
        let (year, rest) = text.split_once('-')?;
        let year = digits(year, 4).filter(|year| *year >= 1)?;
        let shape = if let Some(quarter) = rest.strip_prefix('Q') {
            Shape::Quarter(year, small(quarter, 1).filter(|quarter| (1..=4).contains(quarter))?)
        } else if let Some(week) = rest.strip_prefix('W') {
            let week = small(week, 2)?;
            ISOWeekDate::new(year, week, Weekday::Monday).ok()?;
            Shape::Week(year, week)
        } else if let Some((month, day)) = rest.split_once('-') {
            Shape::From(Date::new(year, small(month, 2)?, small(day, 2)?).ok()?)
        } else {
            Shape::Month(year, small(rest, 2).filter(|month| (1..=12).contains(month))?)
        };
        Some(Self(shape))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Shape::Month(year, month) => write!(f, "{year:04}-{month:02}"),
            Shape::Quarter(year, quarter) => write!(f, "{year:04}-Q{quarter}"),
            Shape::Week(year, week) => write!(f, "{year:04}-W{week:02}"),
            Shape::From(date) => write!(f, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day()),
        }
    }
}

impl FromStr for Period {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, InvalidPeriod> {
        Self::parse(text).ok_or_else(|| InvalidPeriod(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for Period {
    type Error = InvalidPeriod;

    fn try_from(text: String) -> Result<Self, InvalidPeriod> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> String {
        period.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_and_printed_as_it_is_written() {
        for (text, kind, first) in [
            ("2026-12", PeriodKind::Month, "2026-12-01"),
            ("2026-Q4", PeriodKind::Quarter, "2026-10-01"),
            ("2026-W01", PeriodKind::Week, "2025-12-29"),
            ("2026-W53", PeriodKind::Week, "2026-12-28"),
            ("2026-11-15", PeriodKind::From, "2026-11-15"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.to_string().as_str(), period.kind()), (text, kind));
            assert_eq!(period.first_day().to_string(), first, "{text}");
        }
        for bad in [
            "",
            "2026",
            "2026-13",
            "2026-00",
            "26-11",
            "2026-1",
            "+026-11",
            "0000-01",
            "2026-Q0",
            "2026-Q5",
            "2026-Q04",
            "2026-q4",
            "2026-W00",
            "2025-W53",
            "2026-W54",
            "2026-W1",
            "2026-02-29",
            "2026-11-1",
            "2026-11-01-01",
        ] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }
}
