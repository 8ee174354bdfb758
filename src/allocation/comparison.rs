//! What a comparison of old and new allocation says, as data. Amounts are sums in minor units; nothing here is ever a float.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::amount::Minor;
use super::class::ChargeClass;

/// Everything that one run of a comparison found. Lists are in a fixed order, so that the same data give the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Where the effective side was read.
    pub effective: EffectiveSource,
    /// Decimals of each currency's amounts; a currency that nobody knows has none here and its amounts are whole minor units.
    pub exponents: BTreeMap<String, u16>,
    /// By period, then currency.
    pub totals: Vec<ControlTotal>,
    /// By class in order of precedence, then period and currency. Orphans have neither.
    pub classes: Vec<ClassTotal>,
    /// By currency.
    pub payers: Vec<PayersTotal>,
    /// By currency, then the largest change first.
    pub movers: Vec<Mover>,
    /// By currency, from the largest decrease to the largest increase.
    pub histogram: Vec<Bucket>,
    /// How many charges are in a wrong class, orphans included; `exceptions` may list fewer.
    pub exceptions_total: u64,
    /// Of each class the first ones in turn.
    pub exceptions: Vec<ExceptionLine>,
    /// The charges that were asked for one by one, whatever their class, by id; one that is not there is not here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<AskedCharge>,
}

/// Where the effective side was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectiveSource {
    /// From the installed view: each charge by the side of its group.
    View,
    /// Nothing is installed, nobody is routed: what is in force is the old allocation.
    Old,
}

/// One side of a control total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideTotal {
    /// Charges that the side allocates at all.
    pub charges: u64,
    /// Allocations: one for each charge and payer.
    pub rows: u64,
    pub amount: Minor,
}

/// The control totals of one period in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlTotal {
    pub period: String,
    pub currency: String,
    pub charges: u64,
    pub amount: Minor,
    pub old: SideTotal,
    pub new: SideTotal,
    pub effective: SideTotal,
    /// Charges that are in force by the new allocation, and their amount.
    pub on_new: u64,
    pub on_new_amount: Minor,
    /// Charges without a group: they stay on the old side whatever the flag says.
    pub without_group: u64,
}

impl ControlTotal {
    /// The three sides by name.
    #[must_use]
    pub fn sides(&self) -> [(&'static str, SideTotal); 3] {
        [("old", self.old), ("new", self.new), ("effective", self.effective)]
    }

    fn add(&mut self, other: &Self) {
        self.charges += other.charges;
        self.amount = self.amount + other.amount;
        for (side, more) in
            [(&mut self.old, other.old), (&mut self.new, other.new), (&mut self.effective, other.effective)]
        {
            side.charges += more.charges;
            side.rows += more.rows;
            side.amount = side.amount + more.amount;
        }
        self.on_new += other.on_new;
        self.on_new_amount = self.on_new_amount + other.on_new_amount;
        self.without_group += other.without_group;
    }

    /// True if every side allocates all charges and exactly their amount.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.sides().iter().all(|(_, side)| side.charges == self.charges && side.amount == self.amount)
    }
}

/// How many charges are in a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassTotal {
    pub class: ChargeClass,
    pub period: Option<String>,
    pub currency: Option<String>,
    pub charges: u64,
    pub amount: Minor,
}

/// A charge that was asked for by its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedCharge {
    pub charge_id: String,
    pub class: ChargeClass,
    pub period: Option<String>,
    pub currency: Option<String>,
}

/// All payers of one currency together: old − moved out + moved in = new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayersTotal {
    pub currency: String,
    pub payers: u64,
    /// Payers for whom any charge changes.
    pub changed: u64,
    pub old: Minor,
    pub moved_out: Minor,
    pub moved_in: Minor,
    pub new: Minor,
}

