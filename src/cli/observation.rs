//! `changeover observation`: what applications observed of an old and a new result.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use jiff::civil::Date;
use serde_json::json;

use super::{Output, Settings, Why, table};
use crate::observations::{BATCH_MAX, Kind, ObservationSummary, Rule, read_batch};
use crate::primitives::{ChangeName, FlagKey};
use crate::store::observation_rules;
use crate::store::observations::{self, Posted, RefusedLine, Subject};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Tell what the last hours come to, by operation
    Summary {
        #[command(flatten)]
        of: Of,
        /// How many hours
        #[arg(long, value_name = "N", default_value_t = 24)]
        hours: u32,
    },
    /// List the newest mismatches that are kept
    Samples {
        #[command(flatten)]
        of: Of,
        /// Only of this operation
        #[arg(long)]
        operation: Option<String>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// List what comparisons tolerate, ignore and hide
    Rules {
        #[command(flatten)]
        of: Of,
    },
    /// Add a rule; it counts for observations that come from now on
    AddRule(RuleArguments),
    /// Remove a rule
    RemoveRule {
        #[command(flatten)]
        of: Of,
        /// The rule's id
        #[arg(long)]
        id: String,
        #[command(flatten)]
        why: Why,
    },
    /// Count observations from a file, one a line
    Import {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        of: Of,
    },
}

/// What is observed.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Of {
    /// A change
    #[arg(long)]
    change: Option<ChangeName>,
    /// A flag
    #[arg(long)]
    flag: Option<FlagKey>,
}

#[derive(Debug, clap::Args)]
pub struct RuleArguments {
    #[command(flatten)]
    of: Of,
    /// absolute, relative, any_order, trim, ignore_case, ignore, redact or hash
    #[arg(long)]
    kind: String,
    /// A JSON pointer into the value, `*` for any one part [default: all of it]
    #[arg(long, default_value = "")]
    path: String,
    /// The tolerance, such as 0.01
    #[arg(long)]
    value: Option<String>,
    /// Only for this operation
    #[arg(long)]
    operation: Option<String>,
    /// Who answers for it
    #[arg(long)]
    owner: String,
    /// The last day on which it counts
    #[arg(long, value_name = "DATE")]
    expires: Option<Date>,
    #[command(flatten)]
    why: Why,
}

impl Of {
    fn subject(&self) -> anyhow::Result<Subject> {
        match (&self.change, &self.flag) {
            (Some(change), _) => Ok(Subject::change(change)),
            (None, Some(flag)) => Ok(Subject::flag(flag)),
            (None, None) => bail!("say with --change or --flag what is observed"),
        }
    }
}

pub fn run(settings: &Settings, output: &Output, command: Command) -> anyhow::Result<u8> {
    let store = settings.open_store()?;
    match command {
        Command::Summary { of, hours } => {
            let span = observations::last_hours(hours.clamp(1, 720));
            let subject = of.subject()?;
            let found = store.read(|conn| observations::summary(conn, &subject, span))?;
            output.result(&found, &summary(&found));
        }
        Command::Samples { of, operation, limit } => {
            let subject = of.subject()?;
            let found = store.read(|conn| observations::samples(conn, &subject, operation.as_deref(), limit))?;
            let rows = found.iter().map(|one| {
                let side = |name: &str| one.data.get(name).map(ToString::to_string).unwrap_or_default();
                vec![one.at.to_string(), one.operation.clone(), one.path.clone(), side("old"), side("new")]
            });
            output.result(&found, &table(&["at", "operation", "where", "old", "new"], rows));
        }
        Command::Rules { of } => {
            let subject = of.subject()?;
            let found = store.read(|conn| observation_rules::list(conn, &subject))?;
            let rows = found.iter().map(|one| {
                let rule = &one.rule;
                let until = rule.expires.map_or_else(String::new, |date| date.to_string());
                let what = json!(rule.kind).as_str().unwrap_or_default().to_owned();
                vec![one.id.clone(), what, rule.path.clone(), rule.owner.clone(), until, rule.reason.clone()]
            });
            output.result(&found, &table(&["rule", "kind", "path", "owner", "until", "reason"], rows));
        }
        Command::AddRule(arguments) => add_rule(settings, output, arguments)?,
        Command::RemoveRule { of, id, why } => {
            let (subject, origin) = (of.subject()?, settings.origin(&why));
            store.write(|conn| observation_rules::remove(conn, &subject, (&id, None), origin))?;
            output.result(&json!({ "id": id }), &format!("rule {id} is removed"));
        }
        Command::Import { file, of } => return import(settings, output, &file, &of.subject()?),
    }
    Ok(0)
}

