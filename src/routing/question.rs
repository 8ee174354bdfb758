//! Which side is this user on? What a server asks for a change's flag.
//!
//! The user's group comes from a cache. The recorded side does not: it is read by primary key each time, together with the change's
//! stage, so a move, a release or a closed period counts from the next question on, on every server, without any invalidation.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use serde::Serialize;

use super::decide::Decider;
use super::error::RoutingError;
use super::groups::{GroupLookup, Widened};
use super::record::{Mark, find_side, insert_absent};
use super::routed::{Hold, RoutedChange, Standing, lock_standing};
use super::side::{GroupId, Side};
use crate::change::Stage;
use crate::database::Database;
use crate::flags::{Cohort, Snapshot, Why};
use crate::primitives::{ChangeName, CohortName, Instant, Period};

/// How long a user's group is believed, and how many users' groups are.
const GROUP_BELIEVED: Duration = Duration::from_secs(10);
const GROUPS_MAX: u64 = 500_000;
/// How long the groups of one generation of a cohort are believed. They decide first questions only.
const WIDENED_BELIEVED: Duration = Duration::from_secs(60);
const WIDENED_MAX: u64 = 64;
const CHANGES_MAX: u64 = 64;
const ATTEMPTS: u32 = 8;

/// A question.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub change: &'a ChangeName,
    /// The user's id, as text.
    pub user: &'a str,
    /// `None`: the one that contains `at`.
    pub period: Option<Period>,
    /// Who asks, as it stands next to an assignment that this question makes.
    pub actor: &'a str,
    pub at: Instant,
}

/// The answer: a side, whose it is, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    pub side: Side,
    pub group: Option<GroupId>,
    #[serde(flatten)]
    pub because: Because,
}

/// Why a side is the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Because {
    /// The group's side is recorded for the period.
    Recorded,
    /// It was the first question about the group in the period, and its answer is recorded now.
    FirstQuestion,
    /// Nobody is on the new side before `live`; nothing was recorded.
    StageBeforeLive { stage: Stage },
    /// Everybody is on the new side from `rampdown` on; nothing was recorded.
    EverybodyNew { stage: Stage },
    /// Nothing is recorded yet, and nothing was: this is what the first question would record.
    NotRecorded,
    /// The application knows no group of this user; nothing was recorded.
    UnknownUser,
    /// The period is closed and the group had no side of its own; nothing was recorded.
    PeriodClosed,
}

impl Because {
    /// The same, as an evaluation's.
    #[must_use]
    pub fn why(self) -> Why {
        match self {
            Self::Recorded | Self::FirstQuestion | Self::NotRecorded | Self::EverybodyNew { .. } => Why::Assigned,
            Self::StageBeforeLive { .. } => Why::BeforeLive,
            Self::UnknownUser | Self::PeriodClosed => Why::Default,
        }
    }

    /// The reason as a sentence.
    #[must_use]
    pub fn sentence(self) -> String {
        match self {
            Self::Recorded => String::from("the side of the user's group is recorded for this period"),
            Self::FirstQuestion => String::from("the side of the user's group has just been recorded for this period"),
            Self::NotRecorded => {
                String::from("no side of the user's group is recorded yet: the first question would record this one")
            }
            Self::StageBeforeLive { stage } => {
                format!("the change is in stage `{stage}`: everybody is on the old side")
            }
            Self::EverybodyNew { stage } => format!("the change is in stage `{stage}`: everybody is on the new side"),
            Self::UnknownUser => {
                String::from("the application knows no group of this user: old side, nothing recorded")
            }
            Self::PeriodClosed => String::from("the period is closed and the group has no recorded side: old side"),
        }
    }
}

/// Answers questions from the application's database. One for a process; cheap to share, safe between threads.
pub struct Router {
    database: Database,
    changes: Cache<ChangeName, Arc<Known>>,
    groups: Cache<(ChangeName, i64, Box<str>), GroupId>,
    widened: Cache<(ChangeName, i64, CohortName, i64), Arc<Widened>>,
}

/// Why there is no group to be remembered.
#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error("the application knows no group of this user")]
    Unknown,
    #[error(transparent)]
    Failed(Arc<RoutingError>),
}

impl From<crate::database::DatabaseError> for Missing {
    fn from(error: crate::database::DatabaseError) -> Self {
        Self::Failed(Arc::new(error.into()))
    }
}

/// A change that has been asked for.
pub(super) struct Known {
    pub(super) change: RoutedChange,
    pub(super) lookup: GroupLookup,
}

