//! One condition on one attribute. Three outcomes, because "not equal" and "can't be told" are different answers: a
//! condition that can't be told matches nobody, negated or not.
//!
//! | file | owns |
//! |---|---|
//! | `path` | where in a context a value is |
//! | `operator` | the operators, and how many comparands each takes |
//! | `parse` | from a clause as it is written to one that is compiled, and back |
//! | `test` | compiled comparands, and what they say of a value |
//! | `number` | numbers that compare exactly |

mod number;
mod operator;
mod parse;
mod path;
mod test;

use serde_json::Value;

use super::context::Context;
use test::{Found, Test};

pub use operator::Operator;
pub use path::{AttributePath, InvalidPath};

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
    /// A change's flag is asked for groups, which have no attributes.
    Group,
}

/// One validated condition, compiled.
#[derive(Debug, Clone)]
pub struct Clause {
    attribute: AttributePath,
    operator: Operator,
    /// The comparands as they were written; none for `exists`.
    values: Box<[Value]>,
    /// They were written as `values`.
    is_list: bool,
    negate: bool,
    ignore_case: bool,
    /// Follows from all of the above.
    test: Test,
}

impl PartialEq for Clause {
    fn eq(&self, other: &Self) -> bool {
        let written = |clause: &Self| (clause.operator, clause.is_list, clause.negate, clause.ignore_case);
        self.attribute == other.attribute && self.values == other.values && written(self) == written(other)
    }
}

impl Clause {
    #[must_use]
    pub fn attribute(&self) -> &AttributePath {
        &self.attribute
    }

    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What the attribute's value is compared with, as it was written; nothing for `exists`.
    #[must_use]
    pub fn comparands(&self) -> &[Value] {
        &self.values
    }

    #[must_use]
    pub fn is_negated(&self) -> bool {
        self.negate
    }

    #[must_use]
    pub fn ignores_case(&self) -> bool {
        self.ignore_case
    }

