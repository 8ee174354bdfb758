//! Which variant owns which buckets, and how that changes: growing a variant takes buckets from one donor and moves nobody
//! else, shrinking gives them back in reverse order.
//!
//! Each variant's buckets form a queue in the order in which it got them. A growing variant takes the donor's first buckets
//! and puts them at its own end; a shrinking one takes from its own end and puts them back at the donor's beginning. So
//! growing and then shrinking by as much restores everything, however often.

use std::collections::BTreeMap;

use super::bucket::{Algorithm, BUCKETS};
use super::clause::AttributePath;
use crate::primitives::VariantName;

/// A division of all buckets over variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    algorithm: Algorithm,
    seed: String,
    attribute: AttributePath,
    ranges: Vec<VariantRange>,
}

/// Buckets `from` (included) to `to` (excluded), owned by one variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantRange {
    pub variant: VariantName,
    pub from: u32,
    pub to: u32,
}

/// Why a division is not one, or can't be changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolloutError {
    #[error("buckets {from} to {to} are not a range: write `from` < `to` ≤ {BUCKETS}")]
    BadRange { from: u32, to: u32 },
    #[error("bucket {bucket} belongs to `{first}` and to `{second}`: ranges must not overlap")]
    Overlap { bucket: u32, first: VariantName, second: VariantName },
    #[error("nobody owns the buckets from {from} to {to}: ranges must cover 0 to {BUCKETS}")]
    Gap { from: u32, to: u32 },
    #[error("`{donor}` has {available} of the {wanted} buckets that `{variant}` is to take from it")]
    DonorTooSmall { variant: VariantName, donor: VariantName, available: u32, wanted: u32 },
    #[error("`{variant}` has {available} of the {wanted} buckets that it is to give back")]
    TooSmall { variant: VariantName, available: u32, wanted: u32 },
    #[error("`{0}` can't take buckets from itself: name another variant as the donor")]
    OwnDonor(VariantName),
}

type Queues = BTreeMap<VariantName, Vec<(u32, u32)>>;

impl Rollout {
    /// Buckets by `seed` and `attribute`; the ranges must cover every bucket exactly once.
    pub fn new(
        algorithm: Algorithm,
        seed: String,
        attribute: AttributePath,
        ranges: Vec<VariantRange>,
    ) -> Result<Self, RolloutError> {
        check_cover(&ranges)?;
        let mut rollout = Self { algorithm, seed, attribute, ranges };
        rollout.ranges = flatten(rollout.queues());
        Ok(rollout)
    }

    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    #[must_use]
    pub fn seed(&self) -> &str {
        &self.seed
    }

    #[must_use]
    pub fn attribute(&self) -> &AttributePath {
        &self.attribute
    }

    /// The ranges by variant, each variant's in the order in which it got them.
    #[must_use]
    pub fn ranges(&self) -> &[VariantRange] {
        &self.ranges
    }

    /// The bucket of a value under this rollout's algorithm and seed.
    #[must_use]
    pub fn bucket(&self, value: &str) -> u32 {
        self.algorithm.bucket(&self.seed, value)
    }

    /// How many buckets a variant owns; 1,000 are one per cent.
    #[must_use]
    pub fn share(&self, variant: &VariantName) -> u32 {
        self.ranges.iter().filter(|range| range.variant == *variant).map(|range| range.to - range.from).sum()
    }

    /// Gives `variant` exactly `share` buckets: it takes what it lacks from `donor`, or gives back to it what is too much.
    pub fn with_share(&self, variant: &VariantName, share: u32, donor: &VariantName) -> Result<Self, RolloutError> {
        let current = self.share(variant);
        if share >= current {
            self.grown(variant, share - current, donor)
        } else {
            self.shrunk(variant, current - share, donor)
        }
    }

