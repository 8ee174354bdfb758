//! What a column may hold, and how a JSON value becomes a parameter for it: exactly, or not at all.

use serde_json::value::RawValue;

use super::base64::{decode, hexadecimal};
use super::decimal::Decimal;
use super::json::{self, Json};
use super::moments;
use crate::database::Value;
use crate::primitives::Dialect;

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers of so many bits.
    Integer {
        bits: u32,
    },
    /// Decimal numbers; with digits in all and after the point, where the column says so.
    Numeric {
        precision: Option<u32>,
        scale: u32,
    },
    Float,
    Boolean,
    Text {
        length_max: Option<usize>,
    },
    Bytes,
    Uuid,
    Date,
    Time {
        digits: usize,
    },
    /// `zoned`: an instant, with its offset; otherwise a date and a time.
    Timestamp {
        zoned: bool,
        digits: usize,
    },
    Json,
    /// One of these.
    Enum(Vec<String>),
    Array(Box<Kind>),
    /// Whatever else: the database's own text form.
    Other,
}

/// A value that has been found to fit a column, as a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub value: Value,
    /// SQLite: the text is hexadecimal and stands for bytes.
    pub is_bytes: bool,
}

impl Parameter {
    fn plain(value: Value) -> Self {
        Self { value, is_bytes: false }
    }

    /// NULL.
    #[must_use]
    pub fn null() -> Self {
        Self::plain(Value::Null)
    }
}

/// The JSON value as a parameter for a column of this kind; otherwise what is wrong with it.
pub fn parameter(kind: &Kind, raw: &RawValue, dialect: Dialect) -> Result<Parameter, String> {
    let value = json::read(raw).map_err(|error| error.to_string())?;
    if matches!(value, Json::Null) {
        return Ok(Parameter::null());
    }
    match dialect {
        Dialect::Postgres => Ok(Parameter::plain(Value::Text(postgres_text(kind, raw, value)?))),
        Dialect::Sqlite => sqlite_value(kind, raw, value),
    }
}

/// The text that PostgreSQL reads as the value; the statement casts it.
fn postgres_text(kind: &Kind, raw: &RawValue, value: Json<'_>) -> Result<String, String> {
    match (kind, value) {
        (Kind::Integer { bits }, value) => integer(*bits, &value).map(|number| number.to_string()),
        (Kind::Numeric { .. }, Json::Text(text)) if text == "NaN" => Ok(text),
        (Kind::Numeric { precision, scale }, value) => numeric((*precision, *scale), &value),
        (Kind::Float, Json::Text(text)) if ["NaN", "Infinity", "-Infinity"].contains(&text.as_str()) => Ok(text),
        (Kind::Float, value) => finite(&value).map(|_| decimal(&value).map(|number| number.to_text()))?,
        (Kind::Boolean, Json::Boolean(truth)) => Ok(truth.to_string()),
        (Kind::Bytes, Json::Text(text)) => bytes(&text).map(|bytes| format!("\\x{}", hexadecimal(&bytes))),
        (Kind::Date | Kind::Timestamp { .. }, Json::Text(text)) if text == "infinity" || text == "-infinity" => {
            Ok(text)
        }
        (Kind::Json, _) => without_nul_escape(raw),
        (Kind::Array(element), Json::Array(items)) => array(element, &items),
        (Kind::Other, Json::Number(number)) => Ok(number.to_owned()),
        (Kind::Other, Json::Boolean(truth)) => Ok(truth.to_string()),
        (kind, Json::Text(text)) => checked_text(kind, text),
        (kind, value) => Err(mismatch(kind, &value)),
    }
}

fn sqlite_value(kind: &Kind, raw: &RawValue, value: Json<'_>) -> Result<Parameter, String> {
    let value = match (kind, value) {
        (Kind::Integer { bits }, value) => Value::Integer(integer(*bits, &value)?),
        (Kind::Numeric { precision, scale }, value) => sqlite_numeric(&numeric((*precision, *scale), &value)?)?,
        (Kind::Float, value) => Value::Real(finite(&value)?),
        (Kind::Boolean, Json::Boolean(truth)) => Value::Integer(i64::from(truth)),
        (Kind::Bytes, Json::Text(text)) => {
            return bytes(&text).map(|bytes| Parameter { value: hexadecimal(&bytes).into(), is_bytes: true });
        }
        // Applications on SQLite keep instants as text or as a number, as they please.
        (Kind::Date | Kind::Time { .. } | Kind::Timestamp { .. }, value @ Json::Number(_)) => {
            Value::Integer(integer(64, &value)?)
        }
        (Kind::Json, _) => Value::Text(without_nul_escape(raw)?),
        (Kind::Other, Json::Boolean(truth)) => Value::Integer(i64::from(truth)),
        (Kind::Other, Json::Number(number)) => {
            sqlite_numeric(&Decimal::parse(number).ok_or("the number has too many digits")?.to_text())?
        }
        (kind, Json::Text(text)) => Value::Text(checked_text(kind, text)?),
        (kind, value) => return Err(mismatch(kind, &value)),
    };
    Ok(Parameter::plain(value))
}

