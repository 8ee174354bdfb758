//! The constraints of npm `@unleash/client-specification` 6.1.0: each feature whose strategies are constraints alone.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Case, Classes, Groups, Named, clause, compare, directory, read};

const CLASSES: &Classes = &[(
    "missing",
    3,
    "a missing attribute, or null, can't be told, negated or not: they take it for none of the values",
)];

const NAMED: &Named = &[(
    "14-constraint-semver-operators: F8.invalidSemverWithLeadingV - invalid semver resolves to false",
    "a v before a version is so common that we read past it, in rules and in contexts alike",
)];

#[test]
fn constraints_agree() {
    let Some(directory) = directory("unleash") else { return };
    let directory = directory.join("node_modules/@unleash/client-specification/specifications");
    let mut cases = Vec::new();
    for name in read(&directory.join("index.json")).as_array().unwrap() {
        let specification = read(&directory.join(name.as_str().unwrap()));
        cases.extend(of_specification(&specification));
    }
    compare("@unleash/client-specification", cases, CLASSES, NAMED);
}

fn of_specification(specification: &Value) -> Vec<Case> {
    let features = specification["state"]["features"].as_array().map(Vec::as_slice).unwrap_or_default();
    let features: BTreeMap<&str, &Value> =
        features.iter().map(|feature| (feature["name"].as_str().unwrap(), feature)).collect();
    let segments = specification["state"]["segments"].as_array().map(Vec::as_slice).unwrap_or_default();
    let segments: BTreeMap<String, &Value> =
        segments.iter().map(|segment| (segment["id"].to_string(), &segment["constraints"])).collect();
    let tests = specification["tests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let title = specification["name"].as_str().unwrap_or_default();
    let cases = tests.iter().filter_map(|test| {
        let feature = features.get(test["toggleName"].as_str()?)?;
        let (groups, context) = mapped(feature, &segments, &test["context"]);
        let name = format!("{title}: {}", test["description"].as_str()?);
        Some(Case { name, groups, context, expected: test["expectedResult"] == json!(true) })
    });
    cases.collect()
}

type Segments<'a> = BTreeMap<String, &'a Value>;

/// A feature as groups, and the context with numbers where constraints ask for numbers: theirs are all texts.
fn mapped(feature: &Value, segments: &Segments<'_>, theirs: &Value) -> (Result<Groups, &'static str>, Value) {
    let mut context = flattened(theirs);
    let mut map = || -> Result<Groups, &'static str> {
        if feature["enabled"] != json!(true) {
            return Err("the feature is off");
        }
        if feature
            .get("dependencies")
            .is_some_and(|dependencies| dependencies.as_array().is_some_and(|all| !all.is_empty()))
        {
            return Err("it depends on other features");
        }
        let strategies = feature["strategies"].as_array().map(Vec::as_slice).unwrap_or_default();
        if strategies.is_empty() {
            return Err("it has no strategies");
        }
        strategies.iter().map(|strategy| of_strategy(strategy, segments, &mut context)).collect()
    };
    let groups = map();
    (groups, Value::Object(context))
}

fn of_strategy(
    strategy: &Value,
    segments: &Segments<'_>,
    context: &mut Map<String, Value>,
) -> Result<Vec<Value>, &'static str> {
    if strategy["name"] != json!("default") {
        return Err("its strategies are more than constraints");
    }
    let mut constraints: Vec<Value> = strategy["constraints"].as_array().cloned().unwrap_or_default();
    for segment in strategy["segments"].as_array().into_iter().flatten() {
        let found = segments.get(&segment.to_string()).and_then(|constraints| constraints.as_array());
        constraints.extend(found.cloned().ok_or("a segment that is not there")?);
    }
    let mut clauses = Vec::new();
    for constraint in constraints {
        clauses.extend(of_constraint(&constraint, context)?);
    }
    Ok(clauses)
}

/// A clause, or nothing if it holds for everybody.
fn of_constraint(constraint: &Value, context: &mut Map<String, Value>) -> Result<Option<Value>, &'static str> {
    let text = |name: &str| constraint[name].as_str().unwrap_or_default();
    let attribute = if text("contextName") == "userId" { "targetingKey" } else { text("contextName") };
    let operator = text("operator");
    let negate = (constraint["inverted"] == json!(true)) != (operator == "NOT_IN");
    let ours = match operator {
        "IN" | "NOT_IN" => "in",
        "STR_STARTS_WITH" => "starts_with",
        "STR_ENDS_WITH" => "ends_with",
        "STR_CONTAINS" => "contains",
        "NUM_EQ" => "equals",
        "NUM_GT" => "more_than",
        "NUM_GTE" => "at_least",
        "NUM_LT" => "less_than",
        "NUM_LTE" => "at_most",
        "DATE_AFTER" => "after",
        "DATE_BEFORE" => "before",
        "SEMVER_EQ" => "semver_equals",
        "SEMVER_GT" => "semver_more_than",
        "SEMVER_GTE" => "semver_at_least",
        "SEMVER_LT" => "semver_less_than",
        "SEMVER_LTE" => "semver_at_most",
        "REGEX" => "matches",
        "IN_CIDR" => "in_cidr",
        _ => return Err("an operator that neither of us knows is refused when it is written"),
    };
    let takes_several = ["in", "starts_with", "ends_with", "contains", "in_cidr"].contains(&ours);
    let mut comparand = if takes_several { constraint["values"].clone() } else { constraint["value"].clone() };
    if comparand.as_array().is_some_and(Vec::is_empty) {
        return if negate { Ok(None) } else { Err("no value at all matches nobody: we refuse it when it is written") };
    }
    if operator.starts_with("NUM_") {
        comparand = number(&comparand).ok_or("a number that is none")?;
        if let Some(number) = context.get(attribute).and_then(number) {
            context.insert(attribute.to_owned(), number);
        }
    }
    let ignore_case = constraint["caseInsensitive"] == json!(true) && (takes_several || ours == "matches");
    Ok(Some(clause(attribute, ours, &comparand, negate, ignore_case)))
}

fn number(text: &Value) -> Option<Value> {
    let text = text.as_str()?;
    text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<f64>().map(Value::from)).ok()
}

/// Their properties stand beside the fields that every context has.
fn flattened(theirs: &Value) -> Map<String, Value> {
    let mut context = Map::new();
    for (name, value) in theirs.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("properties", Value::Object(properties)) => context.extend(properties.clone()),
            ("userId", value) => drop(context.insert("targetingKey".to_owned(), value.clone())),
            (name, value) => drop(context.insert(name.to_owned(), value.clone())),
        }
    }
    context
}
