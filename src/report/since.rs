//! What a report says differently from an earlier one of the same change.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::document::{Report, ReportData};
use super::words;
use crate::allocation::{ChargeClass, ExceptionLine, Minor};
use crate::primitives::Instant;

/// What is told line by line of exceptions that came or went.
const LISTED_MAX: usize = 200;

/// What differs from an earlier report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// Of the earlier report's data.
    pub sha256: String,
    pub as_of: Instant,
    /// Control totals that are not what they were, by period, currency and side; nothing that stayed.
    pub totals: Vec<TotalChange>,
    /// Classes with another number of charges, by class, period and currency.
    pub classes: Vec<ClassChange>,
    /// Exceptions of either report's lines that the other does not have, or has otherwise; at most two hundred of each.
    pub new_exceptions: Vec<ExceptionMark>,
    pub gone_exceptions: Vec<ExceptionMark>,
}

/// A control total that moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalChange {
    pub period: String,
    pub currency: String,
    /// `charges`, `old`, `new` or `effective`.
    pub side: String,
    pub charges_before: u64,
    pub charges_now: u64,
    pub before: Minor,
    pub now: Minor,
}

/// A class that grew or shrank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassChange {
    pub class: ChargeClass,
    pub period: Option<String>,
    pub currency: Option<String>,
    pub before: u64,
    pub now: u64,
}

/// Which charge is in which wrong class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExceptionMark {
    pub class: ChargeClass,
    pub charge_id: String,
}

impl Since {
    #[must_use]
    pub fn between(earlier: &Report, now: &ReportData) -> Self {
        Self {
            sha256: earlier.sha256.clone(),
            as_of: earlier.data.subject.as_of,
            totals: totals(&earlier.data, now),
            classes: classes(&earlier.data, now),
            new_exceptions: marks_only_in(now, &earlier.data),
            gone_exceptions: marks_only_in(&earlier.data, now),
        }
    }

    /// True if the two reports say the same.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.totals.is_empty()
            && self.classes.is_empty()
            && self.new_exceptions.is_empty()
            && self.gone_exceptions.is_empty()
    }
}

/// The differences as lines for a terminal, amounts in their currency's form.
#[must_use]
pub fn since_to_text(since: &Since, now: &ReportData) -> String {
    if since.is_nothing() {
        return format!("Nothing differs from the report as of {}.", since.as_of);
    }
    let mut lines = vec![format!("Since the report as of {}:", since.as_of)];
    for total in &since.totals {
        let amount = |amount| words::amount(&now.comparison, &total.currency, amount);
        lines.push(format!(
            "  {} {} {}: {} charges, {} → {} charges, {}",
            words::printable(&total.period),
            words::printable(&total.currency),
            total.side,
            words::grouped(total.charges_before),
            amount(total.before),
            words::grouped(total.charges_now),
            amount(total.now),
        ));
    }
    for class in &since.classes {
        let place: Vec<String> =
            class.period.iter().chain(&class.currency).map(|text| words::printable(text)).collect();
        let (before, now) = (words::grouped(class.before), words::grouped(class.now));
        lines.push(format!("  {} {}: {before} → {now}", class.class.title(), place.join(" ")));
    }
    for (what, marks) in [("new", &since.new_exceptions), ("gone", &since.gone_exceptions)] {
        for mark in marks {
            lines.push(format!("  {what}: charge {}, {}", words::printable(&mark.charge_id), mark.class.title()));
        }
    }
    lines.join("\n")
}

type Sides = BTreeMap<(String, String, usize), (u64, Minor)>;
const SIDES: [&str; 4] = ["charges", "old", "new", "effective"];

fn totals(before: &ReportData, now: &ReportData) -> Vec<TotalChange> {
    let (before, now) = (sides(before), sides(now));
    let keys: BTreeSet<_> = before.keys().chain(now.keys()).collect();
    keys.into_iter()
        .filter_map(|key| {
            let (charges_before, amount_before) = before.get(key).copied().unwrap_or_default();
            let (charges_now, amount_now) = now.get(key).copied().unwrap_or_default();
            let (period, currency, side) = key.clone();
            (charges_before != charges_now || amount_before != amount_now).then(|| TotalChange {
                period,
                currency,
                side: SIDES.get(side).copied().unwrap_or_default().to_owned(),
                charges_before,
                charges_now,
                before: amount_before,
                now: amount_now,
            })
        })
        .collect()
}

fn sides(data: &ReportData) -> Sides {
    let mut sides = Sides::new();
    for total in &data.comparison.totals {
        let of = |side: usize| (total.period.clone(), total.currency.clone(), side);
        sides.insert(of(0), (total.charges, total.amount));
        for (place, (_, side)) in total.sides().into_iter().enumerate() {
            sides.insert(of(place + 1), (side.charges, side.amount));
        }
    }
    sides
}

fn classes(before: &ReportData, now: &ReportData) -> Vec<ClassChange> {
    let counts = |data: &ReportData| -> BTreeMap<_, u64> {
        let mut counts = BTreeMap::new();
        for total in &data.comparison.classes {
            *counts.entry((total.class, total.period.clone(), total.currency.clone())).or_default() += total.charges;
        }
        counts
    };
    let (before, now) = (counts(before), counts(now));
    let keys: BTreeSet<_> = before.keys().chain(now.keys()).collect();
    keys.into_iter()
        .filter_map(|key| {
            let (before, now) = (before.get(key).copied().unwrap_or(0), now.get(key).copied().unwrap_or(0));
            let (class, period, currency) = key.clone();
            (before != now).then_some(ClassChange { class, period, currency, before, now })
        })
        .collect()
}

/// Exceptions that `here` lists and `there` does not list with the same amounts and payers.
fn marks_only_in(here: &ReportData, there: &ReportData) -> Vec<ExceptionMark> {
    let known: BTreeMap<&str, &ExceptionLine> =
        there.comparison.exceptions.iter().map(|line| (line.charge_id.as_str(), line)).collect();
    let new = here.comparison.exceptions.iter().filter(|line| known.get(line.charge_id.as_str()) != Some(line));
    let mut marks: Vec<ExceptionMark> =
        new.map(|line| ExceptionMark { class: line.class, charge_id: line.charge_id.clone() }).collect();
    marks.sort();
    marks.truncate(LISTED_MAX);
    marks
}
