//! Earlier reports on the page: what they said, and what differs from the one that was named.

use super::super::chart::{Axis, Stretch, Tone};
use super::super::document::ReportData;
use super::super::since::{ExceptionMark, Since, TotalChange};
use super::super::words;
use super::payers::Line;
use crate::allocation::{Comparison, Minor};

/// What differs from an earlier report.
pub(super) struct SincePart {
    pub as_of: String,
    pub sha256: String,
    pub is_nothing: bool,
    pub totals: Vec<TotalChangeRow>,
    pub classes: Vec<ClassChangeRow>,
    pub left_out: usize,
    pub new_exceptions: Vec<String>,
    pub gone_exceptions: Vec<String>,
}

pub(super) struct TotalChangeRow {
    pub place: String,
    pub side: String,
    pub before: String,
    pub now: String,
    pub change: String,
    pub charges: String,
}

pub(super) struct ClassChangeRow {
    pub class: &'static str,
    pub place: String,
    pub before: String,
    pub now: String,
}

/// Marks that are named; the rest is counted.
const MARKS_MAX: usize = 12;

pub(super) fn since(data: &ReportData, rows_max: usize) -> Option<SincePart> {
    let since = data.since.as_ref()?;
    let comparison = &data.comparison;
    Some(SincePart {
        as_of: words::moment(since.as_of),
        sha256: since.sha256.clone(),
        is_nothing: since.is_nothing(),
        totals: since.totals.iter().take(rows_max).map(|change| total_change_row(comparison, change)).collect(),
        classes: class_change_rows(since, rows_max),
        left_out: since.totals.len().saturating_sub(rows_max) + since.classes.len().saturating_sub(rows_max),
        new_exceptions: marks(&since.new_exceptions),
        gone_exceptions: marks(&since.gone_exceptions),
    })
}

fn total_change_row(comparison: &Comparison, change: &TotalChange) -> TotalChangeRow {
    let amount = |amount: Minor| words::amount(comparison, &change.currency, amount);
    let charges = i128::from(change.charges_now) - i128::from(change.charges_before);
    TotalChangeRow {
        place: words::place(Some(&change.period), Some(&change.currency)),
        side: words::side(&change.side).to_owned(),
        before: amount(change.before),
        now: amount(change.now),
        change: words::change(comparison, &change.currency, change.now - change.before),
        charges: Minor::new(charges).signed(0),
    }
}

fn class_change_rows(since: &Since, rows_max: usize) -> Vec<ClassChangeRow> {
    let rows = since.classes.iter().take(rows_max).map(|change| ClassChangeRow {
        class: change.class.title(),
        place: words::place(change.period.as_deref(), change.currency.as_deref()),
        before: words::grouped(change.before),
        now: words::grouped(change.now),
    });
    rows.collect()
}

fn marks(marks: &[ExceptionMark]) -> Vec<String> {
    let mut named: Vec<String> = marks
        .iter()
        .take(MARKS_MAX)
        .map(|mark| format!("{} ({})", words::id(&mark.charge_id), mark.class.title().to_lowercase()))
        .collect();
    if marks.len() > MARKS_MAX {
        named.push(format!("and {} more", marks.len() - MARKS_MAX));
    }
    named
}

/// Exceptions of earlier reports and of this one: explained ones, then those that nobody had explained.
pub(super) fn trend(data: &ReportData, points_max: usize) -> Vec<Line> {
    if data.trend.is_empty() {
        return Vec::new();
    }
    let skipped = data.trend.len().saturating_sub(points_max);
    let earlier = data.trend.iter().skip(skipped);
    let mut points: Vec<(String, bool, u64, u64)> =
        earlier.map(|point| (words::moment(point.as_of), point.clean, point.exceptions, point.unexplained)).collect();
    let now = &data.comparison;
    points.push((
        format!("{} (this report)", words::moment(data.subject.as_of)),
        data.clean,
        now.exceptions_total,
        words::unexplained_total(data),
    ));
    let length = |count: u64| Minor::new(i128::from(count)).length();
    let axis = Axis::over(points.iter().map(|(_, _, exceptions, _)| length(*exceptions)));
    points
        .into_iter()
        .map(|(label, clean, exceptions, unexplained)| {
            let explained = length(exceptions.saturating_sub(unexplained));
            let stretches = [
                Stretch { from: 0.0, to: explained, tone: Tone::Same },
                Stretch { from: explained, to: length(exceptions), tone: Tone::Wrong },
            ];
            let drawn: Vec<Stretch> = stretches.into_iter().filter(|stretch| stretch.from < stretch.to).collect();
            Line { label, value: words::trend_value(clean, exceptions, unexplained), bar: axis.bar(&drawn) }
        })
        .collect()
}
