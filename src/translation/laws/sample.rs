//! Which rows are tried and how: random over the whole key range, the same for the same seed.

use std::collections::BTreeSet;

use super::trial::{Deed, Trial};
use super::watch::Watch;
use crate::database::{DatabaseConnection, DatabaseError, Dialect};
use crate::sql::journal::keys_at;
use crate::sql::names::literal;

/// SplitMix64.
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to one less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> Option<&'t T> {
        let index = self.below(u64::try_from(from.len()).unwrap_or(1));
        from.get(usize::try_from(index).unwrap_or(0))
    }
}

/// The keys of `sample` random rows, all of them if there are no more, in key order. One pass over the table's key.
pub(super) fn sampled_keys(
    connection: &mut DatabaseConnection,
    watch: &Watch,
    sample: usize,
    random: &mut Random,
) -> Result<Vec<Vec<String>>, DatabaseError> {
    let count = format!("SELECT count(*) AS n FROM {}", watch.table.sql_name());
    let count = connection.get_row(&count, &[])?.integer("n")?;
    let ranks = ranks(u64::try_from(count).unwrap_or(0), u64::try_from(sample).unwrap_or(u64::MAX), random);
    if ranks.is_empty() {
        return Ok(Vec::new());
    }
    let dialect = connection.dialect();
    let rows = connection.query(&keys_at(dialect, &watch.table, &watch.key, &ranks), &[])?;
    rows.iter()
        .map(|row| {
            (0..watch.key.len())
                .map(|index| {
                    let text = row.text(&format!("k{index}"))?;
                    // SQLite's `quote` has made a literal of it already.
                    Ok(if dialect == Dialect::Postgres { literal(&text) } else { text })
                })
                .collect()
        })
        .collect()
}

/// `sample` different numbers from 1 to `count`.
fn ranks(count: u64, sample: u64, random: &mut Random) -> Vec<i64> {
    let mut chosen: BTreeSet<u64> = BTreeSet::new();
    if sample >= count {
        chosen.extend(1..=count);
    } else {
        // Floyd's: each subset is as likely as any other.
        for bound in count - sample + 1..=count {
            let rank = random.below(bound) + 1;
            chosen.insert(if chosen.contains(&rank) { bound } else { rank });
        }
    }
    chosen.into_iter().filter_map(|rank| i64::try_from(rank).ok()).collect()
}

/// What is done to one row: a touch, a move of one column, a delete and an insert, a copy.
pub(super) fn trials_of(table: usize, watch: &Watch, row: &[String], random: &mut Random) -> Vec<Trial> {
    let mut deeds = vec![Deed::Touch];
    if let Some(column) = random.pick(&watch.movable) {
        deeds.push(Deed::Move { column: column.clone(), nth: random.below(1_000) });
    }
    deeds.push(Deed::Replace);
    let is_minted = || {
        let minted =
            |name: &String| watch.table.columns.iter().any(|column| column.name == *name && column.has_default);
        watch.key.iter().all(minted)
    };
    let varied = if watch.key.len() > 1 { &watch.key } else { &watch.movable };
    if (watch.key.len() > 1 || is_minted())
        && let Some(column) = random.pick(varied)
    {
        deeds.push(Deed::Copy { column: column.clone(), nth: random.below(1_000) });
    }
    deeds.into_iter().map(|deed| Trial { table, row: row.to_vec(), deed }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_random_over_the_whole_range_and_repeatable() {
        let of = |seed| ranks(1_000_000, 100, &mut Random::new(seed));
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        let ranks = of(7);
        assert_eq!(ranks.len(), 100);
        assert!(ranks.first().is_some_and(|first| *first < 100_000), "{ranks:?}");
        assert!(ranks.last().is_some_and(|last| *last > 900_000), "{ranks:?}");
        assert_eq!(super::ranks(3, 100, &mut Random::new(1)), [1, 2, 3]);
        assert!(super::ranks(0, 100, &mut Random::new(1)).is_empty());
    }
}
