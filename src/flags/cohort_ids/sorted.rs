//! Sorted numbers in blocks of sixteen, over them the first of each block, again in blocks, until one block is left. The upper levels fit
//! a processor's caches, so a look-up waits for memory once or twice and not for each of twenty steps.

/// Numbers in a block: two cache lines of 64-bit numbers.
const BLOCK: usize = 16;

#[derive(Debug, Clone)]
pub(super) struct Sorted<T> {
    /// The numbers first, the level with one block last.
    levels: Vec<Box<[T]>>,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self { levels: Vec::new() }
    }
}

impl<T: Ord + Copy> Sorted<T> {
    pub(super) fn of(mut values: Vec<T>) -> Self {
        values.sort_unstable();
        values.dedup();
        Self::of_sorted(values)
    }

    /// `values` are sorted and distinct.
    pub(super) fn of_sorted(values: Vec<T>) -> Self {
        let mut levels = Vec::new();
        let mut level = values.into_boxed_slice();
        while level.len() > BLOCK {
            let next = level.iter().step_by(BLOCK).copied().collect();
            levels.push(std::mem::replace(&mut level, next));
        }
        levels.push(level);
        Self { levels }
    }

    pub(super) fn contains(&self, value: T) -> bool {
        let mut at = 0;
        let mut found = None;
        for level in self.levels.iter().rev() {
            let Some(block) = level.chunks(BLOCK).nth(at) else { return false };
            let not_after = block.iter().filter(|other| **other <= value).count();
            let Some(last) = not_after.checked_sub(1) else { return false };
            found = block.get(last).copied();
            at = at * BLOCK + last;
        }
        found == Some(value)
    }

    pub(super) fn values(&self) -> &[T] {
        self.levels.first().map_or(&[], |values| values)
    }

    pub(super) fn len(&self) -> usize {
        self.values().len()
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.levels.iter().map(|level| size_of_val(&**level)).sum()
    }

    /// Without `removed` and with `added`, both sorted and distinct.
    pub(super) fn changed(&self, removed: &[T], added: &[T]) -> Self {
        let mut values = Vec::with_capacity(self.len() + added.len());
        let (mut rest, mut removed) = (self.values(), removed);
        for new in added {
            let (before, after) = rest.split_at(rest.partition_point(|value| value < new));
            removed = keep(&mut values, before, removed);
            values.push(*new);
            rest = if after.first() == Some(new) { after.get(1..).unwrap_or_default() } else { after };
        }
        keep(&mut values, rest, removed);
        values.shrink_to_fit();
        Self::of_sorted(values)
    }
}

/// Appends `from` without those removed, run by run; returns the removals that lie behind.
fn keep<'r, T: Ord + Copy>(values: &mut Vec<T>, from: &[T], removed: &'r [T]) -> &'r [T] {
    let (mut rest, mut removed) = (from, removed);
    while let (Some((gone, later)), Some(last)) = (removed.split_first(), rest.last()) {
        if gone > last {
            break;
        }
        let (before, after) = rest.split_at(rest.partition_point(|value| value < gone));
        values.extend_from_slice(before);
        rest = if after.first() == Some(gone) { after.get(1..).unwrap_or_default() } else { after };
        removed = later;
    }
    values.extend_from_slice(rest);
    removed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(
            held in prop::collection::btree_set(0u64..2_000, 0..600),
            removed in prop::collection::btree_set(0u64..2_000, 0..40),
            added in prop::collection::btree_set(0u64..2_000, 0..40),
        ) {
            let sorted = Sorted::of(held.iter().rev().copied().collect());
            for number in 0..2_000 {
                prop_assert_eq!(sorted.contains(number), held.contains(&number));
            }
            let list = |set: &BTreeSet<u64>| set.iter().copied().collect::<Vec<_>>();
            let changed = sorted.changed(&list(&removed), &list(&added));
            let wanted: BTreeSet<u64> = held.difference(&removed).copied().chain(added.iter().copied()).collect();
            prop_assert_eq!(changed.values().to_vec(), list(&wanted));
            for number in 0..2_000 {
                prop_assert_eq!(changed.contains(number), wanted.contains(&number));
            }
        }
    }
}
