//! How a change counts its periods: months, quarters or ISO weeks of a time zone, or a table of days on which periods begin.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{Instant, Period, PeriodKind};

/// How a change counts its periods. The default: calendar months in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodScheme {
    kind: PeriodKind,
    /// Of a table: the days on which periods begin, ascending. The last one that is written has no end yet.
    dates: Vec<Date>,
    time_zone: TimeZone,
}

/// A period that a change does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPeriod {
    #[error("`{period}` is a {}; write {}: the change's [routing] counts in these", period.kind().as_str(), wanted.form())]
    OtherKind { period: Period, wanted: PeriodKind },
    #[error("no period begins on {period}: {}", match before {
        Some(before) => format!("that day is in the period that begins on {before}; write {before}"),
        None => String::from("the table of [routing] begins later"),
    })]
    NotInTable { period: Period, before: Option<Period> },
    #[error(
        "{day} is before the first period, which begins on {first}: write earlier days into the table of [routing]"
    )]
    BeforeTable { day: Date, first: Date },
    #[error("{period} is the last period in the table of [routing]: write there on which day the next one begins")]
    LastOfTable { period: Period },
    #[error("there is no period in the year {0}")]
    OutOfRange(i16),
}

/// A table of days that cannot be counted by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTable {
    #[error("the table of days is empty")]
    Empty,
    #[error("{0} comes twice or is not after the day before it")]
    NotAscending(Date),
    #[error("{0} is before the year 1")]
    TooEarly(Date),
}

impl Default for PeriodScheme {
    fn default() -> Self {
        Self::of(PeriodKind::Month, TimeZone::UTC)
    }
}

impl PeriodScheme {
    /// Months, quarters or weeks of a time zone. Of [`PeriodKind::From`] there is no period without a table.
    #[must_use]
    pub fn of(kind: PeriodKind, time_zone: TimeZone) -> Self {
        Self { kind, dates: Vec::new(), time_zone }
    }

    /// Periods that begin on these days.
    pub fn table(dates: Vec<Date>, time_zone: TimeZone) -> Result<Self, InvalidTable> {
        let first = dates.first().ok_or(InvalidTable::Empty)?;
        if first.year() < 1 {
            return Err(InvalidTable::TooEarly(*first));
        }
        for (before, date) in dates.iter().zip(dates.iter().skip(1)) {
            if before >= date {
                return Err(InvalidTable::NotAscending(*date));
            }
        }
        Ok(Self { kind: PeriodKind::From, dates, time_zone })
    }

    #[must_use]
    pub fn kind(&self) -> PeriodKind {
        self.kind
    }

    /// The period that contains an instant.
    pub fn containing(&self, instant: Instant) -> Result<Period, NoPeriod> {
        self.containing_day(self.time_zone.to_datetime(instant.timestamp()).date())
    }

    /// The period after this one.
    pub fn next(&self, period: Period) -> Result<Period, NoPeriod> {
        self.check(period)?;
        let first = period.first_day();
        if self.kind == PeriodKind::From {
            let next = self.dates.iter().find(|date| **date > first).copied();
            return next.ok_or(NoPeriod::LastOfTable { period }).and_then(|date| self.known(date));
        }
        // From the first day on, so that no month is too short.
        let span = match self.kind {
            PeriodKind::Month => jiff::Span::new().months(1),
            PeriodKind::Quarter => jiff::Span::new().months(3),
            PeriodKind::Week | PeriodKind::From => jiff::Span::new().weeks(1),
        };
        first.checked_add(span).map_err(|_| NoPeriod::OutOfRange(first.year())).and_then(|date| self.known(date))
    }

    /// The period before this one.
    pub fn previous(&self, period: Period) -> Result<Period, NoPeriod> {
        self.check(period)?;
        let first = period.first_day();
        self.containing_day(first.yesterday().map_err(|_| NoPeriod::OutOfRange(first.year()))?)
    }

    /// Refuses a period of another kind, and one that the table does not have.
    pub fn check(&self, period: Period) -> Result<(), NoPeriod> {
        if period.kind() != self.kind {
            return Err(NoPeriod::OtherKind { period, wanted: self.kind });
        }
        if self.kind == PeriodKind::From && self.dates.binary_search(&period.first_day()).is_err() {
            return Err(NoPeriod::NotInTable { period, before: self.containing_day(period.first_day()).ok() });
        }
        Ok(())
    }

    fn containing_day(&self, day: Date) -> Result<Period, NoPeriod> {
        if self.kind != PeriodKind::From {
            return self.known(day);
        }
        let begun = self.dates.iter().rev().find(|date| **date <= day);
        let first = self.dates.first().copied().unwrap_or_default();
        begun.ok_or(NoPeriod::BeforeTable { day, first }).and_then(|date| self.known(*date))
    }

