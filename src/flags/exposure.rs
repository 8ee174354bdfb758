//! How many subjects a write of a flag may move to another variant, at most. An upper bound, never an estimate: where nobody knows how
//! many match, all may.
//!
//! A flag is a ladder of rules; a subject is served by the first that matches. Two ladders are set against each other rung by
//! rung: a rung may be paired with one that matches the same subjects, or it may have come or gone. Each way to pair them gives
//! a bound, and the smallest of all is taken.

use serde_json::Value;

use super::bucket::BUCKETS;
use super::context::TARGETING_KEY;
use super::draft::{FlagDraft, RolloutDraft, RuleDraft, ScheduleStepDraft, ServeDraft};

/// All subjects, in millionths.
pub const WHOLE: u32 = 1_000_000;
/// Ladders whose product is longer than this are not compared: everybody may move.
const PAIRS_MAX: usize = 4_000_000;

/// How many millionths of all subjects are in a cohort, at most.
pub type CohortShare<'a> = &'a dyn Fn(&str) -> u32;

/// At most so many millionths of the subjects get another variant (or the same with another value) by `after` than by `before`. A flag
/// that is not there counts as if it served its off variant: that is what its callers fall back to.
///
/// Both are drafts of valid flags with every default written out, as `Flag::to_draft` gives them.
#[must_use]
pub fn exposure(before: Option<&FlagDraft>, after: Option<&FlagDraft>, share: CohortShare<'_>) -> u32 {
    let (Some(one), Some(other)) = (before.or(after), after.or(before)) else { return 0 };
    if let (Some(before), Some(after)) = (before, after)
        && differs_as_a_whole(before, after)
    {
        return WHOLE;
    }
    between(&Ladder::of(before, one, share), &Ladder::of(after, other, share))
}

/// Whether both answer every context alike, whatever is told and asked about them otherwise.
#[must_use]
pub fn answers_alike(one: &FlagDraft, other: &FlagDraft) -> bool {
    let bare = |flag: &FlagDraft| {
        let mut flag = flag.clone();
        flag.description = String::new();
        flag.expires = None;
        flag.protection = None;
        flag.rules.iter_mut().for_each(|rule| rule.description = String::new());
        flag
    };
    bare(one) == bare(other)
}

/// What reaches past the ladder: whom prerequisites send to the off variant, and who is asked at all.
fn differs_as_a_whole(before: &FlagDraft, after: &FlagDraft) -> bool {
    if before.change != after.change {
        return true;
    }
    let both = before.enabled && after.enabled;
    let conditional = |flag: &FlagDraft| flag.enabled && !flag.prerequisites.is_empty();
    (both && before.prerequisites != after.prerequisites)
        || ((conditional(before) || conditional(after)) && off(before) != off(after))
}

/// A variant with its value.
type Answer<'a> = (&'a str, Option<&'a Value>);

fn answer<'a>(flag: &'a FlagDraft, name: &'a str) -> Answer<'a> {
    (name, flag.variants.0.iter().find(|(known, _)| known == name).map(|(_, value)| value))
}

fn off(flag: &FlagDraft) -> Answer<'_> {
    answer(flag, &flag.off_variant)
}

/// Rungs from top to bottom; the last one is for everybody.
struct Ladder<'a> {
    rungs: Vec<Rung<'a>>,
    /// From each rung down: the one answer that is left, if there is but one.
    only: Vec<Option<Answer<'a>>>,
}

struct Rung<'a> {
    rule: Option<&'a RuleDraft>,
    /// How many it may match, in millionths.
    share: u32,
    serves: Serves<'a>,
}

enum Serves<'a> {
    One(Answer<'a>),
    Split(&'a RolloutDraft, Vec<(u32, u32, Answer<'a>)>),
    Timed(&'a [ScheduleStepDraft], Vec<Answer<'a>>),
}

