//! How many charges are in which class, and who has explained which of them.

use super::super::document::ReportData;
use super::super::words;
use crate::allocation::{ChargeClass, Comparison, Explained, ExplanationState};

pub(super) struct ClassRow {
    pub is_wrong: bool,
    pub title: &'static str,
    pub code: &'static str,
    pub sentence: &'static str,
    pub charges: String,
    pub amounts: Vec<String>,
}

/// Currencies of a class whose amounts its row tells.
const AMOUNTS_MAX: usize = 12;

pub(super) fn class_rows(comparison: &Comparison) -> Vec<ClassRow> {
    let classes = comparison.classes_of_all_periods();
    let row = |class: ChargeClass| {
        let of_class = || classes.iter().filter(move |total| total.class == class);
        let amounts = of_class().filter_map(|total| {
            let currency = total.currency.as_deref()?;
            Some(format!("{} {}", words::amount(comparison, currency, total.amount), words::printable(currency)))
        });
        let mut amounts: Vec<String> = amounts.collect();
        if amounts.len() > AMOUNTS_MAX {
            let more = amounts.len() - AMOUNTS_MAX;
            amounts.truncate(AMOUNTS_MAX);
            amounts.push(format!("and {more} more currencies"));
        }
        ClassRow {
            is_wrong: class.is_wrong(),
            title: class.title(),
            code: class.as_str(),
            sentence: class.sentence(),
            charges: words::grouped(of_class().map(|total| total.charges).sum()),
            amounts,
        }
    };
    ChargeClass::ALL.into_iter().map(row).collect()
}

/// What somebody has explained, and what nobody has.
pub(super) struct Explanations {
    pub rows: Vec<ExplanationRow>,
    /// Explanations that are only in the CSV set.
    pub left_out: usize,
    /// `3 × sum differs, 2026-11 EUR`
    pub unexplained: Vec<String>,
}

pub(super) struct ExplanationRow {
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

impl Explanations {
    pub(super) fn are_none(&self) -> bool {
        self.rows.is_empty()
    }
}

pub(super) fn explanations(data: &ReportData, rows_max: usize) -> Explanations {
    let mut unexplained: Vec<String> = data.unexplained.iter().take(rows_max).map(words::unexplained).collect();
    let more = data.unexplained.len() - unexplained.len();
    if more > 0 {
        unexplained.push(format!("and {more} more kinds"));
    }
    Explanations {
        rows: data.explained.iter().take(rows_max).map(explanation_row).collect(),
        left_out: data.explained.len().saturating_sub(rows_max),
        unexplained,
    }
}

fn explanation_row(explained: &Explained) -> ExplanationRow {
    let explanation = &explained.explanation;
    ExplanationRow {
        about: explanation.wording.class.title(),
        place: words::explained_place(explanation),
        reason_code: words::printable(&explanation.wording.reason_code),
        text: words::sentence(&explanation.wording.text),
        owner: words::printable(&explanation.wording.owner),
        expires: explanation.wording.expires.to_string(),
        covers: words::covers(explained),
        holds: explained.state == ExplanationState::Holds,
        state: words::explanation_state(explained.state),
    }
}
