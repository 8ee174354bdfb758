//! The conditions of crate `growthbook-rust` 0.4.0: `evalCondition` of its `tests/cases/cases.json`.

use serde_json::{Map, Value, json};

use super::{Case, Classes, Groups, Named, clause, compare, directory, read};

const CLASSES: &Classes = &[
    (
        "missing",
        23,
        "a missing attribute, or null, can't be told: they take it for a value that is unequal to all others",
    ),
    ("type", 75, "an attribute of another type can't be told: they take it for unequal"),
    ("version", 5, "a text that is no semantic version can't be told: they compare what looks like one part by part"),
];

const NAMED: &Named =
    &[("path through an array index", "a path names attributes: a place in a list is no name of anything")];

type Mapped = Result<Groups, &'static str>;

#[test]
fn conditions_agree() {
    let Some(directory) = directory("growthbook") else { return };
    let cases = read(&directory.join("cases.json"));
    let cases = cases["evalCondition"].as_array().unwrap().iter().map(|case| {
        let attributes = case[2].clone();
        let groups = condition(&case[1], false, &Asked { attributes: &attributes, saved: &case[4] });
        Case {
            name: case[0].as_str().unwrap().to_owned(),
            groups,
            context: attributes,
            expected: case[3] == json!(true),
        }
    });
    compare("growthbook-rust", cases.collect(), CLASSES, NAMED);
}

/// What a condition is asked of: whether an attribute is a list decides how its comparison is written in our clauses.
struct Asked<'a> {
    attributes: &'a Value,
    saved: &'a Value,
}

impl Asked<'_> {
    fn is_list(&self, path: &str) -> bool {
        path.split('.').try_fold(self.attributes, |value, name| value.get(name)).is_some_and(Value::is_array)
    }
}

const EVERYBODY: fn() -> Groups = || vec![Vec::new()];

fn all(parts: impl IntoIterator<Item = Mapped>) -> Mapped {
    parts.into_iter().try_fold(EVERYBODY(), |groups, part| {
        let part = part?;
        let both = groups.iter().flat_map(|left| part.iter().map(move |right| [left.clone(), right.clone()].concat()));
        Ok(both.collect())
    })
}

fn any(parts: impl IntoIterator<Item = Mapped>) -> Mapped {
    let parts: Result<Vec<Groups>, _> = parts.into_iter().collect();
    Ok(parts?.concat())
}

/// Negation is pushed down to the clauses, so that every group is one of ours.
fn joined(parts: Vec<Mapped>, is_all: bool) -> Mapped {
    if is_all { all(parts) } else { any(parts) }
}

fn condition(condition: &Value, negate: bool, asked: &Asked<'_>) -> Mapped {
    let Some(object) = condition.as_object() else { return Err("the condition is no object") };
    let parts = object.iter().map(|(name, value)| match name.as_str() {
        "$and" => list(value, negate, true, asked),
        "$or" => list(value, negate, false, asked),
        "$nor" => list(value, !negate, false, asked),
        "$not" => self::condition(value, !negate, asked),
        _ => attribute(name, value, negate, asked),
    });
    joined(parts.collect(), !negate)
}

fn list(value: &Value, negate: bool, is_all: bool, asked: &Asked<'_>) -> Mapped {
    let Some(conditions) = value.as_array() else { return Err("a list of conditions that is none") };
    if conditions.is_empty() {
        return Ok(if negate { Vec::new() } else { EVERYBODY() });
    }
    joined(conditions.iter().map(|one| condition(one, negate, asked)).collect(), is_all != negate)
}

fn attribute(path: &str, value: &Value, negate: bool, asked: &Asked<'_>) -> Mapped {
    match value.as_object() {
        Some(operators) if !operators.is_empty() && operators.keys().all(|name| name.starts_with('$')) => {
            operations(path, operators, negate, asked)
        }
        Some(_) => Err("objects are not compared whole"),
        None => operation(path, "$eq", value, negate, asked),
    }
}

