//! Unleash's export: features with their strategies in one environment, segments and dependencies. The list that its clients fetch,
//! in which a feature holds its strategies itself, is read as well.

use std::collections::BTreeSet;

use serde_json::Value;

use super::condition::Condition;
use super::constraint;
use super::ladder::{self, Step};
use super::note::{Note, Unsupported, shortened};
use super::strategy::{self, Segment, Segments, Share, Strategy, id_text, list};
use super::variants::{self, Values};
use super::{Imported, ImportedCohort, NotReadable};
use crate::flags::bucket::BUCKETS;
use crate::flags::draft::{FlagDraft, PrerequisiteDraft, RangeDraft, RuleDraft, ServeDraft};
use crate::primitives::CohortName;

const EXPECTED: &str = "an export of Unleash";

/// Reads an export; `environment` says which one, where it has several.
pub fn import(document: &Value, environment: Option<&str>) -> Result<Imported, NotReadable> {
    let wrong = |why: String| NotReadable { expected: EXPECTED, why };
    let Some(features) = document.get("features").and_then(Value::as_array) else {
        return Err(wrong(String::from("it has no `features`")));
    };
    let environment = environment_of(document, environment).map_err(wrong)?;
    let export = Export { document, environment, segments: segments(document) };
    let mut imported = Imported::default();
    let mut used = BTreeSet::new();
    for feature in features {
        export.add(&mut imported, feature, &mut used);
    }
    export.add_cohorts(&mut imported, &used);
    drop_without_parents(&mut imported);
    Ok(imported)
}

/// The environment to read; none if the document is of one only.
fn environment_of(document: &Value, asked: Option<&str>) -> Result<Option<String>, String> {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for list_name in ["featureEnvironments", "featureStrategies"] {
        let names = list(document, list_name).into_iter();
        known.extend(names.filter_map(|row| row.get("environment").and_then(Value::as_str).map(str::to_owned)));
    }
    let names = || known.iter().map(|name| format!("`{}`", shortened(name))).collect::<Vec<_>>().join(", ");
    match asked {
        Some(asked) if known.contains(asked) || known.is_empty() => Ok(Some(asked.to_owned())),
        Some(asked) => Err(format!("it has no environment `{asked}`, but {}", names())),
        None if known.len() > 1 => Err(format!("it has the environments {}: say which one", names())),
        None => Ok(known.into_iter().next()),
    }
}

fn segments(document: &Value) -> Segments {
    let segment = |segment: &Value| {
        let name = segment.get("name").and_then(Value::as_str).unwrap_or_default();
        let id = id_text(segment.get("id")?);
        let name = if name.is_empty() { format!("segment-{id}") } else { name.to_owned() };
        Some((id, Segment { name, constraints: segment.get("constraints").and_then(Value::as_array).cloned() }))
    };
    list(document, "segments").iter().filter_map(segment).collect()
}

struct Export<'a> {
    document: &'a Value,
    environment: Option<String>,
    segments: Segments,
}

/// What a feature has in the environment.
struct Feature {
    key: String,
    description: String,
    enabled: bool,
    strategies: Vec<Value>,
    variants: Vec<Value>,
}

