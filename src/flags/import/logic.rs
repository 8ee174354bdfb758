//! flagd's JSONLogic: which expressions are conditions that clauses can say, and as which.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::condition::{Condition, clause, missing, with_value, with_values};
use super::note::{Unsupported, shortened};
use crate::flags::draft::ClauseDraft;
use crate::primitives::Instant;

/// How deep expressions may be nested, references included: a reference to itself ends here.
const DEPTH_MAX: usize = 24;

/// Ways in which a clause here differs from the operator that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quirk {
    LooseEquality,
    Ordering,
    NegatedType,
    ListMember,
}

impl Quirk {
    pub(super) fn text(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::LooseEquality => (
                "`==` or `!=`",
                "there the number 1 equals the text \"1\"; here a value of another type never matches",
                "send the attribute in the type that the flag compares it with",
            ),
            Self::Ordering => (
                "`<`, `<=`, `>` or `>=`",
                "there a missing attribute counts as 0 and a text is read as a number; here neither matches",
                "send the attribute as a number",
            ),
            Self::NegatedType => (
                "a negated condition",
                "there it holds for an attribute of another type or an unreadable version as well; here it does not match",
                "send the attribute in the type that the flag compares it with",
            ),
            Self::ListMember => (
                "`in` with an attribute as its second part",
                "there the attribute may be a list of which the value is a member; here it must be a text that contains the value",
                "send a text, or use a cohort",
            ),
        }
    }
}

/// What expressions of one flag are read with.
pub(super) struct Logic<'a> {
    pub(super) flag: &'a str,
    pub(super) evaluators: &'a Map<String, Value>,
    pub(super) quirks: BTreeSet<Quirk>,
}

