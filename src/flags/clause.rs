//! One condition on one attribute. Three outcomes, because "not equal" and "can't be told" are different answers: a
//! condition that can't be told matches nobody, negated or not.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_json::{Number, Value};

use super::context::{Context, TARGETING_KEY};

/// What a clause says of a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    Yes,
    No,
    /// It can't be told: a rule with such a clause does not match, negated or not.
    Indeterminate(Indeterminate),
}

/// Why a clause can't be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indeterminate {
    /// The context has no such attribute, or `null`.
    Missing,
    /// The attribute's value is of another type than the clause's, or a number too large to be exact.
    WrongType,
}

/// Where in a context a value is: `targetingKey`, or names joined by dots.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttributePath(String);

/// The text is not the path of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the path of an attribute: write names joined by dots, such as account.plan")]
pub struct InvalidPath(String);

impl AttributePath {
    #[must_use]
    pub fn targeting_key() -> Self {
        Self(TARGETING_KEY.to_owned())
    }

    #[must_use]
    pub fn is_targeting_key(&self) -> bool {
        self.0 == TARGETING_KEY
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AttributePath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let good = text.len() <= 256 && text.split('.').all(|name| !name.is_empty() && name.trim() == name);
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidPath(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One validated condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    pub(super) attribute: AttributePath,
    pub(super) test: Test,
    pub(super) negate: bool,
    pub(super) ignore_case: bool,
}

/// What is asked of the attribute's value. Open to more operators: an operator that is not here is refused when a flag is
/// written, so that no old server ever passes over a condition that it does not know.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Equals(Comparand),
    /// Equal to one of these, which are at least one and all of one type.
    In(Vec<Comparand>),
}

/// What a clause compares with. A text compares with texts only, and so on: `"1"`, `1` and `true` are never equal.
#[derive(Debug, Clone, PartialEq)]
pub enum Comparand {
    /// In lower case already if the clause ignores case.
    Text(String),
    Number(Numeric),
    Boolean(bool),
}

/// A number that compares exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Numeric {
    Whole(i128),
    Fraction(f64),
}

impl Numeric {
    /// Nothing for a float so large that it stands for several numbers.
    pub(super) fn exact(number: &Number) -> Option<Self> {
        if let Some(whole) = number.as_i128() {
            return Some(Self::Whole(whole));
        }
        let float = number.as_f64()?;
        if float.fract() != 0.0 {
            return Some(Self::Fraction(float));
        }
        // Within the range in which a float holds whole numbers exactly, its text is that number.
        let exact = float.abs() < 9_007_199_254_740_992.0;
        exact.then(|| (float + 0.0).to_string().parse().ok().map(Self::Whole)).flatten()
    }
}

impl Clause {
    #[must_use]
    pub fn attribute(&self) -> &AttributePath {
        &self.attribute
    }

    #[must_use]
    pub fn test(&self) -> &Test {
        &self.test
    }

    /// Whether the clause holds for a context. The targeting key is an attribute like others here: if it is missing, the
    /// outcome is indeterminate.
    #[must_use]
    pub fn matches(&self, context: &Context) -> Match {
        let outcome = if self.attribute.is_targeting_key() {
            context.targeting_key().map(|key| self.matches_text(key))
        } else {
            context.find(&self.attribute).map(|value| self.matches_value(value))
        };
        match outcome.unwrap_or(Match::Indeterminate(Indeterminate::Missing)) {
            Match::Yes if self.negate => Match::No,
            Match::No if self.negate => Match::Yes,
            other => other,
        }
    }

    fn matches_value(&self, value: &Value) -> Match {
        match value {
            Value::String(text) => self.matches_text(text),
            Value::Number(number) => match Numeric::exact(number) {
                Some(number) => self.any(|comparand| match comparand {
                    Comparand::Number(other) => Some(*other == number),
                    Comparand::Text(_) | Comparand::Boolean(_) => None,
                }),
                None => Match::Indeterminate(Indeterminate::WrongType),
            },
            Value::Bool(flag) => self.any(|comparand| match comparand {
                Comparand::Boolean(other) => Some(other == flag),
                Comparand::Text(_) | Comparand::Number(_) => None,
            }),
            Value::Null | Value::Array(_) | Value::Object(_) => Match::Indeterminate(Indeterminate::WrongType),
        }
    }

