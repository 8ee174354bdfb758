//! A report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere. The template lays out, this
//! file chooses the words and the numbers.

use askama::Template;

use super::chart::{self, Bar, Tone};
use super::document::{Report, ReportError};
use super::words;
use crate::allocation::{
    ChargeClass, Comparison, ControlTotal, EffectiveSource, ExceptionLine, Minor, Part, PayersTotal, SideTotal, Trend,
};

/// Payers of an exception that its row names; the rest is in the JSON and CSV forms.
const PARTS_MAX: usize = 6;

/// The whole page.
///
/// # Errors
/// None that can be met in practice.
pub fn render(report: &Report) -> Result<String, ReportError> {
    Ok(page(report).render()?)
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    title: String,
    change: String,
    basis: String,
    periods: String,
    as_of: String,
    clean: bool,
    headline: String,
    detail: String,
    tiles: Vec<Tile>,
    totals: Vec<TotalRow>,
    effective_is_old: bool,
    unknown_currencies: String,
    currencies: Vec<CurrencySection>,
    classes: Vec<ClassRow>,
    exceptions: Vec<ExceptionRow>,
    exceptions_listed: String,
    exceptions_total: String,
    exceptions_cut: bool,
    /// Column, what stands there instead.
    declared_losses: Vec<(String, String)>,
    signatures: Vec<SignatureRow>,
    id: String,
    sha256: String,
    file_sha256: String,
    configuration: String,
    format: String,
}

/// One number to know.
struct Tile {
    label: &'static str,
    value: String,
    note: String,
}

struct TotalRow {
    period: String,
    currency: String,
    charges: String,
    amount: String,
    sides: Vec<SideCell>,
    is_exact: bool,
}

struct SideCell {
    amount: String,
    note: String,
    is_exact: bool,
}

/// Everything about the payers of one currency.
struct CurrencySection {
    currency: String,
    payers: String,
    changed: String,
    steps: Vec<Step>,
    movers_chart: String,
    movers: Vec<MoverRow>,
    histogram_chart: String,
}

/// One figure of old − moved out + moved in = new.
struct Step {
    sign: &'static str,
    label: &'static str,
    amount: String,
}

struct MoverRow {
    payer: String,
    old: String,
    new: String,
    change: String,
    charges: String,
}

struct ClassRow {
    is_wrong: bool,
    title: &'static str,
    code: &'static str,
    sentence: &'static str,
    charges: String,
    amounts: Vec<String>,
}

struct ExceptionRow {
    charge: String,
    period: String,
    class: &'static str,
    code: &'static str,
    amount: String,
    old: Vec<PartLine>,
    new: Vec<PartLine>,
    more: String,
}

struct PartLine {
    payer: String,
    amount: String,
    note: String,
}

struct SignatureRow {
    name: String,
    role: String,
    at: String,
}

fn page(report: &Report) -> Page {
    let data = &report.data;
    let comparison = &data.comparison;
    let verdict = words::verdict(data);
    let listed = u64::try_from(comparison.exceptions.len()).unwrap_or(u64::MAX);
    Page {
        title: words::printable(&data.subject.title),
        change: data.subject.change.to_string(),
        basis: words::basis(data),
        periods: words::periods(data),
        as_of: data.subject.as_of.to_string(),
        clean: data.clean,
        headline: verdict.headline,
        detail: verdict.detail,
        tiles: tiles(comparison),
        totals: comparison.totals.iter().map(|total| total_row(comparison, total)).collect(),
        effective_is_old: comparison.effective == EffectiveSource::Old,
        unknown_currencies: unknown_currencies(comparison),
        currencies: comparison.payers.iter().map(|total| currency_section(comparison, total)).collect(),
        classes: class_rows(comparison),
        exceptions: comparison.exceptions.iter().map(|line| exception_row(comparison, line)).collect(),
        exceptions_listed: words::grouped(listed),
        exceptions_total: words::grouped(comparison.exceptions_total),
        exceptions_cut: listed < comparison.exceptions_total,
        declared_losses: data
            .subject
            .declared_losses
            .iter()
            .map(|loss| (words::printable(&loss.column), words::printable(&loss.instead)))
            .collect(),
        signatures: report
            .signatures
            .iter()
            .map(|signature| SignatureRow {
                name: words::printable(&signature.name),
                role: words::printable(&signature.role),
                at: signature.at.to_string(),
            })
            .collect(),
        id: report.id.clone().unwrap_or_default(),
        sha256: report.sha256.clone(),
        file_sha256: data.subject.file_sha256.clone(),
        configuration: words::configuration(report),
        format: report.format.clone(),
    }
}

