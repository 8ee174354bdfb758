//! Unleash's constraints as clauses. There a constraint is true or false, and an inverted one is true of an attribute that is missing;
//! so "inverted" is written out as "missing, or there and not so".

use serde_json::Value;

use super::condition::{Condition, with_value, with_values};
use super::note::Unsupported;
use crate::flags::TARGETING_KEY;
use crate::flags::draft::ClauseDraft;
use crate::primitives::Instant;

/// The condition that a constraint is: `{"contextName", "operator", "values" or "value", "inverted", "caseInsensitive"}`.
pub fn condition(constraint: &Value) -> Result<Condition, Unsupported> {
    let text = |name: &str| constraint.get(name).and_then(Value::as_str);
    let is = |name: &str| constraint.get(name).and_then(Value::as_bool).unwrap_or(false);
    let refused = |why: &str| Err(Unsupported::new("", super::note::shortened(&constraint.to_string()), why));
    let (Some(context), Some(operator)) = (text("contextName"), text("operator")) else {
        return refused("it has no `contextName` or no `operator`");
    };
    let attribute = attribute(context);
    let value = text("value").unwrap_or_default().trim();
    let (operator, inverted) = match operator {
        "NOT_IN" => ("IN", !is("inverted")),
        other => (other, is("inverted")),
    };
    if let (true, "DATE_AFTER" | "DATE_BEFORE") = (context == "currentTime", operator) {
        let Ok(instant) = Instant::parse(value) else { return refused("its `value` is not an instant") };
        return Ok(if (operator == "DATE_AFTER") == inverted {
            Condition::until(instant)
        } else {
            Condition::since(instant)
        });
    }
    let clause = match operator {
        "IN" | "STR_CONTAINS" | "STR_STARTS_WITH" | "STR_ENDS_WITH" => {
            let values = values(constraint);
            if values.is_empty() {
                // Nothing is one of no values.
                return Ok(Condition::constant(inverted));
            }
            let ignore_case = operator != "IN" && is("caseInsensitive");
            ClauseDraft { ignore_case, ..with_values(&attribute, listed(operator), values) }
        }
        "NUM_EQ" | "NUM_GT" | "NUM_GTE" | "NUM_LT" | "NUM_LTE" => {
            let number = value.parse::<i64>().map(Value::from).ok();
            let number =
                number.or_else(|| value.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number));
            let Some(number) = number else { return refused("its `value` is not a number") };
            with_value(&attribute, numeric(operator), number)
        }
        "DATE_AFTER" | "DATE_BEFORE" => {
            let name = if operator == "DATE_AFTER" { "after" } else { "before" };
            with_value(&attribute, name, value.into())
        }
        "SEMVER_EQ" | "SEMVER_GT" | "SEMVER_GTE" | "SEMVER_LT" | "SEMVER_LTE" => {
            with_value(&attribute, semantic(operator), value.into())
        }
        _ => return refused("rules here have no such operator"),
    };
    Ok(if inverted { Condition::not_even_there(clause) } else { Condition::clause(clause) })
}

/// All constraints at once.
pub fn all(constraints: &[Value]) -> Result<Condition, Unsupported> {
    let mut all = Condition::always();
    for (number, constraint) in constraints.iter().enumerate() {
        let one = condition(constraint).map_err(|unsupported| unsupported.below(&format!("constraints[{number}]")))?;
        all = all.and(&one)?;
    }
    Ok(all)
}

/// The name of a context field as the path of an attribute.
#[must_use]
pub fn attribute(context: &str) -> String {
    match context {
        "userId" => TARGETING_KEY.to_owned(),
        other => other.strip_prefix("properties.").unwrap_or(other).to_owned(),
    }
}

/// Whether a text could come as a number in a context: there both are texts.
#[must_use]
pub fn has_numeric_texts(constraint: &Value) -> bool {
    let of_texts =
        constraint.get("operator").and_then(Value::as_str).is_some_and(|operator| !operator.starts_with("NUM_"));
    let is_user = constraint.get("contextName").and_then(Value::as_str) == Some("userId");
    of_texts && !is_user && values(constraint).iter().filter_map(Value::as_str).any(|text| text.parse::<f64>().is_ok())
}

fn values(constraint: &Value) -> Vec<Value> {
    let values = constraint.get("values").and_then(Value::as_array);
    values.into_iter().flatten().filter(|value| value.is_string()).cloned().collect()
}

fn listed(operator: &str) -> &'static str {
    match operator {
        "STR_CONTAINS" => "contains",
        "STR_STARTS_WITH" => "starts_with",
        "STR_ENDS_WITH" => "ends_with",
        _ => "in",
    }
}

fn numeric(operator: &str) -> &'static str {
    match operator {
        "NUM_GT" => "more_than",
        "NUM_GTE" => "at_least",
        "NUM_LT" => "less_than",
        "NUM_LTE" => "at_most",
        _ => "equals",
    }
}

fn semantic(operator: &str) -> &'static str {
    match operator {
        "SEMVER_GT" => "semver_more_than",
        "SEMVER_GTE" => "semver_at_least",
        "SEMVER_LT" => "semver_less_than",
        "SEMVER_LTE" => "semver_at_most",
        _ => "semver_equals",
    }
}