impl<'a> Ladder<'a> {
    /// `flag` is what there is of the flag, `shape` tells its off variant where there is nothing.
    fn of(flag: Option<&'a FlagDraft>, shape: &'a FlagDraft, share: CohortShare<'_>) -> Self {
        let mut rungs = Vec::new();
        let last = match flag.filter(|flag| flag.enabled) {
            Some(flag) => {
                rungs.extend(flag.rules.iter().map(|rule| Rung::of(flag, rule, share)));
                answer(flag, &flag.default_variant)
            }
            None => off(flag.unwrap_or(shape)),
        };
        rungs.push(Rung { rule: None, share: WHOLE, serves: Serves::One(last) });
        let mut below = Some(last);
        let mut only: Vec<_> = rungs
            .iter()
            .rev()
            .map(|rung| {
                below = rung.only(below);
                below
            })
            .collect();
        only.reverse();
        Self { rungs, only }
    }
}

impl<'a> Rung<'a> {
    fn of(flag: &'a FlagDraft, rule: &'a RuleDraft, share: CohortShare<'_>) -> Self {
        let serves = match &rule.serve {
            ServeDraft::Variant(name) => Serves::One(answer(flag, name)),
            ServeDraft::Rollout(rollout) => {
                let ranges = rollout.ranges.iter();
                let ranges = ranges.map(|range| (range.from, range.to, answer(flag, &range.variant)));
                Serves::Split(rollout, ranges.collect())
            }
            ServeDraft::Schedule(steps) => {
                Serves::Timed(steps, steps.iter().map(|step| answer(flag, &step.variant)).collect())
            }
        };
        let share = rule.cohort.as_deref().map_or(WHOLE, share).min(WHOLE);
        Self { rule: Some(rule), share, serves }
    }

    fn matches_everybody(&self) -> bool {
        let unconditional =
            |rule: &RuleDraft| rule.cohort.is_none() && rule.except_cohort.is_none() && rule.clauses.is_empty();
        let never_passes = match &self.serves {
            Serves::One(_) => true,
            Serves::Split(rollout, _) => is_by_subject(rollout),
            Serves::Timed(..) => false,
        };
        never_passes && self.rule.is_none_or(unconditional)
    }

    fn matches_the_same(&self, other: &Self) -> bool {
        match (self.rule, other.rule) {
            (Some(one), Some(other)) => {
                (&one.cohort, &one.except_cohort, &one.clauses) == (&other.cohort, &other.except_cohort, &other.clauses)
            }
            _ => self.matches_everybody() && other.matches_everybody(),
        }
    }

    /// The one answer from here down, if `below` is the one answer of what stands below.
    fn only(&self, below: Option<Answer<'a>>) -> Option<Answer<'a>> {
        let own = match &self.serves {
            Serves::One(answer) => Some(*answer),
            Serves::Split(_, ranges) => same(ranges.iter().map(|(_, _, answer)| *answer)),
            Serves::Timed(_, answers) => same(answers.iter().copied()),
        };
        if self.matches_everybody() || own == below { own } else { None }
    }

    /// How many move if this rung comes or goes, where the other ladder has but this one answer.
    fn against(&self, only: Option<Answer<'a>>) -> u32 {
        let Some(only) = only else { return self.share };
        let moved = match &self.serves {
            Serves::One(answer) => {
                if *answer == only {
                    0
                } else {
                    WHOLE
                }
            }
            Serves::Split(_, ranges) => WHOLE - owned(ranges, only),
            Serves::Timed(_, answers) => {
                if answers.iter().all(|answer| *answer == only) {
                    0
                } else {
                    WHOLE
                }
            }
        };
        moved.min(self.share)
    }

    /// How many move if this rung becomes `other`, which matches the same subjects.
    fn moved(&self, other: &Self) -> u32 {
        let moved = match (&self.serves, &other.serves) {
            (Serves::One(one), Serves::One(other)) => {
                if one == other {
                    0
                } else {
                    WHOLE
                }
            }
            (Serves::Split(one, ranges), Serves::Split(other, others)) => split_moved((one, ranges), (other, others)),
            (Serves::One(one), Serves::Split(rollout, ranges)) | (Serves::Split(rollout, ranges), Serves::One(one)) => {
                if is_by_subject(rollout) {
                    WHOLE - owned(ranges, *one)
                } else {
                    WHOLE
                }
            }
            (Serves::Timed(one, answers), Serves::Timed(other, others)) => {
                if one == other && answers == others {
                    0
                } else {
                    WHOLE
                }
            }
            (Serves::Timed(..), _) | (_, Serves::Timed(..)) => WHOLE,
        };
        moved.min(self.share)
    }
}

fn same<'a>(mut answers: impl Iterator<Item = Answer<'a>>) -> Option<Answer<'a>> {
    let first = answers.next()?;
    answers.all(|answer| answer == first).then_some(first)
}