impl Export<'_> {
    fn add(&self, imported: &mut Imported, definition: &Value, used: &mut BTreeSet<String>) {
        let key = definition.get("name").and_then(Value::as_str).unwrap_or_default();
        if definition.get("archived").and_then(Value::as_bool) == Some(true) {
            let archived = Unsupported::new("archived", "an archived feature", "it is not used any more");
            return imported.notes.push(Note::dropped(key, archived.or_else("revive it in Unleash if it is")));
        }
        let mut notes = Vec::new();
        let feature = self.feature(key, definition);
        match self.flag(&feature, definition, &mut notes) {
            Ok((draft, segments)) => {
                let before = imported.flags.len();
                imported.add(draft);
                if imported.flags.len() > before {
                    used.extend(segments);
                    imported.notes.append(&mut notes);
                }
            }
            Err(unsupported) => imported.leave_out(key, unsupported),
        }
    }

    fn feature(&self, key: &str, definition: &Value) -> Feature {
        let here = |row: &Value| {
            let of = |name: &str| row.get(name).and_then(Value::as_str);
            of("featureName").or_else(|| of("feature")) == Some(key)
                && (of("environment").is_none() || of("environment") == self.environment.as_deref())
        };
        let mut strategies = list(definition, "strategies");
        strategies.extend(list(self.document, "featureStrategies").into_iter().filter(|row| here(row)));
        strategies.sort_by_key(|strategy| strategy.get("sortOrder").and_then(Value::as_i64).unwrap_or(i64::MAX));
        let environment = list(self.document, "featureEnvironments").into_iter().find(|row| here(row));
        let environment = environment.unwrap_or(Value::Null);
        let enabled = environment.get("enabled").or_else(|| definition.get("enabled")).and_then(Value::as_bool);
        let variants = Some(list(&environment, "variants")).filter(|variants| !variants.is_empty());
        Feature {
            key: key.to_owned(),
            description: definition.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
            enabled: enabled.unwrap_or(false),
            strategies,
            variants: variants.unwrap_or_else(|| list(definition, "variants")),
        }
    }

    fn flag(
        &self,
        feature: &Feature,
        definition: &Value,
        notes: &mut Vec<Note>,
    ) -> Result<(FlagDraft, BTreeSet<String>), Unsupported> {
        let strategies = self.strategies(feature)?;
        let values = values(feature, &strategies)?;
        tell(feature, &strategies, &values, notes);
        let (rules, rounded) = rules(feature, &strategies, &values, &self.segments)?;
        if rounded {
            let why = "shares are rounded to 0.001 %";
            notes.push(Note::differs(
                &feature.key,
                Unsupported::new("variants", "weights", why).or_else("nothing to do, most likely"),
            ));
        }
        let used = strategies.iter().filter_map(|strategy| strategy.segment.clone()).collect();
        let draft = FlagDraft {
            key: feature.key.clone(),
            kind: values.kind,
            description: feature.description.clone(),
            enabled: feature.enabled,
            default_variant: values.off.to_owned(),
            off_variant: values.off.to_owned(),
            variants: values.variants,
            prerequisites: self.prerequisites(&feature.key, definition)?,
            rules,
            change: None,
            expires: None,
            protection: None,
        };
        Ok((draft, used))
    }

    fn strategies(&self, feature: &Feature) -> Result<Vec<Strategy>, Unsupported> {
        let mut strategies = Vec::new();
        for (number, definition) in feature.strategies.iter().enumerate() {
            let read = strategy::read(definition, &self.segments);
            strategies.extend(read.map_err(|unsupported| unsupported.below(&format!("strategies[{number}]")))?);
        }
        if !feature.strategies.is_empty() && strategies.is_empty() {
            let why = "whether it is on for nobody or for everybody depends on the version of Unleash";
            return Err(
                Unsupported::new("strategies", "only disabled strategies", why).or_else("remove them, or enable one")
            );
        }
        if strategies.is_empty() {
            // A feature without strategies is on for everybody.
            let always = Condition::always();
            strategies.push(Strategy {
                condition: always.clone(),
                segment: None,
                whole: always,
                share: Share::All,
                variants: Vec::new(),
                title: String::new(),
            });
        }
        Ok(strategies)
    }

    fn prerequisites(&self, key: &str, definition: &Value) -> Result<Vec<PrerequisiteDraft>, Unsupported> {
        let rows = list(self.document, "dependencies");
        let rows = rows.iter().filter(|row| row.get("feature").and_then(Value::as_str) == Some(key));
        let parents = rows.flat_map(|row| list(row, "dependencies")).chain(list(definition, "dependencies"));
        parents.map(|parent| self.prerequisite(&parent)).collect()
    }

    fn prerequisite(&self, dependency: &Value) -> Result<PrerequisiteDraft, Unsupported> {
        let parent = dependency.get("feature").and_then(Value::as_str).unwrap_or_default();
        let refused = |why: &str| {
            Unsupported::new("dependencies", format!("the parent feature `{}`", shortened(parent)), why)
                .or_else("import the parent too, or write the prerequisite by hand")
        };
        let features = list(self.document, "features");
        let definition = features.iter().find(|feature| feature.get("name").and_then(Value::as_str) == Some(parent));
        let definition = definition.ok_or_else(|| refused("the document does not have it"))?;
        let feature = self.feature(parent, definition);
        let known = self.strategies(&feature).and_then(|strategies| values(&feature, &strategies));
        let known = known.map_err(|_| refused("it cannot be expressed itself"))?;
        let named: Vec<String> =
            list(dependency, "variants").iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
        let variants = match dependency.get("enabled").and_then(Value::as_bool) {
            Some(false) => vec![known.off.to_owned()],
            _ if !named.is_empty() => named,
            _ => known.variants.0.into_iter().map(|(name, _)| name).filter(|name| name != known.off).collect(),
        };
        Ok(PrerequisiteDraft { flag: parent.to_owned(), variants })
    }

    fn add_cohorts(&self, imported: &mut Imported, used: &BTreeSet<String>) {
        for id in used {
            let Some(segment) = self.segments.get(id) else { continue };
            let Ok(condition) = strategy::of_segment(id, &self.segments) else { continue };
            imported.cohorts.push(ImportedCohort {
                name: cohort_name(id, &self.segments),
                description: format!("Unleash's segment {}", shortened(&segment.name)),
                conditions: condition.0.into_iter().map(|group| group.clauses).collect(),
            });
        }
    }
}