    /// Moves `count` buckets from `donor` to `variant`, and nothing else.
    pub fn grown(&self, variant: &VariantName, count: u32, donor: &VariantName) -> Result<Self, RolloutError> {
        self.require_other(variant, donor)?;
        let available = self.share(donor);
        if available < count {
            let (variant, donor) = (variant.clone(), donor.clone());
            return Err(RolloutError::DonorTooSmall { variant, donor, available, wanted: count });
        }
        let mut queues = self.queues();
        let taken = take_front(queues.entry(donor.clone()).or_default(), count);
        queues.entry(variant.clone()).or_default().extend(taken);
        Ok(Self { ranges: flatten(queues), ..self.clone() })
    }

    /// Gives back the `count` buckets that `variant` got last, to the beginning of `donor`'s.
    pub fn shrunk(&self, variant: &VariantName, count: u32, donor: &VariantName) -> Result<Self, RolloutError> {
        self.require_other(variant, donor)?;
        let available = self.share(variant);
        if available < count {
            return Err(RolloutError::TooSmall { variant: variant.clone(), available, wanted: count });
        }
        let mut queues = self.queues();
        let mut given = take_back(queues.entry(variant.clone()).or_default(), count);
        let donor = queues.entry(donor.clone()).or_default();
        given.append(donor);
        *donor = given;
        Ok(Self { ranges: flatten(queues), ..self.clone() })
    }

    fn require_other(&self, variant: &VariantName, donor: &VariantName) -> Result<(), RolloutError> {
        if variant == donor { Err(RolloutError::OwnDonor(variant.clone())) } else { Ok(()) }
    }

    fn queues(&self) -> Queues {
        let mut queues = Queues::new();
        for range in &self.ranges {
            queues.entry(range.variant.clone()).or_default().push((range.from, range.to));
        }
        queues
    }
}

/// One order for equal divisions: by variant, each one's ranges in its order, neighbours joined.
fn flatten(queues: Queues) -> Vec<VariantRange> {
    let mut ranges: Vec<VariantRange> = Vec::new();
    for (variant, queue) in queues {
        for (from, to) in queue {
            match ranges.last_mut() {
                Some(last) if last.variant == variant && last.to == from => last.to = to,
                _ => ranges.push(VariantRange { variant: variant.clone(), from, to }),
            }
        }
    }
    ranges
}

/// Removes the first `count` buckets of a queue and returns them in their order.
fn take_front(queue: &mut Vec<(u32, u32)>, count: u32) -> Vec<(u32, u32)> {
    let (mut taken, mut kept, mut missing) = (Vec::new(), Vec::new(), count);
    for &(from, to) in queue.iter() {
        let cut = to.min(from + missing);
        missing -= cut - from;
        if from < cut {
            taken.push((from, cut));
        }
        if cut < to {
            kept.push((cut, to));
        }
    }
    *queue = kept;
    taken
}

/// Removes the last `count` buckets of a queue and returns them in their order.
fn take_back(queue: &mut Vec<(u32, u32)>, count: u32) -> Vec<(u32, u32)> {
    let length: u32 = queue.iter().map(|(from, to)| to - from).sum();
    let kept = take_front(queue, length - count);
    std::mem::replace(queue, kept)
}

