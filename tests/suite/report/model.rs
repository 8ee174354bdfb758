//! What a comparison should say, worked out a second time and in another way: plain loops over plain rows, from DESIGN.md §6–§7 and the
//! sentences of `ChargeClass`, never from the SQL. Amounts are 128 bits wide, so nothing overflows here.

use std::collections::{BTreeMap, BTreeSet};

use changeover::allocation::{
    Bucket, ChargeClass, ClassTotal, ControlTotal, Minor, Mover, PayersTotal, SideTotal, Trend,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub id: String,
    pub period: String,
    pub currency: String,
    pub amount: i64,
    pub reverses: Option<String>,
}

/// One payer's part of one charge, by one of the models.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub charge: String,
    pub payer: Option<String>,
    pub amount: i64,
    /// Only looked at on the new side.
    pub currency: Option<String>,
}

/// By which rule a charge is on the new side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed {
    /// No view: nobody is routed, so what is in force is old.
    Nobody,
    /// As recorded for the charge's group in the charge's period.
    AsRecorded,
    /// The change is complete: periods from this one on are new, earlier ones as recorded.
    CompleteFrom(String),
}

/// What was recorded when periods closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    /// Closed periods, and whether the new model was recorded as well.
    pub periods: BTreeMap<String, bool>,
    /// What the charges of these periods were allocated to then.
    pub old: Vec<Row>,
    pub new: Vec<Row>,
}

/// Everything that a comparison reads.
#[derive(Debug, Clone)]
pub struct World {
    pub charges: Vec<Charge>,
    pub old: Vec<Row>,
    pub new: Vec<Row>,
    /// Charge and group.
    pub groups: Vec<(String, String)>,
    /// Period and group of those that are recorded as new.
    pub recorded_new: BTreeSet<(String, String)>,
    pub routed: Routed,
    /// `None`: the change file does not say who should pay.
    pub expected: Option<Vec<(String, Option<String>)>>,
    /// False: the change file names no refunds, and none is looked at.
    pub has_refunds: bool,
    pub closed_before: Option<String>,
    pub baseline: Baseline,
    /// Empty: all.
    pub periods: Vec<String>,
}

/// The model's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Every charge that was asked for, and every allocation without a charge.
    pub class_of: BTreeMap<String, ChargeClass>,
    pub totals: Vec<ControlTotal>,
    pub classes: Vec<ClassTotal>,
    pub payers: Vec<PayersTotal>,
    pub movers: Vec<Mover>,
    pub histogram: Vec<Bucket>,
}

type Parts<'a> = Vec<&'a Row>;

fn sum(rows: &[&Row]) -> i128 {
    rows.iter().map(|row| i128::from(row.amount)).sum()
}

/// What each payer pays.
fn by_payer<'a>(rows: &[&'a Row]) -> BTreeMap<&'a Option<String>, i128> {
    let mut sums = BTreeMap::new();
    for row in rows {
        *sums.entry(&row.payer).or_insert(0) += i128::from(row.amount);
    }
    sums
}

