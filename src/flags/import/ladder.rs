//! An ordered list of conditions and what they serve, as the rules of a flag.

use super::condition::{Condition, Group};
use super::note::Unsupported;
use crate::flags::bucket::BUCKETS;
use crate::flags::draft::{RangeDraft, RolloutDraft, RuleDraft, ScheduleStepDraft, ServeDraft};
use crate::primitives::Instant;

/// What is served, and to whom. The first step whose condition holds serves.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) condition: Condition,
    pub(super) serve: ServeDraft,
    /// Where it stands in the document.
    pub(super) at: String,
    /// A cohort whose members alone it is for.
    pub(super) cohort: Option<String>,
    pub(super) description: String,
}

impl Step {
    pub(super) fn new(condition: Condition, serve: ServeDraft, at: &str) -> Self {
        Self { condition, serve, at: at.to_owned(), cohort: None, description: String::new() }
    }
}

/// The rules; `default` is what everybody gets for whom no step is.
pub(super) fn rules(steps: Vec<Step>, default: &str) -> Result<Vec<RuleDraft>, Unsupported> {
    let mut rules = Vec::new();
    // From the bottom up: what is served until an instant must go on to what stands below, and that is known only if it is one variant.
    let mut below = Some(default.to_owned());
    for step in steps.into_iter().rev() {
        let always = step.condition.is_always() && step.cohort.is_none();
        let mut own = Vec::new();
        for group in &step.condition.0 {
            let serve =
                timed(group, &step.serve, below.as_deref()).map_err(|unsupported| unsupported.below(&step.at))?;
            own.push(RuleDraft {
                description: step.description.clone(),
                cohort: step.cohort.clone(),
                except_cohort: None,
                clauses: group.clauses.clone(),
                serve,
            });
        }
        let served = match &step.serve {
            ServeDraft::Variant(variant) => Some(variant.clone()),
            ServeDraft::Rollout(_) | ServeDraft::Schedule(_) => None,
        };
        if always {
            rules.clear();
            below = served;
        } else if !own.is_empty() && below != served {
            below = None;
        }
        rules.splice(0..0, own);
    }
    Ok(rules)
}

/// What a group serves, if it holds at some times only: a schedule, in which the rule does not match before its first instant.
fn timed(group: &Group, serve: &ServeDraft, below: Option<&str>) -> Result<ServeDraft, Unsupported> {
    if group.since.is_none() && group.until.is_none() {
        return Ok(serve.clone());
    }
    let ServeDraft::Variant(variant) = serve else {
        return Err(Unsupported::new(
            "",
            "a share that is served at some times only",
            "a schedule serves one variant, not a share",
        )
        .or_else("serve the share by hand when its time comes"));
    };
    let step = |from: Instant, variant: &str| ScheduleStepDraft { from: from.to_string(), variant: variant.to_owned() };
    let mut steps = vec![step(group.since.unwrap_or(Instant::from_micros(0)), variant)];
    if let Some(until) = group.until {
        let Some(below) = below else {
            let why = "what follows it is not one variant, and a rule with a schedule does not end again";
            return Err(Unsupported::new("", "something that is served until an instant", why)
                .or_else("take the rule out by hand when its time is over"));
        };
        steps.push(step(until, below));
    }
    Ok(ServeDraft::Schedule(steps))
}

/// Shares by weight, as ranges that cover all buckets; true if they are not exactly the weights' shares.
pub(super) fn shares(weights: &[(String, u64)]) -> Option<(Vec<RangeDraft>, bool)> {
    let total: u128 = weights.iter().map(|(_, weight)| u128::from(*weight)).sum();
    if total == 0 {
        return None;
    }
    let whole = u128::from(BUCKETS);
    let (mut ranges, mut from, mut sum, mut rounded) = (Vec::new(), 0_u32, 0_u128, false);
    for (variant, weight) in weights {
        sum += u128::from(*weight);
        // Ends are rounded, not lengths: they never add up to more or less than everybody.
        rounded |= (sum * whole) % total != 0;
        let to = u32::try_from((sum * whole + total / 2) / total).unwrap_or(BUCKETS);
        if to > from {
            ranges.push(RangeDraft { variant: variant.clone(), from, to });
        } else {
            rounded |= *weight > 0;
        }
        from = to;
    }
    Some((ranges, rounded))
}

/// A rollout of shares.
pub(super) fn rollout(seed: &str, attribute: &str, ranges: Vec<RangeDraft>) -> ServeDraft {
    let seed: String = if seed.len() > 256 { seed.chars().take(64).collect() } else { seed.to_owned() };
    ServeDraft::Rollout(RolloutDraft {
        algorithm: None,
        seed: Some(seed),
        attribute: Some(attribute.to_owned()),
        ranges,
    })
}