/// What SQLite stores of a decimal number: an integer or a float, and so refused where that would lose a digit.
fn sqlite_numeric(text: &str) -> Result<Value, String> {
    if let Ok(integer) = text.parse::<i64>() {
        return Ok(Value::Integer(integer));
    }
    let significant = text.trim_start_matches(['-', '0', '.']).bytes().filter(u8::is_ascii_digit).count();
    if significant > 15 {
        return Err(format!(
            "SQLite would make a float of {text} and lose digits: at most 15 are exact; declare the column TEXT, or count in whole units"
        ));
    }
    text.parse().map(Value::Real).map_err(|_| String::from("not a number"))
}

fn integer(bits: u32, value: &Json<'_>) -> Result<i64, String> {
    let number = decimal(value)?;
    let most = i64::MAX >> (64 - bits.clamp(1, 64));
    if number.fraction_digits() > 0 {
        return Err(format!("{} is not a whole number", number.to_text()));
    }
    match number.to_text().parse::<i64>() {
        Ok(integer) if (-most - 1..=most).contains(&integer) => Ok(integer),
        _ => Err(format!("the number is out of range: {} to {most} are possible", -most - 1)),
    }
}

fn numeric((precision, scale): (Option<u32>, u32), value: &Json<'_>) -> Result<String, String> {
    let number = decimal(value)?;
    if let Some(precision) = precision {
        let (digits, fraction) = (usize::try_from(precision).unwrap_or(0), usize::try_from(scale).unwrap_or(0));
        if number.fraction_digits() > fraction {
            return Err(format!("the column keeps {scale} digits after the point, and would round the number"));
        }
        if number.whole_digits() > digits.saturating_sub(fraction) {
            return Err(format!(
                "the column keeps {} digits before the point; the number has {}",
                digits.saturating_sub(fraction),
                number.whole_digits()
            ));
        }
    }
    Ok(number.to_text())
}

/// A number, or a string that is one: many clients cannot write large numbers otherwise.
fn decimal(value: &Json<'_>) -> Result<Decimal, String> {
    let text = match value {
        Json::Number(number) => number,
        Json::Text(text) => text.as_str(),
        other => return Err(format!("{} is not a number", other.noun())),
    };
    Decimal::parse(text).ok_or_else(|| format!("`{}` is not a number", shortened(text)))
}

fn finite(value: &Json<'_>) -> Result<f64, String> {
    let text = decimal(value)?.to_text();
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| String::from("the number is out of range"))
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    decode(text).ok_or_else(|| String::from("bytes are written as base64 with padding, such as `AAEC`"))
}

fn without_nul_escape(raw: &RawValue) -> Result<String, String> {
    let text = json::canonical(raw).map_err(|error| error.to_string())?;
    if has_nul_escape(&text) {
        return Err(String::from("a string in it contains a NUL character, which databases do not keep"));
    }
    Ok(raw.get().to_owned())
}

/// True if a canonical JSON text has `\u0000` in it that is not the end of an escaped backslash.
fn has_nul_escape(text: &str) -> bool {
    text.match_indices("\\u0000").any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        before.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 0
    })
}