impl World {
    fn of<'a>(rows: &'a [Row], charge: &str) -> Parts<'a> {
        rows.iter().filter(|row| row.charge == charge).collect()
    }

    pub fn old_of(&self, charge: &str) -> Parts<'_> {
        Self::of(&self.old, charge)
    }

    pub fn new_of(&self, charge: &str) -> Parts<'_> {
        Self::of(&self.new, charge)
    }

    fn is_asked(&self, charge: &Charge) -> bool {
        self.periods.is_empty() || self.periods.contains(&charge.period)
    }

    fn asked(&self) -> impl Iterator<Item = &Charge> {
        self.charges.iter().filter(|charge| self.is_asked(charge))
    }

    /// A refund is on the side of what it reverses, if that is there.
    fn is_on_new(&self, charge: &Charge) -> bool {
        let named = charge.reverses.as_ref().filter(|_| self.has_refunds);
        let reversed = named.and_then(|id| self.charges.iter().find(|other| other.id == *id));
        self.is_recorded_new(reversed.unwrap_or(charge))
    }

    fn is_recorded_new(&self, charge: &Charge) -> bool {
        let recorded = self
            .groups
            .iter()
            .any(|(id, group)| *id == charge.id && self.recorded_new.contains(&(charge.period.clone(), group.clone())));
        match &self.routed {
            Routed::Nobody => false,
            Routed::AsRecorded => recorded,
            Routed::CompleteFrom(period) => recorded || charge.period >= *period,
        }
    }

    /// What the bill run reads for the charge.
    fn effective_of(&self, charge: &Charge) -> Parts<'_> {
        if self.is_on_new(charge) { self.new_of(&charge.id) } else { self.old_of(&charge.id) }
    }

    pub fn class_of(&self, charge: &Charge) -> ChargeClass {
        let (old, new) = (self.old_of(&charge.id), self.new_of(&charge.id));
        let amount = i128::from(charge.amount);
        let payers: BTreeSet<&Option<String>> = new.iter().map(|row| &row.payer).collect();
        if old.is_empty() || new.is_empty() || old.iter().chain(&new).any(|row| row.payer.is_none()) {
            return ChargeClass::Unallocated;
        }
        if new.iter().any(|row| row.currency.as_ref() != Some(&charge.currency)) {
            return ChargeClass::Currency;
        }
        if payers.len() < new.len() {
            return ChargeClass::Duplicate;
        }
        if sum(&old) != amount || sum(&new) != amount {
            return ChargeClass::NotConserved;
        }
        if new.iter().any(|row| row.amount < 0) && new.iter().any(|row| row.amount > 0) {
            return ChargeClass::MixedSign;
        }
        if self.has_moved(charge) {
            return ChargeClass::FrozenChanged;
        }
        if self.has_refunds && self.drifts(charge) {
            return ChargeClass::RefundDrift;
        }
        self.class_by_payers(charge, &by_payer(&old), &by_payer(&new))
    }

    fn class_by_payers(
        &self,
        charge: &Charge,
        old: &BTreeMap<&Option<String>, i128>,
        new: &BTreeMap<&Option<String>, i128>,
    ) -> ChargeClass {
        let is_closed = self.closed_before.as_ref().is_some_and(|period| charge.period < *period);
        let fine = if old == new {
            ChargeClass::SamePayer
        } else if old.keys().all(|payer| new.contains_key(payer)) {
            ChargeClass::SplitExpected
        } else {
            ChargeClass::MovedExpected
        };
        let Some(expected) = &self.expected else {
            // Nobody says who should pay, so nobody may take over.
            return if fine == ChargeClass::MovedExpected { ChargeClass::UnexpectedPayer } else { fine };
        };
        let expected: BTreeSet<&Option<String>> =
            expected.iter().filter(|(id, _)| *id == charge.id).map(|(_, payer)| payer).collect();
        let is_as_expected = if is_closed {
            // Whoever paid when the period closed still does, whatever is expected today.
            fine != ChargeClass::MovedExpected || new.keys().all(|payer| expected.contains(payer))
        } else {
            new.keys().copied().collect::<BTreeSet<_>>() == expected
        };
        if is_as_expected { fine } else { ChargeClass::UnexpectedPayer }
    }

    /// Closed periods are looked at if one of them is among those that are compared.
    fn looks_at_closed(&self) -> bool {
        let closed = &self.baseline.periods;
        !closed.is_empty() && (self.periods.is_empty() || self.periods.iter().any(|period| closed.contains_key(period)))
    }

    /// Whether a charge that was recorded, or that is in a closed period now, is allocated otherwise than was recorded.
    fn has_moved(&self, charge: &Charge) -> bool {
        if !self.looks_at_closed() {
            return false;
        }
        let has_new = self.baseline.periods.get(&charge.period);
        let is_as_recorded = |recorded: &[Row], now: Parts<'_>, is_looked_at: bool| {
            let recorded = Self::of(recorded, &charge.id);
            let now = if is_looked_at { now } else { Vec::new() };
            let rows = |rows: &Parts<'_>, payer: &Option<String>| rows.iter().filter(|row| row.payer == *payer).count();
            by_payer(&recorded) == by_payer(&now)
                && recorded.iter().all(|row| rows(&recorded, &row.payer) == rows(&now, &row.payer))
        };
        !is_as_recorded(&self.baseline.old, self.old_of(&charge.id), has_new.is_some())
            || !is_as_recorded(&self.baseline.new, self.new_of(&charge.id), has_new == Some(&true))
    }

    /// Charges of closed periods that are gone with all that was allocated of them.
    fn gone(&self) -> BTreeSet<&str> {
        let recorded = self.baseline.old.iter().chain(&self.baseline.new).map(|row| row.charge.as_str());
        let is_there = |id: &str| {
            self.charges.iter().any(|charge| charge.id == id)
                || !self.old_of(id).is_empty()
                || !self.new_of(id).is_empty()
        };
        recorded.filter(|id| self.looks_at_closed() && !is_there(id)).collect()
    }

    /// A refund gives back to each payer what the refunded charge took from them, in the same currency: unit for unit if it undoes all of
    /// it, otherwise in proportion, each part rounded by less than one unit.
    fn drifts(&self, refund: &Charge) -> bool {
        let Some(reverses) = &refund.reverses else { return false };
        let Some(charge) = self.charges.iter().find(|charge| charge.id == *reverses) else { return true };
        let (given_back, taken) = (i128::from(refund.amount), i128::from(charge.amount));
        if refund.currency != charge.currency || given_back.signum() * taken.signum() > 0 {
            return true;
        }
        let (given, took) = (self.new_of(&refund.id), self.new_of(&charge.id));
        let (given, took) = (by_payer(&given), by_payer(&took));
        let payers: BTreeSet<_> = given.keys().chain(took.keys()).copied().collect();
        payers.into_iter().any(|payer| {
            let part = |parts: &BTreeMap<&Option<String>, i128>| parts.get(payer).copied().unwrap_or(0);
            let (given, took) = (part(&given), part(&took));
            if given_back == -taken {
                given != -took
            } else {
                (given * taken - took * given_back).abs() >= given_back.abs() + taken.abs()
            }
        })
    }

    /// True if a sum of one charge, or with `all` of everything, may lie beyond 64 bits: then a refusal is as right as an exact answer.
    pub fn may_overflow(&self, all: bool) -> bool {
        let size = |amount: i64| i128::from(amount).abs();
        let of = |id: &str| -> i128 {
            self.old_of(id).iter().chain(&self.new_of(id)).map(|row| size(row.amount)).sum::<i128>()
        };
        let ids: BTreeSet<&str> = self.old.iter().chain(&self.new).map(|row| row.charge.as_str()).collect();
        let charges: i128 = self.charges.iter().map(|charge| size(charge.amount)).sum();
        let limit = i128::from(i64::MAX);
        ids.iter().any(|id| of(id) > limit) || (all && ids.iter().map(|id| of(id)).sum::<i128>() + charges > limit)
    }

    pub fn expect(&self) -> Expected {
        let mut class_of: BTreeMap<String, ChargeClass> =
            self.asked().map(|charge| (charge.id.clone(), self.class_of(charge))).collect();
        type Place = (ChargeClass, Option<String>, Option<String>);
        let mut classes: BTreeMap<Place, (u64, i128)> = BTreeMap::new();
        for charge in self.asked() {
            let key = (class_of[&charge.id], Some(charge.period.clone()), Some(charge.currency.clone()));
            let known = classes.entry(key).or_default();
            *known = (known.0 + 1, known.1 + i128::from(charge.amount));
        }
        for row in self.old.iter().chain(&self.new) {
            let is_orphan = !self.charges.iter().any(|charge| charge.id == row.charge);
            if is_orphan && class_of.insert(row.charge.clone(), ChargeClass::Orphan).is_none() {
                classes.entry((ChargeClass::Orphan, None, None)).or_default().0 += 1;
            }
        }
        for id in self.gone() {
            class_of.insert(id.to_owned(), ChargeClass::FrozenChanged);
            classes.entry((ChargeClass::FrozenChanged, None, None)).or_default().0 += 1;
        }
        let total = |((class, period, currency), (charges, amount))| ClassTotal {
            class,
            period,
            currency,
            charges,
            amount: Minor::new(amount),
        };
        let (payers, movers, histogram) = self.payers();
        Expected {
            class_of,
            totals: self.totals(),
            classes: classes.into_iter().map(total).collect(),
            payers,
            movers,
            histogram,
        }
    }

    pub fn totals(&self) -> Vec<ControlTotal> {
        let mut totals: BTreeMap<(&str, &str), ControlTotal> = BTreeMap::new();
        for charge in self.asked() {
            let total = totals.entry((&charge.period, &charge.currency)).or_insert_with(|| ControlTotal {
                period: charge.period.clone(),
                currency: charge.currency.clone(),
                charges: 0,
                amount: Minor::ZERO,
                old: SideTotal::default(),
                new: SideTotal::default(),
                effective: SideTotal::default(),
                on_new: 0,
                on_new_amount: Minor::ZERO,
                without_group: 0,
            });
            let amount = Minor::new(i128::from(charge.amount));
            total.charges += 1;
            total.amount = total.amount + amount;
            add(&mut total.old, &self.old_of(&charge.id));
            add(&mut total.new, &self.new_of(&charge.id));
            let effective = self.effective_of(charge);
            add(&mut total.effective, &effective);
            // Nothing is in force by the new allocation if it allocates nothing.
            if self.is_on_new(charge) && !effective.is_empty() {
                total.on_new += 1;
                total.on_new_amount = total.on_new_amount + amount;
            }
            total.without_group += u64::from(!self.groups.iter().any(|(id, _)| *id == charge.id));
        }
        totals.into_values().collect()
    }

    /// Payers by currency: totals, those for whom something changes, and how many change by how much.
    fn payers(&self) -> (Vec<PayersTotal>, Vec<Mover>, Vec<Bucket>) {
        let mut movers: BTreeMap<(String, Option<String>), Mover> = BTreeMap::new();
        for charge in self.asked() {
            let (old, new) = (self.old_of(&charge.id), self.new_of(&charge.id));
            let (old, new) = (by_payer(&old), by_payer(&new));
            for payer in old.keys().chain(new.keys()).copied().collect::<BTreeSet<_>>() {
                let part = |parts: &BTreeMap<&Option<String>, i128>| parts.get(payer).copied().unwrap_or(0);
                let (old, new) = (part(&old), part(&new));
                let mover = movers.entry((charge.currency.clone(), payer.clone())).or_insert_with(|| Mover {
                    currency: charge.currency.clone(),
                    payer: payer.clone(),
                    old: Minor::ZERO,
                    moved_out: Minor::ZERO,
                    moved_in: Minor::ZERO,
                    new: Minor::ZERO,
                    charges: 0,
                });
                mover.old = mover.old + Minor::new(old);
                mover.new = mover.new + Minor::new(new);
                mover.moved_out = mover.moved_out + Minor::new((old - new).max(0));
                mover.moved_in = mover.moved_in + Minor::new((new - old).max(0));
                mover.charges += u64::from(old != new);
            }
        }
        let movers: Vec<Mover> = movers.into_values().collect();
        (payers_total(&movers), changed(&movers), histogram(&movers))
    }
}

