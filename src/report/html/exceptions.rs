//! Exceptions line by line, with who pays by both models. The list ends before the page grows too large; the CSV set goes on.

use super::super::words;
use super::Limits;
use crate::allocation::{ChargeClass, Comparison, ExceptionLine, Minor, Part};

/// Payers of an exception that its row names; the rest is in the JSON and CSV forms.
const PARTS_MAX: usize = 6;

pub(super) struct Exceptions {
    pub rows: Vec<ExceptionRow>,
    pub listed: String,
    pub total: String,
    pub is_cut: bool,
    /// Classes by which the rows can be filtered: code and title.
    pub classes: Vec<(&'static str, &'static str)>,
}

pub(super) struct ExceptionRow {
    pub charge: String,
    pub period: String,
    pub class: &'static str,
    pub code: &'static str,
    pub amount: String,
    pub in_force: String,
    pub old: Vec<PartLine>,
    pub new: Vec<PartLine>,
    pub more: String,
}

pub(super) struct PartLine {
    pub payer: String,
    pub amount: String,
    pub note: String,
}

impl Exceptions {
    pub(super) fn are_none(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn can_be_filtered(&self) -> bool {
        self.rows.len() > 1
    }
}

pub(super) fn exceptions(comparison: &Comparison, limits: Limits) -> Exceptions {
    let rows: Vec<ExceptionRow> =
        comparison.exceptions.iter().take(limits.exceptions).map(|line| exception_row(comparison, line)).collect();
    let listed = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let is_listed = |class: &ChargeClass| rows.iter().any(|row| row.code == class.as_str());
    Exceptions {
        listed: words::grouped(listed),
        total: words::grouped(comparison.exceptions_total),
        is_cut: listed < comparison.exceptions_total,
        classes: ChargeClass::ALL.into_iter().filter(is_listed).map(|class| (class.as_str(), class.title())).collect(),
        rows,
    }
}

fn exception_row(comparison: &Comparison, line: &ExceptionLine) -> ExceptionRow {
    let currency = line.currency.as_deref().unwrap_or_default();
    let amount = |amount: Minor| words::amount(comparison, currency, amount);
    let in_currency = |minor: Minor| format!("{} {}", amount(minor), words::printable(currency)).trim_end().to_owned();
    let side = |of: fn(&Part) -> (u64, Minor)| -> Vec<PartLine> {
        let parts = line.parts.iter().filter(|part| of(part).0 > 0).take(PARTS_MAX);
        parts.map(|part| part_line(part, of(part), amount(of(part).1))).collect()
    };
    let shown = u64::try_from(line.parts.len().min(PARTS_MAX)).unwrap_or(0);
    let is_other = line.amount.is_none_or(|charged| charged != line.effective_amount);
    ExceptionRow {
        charge: words::id(&line.charge_id),
        period: line.period.as_deref().map_or(String::from("no period"), words::printable),
        class: line.class.title(),
        code: line.class.as_str(),
        amount: line.amount.map_or(String::from("no charge"), in_currency),
        in_force: if is_other { format!("in force: {}", in_currency(line.effective_amount)) } else { String::new() },
        old: side(|part| (part.old_rows, part.old)),
        new: side(|part| (part.new_rows, part.new)),
        more: if line.parts_total > shown {
            format!("{} in all", words::counted(line.parts_total, "payer", "payers"))
        } else {
            String::new()
        },
    }
}

fn part_line(part: &Part, (rows, _): (u64, Minor), amount: String) -> PartLine {
    PartLine {
        payer: words::payer(part.payer.as_deref()),
        amount,
        note: if rows > 1 { format!("listed {} times", words::grouped(rows)) } else { String::new() },
    }
}
