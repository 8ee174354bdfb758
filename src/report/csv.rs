//! A report's tables as CSV: RFC 4180, UTF-8, amounts in their currency's decimals without separators for thousands. What a table holds
//! is said here; `csv_set` says which files there are and how they are checked.

use std::io::{self, Write};

use super::document::ReportData;
use crate::allocation::{Comparison, ExceptionLine, Minor, Part, Trend};

/// One cell. Only text can be taken for a formula, so only text is ever changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Text(String),
    Number(String),
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

fn optional(value: Option<&String>) -> Cell {
    Cell::Text(value.cloned().unwrap_or_default())
}

fn count<N: ToString>(count: N) -> Cell {
    Cell::Number(count.to_string())
}

fn truth(truth: bool) -> Cell {
    Cell::Number(truth.to_string())
}

pub(super) type Row = Vec<Cell>;

/// Writes one line.
pub(super) fn write_line(out: &mut dyn Write, cells: &[Cell]) -> io::Result<()> {
    for (position, cell) in cells.iter().enumerate() {
        if position > 0 {
            out.write_all(b",")?;
        }
        match cell {
            Cell::Number(number) => out.write_all(number.as_bytes())?,
            Cell::Text(text) => out.write_all(quoted(&harmless(text)).as_bytes())?,
        }
    }
    out.write_all(b"\r\n")
}

/// What a spreadsheet would run as a formula gets an apostrophe before it, as text does there. So does what begins with an apostrophe of
/// its own: a reader takes exactly one away.
fn harmless(text: &str) -> String {
    const BEGIN_A_FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    if text.starts_with(BEGIN_A_FORMULA) || text.starts_with('\'') { format!("'{text}") } else { text.to_owned() }
}

