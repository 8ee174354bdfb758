//! Observations as applications post them: one object, an array, or one object a line.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::compare::Outcome;
use super::json::Json;

/// Observations in one request.
pub const BATCH_MAX: usize = 1_000;
/// Bytes of a value.
const VALUE_MAX: usize = 32_768;
const ERROR_MAX: usize = 500;
const ID_MAX: usize = 128;

/// One pair of results, checked.
#[derive(Debug, Clone)]
pub struct Observation {
    pub id: Option<String>,
    pub operation: String,
    pub at: Option<jiff::Timestamp>,
    /// How many calls it stands for.
    pub calls: u64,
    pub old: Outcome,
    pub new: Outcome,
    pub old_us: Option<u64>,
    pub new_us: Option<u64>,
    /// The application's own word, if it compared itself.
    pub matches: Option<bool>,
}

/// A line of a batch that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// From 1.
    pub line: usize,
    pub detail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    id: Option<String>,
    operation: String,
    #[serde(default)]
    at: Option<jiff::Timestamp>,
    #[serde(default)]
    sample_rate: Option<f64>,
    #[serde(default)]
    old: Side,
    #[serde(default)]
    new: Side,
    #[serde(default)]
    matches: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Side {
    #[serde(default)]
    value: Option<Box<RawValue>>,
    #[serde(default)]
    duration_us: Option<u64>,
    #[serde(default)]
    error: Option<String>,
}

/// An observation with its line, or why it is not taken.
pub type ReadLine = Result<(usize, Observation), Unreadable>;

/// Reads a body; every observation with its line, or why it is not taken.
///
/// # Errors
/// The body as a whole cannot be read, or has too many.
pub fn read_batch(body: &str) -> Result<Vec<ReadLine>, String> {
    let body = body.trim();
    let texts: Vec<&str> = if body.starts_with('[') {
        let raw: Vec<&RawValue> =
            serde_json::from_str(body).map_err(|error| format!("The body is not a JSON array: {error}."))?;
        raw.into_iter().map(RawValue::get).collect()
    } else if serde_json::from_str::<&RawValue>(body).is_ok() {
        vec![body]
    } else {
        body.lines().filter(|line| !line.trim().is_empty()).collect()
    };
    if texts.is_empty() {
        return Err(String::from("The body has no observation: send an object, an array, or one object a line."));
    }
    if texts.len() > BATCH_MAX {
        return Err(format!("A request may have {BATCH_MAX} observations; this one has {}.", texts.len()));
    }
    let read = |(index, text): (usize, &str)| {
        read_one(text).map(|one| (index + 1, one)).map_err(|detail| Unreadable { line: index + 1, detail })
    };
    Ok(texts.into_iter().enumerate().map(read).collect())
}

fn read_one(text: &str) -> Result<Observation, String> {
    let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if !is_name(&written.operation, ID_MAX) {
        return Err(String::from("`operation` is 1 to 128 letters, digits, `.`, `_`, `-`, `:` or `/`"));
    }
    if written.id.as_deref().is_some_and(|id| !is_name(id, ID_MAX)) {
        return Err(String::from("`id` is 1 to 128 letters, digits, `.`, `_`, `-`, `:` or `/`"));
    }
    let rate = written.sample_rate.unwrap_or(1.0);
    if !(rate > 0.0 && rate <= 1.0) {
        return Err(String::from("`sample_rate` is more than 0 and at most 1"));
    }
    let (old_us, new_us) = (written.old.duration_us, written.new.duration_us);
    Ok(Observation {
        id: written.id,
        operation: written.operation,
        at: written.at,
        calls: calls(rate),
        old: outcome(written.old, "old")?,
        new: outcome(written.new, "new")?,
        old_us,
        new_us,
        matches: written.matches,
    })
}

/// 1 / rate, rounded, without a cast.
fn calls(rate: f64) -> u64 {
    format!("{:.0}", (1.0 / rate).min(1e9)).parse().unwrap_or(1)
}

fn is_name(text: &str, max: usize) -> bool {
    let is_sign = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
    !text.is_empty() && text.len() <= max && text.chars().all(is_sign)
}

fn outcome(side: Side, name: &str) -> Result<Outcome, String> {
    let value = match side.value {
        None => None,
        Some(raw) if raw.get().len() > VALUE_MAX => {
            return Err(format!("`{name}.value` is larger than {VALUE_MAX} bytes: send what matters, or a hash"));
        }
        Some(raw) => {
            Some(Json::parse(raw.get()).ok_or_else(|| format!("`{name}.value` is deeper than what is compared"))?)
        }
    };
    Ok(Outcome { value, error: side.error.map(|error| error.chars().take(ERROR_MAX).collect()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_does_not_spoil_the_others() {
        let body =
            "{\"operation\":\"a\",\"old\":{\"value\":1}}\n{\"operation\":\"\"}\n\n{\"operation\":\"b\",\"nw\":1}\n";
        let read = read_batch(body).unwrap();
        assert!(read[0].is_ok());
        assert_eq!(read[1].as_ref().unwrap_err().line, 2);
        assert!(read[2].as_ref().unwrap_err().detail.contains("unknown field `nw`"));
        assert_eq!(read_batch("[]").unwrap_err().split(':').next(), Some("The body has no observation"));
        let one = read_batch(r#"{"operation":"a","sample_rate":0.1}"#).unwrap().remove(0).unwrap().1;
        assert_eq!(one.calls, 10);
    }
}
