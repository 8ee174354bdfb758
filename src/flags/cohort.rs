//! A cohort of explicit ids, held exactly and compactly: decimals as 8 bytes, UUIDs as 16, other texts one after the other
//! in one buffer. A look-up is a binary search.

use super::conditions::CohortConditions;
use crate::primitives::CohortName;

/// A named set of subjects.
#[derive(Debug, Clone, PartialEq)]
pub struct Cohort {
    name: CohortName,
    generation: i64,
    ids: CohortIds,
    conditions: CohortConditions,
}

impl Cohort {
    /// `generation` counts how often the cohort has been replaced.
    #[must_use]
    pub fn new(name: CohortName, generation: i64, ids: CohortIds) -> Self {
        Self { name, generation, ids, conditions: CohortConditions::default() }
    }

    /// The same cohort, to which belong as well those whose context meets the conditions.
    #[must_use]
    pub fn with_conditions(self, conditions: CohortConditions) -> Self {
        Self { conditions, ..self }
    }

    #[must_use]
    pub fn name(&self) -> &CohortName {
        &self.name
    }

    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation
    }

    #[must_use]
    pub fn ids(&self) -> &CohortIds {
        &self.ids
    }

    #[must_use]
    pub fn conditions(&self) -> &CohortConditions {
        &self.conditions
    }

    /// Whether `id` is one of the explicit ids.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}

/// A set of ids. Exact: `7`, `07` and `+7` are three ids, and so are a UUID in lower and in upper case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CohortIds {
    decimals: Sorted<u64>,
    uuids: Sorted<u128>,
    texts: Texts,
}

impl CohortIds {
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        match Packed::of(id) {
            Packed::Decimal(number) => self.decimals.contains(number),
            Packed::Uuid(number) => self.uuids.contains(number),
            Packed::Text(text) => self.texts.contains(text),
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.decimals.values.len() + self.uuids.values.len() + self.texts.ends.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All ids: decimals by value, then UUIDs, then texts by their bytes.
    pub fn iter(&self) -> impl Iterator<Item = String> + '_ {
        let decimals = self.decimals.values.iter().map(u64::to_string);
        let uuids = self.uuids.values.iter().map(|number| uuid_text(*number));
        decimals.chain(uuids).chain((0..self.texts.ends.len()).map(|at| self.texts.get(at).to_owned()))
    }

    /// The bytes that the ids take in memory.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.decimals.size_bytes() + self.uuids.size_bytes() + size_of_val(&*self.texts.ends) + self.texts.buffer.len()
    }
}

impl<T: AsRef<str>> FromIterator<T> for CohortIds {
    /// Takes ids as they are (no trimming), in any order, each any number of times.
    fn from_iter<I: IntoIterator<Item = T>>(ids: I) -> Self {
        let (mut decimals, mut uuids, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for id in ids {
            match Packed::of(id.as_ref()) {
                Packed::Decimal(number) => decimals.push(number),
                Packed::Uuid(number) => uuids.push(number),
                Packed::Text(text) => texts.push(Box::<str>::from(text)),
            }
        }
        Self { decimals: Sorted::of(decimals), uuids: Sorted::of(uuids), texts: Texts::of(&sorted(texts)) }
    }
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Box<[T]> {
    values.sort_unstable();
    values.dedup();
    values.into_boxed_slice()
}

/// Sorted numbers, and the first one of each block of them: those fit a processor's cache, so that a look-up waits for memory
/// once and not for each of twenty steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sorted<T> {
    values: Box<[T]>,
    firsts: Box<[T]>,
}

/// How many numbers are a block: two cache lines of decimals.
const BLOCK: usize = 16;

impl<T: Ord + Copy> Sorted<T> {
    fn of(values: Vec<T>) -> Self {
        let values = sorted(values);
        Self { firsts: values.iter().step_by(BLOCK).copied().collect(), values }
    }

    fn contains(&self, value: T) -> bool {
        let blocks = self.firsts.partition_point(|first| *first <= value);
        let Some(block) = blocks.checked_sub(1) else { return false };
        self.values.iter().skip(block * BLOCK).take(BLOCK).any(|other| *other == value)
    }

    fn size_bytes(&self) -> usize {
        size_of_val(&*self.values) + size_of_val(&*self.firsts)
    }
}

/// Sorted texts in one buffer, each known by where it ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Texts {
    ends: Box<[usize]>,
    buffer: Box<str>,
}

