//! An explanation in words: a trace that can be read out to whoever asks why.

use serde_json::Value;

use super::explain::RoutedExplanation;
use crate::flags::{ClauseTrace, CohortTrace, FlagTrace, RolloutTrace, RuleTrace};

/// A line of an explanation, and how deep it lies below what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldLine {
    pub depth: usize,
    pub text: String,
}

/// An explanation line by line: what was answered, then what led to it; of a change's flag what is recorded of the group.
#[must_use]
pub fn told(trace: &FlagTrace, routing: Option<&RoutedExplanation>) -> Vec<ToldLine> {
    let mut lines = Lines::default();
    lines.flag(0, trace);
    routing.iter().for_each(|routing| lines.routing(routing));
    lines.0
}

#[derive(Default)]
struct Lines(Vec<ToldLine>);

impl Lines {
    fn add(&mut self, depth: usize, text: impl AsRef<str>) {
        self.0.push(ToldLine { depth, text: text.as_ref().to_owned() });
    }

    fn flag(&mut self, depth: usize, trace: &FlagTrace) {
        let FlagTrace { flag, flag_version, config_version, .. } = trace;
        let answer = match (&trace.variant, &trace.value, trace.reason) {
            (Some(variant), Some(value), Some(reason)) => format!("{variant} = {value} ({reason})"),
            _ => trace.error_code.unwrap_or("no answer").to_owned(),
        };
        self.add(depth, format!("{flag} → {answer}"));
        self.add(depth + 1, format!("{}; flag version {flag_version}, configuration {config_version}", trace.sentence));
        for prerequisite in &trace.prerequisites {
            self.add(depth + 1, format!("prerequisite: {}", prerequisite.sentence));
            prerequisite.trace.iter().for_each(|trace| self.flag(depth + 2, trace));
        }
        trace.rules.iter().for_each(|rule| self.rule(depth + 1, rule));
    }

    fn rule(&mut self, depth: usize, rule: &RuleTrace) {
        let description = if rule.description.is_empty() { String::new() } else { format!(" ({})", rule.description) };
        self.add(depth, format!("rules[{}]{description} {}", rule.rule, rule.sentence));
        rule.clauses.iter().for_each(|clause| self.clause(depth + 1, clause));
        rule.cohort.iter().chain(&rule.except_cohort).for_each(|cohort| self.cohort(depth + 1, cohort));
        rule.rollout.iter().for_each(|rollout| self.rollout(depth + 1, rollout));
        if let Some(from) = rule.serves_from {
            self.add(depth + 1, format!("its schedule's step is of {from}"));
        }
    }

    fn clause(&mut self, depth: usize, clause: &ClauseTrace) {
        self.add(depth, format!("{}: {}", clause.outcome, clause.sentence));
        if clause.comparands_total > 1 {
            let shown: Vec<String> = clause.comparands.iter().map(Value::to_string).collect();
            let more = if clause.comparands_total > shown.len() { ", …" } else { "" };
            self.add(depth + 1, format!("values: {}{more}", shown.join(", ")));
        }
    }

    fn cohort(&mut self, depth: usize, cohort: &CohortTrace) {
        let generation = cohort.generation.map_or_else(String::new, |number| format!(", generation {number}"));
        self.add(depth, format!("cohort `{}`{generation}: {}", cohort.name, cohort.sentence));
        for (at, group) in cohort.conditions.iter().enumerate() {
            self.add(depth + 1, format!("conditions[{at}]"));
            group.iter().for_each(|clause| self.clause(depth + 2, clause));
        }
    }

    fn rollout(&mut self, depth: usize, rollout: &RolloutTrace) {
        let RolloutTrace { algorithm, seed, attribute, value, bucket, range } = rollout;
        let (Some(value), Some(bucket)) = (value, bucket) else { return };
        let range = range.as_ref().map_or_else(String::new, |range| {
            format!(", of {}'s {} to {}", range.variant, range.from, range.to.saturating_sub(1))
        });
        self.add(
            depth,
            format!("`{attribute}` = {value} falls into bucket {bucket}{range} (seed `{seed}`, {algorithm})"),
        );
    }

    fn routing(&mut self, routing: &RoutedExplanation) {
        let RoutedExplanation { change, stage, period, user, .. } = routing;
        let group =
            routing.group.as_ref().map_or_else(|| String::from("in no group"), |group| format!("in group `{group}`"));
        self.add(1, format!("user `{user}` is {group}; change `{change}` is in stage {stage}, period {period}"));
        self.add(1, &routing.sentence);
        for event in &routing.recorded {
            let row = &event.assignment;
            let what = format!("{:?}", event.action).to_lowercase();
            let version = row.flag_version.map_or_else(String::new, |version| format!(" (flag version {version})"));
            self.add(2, format!("{} {what}: {} by {}, {}{version}", row.at, row.side, row.actor, row.reason));
        }
        if let Some(rules) = &routing.rules {
            self.add(1, "what the rules say of the group:");
            self.flag(2, rules);
        }
    }
}
