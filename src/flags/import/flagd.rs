//! flagd's flag definitions: state, variants, a default variant, and targeting in JSONLogic.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::condition::Condition;
use super::ladder::{self, Step};
use super::logic::{Logic, arguments, operation, unsupported, variable};
use super::note::{Note, Unsupported};
use super::{Imported, NotReadable};
use crate::flags::TARGETING_KEY;
use crate::flags::draft::{FlagDraft, ServeDraft, VariantDrafts};
use crate::flags::value::FlagType;

/// The seed of a share that there depends on the value alone: all of them sort subjects alike.
const SHARED_SEED: &str = "flagd";
const DEPTH_MAX: usize = 24;

/// Reads a document of flag definitions.
pub fn import(document: &Value) -> Result<Imported, NotReadable> {
    let wrong = |why: &str| NotReadable { expected: "a document of flagd's flag definitions", why: why.to_owned() };
    let empty = Map::new();
    let evaluators = match document.get("$evaluators") {
        None => &empty,
        Some(Value::Object(evaluators)) => evaluators,
        Some(_) => return Err(wrong("`$evaluators` is not an object")),
    };
    let mut imported = Imported::default();
    match document.get("flags") {
        Some(Value::Object(flags)) => flags.iter().for_each(|(key, flag)| add(&mut imported, key, flag, evaluators)),
        Some(Value::Array(flags)) => {
            for flag in flags {
                add(&mut imported, flag.get("key").and_then(Value::as_str).unwrap_or_default(), flag, evaluators);
            }
        }
        _ => return Err(wrong("it has no `flags`")),
    }
    if document.get("metadata").is_some_and(|metadata| metadata.as_object().is_none_or(|known| !known.is_empty())) {
        imported.notes.push(Note::dropped("", dropped("metadata")));
    }
    Ok(imported)
}

fn add(imported: &mut Imported, key: &str, definition: &Value, evaluators: &Map<String, Value>) {
    let mut logic = Logic { flag: key, evaluators, quirks: BTreeSet::new() };
    let mut notes = Vec::new();
    match flag(&mut logic, definition, &mut notes) {
        Ok(draft) => {
            let before = imported.flags.len();
            imported.add(draft);
            if imported.flags.len() > before {
                let quirks = logic.quirks.iter().map(|quirk| {
                    let (what, why, remedy) = quirk.text();
                    Note::differs(key, Unsupported::new("targeting", what, why).or_else(remedy))
                });
                imported.notes.extend(quirks);
                imported.notes.append(&mut notes);
            }
        }
        Err(unsupported) => imported.leave_out(key, unsupported),
    }
}

fn flag(logic: &mut Logic<'_>, definition: &Value, notes: &mut Vec<Note>) -> Result<FlagDraft, Unsupported> {
    let key = logic.flag;
    let (kind, variants) = variants(definition.get("variants"))?;
    let Some(default) = definition.get("defaultVariant").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
        let why = "callers are then told to use their own default, and a flag here always answers";
        return Err(Unsupported::new("defaultVariant", "no default variant", why).or_else("name one in the document"));
    };
    let enabled = match definition.get("state") {
        None => true,
        Some(Value::String(state)) if state == "ENABLED" => true,
        Some(Value::String(state)) if state == "DISABLED" => false,
        Some(other) => return Err(Unsupported::new("state", other.to_string(), "it is neither ENABLED nor DISABLED")),
    };
    if !enabled {
        let why = format!("there callers get their own default; here they get the off variant, `{default}`");
        let off = Unsupported::new("state", "a flag that is disabled", why)
            .or_else("set `off_variant` to what callers expect");
        notes.push(Note::differs(key, off));
    }
    let mut steps = Vec::new();
    if let Some(targeting) = definition.get("targeting") {
        let mut reader = Targeting { logic, default, steps: &mut steps, notes };
        reader.read(targeting, &Condition::always(), 0)?;
    }
    let metadata = definition.get("metadata").and_then(Value::as_object);
    let description = metadata.and_then(|metadata| metadata.get("description")).and_then(Value::as_str);
    if metadata.is_some_and(|metadata| metadata.len() > usize::from(description.is_some())) {
        notes.push(Note::dropped(key, dropped("metadata")));
    }
    Ok(FlagDraft {
        key: key.to_owned(),
        kind,
        description: description.unwrap_or_default().to_owned(),
        enabled,
        variants,
        default_variant: default.to_owned(),
        off_variant: default.to_owned(),
        prerequisites: Vec::new(),
        rules: ladder::rules(steps, default)?,
        change: None,
        expires: None,
        protection: None,
    })
}

fn dropped(what: &str) -> Unsupported {
    Unsupported::new(what, "metadata", "flags here have none").or_else("nothing to do: no answer depends on it")
}

/// The type that all variants have, and they themselves.
fn variants(found: Option<&Value>) -> Result<(FlagType, VariantDrafts), Unsupported> {
    let Some(variants) = found.and_then(Value::as_object).filter(|variants| !variants.is_empty()) else {
        return Err(Unsupported::new("variants", "no variants", "a flag here has at least one")
            .or_else("name them in the document"));
    };
    let all = |test: fn(&Value) -> bool| variants.values().all(test);
    let kind = if all(Value::is_boolean) {
        FlagType::Boolean
    } else if all(Value::is_string) {
        FlagType::String
    } else if all(Value::is_i64) {
        FlagType::Integer
    } else if all(Value::is_number) {
        FlagType::Float
    } else if all(Value::is_object) {
        FlagType::Object
    } else {
        return Err(Unsupported::new(
            "variants",
            "variants of several types, or of none that flags have",
            "all variants of a flag here are of one type: boolean, string, number or object",
        )
        .or_else("give all variants one type in the document"));
    };
    Ok((kind, VariantDrafts(variants.iter().map(|(name, value)| (name.clone(), value.clone())).collect())))
}

