//! `period` and `time_zone` of `[routing]`.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::document::{Document, Section};
use super::mistake::shown;
use crate::primitives::{PeriodKind, PeriodScheme};

const REMEDY: &str = "write period = \"month\", \"quarter\", \"week\", or the days on which periods begin: [\"2026-01-05\", \"2026-02-02\"]";

/// How the change counts its periods: calendar months in UTC if nothing is said.
pub(super) fn period_scheme(document: &mut Document<'_>, section: &Section<'_>) -> Option<PeriodScheme> {
    let time_zone = time_zone(document, section)?;
    let Some(value) = document.find(section, "period") else {
        return Some(PeriodScheme::of(PeriodKind::Month, time_zone));
    };
    if value.get_ref().as_array().is_some() {
        return table(document, section, time_zone);
    }
    let period = document.find_text(section, "period", "\"month\"")?;
    let kind = match period.value.as_str() {
        "month" => PeriodKind::Month,
        "quarter" => PeriodKind::Quarter,
        "week" => PeriodKind::Week,
        other => {
            document.mistake(section, period.line, &format!("`period` is {}", shown(other)), REMEDY);
            return None;
        }
    };
    Some(PeriodScheme::of(kind, time_zone))
}

fn table(document: &mut Document<'_>, section: &Section<'_>, time_zone: TimeZone) -> Option<PeriodScheme> {
    let given = document.texts(section, "period", "\"2026-01-05\"")?;
    let mut dates = Vec::new();
    for text in &given.value {
        // As it is printed again, so that what is typed as a period is what stands in the file.
        match text.value.parse::<Date>().ok().filter(|date| date.to_string() == text.value) {
            Some(date) => dates.push(date),
            None => {
                let what = format!("`period` has {}, which is no day", shown(&text.value));
                document.mistake(section, text.line, &what, "write days as YYYY-MM-DD, such as \"2026-01-05\"");
                return None;
            }
        }
    }
    match PeriodScheme::table(dates, time_zone) {
        Ok(scheme) => Some(scheme),
        Err(error) => {
            document.mistake(section, given.line, &format!("`period`: {error}"), "write the days in ascending order");
            None
        }
    }
}

/// An IANA time zone. The names are those of this machine's zone database.
fn time_zone(document: &mut Document<'_>, section: &Section<'_>) -> Option<TimeZone> {
    if document.find(section, "time_zone").is_none() {
        return Some(TimeZone::UTC);
    }
    let given = document.find_text(section, "time_zone", "\"Europe/Berlin\"")?;
    match given.value.as_str() {
        "UTC" => Some(TimeZone::UTC),
        name => match TimeZone::get(name) {
            Ok(zone) => Some(zone),
            Err(_) => {
                let what = format!("`time_zone` is {}, which this machine does not know", shown(name));
                document.mistake(
                    section,
                    given.line,
                    &what,
                    "write a zone of the IANA database, such as \"Europe/Berlin\"",
                );
                None
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::change::ChangeFile;
    use crate::primitives::Instant;

    fn parse(routing: &str) -> Result<ChangeFile, String> {
        let text = format!(
            "format = 1\nname = \"a\"\n[routing]\nflag = \"a\"\n{routing}\n[[forward]]\ninto = \"t\"\nfrom = \"s\"\nkey = \"k\"\ncolumns = {{ k = \"k\" }}\n"
        );
        ChangeFile::parse(&text).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn periods_are_months_quarters_weeks_or_days_of_a_table() {
        let at = Instant::parse("2026-10-31T23:30:00Z").unwrap();
        for (routing, period) in [
            ("", "2026-10"),
            ("time_zone = \"Europe/Berlin\"", "2026-11"),
            ("period = \"quarter\"", "2026-Q4"),
            ("period = \"week\"", "2026-W44"),
            ("period = [\"2026-10-05\", \"2026-11-01\"]", "2026-10-05"),
            ("period = [\"2026-10-05\", \"2026-11-01\"]\ntime_zone = \"Europe/Berlin\"", "2026-11-01"),
        ] {
            let found = parse(routing).unwrap().routing.period.containing(at).unwrap();
            assert_eq!(found.to_string(), period, "{routing}");
        }
    }

    #[test]
    fn what_cannot_be_counted_by_is_refused() {
        for (routing, told) in [
            ("period = \"fortnight\"", "`period` is `fortnight`"),
            ("period = [\"2026-1-5\"]", "which is no day"),
            ("period = [\"2026-02-02\", \"2026-01-05\"]", "ascending order"),
            ("time_zone = \"Europe/Atlantis\"", "which this machine does not know"),
        ] {
            let found = parse(routing).unwrap_err();
            assert!(found.contains(told), "{routing}: {found}");
        }
    }
}
