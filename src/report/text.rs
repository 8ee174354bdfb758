//! A report for a terminal: tables that fit a hundred columns.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, presets};

use super::document::{Report, ReportData};
use super::words;
use crate::allocation::{ControlTotal, ExceptionLine, Part, SideTotal};

const WIDTH: u16 = 100;
/// Payers of an exception that are listed on its line.
const PARTS_MAX: usize = 4;

/// The whole report, without a newline at its end.
#[must_use]
pub fn render(report: &Report) -> String {
    let data = &report.data;
    let mut sections = vec![head(report), section("Control totals", &totals(data))];
    if !data.comparison.payers.is_empty() {
        sections.push(section("What changes for whom", &payers(data)));
    }
    if !data.comparison.movers.is_empty() {
        sections.push(section("Largest changes", &movers(data)));
    }
    if !data.comparison.classes.is_empty() {
        sections.push(section("Classes", &classes(data)));
    }
    if !data.comparison.exceptions.is_empty() {
        let listed = data.comparison.exceptions.len();
        let title = format!(
            "Exceptions ({} of {})",
            words::grouped(u64::try_from(listed).unwrap_or(u64::MAX)),
            words::grouped(data.comparison.exceptions_total)
        );
        sections.push(section(&title, &exceptions(data)));
    }
    if !data.subject.declared_losses.is_empty() {
        sections.push(section("Declared loss: what one model cannot hold of the other", &declared_losses(data)));
    }
    sections.push(foot(report));
    sections.join("\n\n")
}

fn head(report: &Report) -> String {
    let data = &report.data;
    let verdict = words::verdict(data);
    let mark = if data.clean { "CLEAN" } else { "NOT CLEAN" };
    format!(
        "{}\n{} · {} · {} · as of {}\n\n{mark}: {}\n{}",
        words::printable(&data.subject.title),
        data.subject.change,
        words::basis(data),
        words::periods(data),
        data.subject.as_of,
        verdict.headline,
        verdict.detail
    )
}

fn declared_losses(data: &ReportData) -> String {
    let lines = data.subject.declared_losses.iter();
    lines
        .map(|loss| format!("{}: {}", words::printable(&loss.column), words::printable(&loss.instead)))
        .collect::<Vec<_>>()
        .join("\n")
}

fn foot(report: &Report) -> String {
    let mut lines = Vec::new();
    if let Some(id) = &report.id {
        lines.push(format!("report         {id}"));
    }
    lines.push(format!("sha-256        {}", report.sha256));
    lines.push(format!("change file    {}", report.data.subject.file_sha256));
    lines.push(format!("configuration  {}", words::configuration(report)));
    if report.signatures.is_empty() {
        lines.push(String::from("signed by      nobody yet"));
    }
    for signature in &report.signatures {
        let (name, role) = (words::printable(&signature.name), words::printable(&signature.role));
        lines.push(format!("signed by      {name} ({role}), {}", signature.at));
    }
    lines.join("\n")
}

fn section(title: &str, body: &str) -> String {
    format!("{title}\n{body}")
}

