//! A report for a terminal: the verdict first, then tables that fit the terminal's width.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, presets};

use super::document::{Report, ReportData};
use super::{observed, words};
use crate::allocation::{ControlTotal, ExceptionLine, Part, SideTotal};

/// Where nobody says how wide the terminal is.
const WIDTH: u16 = 100;
const WIDTH_MIN: u16 = 80;
const WIDTH_MAX: u16 = 120;
/// Payers of an exception that are listed on its line.
const PARTS_MAX: usize = 4;
/// Lines of each list; a file takes the rest.
const EXCEPTIONS_MAX: usize = 50;
const LINES_MAX: usize = 20;

/// The whole report, without a newline at its end.
#[must_use]
pub fn render(report: &Report) -> String {
    render_at(report, WIDTH)
}

/// The whole report for a terminal of so many columns; between 80 and 120 are used.
#[must_use]
pub fn render_at(report: &Report, width: u16) -> String {
    let page = TextPage { data: &report.data, width: width.clamp(WIDTH_MIN, WIDTH_MAX) };
    let comparison = &report.data.comparison;
    let mut sections = vec![page.head(), section("Control totals", &page.totals())];
    sections.extend(page.since());
    if !comparison.payers.is_empty() {
        sections.push(section("What changes for whom", &page.payers()));
    }
    if !comparison.movers.is_empty() {
        sections.push(section("Largest changes", &page.movers()));
    }
    if !comparison.classes.is_empty() {
        sections.push(section("Classes", &page.classes()));
    }
    if !report.data.explained.is_empty() {
        sections.push(section("Explanations", &page.explanations()));
    }
    if !report.data.explained.is_empty() && !report.data.unexplained.is_empty() {
        sections.push(section("Nobody explains", &page.unexplained()));
    }
    if !comparison.exceptions.is_empty() {
        sections.push(page.exceptions());
    }
    if !report.data.observations.is_empty() {
        sections.push(section("What applications observed in the 24 hours before", &page.observations()));
    }
    if !report.data.trend.is_empty() {
        sections.push(section("Earlier reports", &page.trend()));
    }
    if !report.data.subject.declared_losses.is_empty() {
        sections.push(section("Declared loss: what one model cannot hold of the other", &page.declared_losses()));
    }
    sections.push(page.foot(report));
    sections.join("\n\n")
}

/// A report and the width it is written in.
struct TextPage<'a> {
    data: &'a ReportData,
    width: u16,
}

fn section(title: &str, body: &str) -> String {
    format!("{title}\n{body}")
}

/// `… and 3 more`
fn more(listed: usize, all: usize) -> String {
    if all > listed { format!("\n… and {} more", all - listed) } else { String::new() }
}