    fn matches_text(&self, text: &str) -> Match {
        let text = if self.ignore_case { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) };
        self.any(|comparand| match comparand {
            Comparand::Text(other) => Some(*other == text),
            Comparand::Number(_) | Comparand::Boolean(_) => None,
        })
    }

    /// Yes if one comparand is equal; indeterminate if none of them can be compared (`None`) with the value.
    fn any(&self, is_equal: impl Fn(&Comparand) -> Option<bool>) -> Match {
        let comparands = match &self.test {
            Test::Equals(comparand) => std::slice::from_ref(comparand),
            Test::In(comparands) => comparands.as_slice(),
        };
        let mut outcome = Match::Indeterminate(Indeterminate::WrongType);
        for comparand in comparands {
            match is_equal(comparand) {
                Some(true) => return Match::Yes,
                Some(false) => outcome = Match::No,
                None => {}
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn clause(test: Test, negate: bool, ignore_case: bool) -> Clause {
        Clause { attribute: "plan".parse().unwrap(), test, negate, ignore_case }
    }

    fn plan(value: Value) -> Context {
        Context::from_json(json!({"plan": value})).unwrap()
    }

    fn text(text: &str) -> Comparand {
        Comparand::Text(text.to_owned())
    }

    #[test]
    fn what_cannot_be_told_is_indeterminate_negated_or_not() {
        for negate in [false, true] {
            let clause = clause(Test::In(vec![text("pro"), text("team")]), negate, false);
            assert_eq!(clause.matches(&Context::default()), Match::Indeterminate(Indeterminate::Missing));
            assert_eq!(clause.matches(&plan(Value::Null)), Match::Indeterminate(Indeterminate::Missing));
            for value in [json!(1), json!(true), json!(["pro"]), json!({"pro": 1}), json!(1e300)] {
                assert_eq!(clause.matches(&plan(value)), Match::Indeterminate(Indeterminate::WrongType));
            }
        }
    }

    #[test]
    fn negation_turns_only_yes_and_no_around() {
        let equals = clause(Test::Equals(text("pro")), false, false);
        let differs = clause(Test::Equals(text("pro")), true, false);
        assert_eq!(
            (equals.matches(&plan(json!("pro"))), differs.matches(&plan(json!("pro")))),
            (Match::Yes, Match::No)
        );
        assert_eq!(
            (equals.matches(&plan(json!("Pro"))), differs.matches(&plan(json!("Pro")))),
            (Match::No, Match::Yes)
        );
    }

    #[test]
    fn case_is_ignored_on_request() {
        let clause = clause(Test::Equals(text("größe")), false, true);
        assert_eq!(clause.matches(&plan(json!("GRÖßE"))), Match::Yes);
    }

    #[test]
    fn numbers_are_equal_by_value() {
        let of = |value: Value| match value {
            Value::Number(number) => Comparand::Number(Numeric::exact(&number).unwrap()),
            _ => unreachable!(),
        };
        for (comparand, value, outcome) in [
            (json!(1), json!(1.0), Match::Yes),
            (json!(0), json!(-0.0), Match::Yes),
            (json!(0.5), json!(0.5), Match::Yes),
            (json!(u64::MAX), json!(u64::MAX), Match::Yes),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992_i64), Match::No),
            (json!(1), json!(1e17), Match::Indeterminate(Indeterminate::WrongType)),
        ] {
            assert_eq!(clause(Test::Equals(of(comparand)), false, false).matches(&plan(value)), outcome);
        }
    }

    #[test]
    fn paths_have_no_empty_names() {
        for bad in ["", ".", "a.", ".a", "a..b", " a", "a. b"] {
            assert!(bad.parse::<AttributePath>().is_err(), "{bad}");
        }
        assert!("account.plan".parse::<AttributePath>().is_ok());
    }
}
