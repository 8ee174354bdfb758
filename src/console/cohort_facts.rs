//! What several pages say of a cohort: which flags use it and how, what they ask of a write to it, and its conditions in words.

use std::collections::BTreeMap;

use super::words::counted;
use crate::database::DatabaseConnection;
use crate::flags::{Clause, CohortConditions, Flag, Operator, Serve, Snapshot};
use crate::primitives::CohortName;
use crate::store::StoreError;
use crate::store::cohort_merge::Comparison;
use crate::store::dependents::protections_of_cohort;

/// A flag that names a cohort.
pub struct Use {
    pub flag: String,
    pub is_enabled: bool,
    /// The change that the flag routes.
    pub change: Option<String>,
    /// One sentence for each rule that names the cohort.
    pub rules: Vec<String>,
}

/// The flags that name each cohort.
pub fn all_uses(snapshot: &Snapshot) -> BTreeMap<&str, Vec<&str>> {
    let mut uses: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for flag in snapshot.flags().iter().map(|flag| flag.flag()) {
        for cohort in flag.cohorts() {
            let flags = uses.entry(cohort.as_str()).or_default();
            if flags.last() != Some(&flag.key().as_str()) {
                flags.push(flag.key().as_str());
            }
        }
    }
    uses
}

/// The flags that name this cohort.
pub fn uses(snapshot: &Snapshot, name: &CohortName) -> Vec<Use> {
    let flags = snapshot.flags().iter().map(|flag| flag.flag());
    flags.filter(|flag| flag.cohorts().any(|cohort| cohort == name)).map(|flag| used_by(flag, name)).collect()
}

fn used_by(flag: &Flag, name: &CohortName) -> Use {
    let rules = flag.rules().iter().enumerate().flat_map(|(at, rule)| {
        let number = at + 1;
        let named = rule.cohort.as_ref() == Some(name);
        let excepted = rule.except_cohort.as_ref() == Some(name);
        let served = served(&rule.serve);
        [
            named.then(|| format!("Rule {number} serves {served} to who is in it.")),
            excepted.then(|| format!("Rule {number} serves {served} to nobody who is in it.")),
        ]
    });
    Use {
        flag: flag.key().to_string(),
        is_enabled: flag.is_enabled(),
        change: flag.change().map(ToString::to_string),
        rules: rules.flatten().collect(),
    }
}

fn served(serve: &Serve) -> String {
    match serve {
        Serve::Variant(variant) => format!("“{variant}”"),
        Serve::Rollout(_) => String::from("a rollout"),
        Serve::Schedule(_) => String::from("a schedule"),
    }
}

/// What the protections of flags ask of whoever edits a cohort's ids.
#[derive(Default)]
pub struct Asks {
    /// The flags that take two persons.
    pub two_persons: Vec<String>,
    /// The flags that let only so many per cent move within an hour.
    pub limits: Vec<(String, f64)>,
}

/// What they are now.
pub fn asks(connection: &mut DatabaseConnection, name: &CohortName) -> Result<Asks, StoreError> {
    let mut asks = Asks::default();
    for (flag, protection) in protections_of_cohort(connection, name)? {
        if protection.two_person {
            asks.two_persons.push(flag.to_string());
        }
        if let Some(percent) = protection.percent_per_hour {
            asks.limits.push((flag.to_string(), percent));
        }
    }
    Ok(asks)
}

/// Who comes and who goes, as a page shows it.
pub struct Difference {
    /// `3 ids`
    pub come_count: String,
    pub go_count: String,
    /// The first of them.
    pub come: Vec<String>,
    pub go: Vec<String>,
    /// How many more there are than those that are listed.
    pub come_more: u64,
    pub go_more: u64,
}

impl Difference {
    /// Nobody comes and nobody goes.
    pub fn is_none(&self) -> bool {
        self.come.is_empty() && self.go.is_empty()
    }
}

/// A comparison as a page shows it.
pub fn difference(comparison: Comparison) -> Difference {
    let Comparison { added, removed, come, go } = comparison;
    let count = |count: u64| counted(i64::try_from(count).unwrap_or(i64::MAX), "id", "ids");
    let more = |count: u64, listed: &[String]| count.saturating_sub(u64::try_from(listed.len()).unwrap_or(u64::MAX));
    Difference {
        come_count: count(added),
        go_count: count(removed),
        come_more: more(added, &come),
        go_more: more(removed, &go),
        come,
        go,
    }
}

/// Groups of clauses, each as a sentence's part: any group makes a member, all parts of one must hold.
pub fn in_words(conditions: &CohortConditions) -> Vec<Vec<String>> {
    conditions.groups().iter().map(|group| group.iter().map(clause).collect()).collect()
}

/// `plan is "pro"`, `country is none of "CH", "DE" (large and small letters alike)`
fn clause(clause: &Clause) -> String {
    let values: Vec<String> = clause.comparands().iter().map(ToString::to_string).collect();
    let (verb, negated) = verbs(clause.operator());
    let verb = if clause.is_negated() { negated } else { verb };
    let any = if values.len() > 1 && clause.operator() != Operator::In { "any of " } else { "" };
    let case = if clause.ignores_case() { " (in large or small letters)" } else { "" };
    format!("{} {verb} {any}{}{case}", clause.attribute(), values.join(", ")).trim_end().to_owned()
}

fn verbs(operator: Operator) -> (&'static str, &'static str) {
    match operator {
        Operator::Equals => ("is", "is not"),
        Operator::In => ("is one of", "is none of"),
        Operator::Contains => ("contains", "does not contain"),
        Operator::StartsWith => ("begins with", "does not begin with"),
        Operator::EndsWith => ("ends with", "does not end with"),
        Operator::Matches => ("matches", "does not match"),
        Operator::LessThan => ("is less than", "is not less than"),
        Operator::AtMost => ("is at most", "is not at most"),
        Operator::MoreThan => ("is more than", "is not more than"),
        Operator::AtLeast => ("is at least", "is not at least"),
        Operator::Before => ("is before", "is not before"),
        Operator::After => ("is after", "is not after"),
        Operator::SemverEquals => ("is the version", "is not the version"),
        Operator::SemverLessThan => ("is a version below", "is not a version below"),
        Operator::SemverAtMost => ("is a version up to", "is not a version up to"),
        Operator::SemverMoreThan => ("is a version above", "is not a version above"),
        Operator::SemverAtLeast => ("is a version from", "is not a version from"),
        Operator::InCidr => ("is an address in", "is not an address in"),
        Operator::Exists => ("is known", "is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_said_in_words() {
        let json = r#"[[{"attribute": "plan", "operator": "equals", "value": "pro", "ignore_case": true},
                        {"attribute": "country", "operator": "in", "values": ["CH", "DE"], "negate": true}],
                       [{"attribute": "mail", "operator": "ends_with", "values": ["@a.test", "@b.test"]},
                        {"attribute": "age", "operator": "at_least", "value": 18},
                        {"attribute": "beta", "operator": "exists", "negate": true}]]"#;
        let said = in_words(&CohortConditions::parse(json).unwrap());
        let wanted = [
            vec!["plan is \"pro\" (in large or small letters)", "country is none of \"CH\", \"DE\""],
            vec!["mail ends with any of \"@a.test\", \"@b.test\"", "age is at least 18", "beta is not known"],
        ];
        assert_eq!(said, wanted);
    }
}
