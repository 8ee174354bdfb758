//! `changeover flag list` and `show`: flags as a person reads them.

use serde_json::Value;

use super::{Output, table};
use crate::flags::Flag;
use crate::flags::words::{serves, who};
use crate::http::api::List;
use crate::http::api::flags::{FlagAnswer, FlagQuery};
use crate::store::flags::{self, StoredFlag};
use crate::store::{Store, stale};

/// Which flags are listed.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Filter {
    /// Only flags whose key begins so
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only the flag that routes this change
    #[arg(long, value_name = "NAME")]
    change: Option<String>,
    /// Only flags that name this cohort
    #[arg(long, value_name = "NAME")]
    cohort: Option<String>,
    /// Only flags that could go or need a look, with the reasons, and below them the cohorts that no flag names
    #[arg(long)]
    stale: bool,
    /// With --stale: after so many days without a change or a question
    #[arg(long, value_name = "DAYS", requires = "stale", default_value_t = FlagQuery::DAYS)]
    days: u16,
}

pub fn list(store: &Store, output: &Output, filter: &Filter) -> anyhow::Result<()> {
    let wanted =
        flags::Filter { prefix: filter.prefix.clone(), change: filter.change.clone(), cohort: filter.cohort.clone() };
    if filter.stale {
        return list_stale(store, output, &wanted, filter.days);
    }
    let mut found = store.read(flags::all)?;
    found.retain(|stored| wanted.takes(stored));
    let rows = found.iter().map(|stored| {
        let flag = Flag::parse(&stored.data).ok();
        let text = |read: fn(&Flag) -> String| flag.as_ref().map_or_else(|| String::from("(unreadable)"), read);
        vec![
            stored.key.clone(),
            text(|flag| flag.kind().as_str().to_owned()),
            text(|flag| String::from(if flag.is_enabled() { "on" } else { "killed" })),
            text(|flag| flag.rules().len().to_string()),
            stored.version.to_string(),
            stored.updated_at().to_string(),
            stored.updated_by.clone(),
        ]
    });
    let text = table(&["flag", "type", "state", "rules", "version", "updated", "by"], rows);
    let items: Vec<FlagAnswer> = found.into_iter().map(FlagAnswer::from).collect();
    output.result(&List { items, next: None }, &text);
    Ok(())
}

fn list_stale(store: &Store, output: &Output, wanted: &flags::Filter, days: u16) -> anyhow::Result<()> {
    let (mut found, cohorts) = store.read(|conn| Ok((stale::flags(conn, days)?, stale::cohorts(conn)?)))?;
    found.retain(|(stored, _)| wanted.takes(stored));
    let rows = found.iter().map(|(stored, reasons)| {
        let reasons: Vec<&str> = reasons.iter().map(|reason| reason.sentence.as_str()).collect();
        vec![stored.key.clone(), reasons.join("\n")]
    });
    let mut text = table(&["flag", "why"], rows);
    if !cohorts.is_empty() {
        text.push_str(&format!("\nCohorts that no flag names: {}", cohorts.join(", ")));
    }
    let items: Vec<FlagAnswer> = found.into_iter().map(FlagAnswer::from).collect();
    output.result(&serde_json::json!({ "items": items, "unused_cohorts": cohorts }), &text);
    Ok(())
}

pub fn show(output: &Output, stored: StoredFlag) {
    let text = text(&stored);
    output.result(&FlagAnswer::from(stored), &text);
}

fn text(stored: &StoredFlag) -> String {
    let flag: Value = serde_json::from_str(&stored.data).unwrap_or(Value::Null);
    let word = |name: &str| flag.get(name).and_then(Value::as_str).unwrap_or_default();
    let state = if flag.get("enabled") == Some(&Value::Bool(false)) { "KILLED" } else { "on" };
    let mut text = format!(
        "{} ({}, {state}), version {} of {} by {}",
        stored.key,
        word("type"),
        stored.version,
        stored.updated_at(),
        stored.updated_by
    );
    let lines = [("description", ""), ("change", "routes the change "), ("expires", "expires ")];
    for (name, before) in lines.iter().filter(|(name, _)| !word(name).is_empty()) {
        text.push_str(&format!("\n{before}{}", word(name)));
    }
    for name in ["prerequisites", "protection"] {
        if let Some(value) = flag.get(name).filter(|value| !value.is_null()) {
            text.push_str(&format!("\n{name}: {value}"));
        }
    }
    let variants = flag.get("variants").and_then(Value::as_object).into_iter().flatten();
    let variants: Vec<String> = variants.map(|(name, value)| format!("{name} = {value}")).collect();
    text.push_str(&format!("\nvariants: {}\n", variants.join(", ")));
    let rules = flag.get("rules").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut rows: Vec<Vec<String>> = rules
        .iter()
        .enumerate()
        .map(|(at, rule)| vec![at.to_string(), who(rule), serves(rule), description(rule)])
        .collect();
    rows.push(vec![String::new(), String::from("whoever is left"), word("default_variant").to_owned(), String::new()]);
    rows.push(vec![String::new(), String::from("while killed"), word("off_variant").to_owned(), String::new()]);
    text.push_str(&table(&["rule", "for", "serves", "description"], rows));
    text
}

fn description(rule: &Value) -> String {
    rule.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}