/// Reads targeting from left to right into steps. Under its condition every expression ends with a step that serves everybody, so
/// what follows is for those for whom the condition does not hold.
struct Targeting<'t, 'l> {
    logic: &'t mut Logic<'l>,
    default: &'t str,
    steps: &'t mut Vec<Step>,
    notes: &'t mut Vec<Note>,
}

impl Targeting<'_, '_> {
    fn read(&mut self, value: &Value, under: &Condition, depth: usize) -> Result<(), Unsupported> {
        if depth > DEPTH_MAX {
            return Err(unsupported(value, "it is nested too deeply"));
        }
        let value = self.logic.resolved(value)?.clone();
        match &value {
            Value::String(variant) => self.serve(under, variant),
            Value::Bool(truth) => self.serve(under, if *truth { "true" } else { "false" }),
            Value::Null => self.serve(under, self.default),
            Value::Object(object) if object.is_empty() => self.serve(under, self.default),
            _ => match operation(&value) {
                Some(("if", argument)) => return self.branches(&arguments(argument), under, depth + 1),
                Some(("fractional", argument)) => return self.fractional(&value, &arguments(argument), under),
                _ => return Err(unsupported(&value, "it does not say which variant is served")),
            },
        }
        Ok(())
    }

    fn serve(&mut self, under: &Condition, variant: &str) {
        self.steps.push(Step::new(under.clone(), ServeDraft::Variant(variant.to_owned()), "targeting"));
    }

    fn branches(&mut self, parts: &[Value], under: &Condition, depth: usize) -> Result<(), Unsupported> {
        match parts {
            [] => self.read(&Value::Null, under, depth),
            [last] => self.read(last, under, depth),
            [test, then, rest @ ..] => {
                let both = under.clone().and(&self.logic.condition(test, true, depth)?)?;
                if !both.is_never() {
                    self.read(then, &both, depth)?;
                }
                self.branches(rest, under, depth)
            }
        }
    }

    fn fractional(&mut self, whole: &Value, parts: &[Value], under: &Condition) -> Result<(), Unsupported> {
        let (seed, attribute, weights) = match parts {
            [Value::Array(_), ..] => (self.logic.flag.to_owned(), TARGETING_KEY.to_owned(), parts),
            [bucketed, weights @ ..] => {
                let (seed, attribute) = self.bucketed(bucketed)?;
                (seed, attribute, weights)
            }
            [] => return Err(unsupported(whole, "it has no shares")),
        };
        let weights: Option<Vec<(String, u64)>> = weights.iter().map(weight).collect();
        let weights = weights.ok_or_else(|| unsupported(whole, "its shares are not variants with whole weights"))?;
        let shares = ladder::shares(&weights).ok_or_else(|| unsupported(whole, "its weights add up to nothing"))?;
        let (ranges, rounded) = shares;
        self.note(rounded);
        let serve = ladder::rollout(&seed, &attribute, ranges);
        self.steps.push(Step::new(under.clone(), serve, "targeting.fractional"));
        if attribute != TARGETING_KEY {
            // Who lacks the attribute gets the default variant there, and would go on to the next rule here.
            self.serve(under, self.default);
        }
        Ok(())
    }

    /// By what subjects are sorted into shares.
    fn bucketed(&self, value: &Value) -> Result<(String, String), Unsupported> {
        let parts = match operation(value) {
            Some(("cat", argument)) => arguments(argument),
            _ => return Ok((SHARED_SEED.to_owned(), variable(value)?)),
        };
        let why = "subjects are sorted by one attribute, after the flag's key or a fixed text";
        match parts.as_slice() {
            [one] => Ok((SHARED_SEED.to_owned(), variable(one)?)),
            [Value::String(seed), attribute] => Ok((seed.clone(), variable(attribute)?)),
            [first, attribute] if variable(first)? == "$flagd.flagKey" => {
                Ok((self.logic.flag.to_owned(), variable(attribute)?))
            }
            _ => Err(unsupported(value, why)),
        }
    }

    fn note(&mut self, rounded: bool) {
        let mut why = String::from("shares keep their size, but who is in which differs: flagd hashes otherwise");
        if rounded {
            why.push_str("; shares are rounded to 0.001 %");
        }
        let hashed = Unsupported::new("targeting.fractional", "shares", why)
            .or_else("import at a time when nobody minds, or list who must stay in a cohort");
        let note = Note::differs(self.logic.flag, hashed);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// `["variant", 25]`; a weight that is not said is 1.
fn weight(value: &Value) -> Option<(String, u64)> {
    match value.as_array()?.as_slice() {
        [Value::String(variant)] => Some((variant.clone(), 1)),
        [Value::String(variant), weight] => {
            Some((variant.clone(), weight.as_u64().filter(|weight| *weight < 1 << 32)?))
        }
        _ => None,
    }
}
