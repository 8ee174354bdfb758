//! The shape of an explanation, as the API answers it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{decided, shown};
use crate::flags::clause::{Clause, Match};
use crate::flags::evaluate::{Evaluation, Failure, RuleOutcome};
use crate::flags::snapshot::{Snapshot, SnapshotFlag};
use crate::primitives::Instant;

/// How many comparands of a clause are shown.
const COMPARANDS_SHOWN: usize = 10;

/// An evaluation and its trace. Serializes as the trace.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Explanation<'s> {
    #[serde(skip)]
    pub evaluation: Evaluation<'s>,
    pub trace: FlagTrace,
}

/// What a flag answered, and why. Either `variant`, `value` and `reason`, or `error_code` and `error`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct FlagTrace {
    pub flag: String,
    /// The flag's version.
    pub flag_version: i64,
    /// The configuration's version.
    pub config_version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub value: Option<Value>,
    /// As OFREP words it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What decided.
    pub sentence: String,
    /// Each one that was asked: up to the first that is not met.
    pub prerequisites: Vec<PrerequisiteTrace>,
    /// Each rule that was asked: up to the first that matches. None if the kill switch is thrown, a prerequisite is not met, or
    /// routing answered.
    pub rules: Vec<RuleTrace>,
}

/// What a prerequisite answered.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PrerequisiteTrace {
    pub flag: String,
    /// The variants of which one must be served.
    pub variants: Vec<String>,
    pub is_met: bool,
    pub sentence: String,
    /// Why the other flag answered so; not there if it can't be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub trace: Option<Box<FlagTrace>>,
}

/// What one rule said.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RuleTrace {
    /// The first rule is 0.
    pub rule: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub is_match: bool,
    pub sentence: String,
    /// Every clause, those after the one that decided too.
    pub clauses: Vec<ClauseTrace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cohort: Option<CohortTrace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub except_cohort: Option<CohortTrace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutTrace>,
    /// Since when its schedule has served the variant, or from when on it will serve one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub serves_from: Option<Instant>,
    #[serde(skip)]
    pub outcome: RuleOutcome,
}

/// What one clause said.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ClauseTrace {
    pub attribute: String,
    pub operator: &'static str,
    pub negate: bool,
    pub ignore_case: bool,
    /// What the value is compared with: the first ten.
    #[schema(value_type = Vec<Object>)]
    pub comparands: Vec<Value>,
    /// How many there are.
    pub comparands_total: usize,
    /// The value in the context, cut if it is long; not there if the context has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub found: Option<Value>,
    /// `yes`, `no` or `indeterminate`, after negation.
    pub outcome: &'static str,
    pub sentence: String,
}

/// Whether the subject is in a cohort.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CohortTrace {
    pub name: String,
    /// Not there if the cohort does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Not there if it can't be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_member: Option<bool>,
    pub sentence: String,
    /// Its groups of conditions, if it has any and the subject is not listed in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Vec<ClauseTrace>>,
}

/// How a rollout divides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RolloutTrace {
    pub algorithm: String,
    pub seed: String,
    pub attribute: String,
    /// The value that is bucketed; not there if the context has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// From 0 to 99,999.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<u32>,
    /// The range that the bucket is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<RangeTrace>,
}

/// Buckets `from` (included) to `to` (excluded) belong to `variant`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RangeTrace {
    pub variant: String,
    pub from: u32,
    pub to: u32,
}

impl FlagTrace {
    /// The answer, with nothing yet of what led to it. Also the whole trace of an answer that routing gave.
    #[must_use]
    pub fn of(snapshot: &Snapshot, flag: &SnapshotFlag, evaluation: &Evaluation<'_>) -> Self {
        let (served, failure) = match evaluation {
            Evaluation::Served(served) => (Some(served), None),
            Evaluation::Failed(failure) => (None, Some(failure)),
        };
        let sentence = match evaluation {
            Evaluation::Served(served) => decided(flag, served.why),
            Evaluation::Failed(failure) => failure.to_string(),
        };
        Self {
            flag: flag.flag().key().to_string(),
            flag_version: flag.version(),
            config_version: snapshot.version(),
            variant: served.map(|served| served.variant.name.to_string()),
            value: served.map(|served| served.variant.value.to_json()),
            reason: served.map(|served| served.why.reason().as_str()),
            error_code: failure.map(Failure::code),
            error: failure.map(ToString::to_string),
            sentence,
            prerequisites: Vec::new(),
            rules: Vec::new(),
        }
    }
}

impl ClauseTrace {
    pub(super) fn of(clause: &Clause, found: Option<Value>, outcome: Match) -> Self {
        let (attribute, comparands) = (clause.attribute(), clause.comparands());
        let named = match comparands {
            [] => String::new(),
            [one] => format!(" {}", shown::value(one)),
            many => format!(" any of {} values", many.len()),
        };
        let asked = format!("{}{}{named}", if clause.is_negated() { "not " } else { "" }, clause.operator());
        let value = found.as_ref().map_or_else(|| String::from("nothing"), ToString::to_string);
        let (word, sentence) = match outcome {
            Match::Yes => ("yes", format!("`{attribute}` is {value}: {asked}")),
            Match::No => ("no", format!("`{attribute}` is {value}, which is against {asked}")),
            Match::Indeterminate(why) => {
                ("indeterminate", format!("`{attribute}` {}: {asked} can't be told", shown::because(why)))
            }
        };
        Self {
            attribute: attribute.to_string(),
            operator: clause.operator().as_str(),
            negate: clause.is_negated(),
            ignore_case: clause.ignores_case(),
            comparands: comparands.iter().take(COMPARANDS_SHOWN).map(shown::value).collect(),
            comparands_total: comparands.len(),
            found,
            outcome: word,
            sentence,
        }
    }
}