impl Logic<'_> {
    /// The expression behind references.
    pub(super) fn resolved<'v>(&'v self, mut value: &'v Value) -> Result<&'v Value, Unsupported> {
        for _ in 0..DEPTH_MAX {
            let Some(("$ref", name)) = operation(value) else { return Ok(value) };
            let found = name.as_str().and_then(|name| self.evaluators.get(name));
            value = found.ok_or_else(|| unsupported(value, "`$evaluators` has no expression of this name"))?;
        }
        Err(unsupported(value, "its references lead back to themselves"))
    }

    /// The condition that an expression is, or its opposite.
    pub(super) fn condition(&mut self, value: &Value, holds: bool, depth: usize) -> Result<Condition, Unsupported> {
        if depth > DEPTH_MAX {
            return Err(unsupported(value, "it is nested too deeply"));
        }
        let value = self.resolved(value)?.clone();
        let Some((operator, argument)) = operation(&value) else {
            return constant(&value).map(|truth| Condition::constant(truth == holds));
        };
        let arguments = arguments(argument);
        let depth = depth + 1;
        match (operator, arguments.as_slice()) {
            ("and", parts) => self.joined(parts, holds, holds, depth),
            ("or", parts) => self.joined(parts, !holds, holds, depth),
            ("!", [part]) => self.condition(part, !holds, depth),
            ("!!", [part]) => self.condition(part, holds, depth),
            ("if", [test, then, otherwise]) => {
                let yes = self.condition(test, true, depth)?.and(&self.condition(then, holds, depth)?)?;
                let no = self.condition(test, false, depth)?.and(&self.condition(otherwise, holds, depth)?)?;
                yes.or(no)
            }
            ("var", _) => truth(&value, holds),
            ("==" | "===", [one, other]) => self.equality(&value, (one, other), operator.len() == 2, holds),
            ("!=" | "!==", [one, other]) => self.equality(&value, (one, other), operator.len() == 2, !holds),
            ("in", [one, other]) => self.membership(&value, (one, other), holds),
            ("starts_with" | "ends_with", [subject, Value::String(text)]) => {
                let clause = with_value(&variable(subject)?, operator, text.clone().into());
                Ok(self.literal(clause, holds))
            }
            ("sem_ver", [subject, Value::String(relation), Value::String(version)]) => {
                self.version(&value, &variable(subject)?, (relation, version), holds)
            }
            ("<" | "<=" | ">" | ">=", [one, other]) => self.ordering(&value, operator, (one, other), holds),
            ("<" | "<=", [low, middle, high]) => {
                let pairs =
                    [Value::from(vec![low.clone(), middle.clone()]), Value::from(vec![middle.clone(), high.clone()])];
                let parts = pairs.map(|pair| Value::Object(Map::from_iter([(operator.to_owned(), pair)])));
                self.joined(&parts, holds, holds, depth)
            }
            _ => Err(unsupported(&value, "rules here have no such operator, or not with these parts")),
        }
    }

    /// Several parts, all of which must hold (`all`), or any.
    fn joined(&mut self, parts: &[Value], all: bool, holds: bool, depth: usize) -> Result<Condition, Unsupported> {
        let mut joined = Condition::constant(all);
        for part in parts {
            let part = self.condition(part, holds, depth)?;
            joined = if all { joined.and(&part)? } else { joined.or(part)? };
        }
        Ok(joined)
    }

    /// One clause, or its opposite: there, what is missing is not equal.
    fn literal(&mut self, clause: ClauseDraft, holds: bool) -> Condition {
        if holds {
            return Condition::clause(clause);
        }
        self.quirks.insert(Quirk::NegatedType);
        Condition::not_even_there(clause)
    }

    fn equality(
        &mut self,
        whole: &Value,
        parts: (&Value, &Value),
        loose: bool,
        holds: bool,
    ) -> Result<Condition, Unsupported> {
        let (subject, value) = match parts {
            (one, other) if is_variable(one) => (one, other),
            (one, other) if is_variable(other) => (other, one),
            (one, other) => {
                return plain(one, other)
                    .map(|same| Condition::constant(same == holds))
                    .ok_or_else(|| unsupported(whole, "neither part is an attribute"));
            }
        };
        let attribute = variable(subject)?;
        if attribute == "$flagd.flagKey" {
            return Ok(Condition::constant((value.as_str() == Some(self.flag)) == holds));
        }
        match value {
            Value::Null => Ok(Condition::clause(ClauseDraft { negate: holds, ..clause(&attribute, "exists") })),
            Value::String(_) | Value::Bool(_) | Value::Number(_) if attribute != "$flagd.timestamp" => {
                if loose {
                    self.quirks.insert(Quirk::LooseEquality);
                }
                Ok(self.literal(with_value(&attribute, "equals", value.clone()), holds))
            }
            _ => Err(unsupported(whole, "an attribute is compared with a text, a number or a boolean only")),
        }
    }

    fn membership(&mut self, whole: &Value, parts: (&Value, &Value), holds: bool) -> Result<Condition, Unsupported> {
        match parts {
            (subject, Value::Array(values)) if is_variable(subject) => {
                let attribute = variable(subject)?;
                let mut found = Condition::constant(!holds);
                // One clause for the values of each type.
                for of_type in [Value::is_string, Value::is_number, Value::is_boolean] {
                    let values: Vec<Value> = values.iter().filter(|value| of_type(value)).cloned().collect();
                    if !values.is_empty() {
                        let one = with_values(&attribute, "in", values);
                        let one = if holds { Condition::clause(one) } else { self.literal(one, false) };
                        found = if holds { found.or(one)? } else { found.and(&one)? };
                    }
                }
                let plain = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
                let types = [Value::is_string, Value::is_number, Value::is_boolean];
                let mixed = types.iter().filter(|of_type| values.iter().any(of_type)).count() > 1;
                if !values.iter().all(plain) || (mixed && !holds) {
                    return Err(unsupported(whole, "its list has values of several types"));
                }
                Ok(found)
            }
            (Value::String(text), subject) if is_variable(subject) => {
                self.quirks.insert(Quirk::ListMember);
                Ok(self.literal(with_value(&variable(subject)?, "contains", text.clone().into()), holds))
            }
            _ => Err(unsupported(whole, "its parts are not an attribute and a list, or a text and an attribute")),
        }
    }

    fn ordering(
        &mut self,
        whole: &Value,
        operator: &str,
        parts: (&Value, &Value),
        holds: bool,
    ) -> Result<Condition, Unsupported> {
        let (subject, value, operator) = match parts {
            (one, other) if is_variable(one) => (one, other, operator),
            (one, other) if is_variable(other) => (other, one, mirrored(operator)),
            _ => return Err(unsupported(whole, "neither part is an attribute")),
        };
        let attribute = variable(subject)?;
        let operator = if holds { operator } else { opposite(operator) };
        if attribute == "$flagd.timestamp" {
            return time(whole, operator, value);
        }
        if !value.is_number() {
            return Err(unsupported(whole, "an attribute is compared by size with a number only"));
        }
        self.quirks.insert(Quirk::Ordering);
        Ok(Condition::clause(with_value(&attribute, size(operator), value.clone())))
    }

    fn version(
        &mut self,
        whole: &Value,
        attribute: &str,
        relation: (&str, &str),
        holds: bool,
    ) -> Result<Condition, Unsupported> {
        let (relation, version) = relation;
        let one = |operator: &str, version: &str| with_value(attribute, operator, version.into());
        let operator = match relation {
            "=" => "semver_equals",
            "!=" => {
                // An unreadable version is neither equal nor unequal there, as here.
                let negated = ClauseDraft { negate: true, ..one("semver_equals", version) };
                return Ok(if holds { Condition::clause(negated) } else { self.literal(negated, false) });
            }
            "<" => "semver_less_than",
            "<=" => "semver_at_most",
            ">" => "semver_more_than",
            ">=" => "semver_at_least",
            "~" | "^" => return self.version_range(whole, attribute, (relation == "^", version), holds),
            _ => return Err(unsupported(whole, "this relation of versions is not known here")),
        };
        Ok(self.literal(one(operator, version), holds))
    }

    /// The same major (and minor) version: from its first pre-release to before the first of the next one.
    fn version_range(
        &mut self,
        whole: &Value,
        attribute: &str,
        range: (bool, &str),
        holds: bool,
    ) -> Result<Condition, Unsupported> {
        let (major_only, version) = range;
        let mut numbers = version.trim_start_matches('v').split(['.', '-', '+']).map(|part| part.parse::<u64>().ok());
        let (Some(Some(major)), minor) = (numbers.next(), numbers.next().flatten().unwrap_or(0)) else {
            return Err(unsupported(whole, "the version cannot be read"));
        };
        let (from, to) = if major_only {
            (format!("{major}.0.0-0"), format!("{}.0.0-0", major.saturating_add(1)))
        } else {
            (format!("{major}.{minor}.0-0"), format!("{major}.{}.0-0", minor.saturating_add(1)))
        };
        let low = with_value(attribute, "semver_at_least", from.into());
        let high = with_value(attribute, "semver_less_than", to.into());
        if holds {
            return Condition::clause(low).and(&Condition::clause(high));
        }
        self.literal(low, false).or(self.literal(high, false))
    }
}