fn check_cover(ranges: &[VariantRange]) -> Result<(), RolloutError> {
    let mut sorted: Vec<&VariantRange> = ranges.iter().collect();
    sorted.sort_by_key(|range| range.from);
    let mut next = 0;
    let mut before: Option<&VariantRange> = None;
    for range in sorted {
        if range.from >= range.to || range.to > BUCKETS {
            return Err(RolloutError::BadRange { from: range.from, to: range.to });
        }
        match before {
            Some(before) if range.from < next => {
                let (first, second) = (before.variant.clone(), range.variant.clone());
                return Err(RolloutError::Overlap { bucket: range.from, first, second });
            }
            _ if range.from > next => return Err(RolloutError::Gap { from: next, to: range.from }),
            _ => {}
        }
        next = range.to;
        before = Some(range);
    }
    if next < BUCKETS { Err(RolloutError::Gap { from: next, to: BUCKETS }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> VariantName {
        VariantName::new(text).unwrap()
    }

    fn rollout(ranges: &[(&str, u32, u32)]) -> Result<Rollout, RolloutError> {
        let ranges =
            ranges.iter().map(|(variant, from, to)| VariantRange { variant: name(variant), from: *from, to: *to });
        Rollout::new(Algorithm::NEWEST, "seed".to_owned(), AttributePath::targeting_key(), ranges.collect())
    }

    fn owners(rollout: &Rollout) -> Vec<VariantName> {
        let mut ranges: Vec<_> = rollout.ranges().to_vec();
        ranges.sort_by_key(|range| range.from);
        ranges.into_iter().flat_map(|range| (range.from..range.to).map(move |_| range.variant.clone())).collect()
    }

    #[test]
    fn ranges_must_cover_every_bucket_once() {
        assert!(rollout(&[("new", 0, 10), ("old", 10, BUCKETS)]).is_ok());
        assert!(matches!(rollout(&[]), Err(RolloutError::Gap { from: 0, to: BUCKETS })));
        assert!(matches!(rollout(&[("old", 1, BUCKETS)]), Err(RolloutError::Gap { from: 0, to: 1 })));
        assert!(matches!(rollout(&[("old", 0, 99_999)]), Err(RolloutError::Gap { from: 99_999, to: BUCKETS })));
        assert!(matches!(rollout(&[("old", 0, BUCKETS + 1)]), Err(RolloutError::BadRange { .. })));
        assert!(matches!(rollout(&[("old", 5, 5)]), Err(RolloutError::BadRange { .. })));
        let overlapping = rollout(&[("new", 0, 11), ("old", 10, BUCKETS)]);
        assert!(matches!(overlapping, Err(RolloutError::Overlap { bucket: 10, .. })));
    }

    #[test]
    fn a_ramp_reads_as_one_range() {
        let start = rollout(&[("old", 0, BUCKETS)]).unwrap();
        let ten = start.with_share(&name("new"), 10_000, &name("old")).unwrap();
        let twenty = ten.with_share(&name("new"), 20_000, &name("old")).unwrap();
        assert_eq!(twenty, rollout(&[("new", 0, 20_000), ("old", 20_000, BUCKETS)]).unwrap());
        assert_eq!(twenty.with_share(&name("new"), 10_000, &name("old")).unwrap(), ten);
        assert_eq!(twenty.with_share(&name("new"), 0, &name("old")).unwrap(), start);
    }

    #[test]
    fn what_is_not_there_cannot_be_taken() {
        let start = rollout(&[("new", 0, 10), ("old", 10, BUCKETS)]).unwrap();
        assert!(matches!(start.grown(&name("old"), 11, &name("new")), Err(RolloutError::DonorTooSmall { .. })));
        assert!(matches!(start.shrunk(&name("new"), 11, &name("old")), Err(RolloutError::TooSmall { .. })));
        assert!(matches!(start.grown(&name("new"), 1, &name("new")), Err(RolloutError::OwnDonor(_))));
        assert!(matches!(start.grown(&name("new"), u32::MAX, &name("old")), Err(RolloutError::DonorTooSmall { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn only_the_donors_buckets_move_and_they_come_back(
            steps in prop::collection::vec((0_usize..3, 0_usize..3, 0_u32..BUCKETS), 1..12),
        ) {
            let names = [name("a"), name("b"), name("c")];
            let mut current = rollout(&[("a", 0, 20_000), ("b", 20_000, 70_000), ("c", 70_000, BUCKETS)]).unwrap();
            for (variant, donor, count) in steps {
                let (variant, donor) = (&names[variant], &names[donor]);
                let Ok(grown) = current.grown(variant, count, donor) else { continue };
                let moved = owners(&current).into_iter().zip(owners(&grown)).filter(|(before, after)| before != after);
                let mut moves = 0;
                for (before, after) in moved {
                    prop_assert_eq!((&before, &after), (donor, variant));
                    moves += 1;
                }
                prop_assert_eq!(moves, count);
                prop_assert_eq!(&grown.shrunk(variant, count, donor).unwrap(), &current);
                check_cover(grown.ranges()).unwrap();
                current = grown;
            }
        }
    }
}
