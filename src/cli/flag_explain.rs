//! `changeover flag explain`: a trace that can be read out to whoever asks why.

use anyhow::Context as _;
use serde_json::Value;

use super::{Output, Settings};
use crate::flags::{ClauseTrace, CohortTrace, Context, FlagTrace, RolloutTrace, RuleTrace, TARGETING_KEY};
use crate::http::api::explain::{Explaining, explained};
use crate::primitives::{FlagKey, Instant, Period};
use crate::routing::{RoutedExplanation, Router};
use crate::store::{Memory, Store, as_of};

#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    key: FlagKey,
    /// The subject's id
    #[arg(long, alias = "targeting-key", value_name = "ID")]
    user: Option<String>,
    /// Attributes as a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    context: String,
    /// As of this version of the configuration, as `flag history` lists them [default: the newest]
    #[arg(long, value_name = "VERSION")]
    as_of: Option<i64>,
    /// When it is asked, for schedules, such as 2027-01-01T00:00:00Z [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    at: Option<Instant>,
    /// Of a change's flag: the period, as YYYY-MM [default: the one that it is asked in]
    #[arg(long, value_name = "PERIOD")]
    period: Option<Period>,
}

fn instant(text: &str) -> Result<Instant, String> {
    Instant::parse(text).map_err(|_| format!("`{text}` is not an instant such as 2027-01-01T00:00:00Z"))
}

pub fn run(settings: &Settings, output: &Output, store: Store, arguments: &Arguments) -> anyhow::Result<()> {
    let context = context_of(arguments.user.as_deref(), &arguments.context)?;
    let now = jiff::Timestamp::now().into();
    let asked = Explaining { context: &context, at: arguments.at.unwrap_or(now), period: arguments.period };
    // The application's database is asked only if a change is routed.
    let app = settings.open_app_database().or_else(|_| Ok::<_, anyhow::Error>(store.database().clone()))?;
    let router = Router::new(app);
    let answer = match arguments.as_of {
        Some(version) => {
            let past = store.read(|conn| as_of(conn, version, &arguments.key))?;
            explained(&past, &router, &arguments.key, asked)?
        }
        None => explained(&Memory::load(store)?.snapshot(), &router, &arguments.key, asked)?,
    };
    let mut text = Lines::default();
    text.flag(0, &answer.trace);
    answer.routing.iter().for_each(|routing| text.routing(routing));
    output.result(&answer, &text.0.join("\n"));
    Ok(())
}

fn context_of(user: Option<&str>, attributes: &str) -> anyhow::Result<Context> {
    let mut value: Value = serde_json::from_str(attributes).context("--context is not JSON")?;
    if let (Some(key), Some(object)) = (user, value.as_object_mut()) {
        object.insert(TARGETING_KEY.to_owned(), Value::from(key));
    }
    Ok(Context::from_json(value)?)
}

/// Lines of text, each indented by what it belongs to.
#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, depth: usize, text: impl AsRef<str>) {
        self.0.push(format!("{}{}", "  ".repeat(depth), text.as_ref()));
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