/// A table whose columns from `numbers` on, but before `until`, are numbers.
fn table(header: &[&str], numbers: std::ops::Range<usize>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING.header_separator(LineStyle::none().fill('─').junction('─')))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(header.to_vec())
        .add_rows(rows);
    for column in table.column_iter_mut() {
        if numbers.contains(&column.index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// One line for the charges, one for each side.
fn totals(data: &ReportData) -> String {
    let mut rows = Vec::new();
    for total in &data.comparison.totals {
        let amount = words::amount(&data.comparison, &total.currency, total.amount);
        rows.push(vec![
            words::printable(&total.period),
            words::printable(&total.currency),
            String::from("charges"),
            words::grouped(total.charges),
            String::new(),
            amount,
            String::new(),
        ]);
        rows.extend(total.sides().into_iter().map(|(name, side)| side_row(data, total, name, side)));
    }
    table(&["Period", "Currency", "Side", "Charges", "Parts", "Amount", "Difference"], 3..7, rows)
}

fn side_row(data: &ReportData, total: &ControlTotal, name: &str, side: SideTotal) -> Vec<String> {
    let missing = total.charges.saturating_sub(side.charges);
    let difference = words::change(&data.comparison, &total.currency, side.amount - total.amount);
    let name = match name {
        "effective" => format!("effective ({} on new)", words::share(total.on_new, total.charges)),
        name => name.to_owned(),
    };
    vec![
        String::new(),
        String::new(),
        name,
        words::grouped(side.charges),
        words::grouped(side.rows),
        words::amount(&data.comparison, &total.currency, side.amount),
        if missing == 0 { difference } else { format!("{difference}, {} missing", words::grouped(missing)) },
    ]
}

fn payers(data: &ReportData) -> String {
    let rows = data.comparison.payers.iter().map(|total| {
        let amount = |amount| words::amount(&data.comparison, &total.currency, amount);
        vec![
            words::printable(&total.currency),
            words::grouped(total.payers),
            words::grouped(total.changed),
            amount(total.old),
            amount(-total.moved_out),
            words::change(&data.comparison, &total.currency, total.moved_in),
            amount(total.new),
        ]
    });
    table(&["Currency", "Payers", "Changed", "Old", "Moved out", "Moved in", "New"], 1..7, rows.collect())
}

fn movers(data: &ReportData) -> String {
    let rows = data.comparison.movers.iter().map(|mover| {
        let amount = |amount| words::amount(&data.comparison, &mover.currency, amount);
        vec![
            words::payer(mover.payer.as_deref()),
            words::printable(&mover.currency),
            amount(mover.old),
            amount(mover.new),
            words::change(&data.comparison, &mover.currency, mover.change()),
            words::grouped(mover.charges),
        ]
    });
    table(&["Payer", "Currency", "Old", "New", "Change", "Charges"], 2..6, rows.collect())
}

fn classes(data: &ReportData) -> String {
    let classes = data.comparison.classes_of_all_periods();
    let rows = classes.iter().map(|total| {
        let currency = total.currency.as_deref();
        vec![
            String::from(if total.class.is_wrong() { "WRONG" } else { "fine" }),
            total.class.to_string(),
            currency.map_or(String::from("–"), words::printable),
            words::grouped(total.charges),
            currency.map_or(String::from("–"), |currency| words::amount(&data.comparison, currency, total.amount)),
        ]
    });
    table(&["", "Class", "Currency", "Charges", "Amount"], 3..5, rows.collect())
}

fn exceptions(data: &ReportData) -> String {
    let rows = data.comparison.exceptions.iter().map(|line| {
        let currency = line.currency.as_deref().unwrap_or_default();
        vec![
            words::printable(&line.charge_id),
            line.class.to_string(),
            line.period.as_deref().map_or(String::from("–"), words::printable),
            line.amount.map_or(String::from("–"), |amount| words::amount(&data.comparison, currency, amount)),
            side_of(data, line, |part| (part.old_rows, part.old)),
            side_of(data, line, |part| (part.new_rows, part.new)),
        ]
    });
    table(&["Charge", "Class", "Period", "Amount", "Old payers", "New payers"], 3..4, rows.collect())
}

/// `ann 3.34, bob 3.33 ×2`.
fn side_of(data: &ReportData, line: &ExceptionLine, side: impl Fn(&Part) -> (u64, crate::allocation::Minor)) -> String {
    let currency = line.currency.as_deref().unwrap_or_default();
    let parts: Vec<String> = line
        .parts
        .iter()
        .filter(|part| side(part).0 > 0)
        .map(|part| {
            let (rows, amount) = side(part);
            let times = if rows > 1 { format!(" ×{rows}") } else { String::new() };
            let amount = words::amount(&data.comparison, currency, amount);
            format!("{} {amount}{times}", words::payer(part.payer.as_deref()))
        })
        .collect();
    let more = parts.len().saturating_sub(PARTS_MAX);
    let mut text = parts.into_iter().take(PARTS_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 || line.parts_total > u64::try_from(line.parts.len()).unwrap_or(u64::MAX) {
        text.push_str(", …");
    }
    if text.is_empty() { String::from("–") } else { text }
}
