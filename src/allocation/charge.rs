//! One charge among millions: what each query says of it, and in words why it is in its class.

use serde::Serialize;

use super::amount::Minor;
use super::class::ChargeClass;
use crate::primitives::Instant;

/// What a comparison knows of one charge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ChargeFacts {
    /// `None`: no charge has this id.
    pub charge: Option<ChargeRow>,
    pub old: Vec<PayerPart>,
    pub new: Vec<PayerPart>,
    /// `None`: no view of effective allocation is installed, so the old model is in force.
    pub effective: Option<Vec<EffectivePart>>,
    /// Who should pay; `None`: the change file does not say.
    pub expected: Option<Vec<Option<String>>>,
    pub groups: Vec<String>,
    /// What it gives back, if it is a refund.
    pub reverses: Option<Reversed>,
    /// What was recorded when its period closed.
    pub recorded: Option<Recorded>,
    /// Its period is closed, so that it keeps the payers that it had.
    pub is_closed: bool,
    /// Decimals of its amounts.
    pub exponent: u16,
}

/// The charge itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChargeRow {
    pub period: String,
    pub currency: String,
    pub amount: Minor,
}

/// One row of a side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PayerPart {
    /// `None`: nobody.
    pub payer: Option<String>,
    pub amount: Minor,
    /// Where the query names one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

/// One row of what is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EffectivePart {
    pub payer: Option<String>,
    pub amount: Minor,
    /// `old` or `new`
    pub side: String,
}

/// The charge that a refund gives back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reversed {
    pub charge_id: String,
    /// `None`: there is no such charge.
    pub charge: Option<ChargeRow>,
    /// What the new model took of each payer for it.
    pub new: Vec<PayerPart>,
}

/// What a closed period recorded of a charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Not there if the charge is gone, and with it its period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
    pub old: Vec<PayerPart>,
    /// `None`: the period closed before the new model was filled.
    pub new: Option<Vec<PayerPart>>,
}

/// Lines that name a payer one by one; the rest is counted.
const LINES_MAX: usize = 20;

impl ChargeFacts {
    /// Why the charge is in its class: one sentence a fact.
    #[must_use]
    pub fn reasons(&self, class: ChargeClass) -> Vec<String> {
        let mut reasons = match class {
            ChargeClass::Orphan => self.orphan(),
            ChargeClass::Unallocated => self.unallocated(),
            ChargeClass::Currency => self.currency(),
            ChargeClass::Duplicate => self.duplicate(),
            ChargeClass::NotConserved => self.not_conserved(),
            ChargeClass::MixedSign => self.mixed_sign(),
            ChargeClass::FrozenChanged => self.frozen_changed(),
            ChargeClass::RefundDrift => self.refund_drift(),
            ChargeClass::UnexpectedPayer => self.unexpected(),
            ChargeClass::SamePayer => {
                vec![format!("Old and new allocate the same to the same: {}.", self.shares(&self.new))]
            }
            ChargeClass::SplitExpected | ChargeClass::MovedExpected => self.as_expected(),
        };
        if reasons.len() > LINES_MAX {
            let more = reasons.len() - LINES_MAX;
            reasons.truncate(LINES_MAX);
            reasons.push(format!("… and {more} more."));
        }
        reasons
    }

    fn money(&self, amount: Minor) -> String {
        let amount = amount.decimal(self.exponent);
        match &self.charge {
            Some(charge) => format!("{amount} {}", charge.currency),
            None => amount,
        }
    }

    /// `5.00 EUR to payer 7, 5.00 EUR to payer 9`
    #[must_use]
    pub fn shares(&self, parts: &[PayerPart]) -> String {
        let named: Vec<String> = parts
            .iter()
            .take(LINES_MAX)
            .map(|part| format!("{} to {}", self.money(part.amount), payer(part.payer.as_deref())))
            .collect();
        match parts.len().saturating_sub(named.len()) {
            0 if named.is_empty() => String::from("nothing to anybody"),
            0 => named.join(", "),
            more => format!("{} and {more} more", named.join(", ")),
        }
    }

