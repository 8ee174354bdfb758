//! A comparison as it is put together from its chunks: totals and classes are added, and of the exceptions the first of each class in turn
//! are kept.

use std::collections::BTreeMap;

use super::compare::CompareError;
use super::compare_rows::Line;
use crate::allocation::{
    AskedCharge, ChargeClass, ClassTotal, ComparePart, ControlTotal, ExceptionLine, Minor, SideTotal,
};

/// Period and currency; orphans have neither.
type Group = (Option<String>, Option<String>);

/// Totals of a chunk, or of several.
#[derive(Debug, Default)]
pub(super) struct Sums {
    totals: BTreeMap<(String, String), ControlTotal>,
    classes: BTreeMap<(ChargeClass, Group), (u64, Minor)>,
    pub exceptions: Vec<ExceptionLine>,
    pub asked: Vec<AskedCharge>,
}

/// What the section `class` says: of many charges together, or of one by its id.
pub(super) struct ClassLine {
    /// `None`: charges of other periods than those asked for.
    pub class: Option<ChargeClass>,
    pub group: Group,
    pub told: Option<String>,
    pub old_rows: u64,
    pub new_rows: u64,
    pub suspects: u64,
    total: ControlTotal,
    amount: Option<Minor>,
}

impl ClassLine {
    pub(super) fn read(line: &Line) -> Result<Self, CompareError> {
        let class = line.text(1)?;
        let class = match class.as_str() {
            "elsewhere" => None,
            _ => Some(class.parse().map_err(|_| CompareError::Unreadable { found: class, wanted: "a class" })?),
        };
        let side = |from: usize| -> Result<SideTotal, CompareError> {
            Ok(SideTotal { charges: line.count(from)?, rows: line.count(from + 1)?, amount: line.amount(from + 2)? })
        };
        let group = (line.find_text(2), line.find_text(3));
        let total = ControlTotal {
            period: group.0.clone().unwrap_or_default(),
            currency: group.1.clone().unwrap_or_default(),
            charges: line.count(1)?,
            amount: line.amount(2)?,
            old: side(3)?,
            new: side(6)?,
            effective: side(9)?,
            on_new: line.count(12)?,
            on_new_amount: line.amount(13)?,
            without_group: line.count(14)?,
        };
        Ok(Self {
            class,
            told: line.find_text(4),
            old_rows: total.old.rows,
            new_rows: total.new.rows,
            suspects: line.count(15)?,
            amount: line.find_number(2, "an integer amount")?,
            group,
            total,
        })
    }

    /// Charges that were read.
    pub(super) fn charges(&self) -> u64 {
        self.total.charges
    }

    /// The charge as an exception whose payers are not known yet.
    pub(super) fn exception(&self) -> Option<ExceptionLine> {
        let class = self.class.filter(|class| class.is_wrong())?;
        Some(ExceptionLine {
            charge_id: self.told.clone()?,
            class,
            period: self.group.0.clone(),
            currency: self.group.1.clone(),
            amount: self.amount,
            old_amount: self.total.old.amount,
            new_amount: self.total.new.amount,
            effective_amount: self.total.effective.amount,
            parts: Vec::new(),
            parts_total: 0,
        })
    }

    pub(super) fn asked(&self, asked: &[String]) -> Option<AskedCharge> {
        let charge_id = self.told.as_ref().filter(|id| asked.contains(id))?.clone();
        Some(AskedCharge {
            charge_id,
            class: self.class?,
            period: self.group.0.clone(),
            currency: self.group.1.clone(),
        })
    }
}

impl Sums {
    /// Adds what the database said of some charges; charges of other periods count nowhere.
    pub(super) fn add(&mut self, line: &ClassLine) {
        let Some(class) = line.class else { return };
        let known = self.classes.entry((class, line.group.clone())).or_default();
        *known = (known.0 + line.total.charges, known.1 + line.total.amount);
        // What has no charge has no place among the control totals.
        if line.group.0.is_some() {
            self.add_total(&line.total);
        }
    }

    fn add_total(&mut self, total: &ControlTotal) {
        let key = (total.period.clone(), total.currency.clone());
        match self.totals.get_mut(&key) {
            None => drop(self.totals.insert(key, total.clone())),
            Some(known) => {
                known.charges += total.charges;
                known.amount = known.amount + total.amount;
                add_side(&mut known.old, total.old);
                add_side(&mut known.new, total.new);
                add_side(&mut known.effective, total.effective);
                known.on_new += total.on_new;
                known.on_new_amount = known.on_new_amount + total.on_new_amount;
                known.without_group += total.without_group;
            }
        }
    }

    /// Adds a chunk that was compared before; its payers are somebody else's.
    pub(super) fn add_part(&mut self, part: &ComparePart, exceptions_max: usize) {
        for total in &part.totals {
            self.add_total(total);
        }
        for class in &part.classes {
            let group = (class.period.clone(), class.currency.clone());
            let known = self.classes.entry((class.class, group)).or_default();
            *known = (known.0 + class.charges, known.1 + class.amount);
        }
        self.asked.extend(part.asked.iter().cloned());
        self.exceptions.extend(part.exceptions.iter().cloned());
        self.exceptions = in_turn(std::mem::take(&mut self.exceptions), exceptions_max);
    }

    /// By period, then currency.
    pub(super) fn totals(&self) -> Vec<ControlTotal> {
        self.totals.values().cloned().collect()
    }

    pub(super) fn classes(&self) -> Vec<ClassTotal> {
        let total =
            |((class, (period, currency)), (charges, amount)): (&(ChargeClass, Group), &(u64, Minor))| ClassTotal {
                class: *class,
                period: period.clone(),
                currency: currency.clone(),
                charges: *charges,
                amount: *amount,
            };
        self.classes.iter().map(total).collect()
    }
}

fn add_side(known: &mut SideTotal, side: SideTotal) {
    known.charges += side.charges;
    known.rows += side.rows;
    known.amount = known.amount + side.amount;
}

/// Shorter ids first, so that numbers sort as numbers; bytewise among those of one length.
pub(super) fn id_order(id: &str) -> (usize, &str) {
    (id.chars().count(), id)
}

/// The first of each class, then the second of each class, and so on, so that a flood of one class does not hide the others.
///
/// The first ones of several chunks' first ones are the first ones of all: within its chunk no line comes later than among all.
pub(super) fn in_turn(mut lines: Vec<ExceptionLine>, exceptions_max: usize) -> Vec<ExceptionLine> {
    lines.sort_by(|a, b| id_order(&a.charge_id).cmp(&id_order(&b.charge_id)));
    let mut turns: BTreeMap<ChargeClass, usize> = BTreeMap::new();
    let mut numbered: Vec<(usize, &'static str, ExceptionLine)> = lines
        .into_iter()
        .map(|line| {
            let turn = turns.entry(line.class).or_default();
            *turn += 1;
            (*turn, line.class.as_str(), line)
        })
        .collect();
    numbered.sort_by_key(|(turn, class, _)| (*turn, *class));
    numbered.truncate(exceptions_max);
    numbered.into_iter().map(|(_, _, line)| line).collect()
}