/// `{"operator": argument}`.
pub(super) fn operation(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.iter().next().map(|(operator, argument)| (operator.as_str(), argument))
}

/// The parts of an operation; one that is not a list is the only part.
pub(super) fn arguments(argument: &Value) -> Vec<Value> {
    match argument {
        Value::Array(parts) => parts.clone(),
        one => vec![one.clone()],
    }
}

pub(super) fn unsupported(value: &Value, why: &str) -> Unsupported {
    Unsupported::new("targeting", format!("`{}`", shortened(&value.to_string())), why)
}

fn is_variable(value: &Value) -> bool {
    matches!(operation(value), Some(("var", _)))
}

/// The path of the attribute that `{"var": …}` reads.
pub(super) fn variable(value: &Value) -> Result<String, Unsupported> {
    let path = match operation(value) {
        Some(("var", Value::String(path))) => Some(path),
        Some(("var", Value::Array(parts))) => match parts.as_slice() {
            [Value::String(path)] | [Value::String(path), Value::Null] => Some(path),
            _ => None,
        },
        _ => None,
    };
    path.filter(|path| !path.is_empty())
        .cloned()
        .ok_or_else(|| unsupported(value, "it is not one attribute without a default"))
}

fn constant(value: &Value) -> Result<bool, Unsupported> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) => Ok(!text.is_empty()),
        Value::Number(number) => Ok(number.as_f64() != Some(0.0)),
        Value::Array(_) | Value::Object(_) => Err(unsupported(value, "it is not a condition that is known here")),
    }
}

/// Whether two plain values of one type are the same.
fn plain(one: &Value, other: &Value) -> Option<bool> {
    let same_type = std::mem::discriminant(one) == std::mem::discriminant(other);
    (same_type && !one.is_object() && !one.is_array()).then(|| one == other)
}

/// An attribute as a condition: true, a number but 0, a text that is not empty.
fn truth(value: &Value, holds: bool) -> Result<Condition, Unsupported> {
    let attribute = variable(value)?;
    let equals = |value: Value, negate: bool| {
        Condition::clause(ClauseDraft { negate, ..with_value(&attribute, "equals", value) })
    };
    if holds {
        return equals(true.into(), false).or(equals(0.into(), true))?.or(equals("".into(), true));
    }
    let falsy = Condition::clause(missing(&attribute)).or(equals(false.into(), false))?;
    falsy.or(equals(0.into(), false))?.or(equals("".into(), false))
}

/// The same relation seen from the other part.
fn mirrored(operator: &str) -> &'static str {
    match operator {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        _ => "<=",
    }
}

fn opposite(operator: &str) -> &'static str {
    match operator {
        "<" => ">=",
        "<=" => ">",
        ">" => "<=",
        _ => "<",
    }
}

fn size(operator: &str) -> &'static str {
    match operator {
        "<" => "less_than",
        "<=" => "at_most",
        ">" => "more_than",
        _ => "at_least",
    }
}

/// A comparison with the time of the evaluation, in whole seconds since 1970.
fn time(whole: &Value, operator: &str, value: &Value) -> Result<Condition, Unsupported> {
    // The last instant of which RFC 3339 knows a text.
    const SECONDS_MAX: i64 = 253_402_300_799;
    let seconds = value.as_i64().filter(|seconds| (0..SECONDS_MAX).contains(seconds));
    let seconds =
        seconds.ok_or_else(|| unsupported(whole, "the time is compared with whole seconds since 1970 only"))?;
    let at = |seconds: i64| Instant::from_micros(seconds.saturating_mul(1_000_000));
    Ok(match operator {
        ">=" => Condition::since(at(seconds)),
        ">" => Condition::since(at(seconds + 1)),
        "<" => Condition::until(at(seconds)),
        _ => Condition::until(at(seconds + 1)),
    })
}
