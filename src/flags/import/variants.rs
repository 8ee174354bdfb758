//! Unleash's variants: what a feature that is on answers beside "on".

use serde_json::{Map, Value};

use super::condition::{Condition, with_values};
use super::ladder;
use super::note::Unsupported;
use super::strategy::{Share, list, sticky};
use super::{constraint, ladder::rollout};
use crate::flags::TARGETING_KEY;
use crate::flags::bucket::BUCKETS;
use crate::flags::draft::{ServeDraft, VariantDrafts};
use crate::flags::value::FlagType;

/// What Unleash calls the variant of a feature that is off.
pub(super) const DISABLED: &str = "disabled";

/// The variants of a flag, and the name of the one that means off.
pub(super) struct Values {
    pub(super) kind: FlagType,
    pub(super) variants: VariantDrafts,
    pub(super) off: &'static str,
}

/// A flag that is on or off, and nothing else.
pub(super) fn boolean() -> Values {
    let variants = vec![(String::from("on"), Value::Bool(true)), (String::from("off"), Value::Bool(false))];
    Values { kind: FlagType::Boolean, variants: VariantDrafts(variants), off: "off" }
}

/// The values of all variants that the feature or one of its strategies has, by their payloads.
pub(super) fn values(all: &[&Value]) -> Result<Values, Unsupported> {
    let mut payloads: Vec<(String, Option<(String, String)>)> = Vec::new();
    for variant in all {
        let name = name(variant);
        let payload = variant.get("payload").and_then(|payload| {
            let text = |key: &str| payload.get(key).and_then(Value::as_str).map(str::to_owned);
            Some((text("type")?, text("value")?))
        });
        if name == DISABLED {
            return Err(Unsupported::new(
                "variants",
                "a variant named `disabled`",
                "that is what Unleash answers for a feature that is off",
            ));
        }
        match payloads.iter().find(|(known, _)| *known == name) {
            None => payloads.push((name, payload)),
            Some((_, known)) if *known == payload => {}
            Some(_) => {
                return Err(Unsupported::new(
                    "variants",
                    format!("the variant `{name}`"),
                    "it has one payload here and another there",
                )
                .or_else("give one of them another name in Unleash"));
            }
        }
    }
    Ok(typed(&payloads))
}

fn typed(payloads: &[(String, Option<(String, String)>)]) -> Values {
    let each = |read: &dyn Fn(&str, &str) -> Option<Value>| -> Option<Vec<Value>> {
        payloads.iter().map(|(_, payload)| payload.as_ref().and_then(|(kind, text)| read(kind, text))).collect()
    };
    let integer =
        |kind: &str, text: &str| (kind == "number").then(|| text.trim().parse::<i64>().ok().map(Value::from)).flatten();
    let number = |kind: &str, text: &str| {
        let number = text.trim().parse::<f64>().ok().filter(|_| kind == "number")?;
        serde_json::Number::from_f64(number).map(Value::Number)
    };
    let object = |kind: &str, text: &str| {
        let value = serde_json::from_str::<Value>(text).ok().filter(|_| kind == "json")?;
        value.is_object().then_some(value)
    };
    let (kind, values, off) = if let Some(values) = each(&integer) {
        (FlagType::Integer, values, Value::from(0))
    } else if let Some(values) = each(&number) {
        (FlagType::Float, values, Value::from(0.0))
    } else if let Some(values) = each(&object) {
        (FlagType::Object, values, Value::Object(Map::new()))
    } else if payloads.iter().all(|(_, payload)| payload.is_none()) {
        (FlagType::String, payloads.iter().map(|(name, _)| name.as_str().into()).collect(), DISABLED.into())
    } else {
        let text =
            |payload: &Option<(String, String)>| payload.as_ref().map_or_else(String::new, |(_, text)| text.clone());
        (FlagType::String, payloads.iter().map(|(_, payload)| text(payload).into()).collect(), "".into())
    };
    let mut variants: Vec<(String, Value)> = payloads.iter().map(|(name, _)| name.clone()).zip(values).collect();
    variants.push((DISABLED.to_owned(), off));
    Values { kind, variants: VariantDrafts(variants), off: DISABLED }
}

/// What a strategy serves: first who is given a variant by name, then the shares. True if shares had to be rounded.
pub(super) fn serves(
    variants: &[Value],
    share: &Share,
    group: &str,
) -> Result<(Vec<(Condition, ServeDraft)>, bool), Unsupported> {
    let mut serves = Vec::new();
    for (number, variant) in variants.iter().enumerate() {
        for given in list(variant, "overrides") {
            if *share != Share::All {
                return Err(Unsupported::new(
                    format!("variants[{number}].overrides"),
                    "a variant by name within a share",
                    "whom the share leaves out would get it as well",
                ));
            }
            let context = given.get("contextName").and_then(Value::as_str).unwrap_or_default();
            let values: Vec<Value> = list(&given, "values").into_iter().filter(Value::is_string).collect();
            if !values.is_empty() {
                let who = Condition::clause(with_values(&constraint::attribute(context), "in", values));
                serves.push((who, ServeDraft::Variant(name(variant))));
            }
        }
    }
    let (serve, rounded) = shared(variants, share, group)?;
    serves.push((Condition::always(), serve));
    Ok((serves, rounded))
}

fn shared(variants: &[Value], share: &Share, group: &str) -> Result<(ServeDraft, bool), Unsupported> {
    let weight = |variant: &Value| variant.get("weight").and_then(Value::as_u64).unwrap_or(0).min(1 << 32);
    let weights: Vec<(String, u64)> = variants.iter().map(|variant| (name(variant), weight(variant))).collect();
    let total: u64 = weights.iter().map(|(_, weight)| weight).sum();
    let stickiness = variants.first().and_then(|variant| variant.get("stickiness")).and_then(Value::as_str);
    let attribute = match sticky(stickiness.unwrap_or_default()) {
        _ if weights.len() == 1 => TARGETING_KEY.to_owned(),
        attribute => attribute.map_err(|unsupported| unsupported.below("variants"))?,
    };
    let (seed, attribute, weights) = match share {
        Share::All if weights.len() == 1 => {
            return Ok((ServeDraft::Variant(weights.into_iter().map(|(name, _)| name).collect()), false));
        }
        Share::All => (group.to_owned(), attribute, weights),
        Share::Part { attribute: by, .. } if weights.len() > 1 && *by != attribute => {
            return Err(Unsupported::new(
                "variants",
                "a share by one attribute, of variants by another",
                "a rollout here goes by one attribute",
            ));
        }
        Share::Part { buckets, seed, attribute } => {
            let mut weights: Vec<(String, u64)> =
                weights.into_iter().map(|(name, weight)| (name, weight * u64::from(*buckets))).collect();
            weights.push((DISABLED.to_owned(), total * u64::from(BUCKETS - buckets)));
            (seed.clone(), attribute.clone(), weights)
        }
    };
    let (ranges, rounded) = ladder::shares(&weights).ok_or_else(|| {
        Unsupported::new("variants", "variants whose weights add up to nothing", "nobody would get any of them")
    })?;
    Ok((rollout(&seed, &attribute, ranges), rounded))
}

pub(super) fn name(variant: &Value) -> String {
    variant.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
}
