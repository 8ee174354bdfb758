//! `changeover flag history`, `diff` and `restore`.

use serde_json::Value;

use super::flag_show::rule_text;
use super::{Output, table};
use crate::flags::{Difference, Percent};
use crate::http::api::history::{read_diff, read_page};
use crate::primitives::FlagKey;
use crate::store::{PageRequest, Store};

/// The widest text that a value is shown as.
const VALUE_WIDTH_MAX: usize = 60;

pub fn history(store: &Store, output: &Output, key: &FlagKey, after: Option<i64>) -> anyhow::Result<()> {
    let request = PageRequest { after: after.map(|version| version.to_string()), limit: None };
    let page = store.read(|conn| read_page(conn, key, &request))?;
    let rows = page.items.iter().map(|version| {
        let changes = match &version.flag {
            Some(_) if version.changes.iter().any(|change| change.at.is_empty()) => String::from("(created)"),
            Some(_) => changes_text(&version.changes),
            None => String::from("(removed)"),
        };
        let (at, reason) = (version.at.to_string(), version.reason.clone());
        vec![version.version.to_string(), at, version.actor.clone(), reason, changes]
    });
    let text = table(&["version", "at", "by", "reason", "what changed"], rows);
    if let Some(next) = &page.next {
        output.note(&format!("There are older versions: --before {next}"));
    }
    output.result(&page, &text);
    Ok(())
}

pub fn diff(store: &Store, output: &Output, key: &FlagKey, versions: (Option<i64>, Option<i64>)) -> anyhow::Result<()> {
    let diff = store.read(|conn| read_diff(conn, key, versions.0, versions.1))?;
    let text = if diff.changes.is_empty() {
        format!("{key} is the same at version {} and at version {}", diff.from, diff.to)
    } else {
        format!("{key}, version {} → {}\n{}", diff.from, diff.to, changes_text(&diff.changes))
    };
    output.result(&diff, &text);
    Ok(())
}

fn changes_text(changes: &[Difference]) -> String {
    let lines: Vec<String> = changes.iter().map(change_text).collect();
    if lines.is_empty() { String::from("(nothing)") } else { lines.join("\n") }
}

fn change_text(change: &Difference) -> String {
    let at = if change.at.is_empty() { "the flag" } else { change.at.trim_start_matches('/') };
    match (&change.before, &change.after) {
        (None, Some(after)) => format!("+ {at}: {}", value_text(after)),
        (Some(before), None) => format!("- {at}: {}", value_text(before)),
        (before, after) => {
            let text = |value: &Option<Value>| value.as_ref().map(value_text).unwrap_or_default();
            format!("~ {at}: {} → {}", text(before), text(after))
        }
    }
}

/// A value in one line; a rollout's ranges as shares, a rule as whom it is for and what it serves.
fn value_text(value: &Value) -> String {
    if let Some(shares) = shares_text(value) {
        return shares;
    }
    if let Some(rule) = rule_text(value) {
        return rule;
    }
    let text = value.to_string();
    if text.chars().count() <= VALUE_WIDTH_MAX {
        return text;
    }
    text.chars().take(VALUE_WIDTH_MAX).chain(['…']).collect()
}

/// `new 12.5 %, old 87.5 %`, if the value is a rollout's ranges.
pub fn shares_text(ranges: &Value) -> Option<String> {
    let mut shares: Vec<(&str, u32)> = Vec::new();
    for range in ranges.as_array()?.iter() {
        let end = |name: &str| u32::try_from(range.get(name)?.as_u64()?).ok();
        let (variant, size) = (range.get("variant")?.as_str()?, end("to")?.checked_sub(end("from")?)?);
        match shares.iter_mut().find(|(known, _)| *known == variant) {
            Some((_, share)) => *share += size,
            None => shares.push((variant, size)),
        }
    }
    if shares.is_empty() {
        return None;
    }
    let told = shares.iter().map(|(variant, share)| format!("{variant} {} %", Percent::of_buckets(*share)));
    Some(told.collect::<Vec<_>>().join(", "))
}
