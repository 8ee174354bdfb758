//! Our own document of flags and cohorts: what an export writes and an import reads. It holds no versions and no times, so the same
//! configuration is always the same document.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ImportedCohort;
use crate::flags::conditions::CohortConditions;
use crate::flags::draft::FlagDraft;
use crate::flags::flag::Flag;
use crate::flags::mistake::{FlagMistake, InvalidFlag};
use crate::primitives::{CohortName, FlagKey};

/// The version of the document's form.
pub const FORMAT: u32 = 1;

/// Flags and cohorts, without the cohorts' ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// 1
    pub format: u32,
    pub flags: Vec<FlagDraft>,
    #[serde(default)]
    pub cohorts: Vec<ImportedCohort>,
}

/// A document whose every part is valid, the flags in an order in which no flag comes before one that it asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub flags: Vec<Flag>,
    pub cohorts: Vec<CheckedCohort>,
}

/// A cohort of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedCohort {
    pub name: CohortName,
    pub description: String,
    pub conditions: CohortConditions,
}

impl Document {
    /// The document of these, in the order of their names.
    #[must_use]
    pub fn of(mut flags: Vec<FlagDraft>, mut cohorts: Vec<ImportedCohort>) -> Self {
        flags.sort_by(|one, other| one.key.cmp(&other.key));
        cohorts.sort_by(|one, other| one.name.cmp(&other.name));
        Self { format: FORMAT, flags, cohorts }
    }

    /// Checks every part; the error lists everything that is wrong, each with its place.
    pub fn check(self) -> Result<Checked, InvalidFlag> {
        let mut mistakes = Vec::new();
        let mut mistake = |at: String, what: String| mistakes.push(FlagMistake { at, what });
        if self.format != FORMAT {
            mistake(String::from("format"), format!("{} is not a form that is read here: write {FORMAT}", self.format));
        }
        let (mut flags, mut cohorts) = (BTreeMap::new(), BTreeMap::new());
        for (number, draft) in self.flags.into_iter().enumerate() {
            match Flag::try_from(draft) {
                Ok(flag) => {
                    let key = flag.key().clone();
                    if flags.insert(key.clone(), flag).is_some() {
                        mistake(format!("flags[{number}]"), format!("the flag `{key}` stands twice"));
                    }
                }
                Err(invalid) => invalid.mistakes.into_iter().for_each(|inner| {
                    let at = if inner.at.is_empty() {
                        format!("flags[{number}]")
                    } else {
                        format!("flags[{number}].{}", inner.at)
                    };
                    mistake(at, inner.what);
                }),
            }
        }
        for (number, cohort) in self.cohorts.into_iter().enumerate() {
            let at = format!("cohorts[{number}]");
            match (CohortName::new(&cohort.name), CohortConditions::try_from(cohort.conditions)) {
                (Ok(name), Ok(conditions)) => {
                    let checked = CheckedCohort { name: name.clone(), description: cohort.description, conditions };
                    if cohorts.insert(name.clone(), checked).is_some() {
                        mistake(at, format!("the cohort `{name}` stands twice"));
                    }
                }
                (name, conditions) => {
                    name.err().into_iter().for_each(|error| mistake(format!("{at}.name"), error.to_string()));
                    let inner = conditions.err().into_iter().flat_map(|invalid| invalid.mistakes);
                    inner.for_each(|inner| mistake(format!("{at}.{}", inner.at), inner.what));
                }
            }
        }
        if mistakes.is_empty() {
            return Ok(Checked { flags: in_order(flags), cohorts: cohorts.into_values().collect() });
        }
        Err(InvalidFlag { mistakes })
    }
}

/// Flags after those that they ask for. What goes in a circle is refused when it is written.
fn in_order(mut flags: BTreeMap<FlagKey, Flag>) -> Vec<Flag> {
    let mut ordered = Vec::with_capacity(flags.len());
    while !flags.is_empty() {
        let waits = |flag: &Flag| flag.prerequisites().iter().any(|asked| flags.contains_key(&asked.flag));
        let ready: BTreeSet<FlagKey> =
            flags.values().filter(|flag| !waits(flag)).map(|flag| flag.key().clone()).collect();
        let all = ready.is_empty();
        let (now, later): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut flags).into_iter().partition(|(key, _)| all || ready.contains(key));
        ordered.extend(now.into_values());
        flags = later;
    }
    ordered
}