fn add_rule(settings: &Settings, output: &Output, arguments: RuleArguments) -> anyhow::Result<()> {
    let kind: Kind = serde_json::from_value(json!(arguments.kind))
        .context("--kind is absolute, relative, any_order, trim, ignore_case, ignore, redact or hash")?;
    let rule = Rule {
        operation: arguments.operation,
        path: arguments.path,
        kind,
        value: arguments.value,
        owner: arguments.owner,
        reason: arguments.why.reason.clone(),
        expires: arguments.expires,
    };
    let rule = rule.checked(jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date())?;
    let (subject, origin) = (arguments.of.subject()?, settings.origin(&arguments.why));
    let stored = settings.open_store()?.write(|conn| observation_rules::create(conn, &subject, &rule, origin))?;
    output.result(&stored, &format!("rule {} counts for what is observed from now on", stored.id));
    Ok(())
}

fn import(settings: &Settings, output: &Output, file: &PathBuf, subject: &Subject) -> anyhow::Result<u8> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let store = settings.open_store()?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut total = Posted::default();
    for (chunk, first) in lines.chunks(BATCH_MAX).zip((0..).step_by(BATCH_MAX)) {
        let read = read_batch(&chunk.join("\n")).map_err(anyhow::Error::msg)?;
        let (batch, bad): (Vec<_>, Vec<_>) = read.into_iter().partition(Result::is_ok);
        let batch: Vec<_> = batch.into_iter().flatten().collect();
        let posted = observations::post(&store, subject, &batch)?;
        total.accepted += posted.accepted;
        total.repeated += posted.repeated;
        total.compared += posted.compared;
        total.mismatches += posted.mismatches;
        total.ignored += posted.ignored;
        total.errors_old += posted.errors_old;
        total.errors_new += posted.errors_new;
        let bad = bad.into_iter().filter_map(Result::err);
        let bad = bad.map(|one| RefusedLine { line: first + one.line, detail: one.detail });
        total.refused.extend(posted.refused.into_iter().map(|one| RefusedLine { line: first + one.line, ..one }));
        total.refused.extend(bad);
    }
    let told: Vec<String> = total.refused.iter().map(|one| format!("\nline {}: {}", one.line, one.detail)).collect();
    let text = format!(
        "{} counted, {} known already, {} mismatches, {} ignored, {} lines refused{}",
        total.accepted,
        total.repeated,
        total.mismatches,
        total.ignored,
        total.refused.len(),
        told.concat()
    );
    output.result(&total, &text);
    Ok(u8::from(!total.refused.is_empty()))
}

fn summary(found: &[ObservationSummary]) -> String {
    let micros = |value: Option<u64>| value.map_or_else(|| String::from("-"), |value| format!("{value}"));
    let rows = found.iter().map(|one| {
        vec![
            one.name.clone(),
            one.compared.to_string(),
            format!("{} ({:.3} %)", one.mismatches, one.mismatch_percent().unwrap_or(0.0)),
            one.ignored.to_string(),
            format!("{} / {}", one.errors_old, one.errors_new),
            format!("{} / {}", micros(one.latency_old.p50_us), micros(one.latency_new.p50_us)),
            format!("{} / {}", micros(one.latency_old.p99_us), micros(one.latency_new.p99_us)),
        ]
    });
    table(&["operation", "compared", "mismatches", "ignored", "errors old/new", "p50 µs", "p99 µs"], rows)
}
