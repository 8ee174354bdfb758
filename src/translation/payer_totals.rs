//! What each payer pays, added up over the chunks of a comparison in bounded memory: beyond so many payers, sorted runs go to a temporary
//! file and are merged at the end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};

use serde::{Deserialize, Serialize};

use crate::allocation::{Bucket, Minor, Mover, PayersTotal, Trend};

/// How many payers are held in memory: about 100 bytes each.
const PAYERS_MAX: usize = 400_000;

/// Currency and payer; `None`: allocated to nobody.
type Key = (String, Option<String>);

/// Payers in order, from memory or from a file.
type Run = Box<dyn Iterator<Item = io::Result<(Key, PayerSum)>>>;

/// What one payer pays in one currency, and what of it changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct PayerSum {
    pub old: Minor,
    pub moved_out: Minor,
    pub moved_in: Minor,
    /// Charges whose part for this payer changes.
    pub charges: u64,
}

impl PayerSum {
    fn add(&mut self, other: Self) {
        self.old = self.old + other.old;
        self.moved_out = self.moved_out + other.moved_out;
        self.moved_in = self.moved_in + other.moved_in;
        self.charges += other.charges;
    }

    fn change(self) -> Minor {
        self.moved_in - self.moved_out
    }
}

/// Payers of all chunks.
#[derive(Debug, Default)]
pub(super) struct PayerTotals {
    /// Names of currencies are few and are held once.
    held: HashMap<(u32, Option<Box<str>>), PayerSum>,
    currencies: Vec<String>,
    runs: Vec<BufReader<std::fs::File>>,
    held_max: Option<usize>,
}

/// What a report says of payers.
#[derive(Debug, Default)]
pub(super) struct PayerTables {
    pub payers: Vec<PayersTotal>,
    pub movers: Vec<Mover>,
    pub histogram: Vec<Bucket>,
}

impl PayerTotals {
    #[cfg(test)]
    fn holding(held_max: usize) -> Self {
        Self { held_max: Some(held_max), ..Self::default() }
    }

    pub(super) fn add(&mut self, currency: &str, payer: Option<String>, sum: PayerSum) -> io::Result<()> {
        let place = self.currencies.iter().position(|known| known == currency).unwrap_or_else(|| {
            self.currencies.push(currency.to_owned());
            self.currencies.len() - 1
        });
        let key = (u32::try_from(place).unwrap_or(u32::MAX), payer.map(String::into_boxed_str));
        self.held.entry(key).or_default().add(sum);
        if self.held.len() > self.held_max.unwrap_or(PAYERS_MAX) { self.spill() } else { Ok(()) }
    }

    /// Adds another one's payers.
    pub(super) fn merge(&mut self, mut other: Self) -> io::Result<()> {
        if self.held.is_empty() && self.runs.is_empty() {
            *self = other;
            return Ok(());
        }
        self.runs.append(&mut other.runs);
        for ((place, payer), sum) in other.held {
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            let currency = other.currencies.get(place).map_or("", String::as_str);
            self.add(currency, payer.map(String::from), sum)?;
        }
        Ok(())
    }

    /// Adds a chunk's payers as [`packed`] wrote them.
    pub(super) fn add_packed(&mut self, packed: &str) -> io::Result<()> {
        for line in packed.lines() {
            let ((currency, payer), sum): (Key, PayerSum) = serde_json::from_str(line)?;
            self.add(&currency, payer, sum)?;
        }
        Ok(())
    }

    fn sorted(&mut self) -> Vec<(Key, PayerSum)> {
        let currency = |place: u32| {
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            self.currencies.get(place).cloned().unwrap_or_default()
        };
        let held = std::mem::take(&mut self.held);
        let mut sorted: Vec<(Key, PayerSum)> =
            held.into_iter().map(|((place, payer), sum)| ((currency(place), payer.map(String::from)), sum)).collect();
        sorted.sort_unstable();
        sorted
    }

    fn spill(&mut self) -> io::Result<()> {
        let mut file = BufWriter::new(tempfile::tempfile()?);
        for entry in self.sorted() {
            serde_json::to_writer(&mut file, &entry)?;
            file.write_all(b"\n")?;
        }
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.runs.push(BufReader::new(file));
        Ok(())
    }

    /// The tables, each payer's chunks together.
    pub(super) fn tables(mut self, movers_max: usize) -> io::Result<PayerTables> {
        let mut tables = Tables { movers_max, ..Tables::default() };
        let last = self.sorted();
        let mut runs: Vec<Run> = vec![Box::new(last.into_iter().map(Ok))];
        for run in self.runs {
            runs.push(Box::new(run.lines().map(|line| Ok(serde_json::from_str(&line?)?))));
        }
        let mut heads = BinaryHeap::new();
        for (place, run) in runs.iter_mut().enumerate() {
            heads.extend(run.next().transpose()?.map(|head| Reverse((head, place))));
        }
        let mut current: Option<(Key, PayerSum)> = None;
        while let Some(Reverse(((key, sum), place))) = heads.pop() {
            if let Some(run) = runs.get_mut(place) {
                heads.extend(run.next().transpose()?.map(|head| Reverse((head, place))));
            }
            match &mut current {
                Some((known, so_far)) if *known == key => so_far.add(sum),
                _ => {
                    tables.take(current.replace((key, sum)));
                }
            }
        }
        tables.take(current);
        Ok(tables.finished())
    }
}

