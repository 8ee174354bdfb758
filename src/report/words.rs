//! What every form of a report says in the same words: the verdict, amounts, counts, names that other people chose.

use super::document::{Basis, Report, ReportData};
use crate::allocation::{
    Bucket, ChargeClass, Comparison, EffectiveSource, Explained, Explanation, ExplanationState, Minor, Trend,
    UnexplainedTotal,
};
use crate::primitives::Instant;

/// The verdict in a sentence, and what it rests on.
pub(crate) struct Verdict {
    pub headline: String,
    pub detail: String,
}

pub(crate) fn verdict(data: &ReportData) -> Verdict {
    let comparison = &data.comparison;
    let charges = comparison.charges();
    if data.clean && charges == 0 {
        return Verdict {
            headline: String::from("There are no charges to compare."),
            detail: String::from("Nothing differs, but nothing has been shown either."),
        };
    }
    if data.clean && comparison.exceptions_total == 0 {
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
    if data.clean {
        return Verdict {
            headline: String::from("Nothing is left to be explained."),
            detail: format!("{} Each of them has an explanation that still holds.", reasons(data)),
        };
    }
    let headline = match unexplained_total(data) {
        0 => String::from("The control totals do not agree."),
        1 => String::from("1 charge needs an explanation before the change may go on."),
        wrong => format!("{} charges need an explanation before the change may go on.", grouped(wrong)),
    };
    Verdict { headline, detail: reasons(data) }
}

/// Charges in a wrong class that nobody explains. A report of the time before there were explanations does not say so: none was explained.
pub(crate) fn unexplained_total(data: &ReportData) -> u64 {
    if data.explained.is_empty() { data.comparison.exceptions_total } else { data.unexplained_total }
}

/// Control totals that a sentence names; the rest is counted.
const TOTALS_NAMED_MAX: usize = 6;

/// `Of 12 charges: 3 × sum differs, 1 × unexpected payer. Control totals differ in 2026-11 EUR.`
fn reasons(data: &ReportData) -> String {
    let classes: Vec<String> = ChargeClass::ALL
        .into_iter()
        .filter(|class| class.is_wrong())
        .map(|class| (class, data.count_of(class)))
        .filter(|(_, count)| *count > 0)
        .map(|(class, count)| format!("{} × {}", grouped(count), class.title().to_lowercase()))
        .collect();
    let classes = if classes.is_empty() { String::from("none is in a wrong class") } else { classes.join(", ") };
    let mut text = format!("Of {}: {classes}.", counted(data.comparison.charges(), "charge", "charges"));
    let differing = data.differing_totals();
    let mut named: Vec<String> = differing
        .iter()
        .take(TOTALS_NAMED_MAX)
        .map(|total| format!("{} {}", printable(&total.period), printable(&total.currency)))
        .collect();
    if differing.len() > TOTALS_NAMED_MAX {
        named.push(format!("and {} more", differing.len() - TOTALS_NAMED_MAX));
    }
    let explained = data.comparison.exceptions_total.saturating_sub(unexplained_total(data));
    if explained > 0 && !data.clean {
        text.push_str(&format!(
            " {} of them {} explained.",
            grouped(explained),
            if explained == 1 { "is" } else { "are" }
        ));
    }
    if differing.is_empty() {
        text.push_str(" The control totals agree, so the differences cancel each other out.");
    } else {
        text.push_str(&format!(" Control totals differ in {}.", named.join(", ")));
    }
    text
}

/// The change's title.
pub(crate) fn title(data: &ReportData) -> String {
    shown(&data.subject.title, TITLE_LENGTH_MAX)
}

/// `2026-11 EUR`; an allocation without a charge has neither.
pub(crate) fn place(period: Option<&str>, currency: Option<&str>) -> String {
    let known: Vec<String> = [period, currency].into_iter().flatten().map(printable).collect();
    if known.is_empty() { String::from("no period") } else { known.join(" ") }
}

/// A side of a control total.
pub(crate) fn side(name: &str) -> &str {
    match name {
        "charges" => "Charged",
        "old" => "Old model",
        "new" => "New model",
        "effective" => "In force",
        other => other,
    }
}

/// `3 × sum differs, 2026-11 EUR`
pub(crate) fn unexplained(total: &UnexplainedTotal) -> String {
    let place = place(total.period.as_deref(), total.currency.as_deref());
    format!("{} × {}, {place}", grouped(total.charges), total.class.title().to_lowercase())
}

/// Charges of an explanation that are named; the rest is counted.
const CHARGES_NAMED_MAX: usize = 8;

/// Where an explanation applies: `2026-11 EUR, only charges c1, c2`.
pub(crate) fn explained_place(explanation: &Explanation) -> String {
    let mut place = match (&explanation.wording.period, &explanation.wording.currency) {
        (None, None) => String::from("any period and currency"),
        (period, currency) => place(period.as_deref(), currency.as_deref()),
    };
    if !explanation.wording.charges.is_empty() {
        let named: Vec<String> =
            explanation.wording.charges.iter().take(CHARGES_NAMED_MAX).map(|id| printable(id)).collect();
        place.push_str(&format!(", only {}", named.join(", ")));
        let more = explanation.wording.charges.len() - named.len();
        if more > 0 {
            place.push_str(&format!(" and {more} more"));
        }
    }
    place
}

/// `3 of 5`: how many of the charges that it is about an explanation covers, and how many it may.
pub(crate) fn covers(explained: &Explained) -> String {
    format!(
        "{} of {}, at most {}",
        grouped(explained.covers),
        grouped(explained.matches),
        grouped(explained.explanation.wording.max_count)
    )
}

pub(crate) fn explanation_state(state: ExplanationState) -> &'static str {
    match state {
        ExplanationState::Holds => "holds",
        ExplanationState::Exceeded => "too many charges",
        ExplanationState::Expired => "expired",
    }
}

