//! Properties of dividing an amount.

use changeover::allocation::{Share, split};
use proptest::prelude::*;

fn shares() -> impl Strategy<Value = Vec<Share>> {
    let weight =
        prop_oneof![Just(0i64), 1i64..10, 0i64..1_000_000, Just(i64::MAX), any::<i64>().prop_map(|w| w & i64::MAX)];
    prop::collection::vec((weight, any::<bool>()).prop_map(|(weight, first)| Share { weight, first }), 1..40)
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![-10i64..10, -1_000_000i64..1_000_000, any::<i64>(), Just(i64::MAX), Just(i64::MIN)]
}

proptest! {
    #[test]
    fn parts_sum_to_the_amount_and_share_its_sign(amount in amount(), shares in shares()) {
        let parts = split(amount, &shares).unwrap();
        prop_assert_eq!(parts.len(), shares.len());
        prop_assert_eq!(parts.iter().map(|&part| i128::from(part)).sum::<i128>(), i128::from(amount));
        prop_assert!(parts.iter().all(|part| part.signum() == 0 || part.signum() == amount.signum()));
    }

    /// |part × total − amount × weight| < total: no row is a whole unit away from its exact part.
    #[test]
    fn each_part_is_within_one_unit_of_the_exact_one(amount in -1_000_000_000_000i64..1_000_000_000_000, shares in shares()) {
        let all_zero = shares.iter().all(|share| share.weight == 0);
        let weights: Vec<i128> = shares.iter().map(|s| if all_zero { 1 } else { i128::from(s.weight) }).collect();
        let total: i128 = weights.iter().sum();
        for (part, weight) in split(amount, &shares).unwrap().into_iter().zip(weights) {
            prop_assert!((i128::from(part) * total - i128::from(amount) * weight).abs() < total);
        }
    }

    #[test]
    fn a_refund_mirrors_its_charge_unit_for_unit(amount in 0..=i64::MAX, shares in shares()) {
        let charge = split(amount, &shares).unwrap();
        let refund = split(-amount, &shares).unwrap();
        prop_assert!(charge.iter().zip(&refund).all(|(charge, refund)| *charge == -*refund));
    }

    /// The rule in other words: a row gets the exact part rounded down, and one unit more if fewer rows than there are units left come
    /// before it, by what rounding took from them, then by `first`, then by place.
    #[test]
    fn each_row_gets_what_the_rule_says(amount in amount(), shares in shares()) {
        let all_zero = shares.iter().all(|share| share.weight == 0);
        let weights: Vec<i128> = shares.iter().map(|s| if all_zero { 1 } else { i128::from(s.weight) }).collect();
        let (size, total) = (i128::from(amount).abs(), weights.iter().sum::<i128>());
        let lost = |row: usize| size * weights[row] % total;
        let left = size - weights.iter().map(|weight| size * weight / total).sum::<i128>();
        let comes_before = |one: usize, other: usize| {
            if lost(one) != lost(other) {
                lost(one) > lost(other)
            } else if shares[one].first != shares[other].first {
                shares[one].first
            } else {
                one < other
            }
        };
        for (row, part) in split(amount, &shares).unwrap().into_iter().enumerate() {
            let before = (0..shares.len()).filter(|other| comes_before(*other, row)).count() as i128;
            let exact = size * weights[row] / total + i128::from(before < left);
            prop_assert_eq!(i128::from(part), exact * i128::from(amount.signum()));
        }
    }

    /// Fair: who weighs more never gets less in size, and who weighs nothing gets nothing unless nobody weighs anything.
    #[test]
    fn a_larger_weight_never_gets_less(amount in amount(), shares in shares()) {
        let parts = split(amount, &shares).unwrap();
        for (one, share) in shares.iter().enumerate() {
            for (other, lighter) in shares.iter().enumerate() {
                if share.weight > lighter.weight {
                    prop_assert!(parts[one].unsigned_abs() >= parts[other].unsigned_abs());
                    prop_assert!(lighter.weight > 0 || parts[other] == 0);
                }
            }
        }
    }

    /// Where the rows stand decides ties and nothing else: in any order, each weight's parts are the same to the unit.
    #[test]
    fn the_order_of_rows_decides_ties_alone(amount in amount(), shares in shares(), turn in any::<prop::sample::Index>()) {
        let sorted = |shares: &[Share]| {
            let mut parts: Vec<(i64, i64)> =
                shares.iter().map(|share| share.weight).zip(split(amount, shares).unwrap()).collect();
            parts.sort_unstable();
            parts
        };
        let mut turned = shares.clone();
        turned.rotate_left(turn.index(shares.len()));
        let sums = |parts: &[(i64, i64)]| parts.iter().map(|(_, part)| i128::from(*part)).sum::<i128>();
        let (here, there) = (sorted(&shares), sorted(&turned));
        prop_assert_eq!(sums(&here), sums(&there));
        for ((weight, here), (same_weight, there)) in here.into_iter().zip(there) {
            prop_assert_eq!(weight, same_weight);
            prop_assert!((i128::from(here) - i128::from(there)).abs() <= 1);
        }
    }

    #[test]
    fn the_same_rows_are_divided_the_same_way(amount in amount(), shares in shares()) {
        prop_assert_eq!(split(amount, &shares), split(amount, &shares));
    }

    #[test]
    fn a_negative_weight_is_refused_and_never_panics(amount in any::<i64>(), weight in i64::MIN..0, mut shares in shares()) {
        shares.push(Share { weight, first: false });
        prop_assert!(split(amount, &shares).is_err());
    }
}
