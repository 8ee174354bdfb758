//! The tables of a report's page, row by row.

use super::words::in_address;
use crate::allocation::ChargeClass;
use crate::allocation::{Comparison, ControlTotal, ExceptionLine, Explained, ExplanationState, Minor};
use crate::report::{ReportData, words};

/// Rows of the control totals, and payers of an exception, that a page shows; the report's own page and its files have them all.
const TOTALS: usize = 120;
const PAYERS: usize = 4;

/// The control totals of a period in a currency.
pub struct TotalRow {
    pub period: String,
    pub currency: String,
    pub charges: String,
    pub charged: String,
    /// Of the old, the new model and what is in force: `exact`, or by how much it differs.
    pub sides: [(bool, String); 3],
}

/// A class of charges.
pub struct ClassRow {
    pub code: &'static str,
    pub title: &'static str,
    pub sentence: &'static str,
    pub is_wrong: bool,
    pub charges: String,
    pub count: u64,
}

/// An explanation and what it covered.
pub struct ExplainedRow {
    pub about: &'static str,
    pub place: String,
    pub reason_code: String,
    pub text: String,
    pub owner: String,
    pub expires: String,
    pub covers: String,
    pub holds: bool,
    pub state: &'static str,
}

/// A charge in a wrong class.
pub struct ExceptionRow {
    pub charge: String,
    pub class: &'static str,
    pub place: String,
    pub amount: String,
    pub old: String,
    pub new: String,
    pub payers: Vec<String>,
    /// The query of the page that explains it.
    pub explain: String,
}

#[must_use]
pub fn total_rows(comparison: &Comparison) -> Vec<TotalRow> {
    comparison.totals.iter().take(TOTALS).map(|total| total_row(comparison, total)).collect()
}

fn total_row(comparison: &Comparison, total: &ControlTotal) -> TotalRow {
    let sides = total.sides().map(|(_, side)| {
        let is_exact = side.charges == total.charges && side.amount == total.amount;
        if is_exact {
            return (true, String::from("exact"));
        }
        let (charges, before) = (side.charges, total.charges);
        let mut said = words::change(comparison, &total.currency, side.amount - total.amount);
        if charges != before {
            said.push_str(&format!(", {} of {} charges", words::grouped(charges), words::grouped(before)));
        }
        (false, said)
    });
    TotalRow {
        period: words::printable(&total.period),
        currency: words::printable(&total.currency),
        charges: words::grouped(total.charges),
        charged: words::amount(comparison, &total.currency, total.amount),
        sides,
    }
}

/// The classes that any charge is in, the wrong ones first.
#[must_use]
pub fn class_rows(data: &ReportData) -> Vec<ClassRow> {
    let row = |class: ChargeClass| ClassRow {
        code: class.as_str(),
        title: class.title(),
        sentence: class.sentence(),
        is_wrong: class.is_wrong(),
        charges: words::grouped(data.count_of(class)),
        count: data.count_of(class),
    };
    ChargeClass::ALL.into_iter().map(row).filter(|row| row.count > 0).collect()
}

#[must_use]
pub fn explained_row(explained: &Explained) -> ExplainedRow {
    let wording = &explained.explanation.wording;
    ExplainedRow {
        about: wording.class.title(),
        place: words::explained_place(&explained.explanation),
        reason_code: words::printable(&wording.reason_code),
        text: words::sentence(&wording.text),
        owner: words::printable(&wording.owner),
        expires: wording.expires.to_string(),
        covers: words::covers(explained),
        holds: explained.state == ExplanationState::Holds,
        state: words::explanation_state(explained.state),
    }
}

#[must_use]
pub fn exception_row(comparison: &Comparison, line: &ExceptionLine) -> ExceptionRow {
    let currency = line.currency.as_deref().unwrap_or_default();
    let amount = |amount: Minor| words::amount(comparison, currency, amount);
    let mut payers: Vec<String> = line
        .parts
        .iter()
        .take(PAYERS)
        .map(|part| format!("{}: {} → {}", words::payer(part.payer.as_deref()), amount(part.old), amount(part.new)))
        .collect();
    let more = line.parts_total.saturating_sub(u64::try_from(payers.len()).unwrap_or(u64::MAX));
    if more > 0 {
        payers.push(format!("and {} more", words::grouped(more)));
    }
    let mut explain = format!("class={}&charge={}", line.class.as_str(), in_address(&line.charge_id));
    for (name, text) in [("period", &line.period), ("currency", &line.currency)] {
        if let Some(text) = text {
            explain.push_str(&format!("&{name}={}", in_address(text)));
        }
    }
    ExceptionRow {
        charge: words::id(&line.charge_id),
        class: line.class.title(),
        place: words::place(line.period.as_deref(), line.currency.as_deref()),
        amount: line.amount.map_or_else(|| String::from("–"), amount),
        old: amount(line.old_amount),
        new: amount(line.new_amount),
        payers,
        explain,
    }
}
