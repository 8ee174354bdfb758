//! Unleash's activation strategies: for whom each of them is, and for which share of them.

use core::net::IpAddr;
use std::collections::BTreeMap;

use serde_json::Value;

use super::condition::{Condition, with_values};
use super::constraint;
use super::note::{Unsupported, shortened};
use crate::flags::TARGETING_KEY;
use crate::flags::bucket::BUCKETS;

/// A strategy that is on.
#[derive(Debug, Clone, PartialEq)]
pub struct Strategy {
    /// For whom it is, but for `segment`.
    pub condition: Condition,
    /// A segment whose members alone it is for.
    pub segment: Option<String>,
    /// For whom it is, all in all.
    pub whole: Condition,
    pub share: Share,
    /// Its own variants, as they stand in the document.
    pub variants: Vec<Value>,
    pub title: String,
}

/// For which part of those whom a strategy is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Share {
    All,
    Part { buckets: u32, seed: String, attribute: String },
}

/// A segment: constraints under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    pub name: String,
    /// Nothing if the document names the segment only.
    pub constraints: Option<Vec<Value>>,
}

/// By their ids, as text.
pub type Segments = BTreeMap<String, Segment>;

/// Reads a strategy; nothing if it is disabled.
pub fn read(strategy: &Value, segments: &Segments) -> Result<Option<Strategy>, Unsupported> {
    if strategy.get("disabled").and_then(Value::as_bool) == Some(true) {
        return Ok(None);
    }
    let (own, share) = kind(strategy)?;
    let mut condition = own.and(&constraint::all(&list(strategy, "constraints"))?)?;
    let mut whole = condition.clone();
    let mut segment = None;
    for id in list(strategy, "segments") {
        let id = id_text(&id);
        let part = of_segment(&id, segments)?;
        whole = whole.and(&part)?;
        // A rule names one cohort, and a cohort knows no time.
        if segment.is_none() && part.0.iter().all(|group| group.since.is_none() && group.until.is_none()) {
            segment = Some(id);
        } else {
            condition = condition.and(&part)?;
        }
    }
    let title = strategy.get("title").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Some(Strategy { condition, segment, whole, share, variants: list(strategy, "variants"), title }))
}

/// The condition that a segment is.
pub fn of_segment(id: &str, segments: &Segments) -> Result<Condition, Unsupported> {
    let missing = |why: &str| {
        Unsupported::new("segments", format!("segment {}", shortened(id)), why)
            .or_else("add the segment with its constraints to the document's `segments`")
    };
    let segment = segments.get(id).ok_or_else(|| missing("the document does not have it"))?;
    let constraints =
        segment.constraints.as_ref().ok_or_else(|| missing("the document does not have its constraints"))?;
    constraint::all(constraints)
        .map_err(|unsupported| unsupported.below(&format!("segment `{}`", shortened(&segment.name))))
}

/// What the strategy's kind asks for, besides its constraints.
fn kind(strategy: &Value) -> Result<(Condition, Share), Unsupported> {
    let name =
        strategy.get("name").or_else(|| strategy.get("strategyName")).and_then(Value::as_str).unwrap_or_default();
    let everybody = |share| Ok((Condition::always(), share));
    let listed = |parameter: &str| -> Vec<String> {
        let text = text(strategy, parameter);
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    match name {
        "default" => everybody(Share::All),
        "userWithId" => {
            let ids: Vec<Value> = listed("userIds").into_iter().map(Value::String).collect();
            if ids.is_empty() {
                return Ok((Condition::never(), Share::All));
            }
            Ok((Condition::clause(with_values(TARGETING_KEY, "in", ids)), Share::All))
        }
        "flexibleRollout" => everybody(share(strategy, "rollout", &text(strategy, "stickiness"))?),
        "gradualRolloutUserId" => everybody(share(strategy, "percentage", "userId")?),
        "gradualRolloutSessionId" => everybody(share(strategy, "percentage", "sessionId")?),
        "gradualRolloutRandom" => everybody(share(strategy, "percentage", "random")?),
        "remoteAddress" => addresses(&listed("IPs")).map(|condition| (condition, Share::All)),
        "applicationHostname" => Err(Unsupported::new(
            "name",
            "the strategy applicationHostname",
            "it asks on which host the application runs, which a flag server does not see",
        )
        .or_else("send the host's name as an attribute, and write a rule for it")),
        other => Err(Unsupported::new(
            "name",
            format!("the strategy `{}`", shortened(other)),
            "it is not one of Unleash's own, and its code is not in the document",
        )
        .or_else("write its condition as a rule")),
    }
}

fn share(strategy: &Value, parameter: &str, stickiness: &str) -> Result<Share, Unsupported> {
    let percent = text(strategy, parameter);
    let percent = percent.trim().parse::<u32>().ok().filter(|percent| *percent <= 100);
    let percent = percent.ok_or_else(|| {
        Unsupported::new(
            format!("parameters.{parameter}"),
            text(strategy, parameter),
            "it is not a whole number of per cent",
        )
    })?;
    if percent == 100 {
        // Everybody, by whatever they are sorted; but who lacks the attribute is not on.
        return Ok(match sticky(stickiness)? {
            attribute if attribute == TARGETING_KEY => Share::All,
            attribute => Share::Part { buckets: BUCKETS, seed: text(strategy, "groupId"), attribute },
        });
    }
    Ok(Share::Part {
        buckets: percent * (BUCKETS / 100),
        seed: text(strategy, "groupId"),
        attribute: sticky(stickiness)?,
    })
}

/// The attribute by which subjects are sorted into shares.
pub(super) fn sticky(stickiness: &str) -> Result<String, Unsupported> {
    match stickiness {
        "" | "default" | "userId" => Ok(TARGETING_KEY.to_owned()),
        "random" => Err(Unsupported::new(
            "parameters.stickiness",
            "the stickiness random",
            "it decides anew with every question, and a flag here never does",
        )
        .or_else("choose another stickiness in Unleash")),
        other => Ok(constraint::attribute(other)),
    }
}

fn addresses(listed: &[String]) -> Result<Condition, Unsupported> {
    let mut ranges = Vec::new();
    for text in listed {
        let range = match (text.parse::<IpAddr>(), text.contains('/')) {
            (Ok(IpAddr::V4(_)), _) => format!("{text}/32"),
            (Ok(IpAddr::V6(_)), _) => format!("{text}/128"),
            (Err(_), true) => text.clone(),
            (Err(_), false) => {
                let why = "it is neither an address nor a range of addresses";
                return Err(Unsupported::new("parameters.IPs", text.clone(), why).or_else("take it out of the list"));
            }
        };
        ranges.push(Value::String(range));
    }
    Ok(if ranges.is_empty() {
        Condition::never()
    } else {
        Condition::clause(with_values("remoteAddress", "in_cidr", ranges))
    })
}

/// A parameter as text: Unleash writes numbers as texts, older versions as numbers.
fn text(strategy: &Value, parameter: &str) -> String {
    match strategy.get("parameters").and_then(|parameters| parameters.get(parameter)) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

pub(super) fn list(of: &Value, name: &str) -> Vec<Value> {
    of.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

pub(super) fn id_text(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}
