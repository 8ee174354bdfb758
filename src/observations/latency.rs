//! Durations as counts in buckets that grow with them: eight to a doubling, so that a quantile is at most an eighth too large, and the
//! counts of any servers, minutes and operations add up.

use std::collections::BTreeMap;

/// Longer ones (twelve days) count as this.
const MICROS_MAX: u64 = (1 << 40) - 1;

/// The bucket of a duration in microseconds.
#[must_use]
pub fn bucket_of(micros: u64) -> u32 {
    let micros = micros.min(MICROS_MAX);
    if micros < 8 {
        return u32::try_from(micros).unwrap_or(0);
    }
    let doublings = micros.ilog2();
    let eighth = u32::try_from((micros >> (doublings - 3)) & 7).unwrap_or(0);
    (doublings - 2) * 8 + eighth
}

/// The longest duration of a bucket.
#[must_use]
pub fn upper_of(bucket: u32) -> u64 {
    if bucket < 8 {
        return u64::from(bucket);
    }
    let (doublings, eighth) = ((bucket / 8 + 2).min(62), bucket % 8);
    ((u64::from(eighth) + 9) << (doublings - 3)) - 1
}

/// The duration that `permille` of 1000 are not longer than.
#[must_use]
pub fn quantile(counts: &BTreeMap<u32, u64>, permille: u64) -> Option<u64> {
    let total: u64 = counts.values().sum();
    let wanted = total.saturating_mul(permille).div_ceil(1000).max(1);
    let mut seen = 0;
    counts.iter().find_map(|(bucket, count)| {
        seen += count;
        (seen >= wanted).then(|| upper_of(*bucket))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_duration_is_at_most_an_eighth_below_its_buckets_end(micros in 0_u64..MICROS_MAX) {
            let upper = upper_of(bucket_of(micros));
            prop_assert!(upper >= micros && upper - micros <= micros / 8);
            prop_assert_eq!(bucket_of(upper), bucket_of(micros));
        }

        #[test]
        fn a_quantile_is_that_of_the_sorted_durations(mut all in prop::collection::vec(0_u64..10_000_000, 1..200), permille in 1_u64..=1000) {
            let mut counts = BTreeMap::new();
            for micros in &all {
                *counts.entry(bucket_of(*micros)).or_insert(0) += 1;
            }
            all.sort_unstable();
            let place = (u64::try_from(all.len()).unwrap() * permille).div_ceil(1000).max(1) - 1;
            let exact = all[usize::try_from(place).unwrap()];
            prop_assert_eq!(quantile(&counts, permille), Some(upper_of(bucket_of(exact))));
        }
    }
}