    /// Both models by name.
    fn sides(&self) -> [(&'static str, &[PayerPart]); 2] {
        [("old", &self.old), ("new", &self.new)]
    }

    fn orphan(&self) -> Vec<String> {
        let mut reasons = vec![String::from("The query `charges` returns no charge with this id.")];
        for (name, parts) in self.sides().into_iter().filter(|(_, parts)| !parts.is_empty()) {
            reasons.push(format!("The query `{name}` allocates it all the same: {}.", self.shares(parts)));
        }
        reasons
    }

    fn unallocated(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for (name, parts) in self.sides() {
            if parts.is_empty() {
                reasons.push(format!("The query `{name}` returns no row for it."));
            }
            let nobody: Minor = parts.iter().filter(|part| part.payer.is_none()).map(|part| part.amount).sum();
            if parts.iter().any(|part| part.payer.is_none()) {
                reasons.push(format!(
                    "The query `{name}` allocates {} to nobody: its `payer` is NULL.",
                    self.money(nobody)
                ));
            }
        }
        if self.effective.as_ref().is_some_and(Vec::is_empty) {
            reasons.push(String::from(
                "The view of effective allocation returns no row for it: a bill run would leave it out.",
            ));
        }
        reasons
    }

    fn currency(&self) -> Vec<String> {
        let Some(charge) = &self.charge else { return Vec::new() };
        let other = self.new.iter().filter_map(|part| part.currency.as_ref().map(|currency| (part, currency)));
        other
            .filter(|(_, currency)| **currency != charge.currency)
            .map(|(part, currency)| {
                let currency = if currency.is_empty() { "no currency" } else { currency };
                format!(
                    "The charge is in {}, the new model's part for {} in {currency}.",
                    charge.currency,
                    payer(part.payer.as_deref())
                )
            })
            .collect()
    }

    fn duplicate(&self) -> Vec<String> {
        let twice = by_payer(&self.new).into_iter().filter(|(_, rows, _)| *rows > 1);
        twice
            .map(|(name, rows, amount)| {
                format!("The query `new` lists {} {rows} times, together {}.", payer(name), self.money(amount))
            })
            .collect()
    }

    fn not_conserved(&self) -> Vec<String> {
        let Some(charge) = &self.charge else { return Vec::new() };
        let sum = |parts: &[PayerPart]| parts.iter().map(|part| part.amount).sum::<Minor>();
        let mut sums = vec![("old model's parts", sum(&self.old)), ("new model's parts", sum(&self.new))];
        if let Some(effective) = &self.effective {
            sums.push(("parts that are in force", effective.iter().map(|part| part.amount).sum()));
        }
        let differing = sums.into_iter().filter(|(_, sum)| *sum != charge.amount);
        differing
            .map(|(name, sum)| {
                let difference = (sum - charge.amount).signed(self.exponent);
                format!(
                    "The {name} add up to {}, the charge is {}: {difference}.",
                    self.money(sum),
                    self.money(charge.amount)
                )
            })
            .collect()
    }

    fn mixed_sign(&self) -> Vec<String> {
        let named = |is_wanted: &dyn Fn(Minor) -> bool| {
            let parts: Vec<PayerPart> = self.new.iter().filter(|part| is_wanted(part.amount)).cloned().collect();
            self.shares(&parts)
        };
        let billed = named(&|amount| !amount.is_negative() && !amount.is_zero());
        let paid = named(&Minor::is_negative);
        vec![format!("The new model bills {billed}, and gives back {paid}, for one and the same charge.")]
    }

    fn frozen_changed(&self) -> Vec<String> {
        let Some(recorded) = &self.recorded else { return Vec::new() };
        if self.charge.is_none() {
            let mut reasons = vec![String::from("The charge is gone since its period closed.")];
            reasons.push(format!("Then the old model allocated {}.", self.shares(&recorded.old)));
            return reasons;
        }
        if recorded.old.is_empty() && recorded.new.as_ref().is_none_or(Vec::is_empty) {
            return vec![String::from(
                "The charge came into its period, or was allocated for the first time, after the period had closed.",
            )];
        }
        let mut reasons = Vec::new();
        let models = [("old", Some(&recorded.old), &self.old), ("new", recorded.new.as_ref(), &self.new)];
        for (name, then, now) in models {
            if let Some(then) = then.filter(|then| sorted(then) != sorted(now)) {
                reasons.push(format!(
                    "The {name} model allocated {} when the period closed, and allocates {} now.",
                    self.shares(then),
                    self.shares(now)
                ));
            }
        }
        reasons
    }

    fn refund_drift(&self) -> Vec<String> {
        let (Some(charge), Some(reversed)) = (&self.charge, &self.reverses) else { return Vec::new() };
        let id = &reversed.charge_id;
        let Some(original) = &reversed.charge else {
            return vec![format!("It gives back charge {id}, and there is no such charge.")];
        };
        if original.currency != charge.currency {
            return vec![format!(
                "It gives back charge {id}, which is in {}, in {}.",
                original.currency, charge.currency
            )];
        }
        if !original.amount.is_zero()
            && !charge.amount.is_zero()
            && original.amount.is_negative() == charge.amount.is_negative()
        {
            return vec![format!(
                "It gives back charge {id} of {}, but has the same sign: what was taken is taken again.",
                self.money(original.amount)
            )];
        }
        let part = if charge.amount == -original.amount { "all" } else { "a part" };
        let mut reasons = vec![format!(
            "It gives back {part} of charge {id} of {}, but not in the same proportions.",
            self.money(original.amount)
        )];
        let (given, taken) = (by_payer(&self.new), by_payer(&reversed.new));
        let of = |sums: &[(Option<&str>, u64, Minor)], name: Option<&str>| {
            sums.iter().find(|(other, ..)| *other == name).map_or(Minor::ZERO, |(_, _, amount)| *amount)
        };
        let mut names: Vec<Option<&str>> = given.iter().chain(&taken).map(|(name, ..)| *name).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (given, taken) = (of(&given, name), of(&taken, name));
            reasons.push(format!("{}: taken {}, given back {}.", payer(name), self.money(taken), self.money(-given)));
        }
        reasons
    }

