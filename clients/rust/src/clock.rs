//! The clock that does not jump, as seconds; the one on the wall; and how HTTP and observations write its times.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Seconds by a clock that does not jump.
pub(crate) fn now() -> f64 {
    BEGAN.elapsed().as_secs_f64()
}

/// Seconds since 1970.
pub(crate) fn wall() -> f64 {
    since_1970().as_secs_f64()
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// This instant as RFC 3339 has it, in UTC.
pub(crate) fn timestamp() -> String {
    rfc3339(since_1970())
}

/// The same of an instant since 1970.
pub(crate) fn rfc3339(now: Duration) -> String {
    let (days, seconds) = (now.as_secs() / 86_400, now.as_secs() % 86_400);
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", now.subsec_micros())
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant's `civil_from_days`).
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// The days since 1970 of a date that is not before.
fn days_of(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day.checked_sub(1)?;
    let (era, year_of_era) = (year / 400, year % 400);
    (era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year).checked_sub(719_468)
}

/// What `Retry-After` says: a number of seconds or a date; nothing if that cannot be understood.
pub(crate) fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.get(..9).unwrap_or(text).parse().ok()?));
    }
    Some(Duration::from_secs(http_date(text)?).saturating_sub(since_1970()))
}

/// Seconds since 1970 of a date as HTTP writes it: `Wed, 21 Oct 2015 07:28:00 GMT`.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = u64::try_from(MONTHS.iter().position(|month| *month == name)?).ok()? + 1;
    let year = words.next()?.parse().ok()?;
    let mut time = words.next()?.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let is_date = words.next()? == "GMT" && (1..=31).contains(&day) && year <= 9999 && hour < 24 && minute < 60;
    if !is_date || second > 60 {
        return None;
    }
    Some(days_of(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written() {
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(date_of(20_780), (2026, 11, 23));
        assert_eq!(http_date("Wed, 21 Oct 2015 07:28:00 GMT"), Some(1_445_412_480));
        assert_eq!(http_date("Tue, 29 Feb 2000 00:00:00 GMT"), Some(951_782_400));
        for wrong in ["soon", "-5", "", "Wed, 21 Okt 2015 07:28:00 GMT", "Wed, 0 Oct 2015 07:28:00 GMT", "Wed, 21 Oct"]
        {
            assert_eq!(retry_after(wrong), None, "{wrong}");
        }
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after(" 30 "), Some(Duration::from_secs(30)));
    }
}
