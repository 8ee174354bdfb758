//! A flag as a person reads it: whom a rule is for, what it serves, and what differs between two versions. It reads the flag's JSON, so that
//! a version which would not be taken any more can still be told.

use serde_json::Value;

use super::diff::Difference;
use super::flag::Flag;
use super::percent::Percent;

/// The widest text that a value is shown as.
const VALUE_WIDTH_MAX: usize = 60;

/// One thing that must hold of whom a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `in the cohort`, `not in the cohort`; nothing for a clause.
    pub before: &'static str,
    /// The cohort's name, or the clause in words.
    pub what: String,
    pub is_cohort: bool,
}

/// What must hold of whom a rule is for; nothing if it is for everybody.
#[must_use]
pub fn conditions(rule: &Value) -> Vec<Condition> {
    let mut found = Vec::new();
    for (name, before) in [("cohort", "in the cohort "), ("except_cohort", "not in the cohort ")] {
        let cohort = rule.get(name).and_then(Value::as_str);
        found.extend(cohort.map(|cohort| Condition { before, what: cohort.to_owned(), is_cohort: true }));
    }
    let clauses = rule.get("clauses").and_then(Value::as_array).into_iter().flatten();
    found.extend(clauses.map(|one| Condition { before: "", what: clause(one), is_cohort: false }));
    found
}

/// Whom a rule is for.
#[must_use]
pub fn who(rule: &Value) -> String {
    let parts: Vec<String> = conditions(rule).iter().map(|one| format!("{}{}", one.before, one.what)).collect();
    if parts.is_empty() { String::from("everybody") } else { parts.join("\nand ") }
}

fn clause(clause: &Value) -> String {
    let word = |name: &str| clause.get(name).and_then(Value::as_str).unwrap_or_default();
    let is = |name: &str| clause.get(name) == Some(&Value::Bool(true));
    let values =
        clause.get("value").into_iter().chain(clause.get("values").and_then(Value::as_array).into_iter().flatten());
    let values: Vec<String> = values.map(Value::to_string).collect();
    let not = if is("negate") { "not " } else { "" };
    let case = if is("ignore_case") { " (in any case)" } else { "" };
    let text =
        format!("{} {not}{} {}{case}", word("attribute"), word("operator").replace('_', " "), values.join(" or "));
    text.trim_end().to_owned()
}

/// What a rule serves.
#[must_use]
pub fn serves(rule: &Value) -> String {
    let Some(serve) = rule.get("serve") else { return String::new() };
    if let Some(variant) = serve.get("variant").and_then(Value::as_str) {
        return variant.to_owned();
    }
    if let Some(steps) = serve.get("schedule").and_then(Value::as_array) {
        let word = |step: &Value, name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let steps: Vec<String> =
            steps.iter().map(|step| format!("{} from {}", word(step, "variant"), word(step, "from"))).collect();
        return steps.join("\n");
    }
    let Some(rollout) = serve.get("rollout") else { return serve.to_string() };
    let shares = rollout.get("ranges").and_then(shares_text).unwrap_or_default();
    match rollout.get("attribute").and_then(Value::as_str) {
        None | Some("targetingKey") => shares,
        Some(attribute) => format!("{shares}, by {attribute}"),
    }
}

/// A rule in one line, if the value is one.
#[must_use]
pub fn rule_text(rule: &Value) -> Option<String> {
    rule.get("serve")?;
    Some(format!("{}: {}", who(rule), serves(rule)).replace('\n', " "))
}

/// The shares of a rollout's ranges in buckets, each variant once; nothing if the value is none.
#[must_use]
pub fn shares(ranges: &Value) -> Option<Vec<(&str, u32)>> {
    let mut shares: Vec<(&str, u32)> = Vec::new();
    for range in ranges.as_array()?.iter() {
        let end = |name: &str| u32::try_from(range.get(name)?.as_u64()?).ok();
        let (variant, size) = (range.get("variant")?.as_str()?, end("to")?.checked_sub(end("from")?)?);
        match shares.iter_mut().find(|(known, _)| *known == variant) {
            Some((_, share)) => *share += size,
            None => shares.push((variant, size)),
        }
    }
    if shares.is_empty() { None } else { Some(shares) }
}

/// `new 12.5 %, old 87.5 %`, if the value is a rollout's ranges.
#[must_use]
pub fn shares_text(ranges: &Value) -> Option<String> {
    let told = shares(ranges)?;
    let told = told.iter().map(|(variant, share)| format!("{variant} {} %", Percent::of_buckets(*share)));
    Some(told.collect::<Vec<_>>().join(", "))
}

/// What a flag serves, in a few words.
#[must_use]
pub fn in_short(flag: &Flag) -> String {
    if let Some(variant) = flag.constant_variant() {
        return format!("{variant} to everybody");
    }
    let draft = serde_json::to_value(flag).unwrap_or_default();
    let rules = draft.get("rules").and_then(Value::as_array).cloned().unwrap_or_default();
    match rules.as_slice() {
        [rule] if conditions(rule).is_empty() => serves(rule).replace('\n', ", "),
        [rule] => format!("{}, all others {}", rule_text(rule).unwrap_or_default(), flag.default_variant()),
        rules => format!("by {} rules, whoever is left {}", rules.len(), flag.default_variant()),
    }
}

/// One difference in a line.
#[must_use]
pub fn change_text(change: &Difference) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn short(rest: &str) -> String {
        let json = format!(
            r#"{{"key":"f","type":"boolean","variants":{{"on":true,"off":false}},"default_variant":"off","off_variant":"off"{rest}}}"#
        );
        in_short(&Flag::parse(&json).unwrap_or_else(|invalid| panic!("{invalid:?}")))
    }

    #[test]
    fn what_a_flag_serves_is_told_in_a_few_words() {
        assert_eq!(short(""), "off to everybody");
        assert_eq!(short(r#","enabled":false"#), "off to everybody");
        let rollout = r#"{"serve":{"rollout":{"ranges":[{"variant":"on","from":0,"to":12500},{"variant":"off","from":12500,"to":100000}]}}}"#;
        assert_eq!(short(&format!(r#","rules":[{rollout}]"#)), "off 87.5 %, on 12.5 %");
        let cohort = r#"{"cohort":"beta","serve":{"variant":"on"}}"#;
        assert_eq!(short(&format!(r#","rules":[{cohort}]"#)), "in the cohort beta: on, all others off");
        assert_eq!(short(&format!(r#","rules":[{cohort},{rollout}]"#)), "by 2 rules, whoever is left off");
    }
}
