//! From a clause as it is written to one that is compiled: every mistake is told with its place. And back, as it was written.

use regex::RegexBuilder;
use serde_json::Value;

use super::number::Numeric;
use super::operator::{Comparison, Operator, Takes};
use super::test::{Comparands, Test, Texts, instant, network, version};
use super::{AttributePath, Clause};
use crate::flags::context::canonical_id;
use crate::flags::draft::ClauseDraft;
use crate::flags::mistake::Mistakes;
use crate::flags::value::describe;

/// What a compiled pattern may take in memory, and so how long it looks at each character.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl Clause {
    /// Validates a clause; nothing beside a mistake.
    pub(in crate::flags) fn parse(at: &str, draft: ClauseDraft, mistakes: &mut Mistakes) -> Option<Self> {
        let attribute: AttributePath = mistakes.take(&format!("{at}.attribute"), draft.attribute.parse())?;
        let Some(operator) = Operator::find(&draft.operator) else {
            let given: String = draft.operator.chars().take(60).collect();
            let known: Vec<&str> = Operator::ALL.into_iter().map(Operator::as_str).collect();
            let what = format!("`{given}` is not an operator: write one of {}", known.join(", "));
            mistakes.add(format!("{at}.operator"), what);
            return None;
        };
        if draft.ignore_case && !operator.reads_texts() {
            mistakes
                .add(format!("{at}.ignore_case"), format!("`ignore_case` goes with texts only, not with `{operator}`"));
            return None;
        }
        let is_list = draft.values.is_some();
        let values = comparands(at, operator, draft.value, draft.values, mistakes)?;
        let values: Vec<Value> = values.into_iter().map(|value| as_id(&attribute, value)).collect();
        let reading = Reading { operator, is_id: attribute.is_targeting_key(), ignore_case: draft.ignore_case };
        for (number, value) in values.iter().enumerate() {
            let at = if is_list { format!("{at}.values[{number}]") } else { format!("{at}.value") };
            mistakes.take(&at, reading.check(value, values.first()))?;
        }
        let test = mistakes.take(at, reading.compile(&values))?;
        let values = values.into_boxed_slice();
        Some(Self { attribute, operator, values, is_list, negate: draft.negate, ignore_case: draft.ignore_case, test })
    }
}

impl From<Clause> for ClauseDraft {
    fn from(clause: Clause) -> Self {
        let mut values = clause.values.into_vec();
        let (value, values) = if clause.is_list { (None, Some(values)) } else { (values.pop(), None) };
        Self {
            attribute: clause.attribute.to_string(),
            operator: clause.operator.as_str().to_owned(),
            value,
            values,
            negate: clause.negate,
            ignore_case: clause.ignore_case,
        }
    }
}

/// The comparands from the field that the operator takes them from.
fn comparands(
    at: &str,
    operator: Operator,
    value: Option<Value>,
    values: Option<Vec<Value>>,
    mistakes: &mut Mistakes,
) -> Option<Vec<Value>> {
    let what = match (operator.takes(), value, values) {
        (Takes::Nothing, None, None) => return Some(Vec::new()),
        (Takes::One | Takes::Either, Some(value), None) => return Some(vec![value]),
        (Takes::Many | Takes::Either, None, Some(values)) if !values.is_empty() => return Some(values),
        (Takes::Many | Takes::Either, None, Some(_)) => {
            mistakes.add(format!("{at}.values"), "an empty list matches nobody: write at least one value");
            return None;
        }
        (Takes::Nothing, ..) => format!("`{operator}` takes neither `value` nor `values`"),
        (Takes::One, ..) => format!("`{operator}` takes `value`, and not `values`"),
        (Takes::Many, ..) => format!("`{operator}` takes `values`, and not `value`"),
        (Takes::Either, ..) => format!("`{operator}` takes either `value` or `values`"),
    };
    mistakes.add(at, what);
    None
}

/// The targeting key is an id, of which a number is its decimal text.
fn as_id(attribute: &AttributePath, value: Value) -> Value {
    match canonical_id(&value) {
        Some(id) if attribute.is_targeting_key() => Value::String(id.into_owned()),
        _ => value,
    }
}

/// How a clause's comparands are read.
struct Reading {
    operator: Operator,
    /// The values are ids, so texts.
    is_id: bool,
    ignore_case: bool,
}

