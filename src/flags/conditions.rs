//! The conditions under which a subject belongs to a cohort without being listed in it: any group of clauses, all of which hold.

use serde::{Deserialize, Serialize};

use super::clause::{Clause, Match};
use super::context::Context;
use super::draft::ClauseDraft;
use super::mistake::{FlagMistake, InvalidFlag, Mistakes};

/// Groups of clauses. Their JSON is a list of lists of [`ClauseDraft`]s: `[[a, b], [c]]` is "a and b, or c".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<ClauseDraft>>", into = "Vec<Vec<ClauseDraft>>")]
pub struct CohortConditions {
    groups: Vec<Vec<Clause>>,
}

impl CohortConditions {
    /// Reads and validates the JSON; the error lists everything that is wrong, each with its place: `conditions[0][1].value`.
    pub fn parse(json: &str) -> Result<Self, InvalidFlag> {
        let drafts: Vec<Vec<ClauseDraft>> = serde_json::from_str(json).map_err(|error| {
            let mistake = FlagMistake { at: String::from("conditions"), what: error.to_string() };
            InvalidFlag { mistakes: vec![mistake] }
        })?;
        Self::try_from(drafts)
    }

    #[must_use]
    pub fn groups(&self) -> &[Vec<Clause>] {
        &self.groups
    }

    /// Nobody is a member by conditions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether any group holds. It can't be told if no group does and one of them can't be told.
    #[must_use]
    pub fn matches(&self, context: &Context) -> Match {
        let mut outcome = Match::No;
        for group in &self.groups {
            match all(group, context) {
                Match::Yes => return Match::Yes,
                Match::No => {}
                indeterminate if outcome == Match::No => outcome = indeterminate,
                Match::Indeterminate(_) => {}
            }
        }
        outcome
    }

    /// Whether one of the clauses asks for the targeting key.
    pub(super) fn ask_for_targeting_key(&self) -> bool {
        self.groups.iter().flatten().any(|clause| clause.attribute().is_targeting_key())
    }
}

/// Whether all clauses hold. One that does not settles it, whatever can't be told beside it.
fn all(clauses: &[Clause], context: &Context) -> Match {
    let mut outcome = Match::Yes;
    for clause in clauses {
        match clause.matches(context) {
            Match::Yes => {}
            Match::No => return Match::No,
            Match::Indeterminate(why) => outcome = Match::Indeterminate(why),
        }
    }
    outcome
}

impl TryFrom<Vec<Vec<ClauseDraft>>> for CohortConditions {
    type Error = InvalidFlag;

    fn try_from(drafts: Vec<Vec<ClauseDraft>>) -> Result<Self, InvalidFlag> {
        let mut mistakes = Mistakes::default();
        let mut groups = Vec::with_capacity(drafts.len());
        for (number, drafts) in drafts.into_iter().enumerate() {
            let at = format!("conditions[{number}]");
            if drafts.is_empty() {
                mistakes.add(&at, "a group without clauses would match everybody: write at least one clause");
            }
            let clauses = drafts.into_iter().enumerate();
            let clauses =
                clauses.map(|(clause, draft)| Clause::parse(&format!("{at}[{clause}]"), draft, &mut mistakes));
            groups.push(clauses.collect::<Vec<Option<Clause>>>());
        }
        let groups = groups.into_iter().map(|group| group.into_iter().collect()).collect::<Option<_>>();
        mistakes.into_result(groups.map(|groups| Self { groups }))
    }
}

impl From<CohortConditions> for Vec<Vec<ClauseDraft>> {
    fn from(conditions: CohortConditions) -> Self {
        let group = |group: Vec<Clause>| group.into_iter().map(ClauseDraft::from).collect();
        conditions.groups.into_iter().map(group).collect()
    }
}