/// Quoted where it must be.
fn quoted(field: &str) -> String {
    let edges = [field.chars().next(), field.chars().next_back()];
    let has_blank_edge = edges.contains(&Some(' '));
    if has_blank_edge || field.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

pub(super) fn control_totals(data: &ReportData) -> Vec<Row> {
    let mut rows = Vec::new();
    for total in &data.comparison.totals {
        let exponent = data.comparison.exponent(&total.currency);
        let mut row = |side: &str, charges: u64, parts: Cell, amount: Cell, difference: Cell| {
            rows.push(vec![
                text(&total.period),
                text(&total.currency),
                text(side),
                count(charges),
                parts,
                amount,
                difference,
            ]);
        };
        let decimal = |amount: Minor| Cell::Number(amount.decimal(exponent));
        let blank = || Cell::Number(String::new());
        row("charges", total.charges, blank(), decimal(total.amount), decimal(Minor::ZERO));
        for (name, side) in total.sides() {
            row(name, side.charges, count(side.rows), decimal(side.amount), decimal(side.amount - total.amount));
        }
        row("on_new", total.on_new, blank(), decimal(total.on_new_amount), blank());
        row("without_group", total.without_group, blank(), blank(), blank());
    }
    rows
}

pub(super) fn classes(data: &ReportData) -> Vec<Row> {
    let rows = data.comparison.classes.iter().map(|total| {
        let currency = total.currency.clone().unwrap_or_default();
        vec![
            text(total.class.as_str()),
            text(if total.class.is_wrong() { "wrong" } else { "fine" }),
            optional(total.period.as_ref()),
            text(&currency),
            count(total.charges),
            Cell::Number(total.amount.decimal(data.comparison.exponent(&currency))),
        ]
    });
    rows.collect()
}

pub(super) fn payer_totals(data: &ReportData) -> Vec<Row> {
    let rows = data.comparison.payers.iter().map(|total| {
        let exponent = data.comparison.exponent(&total.currency);
        let mut row = vec![text(&total.currency), count(total.payers), count(total.changed)];
        let amounts = [total.old, total.moved_out, total.moved_in, total.new];
        row.extend(amounts.map(|amount| Cell::Number(amount.decimal(exponent))));
        row
    });
    rows.collect()
}

pub(super) fn payers(data: &ReportData) -> Vec<Row> {
    let rows = data.comparison.movers.iter().map(|mover| {
        let exponent = data.comparison.exponent(&mover.currency);
        let amounts = [mover.old, mover.moved_out, mover.moved_in, mover.new, mover.change()];
        let mut row = vec![text(&mover.currency), optional(mover.payer.as_ref()), truth(mover.payer.is_none())];
        row.extend(amounts.map(|amount| Cell::Number(amount.decimal(exponent))));
        row.push(count(mover.charges));
        row
    });
    rows.collect()
}

pub(super) fn histogram(data: &ReportData) -> Vec<Row> {
    let rows = data.comparison.histogram.iter().map(|bucket| {
        let exponent = data.comparison.exponent(&bucket.currency);
        let (least, most) = bucket.bounds();
        let (trend, from, to) = match bucket.trend {
            Trend::Less => ("less", -most, -least),
            Trend::Same => ("same", Minor::ZERO, Minor::ZERO),
            Trend::More => ("more", least, most),
        };
        let mut row = vec![text(&bucket.currency), text(trend)];
        row.extend([from, to].map(|amount| Cell::Number(amount.decimal(exponent))));
        row.push(count(bucket.payers));
        row.push(Cell::Number(bucket.amount.decimal(exponent)));
        row
    });
    rows.collect()
}

/// The charge of an exception.
pub(super) fn exception(comparison: &Comparison, line: &ExceptionLine) -> Row {
    let currency = line.currency.as_deref().unwrap_or_default();
    let exponent = comparison.exponent(currency);
    let decimal = |amount: Minor| Cell::Number(amount.decimal(exponent));
    vec![
        text(&line.charge_id),
        text(line.class.as_str()),
        optional(line.period.as_ref()),
        text(currency),
        line.amount.map_or(Cell::Number(String::new()), decimal),
        decimal(line.old_amount),
        decimal(line.new_amount),
        decimal(line.effective_amount),
        count(line.parts_total),
    ]
}

/// The payers of an exception, one a row, so that they can be sorted and summed.
pub(super) fn exception_parts(comparison: &Comparison, line: &ExceptionLine) -> Vec<Row> {
    let currency = line.currency.as_deref().unwrap_or_default();
    let exponent = comparison.exponent(currency);
    let row = |part: &Part| {
        vec![
            text(&line.charge_id),
            text(line.class.as_str()),
            optional(line.period.as_ref()),
            text(currency),
            optional(part.payer.as_ref()),
            truth(part.payer.is_none()),
            truth(part.expected),
            count(part.old_rows),
            Cell::Number(part.old.decimal(exponent)),
            count(part.new_rows),
            Cell::Number(part.new.decimal(exponent)),
        ]
    };
    line.parts.iter().map(row).collect()
}

pub(super) fn explanations(data: &ReportData) -> Vec<Row> {
    let rows = data.explained.iter().map(|explained| {
        let explanation = &explained.explanation;
        let state = serde_json::to_value(explained.state).ok();
        let charges = if explanation.wording.charges.is_empty() {
            String::new()
        } else {
            serde_json::to_string(&explanation.wording.charges).unwrap_or_default()
        };
        vec![
            text(&explanation.id),
            text(explanation.wording.class.as_str()),
            optional(explanation.wording.period.as_ref()),
            optional(explanation.wording.currency.as_ref()),
            text(charges),
            text(&explanation.wording.reason_code),
            text(&explanation.wording.text),
            text(&explanation.wording.owner),
            text(explanation.wording.expires.to_string()),
            count(explanation.wording.max_count),
            text(state.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default()),
            count(explained.matches),
            count(explained.covers),
        ]
    });
    rows.collect()
}

pub(super) fn unexplained(data: &ReportData) -> Vec<Row> {
    let rows = data.unexplained.iter().map(|total| {
        vec![
            text(total.class.as_str()),
            optional(total.period.as_ref()),
            optional(total.currency.as_ref()),
            count(total.charges),
        ]
    });
    rows.collect()
}

pub(super) fn trend(data: &ReportData) -> Vec<Row> {
    let rows = data.trend.iter().map(|point| {
        vec![
            text(point.as_of.to_string()),
            text(&point.sha256),
            truth(point.clean),
            count(point.exceptions),
            count(point.unexplained),
        ]
    });
    rows.collect()
}

pub(super) fn observations(data: &ReportData) -> Vec<Row> {
    let rows = data.observations.iter().map(|one| {
        let mut row = vec![text(&one.operation)];
        row.extend(
            [one.compared, one.mismatches, one.ignored, one.errors_old, one.errors_new, one.calls].map(count::<u64>),
        );
        for latency in [&one.latency_old, &one.latency_new] {
            row.push(count(latency.count));
            let quantiles = [latency.p50_us, latency.p95_us, latency.p99_us];
            row.extend(quantiles.map(|micros| micros.map_or(Cell::Number(String::new()), count::<u64>)));
        }
        row
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_and_never_run() {
        let written = |text: &str| quoted(&harmless(text));
        assert_eq!(written("a\"b,c"), "\"a\"\"b,c\"");
        assert_eq!(written("plain"), "plain");
        assert_eq!(written(" blank"), "\" blank\"");
        assert_eq!(written("=cmd()"), "'=cmd()");
        assert_eq!(written("-1+cmd()"), "'-1+cmd()");
        assert_eq!(written("-5"), "'-5", "an id is text, whatever it looks like");
        assert_eq!(written("@SUM(A1)"), "'@SUM(A1)");
        assert_eq!(written("\t=1"), "'\t=1");
        assert_eq!(written("＝1"), "'＝1");
        assert_eq!(written("'s"), "''s", "exactly one apostrophe is taken away again");
        assert_eq!(written("東京, 大阪"), "\"東京, 大阪\"");
    }

    #[test]
    fn numbers_are_as_they_are() {
        let mut out = Vec::new();
        write_line(&mut out, &[Cell::Number(String::from("-12.50")), Cell::Text(String::from("-12.50"))]).unwrap();
        assert_eq!(out, b"-12.50,'-12.50\r\n");
    }
}