/// A name that a cohort may have; the segment's id keeps it apart from others that look alike.
fn cohort_name(id: &str, segments: &Segments) -> String {
    let name = segments.get(id).map_or("", |segment| segment.name.as_str());
    if CohortName::new(name).is_ok() && segments.values().filter(|other| other.name == name).count() == 1 {
        return name.to_owned();
    }
    let plain = |text: &str| -> String {
        let letters = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
        letters.take(50).collect::<String>().trim_matches('-').to_owned()
    };
    format!("segment-{}-{}", plain(id), plain(name)).trim_end_matches('-').to_owned()
}

fn values(feature: &Feature, strategies: &[Strategy]) -> Result<Values, Unsupported> {
    let of_strategies = strategies.iter().filter(|strategy| !strategy.variants.is_empty()).count();
    let all: Vec<&Value> =
        feature.variants.iter().chain(strategies.iter().flat_map(|strategy| &strategy.variants)).collect();
    if all.is_empty() {
        return Ok(variants::boolean());
    }
    if feature.variants.is_empty() && of_strategies < strategies.len() {
        let why =
            "for some it is on with a variant and for others on without one, and a flag here has one kind of answer";
        return Err(Unsupported::new("strategies", "strategies with variants beside strategies without", why)
            .or_else("give each strategy variants"));
    }
    variants::values(&all)
}

/// What answers otherwise, or is asked for otherwise.
fn tell(feature: &Feature, strategies: &[Strategy], values: &Values, notes: &mut Vec<Note>) {
    let mut differs = |at: &str, what: &str, why: &str, remedy: &str| {
        notes.push(Note::differs(&feature.key, Unsupported::new(at, what, why).or_else(remedy)));
    };
    if strategies.iter().any(|strategy| strategy.share != Share::All) || values.off == variants::DISABLED {
        differs(
            "strategies",
            "shares",
            "they keep their size, but who is in which differs: Unleash hashes otherwise",
            "import at a time when nobody minds, or list who must stay in a cohort",
        );
    }
    if values.off == variants::DISABLED {
        differs(
            "variants",
            "a feature with variants",
            "there callers ask whether it is on and then for its variant; here it is one flag, whose variant `disabled` means off",
            "ask for the variant's value, or compare the variant with `disabled`",
        );
    }
    let constraints: Vec<Value> =
        feature.strategies.iter().flat_map(|strategy| list(strategy, "constraints")).collect();
    let is = |constraint: &Value, name: &str| constraint.get(name).and_then(Value::as_bool) == Some(true);
    if constraints.iter().any(|constraint| is(constraint, "inverted")) {
        differs(
            "strategies",
            "an inverted constraint",
            "there it holds for an attribute of another type or one that cannot be read; here it does not match (of one that is missing both hold)",
            "send the attribute in the type that the constraint compares it with",
        );
    }
    if constraints.iter().any(constraint::has_numeric_texts) {
        differs(
            "strategies",
            "a constraint on texts that are numbers",
            "there the number 42 equals the text \"42\"; here a number is no text",
            "send the attribute as a text",
        );
    }
    let filled_in = ["appName", "environment", "sessionId", "remoteAddress"];
    let context = |constraint: &Value| constraint.get("contextName").and_then(Value::as_str).map(str::to_owned);
    if constraints.iter().filter_map(context).any(|name| filled_in.contains(&name.as_str())) {
        differs(
            "strategies",
            "a constraint on what Unleash's clients fill in",
            "OpenFeature's clients do not",
            "send appName, environment, sessionId and remoteAddress in the context",
        );
    }
}

