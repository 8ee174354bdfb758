//! What every form of a report says in the same words: the verdict, amounts, counts, names that other people chose.

use super::document::{Basis, Report, ReportData};
use crate::allocation::{Bucket, ChargeClass, Comparison, EffectiveSource, Minor, Trend};

/// The verdict in a sentence, and what it rests on.
pub(super) struct Verdict {
    pub headline: String,
    pub detail: String,
}

pub(super) fn verdict(data: &ReportData) -> Verdict {
    let comparison = &data.comparison;
    let charges = comparison.charges();
    if data.clean && charges == 0 {
        return Verdict {
            headline: String::from("There are no charges to compare."),
            detail: String::from("Nothing differs, but nothing has been shown either."),
        };
    }
    if data.clean {
        let in_force = match comparison.effective {
            EffectiveSource::View => "the old model, the new model and what is in force",
            EffectiveSource::Old => "the old model (which is in force) and the new model",
        };
        return Verdict {
            headline: String::from("Every charge is allocated exactly once."),
            detail: format!(
                "{}: {in_force} agree on every total to the last unit, and nothing is unexplained.",
                counted(charges, "charge", "charges")
            ),
        };
    }
    let wrong = comparison.exceptions_total;
    let headline = match wrong {
        0 => String::from("The control totals do not agree."),
        1 => String::from("1 charge needs an explanation before the change may go on."),
        _ => format!("{} charges need an explanation before the change may go on.", grouped(wrong)),
    };
    Verdict { headline, detail: reasons(data) }
}

/// `3 × Sum differs, 1 × Unexpected payer; control totals differ in 2026-11 EUR`.
fn reasons(data: &ReportData) -> String {
    let classes: Vec<String> = ChargeClass::ALL
        .into_iter()
        .filter(|class| class.is_wrong())
        .map(|class| (class, data.count_of(class)))
        .filter(|(_, count)| *count > 0)
        .map(|(class, count)| format!("{} × {}", grouped(count), class.title().to_lowercase()))
        .collect();
    let differing: Vec<String> = data
        .differing_totals()
        .iter()
        .map(|total| format!("{} {}", total.period, printable(&total.currency)))
        .collect();
    let mut text = format!("Of {}: {}.", counted(data.comparison.charges(), "charge", "charges"), classes.join(", "));
    if differing.is_empty() {
        text.push_str(" The control totals agree, so the differences cancel each other out.");
    } else {
        text.push_str(&format!(" Control totals differ in {}.", differing.join(", ")));
    }
    text
}

/// `Stage live`, or what was computed without installing anything.
pub(super) fn basis(data: &ReportData) -> String {
    match &data.subject.basis {
        Basis::Installed { stage } => format!("stage {stage}"),
        Basis::WhatIf => String::from("what if: nothing is installed"),
    }
}

pub(super) fn periods(data: &ReportData) -> String {
    match data.subject.periods.as_slice() {
        [] => String::from("all periods"),
        [one] => format!("period {one}"),
        several => format!("periods {}", several.join(", ")),
    }
}

/// What the report was compared on, for the foot of it.
pub(super) fn configuration(report: &Report) -> String {
    report.data.subject.configuration_version.map_or(String::from("none"), |version| version.to_string())
}

/// An amount in its currency's form.
pub(super) fn amount(comparison: &Comparison, currency: &str, amount: Minor) -> String {
    amount.grouped(comparison.exponent(currency))
}

/// A change of an amount: with a sign.
pub(super) fn change(comparison: &Comparison, currency: &str, amount: Minor) -> String {
    amount.signed(comparison.exponent(currency))
}

/// `12,345`.
pub(super) fn grouped(count: u64) -> String {
    Minor::new(i128::from(count)).grouped(0)
}

pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// `12.3 %`, from integers; 100 % and 0 % only where it is exactly that.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 || part == 0 {
        return String::from("0 %");
    }
    if part >= whole {
        return String::from("100 %");
    }
    let tenths = (u128::from(part) * 1000 / u128::from(whole)).clamp(1, 999);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// A payer as a person reads it.
pub(super) fn payer(payer: Option<&str>) -> String {
    payer.map_or(String::from("(nobody)"), printable)
}

/// A text that somebody else chose, without what could play tricks on a terminal, and not longer than a line takes.
pub(super) fn printable(text: &str) -> String {
    const LENGTH_MAX: usize = 60;
    let is_unsafe = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown: String = text.chars().take(LENGTH_MAX).map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().count() > LENGTH_MAX {
        shown.push('…');
    }
    shown
}

/// `less by 1.00 to 9.99`.
pub(super) fn bucket(comparison: &Comparison, bucket: &Bucket) -> String {
    let (from, to) = bucket.bounds();
    let (from, to) = (amount(comparison, &bucket.currency, from), amount(comparison, &bucket.currency, to));
    let range = if from == to { from } else { format!("{from} to {to}") };
    match bucket.trend {
        Trend::Less => format!("less by {range}"),
        Trend::Same => String::from("unchanged"),
        Trend::More => format!("more by {range}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_round_to_everything_or_nothing() {
        assert_eq!(share(0, 9), "0 %");
        assert_eq!(share(9, 9), "100 %");
        assert_eq!(share(1, 1_000_000), "0.1 %");
        assert_eq!(share(999_999, 1_000_000), "99.9 %");
        assert_eq!(share(1, 8), "12.5 %");
        assert_eq!(share(0, 0), "0 %");
    }

    #[test]
    fn names_cannot_play_tricks() {
        assert_eq!(printable("\u{1b}[31mred\r\n"), "\u{fffd}[31mred\u{fffd}\u{fffd}");
        assert_eq!(printable(&"x".repeat(61)).chars().count(), 61);
        assert_eq!(payer(None), "(nobody)");
    }
}