fn add(side: &mut SideTotal, rows: &[&Row]) {
    side.charges += u64::from(!rows.is_empty());
    side.rows += rows.len() as u64;
    side.amount = side.amount + Minor::new(sum(rows));
}

fn payers_total(movers: &[Mover]) -> Vec<PayersTotal> {
    let currencies: BTreeSet<&str> = movers.iter().map(|mover| mover.currency.as_str()).collect();
    let total = |currency: &str| {
        let of: Vec<&Mover> = movers.iter().filter(|mover| mover.currency == currency).collect();
        let sum = |amount: fn(&Mover) -> Minor| of.iter().map(|mover| amount(mover)).sum();
        PayersTotal {
            currency: currency.to_owned(),
            payers: of.len() as u64,
            changed: of.iter().filter(|mover| mover.charges > 0).count() as u64,
            old: sum(|mover| mover.old),
            moved_out: sum(|mover| mover.moved_out),
            moved_in: sum(|mover| mover.moved_in),
            new: sum(|mover| mover.new),
        }
    };
    currencies.into_iter().map(total).collect()
}

/// The largest change first; among equal ones the shorter name, then by bytes, and nobody last.
fn changed(movers: &[Mover]) -> Vec<Mover> {
    let mut changed: Vec<Mover> = movers.iter().filter(|mover| mover.new != mover.old).cloned().collect();
    changed.sort_by_key(|mover| {
        let size = (mover.new - mover.old).units().unsigned_abs();
        let name = mover.payer.clone();
        (
            mover.currency.clone(),
            std::cmp::Reverse(size),
            name.is_none(),
            name.clone().map(|name| name.chars().count()),
            name,
        )
    });
    changed
}

fn histogram(movers: &[Mover]) -> Vec<Bucket> {
    let mut buckets: BTreeMap<(&str, i64), (u64, i128)> = BTreeMap::new();
    for mover in movers {
        let change = (mover.new - mover.old).units();
        let digits = if change == 0 { 0 } else { change.unsigned_abs().to_string().len() as i64 };
        let bucket = buckets.entry((&mover.currency, digits * change.signum() as i64)).or_default();
        *bucket = (bucket.0 + 1, bucket.1 + change);
    }
    let bucket = |((currency, place), (payers, amount)): ((&str, i64), (u64, i128))| Bucket {
        currency: currency.to_owned(),
        trend: match place {
            0 => Trend::Same,
            1.. => Trend::More,
            _ => Trend::Less,
        },
        digits: u16::try_from(place.abs()).unwrap(),
        payers,
        amount: Minor::new(amount),
    };
    buckets.into_iter().map(bucket).collect()
}