/// A payer of a chunk as a line that [`PayerTotals::add_packed`] reads.
pub(super) fn pack(lines: &mut String, currency: &str, payer: Option<&str>, sum: PayerSum) -> io::Result<()> {
    lines.push_str(&serde_json::to_string(&((currency, payer), sum))?);
    lines.push('\n');
    Ok(())
}

/// The tables as payers come in one by one, by currency and then in order.
#[derive(Debug, Default)]
struct Tables {
    movers_max: usize,
    payers: BTreeMap<String, PayersTotal>,
    movers: BTreeMap<String, Vec<Mover>>,
    histogram: BTreeMap<(String, i32), Bucket>,
}

impl Tables {
    fn take(&mut self, payer: Option<(Key, PayerSum)>) {
        let Some(((currency, payer), sum)) = payer else { return };
        let change = sum.change();
        self.bucket(&currency, change);
        let total = self.payers.entry(currency.clone()).or_insert_with(|| PayersTotal {
            currency: currency.clone(),
            payers: 0,
            changed: 0,
            old: Minor::ZERO,
            moved_out: Minor::ZERO,
            moved_in: Minor::ZERO,
            new: Minor::ZERO,
        });
        total.payers += 1;
        total.changed += u64::from(sum.charges > 0);
        total.old = total.old + sum.old;
        total.moved_out = total.moved_out + sum.moved_out;
        total.moved_in = total.moved_in + sum.moved_in;
        total.new = total.new + sum.old + change;
        if change.is_zero() {
            return;
        }
        let movers = self.movers.entry(currency.clone()).or_default();
        let PayerSum { old, moved_out, moved_in, charges } = sum;
        movers.push(Mover { currency, payer, old, moved_out, moved_in, new: old + change, charges });
        if movers.len() > self.movers_max.saturating_mul(2).max(1000) {
            first_movers(movers, self.movers_max);
        }
    }

    /// The number of digits tells the power of ten: exact, and the same in every currency.
    fn bucket(&mut self, currency: &str, change: Minor) {
        let digits: u16 = if change.is_zero() {
            0
        } else {
            change.units().unsigned_abs().ilog10().try_into().unwrap_or(u16::MAX) + 1
        };
        let (trend, place) = match change {
            change if change.is_zero() => (Trend::Same, 0),
            change if change.is_negative() => (Trend::Less, -i32::from(digits)),
            _ => (Trend::More, i32::from(digits)),
        };
        let bucket = self.histogram.entry((currency.to_owned(), place)).or_insert_with(|| Bucket {
            currency: currency.to_owned(),
            trend,
            digits,
            payers: 0,
            amount: Minor::ZERO,
        });
        bucket.payers += 1;
        bucket.amount = bucket.amount + change;
    }

    fn finished(mut self) -> PayerTables {
        for movers in self.movers.values_mut() {
            first_movers(movers, self.movers_max);
        }
        PayerTables {
            payers: self.payers.into_values().collect(),
            movers: self.movers.into_values().flatten().collect(),
            histogram: self.histogram.into_values().collect(),
        }
    }
}

/// Keeps the largest changes; among equal ones the shorter name, so that numbers sort as numbers, and nobody last.
fn first_movers(movers: &mut Vec<Mover>, movers_max: usize) {
    movers.sort_by_cached_key(|mover| {
        let length = mover.payer.as_ref().map_or(usize::MAX, |payer| payer.chars().count());
        (Reverse(mover.change().units().unsigned_abs()), length, mover.payer.clone())
    });
    movers.truncate(movers_max);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut totals: PayerTotals) -> PayerTables {
        for chunk in 0..5 {
            for payer in 0..50 {
                let sum = PayerSum {
                    old: Minor::new(100),
                    moved_out: Minor::new(payer % 7),
                    moved_in: Minor::new(chunk * payer % 11),
                    charges: 1,
                };
                let currency = if payer % 2 == 0 { "EUR" } else { "JPY" };
                let mut packed = String::new();
                let name = (payer > 0).then(|| format!("payer \"{payer}\"\n"));
                pack(&mut packed, currency, name.as_deref(), sum).unwrap();
                if chunk % 2 == 0 {
                    totals.add_packed(&packed).unwrap();
                } else {
                    totals.add(currency, name, sum).unwrap();
                }
            }
        }
        totals.tables(4).unwrap()
    }

    #[test]
    fn sums_that_went_to_a_file_are_the_same_sums() {
        let (in_memory, spilled) = (filled(PayerTotals::default()), filled(PayerTotals::holding(3)));
        assert_eq!(in_memory.payers, spilled.payers);
        assert_eq!(in_memory.movers, spilled.movers);
        assert_eq!(in_memory.histogram, spilled.histogram);
        assert_eq!(in_memory.payers.iter().map(|total| total.payers).sum::<u64>(), 50);
        assert_eq!(in_memory.movers.len(), 8);
    }
}
