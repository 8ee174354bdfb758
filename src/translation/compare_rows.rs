//! Reading a comparison's answer: sections of text columns become the tables of a [`Comparison`].

use std::collections::BTreeMap;
use std::str::FromStr;

use super::compare::{CompareError, Fault};
use crate::allocation::{
    AskedCharge, Bucket, ClassTotal, Comparison, ControlTotal, EffectiveSource, ExceptionLine, Minor, Mover, Part,
    PayersTotal, SideTotal, Trend,
};
use crate::database::Row;

/// A row of one section with what its place within the section is.
struct Line {
    row: Row,
}

impl Line {
    /// The `place`-th text column, from 1.
    fn find_text(&self, place: usize) -> Result<Option<String>, CompareError> {
        Ok(self.row.find_text(&format!("t{place}"))?)
    }

    fn text(&self, place: usize) -> Result<String, CompareError> {
        Ok(self.row.text(&format!("t{place}"))?)
    }

    /// The `place`-th number, from 1; `None` for NULL.
    fn find_number<T: FromStr>(&self, place: usize, wanted: &'static str) -> Result<Option<T>, CompareError> {
        let text = self.row.find_text(&format!("n{place}"))?;
        text.map(|text| text.parse().map_err(|_| CompareError::Unreadable { found: text, wanted })).transpose()
    }

    fn count(&self, place: usize) -> Result<u64, CompareError> {
        Ok(self.find_number(place, "a count")?.unwrap_or(0))
    }

    /// A sum over no rows is 0.
    fn amount(&self, place: usize) -> Result<Minor, CompareError> {
        Ok(self.find_number(place, "an integer amount")?.unwrap_or(Minor::ZERO))
    }
}

/// Reads all sections. Rows that cannot be compared make the whole comparison an error.
pub(super) fn read(rows: Vec<Row>, has_effective_view: bool) -> Result<Comparison, CompareError> {
    let mut sections: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for row in rows {
        sections.entry(row.text("section")?).or_default().push(Line { row });
    }
    let mut take = |name: &str| sections.remove(name).unwrap_or_default();
    refuse_faults(&take("fault"))?;

    let mut totals = each(&take("total"), control_total)?;
    totals.sort_by(|a, b| (&a.period, &a.currency).cmp(&(&b.period, &b.currency)));
    let mut classes = each(&take("class"), class_total)?;
    classes.sort_by(|a, b| (a.class, &a.period, &a.currency).cmp(&(b.class, &b.period, &b.currency)));
    let mut payers = each(&take("payers"), payers_total)?;
    payers.sort_by(|a, b| a.currency.cmp(&b.currency));
    let mut movers = each(&take("mover"), |line| Ok((line.count(1)?, mover(line)?)))?;
    movers.sort_by(|(a_place, a), (b_place, b)| (&a.currency, a_place).cmp(&(&b.currency, b_place)));
    let mut histogram = each(&take("histogram"), bucket)?;
    histogram.sort_by_key(|bucket| {
        let digits = i32::from(bucket.digits);
        (bucket.currency.clone(), if bucket.trend == Trend::Less { -digits } else { digits })
    });
    let mut asked = each(&take("asked"), asked_charge)?;
    asked.sort_by(|a, b| (a.charge_id.len(), &a.charge_id).cmp(&(b.charge_id.len(), &b.charge_id)));
    Ok(Comparison {
        asked,
        effective: if has_effective_view { EffectiveSource::View } else { EffectiveSource::Old },
        exponents: BTreeMap::new(),
        exceptions_total: classes.iter().filter(|total| total.class.is_wrong()).map(|total| total.charges).sum(),
        exceptions: exceptions(&take("exception"), &take("part"))?,
        totals,
        classes,
        payers,
        movers: movers.into_iter().map(|(_, mover)| mover).collect(),
        histogram,
    })
}

fn each<T>(lines: &[Line], read: impl Fn(&Line) -> Result<T, CompareError>) -> Result<Vec<T>, CompareError> {
    lines.iter().map(read).collect()
}

fn refuse_faults(lines: &[Line]) -> Result<(), CompareError> {
    let Some(first) = lines.first() else { return Ok(()) };
    let total = first.count(1)?;
    let mut faults = each(lines, |line| {
        Ok(Fault {
            query: line.text(1)?,
            what: line.text(2)?,
            charge_id: line.find_text(3)?,
            shown: line.find_text(4)?,
        })
    })?;
    faults.sort_by(|a, b| (&a.query, &a.charge_id, &a.what).cmp(&(&b.query, &b.charge_id, &b.what)));
    Err(CompareError::Faults { faults, total })
}

