//! Why a user is on a side: the group, what is recorded of it, and what the flag's rules say. Nothing is recorded by asking.

use serde::Serialize;
use utoipa::ToSchema;

use super::decide::Decider;
use super::error::RoutingError;
use super::list::{self, Event};
use super::question::{Because, Question, Router, period_of};
use super::side::{GroupId, Side};
use crate::change::Stage;
use crate::flags::{
    Asked, CohortIndex, Context, Evaluation, Failure, FlagTrace, Served, Snapshot, SnapshotFlag, World,
};
use crate::primitives::{ChangeName, Instant, Period};
use crate::translation::TranslationError;

/// Why a user is on a side.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RoutedExplanation {
    #[schema(value_type = String)]
    pub change: ChangeName,
    #[schema(value_type = String)]
    pub stage: Stage,
    #[schema(value_type = String, example = "2026-12")]
    pub period: Period,
    pub user: String,
    /// The group that is routed as a whole; not there if the application knows none of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub group: Option<GroupId>,
    /// The side that the user is on, or, where none is recorded, would be on if he asked now.
    #[schema(value_type = String)]
    pub side: Side,
    pub sentence: String,
    /// How the recorded side of the group came about: who, when, why and by which version of the flag. Empty if none is recorded.
    #[schema(value_type = Vec<Object>)]
    pub recorded: Vec<Event>,
    /// What the flag's rules say of the group, whatever is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<FlagTrace>,
    #[serde(skip)]
    because: Because,
}

impl RoutedExplanation {
    /// The answer as an evaluation of the flag.
    #[must_use]
    pub fn evaluation<'s>(&self, flag: &'s SnapshotFlag) -> Evaluation<'s> {
        match flag.flag().find_variant(self.side.as_str()) {
            Some(variant) => Evaluation::Served(Served { flag, variant, why: self.because.why() }),
            None => {
                let what = format!("`{}` has no variant `{}`", flag.flag().key(), self.side);
                Evaluation::Failed(Failure::General(what))
            }
        }
    }
}

impl Router {
    /// What [`Router::side_of_user`] would answer, and why; nothing is recorded.
    pub fn explain(&self, snapshot: &Snapshot, question: &Question<'_>) -> Result<RoutedExplanation, RoutingError> {
        let known = self.known_now(question.change)?;
        let period = period_of(question, &known)?;
        let mut connection = self.database().connection()?;
        let group = known.lookup.find(&mut connection, question.user)?;
        let (standing, settled) = self.settled_of(question, (group.as_ref(), period))?;
        let decider = Decider::new(&known.change, snapshot, |cohort| self.widen(cohort, &known));
        // A flag that is not there, or was not as of an earlier version, says nothing; what is recorded holds all the same.
        let (rules, recorded) = match (&group, decider) {
            (Some(group), Ok(decider)) => {
                (Some(decider.explain(group, question.at)), list::history(&mut connection, question.change, group)?)
            }
            (Some(group), Err(_)) => (None, list::history(&mut connection, question.change, group)?),
            (None, _) => (None, Vec::new()),
        };
        let flagged = rules.as_ref().and_then(|trace| trace.variant.as_deref()?.parse().ok());
        let (side, because) = match (settled, standing.is_everybody_new(), flagged) {
            (Some(settled), _, _) => settled,
            (None, true, _) => (Side::New, Because::FirstQuestion),
            (None, false, Some(side)) => (side, Because::FirstQuestion),
            (None, false, None) => {
                let (change, flag) = (question.change.clone(), known.change.flag.clone());
                return Err(RoutingError::FlagMissing { change, flag });
            }
        };
        let sentence = match because {
            Because::FirstQuestion => String::from(
                "no side of the group is recorded for this period yet: the first question records what the rules say then",
            ),
            other => other.sentence(),
        };
        let recorded = recorded.into_iter().filter(|event| event.assignment.period == period).collect();
        let (change, user) = (question.change.clone(), question.user.to_owned());
        Ok(RoutedExplanation { change, stage: standing, period, user, group, side, sentence, recorded, rules, because })
    }
}

/// A snapshot's own cohorts, and routing that records nothing.
pub struct Peek<'a> {
    pub router: &'a Router,
    pub snapshot: &'a Snapshot,
    /// `None`: the one that contains `at`.
    pub period: Option<Period>,
    pub at: Instant,
}

impl World for Peek<'_> {
    fn is_member(&self, cohort: CohortIndex, id: &str) -> bool {
        self.snapshot.is_member(cohort, id)
    }

    fn routed<'s>(&self, flag: &'s SnapshotFlag, context: &Context) -> Option<Evaluation<'s>> {
        let change = flag.flag().change()?;
        let Some(user) = context.targeting_key() else {
            let flag = flag.flag().key().to_string();
            return Some(Evaluation::Failed(Failure::TargetingKeyMissing { flag }));
        };
        let question = Question { change, user, period: self.period, actor: "", at: self.at };
        Some(match self.router.explain(self.snapshot, &question) {
            Ok(explained) => explained.evaluation(flag),
            Err(error) => match flag.flag().find_variant(Side::Old.as_str()) {
                // A change that is not installed is before `live`, where everybody is on the old side.
                Some(variant) if is_not_installed(&error) => {
                    let why = Because::StageBeforeLive { stage: Stage::Off }.why();
                    Evaluation::Served(Served { flag, variant, why })
                }
                _ => Evaluation::Failed(Failure::General(error.to_string())),
            },
        })
    }
}

/// True if the change is not installed at all.
#[must_use]
pub fn is_not_installed(error: &RoutingError) -> bool {
    match error {
        RoutingError::NotInstalled(_) | RoutingError::Translation(TranslationError::NotInstalled { .. }) => true,
        RoutingError::Shared(error) => is_not_installed(error),
        _ => false,
    }
}

impl Decider<'_> {
    /// What the rules say of a group, and why.
    fn explain(&self, group: &GroupId, now: Instant) -> FlagTrace {
        let context = Context::of(group.as_str());
        self.snapshot().explain_in(self.flag(), Asked { context: &context, now }, self).trace
    }
}