impl Texts {
    fn of(sorted: &[Box<str>]) -> Self {
        let mut buffer = String::with_capacity(sorted.iter().map(|text| text.len()).sum());
        let mut ends = Vec::with_capacity(sorted.len());
        for text in sorted {
            buffer.push_str(text);
            ends.push(buffer.len());
        }
        Self { ends: ends.into_boxed_slice(), buffer: buffer.into_boxed_str() }
    }

    fn get(&self, at: usize) -> &str {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(at).and_then(|end| self.buffer.get(start..*end)).unwrap_or_default()
    }

    fn contains(&self, text: &str) -> bool {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).cmp(text) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        false
    }
}

/// An id in the smallest form from which its exact text can be told.
enum Packed<'a> {
    Decimal(u64),
    Uuid(u128),
    Text(&'a str),
}

impl<'a> Packed<'a> {
    fn of(id: &'a str) -> Self {
        if let Some(number) = canonical_decimal(id) {
            Self::Decimal(number)
        } else if let Some(number) = canonical_uuid(id) {
            Self::Uuid(number)
        } else {
            Self::Text(id)
        }
    }
}

/// The number of which `id` is the one decimal text: no sign, no leading zero, at most 64 bits.
fn canonical_decimal(id: &str) -> Option<u64> {
    let canonical = id == "0" || !id.starts_with(['0', '+']);
    if canonical && id.len() <= 20 { id.parse().ok() } else { None }
}

/// The number of a UUID in its usual form: lower case, five groups of 8, 4, 4, 4 and 12.
fn canonical_uuid(id: &str) -> Option<u128> {
    if id.len() != 36 {
        return None;
    }
    let mut number: u128 = 0;
    for (at, byte) in id.bytes().enumerate() {
        let digit = match (at, byte) {
            (8 | 13 | 18 | 23, b'-') => continue,
            (8 | 13 | 18 | 23, _) => return None,
            (_, b'0'..=b'9') => byte - b'0',
            (_, b'a'..=b'f') => byte - b'a' + 10,
            _ => return None,
        };
        number = number << 4 | u128::from(digit);
    }
    Some(number)
}

fn uuid_text(number: u128) -> String {
    let mut text = format!("{number:032x}");
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_exact() {
        let ids: CohortIds =
            ["7", "07", "user", "550e8400-e29b-41d4-a716-446655440000", "7", "", "-7"].into_iter().collect();
        assert_eq!(ids.len(), 6);
        for member in ["7", "07", "user", "550e8400-e29b-41d4-a716-446655440000", "", "-7"] {
            assert!(ids.contains(member), "{member}");
        }
        for other in ["+7", "007", "7.0", " 7", "User", "550E8400-E29B-41D4-A716-446655440000", "use", "users", "0"] {
            assert!(!ids.contains(other), "{other}");
        }
    }

    #[test]
    fn an_empty_cohort_has_nobody() {
        let ids = CohortIds::default();
        assert!(ids.is_empty() && !ids.contains("") && !ids.contains("0"));
    }

    #[test]
    fn a_million_ids_stay_small() {
        let decimals: CohortIds = (0..1_000_000).map(|n| (n * 7).to_string()).collect();
        assert!(decimals.size_bytes() <= 16 << 20);
        let uuids: CohortIds = (0..1_000_000_u128).map(|n| uuid_text(n << 64 | n)).collect();
        assert!(uuids.size_bytes() <= 40 << 20);
        assert_eq!((decimals.len(), uuids.len()), (1_000_000, 1_000_000));
        assert!((0..1_000_000).all(|n| decimals.contains(&(n * 7).to_string())));
        assert!((0..1_000_000).all(|n| !decimals.contains(&(n * 7 + 1).to_string())));
    }

    proptest! {
        #[test]
        fn a_cohort_holds_exactly_its_ids(ids in prop::collection::btree_set("[0-9]{0,22}|[a-f0-9-]{36}|\\PC{0,8}", 0..40)) {
            let cohort: CohortIds = ids.iter().collect();
            prop_assert_eq!(cohort.iter().collect::<BTreeSet<_>>(), ids.clone());
            for id in &ids {
                prop_assert!(cohort.contains(id));
                let longer = format!("{id}0");
                prop_assert_eq!(cohort.contains(&longer), ids.contains(&longer));
            }
        }

        #[test]
        fn uuids_print_as_they_were_read(number: u128) {
            prop_assert_eq!(canonical_uuid(&uuid_text(number)), Some(number));
        }
    }
}