fn control_total(line: &Line) -> Result<ControlTotal, CompareError> {
    let side = |from: usize| -> Result<SideTotal, CompareError> {
        Ok(SideTotal { charges: line.count(from)?, rows: line.count(from + 1)?, amount: line.amount(from + 2)? })
    };
    Ok(ControlTotal {
        period: line.text(1)?,
        currency: line.text(2)?,
        charges: line.count(1)?,
        amount: line.amount(2)?,
        old: side(3)?,
        new: side(6)?,
        effective: side(9)?,
        on_new: line.count(12)?,
        on_new_amount: line.amount(13)?,
        without_group: line.count(14)?,
    })
}

fn class_total(line: &Line) -> Result<ClassTotal, CompareError> {
    let class = line.text(1)?;
    Ok(ClassTotal {
        class: class.parse().map_err(|_| CompareError::Unreadable { found: class, wanted: "a class" })?,
        period: line.find_text(2)?,
        currency: line.find_text(3)?,
        charges: line.count(1)?,
        amount: line.amount(2)?,
    })
}

fn asked_charge(line: &Line) -> Result<AskedCharge, CompareError> {
    let class = line.text(2)?;
    Ok(AskedCharge {
        charge_id: line.text(1)?,
        class: class.parse().map_err(|_| CompareError::Unreadable { found: class, wanted: "a class" })?,
        period: line.find_text(3)?,
        currency: line.find_text(4)?,
    })
}

fn payers_total(line: &Line) -> Result<PayersTotal, CompareError> {
    Ok(PayersTotal {
        currency: line.text(1)?,
        payers: line.count(1)?,
        changed: line.count(2)?,
        old: line.amount(3)?,
        moved_out: line.amount(4)?,
        moved_in: line.amount(5)?,
        new: line.amount(6)?,
    })
}

fn mover(line: &Line) -> Result<Mover, CompareError> {
    Ok(Mover {
        currency: line.text(1)?,
        payer: line.find_text(2)?,
        old: line.amount(2)?,
        moved_out: line.amount(3)?,
        moved_in: line.amount(4)?,
        new: line.amount(5)?,
        charges: line.count(6)?,
    })
}

fn bucket(line: &Line) -> Result<Bucket, CompareError> {
    let trend = match line.find_number::<i8>(1, "a direction")?.unwrap_or(0) {
        ..0 => Trend::Less,
        0 => Trend::Same,
        1.. => Trend::More,
    };
    Ok(Bucket {
        currency: line.text(1)?,
        trend,
        digits: line.find_number(2, "a number of digits")?.unwrap_or(0),
        payers: line.count(3)?,
        amount: line.amount(4)?,
    })
}

fn exceptions(lines: &[Line], parts: &[Line]) -> Result<Vec<ExceptionLine>, CompareError> {
    let mut parts_of: BTreeMap<String, (u64, Vec<(u64, Part)>)> = BTreeMap::new();
    for line in parts {
        let entry = parts_of.entry(line.text(1)?).or_default();
        entry.0 = line.count(7)?;
        entry.1.push((line.count(1)?, part(line)?));
    }
    let mut found = each(lines, |line| {
        let charge_id = line.text(1)?;
        let class = line.text(2)?;
        let (parts_total, mut parts) = parts_of.get(&charge_id).cloned().unwrap_or_default();
        parts.sort_by_key(|(place, _)| *place);
        let exception = ExceptionLine {
            charge_id,
            class: class.parse().map_err(|_| CompareError::Unreadable { found: class, wanted: "a class" })?,
            period: line.find_text(3)?,
            currency: line.find_text(4)?,
            amount: line.find_number(2, "an integer amount")?,
            old_amount: line.amount(3)?,
            new_amount: line.amount(4)?,
            effective_amount: line.amount(5)?,
            parts: parts.into_iter().map(|(_, part)| part).collect(),
            parts_total,
        };
        Ok((line.count(1)?, exception))
    })?;
    found.sort_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, exception)| exception).collect())
}

fn part(line: &Line) -> Result<Part, CompareError> {
    Ok(Part {
        payer: line.find_text(2)?,
        old_rows: line.count(2)?,
        old: line.amount(3)?,
        new_rows: line.count(4)?,
        new: line.amount(5)?,
        expected: line.count(6)? == 1,
    })
}
