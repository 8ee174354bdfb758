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