/// One payer for whom much changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mover {
    pub currency: String,
    /// `None`: allocated to nobody.
    pub payer: Option<String>,
    pub old: Minor,
    pub moved_out: Minor,
    pub moved_in: Minor,
    pub new: Minor,
    /// Charges whose part for this payer changes.
    pub charges: u64,
}

impl Mover {
    #[must_use]
    pub fn change(&self) -> Minor {
        self.new - self.old
    }
}

/// Payers whose total changes by about the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    Less,
    Same,
    More,
}

/// How many payers' totals change by an amount of so many digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    pub currency: String,
    pub trend: Trend,
    /// The change in minor units has this many digits: 3 is 100 to 999. 0 where nothing changes.
    pub digits: u16,
    pub payers: u64,
    pub amount: Minor,
}

impl Bucket {
    /// The smallest and the largest change in the bucket, in minor units.
    #[must_use]
    pub fn bounds(&self) -> (Minor, Minor) {
        let power = |digits: u16| 10i128.saturating_pow(u32::from(digits));
        match self.digits {
            0 => (Minor::ZERO, Minor::ZERO),
            digits => (Minor::new(power(digits - 1)), Minor::new(power(digits) - 1)),
        }
    }
}

/// One charge, or one allocation without a charge, that is in a wrong class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionLine {
    pub charge_id: String,
    pub class: ChargeClass,
    pub period: Option<String>,
    pub currency: Option<String>,
    /// What the charge says; an orphan has no charge.
    pub amount: Option<Minor>,
    pub old_amount: Minor,
    pub new_amount: Minor,
    pub effective_amount: Minor,
    /// Who pays, by both models; at most twenty payers.
    pub parts: Vec<Part>,
    /// How many payers there are.
    pub parts_total: u64,
}

/// One payer of one charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `None`: nobody.
    pub payer: Option<String>,
    /// How often the old model lists the payer, and what it takes from them.
    pub old_rows: u64,
    pub old: Minor,
    pub new_rows: u64,
    pub new: Minor,
    /// True if the change says that this payer should pay.
    pub expected: bool,
}

impl Comparison {
    /// True if no charge is in a wrong class and every control total agrees to the last unit.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.exceptions_total == 0 && self.totals.iter().all(ControlTotal::is_exact)
    }

    /// The control totals of each currency over all periods, if it has several.
    #[must_use]
    pub fn totals_of_all_periods(&self) -> Vec<ControlTotal> {
        let mut sums: BTreeMap<&str, (usize, ControlTotal)> = BTreeMap::new();
        for total in &self.totals {
            match sums.get_mut(total.currency.as_str()) {
                Some((periods, sum)) => {
                    *periods += 1;
                    sum.add(total);
                }
                None => drop(sums.insert(&total.currency, (1, total.clone()))),
            }
        }
        sums.into_values().filter(|(periods, _)| *periods > 1).map(|(_, sum)| sum).collect()
    }

    /// The classes' totals over all periods, in the same order.
    #[must_use]
    pub fn classes_of_all_periods(&self) -> Vec<ClassTotal> {
        let mut sums: BTreeMap<(ChargeClass, &Option<String>), (u64, Minor)> = BTreeMap::new();
        for total in &self.classes {
            let sum = sums.entry((total.class, &total.currency)).or_default();
            *sum = (sum.0 + total.charges, sum.1 + total.amount);
        }
        let total = |((class, currency), (charges, amount)): (_, _)| {
            let currency: &Option<String> = currency;
            ClassTotal { class, period: None, currency: currency.clone(), charges, amount }
        };
        sums.into_iter().map(total).collect()
    }

    /// How many charges were compared.
    #[must_use]
    pub fn charges(&self) -> u64 {
        self.totals.iter().map(|total| total.charges).sum()
    }

    /// Decimals of a currency; 0 for one that nobody knows.
    #[must_use]
    pub fn exponent(&self, currency: &str) -> u16 {
        self.exponents.get(currency).copied().unwrap_or(0)
    }
}