    fn known(&self, day: Date) -> Result<Period, NoPeriod> {
        Period::of(self.kind, day).ok_or(NoPeriod::OutOfRange(day.year()))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn table() -> PeriodScheme {
        let dates = (0..400).map(|n| date(1999, 12, 31) + jiff::Span::new().days(n * 28 + n % 3));
        PeriodScheme::table(dates.collect(), TimeZone::UTC).unwrap()
    }

    fn scheme() -> impl Strategy<Value = PeriodScheme> {
        let zones = ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe"];
        let kinds = [PeriodKind::Month, PeriodKind::Quarter, PeriodKind::Week];
        (0..4usize, 0..5usize).prop_map(move |(kind, name)| match kinds.get(kind) {
            Some(kind) => PeriodScheme::of(*kind, zone(zones[name])),
            None => table(),
        })
    }

    proptest! {
        /// From 2000 to 2027, where the table has days.
        #[test]
        fn next_previous_and_containing_agree(scheme in scheme(), seconds in 946_684_800i64..1_800_000_000, later in 0i64..200_000_000) {
            let at = |seconds: i64| Instant::from_micros(seconds * 1_000_000);
            let period = scheme.containing(at(seconds)).unwrap();
            let next = scheme.next(period).unwrap();
            prop_assert_eq!(scheme.previous(next).unwrap(), period);
            prop_assert!(period < next && period.to_string() < next.to_string());
            let starts = |period: Period| scheme.time_zone.to_zoned(period.first_day().at(0, 0, 0, 0)).unwrap().timestamp();
            let now = at(seconds).timestamp();
            prop_assert!(starts(period) <= now && now < starts(next), "{} in {}..{}", now, starts(period), starts(next));
            let after = scheme.containing(at((seconds + later).min(1_800_000_000))).unwrap();
            prop_assert_eq!(period.cmp(&after), period.to_string().cmp(&after.to_string()));
            prop_assert!(later < 0 || period <= after || seconds + later > 1_800_000_000);
            prop_assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
        }
    }

    #[test]
    fn a_period_begins_at_midnight_of_its_zone_summer_and_winter() {
        let berlin = PeriodScheme::of(PeriodKind::Month, zone("Europe/Berlin"));
        for (instant, period) in [
            ("2026-06-30T21:59:59Z", "2026-06"),
            ("2026-06-30T22:00:00Z", "2026-07"),
            ("2026-12-31T22:59:59Z", "2026-12"),
            ("2026-12-31T23:00:00Z", "2027-01"),
        ] {
            let found = berlin.containing(Instant::parse(instant).unwrap()).unwrap();
            assert_eq!(found.to_string(), period, "{instant}");
        }
        // Samoa had no 30 December 2011.
        let apia = PeriodScheme::of(PeriodKind::Week, zone("Pacific/Apia"));
        assert_eq!(apia.containing(Instant::parse("2011-12-30T10:00:00Z").unwrap()).unwrap().to_string(), "2011-W52");
    }

    #[test]
    fn weeks_belong_to_the_year_of_their_thursday() {
        let weeks = PeriodScheme::of(PeriodKind::Week, TimeZone::UTC);
        let containing = |day: &str| weeks.containing(Instant::parse(&format!("{day}T12:00:00Z")).unwrap()).unwrap();
        assert_eq!(containing("2027-01-03").to_string(), "2026-W53");
        assert_eq!(containing("2027-01-04").to_string(), "2027-W01");
        assert_eq!(containing("2024-12-30").to_string(), "2025-W01");
        assert_eq!(weeks.next(containing("2027-01-03")).unwrap().to_string(), "2027-W01");
        assert_eq!(weeks.previous(containing("2021-01-04")).unwrap().to_string(), "2020-W53");
    }

    #[test]
    fn what_a_change_does_not_have_is_refused_with_the_right_form() {
        let refused = |scheme: &PeriodScheme, text: &str| scheme.check(text.parse().unwrap()).unwrap_err().to_string();
        let quarters = PeriodScheme::of(PeriodKind::Quarter, TimeZone::UTC);
        assert_eq!(
            refused(&quarters, "2026-11"),
            "`2026-11` is a month; write a quarter as YYYY-Qn, such as 2026-Q4: the change's [routing] counts in these"
        );
        let table = PeriodScheme::table(vec![date(2026, 1, 5), date(2026, 2, 2)], TimeZone::UTC).unwrap();
        assert!(refused(&table, "2026-01-20").contains("write 2026-01-05"));
        assert!(refused(&table, "2026-01-04").contains("begins later"));
        assert_eq!(table.next("2026-01-05".parse().unwrap()).unwrap().to_string(), "2026-02-02");
        let last = table.next("2026-02-02".parse().unwrap()).unwrap_err().to_string();
        assert!(last.contains("write there on which day the next one begins"), "{last}");
        let before = table.containing(Instant::from_micros(0)).unwrap_err().to_string();
        assert!(before.contains("before the first period"), "{before}");
        assert!(PeriodScheme::table(vec![date(2026, 2, 2), date(2026, 2, 2)], TimeZone::UTC).is_err());
    }
}