impl Router {
    /// A router over the application's database; it asks nothing yet.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self {
            database,
            changes: Cache::new(CHANGES_MAX),
            groups: Cache::builder().max_capacity(GROUPS_MAX).time_to_live(GROUP_BELIEVED).build(),
            widened: Cache::builder().max_capacity(WIDENED_MAX).time_to_live(WIDENED_BELIEVED).build(),
        }
    }

    /// The side of a user's group. The first question about a group in an open period of a change in `live` or later records one,
    /// in the transaction that answers; two servers asked at the same moment give the same answer.
    pub fn side_of_user(&self, snapshot: &Snapshot, question: &Question<'_>) -> Result<Answer, RoutingError> {
        let answer = match self.known(question.change).and_then(|known| self.answer(snapshot, question, &known)) {
            Ok(answer) => answer,
            // The old model's tables may be gone, and with them what groups are looked up by.
            Err(error) => return self.everybody(question.change)?.ok_or(error),
        };
        if let Some(answer) = answer {
            return Ok(answer);
        }
        // The change was installed anew since we read its file.
        self.changes.invalidate(question.change);
        let known = self.known(question.change)?;
        let unstable = || RoutingError::NotInstalled(question.change.clone());
        self.answer(snapshot, question, &known)?.ok_or_else(unstable)
    }

    /// The side of who is nobody: the old one, but where everybody is on the new one.
    pub fn side_of_nobody(&self, change: &ChangeName) -> Result<Answer, RoutingError> {
        let because = Because::UnknownUser;
        Ok(self.everybody(change)?.unwrap_or(Answer { side: Side::Old, group: None, because }))
    }

    /// The answer to everybody, if the stage alone gives one.
    fn everybody(&self, change: &ChangeName) -> Result<Option<Answer>, RoutingError> {
        let standing = lock_standing(&mut *self.database.connection()?, change, Hold::Shared)?;
        let because = Because::EverybodyNew { stage: standing.stage };
        let answer = Answer { side: Side::New, group: None, because };
        Ok(standing.stage.is_everybody_new().then_some(answer))
    }

    /// Forgets which group a user belongs to, so that the next question asks the application again.
    pub fn forget_groups(&self) {
        self.groups.invalidate_all();
        self.widened.invalidate_all();
    }

    /// The answer; `None` if `known` is out of date.
    fn answer(
        &self,
        snapshot: &Snapshot,
        question: &Question<'_>,
        known: &Known,
    ) -> Result<Option<Answer>, RoutingError> {
        let Some(group) = self.group_of(question, known)? else {
            let unknown = Answer { side: Side::Old, group: None, because: Because::UnknownUser };
            return Ok(Some(self.everybody(question.change)?.unwrap_or(unknown)));
        };
        let period = period_of(question, known)?;
        let (standing, recorded) = find_side(&mut *self.database.connection()?, question.change, period, &group)?;
        if standing.installed_at != known.change.installed_at {
            return Ok(None);
        }
        let (side, because) = match settled(&standing, recorded, period) {
            Some(settled) => settled,
            None => self.record_first(snapshot, question, known, (&group, period))?,
        };
        Ok(Some(Answer { side, group: Some(group), because }))
    }

    /// Evaluates the flag for the group and records its side, unless somebody was faster: then theirs is the answer.
    fn record_first(
        &self,
        snapshot: &Snapshot,
        question: &Question<'_>,
        known: &Known,
        (group, period): (&GroupId, Period),
    ) -> Result<(Side, Because), RoutingError> {
        let decider = Decider::new(&known.change, snapshot, |cohort| self.widen(cohort, known))?;
        let flagged = decider.side_of(group, question.at)?;
        let reason = decider.because("first question in the period");
        let mark = Mark {
            at: question.at.as_micros(),
            actor: question.actor,
            reason: &reason,
            flag_version: Some(decider.flag_version()),
        };
        let change = question.change;
        let mut connection = self.database.connection()?;
        connection.in_transaction_with_retry(ATTEMPTS, RoutingError::is_retryable, |connection| {
            let standing = lock_standing(connection, change, Hold::Shared)?;
            let (_, recorded) = find_side(connection, change, period, group)?;
            if let Some(settled) = settled(&standing, recorded, period) {
                return Ok(settled);
            }
            let decided = if standing.stage.is_everybody_new() { Side::New } else { flagged };
            if insert_absent(connection, change, period, decided, std::iter::once(group), &mark)? == 1 {
                return Ok((decided, Because::FirstQuestion));
            }
            // Another server's row, committed while our insert waited for it.
            let (_, recorded) = find_side(connection, change, period, group)?;
            let recorded = recorded.ok_or(RoutingError::Corrupt { column: "side", found: String::from("nothing") })?;
            Ok((recorded, Because::Recorded))
        })
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// What is known of a change, read anew if it was installed anew.
    pub(super) fn known_now(&self, change: &ChangeName) -> Result<Arc<Known>, RoutingError> {
        let known = self.known(change)?;
        let standing = lock_standing(&mut *self.database.connection()?, change, Hold::Shared)?;
        if standing.installed_at == known.change.installed_at {
            return Ok(known);
        }
        self.changes.invalidate(change);
        self.known(change)
    }

    /// The change's stage, and the answer that follows from what is stored; nothing if it would be the first question.
    pub(super) fn settled_of(
        &self,
        question: &Question<'_>,
        (group, period): (Option<&GroupId>, Period),
    ) -> Result<(Stage, Option<(Side, Because)>), RoutingError> {
        let mut connection = self.database.connection()?;
        let Some(group) = group else {
            let stage = lock_standing(&mut connection, question.change, Hold::Shared)?.stage;
            let everybody = stage.is_everybody_new().then_some((Side::New, Because::EverybodyNew { stage }));
            return Ok((stage, everybody.or(Some((Side::Old, Because::UnknownUser)))));
        };
        let (standing, recorded) = find_side(&mut connection, question.change, period, group)?;
        Ok((standing.stage, settled(&standing, recorded, period)))
    }

    fn known(&self, change: &ChangeName) -> Result<Arc<Known>, RoutingError> {
        let load = || {
            let mut connection = self.database.connection()?;
            let change = RoutedChange::get(&mut connection, change)?;
            let lookup = GroupLookup::prepare(&mut connection, &change)?;
            Ok(Arc::new(Known { change, lookup }))
        };
        self.changes.try_get_with(change.clone(), load).map_err(RoutingError::Shared)
    }

    fn group_of(&self, question: &Question<'_>, known: &Known) -> Result<Option<GroupId>, RoutingError> {
        let key = (question.change.clone(), known.change.installed_at, Box::from(question.user));
        // Who asks at the same moment for the same user waits for one query. Unknown users are not remembered: they may sign up at
        // any moment.
        let load = || match known.lookup.find(&mut *self.database.connection().map_err(Missing::from)?, question.user) {
            Ok(Some(group)) => Ok(group),
            Ok(None) => Err(Missing::Unknown),
            Err(error) => Err(Missing::Failed(Arc::new(error))),
        };
        match self.groups.try_get_with(key, load) {
            Ok(group) => Ok(Some(group)),
            Err(missing) => match &*missing {
                Missing::Unknown => Ok(None),
                Missing::Failed(error) => Err(RoutingError::Shared(Arc::clone(error))),
            },
        }
    }

    pub(super) fn widen(&self, cohort: &Cohort, known: &Known) -> Result<Arc<Widened>, RoutingError> {
        let key = (known.change.name.clone(), known.change.installed_at, cohort.name().clone(), cohort.generation());
        let load = || {
            let widened = known.lookup.widen(&mut *self.database.connection()?, cohort.ids().iter())?;
            tracing::debug!(cohort = %cohort.name(), users = widened.users, groups = widened.groups.len(), "cohort widened to groups");
            Ok(Arc::new(widened))
        };
        self.widened.try_get_with(key, load).map_err(RoutingError::Shared)
    }
}

/// The period that is asked for, if the change has it.
pub(super) fn period_of(question: &Question<'_>, known: &Known) -> Result<Period, RoutingError> {
    match question.period {
        Some(period) => known.change.check_period(period).map(|()| period),
        None => known.change.period_at(question.at),
    }
}

/// The answer that follows from what is stored; `None` if the question is the first one.
pub(super) fn settled(standing: &Standing, recorded: Option<Side>, period: Period) -> Option<(Side, Because)> {
    let closed = standing.is_closed(period);
    match recorded {
        // Nothing is recorded any more, and nothing feeds the old model.
        _ if !closed && standing.stage == Stage::Complete => {
            Some((Side::New, Because::EverybodyNew { stage: standing.stage }))
        }
        // A closed period was billed as it stands, whatever the stage is now.
        Some(side) if closed || standing.stage.routes_to_new() => Some((side, Because::Recorded)),
        None if closed => Some((Side::Old, Because::PeriodClosed)),
        _ if !standing.stage.routes_to_new() => Some((Side::Old, Because::StageBeforeLive { stage: standing.stage })),
        _ => None,
    }
}
