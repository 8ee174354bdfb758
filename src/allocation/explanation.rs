//! Differences that somebody has explained: how many of a comparison's wrong charges each explanation covers, and what is left.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::class::ChargeClass;
use super::comparison::{Comparison, ControlTotal};

/// Why charges of a wrong class are as they are, who says so, until when, and for how many of them it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wording {
    pub class: ChargeClass,
    /// Only charges of this period; not there: of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Only these charges; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<String>,
    /// A short code by which explanations are counted, such as `legacy-import`.
    pub reason_code: String,
    pub text: String,
    /// Who answers for it.
    pub owner: String,
    /// The last day on which it counts.
    pub expires: Date,
    /// It covers at most so many charges.
    pub max_count: u64,
}

/// A wording under the id that it is stored by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub id: String,
    #[serde(flatten)]
    pub wording: Wording,
}

impl Wording {
    /// True if it is about a charge of this id, class, period and currency.
    #[must_use]
    pub fn may_cover(&self, charge_id: &str, class: ChargeClass, place: (Option<&str>, Option<&str>)) -> bool {
        let place = Place { class, period: place.0.map(str::to_owned), currency: place.1.map(str::to_owned) };
        self.is_about(&place) && (self.charges.is_empty() || self.charges.iter().any(|named| named == charge_id))
    }

    fn is_about(&self, place: &Place) -> bool {
        self.class == place.class
            && self.period.as_ref().is_none_or(|period| place.period.as_ref() == Some(period))
            && self.currency.as_ref().is_none_or(|currency| place.currency.as_ref() == Some(currency))
    }

    /// How narrow it is: what names charges is applied first, what is about anything last.
    fn width(&self) -> (bool, bool, bool) {
        (self.charges.is_empty(), self.period.is_none(), self.currency.is_none())
    }
}

/// Whether an explanation counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplanationState {
    /// It covers all that it is about.
    Holds,
    /// More charges are as it says than it may cover: those beyond its number are not explained.
    Exceeded,
    /// Its last day has passed: it covers nothing.
    Expired,
}

/// An explanation and what it does for one comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    #[serde(flatten)]
    pub explanation: Explanation,
    pub state: ExplanationState,
    /// Charges that it is about and that no narrower one has covered.
    pub matches: u64,
    pub covers: u64,
}

/// Charges of one class that nobody explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnexplainedTotal {
    pub class: ChargeClass,
    pub period: Option<String>,
    pub currency: Option<String>,
    pub charges: u64,
}

/// What explanations leave of a comparison's differences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explaining {
    /// In the order in which they were applied.
    pub explained: Vec<Explained>,
    pub unexplained: Vec<UnexplainedTotal>,
}

impl Explaining {
    #[must_use]
    pub fn unexplained_total(&self) -> u64 {
        self.unexplained.iter().map(|total| total.charges).sum()
    }

    /// True if nothing is left, and no control total differs for which no charge accounts.
    #[must_use]
    pub fn is_clean(&self, comparison: &Comparison) -> bool {
        self.unexplained.is_empty()
            && comparison.totals.iter().filter(|total| !total.is_exact()).all(|total| has_wrong(comparison, total))
    }
}

