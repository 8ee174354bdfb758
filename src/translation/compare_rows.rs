//! Reading a comparison's answer: rows of text columns become the parts of a [`Comparison`](crate::allocation::Comparison).

use std::str::FromStr;

use super::compare::{CompareError, Fault};
use super::payer_totals::PayerSum;
use crate::allocation::{Minor, Part};
use crate::database::{Cells, Value};
use crate::sql::compare::SECTION_TEXTS;

/// One row of a section.
pub(super) struct Line(pub Cells);

impl Line {
    pub fn section(&self) -> &str {
        match self.0.get(0) {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// The `place`-th text, from 1.
    pub fn find_text(&self, place: usize) -> Option<String> {
        self.0.get(place).to_text()
    }

    pub fn text(&self, place: usize) -> Result<String, CompareError> {
        self.find_text(place).ok_or_else(|| CompareError::Unreadable { found: String::from("NULL"), wanted: "a text" })
    }

    /// The `place`-th number, from 1; `None` for NULL.
    pub fn find_number<T: FromStr>(&self, place: usize, wanted: &'static str) -> Result<Option<T>, CompareError> {
        let read = |text: &str| text.parse().map_err(|_| CompareError::Unreadable { found: text.to_owned(), wanted });
        match self.0.get(SECTION_TEXTS + place) {
            Value::Null => Ok(None),
            Value::Text(text) => read(text).map(Some),
            other => read(&other.to_text().unwrap_or_default()).map(Some),
        }
    }

    pub fn count(&self, place: usize) -> Result<u64, CompareError> {
        Ok(self.find_number(place, "a count")?.unwrap_or(0))
    }

    /// A sum over no rows is 0.
    pub fn amount(&self, place: usize) -> Result<Minor, CompareError> {
        Ok(self.find_number(place, "an integer amount")?.unwrap_or(Minor::ZERO))
    }
}

/// The section `check`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Check {
    /// Rows of both sides; `None` if allocations without a charge are told by their ids.
    pub rows: Option<(u64, u64)>,
    /// Refunds of several charges, and charges that are listed several times.
    pub twice: u64,
    /// Charges that were looked at in detail; `None`: all.
    pub detailed: Option<u64>,
}

pub(super) fn check(line: &Line) -> Result<Check, CompareError> {
    let (old, new) = (line.find_number(1, "a count")?, line.find_number(2, "a count")?);
    Ok(Check { rows: old.zip(new), twice: line.count(3)? + line.count(4)?, detailed: line.find_number(5, "a count")? })
}

/// The section `payer`: currency, payer and what they pay. A charge without a currency is a fault, and told as one.
pub(super) fn payer(line: &Line) -> Result<(String, Option<String>, PayerSum), CompareError> {
    let sum = PayerSum {
        old: line.amount(1)?,
        moved_out: line.amount(2)?,
        moved_in: line.amount(3)?,
        charges: line.count(4)?,
    };
    Ok((line.find_text(1).unwrap_or_default(), line.find_text(2), sum))
}

/// The section `part`: charge, its number of payers, and one of them with their place.
pub(super) fn part(line: &Line) -> Result<(String, u64, u64, Part), CompareError> {
    let part = Part {
        payer: line.find_text(2),
        old_rows: line.count(2)?,
        old: line.amount(3)?,
        new_rows: line.count(4)?,
        new: line.amount(5)?,
        expected: line.count(6)? == 1,
    };
    Ok((line.text(1)?, line.count(7)?, line.count(1)?, part))
}

/// Rows that cannot be compared make the whole comparison an error.
pub(super) fn refuse_faults(lines: &[Line]) -> Result<(), CompareError> {
    let Some(first) = lines.first() else { return Ok(()) };
    let total = first.count(1)?;
    let mut faults = Vec::new();
    for line in lines {
        faults.push(Fault {
            query: line.text(1)?,
            what: line.text(2)?,
            charge_id: line.find_text(3),
            shown: line.find_text(4),
        });
    }
    faults.sort_by(|a, b| (&a.query, &a.charge_id, &a.what).cmp(&(&b.query, &b.charge_id, &b.what)));
    Err(CompareError::Faults { faults, total })
}
