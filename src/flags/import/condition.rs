//! Conditions in disjunctive form: any of some groups, all of a group. Our clauses have three outcomes, those of other systems two; the
//! difference is an attribute that is missing, and it is written out: "not in Norway" becomes "has no country, or has one that
//! is not Norway".

use serde_json::Value;

use super::note::Unsupported;
use crate::flags::draft::ClauseDraft;
use crate::primitives::Instant;

/// More groups than these are not a condition that anybody could read.
const GROUPS_MAX: usize = 64;
const CLAUSES_MAX: usize = 64;

/// All clauses hold, and it is the time for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    pub clauses: Vec<ClauseDraft>,
    /// From this instant on.
    pub since: Option<Instant>,
    /// Before this instant.
    pub until: Option<Instant>,
}

/// Any of the groups holds. None: never; an empty group: always.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition(pub Vec<Group>);

impl Condition {
    #[must_use]
    pub fn always() -> Self {
        Self(vec![Group::default()])
    }

    #[must_use]
    pub fn never() -> Self {
        Self(Vec::new())
    }

    #[must_use]
    pub fn constant(holds: bool) -> Self {
        if holds { Self::always() } else { Self::never() }
    }

    #[must_use]
    pub fn clause(clause: ClauseDraft) -> Self {
        Self(vec![Group { clauses: vec![clause], ..Group::default() }])
    }

    #[must_use]
    pub fn since(instant: Instant) -> Self {
        Self(vec![Group { since: Some(instant), ..Group::default() }])
    }

    #[must_use]
    pub fn until(instant: Instant) -> Self {
        Self(vec![Group { until: Some(instant), ..Group::default() }])
    }

    /// The attribute is there and the clause does not hold; or it is missing.
    #[must_use]
    pub fn not_even_there(clause: ClauseDraft) -> Self {
        let missing = missing(&clause.attribute);
        let negated = ClauseDraft { negate: !clause.negate, ..clause };
        Self(vec![
            Group { clauses: vec![missing], ..Group::default() },
            Group { clauses: vec![negated], ..Group::default() },
        ])
    }

    #[must_use]
    pub fn is_never(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn is_always(&self) -> bool {
        self.0.iter().any(|group| *group == Group::default())
    }

    /// Either holds.
    pub fn or(mut self, other: Self) -> Result<Self, Unsupported> {
        for group in other.0 {
            if !self.0.contains(&group) {
                self.0.push(group);
            }
        }
        if self.is_always() {
            return Ok(Self::always());
        }
        self.limited()
    }

    /// Both hold.
    pub fn and(self, other: &Self) -> Result<Self, Unsupported> {
        if self.0.len().saturating_mul(other.0.len()) > GROUPS_MAX {
            return Err(too_large());
        }
        let mut groups: Vec<Group> = Vec::new();
        for one in &self.0 {
            for other in &other.0 {
                let Some(both) = one.and(other) else { continue };
                if !groups.contains(&both) {
                    groups.push(both);
                }
            }
        }
        Self(groups).limited()
    }

    fn limited(self) -> Result<Self, Unsupported> {
        let small = self.0.len() <= GROUPS_MAX && self.0.iter().all(|group| group.clauses.len() <= CLAUSES_MAX);
        if small { Ok(self) } else { Err(too_large()) }
    }
}

fn too_large() -> Unsupported {
    Unsupported::new("", "a condition of many parts", "written out it has more parts than anybody could read")
        .or_else("put the subjects into a cohort, and name that in a rule")
}

impl Group {
    /// Both groups at once; nothing if they exclude each other in time.
    fn and(&self, other: &Self) -> Option<Self> {
        let mut clauses = self.clauses.clone();
        clauses.extend(other.clauses.iter().filter(|clause| !self.clauses.contains(clause)).cloned());
        let since = self.since.max(other.since);
        let until = [self.until, other.until].into_iter().flatten().min();
        let empty = since.zip(until).is_some_and(|(since, until)| since >= until);
        (!empty).then_some(Self { clauses, since, until })
    }

    /// Whether nobody can be in both: an attribute would have to be two things at once.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        self.clauses.iter().any(|one| other.clauses.iter().any(|other| contradict(one, other)))
    }
}

fn contradict(one: &ClauseDraft, other: &ClauseDraft) -> bool {
    let is_missing = |clause: &ClauseDraft| clause.operator == "exists" && clause.negate;
    if one.attribute != other.attribute {
        return false;
    }
    match (is_missing(one), is_missing(other)) {
        (true, true) => false,
        (true, false) | (false, true) => true,
        (false, false) => match (wanted(one), wanted(other)) {
            // Texts that differ in case only could be one and the same for a clause that ignores case.
            (Some(one), Some(other)) => !one.iter().any(|one| other.iter().any(|other| alike(one, other))),
            _ => false,
        },
    }
}

fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.to_lowercase() == other.to_lowercase(),
        // Numbers are one and the same in several spellings.
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

/// The values one of which the attribute must be.
fn wanted(clause: &ClauseDraft) -> Option<Vec<&Value>> {
    match (clause.operator.as_str(), clause.negate) {
        ("in", false) => Some(clause.values.iter().flatten().collect()),
        ("equals", false) => Some(clause.value.iter().collect()),
        _ => None,
    }
}

/// A clause without anything special about it.
#[must_use]
pub fn clause(attribute: &str, operator: &str) -> ClauseDraft {
    ClauseDraft {
        attribute: attribute.to_owned(),
        operator: operator.to_owned(),
        value: None,
        values: None,
        negate: false,
        ignore_case: false,
    }
}

/// A clause with one value.
#[must_use]
pub fn with_value(attribute: &str, operator: &str, value: Value) -> ClauseDraft {
    ClauseDraft { value: Some(value), ..clause(attribute, operator) }
}

/// A clause with several values.
#[must_use]
pub fn with_values(attribute: &str, operator: &str, values: Vec<Value>) -> ClauseDraft {
    ClauseDraft { values: Some(values), ..clause(attribute, operator) }
}

/// The attribute is missing, or null.
#[must_use]
pub fn missing(attribute: &str) -> ClauseDraft {
    ClauseDraft { negate: true, ..clause(attribute, "exists") }
}
