//! What can go wrong when a group is routed.

use std::sync::Arc;

use crate::change::Stage;
use crate::database::DatabaseError;
use crate::primitives::{ChangeName, FlagKey, NoPeriod, Period};
use crate::translation::TranslationError;

/// Why a side could not be told, recorded or moved.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("change `{0}` is not installed in the application's database: run `changeover change install FILE`")]
    NotInstalled(ChangeName),
    #[error(
        "no installed change has an [allocation], so there is nothing to route: run `changeover change install FILE`"
    )]
    NoneInstalled,
    #[error("both `{one}` and `{other}` are installed: name the change")]
    SeveralInstalled { one: ChangeName, other: ChangeName },
    #[error(transparent)]
    Translation(#[from] TranslationError),
    #[error("change `{0}` has no [allocation]: say there what the charges are and which group each belongs to")]
    NoAllocation(ChangeName),
    #[error("change `{0}` has no `group_of_user` in [routing]: write the query that returns the group of `:user`")]
    NoGroupOfUser(ChangeName),
    #[error("`group_of_user` of change `{0}` does not ask for `:user`: use the parameter where the user's id belongs")]
    NoUserParameter(ChangeName),
    #[error("`group_of_user` of change `{change}` cannot be run")]
    GroupOfUser {
        change: ChangeName,
        #[source]
        source: DatabaseError,
    },
    #[error(
        "`group_of_user` of change `{change}` compares `:user` with a value of type {kind}, into which ids cannot be read safely: \
         compare as text, CAST(… AS text) = :user"
    )]
    UserType { change: ChangeName, kind: String },
    #[error(
        "change `{change}` is in stage `{stage}`: groups are assigned from `live` on; run `changeover change stage` first"
    )]
    StageBeforeLive { change: ChangeName, stage: Stage },
    #[error("period {period} of change `{change}` is closed (open is {open_period} and later): its sides are final")]
    PeriodClosed { change: ChangeName, period: Period, open_period: String },
    #[error(
        "flag `{flag}`, which change `{change}` is routed by, does not exist: create it with the variants `old` and `new`"
    )]
    FlagMissing { change: ChangeName, flag: FlagKey },
    #[error("flag `{flag}` of change `{change}` has the variants {found}: it needs exactly `old` and `new`")]
    FlagVariants { change: ChangeName, flag: FlagKey, found: String },
    #[error("flag `{flag}` of change `{change}` cannot be evaluated for group `{group}`: {what}")]
    Evaluation { change: ChangeName, flag: FlagKey, group: String, what: String },
    #[error(
        "the `group` query of change `{change}` puts charges into more than one group: {charges}; each charge needs exactly one, \
         so merge these groups or correct the query"
    )]
    ChargeInTwoGroups { change: ChangeName, charges: String },
    #[error("change `{change}`: {source}")]
    Period {
        change: ChangeName,
        #[source]
        source: NoPeriod,
    },
    #[error("`{0}` is not a side: write old or new")]
    UnknownSide(String),
    #[error("a group's id is 1 to 1000 bytes of text")]
    InvalidGroup,
    #[error("{groups} groups are too many for one move: at most {most}, so send several")]
    TooManyGroups { groups: usize, most: usize },
    #[error(
        "group `{group}` of change `{change}` has no side in {period} that could be inherited: its groups get theirs at the first question"
    )]
    NothingToInherit { change: ChangeName, group: super::side::GroupId, period: Period },
    #[error("`group_of_user` of change `{change}` finds no group of user `{user}`")]
    UnknownUser { change: ChangeName, user: String },
    #[error("say why: a move needs a reason")]
    NoReason,
    #[error("column `{column}` of an assignment holds `{found}`")]
    Corrupt { column: &'static str, found: String },
    /// Several questions waited for one answer, which failed.
    #[error(transparent)]
    Shared(Arc<RoutingError>),
}

impl RoutingError {
    /// True if the same transaction may succeed when it is run again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Database(error) | Self::Translation(TranslationError::Database(error)) => error.is_retryable(),
            Self::Shared(error) => error.is_retryable(),
            _ => false,
        }
    }
}
