//! Known subjects, a line each: an id, or a context with all that is known of it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::context::{Context, canonical_id};

/// A line that is no subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rejected {
    /// The first line is 1.
    pub line: u64,
    pub what: String,
}

/// The subject of a line of NDJSON: a text or number is an id, an object is a context. Nothing for an empty line.
pub fn context_of_line(line: &str) -> Result<Option<Context>, String> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(None);
    }
    let value: Value = serde_json::from_str(line).map_err(|_| String::from("is not JSON"))?;
    if value.is_object() {
        return Context::from_json(value).map(Some).map_err(|error| error.to_string());
    }
    match canonical_id(&value) {
        Some(id) if !id.is_empty() => Ok(Some(Context::of(&id))),
        _ => Err(String::from("is neither an id nor a context")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_id_or_a_context() {
        let key = |line: &str| {
            context_of_line(line).map(|context| context.and_then(|it| it.targeting_key().map(str::to_owned)))
        };
        assert_eq!(key("42\r"), Ok(Some(String::from("42"))));
        assert_eq!(key(" \"a b\" "), Ok(Some(String::from("a b"))));
        assert_eq!(key("{\"targetingKey\":7,\"plan\":\"pro\"}"), Ok(Some(String::from("7"))));
        assert_eq!(context_of_line(" ").unwrap(), None);
        for bad in ["x", "[]", "true", "\"\"", "{\"targetingKey\":[]}", "1e300"] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }
}