    fn unexpected(&self) -> Vec<String> {
        let Some(expected) = &self.expected else {
            let paid: Vec<&Option<String>> = self.new.iter().map(|part| &part.payer).collect();
            let gone = self.old.iter().filter(|part| !paid.contains(&&part.payer));
            return gone
                .map(|part| {
                    let name = payer(part.payer.as_deref());
                    format!(
                        "{name} paid by the old model and pays no more, and no query `expected_payers` says who should."
                    )
                })
                .collect();
        };
        let mut reasons: Vec<String> = by_payer(&self.new)
            .into_iter()
            .filter(|(name, ..)| !expected.iter().any(|wanted| wanted.as_deref() == *name))
            .map(|(name, _, amount)| {
                format!(
                    "{} pays {} by the new model, and `expected_payers` does not name them.",
                    payer(name),
                    self.money(amount)
                )
            })
            .collect();
        if !self.is_closed {
            let missing = expected.iter().filter(|wanted| !self.new.iter().any(|part| part.payer == **wanted));
            reasons.extend(missing.map(|name| {
                format!("`expected_payers` names {}, who pays nothing by the new model.", payer(name.as_deref()))
            }));
        }
        reasons
    }

    fn as_expected(&self) -> Vec<String> {
        let mut reasons = vec![format!(
            "The old model allocates {}; the new one {}.",
            self.shares(&self.old),
            self.shares(&self.new)
        )];
        match &self.expected {
            Some(_) if self.is_closed => {
                reasons.push(String::from("The period is closed, so the charge keeps the payers that it had; each of them is an expected one."));
            }
            Some(_) => reasons.push(String::from("These are exactly the payers that `expected_payers` names.")),
            None => {}
        }
        reasons
    }
}