fn operations(path: &str, operators: &Map<String, Value>, negate: bool, asked: &Asked<'_>) -> Mapped {
    let parts = operators.iter().map(|(name, operand)| match (name.as_str(), operand) {
        ("$not", _) => attribute(path, operand, !negate, asked),
        ("$elemMatch", Value::Object(inner)) => element(path, inner, negate),
        _ => operation(path, name, operand, negate, asked),
    });
    joined(parts.collect(), !negate)
}

/// A list that has one element; other questions about elements are none of ours.
fn element(path: &str, inner: &Map<String, Value>, negate: bool) -> Mapped {
    match inner.iter().next() {
        Some((name, operand)) if inner.len() == 1 && name == "$eq" && is_scalar(operand) => {
            Ok(vec![vec![clause(path, "contains", operand, negate, false)]])
        }
        _ => Err("elements of a list are compared for being equal only"),
    }
}

fn operation(path: &str, name: &str, operand: &Value, negate: bool, asked: &Asked<'_>) -> Mapped {
    let one =
        |operator, comparand: &Value, negate, fold| Ok(vec![vec![clause(path, operator, comparand, negate, fold)]]);
    match name {
        "$eq" | "$ne" if operand.is_null() => one("exists", &Value::Null, (name == "$eq") != negate, false),
        "$eq" | "$ne" if is_scalar(operand) => one("equals", operand, (name == "$ne") != negate, false),
        "$eq" | "$ne" => Err("lists and objects are not compared whole"),
        "$in" | "$nin" => member(path, operand, (name == "$nin") != negate, false, asked),
        "$ini" | "$nini" => member(path, operand, (name == "$nini") != negate, true, asked),
        "$inGroup" | "$notInGroup" => {
            let saved =
                operand.as_str().and_then(|group| asked.saved.get(group)).ok_or("a saved group that is not there")?;
            member(path, saved, (name == "$notInGroup") != negate, false, asked)
        }
        "$gt" | "$gte" | "$lt" | "$lte" if operand.is_number() => {
            let operator = match name {
                "$gt" => "more_than",
                "$gte" => "at_least",
                "$lt" => "less_than",
                _ => "at_most",
            };
            one(operator, operand, negate, false)
        }
        "$gt" | "$gte" | "$lt" | "$lte" => Err("only numbers, versions and instants have an order"),
        "$regex" | "$notRegex" => one("matches", operand, (name == "$notRegex") != negate, false),
        "$regexi" | "$notRegexi" => one("matches", operand, (name == "$notRegexi") != negate, true),
        "$exists" => one("exists", &Value::Null, (*operand != json!(true)) != negate, false),
        "$veq" | "$vne" => one("semver_equals", operand, (name == "$vne") != negate, false),
        "$vgt" => one("semver_more_than", operand, negate, false),
        "$vgte" => one("semver_at_least", operand, negate, false),
        "$vlt" => one("semver_less_than", operand, negate, false),
        "$vlte" => one("semver_at_most", operand, negate, false),
        "$all" | "$alli" | "$size" | "$type" | "$elemMatch" => Err("there is no such operator"),
        _ => Err("an operator that neither of us knows is refused when it is written"),
    }
}

/// One of several: an attribute's value, or an element of an attribute that is a list.
fn member(path: &str, operand: &Value, negate: bool, ignore_case: bool, asked: &Asked<'_>) -> Mapped {
    let values = operand.as_array().ok_or("a list of values that is none")?;
    if values.is_empty() {
        return Ok(if negate { EVERYBODY() } else { Vec::new() });
    }
    if ignore_case && !values.iter().all(Value::is_string) {
        return Err("case is ignored of texts only");
    }
    let operator = if asked.is_list(path) { "contains" } else { "in" };
    Ok(vec![vec![clause(path, operator, operand, negate, ignore_case)]])
}

fn is_scalar(value: &Value) -> bool {
    value.is_string() || value.is_number() || value.is_boolean()
}
