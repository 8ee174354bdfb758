//! What can go wrong while a change is installed, moved, filled or verified.

use crate::change::{Mistake, Stage, UnknownStage};
use crate::database::DatabaseError;
use crate::primitives::{ChangeName, Instant};
use crate::sql::rewrite::RewriteError;

/// An error of translation. Messages say what, where and what next.
#[derive(Debug, thiserror::Error)]
pub enum TranslationError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the change file has mistakes:{}", listed(.0))]
    Mistakes(Vec<Mistake>),
    #[error("change `{name}` is not installed in this database{}", beside(.installed))]
    NotInstalled { name: ChangeName, installed: Vec<String> },
    #[error(
        "change `{0}` is installed already: put the new file in its place with `changeover change update FILE`, or give it another name"
    )]
    AlreadyInstalled(ChangeName),
    #[error(
        "change `{other}` has an [allocation] already, and one application database has one effective allocation: uninstall `{other}` first"
    )]
    SecondAllocation { other: ChangeName },
    #[error(
        "block {block} fills rows of `{table}` that block {theirs} of the installed change `{other}` fills too: let each own other rows (`owns`), or other columns with insert = false"
    )]
    Overlap { block: String, table: String, other: ChangeName, theirs: String },
    #[error("change `{name}`: the change file stored in the database cannot be read any more:{}", listed(.mistakes))]
    StoredFile { name: String, mistakes: Vec<Mistake> },
    #[error("change `{name}`: the stage stored in the database is unknown")]
    StoredStage {
        name: String,
        #[source]
        source: UnknownStage,
    },
    #[error("a query of the change file cannot be rewritten for a trigger")]
    Rewrite(#[from] RewriteError),
    #[error("`{from}` does not lead to `{to}`: a stage moves one step at a time, so ask for {}", steps(*.from))]
    NoStep { from: Stage, to: Stage },
    #[error("change `{name}` is at stage `{stage}`, where {what} is not possible: {remedy}")]
    WrongStage { name: ChangeName, stage: Stage, what: &'static str, remedy: &'static str },
    #[error(
        "change `{name}` has been paused since {since} ({reason}): nothing is being translated. Run `changeover change resume {name}` first"
    )]
    Paused { name: ChangeName, since: Instant, reason: String },
    #[error("change `{0}` is not paused: there is no open gap")]
    NotPaused(ChangeName),
    #[error(
        "change `{name}` translates again, but transactions that wrote during the pause are still open: the gap stays open until they have ended. Run `changeover change resume {name}` again"
    )]
    WritersOpen { name: ChangeName },
    #[error("block `{0}` is not in the change file: blocks are named f1, f2, … and b1, b2, … in the order of the file")]
    NoBlock(String),
    #[error("periods before {open} are closed already and stay closed: `{asked}` is earlier")]
    PeriodsStayClosed { open: String, asked: String },
    #[error(
        "{count} keys of change `{name}` wait for their translation, so the periods' allocation is not what it will be: see `changeover change pending {name}`, mend the cause, and close when none waits"
    )]
    KeysPending { name: ChangeName, count: i64 },
    #[error(
        "no lock on the application's tables could be had, {attempts} times for half a second ({reason}). Open transactions: {blockers}. Try again when they have ended"
    )]
    Locked { reason: String, attempts: u32, blockers: String },
    #[error(
        "change `{name}` has {count} recorded assignments, which say who was billed by which model: keep them, or pass --discard-assignments"
    )]
    AssignmentsRecorded { name: ChangeName, count: i64 },
    #[error("another {what} of change `{name}` has begun meanwhile, so this one stops: wait for it, or cancel it")]
    PassOvertaken { name: ChangeName, what: &'static str },
    #[error("{0}")]
    Unsupported(String),
    /// Something that a caller did in our transaction.
    #[error(transparent)]
    Beside(Box<dyn std::error::Error + Send + Sync>),
}

impl TranslationError {
    /// True if the same transaction may succeed when it is run again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_retryable())
    }
}

fn listed(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("\n  {mistake}")).collect()
}

fn beside(installed: &[String]) -> String {
    if installed.is_empty() {
        String::from(": none is; install one with `changeover change install FILE`")
    } else {
        format!(": installed is {}", installed.join(", "))
    }
}

fn steps(from: Stage) -> String {
    let steps: Vec<String> =
        [from.back(), from.next()].into_iter().flatten().map(|stage| format!("`{stage}`")).collect();
    if steps.is_empty() { String::from("nothing: it is the last") } else { steps.join(" or ") }
}