/// Payers with their rows and sums, by name.
fn by_payer(parts: &[PayerPart]) -> Vec<(Option<&str>, u64, Minor)> {
    let mut sums: std::collections::BTreeMap<Option<&str>, (u64, Minor)> = std::collections::BTreeMap::new();
    for part in parts {
        let sum = sums.entry(part.payer.as_deref()).or_default();
        *sum = (sum.0 + 1, sum.1 + part.amount);
    }
    sums.into_iter().map(|(name, (rows, amount))| (name, rows, amount)).collect()
}

fn sorted(parts: &[PayerPart]) -> Vec<(Option<&str>, Minor)> {
    let mut sorted: Vec<_> = parts.iter().map(|part| (part.payer.as_deref(), part.amount)).collect();
    sorted.sort_unstable();
    sorted
}

fn payer(name: Option<&str>) -> String {
    name.map_or_else(|| String::from("nobody"), |name| format!("payer {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(payer: &str, amount: i128) -> PayerPart {
        PayerPart { payer: Some(payer.to_owned()), amount: Minor::new(amount), currency: None }
    }

    fn facts(amount: i128, old: &[PayerPart], new: &[PayerPart]) -> ChargeFacts {
        let row =
            ChargeRow { period: String::from("2026-11"), currency: String::from("EUR"), amount: Minor::new(amount) };
        ChargeFacts { charge: Some(row), old: old.to_vec(), new: new.to_vec(), exponent: 2, ..ChargeFacts::default() }
    }

    #[test]
    fn each_wrong_class_names_the_fact_behind_it() {
        let short = facts(1000, &[part("7", 1000)], &[part("7", 500), part("9", 499)]);
        let told = short.reasons(ChargeClass::NotConserved);
        assert_eq!(told, ["The new model's parts add up to 9.99 EUR, the charge is 10.00 EUR: −0.01."]);
        let twice = facts(1000, &[part("7", 1000)], &[part("7", 500), part("7", 500)]);
        assert_eq!(
            twice.reasons(ChargeClass::Duplicate),
            ["The query `new` lists payer 7 2 times, together 10.00 EUR."]
        );
        let nobody = facts(1000, &[part("7", 1000)], &[]);
        assert_eq!(nobody.reasons(ChargeClass::Unallocated), ["The query `new` returns no row for it."]);
        let mut strange = facts(1000, &[part("7", 1000)], &[part("8", 1000)]);
        strange.expected = Some(vec![Some(String::from("9"))]);
        assert_eq!(strange.reasons(ChargeClass::UnexpectedPayer).len(), 2);
        strange.is_closed = true;
        assert_eq!(strange.reasons(ChargeClass::UnexpectedPayer).len(), 1);
        let orphan = ChargeFacts { new: vec![part("7", 5)], ..ChargeFacts::default() };
        assert!(orphan.reasons(ChargeClass::Orphan)[1].contains("`new` allocates it all the same: 5 to payer 7"));
    }

    #[test]
    fn a_refund_that_drifts_is_told_payer_by_payer() {
        let mut refund = facts(-1000, &[part("7", -1000)], &[part("7", -1000)]);
        let original =
            ChargeRow { period: String::from("2026-10"), currency: String::from("EUR"), amount: Minor::new(1000) };
        refund.reverses = Some(Reversed {
            charge_id: String::from("3"),
            charge: Some(original),
            new: vec![part("7", 500), part("9", 500)],
        });
        let told = refund.reasons(ChargeClass::RefundDrift);
        assert_eq!(told[1], "payer 7: taken 5.00 EUR, given back 10.00 EUR.");
        assert_eq!(told[2], "payer 9: taken 5.00 EUR, given back 0.00 EUR.");
    }

    #[test]
    fn what_moved_since_its_period_closed_is_told_by_model() {
        let mut moved = facts(1000, &[part("7", 1000)], &[part("7", 1000)]);
        let recorded = Recorded { closed_at: None, closed_by: None, old: vec![part("8", 1000)], new: None };
        moved.recorded = Some(recorded);
        let told = moved.reasons(ChargeClass::FrozenChanged);
        assert_eq!(
            told,
            [
                "The old model allocated 10.00 EUR to payer 8 when the period closed, and allocates 10.00 EUR to payer 7 now."
            ]
        );
    }
}