/// Strategies are alternatives: whoever is in none of the first is asked about the next. Rules are not: one that serves a share
/// decides about everybody for whom it is. So shares come last, and no two of them may be for the same subject.
fn rules(
    feature: &Feature,
    strategies: &[Strategy],
    values: &Values,
    segments: &Segments,
) -> Result<(Vec<RuleDraft>, bool), Unsupported> {
    let mut ordered = merged(strategies);
    if ordered.iter().all(|strategy| strategy.variants.is_empty()) {
        ordered.sort_by_key(|strategy| (strategy.share != Share::All, ends(&strategy.whole)));
    }
    let later = ordered
        .iter()
        .enumerate()
        .flat_map(|(number, one)| ordered.iter().skip(number + 1).map(move |other| (one, other)));
    for (one, other) in later {
        if one.share != Share::All && !exclude(&one.whole, &other.whole) {
            let why = "whom the first share leaves out would be asked about the next, and a rule here decides about all for whom it is";
            return Err(Unsupported::new(
                "strategies",
                "several strategies, of which one that is not the last has a share",
                why,
            )
            .or_else("make their constraints exclude one another, or join them in one strategy"));
        }
    }
    let (mut steps, mut rounded) = (Vec::new(), false);
    for strategy in ordered.iter().filter(|strategy| !strategy.whole.is_never()) {
        let (serves, inexact) = serves(feature, strategy, values)?;
        rounded |= inexact;
        for (who, serve) in serves {
            let step = Step::new(strategy.condition.clone().and(&who)?, serve, "strategies");
            let cohort = strategy.segment.as_ref().map(|id| cohort_name(id, segments));
            steps.push(Step { cohort, description: strategy.title.clone(), ..step });
        }
    }
    Ok((ladder::rules(steps, values.off)?, rounded))
}

fn serves(
    feature: &Feature,
    strategy: &Strategy,
    values: &Values,
) -> Result<(Vec<(Condition, ServeDraft)>, bool), Unsupported> {
    if values.off == variants::DISABLED {
        let own = if strategy.variants.is_empty() { &feature.variants } else { &strategy.variants };
        return variants::serves(own, &strategy.share, &feature.key);
    }
    let serve = match &strategy.share {
        Share::All => ServeDraft::Variant(String::from("on")),
        Share::Part { buckets, seed, attribute } => {
            let range = |variant: &str, from: u32, to: u32| RangeDraft { variant: variant.to_owned(), from, to };
            let ranges = [range("on", 0, *buckets), range("off", *buckets, BUCKETS)];
            ladder::rollout(seed, attribute, ranges.into_iter().filter(|range| range.from < range.to).collect())
        }
    };
    Ok((vec![(Condition::always(), serve)], false))
}

/// Of two strategies that sort the same subjects alike, the larger share holds the smaller one.
fn merged(strategies: &[Strategy]) -> Vec<Strategy> {
    let mut merged: Vec<Strategy> = Vec::new();
    for strategy in strategies {
        let twin = merged.iter_mut().find(|other| match (&other.share, &strategy.share) {
            (Share::Part { seed, attribute, .. }, Share::Part { seed: own, attribute: by, .. }) => {
                (seed, attribute, &other.whole, &other.variants) == (own, by, &strategy.whole, &strategy.variants)
            }
            _ => false,
        });
        match (twin.map(|twin| &mut twin.share), &strategy.share) {
            (Some(Share::Part { buckets, .. }), Share::Part { buckets: more, .. }) => *buckets = (*buckets).max(*more),
            _ => merged.push(strategy.clone()),
        }
    }
    merged
}

fn ends(condition: &Condition) -> bool {
    condition.0.iter().any(|group| group.until.is_some())
}

fn exclude(one: &Condition, other: &Condition) -> bool {
    one.0.iter().all(|one| other.0.iter().all(|other| one.excludes(other)))
}

/// Flags whose parent was left out are left out as well: they would be off for everybody. One may be another's parent.
fn drop_without_parents(imported: &mut Imported) {
    loop {
        let known: BTreeSet<String> = imported.flags.iter().map(|flag| flag.key.clone()).collect();
        let orphan = imported
            .flags
            .iter()
            .position(|flag| flag.prerequisites.iter().any(|prerequisite| !known.contains(&prerequisite.flag)));
        let Some(orphan) = orphan else { return };
        let flag = imported.flags.remove(orphan);
        imported.notes.retain(|note| note.flag != flag.key);
        let missing = Unsupported::new(
            "dependencies",
            "a parent feature that was left out",
            "without it the flag would be off for everybody",
        );
        imported.leave_out(&flag.key, missing.or_else("write the parent by hand, then import this one"));
    }
}
