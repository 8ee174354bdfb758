//! Control totals on the page: what was charged, and what each side makes of it.

use super::super::words;
use crate::allocation::{Comparison, ControlTotal, SideTotal};

/// All control totals that the page shows.
pub(super) struct Totals {
    pub rows: Vec<TotalRow>,
    /// Over all periods, of each currency that has several.
    pub sums: Vec<TotalRow>,
    /// How many rows are only in the CSV set.
    pub left_out: usize,
}

pub(super) struct TotalRow {
    pub period: String,
    pub currency: String,
    pub charges: String,
    pub amount: String,
    pub sides: Vec<SideCell>,
    pub is_exact: bool,
}

pub(super) struct SideCell {
    pub label: &'static str,
    pub amount: String,
    pub note: String,
    pub is_exact: bool,
}

/// Those that differ are never left out before those that agree.
pub(super) fn totals(comparison: &Comparison, rows_max: usize) -> Totals {
    let mut shown: Vec<(usize, &ControlTotal)> = comparison.totals.iter().enumerate().collect();
    if shown.len() > rows_max {
        shown.sort_by_key(|(position, total)| (total.is_exact(), *position));
        shown.truncate(rows_max);
        shown.sort_by_key(|(position, _)| *position);
    }
    let all = comparison.totals_of_all_periods();
    let sum = |total: &ControlTotal| {
        // Differences of several periods may cancel each other out: a sum is exact only if each of them is.
        let mut of_currency = comparison.totals.iter().filter(|one| one.currency == total.currency);
        let is_exact = of_currency.all(ControlTotal::is_exact);
        TotalRow { period: String::from("All periods"), is_exact, ..total_row(comparison, total) }
    };
    Totals {
        sums: all.iter().take(rows_max).map(sum).collect(),
        left_out: comparison.totals.len() - shown.len(),
        rows: shown.into_iter().map(|(_, total)| total_row(comparison, total)).collect(),
    }
}

fn total_row(comparison: &Comparison, total: &ControlTotal) -> TotalRow {
    let sides = total.sides().into_iter().map(|(name, side)| side_cell(comparison, total, name, side)).collect();
    TotalRow {
        period: words::printable(&total.period),
        currency: words::printable(&total.currency),
        charges: words::counted(total.charges, "charge", "charges"),
        amount: words::amount(comparison, &total.currency, total.amount),
        sides,
        is_exact: total.is_exact(),
    }
}

fn side_cell(comparison: &Comparison, total: &ControlTotal, name: &'static str, side: SideTotal) -> SideCell {
    let label = words::side(name);
    let missing = total.charges.saturating_sub(side.charges);
    let difference = side.amount - total.amount;
    let mut notes = Vec::new();
    if !difference.is_zero() {
        notes.push(format!(
            "{} too {}",
            words::amount(comparison, &total.currency, words::absolute(difference)),
            if difference.is_negative() { "little" } else { "much" }
        ));
    }
    if missing > 0 {
        notes.push(format!("{} missing", words::counted(missing, "charge", "charges")));
    }
    if notes.is_empty() {
        notes.push(words::counted(side.rows, "part", "parts"));
    }
    if name == "effective" && total.on_new > 0 {
        notes.push(format!("{} by the new model", words::share(total.on_new, total.charges)));
    }
    SideCell {
        label,
        amount: words::amount(comparison, &total.currency, side.amount),
        note: notes.join(", "),
        is_exact: difference.is_zero() && missing == 0,
    }
}

/// Currencies whose decimals nobody knows.
pub(super) fn unknown_currencies(comparison: &Comparison) -> String {
    let mut unknown: Vec<String> = comparison
        .totals
        .iter()
        .filter(|total| !comparison.exponents.contains_key(&total.currency))
        .map(|total| words::printable(&total.currency))
        .collect();
    unknown.sort();
    unknown.dedup();
    unknown.truncate(12);
    unknown.join(", ")
}

/// One number to know.
pub(super) struct Tile {
    pub label: &'static str,
    pub value: String,
    pub note: String,
}

pub(super) fn tiles(comparison: &Comparison, unexplained: u64) -> Vec<Tile> {
    let charges = comparison.charges();
    let changed: u64 = comparison.payers.iter().map(|total| total.changed).sum();
    let payers: u64 = comparison.payers.iter().map(|total| total.payers).sum();
    let on_new: u64 = comparison.totals.iter().map(|total| total.on_new).sum();
    let without_group: u64 = comparison.totals.iter().map(|total| total.without_group).sum();
    let wrong = comparison.exceptions_total;
    vec![
        Tile {
            label: "Charges compared",
            value: words::grouped(charges),
            note: if without_group == 0 {
                String::from("each in exactly one class")
            } else {
                format!("{} without a group stay on the old side", words::grouped(without_group))
            },
        },
        Tile {
            label: "To be explained",
            value: words::grouped(unexplained),
            note: match (wrong, unexplained) {
                (0, _) => String::from("no charge is in a wrong class"),
                (_, 0) => format!("all {} exceptions are explained", words::grouped(wrong)),
                _ => format!("of {}", words::counted(wrong, "exception", "exceptions")),
            },
        },
        Tile {
            label: "Payers with a change",
            value: words::grouped(changed),
            note: format!("{} of {}", words::share(changed, payers), words::counted(payers, "payer", "payers")),
        },
        Tile {
            label: "In force by the new model",
            value: words::share(on_new, charges),
            note: words::counted(on_new, "charge", "charges"),
        },
    ]
}
