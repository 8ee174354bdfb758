//! Values as a trace shows them: cut to a length that a person reads.

use serde_json::Value;

use crate::flags::clause::Indeterminate;
use crate::flags::prerequisites::Broken;

/// How much of a value is shown.
pub(super) const VALUE_CHARS: usize = 120;

/// The text, cut.
pub(super) fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

pub(super) fn text(text: &str) -> Value {
    Value::String(cut(text, VALUE_CHARS))
}

/// A text is cut; a list or an object that is long as JSON becomes its JSON's beginning.
pub(super) fn value(found: &Value) -> Value {
    match found {
        Value::String(found) => text(found),
        Value::Array(_) | Value::Object(_) => {
            let json = found.to_string();
            if json.len() <= VALUE_CHARS { found.clone() } else { text(&json) }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => found.clone(),
    }
}

pub(super) fn because(why: Indeterminate) -> &'static str {
    match why {
        Indeterminate::Missing => "is missing",
        Indeterminate::WrongType => "is of another type",
        Indeterminate::Group => "is not an attribute of a group, and a change's flag is asked for groups",
    }
}

pub(super) fn broken(why: Option<Broken>) -> &'static str {
    match why {
        Some(Broken::NoSuchFlag) | None => "there is no such flag",
        Some(Broken::Circle) => "prerequisites run in a circle",
        Some(Broken::TooMany) => "one answer would ask too many flags",
    }
}
