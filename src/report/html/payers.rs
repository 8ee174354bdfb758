//! What changes for whom: for each currency the way from the old to the new total, the payers for whom most changes, and how many change
//! by how much.

use super::super::chart::{Axis, Stretch, Tone};
use super::super::words;
use super::Limits;
use crate::allocation::{Comparison, Minor, Mover, PayersTotal, Trend};

/// The currencies that the page tells of.
pub(super) struct Payers {
    pub currencies: Vec<CurrencySection>,
    /// Currencies that are only in the CSV set.
    pub left_out: usize,
}

/// Everything about the payers of one currency.
pub(super) struct CurrencySection {
    pub number: usize,
    pub currency: String,
    pub payers: String,
    pub changed: String,
    pub waterfall: Vec<Line>,
    pub movers_chart: Vec<Line>,
    pub movers: Vec<MoverRow>,
    pub histogram: Vec<Line>,
}

/// One line of a chart: its words, and the bar beside them.
pub(super) struct Line {
    pub label: String,
    pub value: String,
    pub bar: String,
}

pub(super) struct MoverRow {
    pub payer: String,
    pub old: String,
    pub moved_out: String,
    pub moved_in: String,
    pub new: String,
    pub change: String,
    pub charges: String,
}

impl CurrencySection {
    pub(super) fn has_movers(&self) -> bool {
        !self.movers.is_empty()
    }

    pub(super) fn has_histogram(&self) -> bool {
        !self.histogram.is_empty()
    }
}

pub(super) fn payers(comparison: &Comparison, limits: Limits) -> Payers {
    let shown = comparison.payers.len().min(limits.currencies);
    let movers_max = (limits.movers / shown.max(1)).clamp(3, limits.movers_each);
    let sections = comparison.payers.iter().take(shown).enumerate();
    Payers {
        currencies: sections
            .map(|(position, total)| currency_section(comparison, total, position + 1, movers_max))
            .collect(),
        left_out: comparison.payers.len() - shown,
    }
}

fn currency_section(comparison: &Comparison, total: &PayersTotal, number: usize, movers_max: usize) -> CurrencySection {
    let movers: Vec<&Mover> =
        comparison.movers.iter().filter(|mover| mover.currency == total.currency).take(movers_max).collect();
    CurrencySection {
        number,
        currency: words::printable(&total.currency),
        payers: words::counted(total.payers, "payer", "payers"),
        changed: words::grouped(total.changed),
        waterfall: waterfall(comparison, total),
        movers_chart: movers_chart(comparison, &movers),
        movers: movers.iter().map(|mover| mover_row(comparison, mover)).collect(),
        histogram: histogram(comparison, &total.currency),
    }
}

/// Old, what leaves payers, what comes to payers, new: each bar begins where the one above it ends.
fn waterfall(comparison: &Comparison, total: &PayersTotal) -> Vec<Line> {
    let (old, kept, new) = (total.old, total.old - total.moved_out, total.new);
    let axis = Axis::over([old, kept, new].map(signed_length));
    let line = |label: &str, value: String, from: Minor, to: Minor, tone: Tone| Line {
        label: label.to_owned(),
        value,
        bar: axis.bar(&[Stretch { from: signed_length(from), to: signed_length(to), tone }]),
    };
    let amount = |amount: Minor| words::amount(comparison, &total.currency, amount);
    let change = |amount: Minor| words::change(comparison, &total.currency, amount);
    vec![
        line("By the old model", amount(old), Minor::ZERO, old, Tone::Same),
        line("Moves away from payers", change(-total.moved_out), old, kept, Tone::Less),
        line("Moves to payers", change(total.moved_in), kept, new, Tone::More),
        line("By the new model", amount(new), Minor::ZERO, new, Tone::Same),
    ]
}

fn movers_chart(comparison: &Comparison, movers: &[&Mover]) -> Vec<Line> {
    let axis = Axis::over(movers.iter().map(|mover| signed_length(mover.change())));
    let lines = movers.iter().map(|mover| {
        let tone = if mover.change().is_negative() { Tone::Less } else { Tone::More };
        Line {
            label: words::payer(mover.payer.as_deref()),
            value: words::change(comparison, &mover.currency, mover.change()),
            bar: axis.bar(&[Stretch::from_zero(signed_length(mover.change()), tone)]),
        }
    });
    lines.collect()
}

fn mover_row(comparison: &Comparison, mover: &Mover) -> MoverRow {
    let amount = |amount: Minor| words::amount(comparison, &mover.currency, amount);
    let change = |amount: Minor| words::change(comparison, &mover.currency, amount);
    MoverRow {
        payer: words::payer(mover.payer.as_deref()),
        old: amount(mover.old),
        moved_out: change(-mover.moved_out),
        moved_in: change(mover.moved_in),
        new: amount(mover.new),
        change: change(mover.change()),
        charges: words::grouped(mover.charges),
    }
}

/// Payers are counted to the right of the axis whatever happens to them; the colour and the words say which way it goes.
fn histogram(comparison: &Comparison, currency: &str) -> Vec<Line> {
    let buckets: Vec<_> = comparison.histogram.iter().filter(|bucket| bucket.currency == currency).collect();
    let length = |payers: u64| Minor::new(i128::from(payers)).length();
    // Those for whom nothing changes are usually so many that beside them no other bar could be seen.
    let changed = || buckets.iter().filter(|bucket| bucket.trend != Trend::Same);
    let axis = Axis::over(changed().map(|bucket| length(bucket.payers)));
    let lines = buckets.iter().map(|bucket| {
        let tone = match bucket.trend {
            Trend::Less => Tone::Less,
            Trend::Same => Tone::Same,
            Trend::More => Tone::More,
        };
        Line {
            label: words::bucket(comparison, bucket),
            value: words::counted(bucket.payers, "payer", "payers"),
            bar: match bucket.trend {
                Trend::Same => String::new(),
                Trend::Less | Trend::More => axis.bar(&[Stretch::from_zero(length(bucket.payers), tone)]),
            },
        }
    });
    lines.collect()
}

fn signed_length(amount: Minor) -> f64 {
    if amount.is_negative() { -amount.length() } else { amount.length() }
}