/// Applies explanations to what was compared: those that name charges first, then from the narrowest to the widest, each to charges that none
/// before it has covered. A charge named by its id has to be among the comparison's `asked`.
#[must_use]
pub fn explain(comparison: &Comparison, explanations: &[Explanation], today: Date) -> Explaining {
    let mut left: BTreeMap<Place, u64> = BTreeMap::new();
    for total in comparison.classes.iter().filter(|total| total.class.is_wrong()) {
        let place = Place { class: total.class, period: total.period.clone(), currency: total.currency.clone() };
        *left.entry(place).or_default() += total.charges;
    }
    let mut in_turn: Vec<&Explanation> = explanations.iter().collect();
    in_turn.sort_by(|a, b| (a.wording.width(), &a.id).cmp(&(b.wording.width(), &b.id)));
    let mut taken: Vec<&str> = Vec::new();
    let mut explained = Vec::new();
    for explanation in in_turn {
        let is_expired = explanation.wording.expires < today;
        let mut room = if is_expired { 0 } else { explanation.wording.max_count };
        let (mut matches, mut covers) = (0, 0);
        let places = if explanation.wording.charges.is_empty() {
            left.iter()
                .filter(|(place, _)| explanation.wording.is_about(place))
                .map(|(place, count)| (place.clone(), *count))
                .collect()
        } else {
            named(comparison, explanation, &mut taken, room)
        };
        for (place, count) in places {
            let Some(remaining) = left.get_mut(&place) else { continue };
            let about = count.min(*remaining);
            let covered = about.min(room);
            *remaining -= covered;
            room -= covered;
            matches += about;
            covers += covered;
        }
        let state = match (is_expired, matches > covers) {
            (true, _) => ExplanationState::Expired,
            (false, true) => ExplanationState::Exceeded,
            (false, false) => ExplanationState::Holds,
        };
        explained.push(Explained { explanation: explanation.clone(), state, matches, covers });
    }
    let unexplained = left
        .into_iter()
        .filter(|(_, charges)| *charges > 0)
        .map(|(place, charges)| UnexplainedTotal {
            class: place.class,
            period: place.period,
            currency: place.currency,
            charges,
        })
        .collect();
    Explaining { explained, unexplained }
}

/// Where the charges are that an explanation names and none before it took; it takes as many as it has room for.
fn named<'c>(
    comparison: &'c Comparison,
    explanation: &Explanation,
    taken: &mut Vec<&'c str>,
    room: u64,
) -> BTreeMap<Place, u64> {
    let mut places: BTreeMap<Place, u64> = BTreeMap::new();
    let mut room = room;
    for asked in &comparison.asked {
        let place = Place { class: asked.class, period: asked.period.clone(), currency: asked.currency.clone() };
        let is_named =
            explanation.wording.charges.contains(&asked.charge_id) && !taken.contains(&asked.charge_id.as_str());
        if is_named && asked.class.is_wrong() && explanation.wording.is_about(&place) {
            if room > 0 {
                taken.push(&asked.charge_id);
                room -= 1;
            }
            *places.entry(place).or_default() += 1;
        }
    }
    places
}

/// True if some charge of the total's period and currency is in a wrong class, and so accounts for a difference.
fn has_wrong(comparison: &Comparison, total: &ControlTotal) -> bool {
    comparison.classes.iter().any(|class| {
        class.class.is_wrong()
            && class.period.as_ref() == Some(&total.period)
            && class.currency.as_ref() == Some(&total.currency)
    })
}

