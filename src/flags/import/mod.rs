//! Flags of other systems as flags of ours, as far as they can be expressed faithfully. Nothing is approximated in silence: a flag of
//! which a part cannot be expressed is left out whole, and said; what answers otherwise in some case is said as well.
//!
//! | file | owns |
//! |---|---|
//! | `note` | what is told about an import |
//! | `document` | our own form, in which flags are exported |
//! | `condition` | conditions in disjunctive form, with an attribute that is missing and with time |
//! | `ladder` | an ordered list of conditions and what they serve, as rules |
//! | `flagd`, `logic` | flagd's flag definitions; their JSONLogic |
//! | `unleash`, `constraint`, `strategy`, `variants` | Unleash's export; its constraints, its strategies, its variants |

pub mod condition;
pub mod constraint;
mod document;
pub mod flagd;
mod ladder;
mod logic;
mod note;
pub mod strategy;
pub mod unleash;
mod variants;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::draft::{ClauseDraft, FlagDraft};
use super::flag::Flag;

pub use document::{Checked, CheckedCohort, Document, FORMAT};
pub use note::{Note, NoteKind, Unsupported};

/// What a document of another system becomes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Imported {
    /// Each of them is valid.
    pub flags: Vec<FlagDraft>,
    pub cohorts: Vec<ImportedCohort>,
    pub notes: Vec<Note>,
}

/// A cohort by conditions, as cohorts take them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedCohort {
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// Groups of clauses: a subject belongs to the cohort if all clauses of any group hold.
    #[serde(default)]
    pub conditions: Vec<Vec<ClauseDraft>>,
}

/// The document is not one of the system that it is said to be from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not {expected}: {why}")]
pub struct NotReadable {
    pub expected: &'static str,
    pub why: String,
}

impl Imported {
    /// Adds a flag if it is valid; otherwise it is left out, and said.
    fn add(&mut self, draft: FlagDraft) {
        let key = draft.key.clone();
        match Flag::try_from(draft) {
            Ok(flag) => self.flags.push(flag.to_draft()),
            Err(invalid) => self.notes.extend(invalid.mistakes.into_iter().map(|mistake| {
                let unsupported = Unsupported::new(mistake.at, mistake.what, "it is not allowed in a flag here")
                    .or_else("change it where it comes from, or write the flag by hand");
                Note::left_out(&key, unsupported)
            })),
        }
    }

    fn leave_out(&mut self, flag: &str, unsupported: Unsupported) {
        self.notes.push(Note::left_out(flag, unsupported));
    }

    /// Whether everything was expressed, if not always with the same answers.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.notes.iter().all(|note| note.kind != NoteKind::LeftOut)
    }
}