fn tiles(comparison: &Comparison) -> Vec<Tile> {
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
            value: words::grouped(wrong),
            note: if wrong == 0 {
                String::from("no charge is in a wrong class")
            } else {
                words::share(wrong, charges) + " of the charges"
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

fn unknown_currencies(comparison: &Comparison) -> String {
    let mut unknown: Vec<String> = comparison
        .payers
        .iter()
        .filter(|total| !comparison.exponents.contains_key(&total.currency))
        .map(|total| words::printable(&total.currency))
        .collect();
    unknown.dedup();
    unknown.join(", ")
}

fn total_row(comparison: &Comparison, total: &ControlTotal) -> TotalRow {
    let sides = total.sides().into_iter().map(|(_, side)| side_cell(comparison, total, side)).collect();
    TotalRow {
        period: words::printable(&total.period),
        currency: words::printable(&total.currency),
        charges: words::counted(total.charges, "charge", "charges"),
        amount: words::amount(comparison, &total.currency, total.amount),
        sides,
        is_exact: total.is_exact(),
    }
}

fn side_cell(comparison: &Comparison, total: &ControlTotal, side: SideTotal) -> SideCell {
    let missing = total.charges.saturating_sub(side.charges);
    let difference = side.amount - total.amount;
    let mut notes = Vec::new();
    if !difference.is_zero() {
        notes.push(format!(
            "{} too {}",
            words::amount(comparison, &total.currency, absolute(difference)),
            if difference.is_negative() { "little" } else { "much" }
        ));
    }
    if missing > 0 {
        notes.push(format!("{} missing", words::counted(missing, "charge", "charges")));
    }
    SideCell {
        amount: words::amount(comparison, &total.currency, side.amount),
        note: if notes.is_empty() { words::counted(side.rows, "part", "parts") } else { notes.join(", ") },
        is_exact: difference.is_zero() && missing == 0,
    }
}

fn absolute(amount: Minor) -> Minor {
    if amount.is_negative() { -amount } else { amount }
}

fn currency_section(comparison: &Comparison, total: &PayersTotal) -> CurrencySection {
    let amount = |amount: Minor| words::amount(comparison, &total.currency, amount);
    let movers: Vec<MoverRow> = comparison
        .movers
        .iter()
        .filter(|mover| mover.currency == total.currency)
        .map(|mover| MoverRow {
            payer: words::payer(mover.payer.as_deref()),
            old: amount(mover.old),
            new: amount(mover.new),
            change: words::change(comparison, &total.currency, mover.change()),
            charges: words::grouped(mover.charges),
        })
        .collect();
    CurrencySection {
        currency: words::printable(&total.currency),
        payers: words::counted(total.payers, "payer", "payers"),
        changed: words::grouped(total.changed),
        steps: vec![
            Step { sign: "", label: "by the old model", amount: amount(total.old) },
            Step { sign: "\u{2212}", label: "moves away from payers", amount: amount(total.moved_out) },
            Step { sign: "+", label: "moves to payers", amount: amount(total.moved_in) },
            Step { sign: "=", label: "by the new model", amount: amount(total.new) },
        ],
        movers_chart: movers_chart(comparison, &total.currency),
        movers,
        histogram_chart: histogram_chart(comparison, &total.currency),
    }
}

fn movers_chart(comparison: &Comparison, currency: &str) -> String {
    let bars: Vec<Bar> = comparison
        .movers
        .iter()
        .filter(|mover| mover.currency == currency)
        .map(|mover| {
            let length = mover.change().length();
            Bar {
                label: words::payer(mover.payer.as_deref()),
                value_label: words::change(comparison, currency, mover.change()),
                value: if mover.change().is_negative() { -length } else { length },
                tone: if mover.change().is_negative() { Tone::Less } else { Tone::More },
            }
        })
        .collect();
    if bars.is_empty() { String::new() } else { chart::bars("Payers whose total changes most", &bars) }
}

fn histogram_chart(comparison: &Comparison, currency: &str) -> String {
    let bars: Vec<Bar> = comparison
        .histogram
        .iter()
        .filter(|bucket| bucket.currency == currency)
        .map(|bucket| Bar {
            label: words::bucket(comparison, bucket),
            value_label: words::grouped(bucket.payers),
            // Payers are counted to the right of the axis whatever happens to them.
            value: Minor::new(i128::from(bucket.payers)).length(),
            tone: match bucket.trend {
                Trend::Less => Tone::Less,
                Trend::Same => Tone::Same,
                Trend::More => Tone::More,
            },
        })
        .collect();
    if bars.is_empty() { String::new() } else { chart::bars("How many payers' totals change by how much", &bars) }
}

fn class_rows(comparison: &Comparison) -> Vec<ClassRow> {
    let classes = comparison.classes_of_all_periods();
    ChargeClass::ALL
        .into_iter()
        .map(|class| {
            let of_class = || classes.iter().filter(move |total| total.class == class);
            ClassRow {
                is_wrong: class.is_wrong(),
                title: class.title(),
                code: class.as_str(),
                sentence: class.sentence(),
                charges: words::grouped(of_class().map(|total| total.charges).sum()),
                amounts: of_class()
                    .filter_map(|total| {
                        let currency = total.currency.as_deref()?;
                        Some(format!(
                            "{} {}",
                            words::amount(comparison, currency, total.amount),
                            words::printable(currency)
                        ))
                    })
                    .collect(),
            }
        })
        .collect()
}

fn exception_row(comparison: &Comparison, line: &ExceptionLine) -> ExceptionRow {
    let currency = line.currency.as_deref().unwrap_or_default();
    let side = |of: fn(&Part) -> (u64, Minor)| -> Vec<PartLine> {
        let parts = line.parts.iter().filter(|part| of(part).0 > 0).take(PARTS_MAX);
        parts
            .map(|part| {
                let (rows, amount) = of(part);
                PartLine {
                    payer: words::payer(part.payer.as_deref()),
                    amount: words::amount(comparison, currency, amount),
                    note: if rows > 1 { format!("listed {rows} times") } else { String::new() },
                }
            })
            .collect()
    };
    let shown = u64::try_from(line.parts.len().min(PARTS_MAX)).unwrap_or(0);
    ExceptionRow {
        charge: words::printable(&line.charge_id),
        period: line.period.as_deref().map_or(String::from("–"), words::printable),
        class: line.class.title(),
        code: line.class.as_str(),
        amount: line.amount.map_or(String::from("no charge"), |amount| {
            format!("{} {}", words::amount(comparison, currency, amount), words::printable(currency))
        }),
        old: side(|part| (part.old_rows, part.old)),
        new: side(|part| (part.new_rows, part.new)),
        more: if line.parts_total > shown {
            format!("{} payers in all", words::grouped(line.parts_total))
        } else {
            String::new()
        },
    }
}

impl CurrencySection {
    fn has_movers(&self) -> bool {
        !self.movers.is_empty()
    }
}
