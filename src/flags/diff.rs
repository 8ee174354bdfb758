//! What differs between two versions of a flag: places as JSON pointers, each with what stood there before and what stands there after.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// One place that differs. Without `before` it is new, without `after` it is gone.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Difference {
    /// A JSON pointer into the later version, or into the earlier one where something is gone: `/rules/0/serve/variant`.
    pub at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
}

/// What differs, from the top. `None` is a flag that is not there.
#[must_use]
pub fn differences(before: Option<&Value>, after: Option<&Value>) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", before, after, &mut found);
    found
}

fn compare(at: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            for (name, value) in one {
                compare(&below(at, name), Some(value), other.get(name), found);
            }
            for (name, value) in other.iter().filter(|(name, _)| !one.contains_key(*name)) {
                compare(&below(at, name), None, Some(value), found);
            }
        }
        // A rollout's ranges are one thing: they cover all buckets together.
        (Some(Value::Array(one)), Some(Value::Array(other))) if !at.ends_with("/ranges") => {
            lists(at, one, other, found)
        }
        _ => found.push(Difference { at: at.to_owned(), before: before.cloned(), after: after.cloned() }),
    }
}

/// What stands in the middle, between an equal beginning and an equal end. As many as before were changed, otherwise some were taken out
/// and others put in.
fn lists(at: &str, one: &[Value], other: &[Value], found: &mut Vec<Difference>) {
    let shorter = one.len().min(other.len());
    let beginning = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let end =
        one.iter().rev().zip(other.iter().rev()).take(shorter - beginning).take_while(|(one, other)| one == other);
    let end = end.count();
    let middle = |list: &[Value]| list.len() - end;
    let of_one = one.iter().enumerate().take(middle(one)).skip(beginning);
    let mut of_other = other.iter().enumerate().take(middle(other)).skip(beginning);
    if one.len() == other.len() {
        for ((index, before), (_, after)) in of_one.zip(of_other) {
            compare(&below(at, &index.to_string()), Some(before), Some(after), found);
        }
        return;
    }
    for (index, before) in of_one {
        compare(&below(at, &index.to_string()), Some(before), None, found);
    }
    for (index, after) in of_other.by_ref() {
        compare(&below(at, &index.to_string()), None, Some(after), found);
    }
}

fn below(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(before: &Value, after: &Value) -> Vec<String> {
        let text = |value: &Option<Value>| value.as_ref().map_or_else(|| String::from("-"), Value::to_string);
        let lines = differences(Some(before), Some(after));
        lines.iter().map(|line| format!("{} {} {}", line.at, text(&line.before), text(&line.after))).collect()
    }

    #[test]
    fn places_are_told_with_before_and_after() {
        let one = json!({"enabled": true, "variants": {"a/b": 1}, "gone": 0});
        let other = json!({"enabled": false, "variants": {"a/b": 2}, "come": []});
        assert_eq!(told(&one, &other), ["/enabled true false", "/variants/a~1b 1 2", "/gone 0 -", "/come - []"]);
        assert_eq!(told(&one, &one), Vec::<String>::new());
    }

    #[test]
    fn a_rule_put_in_between_is_one_difference() {
        let one = json!({"rules": ["a", "c"]});
        assert_eq!(told(&one, &json!({"rules": ["a", "b", "c"]})), ["/rules/1 - \"b\""]);
        assert_eq!(told(&one, &json!({"rules": ["c"]})), ["/rules/0 \"a\" -"]);
        assert_eq!(told(&one, &json!({"rules": ["a", "d"]})), ["/rules/1 \"c\" \"d\""]);
        assert_eq!(told(&json!(["a"]), &json!(["a", "a"])), ["/1 - \"a\""]);
        assert_eq!(told(&one, &json!({"rules": []})).len(), 2);
    }

    #[test]
    fn ranges_are_told_as_a_whole() {
        let ranges = |to: u32| json!({"rollout": {"ranges": [{"from": 0, "to": to}, {"from": to, "to": 9}]}});
        assert_eq!(told(&ranges(1), &ranges(2)).len(), 1);
    }

    #[test]
    fn a_flag_that_is_not_there_differs_as_a_whole() {
        let flag = json!({"key": "f"});
        let gone = differences(Some(&flag), None);
        assert_eq!((gone.len(), gone[0].at.as_str(), &gone[0].after), (1, "", &None));
        assert_eq!(differences(None, None), []);
    }
}
