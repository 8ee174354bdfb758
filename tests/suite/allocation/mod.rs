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
