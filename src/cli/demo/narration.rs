//! What the demo says while it runs, one line a step, and what it has shown in the end.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::old_code::Written;
use crate::allocation::{Comparison, ControlTotal};
use crate::cli::Output;
use crate::primitives::Period;

/// Width of a step's name.
const NAME_WIDTH: usize = 11;

/// Says each step with the time that it took.
pub struct Narrator<'a> {
    output: &'a Output,
    began: Instant,
    step_began: Instant,
}

impl<'a> Narrator<'a> {
    #[must_use]
    pub fn new(output: &'a Output) -> Self {
        let now = Instant::now();
        Self { output, began: now, step_began: now }
    }

    #[must_use]
    pub fn output(&self) -> &'a Output {
        self.output
    }

    /// A step that has been done: its name, and in a few words what came of it.
    pub fn step(&mut self, name: &str, what: &str) {
        let took = seconds(self.step_began.elapsed());
        self.step_began = Instant::now();
        self.output.note(&format!("  {name:<NAME_WIDTH$} {took:>6.1} s  {what}"));
    }

    #[must_use]
    pub fn seconds(&self) -> f64 {
        seconds(self.began.elapsed())
    }
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

/// What has been shown.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// True if drift is 0, the report clean, and every total equal to the unit.
    pub held: bool,
    pub example: &'static str,
    pub database: String,
    pub change: String,
    pub loaded: serde_json::Value,
    pub old_code: OldCode,
    pub backfill: Backfill,
    pub drift: Drift,
    pub totals: Vec<Total>,
    pub groups: Groups,
    pub report: ReportShown,
    pub seconds: f64,
}

/// What the old application wrote, and in between which steps.
#[derive(Debug, Serialize)]
pub struct OldCode {
    #[serde(flatten)]
    pub written: Written,
    /// Rows written while the change was live.
    pub rows_while_live: u64,
}

#[derive(Debug, Serialize)]
pub struct Backfill {
    pub keys: u64,
    pub seconds: f64,
    /// Rows that the old application wrote meanwhile.
    pub old_code_rows: u64,
}

/// What verifies found.
#[derive(Debug, Serialize)]
pub struct Drift {
    /// Target rows that differed, in all verifies together.
    pub rows: u64,
    pub verifies: u64,
    /// Keys that the last one compared, after the last write of the old application.
    pub keys: u64,
}

/// One period and currency, with the currency's own decimals.
#[derive(Debug, Serialize)]
pub struct Total {
    pub period: String,
    pub currency: String,
    pub charges: u64,
    pub charged: String,
    pub old: String,
    pub new: String,
    pub effective: String,
    /// What of it is billed by the new allocation.
    pub on_new: String,
    pub exact: bool,
}

#[derive(Debug, Serialize)]
pub struct Groups {
    pub period: Period,
    pub new: i64,
    pub old: i64,
    pub moved_back: u64,
}

#[derive(Debug, Serialize)]
pub struct ReportShown {
    pub id: String,
    pub clean: bool,
    pub exceptions: u64,
    pub sha256: String,
    pub file: String,
}

impl Total {
    pub fn list(comparison: &Comparison) -> Vec<Self> {
        comparison.totals.iter().map(|total| Self::of(total, comparison)).collect()
    }

    fn of(total: &ControlTotal, comparison: &Comparison) -> Self {
        let exponent = comparison.exponents.get(&total.currency).copied().unwrap_or(0);
        Self {
            period: total.period.clone(),
            currency: total.currency.clone(),
            charges: total.charges,
            charged: total.amount.decimal(exponent),
            old: total.old.amount.decimal(exponent),
            new: total.new.amount.decimal(exponent),
            effective: total.effective.amount.decimal(exponent),
            on_new: total.on_new_amount.decimal(exponent),
            exact: total.is_exact(),
        }
    }
}

impl Shown {
    /// The few lines that the demo ends with. `comparison` adds up the totals of all periods.
    #[must_use]
    pub fn text(&self, comparison: &Comparison) -> String {
        let verdict = if self.held { "It held." } else { "It did NOT hold: see the report." };
        let mut lines = vec![
            format!("{verdict} What has been shown in {:.0} seconds, on {}:", self.seconds, self.database),
            String::new(),
            format!(
                "  Old code    wrote {} rows in {} transactions, {} of them while live; it knows only the old tables",
                counted(self.old_code.written.rows),
                counted(self.old_code.written.transactions),
                counted(self.old_code.rows_while_live),
            ),
            format!(
                "  Drift       {} rows: {} keys compared after the last write, {} verifies in all",
                counted(self.drift.rows),
                counted(self.drift.keys),
                self.drift.verifies,
            ),
            format!(
                "  Groups      {} on the new allocation, {} on the old one in {}; {} moved back by hand",
                counted(self.groups.new.unsigned_abs()),
                counted(self.groups.old.unsigned_abs()),
                self.groups.period,
                self.groups.moved_back,
            ),
            format!(
                "  Report      {}, {} exceptions, sha-256 {}…: {}",
                if self.report.clean { "clean" } else { "NOT clean" },
                self.report.exceptions,
                self.report.sha256.get(..12).unwrap_or_default(),
                self.report.file,
            ),
            format!("  Totals      {}", self.totals_verdict()),
            String::new(),
        ];
        lines.extend(totals_table(comparison));
        lines.join("\n")
    }

    fn totals_verdict(&self) -> String {
        let wrong = self.totals.iter().filter(|total| !total.exact).count();
        let all = self.totals.len();
        match wrong {
            0 => format!("equal to the last unit in each of {all} periods and currencies"),
            wrong => format!("DIFFERENT in {wrong} of {all} periods and currencies"),
        }
    }
}

/// Each currency over all periods: charged, and how either allocation and the effective one divide it.
fn totals_table(comparison: &Comparison) -> Vec<String> {
    let mut currencies: Vec<&str> = comparison.totals.iter().map(|total| total.currency.as_str()).collect();
    currencies.sort_unstable();
    currencies.dedup();
    let heads = ["charged", "old", "new", "effective", "of it by the new"];
    let mut rows = vec![std::iter::once(String::new()).chain(heads.map(String::from)).collect::<Vec<String>>()];
    for currency in currencies {
        let exponent = comparison.exponents.get(currency).copied().unwrap_or(0);
        let of_currency = || comparison.totals.iter().filter(|total| total.currency == currency);
        let sums = [
            of_currency().map(|total| total.amount).sum::<crate::allocation::Minor>(),
            of_currency().map(|total| total.old.amount).sum(),
            of_currency().map(|total| total.new.amount).sum(),
            of_currency().map(|total| total.effective.amount).sum(),
            of_currency().map(|total| total.on_new_amount).sum(),
        ];
        rows.push(std::iter::once(currency.to_owned()).chain(sums.map(|sum| sum.grouped(exponent))).collect());
    }
    let width = rows.iter().flatten().map(|cell| cell.chars().count()).max().unwrap_or(0);
    rows.iter()
        .map(|row| {
            let (name, cells) = row.split_first().map_or(("", &[][..]), |(name, cells)| (name.as_str(), cells));
            let cells: String = cells.iter().map(|cell| format!("  {cell:>width$}")).collect();
            format!("  {name:<4}{cells}")
        })
        .collect()
}

/// `12345` → `12,345`.
#[must_use]
pub fn counted(number: u64) -> String {
    crate::allocation::Minor::new(i128::from(number)).grouped(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_groups_of_three() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(counted), ["0", "999", "1,000", "1,234,567"]);
    }
}
