//! A report as CSV, one file for each table: RFC 4180, amounts in their currency's decimals without separators for thousands.

use super::document::ReportData;
use crate::allocation::Minor;

/// One CSV file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvFile {
    pub name: &'static str,
    pub text: String,
}

/// All tables of a report.
#[must_use]
pub fn render(data: &ReportData) -> Vec<CsvFile> {
    vec![totals(data), classes(data), payers(data), movers(data), exceptions(data)]
}

fn file(name: &'static str, header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> CsvFile {
    let mut text = line(header.iter().map(|&field| field.to_owned()));
    for row in rows {
        text.push_str(&line(row.into_iter()));
    }
    CsvFile { name, text }
}

fn line(fields: impl Iterator<Item = String>) -> String {
    let mut text = fields.map(|field| quoted(&field)).collect::<Vec<_>>().join(",");
    text.push_str("\r\n");
    text
}

/// Quoted where it must be. A payer whose name a spreadsheet would run as a formula gets an apostrophe, as text does there.
fn quoted(field: &str) -> String {
    let is_formula = field.starts_with(['=', '@', '+', '\t', '\r'])
        || (field.starts_with('-') && !field.bytes().skip(1).all(|byte| byte.is_ascii_digit() || byte == b'.'));
    let field = if is_formula { format!("'{field}") } else { field.to_owned() };
    if field.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

fn totals(data: &ReportData) -> CsvFile {
    let header = ["period", "currency", "side", "charges", "parts", "amount", "difference"];
    let rows = data.comparison.totals.iter().flat_map(|total| {
        let exponent = data.comparison.exponent(&total.currency);
        let row = move |side: &str, charges: u64, rows: String, amount: Minor| {
            vec![
                total.period.clone(),
                total.currency.clone(),
                side.to_owned(),
                charges.to_string(),
                rows,
                amount.decimal(exponent),
                (amount - total.amount).decimal(exponent),
            ]
        };
        let charges = row("charges", total.charges, String::new(), total.amount);
        let sides = total.sides().map(|(name, side)| row(name, side.charges, side.rows.to_string(), side.amount));
        std::iter::once(charges).chain(sides)
    });
    file("totals.csv", &header, rows)
}

fn classes(data: &ReportData) -> CsvFile {
    let classes = data.comparison.classes_of_all_periods();
    let rows = classes.iter().map(|total| {
        let currency = total.currency.clone().unwrap_or_default();
        vec![
            total.class.to_string(),
            if total.class.is_wrong() { String::from("wrong") } else { String::from("fine") },
            total.charges.to_string(),
            total.amount.decimal(data.comparison.exponent(&currency)),
            currency,
        ]
    });
    file("classes.csv", &["class", "verdict", "charges", "amount", "currency"], rows)
}

fn payers(data: &ReportData) -> CsvFile {
    let rows = data.comparison.payers.iter().map(|total| {
        let exponent = data.comparison.exponent(&total.currency);
        let mut row = vec![total.currency.clone(), total.payers.to_string(), total.changed.to_string()];
        row.extend([total.old, total.moved_out, total.moved_in, total.new].map(|amount| amount.decimal(exponent)));
        row
    });
    file("payers.csv", &["currency", "payers", "changed", "old", "moved_out", "moved_in", "new"], rows)
}

fn movers(data: &ReportData) -> CsvFile {
    let rows = data.comparison.movers.iter().map(|mover| {
        let exponent = data.comparison.exponent(&mover.currency);
        let amounts = [mover.old, mover.moved_out, mover.moved_in, mover.new, mover.change()];
        let mut row = vec![mover.payer.clone().unwrap_or_default(), mover.currency.clone()];
        row.extend(amounts.map(|amount| amount.decimal(exponent)));
        row.push(mover.charges.to_string());
        row
    });
    file("movers.csv", &["payer", "currency", "old", "moved_out", "moved_in", "new", "change", "charges"], rows)
}

/// One line for each payer of each exception, so that it can be sorted and summed.
fn exceptions(data: &ReportData) -> CsvFile {
    let header = [
        "charge_id",
        "class",
        "period",
        "currency",
        "amount",
        "old_total",
        "new_total",
        "effective_total",
        "payer",
        "expected",
        "old_rows",
        "old",
        "new_rows",
        "new",
    ];
    let rows = data.comparison.exceptions.iter().flat_map(|line| {
        let currency = line.currency.clone().unwrap_or_default();
        let exponent = data.comparison.exponent(&currency);
        let decimal = move |amount: Minor| amount.decimal(exponent);
        let charge = [
            line.charge_id.clone(),
            line.class.to_string(),
            line.period.clone().unwrap_or_default(),
            currency,
            line.amount.map_or(String::new(), decimal),
            decimal(line.old_amount),
            decimal(line.new_amount),
            decimal(line.effective_amount),
        ];
        let with = |part: [String; 6]| charge.iter().cloned().chain(part).collect::<Vec<_>>();
        if line.parts.is_empty() {
            return vec![with(Default::default())];
        }
        let part_rows = line.parts.iter().map(|part| {
            with([
                part.payer.clone().unwrap_or_default(),
                part.expected.to_string(),
                part.old_rows.to_string(),
                decimal(part.old),
                part.new_rows.to_string(),
                decimal(part.new),
            ])
        });
        part_rows.collect()
    });
    file("exceptions.csv", &header, rows)
}

#[cfg(test)]
mod tests {
    #[test]
    fn fields_are_quoted_and_never_run() {
        assert_eq!(super::quoted("a\"b,c"), "\"a\"\"b,c\"");
        assert_eq!(super::quoted("=cmd()"), "'=cmd()");
        assert_eq!(super::quoted("-1+cmd()"), "'-1+cmd()");
        assert_eq!(super::quoted("-12.50"), "-12.50");
    }
}