/// A string for a column that takes strings.
fn checked_text(kind: &Kind, text: String) -> Result<String, String> {
    if text.contains('\0') {
        return Err(String::from("the string contains a NUL character, which databases do not keep"));
    }
    match kind {
        Kind::Text { length_max: Some(most) } => {
            let length = text.chars().count();
            let fits = length <= *most || text.chars().skip(*most).all(|character| character == ' ');
            if fits { Ok(text) } else { Err(format!("the column keeps {most} characters; the string has {length}")) }
        }
        Kind::Text { length_max: None } | Kind::Other => Ok(text),
        Kind::Uuid if is_uuid(&text) => Ok(text),
        Kind::Uuid => Err(String::from("write a UUID as 8-4-4-4-12 hexadecimal digits")),
        Kind::Date => moments::date(&text),
        Kind::Time { digits } => moments::time(&text, *digits),
        Kind::Timestamp { zoned, digits } => moments::timestamp(&text, *zoned, *digits),
        Kind::Enum(labels) if labels.contains(&text) => Ok(text),
        Kind::Enum(labels) => Err(format!("`{}` is not one of {}", shortened(&text), labels.join(", "))),
        kind => Err(mismatch(kind, &Json::Text(text))),
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// A JSON array as PostgreSQL's array literal.
fn array(element: &Kind, items: &[&RawValue]) -> Result<String, String> {
    let mut parts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let at = |error: String| format!("element {index}: {error}");
        let value = json::read(item).map_err(|error| at(error.to_string()))?;
        parts.push(match (element, value) {
            (Kind::Json, _) => escaped(&without_nul_escape(item).map_err(at)?),
            (_, Json::Null) => String::from("NULL"),
            (_, Json::Array(inner)) => array(element, &inner).map_err(at)?,
            (_, value) => escaped(&postgres_text(element, item, value).map_err(at)?),
        });
    }
    Ok(format!("{{{}}}", parts.join(",")))
}

fn escaped(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn mismatch(kind: &Kind, value: &Json<'_>) -> String {
    format!("{} does not fit: write {}", value.noun(), kind.wanted())
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

impl Kind {
    /// How a value is written in JSON.
    #[must_use]
    pub fn wanted(&self) -> &'static str {
        match self {
            Self::Integer { .. } => "a whole number",
            Self::Numeric { .. } => "a number, or a string that is one",
            Self::Float => "a number",
            Self::Boolean => "true or false",
            Self::Text { .. } => "a string",
            Self::Bytes => "a base64 string",
            Self::Uuid => "a UUID",
            Self::Date => "a date such as \"2026-11-30\"",
            Self::Time { .. } => "a time such as \"12:30:00\"",
            Self::Timestamp { zoned: true, .. } => "an instant such as \"2026-11-30T12:30:00Z\"",
            Self::Timestamp { zoned: false, .. } => "a date and time without offset, such as \"2026-11-30T12:30:00\"",
            Self::Json => "any JSON",
            Self::Enum(_) => "one of the column's labels",
            Self::Array(_) => "an array",
            Self::Other => "a string as the database reads it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres(kind: &Kind, text: &str) -> Result<String, String> {
        let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
        parameter(kind, &raw, Dialect::Postgres).map(|found| found.value.to_text().unwrap_or_default())
    }

    #[test]
    fn numbers_keep_every_digit_or_are_refused() {
        let bigint = Kind::Integer { bits: 64 };
        for text in ["9223372036854775807", "\"9223372036854775807\"", "9.223372036854775807e18"] {
            assert_eq!(postgres(&bigint, text).unwrap(), "9223372036854775807");
        }
        assert_eq!(postgres(&bigint, "-9223372036854775808").unwrap(), "-9223372036854775808");
        for bad in ["9223372036854775808", "1.5", "\"x\"", "true", "[]"] {
            assert!(postgres(&bigint, bad).is_err(), "{bad}");
        }
        assert!(postgres(&Kind::Integer { bits: 16 }, "32768").is_err());
        assert_eq!(postgres(&Kind::Integer { bits: 16 }, "-32768").unwrap(), "-32768");
        let money = Kind::Numeric { precision: Some(38), scale: 11 };
        let long = "123456789012345678901234567.12345678901";
        assert_eq!(postgres(&money, long).unwrap(), long);
        assert_eq!(postgres(&money, "1.10000000000000000").unwrap(), "1.1", "zeros are no digits");
        assert!(postgres(&money, "0.123456789012").unwrap_err().contains("round"));
        assert!(postgres(&money, "1234567890123456789012345678").unwrap_err().contains("before the point"));
        assert!(postgres(&Kind::Float, "1e999").is_err());
    }

    #[test]
    fn sqlite_never_makes_a_float_of_what_no_float_is() {
        let kind = Kind::Numeric { precision: None, scale: 0 };
        let value = |text: &str| {
            let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
            parameter(&kind, &raw, Dialect::Sqlite).map(|found| found.value)
        };
        assert_eq!(value("9223372036854775807").unwrap(), Value::Integer(i64::MAX));
        assert_eq!(value("0.1").unwrap(), Value::Real(0.1));
        assert!(value("123456789012345678901234567.12345678901").unwrap_err().contains("lose digits"));
    }

    #[test]
    fn texts_are_what_the_column_keeps() {
        let short = Kind::Text { length_max: Some(3) };
        assert_eq!(postgres(&short, "\"äöü\"").unwrap(), "äöü");
        assert!(postgres(&short, "\"abcd\"").unwrap_err().contains("3 characters"));
        assert!(postgres(&Kind::Text { length_max: None }, r#""a\u0000b""#).unwrap_err().contains("NUL"));
        assert!(postgres(&Kind::Json, r#"{"a":"\u0000"}"#).unwrap_err().contains("NUL"));
        assert!(postgres(&Kind::Json, r#"{"a":"\\u0000"}"#).is_ok(), "a backslash and letters");
        assert_eq!(postgres(&Kind::Bytes, "\"AAEC\"").unwrap(), "\\x000102");
        assert!(postgres(&Kind::Uuid, "\"0190b3a4-7c1e-7a51-9d5f-01234567\"").is_err());
        let colour = Kind::Enum(vec![String::from("red"), String::from("blue")]);
        assert!(postgres(&colour, "\"green\"").unwrap_err().contains("red, blue"));
    }

    #[test]
    fn arrays_are_quoted_element_by_element() {
        let texts = Kind::Array(Box::new(Kind::Text { length_max: None }));
        assert_eq!(
            postgres(&texts, r#"["a","b\"c",null,"NULL","d\\e"]"#).unwrap(),
            r#"{"a","b\"c",NULL,"NULL","d\\e"}"#
        );
        let numbers = Kind::Array(Box::new(Kind::Integer { bits: 32 }));
        assert_eq!(postgres(&numbers, "[[1,2],[3,4]]").unwrap(), r#"{{"1","2"},{"3","4"}}"#);
        assert!(postgres(&numbers, "[1,\"x\"]").unwrap_err().contains("element 1"));
    }
}