    /// Whether the clause holds for a context. The targeting key is an attribute like others here: if it is missing, the
    /// outcome is indeterminate.
    #[must_use]
    pub fn matches(&self, context: &Context) -> Match {
        let found = if self.attribute.is_targeting_key() {
            context.targeting_key().map(Found::Text)
        } else {
            context.find(&self.attribute).map(Found::of)
        };
        let outcome = match (found, &self.test) {
            (Some(found), test) => test.holds(found).ok_or(Indeterminate::WrongType),
            (None, Test::Exists) => Ok(false),
            (None, _) => Err(Indeterminate::Missing),
        };
        match outcome {
            Ok(holds) if holds != self.negate => Match::Yes,
            Ok(_) => Match::No,
            Err(why) => Match::Indeterminate(why),
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::draft::ClauseDraft;
    use crate::flags::mistake::Mistakes;
    use serde_json::json;

    fn clause(mut json: Value) -> Clause {
        json["attribute"] = json!("plan");
        let draft: ClauseDraft = serde_json::from_value(json.clone()).unwrap();
        let mut mistakes = Mistakes::default();
        let clause = Clause::parse("clause", draft.clone(), &mut mistakes);
        let clause = mistakes.into_result(clause).unwrap_or_else(|invalid| panic!("{json}: {invalid}"));
        assert_eq!(ClauseDraft::from(clause.clone()), draft, "it is written as it was");
        clause
    }

    /// What an operator says of a value, and its negation of it.
    fn told(json: &Value, value: Value) -> (Match, Match) {
        let context = Context::from_json(json!({"plan": value})).unwrap();
        let mut negated = json.clone();
        negated["negate"] = json!(true);
        (clause(json.clone()).matches(&context), clause(negated).matches(&context))
    }

    const YES: (Match, Match) = (Match::Yes, Match::No);
    const NO: (Match, Match) = (Match::No, Match::Yes);

    fn untold(why: Indeterminate) -> (Match, Match) {
        (Match::Indeterminate(why), Match::Indeterminate(why))
    }

    #[test]
    fn what_cannot_be_told_is_indeterminate_negated_or_not() {
        let mut asked = vec![json!({"operator": "in", "values": ["pro", "team"]})];
        for operator in Operator::ALL {
            let value = match operator {
                Operator::Exists | Operator::In => continue,
                Operator::LessThan | Operator::AtMost | Operator::MoreThan | Operator::AtLeast => json!(1),
                Operator::Before | Operator::After => json!("2026-12-01T00:00:00Z"),
                Operator::InCidr => json!("10.0.0.0/8"),
                _ => json!("1.2.3"),
            };
            asked.push(json!({"operator": operator.as_str(), "value": value}));
        }
        for json in asked {
            assert_eq!(clause(json.clone()).matches(&Context::default()), Match::Indeterminate(Indeterminate::Missing));
            assert_eq!(told(&json, Value::Null), untold(Indeterminate::Missing), "{json}");
            for value in [json!(true), json!({"pro": 1}), json!(1e300), json!([{}])] {
                assert_eq!(told(&json, value.clone()), untold(Indeterminate::WrongType), "{json} {value}");
            }
            let is_of_numbers = json["value"].is_number();
            let other = if is_of_numbers { json!("1") } else { json!(1) };
            assert_eq!(told(&json, other), untold(Indeterminate::WrongType), "{json}");
        }
    }

    #[test]
    fn only_existence_is_told_of_what_is_missing() {
        let exists = json!({"operator": "exists"});
        assert_eq!(told(&exists, Value::Null), NO);
        assert_eq!(clause(exists.clone()).matches(&Context::default()), Match::No);
        for value in [json!(""), json!(0), json!(false), json!([]), json!({})] {
            assert_eq!(told(&exists, value), YES);
        }
    }

    #[test]
    fn case_is_ignored_on_request() {
        let told = |operator: &str, comparand: &str, value: &str| {
            told(&json!({"operator": operator, "value": comparand, "ignore_case": true}), json!(value))
        };
        assert_eq!(told("equals", "größe", "GRÖßE"), YES);
        assert_eq!(told("equals", "GRÖßE", "größe"), YES);
        assert_eq!(told("equals", "ΟΔΟΣ", "οδος"), YES);
        assert_eq!(told("contains", "ΟΔΟΣ", "οδοσανθος"), YES, "a sigma is a sigma wherever it stands");
        assert_eq!(told("ends_with", "ΔΟΣ", "ΟΔΟΣ"), YES);
        assert_eq!(told("starts_with", "Pro", "PROFI"), YES);
        assert_eq!(told("matches", "^pro", "PROFI"), YES);
        let exactly = json!({"operator": "equals", "value": "Pro"});
        assert_eq!((super::tests::told(&exactly, json!("pro")), super::tests::told(&exactly, json!("Pro"))), (NO, YES));
    }

    #[test]
    fn texts_are_searched() {
        for (operator, values, value, outcome) in [
            ("contains", json!(["b", "c"]), "abz", YES),
            ("contains", json!(["b", "c"]), "az", NO),
            ("starts_with", json!(["ab", "c"]), "abz", YES),
            ("starts_with", json!(["b", "z"]), "abz", NO),
            ("ends_with", json!(["b", "z"]), "abz", YES),
            ("ends_with", json!(["ab"]), "abz", NO),
            ("matches", json!(["^b", "z$"]), "abz", YES),
            ("matches", json!(["b"]), "abz", YES),
            ("matches", json!(["^b$"]), "abz", NO),
            ("in", json!(["a", "b", "c", "d", "e", "f", "g", "h"]), "h", YES),
            ("in", json!(["a", "b", "c", "d", "e", "f", "g", "h"]), "i", NO),
        ] {
            assert_eq!(
                told(&json!({"operator": operator, "values": values}), json!(value)),
                outcome,
                "{operator} {value}"
            );
        }
    }

    #[test]
    fn a_list_contains_its_elements_and_nothing_else_is_said_of_it() {
        let contains = json!({"operator": "contains", "values": ["pro", "team"]});
        assert_eq!(told(&contains, json!(["free", "pro"])), YES);
        assert_eq!(told(&contains, json!(["free", "profi"])), NO);
        assert_eq!(told(&contains, json!([])), NO);
        assert_eq!(told(&contains, json!(["free", 1])), untold(Indeterminate::WrongType), "1 may stand for anything");
        assert_eq!(told(&contains, json!([1, "pro"])), YES, "whatever stands beside it");
        assert_eq!(told(&json!({"operator": "contains", "value": 7}), json!([7.0])), YES);
        assert_eq!(told(&json!({"operator": "contains", "value": 7}), json!("7")), untold(Indeterminate::WrongType));
        assert_eq!(
            told(&json!({"operator": "equals", "value": "pro"}), json!(["pro"])),
            untold(Indeterminate::WrongType)
        );
    }

    #[test]
    fn numbers_have_an_order() {
        for (operator, comparand, value, outcome) in [
            ("less_than", json!(1), json!(0.999), YES),
            ("less_than", json!(1), json!(1), NO),
            ("at_most", json!(1), json!(1.0), YES),
            ("at_most", json!(1), json!(1.5), NO),
            ("more_than", json!(-0.5), json!(0), YES),
            ("more_than", json!(9_007_199_254_740_992_i64), json!(9_007_199_254_740_993_i64), YES),
            ("at_least", json!(u64::MAX), json!(u64::MAX), YES),
            ("at_least", json!(u64::MAX), json!(u64::MAX - 1), NO),
        ] {
            assert_eq!(
                told(&json!({"operator": operator, "value": comparand}), value.clone()),
                outcome,
                "{operator} {value}"
            );
        }
    }

    #[test]
    fn instants_are_rfc_3339() {
        let told = |operator: &str, value: &str| {
            told(&json!({"operator": operator, "value": "2026-12-01T00:00:00Z"}), json!(value))
        };
        for (value, before, after) in [
            ("2026-11-30T23:59:59.999999999Z", YES, NO),
            ("2026-12-01T00:00:00Z", NO, NO),
            ("2026-12-01t01:00:00.000+01:00", NO, NO),
            ("2026-12-01 00:59:59+01:00", YES, NO),
            ("2026-11-30T23:59:60Z", YES, NO),
            ("2026-11-30T23:30:00-00:31", NO, YES),
        ] {
            assert_eq!((told("before", value), told("after", value)), (before, after), "{value}");
        }
        for value in [
            "2026-12-01",
            "2026-12-01T00:00Z",
            "2026-12-01T00:00:00",
            "2026-12-01T00:00:00+01",
            "2026-02-30T00:00:00Z",
            "2026-12-01T24:00:00Z",
            "2026-12-01T00:00:00.Z",
            "2026-12-01T00:00:00.0000000001Z",
            "20261201T000000Z",
            "2026-12-01T00:00:00Z[Europe/Berlin]",
            "1795000000",
            "",
            "２０２６-12-01T00:00:00Z",
        ] {
            assert_eq!(told("before", value), untold(Indeterminate::WrongType), "{value}");
        }
    }

    #[test]
    fn versions_have_the_order_of_semver() {
        let told = |operator: &str, value: &str| told(&json!({"operator": operator, "value": "1.10.0"}), json!(value));
        for (value, less, equal) in [
            ("1.9.9", YES, NO),
            ("1.10.0-beta.2", YES, NO),
            ("1.10.0", NO, YES),
            ("v1.10.0", NO, YES),
            ("1.10.0+build.7", NO, YES),
            ("1.10.1-alpha", NO, NO),
            ("2.0.0", NO, NO),
        ] {
            let negated = |(yes, no)| (no, yes);
            assert_eq!((told("semver_less_than", value), told("semver_equals", value)), (less, equal), "{value}");
            assert_eq!(told("semver_at_least", value), negated(less), "{value}");
            let at_most = if equal == YES { YES } else { less };
            assert_eq!(
                (told("semver_at_most", value), told("semver_more_than", value)),
                (at_most, negated(at_most)),
                "{value}"
            );
        }
        for value in ["1.10", "1", "", "vv1.0.0", "V1.0.0", "1.10.0.0", "1.010.0", "1.10.0-", "latest", " 1.10.0"] {
            assert_eq!(told("semver_equals", value), untold(Indeterminate::WrongType), "{value}");
        }
    }

    #[test]
    fn addresses_lie_in_networks_of_their_own_kind() {
        let networks = json!(["10.0.0.0/8", "192.168.7.9", "2001:db8::/32", "::ffff:172.16.0.0/108"]);
        let told = |value: &str| told(&json!({"operator": "in_cidr", "values": networks}), json!(value));
        for inside in ["10.255.0.1", "::ffff:10.1.2.3", "192.168.7.9", "2001:db8:1::1", "2001:DB8::", "172.31.255.255"]
        {
            assert_eq!(told(inside), YES, "{inside}");
        }
        for outside in ["11.0.0.0", "192.168.7.8", "2001:db9::", "::10.1.2.3", "::1", "172.32.0.0", "::ffff:11.0.0.1"] {
            assert_eq!(told(outside), NO, "{outside}");
        }
        for odd in ["", "10.0.0", "010.0.0.1", "10.0.0.1/8", "10.0.0.1:80", "fe80::1%eth0", " 10.0.0.1", "host"] {
            assert_eq!(told(odd), untold(Indeterminate::WrongType), "{odd}");
        }
    }
}
