//! Growing and shrinking over many steps, donors and variants: who moves, and that everybody comes back.

use changeover::flags::{BUCKETS, Context, Evaluation, Flag, Snapshot};
use changeover::primitives::{Instant, VariantName};
use proptest::prelude::*;
use serde_json::json;

use super::arbitrary::snapshot;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn name(at: usize) -> VariantName {
    VariantName::new(NAMES[at]).unwrap()
}

fn flag(shares: [u32; 3]) -> Flag {
    let mut ends: Vec<u32> = shares.to_vec();
    ends.sort_unstable();
    let mut ranges = Vec::new();
    let mut from = 0;
    for (variant, to) in NAMES.iter().zip(ends.into_iter().chain([BUCKETS])) {
        if to > from {
            ranges.push(json!({"variant": variant, "from": from, "to": to}));
            from = to;
        }
    }
    let flag = json!({"key": "split", "type": "integer", "variants": {"a": 0, "b": 1, "c": 2, "d": 3}, "default_variant": "a",
                      "off_variant": "a", "rules": [{"serve": {"rollout": {"ranges": ranges}}}]});
    Flag::parse(&flag.to_string()).unwrap()
}

/// The variants of 120 users.
fn users(flag: &Flag) -> Vec<VariantName> {
    let snapshot: Snapshot = snapshot(vec![flag.clone()], &json!([]));
    let now = Instant::from_micros(0);
    let served = (0..120).map(|user| match snapshot.evaluate("split", &Context::of(&format!("user-{user}")), now) {
        Evaluation::Served(served) => served.variant.name.clone(),
        Evaluation::Failed(failure) => panic!("{failure}"),
    });
    served.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn each_step_moves_only_between_a_variant_and_its_donor_and_undoing_all_brings_everybody_back(
        first in [1..BUCKETS, 1..BUCKETS, 1..BUCKETS],
        steps in prop::collection::vec((0_usize..4, 0_usize..4, 0..BUCKETS), 1..16),
    ) {
        let first = flag(first);
        let mut done: Vec<(Flag, usize, usize, u32)> = Vec::new();
        let mut current = first.clone();
        for (variant, donor, count) in steps {
            let (grown, by) = (name(variant), name(donor));
            let changelog = current.clone();
            let share = share_of(&current, &grown).saturating_add(count);
            let Ok(next) = current.clone().with_share(0, &grown, share, Some(&by)) else { continue };
            for (was, is) in users(&current).into_iter().zip(users(&next)) {
                prop_assert!(was == is || (was == by && is == grown), "{} to {}", was, is);
            }
            done.push((changelog, variant, donor, count));
            current = next;
        }
        for (before, variant, donor, count) in done.into_iter().rev() {
            let grown = name(variant);
            let share = share_of(&current, &grown) - count;
            current = current.with_share(0, &grown, share, Some(&name(donor))).unwrap();
            prop_assert_eq!(&current, &before);
        }
        prop_assert_eq!(users(&current), users(&first));
        prop_assert_eq!(current, first);
    }
}

fn share_of(flag: &Flag, variant: &VariantName) -> u32 {
    match &flag.rules()[0].serve {
        changeover::flags::Serve::Rollout(rollout) => rollout.share(variant),
        other => panic!("{other:?}"),
    }
}