impl TextPage<'_> {
    fn head(&self) -> String {
        let data = self.data;
        let verdict = words::verdict(data);
        let mark = if data.clean { "CLEAN" } else { "NOT CLEAN" };
        let facts = format!(
            "{} · {} · {} · as of {}",
            data.subject.change,
            words::basis(data),
            words::periods(data),
            data.subject.as_of
        );
        let lines = [format!("{mark}: {}", verdict.headline), verdict.detail, String::new(), words::title(data), facts];
        lines.map(|line| self.wrapped(&line)).join("\n")
    }

    fn foot(&self, report: &Report) -> String {
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
            let word = if signature.approves { "signed by " } else { "refused by" };
            lines.push(format!("{word}     {name} ({role}), {}", signature.at));
            if !signature.comment.is_empty() {
                lines.push(self.wrapped(&format!("               {}", words::sentence(&signature.comment))));
            }
        }
        lines.join("\n")
    }

    fn declared_losses(&self) -> String {
        let lines = self.data.subject.declared_losses.iter();
        lines
            .map(|loss| {
                self.wrapped(&format!("{}: {}", words::printable(&loss.column), words::sentence(&loss.instead)))
            })
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// A sentence in lines that are not wider than the page.
    fn wrapped(&self, text: &str) -> String {
        let width = usize::from(self.width);
        let (mut lines, mut line, mut length) = (Vec::new(), String::new(), 0);
        for word in text.split(' ') {
            let word_length = word.chars().count();
            if length > 0 && length + 1 + word_length > width {
                lines.push(std::mem::take(&mut line));
                length = 0;
            }
            if length > 0 {
                line.push(' ');
                length += 1;
            }
            line.push_str(word);
            length += word_length;
        }
        lines.push(line);
        lines.join("\n")
    }

    /// A table whose columns from `numbers` on, but before its end, are numbers.
    fn table(&self, header: &[&str], numbers: std::ops::Range<usize>, rows: Vec<Vec<String>>) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING.header_separator(LineStyle::none().fill('─').junction('─')))
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(self.width)
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
    fn totals(&self) -> String {
        let comparison = &self.data.comparison;
        let mut rows = Vec::new();
        let sums = comparison.totals_of_all_periods().into_iter();
        let sums = sums.map(|sum| ControlTotal { period: String::from("all"), ..sum });
        for total in comparison.totals.iter().cloned().chain(sums) {
            rows.push(vec![
                words::printable(&total.period),
                words::printable(&total.currency),
                String::from("charges"),
                words::grouped(total.charges),
                String::new(),
                words::amount(comparison, &total.currency, total.amount),
                String::new(),
            ]);
            rows.extend(total.sides().into_iter().map(|(name, side)| side_row(self.data, &total, name, side)));
        }
        self.table(&["Period", "Currency", "Side", "Charges", "Parts", "Amount", "Difference"], 3..7, rows)
    }

    fn since(&self) -> Option<String> {
        let since = self.data.since.as_ref()?;
        let title = format!("Since the report as of {}", since.as_of);
        if since.is_nothing() {
            return Some(section(&title, "Nothing differs."));
        }
        let totals = since.totals.iter().map(|change| {
            let amount = |amount| words::amount(&self.data.comparison, &change.currency, amount);
            vec![
                words::place(Some(&change.period), Some(&change.currency)),
                words::side(&change.side).to_owned(),
                amount(change.before),
                amount(change.now),
                words::change(&self.data.comparison, &change.currency, change.now - change.before),
            ]
        });
        let classes = since.classes.iter().map(|change| {
            let (before, now) = (words::grouped(change.before), words::grouped(change.now));
            let place = words::place(change.period.as_deref(), change.currency.as_deref());
            vec![place, change.class.to_string(), before, now, String::new()]
        });
        let rows: Vec<Vec<String>> = totals.chain(classes).take(LINES_MAX).collect();
        let cut = more(rows.len(), since.totals.len() + since.classes.len());
        let mut text = self.table(&["Where", "What", "Before", "Now", "Change"], 2..5, rows) + &cut;
        for (what, marks) in [("New exceptions", &since.new_exceptions), ("Gone", &since.gone_exceptions)] {
            let named: Vec<String> =
                marks.iter().take(LINES_MAX).map(|mark| words::printable(&mark.charge_id)).collect();
            if !named.is_empty() {
                let rest = marks.len() - named.len();
                let rest = if rest > 0 { format!(", … and {rest} more") } else { String::new() };
                text.push_str(&format!("\n{}", self.wrapped(&format!("{what}: {}{rest}", named.join(", ")))));
            }
        }
        Some(section(&title, &text))
    }

    fn payers(&self) -> String {
        let comparison = &self.data.comparison;
        let rows = comparison.payers.iter().map(|total| {
            let amount = |amount| words::amount(comparison, &total.currency, amount);
            vec![
                words::printable(&total.currency),
                words::grouped(total.payers),
                words::grouped(total.changed),
                amount(total.old),
                amount(-total.moved_out),
                words::change(comparison, &total.currency, total.moved_in),
                amount(total.new),
            ]
        });
        self.table(&["Currency", "Payers", "Changed", "Old", "Moved out", "Moved in", "New"], 1..7, rows.collect())
    }

    fn movers(&self) -> String {
        let comparison = &self.data.comparison;
        let rows = comparison.movers.iter().map(|mover| {
            let amount = |amount| words::amount(comparison, &mover.currency, amount);
            vec![
                words::payer(mover.payer.as_deref()),
                words::printable(&mover.currency),
                amount(mover.old),
                amount(mover.new),
                words::change(comparison, &mover.currency, mover.change()),
                words::grouped(mover.charges),
            ]
        });
        self.table(&["Payer", "Currency", "Old", "New", "Change", "Charges"], 2..6, rows.collect())
    }

    fn classes(&self) -> String {
        let comparison = &self.data.comparison;
        let classes = comparison.classes_of_all_periods();
        let rows = classes.iter().map(|total| {
            let currency = total.currency.as_deref();
            vec![
                String::from(if total.class.is_wrong() { "WRONG" } else { "fine" }),
                total.class.to_string(),
                currency.map_or(String::from("–"), words::printable),
                words::grouped(total.charges),
                currency.map_or(String::from("–"), |currency| words::amount(comparison, currency, total.amount)),
            ]
        });
        self.table(&["", "Class", "Currency", "Charges", "Amount"], 3..5, rows.collect())
    }

    fn explanations(&self) -> String {
        let explained = &self.data.explained;
        let rows = explained.iter().take(LINES_MAX).map(|explained| {
            let explanation = &explained.explanation;
            vec![
                words::explanation_state(explained.state).to_owned(),
                format!("{}, {}", explanation.wording.class, words::explained_place(explanation)),
                words::printable(&explanation.wording.reason_code),
                words::printable(&explanation.wording.owner),
                explanation.wording.expires.to_string(),
                words::covers(explained),
            ]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let cut = more(rows.len(), explained.len());
        self.table(&["", "About", "Reason", "Owner", "Until", "Covers"], 0..0, rows) + &cut
    }

    fn unexplained(&self) -> String {
        let lines: Vec<String> = self.data.unexplained.iter().take(LINES_MAX).map(words::unexplained).collect();
        lines.join("\n") + &more(lines.len(), self.data.unexplained.len())
    }

    fn exceptions(&self) -> String {
        let comparison = &self.data.comparison;
        let rows = comparison.exceptions.iter().take(EXCEPTIONS_MAX).map(|line| {
            let currency = line.currency.as_deref().unwrap_or_default();
            vec![
                words::printable(&line.charge_id),
                line.class.to_string(),
                line.period.as_deref().map_or(String::from("–"), words::printable),
                line.amount.map_or(String::from("–"), |amount| words::amount(comparison, currency, amount)),
                side_of(self.data, line, |part| (part.old_rows, part.old)),
                side_of(self.data, line, |part| (part.new_rows, part.new)),
            ]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let listed = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let title =
            format!("Exceptions ({} of {})", words::grouped(listed), words::grouped(comparison.exceptions_total));
        let header = ["Charge", "Class", "Period", "Amount", "Old payers", "New payers"];
        let mut text = section(&title, &self.table(&header, 3..4, rows));
        if listed < comparison.exceptions_total {
            text.push_str("\nThe page (--format html) lists more of them, the CSV set (--format csv --out DIR) all.");
        }
        text
    }

    fn observations(&self) -> String {
        let all = &self.data.observations;
        let rows: Vec<Vec<String>> = all.iter().take(LINES_MAX).map(|one| observed::row(one).to_vec()).collect();
        let cut = more(rows.len(), all.len());
        self.table(&observed::HEADER, 1..7, rows) + &cut
    }

    fn trend(&self) -> String {
        let points = &self.data.trend;
        let skipped = points.len().saturating_sub(LINES_MAX);
        let lines = points.iter().skip(skipped).map(|point| {
            format!("{}  {}", point.as_of, words::trend_value(point.clean, point.exceptions, point.unexplained))
        });
        lines.collect::<Vec<_>>().join("\n")
    }
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