/// A rollout by the targeting key serves everybody; one by an attribute passes whoever lacks it.
fn is_by_subject(rollout: &RolloutDraft) -> bool {
    rollout.attribute.as_deref().is_none_or(|attribute| attribute == TARGETING_KEY)
}

type Ranges<'a> = Vec<(u32, u32, Answer<'a>)>;

fn owned(ranges: &[(u32, u32, Answer<'_>)], by: Answer<'_>) -> u32 {
    let buckets: u32 = ranges.iter().filter(|(_, _, answer)| *answer == by).map(|(from, to, _)| to - from).sum();
    millionths(buckets)
}

fn millionths(buckets: u32) -> u32 {
    buckets * (WHOLE / BUCKETS)
}

fn split_moved(before: (&RolloutDraft, &Ranges<'_>), after: (&RolloutDraft, &Ranges<'_>)) -> u32 {
    let ((one, ranges), (other, others)) = (before, after);
    if one.attribute != other.attribute {
        return WHOLE;
    }
    if (&one.algorithm, &one.seed) == (&other.algorithm, &other.seed) {
        let overlaps = ranges.iter().flat_map(|(from, to, answer)| {
            let others = others.iter().filter(move |(_, _, other)| other == answer);
            others.map(move |(start, end, _)| (*to).min(*end).saturating_sub((*from).max(*start)))
        });
        return WHOLE - millionths(overlaps.sum());
    }
    // Shuffled anew: as many as together have more than everybody must stay where they are.
    let mut names: Vec<Answer<'_>> = ranges.iter().map(|(_, _, answer)| *answer).collect();
    names.sort_unstable_by_key(|(name, _)| *name);
    names.dedup();
    let stay = names.iter().map(|answer| (owned(ranges, *answer) + owned(others, *answer)).saturating_sub(WHOLE));
    WHOLE - stay.sum::<u32>().min(WHOLE)
}

/// The smallest bound of all ways to pair the rungs, from the bottom up.
fn between(before: &Ladder<'_>, after: &Ladder<'_>) -> u32 {
    if before.rungs.len().saturating_mul(after.rungs.len()) > PAIRS_MAX {
        return WHOLE;
    }
    // `below` is the line of the rung below this one of `before`; both lines end with what lies under the last rung: nothing.
    let mut below = vec![WHOLE; after.rungs.len() + 1];
    for (one, one_only) in before.rungs.iter().zip(&before.only).rev() {
        let mut line = vec![WHOLE; after.rungs.len() + 1];
        let mut right = WHOLE;
        let columns = after.rungs.iter().zip(&after.only).zip(&below).zip(below.iter().skip(1));
        let mut bounds = Vec::with_capacity(after.rungs.len());
        for (((other, other_only), down), diagonal) in columns.rev() {
            let rest = |ends: bool, bound: u32| if ends { 0 } else { bound };
            let gone = one.against(*other_only) + rest(one.matches_everybody(), *down);
            let come = other.against(*one_only) + rest(other.matches_everybody(), right);
            let mut bound = gone.min(come).min(WHOLE);
            if one.matches_the_same(other) {
                let ends = one.matches_everybody() && other.matches_everybody();
                bound = bound.min(one.moved(other) + rest(ends, *diagonal));
            }
            bounds.push(bound);
            right = bound;
        }
        line.iter_mut().zip(bounds.into_iter().rev()).for_each(|(place, bound)| *place = bound);
        below = line;
    }
    below.first().copied().unwrap_or(WHOLE)
}