impl Reading {
    /// Whether one comparand is of a type that the operator compares with, and of the first one's.
    fn check(&self, value: &Value, first: Option<&Value>) -> Result<(), String> {
        let found = describe(value);
        let is_text_only = self.is_id || self.ignore_case;
        let needs = match self.operator {
            Operator::Equals | Operator::In | Operator::Contains => {
                let is_good = match value {
                    Value::String(text) if self.operator == Operator::Contains && text.is_empty() => {
                        return Err(String::from(
                            "is empty, and every text contains that: write at least one character",
                        ));
                    }
                    Value::String(_) => true,
                    _ if self.ignore_case => return Err(format!("is {found}: `ignore_case` goes with texts only")),
                    Value::Number(number) => !is_text_only && Numeric::exact(number).is_some(),
                    Value::Bool(_) => !is_text_only,
                    Value::Null | Value::Array(_) | Value::Object(_) => false,
                };
                if is_good && first.is_some_and(|first| std::mem::discriminant(first) != std::mem::discriminant(value))
                {
                    return Err(String::from(
                        "is of another type than the first value: write texts only, or numbers only",
                    ));
                }
                if is_good {
                    return Ok(());
                }
                "which nothing can be compared with: write a text, an exact number, true or false"
            }
            Operator::StartsWith | Operator::EndsWith => match value {
                Value::String(text) if text.is_empty() => {
                    return Err(String::from(
                        "is empty, and every text begins and ends with that: write at least one character",
                    ));
                }
                Value::String(_) => return Ok(()),
                _ => "but only texts begin and end with something: write a text",
            },
            Operator::Matches => match value {
                Value::String(pattern) => return self.pattern(pattern).map(drop),
                _ => "but a pattern is a text: write a regular expression such as \"^v[0-9]+$\"",
            },
            Operator::LessThan | Operator::AtMost | Operator::MoreThan | Operator::AtLeast => match value {
                Value::Number(number) if Numeric::exact(number).is_some() && !self.is_id => return Ok(()),
                _ if self.is_id => {
                    return Err(String::from("the targeting key is a text, which has no order: ask another attribute"));
                }
                _ => "which no number can be compared with: write an exact number",
            },
            Operator::Before | Operator::After => match value {
                Value::String(text) if instant(text).is_some() => return Ok(()),
                _ => "and not an instant: write RFC 3339 such as \"2026-12-01T00:00:00Z\"",
            },
            Operator::SemverEquals
            | Operator::SemverLessThan
            | Operator::SemverAtMost
            | Operator::SemverMoreThan
            | Operator::SemverAtLeast => match value {
                Value::String(text) if version(text).is_some() => return Ok(()),
                _ => "and not a version: write three numbers, as in \"2.10.0\" or \"2.10.0-beta.1\"",
            },
            Operator::InCidr => match value {
                Value::String(text) if network(text).is_some() => return Ok(()),
                _ => "and not a network: write one such as \"10.0.0.0/8\" or \"2001:db8::/32\", or one address",
            },
            Operator::Exists => return Ok(()),
        };
        Err(format!("is {found}, {needs}"))
    }

    /// Called with comparands that have passed [`Self::check`].
    fn compile(&self, values: &[Value]) -> Result<Test, String> {
        let texts = || values.iter().filter_map(Value::as_str);
        let first = || texts().next().unwrap_or_default();
        let lost = || String::from("a comparand was lost");
        Ok(match self.operator {
            Operator::Equals | Operator::In => Test::Equals(self.comparands(values)),
            Operator::Contains => Test::Contains(self.comparands(values)),
            Operator::StartsWith => Test::StartsWith(Texts::new(texts().map(str::to_owned), self.ignore_case)),
            Operator::EndsWith => Test::EndsWith(Texts::new(texts().map(str::to_owned), self.ignore_case)),
            Operator::Matches => Test::Matches(texts().map(|text| self.pattern(text)).collect::<Result<_, _>>()?),
            Operator::InCidr => Test::InCidr(texts().filter_map(network).collect()),
            Operator::LessThan | Operator::AtMost | Operator::MoreThan | Operator::AtLeast => {
                let number = values.first().and_then(Value::as_number).and_then(Numeric::exact);
                Test::Number(self.comparison(), number.ok_or_else(lost)?)
            }
            Operator::Before | Operator::After => Test::Instant(self.comparison(), instant(first()).ok_or_else(lost)?),
            Operator::SemverEquals
            | Operator::SemverLessThan
            | Operator::SemverAtMost
            | Operator::SemverMoreThan
            | Operator::SemverAtLeast => Test::Semver(self.comparison(), Box::new(version(first()).ok_or_else(lost)?)),
            Operator::Exists => Test::Exists,
        })
    }

    fn comparison(&self) -> Comparison {
        match self.operator {
            Operator::LessThan | Operator::Before | Operator::SemverLessThan => Comparison::Less,
            Operator::AtMost | Operator::SemverAtMost => Comparison::AtMost,
            Operator::MoreThan | Operator::After | Operator::SemverMoreThan => Comparison::More,
            Operator::AtLeast | Operator::SemverAtLeast => Comparison::AtLeast,
            Operator::Equals
            | Operator::In
            | Operator::Contains
            | Operator::StartsWith
            | Operator::EndsWith
            | Operator::Matches
            | Operator::SemverEquals
            | Operator::InCidr
            | Operator::Exists => Comparison::Equal,
        }
    }

    /// All comparands are of the first one's type.
    fn comparands(&self, values: &[Value]) -> Comparands {
        match values.first() {
            Some(Value::Number(_)) => {
                Comparands::Numbers(values.iter().filter_map(Value::as_number).filter_map(Numeric::exact).collect())
            }
            Some(Value::Bool(_)) => Comparands::Booleans(values.iter().filter_map(Value::as_bool).collect()),
            _ => {
                let texts = values.iter().filter_map(Value::as_str).map(str::to_owned);
                Comparands::Texts(Texts::new(texts, self.ignore_case))
            }
        }
    }

    /// Searches in time that grows with the text alone; a pattern that would take more memory than is allowed is refused.
    fn pattern(&self, pattern: &str) -> Result<regex::Regex, String> {
        RegexBuilder::new(pattern)
            .case_insensitive(self.ignore_case)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(limit) => {
                    format!("takes more than {limit} bytes when it is compiled: write a shorter pattern, or smaller numbers of repetitions")
                }
                other => {
                    // The last line says what is wrong; those before it draw the pattern.
                    let text = other.to_string();
                    let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                    format!("is not a regular expression: {last}")
                }
            })
    }
}
