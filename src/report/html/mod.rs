//! A report as one HTML page that needs nothing else: no font, no picture, no script from elsewhere, and none at all to be read. The
//! templates lay out, these files choose the words and the numbers.

mod classes;
mod exceptions;
mod past;
mod payers;
mod policy;
mod totals;

use askama::Template;

use self::classes::{ClassRow, Explanations};
use self::exceptions::Exceptions;
use self::past::SincePart;
use self::payers::{Line, Payers};
use self::totals::{Tile, Totals};
use super::document::{Report, ReportError};
use super::{observed, words};
use crate::allocation::EffectiveSource;

/// No page is larger, in bytes: it still opens on a telephone and goes through the post.
pub const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// How much of each list a page shows.
#[derive(Debug, Clone, Copy)]
struct Limits {
    totals: usize,
    currencies: usize,
    /// Over all currencies, and of one.
    movers: usize,
    movers_each: usize,
    exceptions: usize,
    /// Of every other list.
    lines: usize,
}

impl Limits {
    const FULL: Self =
        Self { totals: 360, currencies: 24, movers: 240, movers_each: 50, exceptions: 1_000, lines: 200 };

    fn halved(self) -> Self {
        Self {
            totals: self.totals / 2,
            currencies: self.currencies / 2,
            movers: self.movers / 2,
            movers_each: (self.movers_each / 2).max(3),
            exceptions: self.exceptions / 2,
            lines: self.lines / 2,
        }
    }
}

/// The whole page, at most [`PAGE_BYTES_MAX`] long: where names are so long or so many that it would be longer, lists are cut sooner.
///
/// # Errors
/// None that can be met in practice.
pub fn render(report: &Report) -> Result<String, ReportError> {
    let mut limits = Limits::FULL;
    loop {
        let text = page(report, limits).render()?;
        if text.len() <= PAGE_BYTES_MAX || limits.exceptions == 0 {
            return Ok(text);
        }
        limits = limits.halved();
    }
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    policy: String,
    style: &'static str,
    script: &'static str,
    title: String,
    change: String,
    basis: String,
    periods: String,
    as_of: String,
    moment: String,
    clean: bool,
    headline: String,
    detail: String,
    tiles: Vec<Tile>,
    totals: Totals,
    effective_is_old: bool,
    unknown_currencies: String,
    since: Option<SincePart>,
    payers: Payers,
    classes: Vec<ClassRow>,
    explanations: Explanations,
    exceptions: Exceptions,
    trend: Vec<Line>,
    observed: Vec<[String; 7]>,
    observed_left_out: usize,
    /// Column, what stands there instead.
    declared_losses: Vec<(String, String)>,
    signatures: Vec<SignatureRow>,
    proof: Vec<(&'static str, String)>,
}

struct SignatureRow {
    name: String,
    role: String,
    at: String,
    approves: bool,
    comment: String,
}

fn page(report: &Report, limits: Limits) -> Page {
    let data = &report.data;
    let comparison = &data.comparison;
    let verdict = words::verdict(data);
    let losses = data.subject.declared_losses.iter().take(limits.lines);
    let signatures = report.signatures.iter().take(limits.lines).map(|signature| SignatureRow {
        name: words::printable(&signature.name),
        role: words::printable(&signature.role),
        at: words::moment(signature.at),
        approves: signature.approves,
        comment: words::sentence(&signature.comment),
    });
    Page {
        policy: policy::content_security_policy(),
        style: policy::STYLE,
        script: policy::SCRIPT,
        title: words::title(data),
        change: data.subject.change.to_string(),
        basis: words::basis(data),
        periods: words::periods(data),
        as_of: data.subject.as_of.to_string(),
        moment: words::moment(data.subject.as_of),
        clean: data.clean,
        headline: verdict.headline,
        detail: verdict.detail,
        tiles: totals::tiles(comparison, words::unexplained_total(data)),
        totals: totals::totals(comparison, limits.totals),
        effective_is_old: comparison.effective == EffectiveSource::Old,
        unknown_currencies: totals::unknown_currencies(comparison),
        since: past::since(data, limits.lines),
        payers: payers::payers(comparison, limits),
        classes: classes::class_rows(comparison),
        explanations: classes::explanations(data, limits.lines),
        exceptions: exceptions::exceptions(comparison, limits),
        observed: data.observations.iter().take(limits.lines).map(observed::row).collect(),
        observed_left_out: data.observations.len().saturating_sub(limits.lines),
        trend: past::trend(data, limits.lines.min(24)),
        declared_losses: losses.map(|loss| (words::printable(&loss.column), words::sentence(&loss.instead))).collect(),
        signatures: signatures.collect(),
        proof: proof(report),
    }
}

/// What the report rests on, so that somebody else can run it again. Not the id that a store gave it: the same data make the same page
/// wherever they are kept, and the checksum names them.
fn proof(report: &Report) -> Vec<(&'static str, String)> {
    let data = &report.data;
    vec![
        ("Data, sha-256", report.sha256.clone()),
        ("As of", data.subject.as_of.to_string()),
        ("Periods", words::periods(data)),
        ("New allocation", words::new_side(data)),
        ("In force", words::in_force_side(data).to_owned()),
        ("Decimals", words::decimals(&data.comparison)),
        ("Configuration version", words::configuration(report)),
        ("Change file, sha-256", data.subject.file_sha256.clone()),
        ("Exceptions, sha-256", data.exceptions_sha256.clone().unwrap_or_else(|| String::from("not kept"))),
        ("Format", report.format.clone()),
    ]
}

impl Page {
    fn observed_header(&self) -> [&'static str; 7] {
        observed::HEADER
    }

    fn has_trend(&self) -> bool {
        !self.trend.is_empty()
    }

    fn has_explanations(&self) -> bool {
        !self.explanations.are_none() || !self.explanations.unexplained.is_empty()
    }
}