/// What an earlier report said: `clean`, `3 exceptions, 1 unexplained`.
pub(crate) fn trend_value(clean: bool, exceptions: u64, unexplained: u64) -> String {
    match (clean, exceptions) {
        (true, 0) => String::from("clean"),
        (true, _) => format!("clean, {} explained", counted(exceptions, "exception", "exceptions")),
        (false, 0) => String::from("totals differ"),
        (false, _) => {
            format!("{}, {} unexplained", counted(exceptions, "exception", "exceptions"), grouped(unexplained))
        }
    }
}

/// Where the new side of the comparison came from.
pub(crate) fn new_side(data: &ReportData) -> String {
    match &data.subject.basis {
        Basis::Installed { stage } => format!("the new model's tables, in stage {}", printable(stage)),
        Basis::WhatIf => {
            String::from("computed from the change file in a transaction that was rolled back: nothing is installed")
        }
    }
}

/// Where the side that is in force came from.
pub(crate) fn in_force_side(data: &ReportData) -> &'static str {
    match data.comparison.effective {
        EffectiveSource::View => "each charge by the side of its group",
        EffectiveSource::Old => "the old model: no routing is installed",
    }
}

/// `EUR 2, JPY 0`
pub(crate) fn decimals(comparison: &Comparison) -> String {
    const NAMED_MAX: usize = 40;
    let mut named: Vec<String> = comparison
        .exponents
        .iter()
        .take(NAMED_MAX)
        .map(|(currency, exponent)| format!("{} {exponent}", printable(currency)))
        .collect();
    if comparison.exponents.len() > NAMED_MAX {
        named.push(String::from("…"));
    }
    if named.is_empty() { String::from("none known") } else { named.join(", ") }
}

pub(crate) fn absolute(amount: Minor) -> Minor {
    if amount.is_negative() { -amount } else { amount }
}

/// `Stage live`, or what was computed without installing anything.
pub(crate) fn basis(data: &ReportData) -> String {
    match &data.subject.basis {
        Basis::Installed { stage } => format!("stage {stage}"),
        Basis::WhatIf => String::from("what if: nothing is installed"),
    }
}

const PERIODS_NAMED_MAX: usize = 24;

pub(crate) fn periods(data: &ReportData) -> String {
    match data.subject.periods.as_slice() {
        [] => String::from("all periods"),
        [one] => format!("period {}", printable(one)),
        several if several.len() > PERIODS_NAMED_MAX => {
            let named: Vec<String> = several.iter().take(PERIODS_NAMED_MAX).map(|period| printable(period)).collect();
            format!("periods {} and {} more", named.join(", "), several.len() - PERIODS_NAMED_MAX)
        }
        several => format!("periods {}", several.iter().map(|period| printable(period)).collect::<Vec<_>>().join(", ")),
    }
}

/// What the report was compared on, for the foot of it.
pub(crate) fn configuration(report: &Report) -> String {
    report.data.subject.configuration_version.map_or(String::from("none"), |version| version.to_string())
}

/// An amount in its currency's form.
pub(crate) fn amount(comparison: &Comparison, currency: &str, amount: Minor) -> String {
    amount.grouped(comparison.exponent(currency))
}

/// A change of an amount: with a sign.
pub(crate) fn change(comparison: &Comparison, currency: &str, amount: Minor) -> String {
    amount.signed(comparison.exponent(currency))
}

/// `12,345`.
pub(crate) fn grouped(count: u64) -> String {
    Minor::new(i128::from(count)).grouped(0)
}

pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// `12.3 %`, from integers; 100 % and 0 % only where it is exactly that.
pub(crate) fn share(part: u64, whole: u64) -> String {
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
pub(crate) fn payer(payer: Option<&str>) -> String {
    payer.map_or(String::from("(nobody)"), printable)
}

/// An instant as a person reads it, to the second.
pub(crate) fn moment(instant: Instant) -> String {
    instant.timestamp().strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

const TITLE_LENGTH_MAX: usize = 200;
const ID_LENGTH_MAX: usize = 120;
const NAME_LENGTH_MAX: usize = 60;
const SENTENCE_LENGTH_MAX: usize = 600;

/// A name that somebody else chose, without what could play tricks on a terminal or a page, and not longer than a line takes.
pub(crate) fn printable(text: &str) -> String {
    shown(text, NAME_LENGTH_MAX)
}

/// The id of a charge: whoever looks for it needs all of it.
pub(crate) fn id(text: &str) -> String {
    shown(text, ID_LENGTH_MAX)
}

/// A sentence that somebody else wrote, with the same care.
pub(crate) fn sentence(text: &str) -> String {
    shown(text, SENTENCE_LENGTH_MAX)
}

fn shown(text: &str, length_max: usize) -> String {
    let is_unsafe = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
    };
    let mut shown: String = text.chars().take(length_max).map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().count() > length_max {
        shown.push('…');
    }
    shown
}

/// `less by 1.00 to 9.99`.
pub(crate) fn bucket(comparison: &Comparison, bucket: &Bucket) -> String {
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
