//! Dates and times as they stand in JSON: ISO 8601 in one shape each, held against the calendar, and no digit that a column would drop.

use jiff::civil;

/// `2026-11-30`.
pub fn date(text: &str) -> Result<String, String> {
    let wrong = || format!("`{}` is not a date: write 2026-11-30", shortened(text));
    if !has_shape(text, "dddd-dd-dd") {
        return Err(wrong());
    }
    text.parse::<civil::Date>().map_err(|_| wrong())?;
    Ok(text.to_owned())
}

/// `12:30:00` with at most `digits` digits of a second.
pub fn time(text: &str, digits: usize) -> Result<String, String> {
    let wrong = || format!("`{}` is not a time: write 12:30:00", shortened(text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !has_shape(whole, "dd:dd:dd") || fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    // A leap second would become the next second without a word.
    if whole.ends_with(":60") || whole.parse::<civil::Time>().is_err() {
        return Err(wrong());
    }
    if fraction.trim_end_matches('0').len() > digits {
        return Err(format!("the column keeps {digits} digits of a second, and would round the time"));
    }
    Ok(text.to_owned())
}

/// `2026-11-30T12:30:00`, and with its offset (`Z`, `+01:00`) if it is an instant.
pub fn timestamp(text: &str, zoned: bool, digits: usize) -> Result<String, String> {
    let example = if zoned { "2026-11-30T12:30:00Z" } else { "2026-11-30T12:30:00" };
    let wrong = |why: &str| format!("`{}` is not {why}: write {example}", shortened(text));
    let (day, rest) = text.split_once(['T', ' ']).ok_or_else(|| wrong("a date and a time"))?;
    date(day).map_err(|_| wrong("a date and a time"))?;
    let (clock, offset) = match rest.find(['Z', '+', '-']) {
        Some(at) => rest.split_at_checked(at).unwrap_or((rest, "")),
        None => (rest, ""),
    };
    match (zoned, offset) {
        (true, "") => return Err(wrong("an instant, for its offset is missing")),
        (true, offset) if !is_offset(offset) => return Err(wrong("an instant, for its offset is none")),
        (false, offset) if !offset.is_empty() => {
            return Err(wrong("what the column keeps: it has no time zone, and the offset would be dropped"));
        }
        _ => {}
    }
    time(clock, digits)?;
    Ok(text.to_owned())
}

fn is_offset(offset: &str) -> bool {
    let hours_and_minutes = |text: &str| {
        let (hours, minutes) = text.split_once(':').unwrap_or((text, "00"));
        hours.parse::<u8>().is_ok_and(|hours| hours < 16) && minutes.parse::<u8>().is_ok_and(|minutes| minutes < 60)
    };
    let shaped = |text: &str| has_shape(text, "dd:dd") || has_shape(text, "dd");
    match offset.split_at_checked(1) {
        Some(("Z", "")) => true,
        Some(("+" | "-", rest)) => shaped(rest) && hours_and_minutes(rest),
        _ => false,
    }
}

/// True if digits stand where the pattern has `d`, and its other characters where they are.
fn has_shape(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_calendar_passes_as_it_is() {
        assert_eq!(date("2024-02-29").unwrap(), "2024-02-29");
        for good in ["2026-11-30T12:30:00Z", "2026-11-30 12:30:00.123456+01:00", "0001-01-01T00:00:00-03"] {
            assert_eq!(timestamp(good, true, 6).unwrap(), good);
        }
        assert!(timestamp("2026-11-30T12:30:00", false, 6).is_ok());
        for bad in ["2026-02-29", "2026-2-1", "20261130", "2026-11-30T00:00:00", "", "2026-13-01", "٢٠٢٦-11-30"] {
            assert!(date(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_is_dropped_without_a_word() {
        assert!(timestamp("2026-11-30T12:30:00+01:00", false, 6).unwrap_err().contains("dropped"));
        assert!(timestamp("2026-11-30T12:30:00", true, 6).unwrap_err().contains("offset is missing"));
        assert!(timestamp("2026-11-30T12:30:00.1234567Z", true, 6).unwrap_err().contains("round"));
        assert!(timestamp("2026-11-30T12:30:00.1230000Z", true, 3).is_ok());
        for bad in ["24:00:00", "12:30:60", "12:30", "12:30:00.", "1:2:3"] {
            assert!(time(bad, 6).is_err(), "{bad}");
        }
        for bad in ["2026-11-30T12:30:00+1", "2026-11-30T12:30:00+99:00", "2026-11-30T12:30:00Zx"] {
            assert!(timestamp(bad, true, 6).is_err(), "{bad}");
        }
    }
}