/// Charges that no explanation tells apart but by their ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    class: ChargeClass,
    period: Option<String>,
    currency: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::{AskedCharge, ClassTotal, EffectiveSource, Minor};

    fn comparison(classes: &[(ChargeClass, &str, u64)], asked: &[(&str, ChargeClass, &str)]) -> Comparison {
        let classes = classes.iter().map(|(class, period, charges)| ClassTotal {
            class: *class,
            period: Some((*period).to_owned()),
            currency: Some(String::from("EUR")),
            charges: *charges,
            amount: Minor::ZERO,
        });
        let asked = asked.iter().map(|(id, class, period)| AskedCharge {
            charge_id: (*id).to_owned(),
            class: *class,
            period: Some((*period).to_owned()),
            currency: Some(String::from("EUR")),
        });
        Comparison {
            effective: EffectiveSource::View,
            exponents: BTreeMap::new(),
            totals: Vec::new(),
            classes: classes.collect(),
            payers: Vec::new(),
            movers: Vec::new(),
            histogram: Vec::new(),
            exceptions_total: 0,
            exceptions: Vec::new(),
            asked: asked.collect(),
        }
    }

    fn explanation(id: &str, class: ChargeClass, max_count: u64) -> Explanation {
        let wording = Wording {
            class,
            period: None,
            currency: None,
            charges: Vec::new(),
            reason_code: String::from("legacy-import"),
            text: String::from("imported twice in 2019"),
            owner: String::from("Ada"),
            expires: day(31),
            max_count,
        };
        Explanation { id: id.to_owned(), wording }
    }

    fn worded(explanation: Explanation, word: impl FnOnce(&mut Wording)) -> Explanation {
        let mut explanation = explanation;
        word(&mut explanation.wording);
        explanation
    }

    fn day(day: i8) -> Date {
        Date::constant(2026, 12, day)
    }

    #[test]
    fn what_exceeds_the_number_is_left() {
        let found =
            comparison(&[(ChargeClass::Duplicate, "2026-11", 12), (ChargeClass::SamePayer, "2026-11", 90)], &[]);
        let explaining = explain(&found, &[explanation("a", ChargeClass::Duplicate, 10)], day(1));
        assert_eq!(explaining.unexplained_total(), 2);
        assert_eq!((explaining.explained[0].matches, explaining.explained[0].covers), (12, 10));
        assert_eq!(explaining.explained[0].state, ExplanationState::Exceeded);
        assert!(!explaining.is_clean(&found));
        let enough = explain(&found, &[explanation("a", ChargeClass::Duplicate, 12)], day(31));
        assert_eq!((enough.unexplained_total(), enough.explained[0].state), (0, ExplanationState::Holds));
        assert!(enough.is_clean(&found));
    }

    #[test]
    fn an_expired_one_covers_nothing_and_another_class_is_not_covered() {
        let found = comparison(&[(ChargeClass::Duplicate, "2026-11", 1)], &[]);
        let late =
            explain(&found, &[worded(explanation("a", ChargeClass::Duplicate, 5), |one| one.expires = day(1))], day(2));
        assert_eq!((late.unexplained_total(), late.explained[0].state), (1, ExplanationState::Expired));
        let other = explain(&found, &[explanation("a", ChargeClass::Currency, 5)], day(2));
        assert_eq!((other.unexplained_total(), other.explained[0].matches), (1, 0));
    }

    #[test]
    fn narrow_ones_come_first_and_no_charge_is_covered_twice() {
        let found = comparison(
            &[(ChargeClass::Duplicate, "2026-10", 2), (ChargeClass::Duplicate, "2026-11", 3)],
            &[("7", ChargeClass::Duplicate, "2026-11"), ("8", ChargeClass::SamePayer, "2026-11")],
        );
        let wide = explanation("a", ChargeClass::Duplicate, 2);
        let monthly =
            worded(explanation("b", ChargeClass::Duplicate, 9), |one| one.period = Some(String::from("2026-10")));
        let named = worded(explanation("c", ChargeClass::Duplicate, 9), |one| {
            one.charges = vec![String::from("7"), String::from("8"), String::from("gone")];
        });
        let again = Explanation { id: String::from("d"), ..named.clone() };
        let explaining = explain(&found, &[wide, monthly, named, again], day(1));
        let covers: Vec<(&str, u64)> =
            explaining.explained.iter().map(|one| (one.explanation.id.as_str(), one.covers)).collect();
        assert_eq!(covers, [("c", 1), ("d", 0), ("b", 2), ("a", 2)]);
        assert_eq!(explaining.unexplained_total(), 0);
    }

    #[test]
    fn a_total_that_differs_needs_a_charge_that_accounts_for_it() {
        let mut found = comparison(&[], &[]);
        found.totals.push(ControlTotal {
            period: String::from("2026-11"),
            currency: String::from("EUR"),
            charges: 1,
            amount: Minor::new(5),
            old: crate::allocation::SideTotal::default(),
            new: crate::allocation::SideTotal::default(),
            effective: crate::allocation::SideTotal::default(),
            on_new: 0,
            on_new_amount: Minor::ZERO,
            without_group: 0,
        });
        assert!(!explain(&found, &[], day(1)).is_clean(&found));
    }
}
