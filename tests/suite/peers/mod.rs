//! The cases that other products publish for their conditions, asked of our clauses by mapping them where they can be expressed.
//! `tests/peers/fetch target/peers` gets the cases; nothing of theirs is kept here. Every difference is of a class that is listed with
//! its reason and the number of its cases, or is listed by name; an unlisted one fails, and so does a listed one that is none.

mod growthbook;
mod unleash;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use changeover::flags::{Context, Evaluation, Failure, Flag, Indeterminate, Match, Operator, Snapshot, VersionedFlag};
use changeover::primitives::Instant;
use serde_json::{Value, json};

/// Clauses that must all hold; one group of several is enough. No group holds for nobody, an empty one for everybody.
type Groups = Vec<Vec<Value>>;

/// One case of theirs.
struct Case {
    name: String,
    /// What they ask, in our clauses; or why that can't be said in them.
    groups: Result<Groups, &'static str>,
    context: Value,
    expected: bool,
}

/// Differences that are meant: a class, how many cases are of it, and why we differ.
type Classes = [(&'static str, usize, &'static str)];

/// Differences that are meant, by the case's name, and why we differ.
type Named = [(&'static str, &'static str)];

/// The directory with a product's cases. Without it the test is skipped, but never in CI.
fn directory(product: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let found = target.join("peers").join(product);
    if found.exists() {
        return Some(found);
    }
    let told = format!("the cases of {product} are not there: run tests/peers/fetch {}/peers", target.display());
    assert!(std::env::var("CI").is_err(), "{told}");
    eprintln!("SKIPPED: {told}");
    None
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A clause as a flag's JSON has it.
fn clause(attribute: &str, operator: &str, comparands: &Value, negate: bool, ignore_case: bool) -> Value {
    let mut clause = json!({"attribute": attribute, "operator": operator});
    if comparands.is_array() {
        clause["values"] = comparands.clone();
    } else if !comparands.is_null() {
        clause["value"] = comparands.clone();
    }
    if negate {
        clause["negate"] = json!(true);
    }
    if ignore_case {
        clause["ignore_case"] = json!(true);
    }
    clause
}

/// What we say, and of which classes of differences it may be.
fn ours(groups: &Groups, context: &Value) -> Result<(bool, Option<&'static str>), &'static str> {
    let rules = groups.iter().map(|clauses| json!({"clauses": clauses, "serve": {"variant": "yes"}}));
    let flag = json!({"key": "asked", "type": "boolean", "variants": {"no": false, "yes": true}, "default_variant": "no",
                      "off_variant": "no", "rules": rules.collect::<Vec<_>>()});
    let flag = Flag::parse(&flag.to_string()).map_err(|_| "we refuse such a clause when it is written")?;
    let context = Context::from_json(context.clone()).map_err(|_| "we refuse such a context")?;
    let class = class(&flag, &context);
    let snapshot = Snapshot::build(1, Instant::from_micros(0), vec![VersionedFlag { flag, version: 1 }], Vec::new());
    match snapshot.evaluate("asked", &context, Instant::from_micros(0)) {
        Evaluation::Served(served) => Ok((served.variant.name.as_str() == "yes", class)),
        // A rule asks for the targeting key: who asks without gets the default of the code.
        Evaluation::Failed(Failure::TargetingKeyMissing { .. }) => Ok((false, Some("missing"))),
        Evaluation::Failed(failure) => panic!("{failure}"),
    }
}

/// The first clause that can't be told, as a class.
fn class(flag: &Flag, context: &Context) -> Option<&'static str> {
    let clauses = flag.rules().iter().flat_map(|rule| &rule.clauses);
    clauses.into_iter().find_map(|clause| match clause.matches(context) {
        Match::Indeterminate(Indeterminate::Missing) => Some("missing"),
        Match::Indeterminate(_) if clause.operator().as_str().starts_with("semver") => Some("version"),
        Match::Indeterminate(_) if matches!(clause.operator(), Operator::Before | Operator::After) => Some("instant"),
        Match::Indeterminate(_) => Some("type"),
        Match::Yes | Match::No => None,
    })
}

/// Asks every case, prints the sum, and fails where we differ otherwise than is listed.
fn compare(product: &str, cases: Vec<Case>, classes: &Classes, named: &Named) {
    let mut agree = 0;
    let mut counts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut apart: BTreeMap<&str, usize> = BTreeMap::new();
    let mut seen: Vec<&str> = Vec::new();
    let mut wrong: Vec<String> = Vec::new();
    let total = cases.len();
    for Case { name, groups, context, expected } in cases {
        let told = groups.as_ref().map_err(|why| *why).and_then(|groups| ours(groups, &context));
        match told {
            Err(why) => *apart.entry(why).or_default() += 1,
            Ok((said, _)) if said == expected => agree += 1,
            Ok((said, class)) => match (named.iter().find(|(other, _)| *other == name), class) {
                (Some((other, _)), _) => seen.push(other),
                // What can't be told matches nobody: nothing else is a difference of a class.
                (None, Some(class)) if !said => counts.entry(class).or_default().push(name),
                (None, _) => wrong.push(format!("{name}: we say {said}, they {expected}: {groups:?} of {context}")),
            },
        }
    }
    let differ: usize = counts.values().map(Vec::len).sum::<usize>() + seen.len();
    let inexpressible: usize = apart.values().sum();
    eprintln!(
        "{product}: {total} cases, {agree} agree, {differ} differ as listed, {inexpressible} not expressible: {apart:#?}"
    );
    for (class, count, reason) in classes {
        let found = counts.remove(class).unwrap_or_default();
        if found.len() != *count {
            wrong.push(format!("{} instead of {count} cases differ because {reason}: {found:#?}", found.len()));
        }
    }
    wrong.extend(counts.iter().map(|(class, found)| format!("a class that is not listed, {class}: {found:#?}")));
    let agreeing = named.iter().filter(|(name, _)| !seen.contains(name));
    wrong.extend(agreeing.map(|(name, reason)| format!("{name} is listed ({reason}), but we do not differ")));
    assert!(wrong.is_empty(), "{product}:\n{}", wrong.join("\n"));
}
