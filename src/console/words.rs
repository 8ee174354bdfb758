//! How pages say counts, times and stages.

use jiff::Unit;

use crate::allocation::Minor;
use crate::change::Stage;
use crate::primitives::Instant;

/// `12,345`
#[must_use]
pub fn grouped(count: i64) -> String {
    Minor::new(i128::from(count)).grouped(0)
}

/// `1 key`, `12,345 keys`
#[must_use]
pub fn counted(count: i64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// A moment as a page shows it: for people, and for machines.
pub struct When {
    /// `2026-11-23 14:05 UTC`
    pub text: String,
    /// RFC 3339.
    pub machine: String,
    /// `3 minutes ago`
    pub ago: String,
}

/// A moment, seen from `now`.
#[must_use]
pub fn when(at: Instant, now: Instant) -> When {
    let rounded = at.timestamp().round(Unit::Second).unwrap_or_else(|_| at.timestamp());
    let machine = rounded.to_string();
    let text = match (machine.get(..10), machine.get(11..16)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => machine.clone(),
    };
    When { text, machine, ago: ago(now.as_micros().saturating_sub(at.as_micros()) / 1_000_000) }
}

fn ago(seconds: i64) -> String {
    let (count, one, many) = match seconds {
        ..=44 => return String::from("just now"),
        45..=3_569 => ((seconds + 30) / 60, "minute", "minutes"),
        3_570..=84_599 => ((seconds + 1_800) / 3_600, "hour", "hours"),
        _ => ((seconds + 43_200) / 86_400, "day", "days"),
    };
    format!("{} ago", counted(count, one, many))
}

/// What a stage means, in a sentence.
#[must_use]
pub fn meaning(stage: Stage) -> &'static str {
    match stage {
        Stage::Off => "Nothing is translated: old code works as it always has, and the new model is not kept.",
        Stage::DualWrite => {
            "Each write to the old model also reaches the new one; a backfill brings over what was there before. Everybody is billed by the old model."
        }
        Stage::Shadow => {
            "The new model is kept in step, and both allocations are compared. Everybody is billed by the old model."
        }
        Stage::Live => {
            "Writes are translated both ways. Groups that the flag routes to new are billed by the new model, all others by the old one."
        }
        Stage::RampDown => {
            "Everybody is billed by the new model. Writes are still translated both ways, so the way back loses nothing."
        }
        Stage::Complete => "The old path is gone: triggers are removed, and everybody is billed by the new model.",
    }
}

/// One stage of a stepper.
#[derive(Debug, Clone, Copy)]
pub struct StepShown {
    pub name: &'static str,
    pub is_past: bool,
    pub is_now: bool,
}

/// All stages, seen from the one that a change is in.
#[must_use]
pub fn stepper(stage: Stage) -> Vec<StepShown> {
    Stage::ALL.map(|step| StepShown { name: step.as_str(), is_past: step < stage, is_now: step == stage }).to_vec()
}

/// A stored value as a person reads it: texts without quotes, numbers in groups, what is nested as JSON.
#[must_use]
pub fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Bool(true) => String::from("yes"),
        serde_json::Value::Bool(false) => String::from("no"),
        serde_json::Value::Number(number) => number.as_i64().map_or_else(|| number.to_string(), grouped),
        nested => nested.to_string(),
    }
}

/// A text as it may stand in an address.
#[must_use]
pub fn in_address(text: &str) -> String {
    let mut address = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            address.push(char::from(byte));
        } else {
            address.push('%');
            address.extend([byte >> 4, byte & 15].iter().filter_map(|digit| char::from_digit(u32::from(*digit), 16)));
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_ago_is_said_in_its_largest_unit() {
        for (seconds, said) in [
            (-5, "just now"),
            (44, "just now"),
            (45, "1 minute ago"),
            (3_569, "59 minutes ago"),
            (3_570, "1 hour ago"),
            (84_599, "23 hours ago"),
            (84_600, "1 day ago"),
            (864_000, "10 days ago"),
        ] {
            assert_eq!(ago(seconds), said, "{seconds}");
        }
    }
}
