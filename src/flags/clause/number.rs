//! Numbers that compare exactly, whole ones and fractions with one another.

use std::cmp::Ordering;

use serde_json::Number;

/// From here on a float no longer tells whole numbers apart.
const EXACT_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

/// A number that compares exactly. A fraction has something behind its point, so it is never equal to a whole number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Numeric {
    Whole(i128),
    Fraction { floor: i128, float: f64 },
}

impl Numeric {
    /// Nothing for a float so large that it stands for several numbers.
    pub(super) fn exact(number: &Number) -> Option<Self> {
        if let Some(whole) = number.as_i64() {
            return Some(Self::Whole(i128::from(whole)));
        }
        if let Some(whole) = number.as_u64() {
            return Some(Self::Whole(i128::from(whole)));
        }
        let float = number.as_f64().filter(|float| float.abs() < EXACT_FLOAT_MAX)?;
        let floor = whole(float.floor())?;
        Some(if float.fract() == 0.0 { Self::Whole(floor) } else { Self::Fraction { floor, float } })
    }

    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        Some(match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => one.cmp(&other),
            (Self::Fraction { float: one, .. }, Self::Fraction { float: other, .. }) => one.partial_cmp(&other)?,
            (Self::Whole(whole), Self::Fraction { floor, .. }) => compare_whole(whole, floor),
            (Self::Fraction { floor, .. }, Self::Whole(whole)) => compare_whole(whole, floor).reverse(),
        })
    }
}

/// A whole number against a fraction, of which it is enough to know the whole number below it.
fn compare_whole(whole: i128, floor: i128) -> Ordering {
    if whole <= floor { Ordering::Less } else { Ordering::Greater }
}

fn whole(float: f64) -> Option<i128> {
    #[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "a whole number of at most 53 bits")]
    let whole = float as i128;
    (float.abs() < EXACT_FLOAT_MAX).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn exact(value: &Value) -> Option<Numeric> {
        Numeric::exact(value.as_number().unwrap())
    }

    fn compare(one: &Value, other: &Value) -> Option<Ordering> {
        exact(one)?.compare(exact(other)?)
    }

    #[test]
    fn numbers_compare_by_value() {
        use Ordering::{Equal, Greater, Less};
        for (one, other, expected) in [
            (json!(1), json!(1.0), Some(Equal)),
            (json!(0), json!(-0.0), Some(Equal)),
            (json!(0.5), json!(0.5), Some(Equal)),
            (json!(-1), json!(-0.5), Some(Less)),
            (json!(-0.5), json!(0), Some(Less)),
            (json!(1.5), json!(1), Some(Greater)),
            (json!(2), json!(1.5), Some(Greater)),
            (json!(u64::MAX), json!(u64::MAX), Some(Equal)),
            (json!(i64::MIN), json!(u64::MAX), Some(Less)),
            (json!(u64::MAX), json!(0.1), Some(Greater)),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992_i64), Some(Greater)),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_991.0), Some(Greater)),
            (json!(1), json!(1e17), None),
            (json!(1), json!(-1e300), None),
        ] {
            assert_eq!(compare(&one, &other), expected, "{one} {other}");
            assert_eq!(compare(&other, &one), expected.map(Ordering::reverse), "{other} {one}");
        }
    }

    proptest! {
        #[test]
        fn halves_compare_as_their_doubles(one in -4_000_000_000_000_000_i64..4_000_000_000_000_000, other: i64, near in -3_i64..3) {
            // Halves of at most 52 bits are exact; a whole number is the half of its double.
            #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "at most 52 bits")]
            let half = |doubled: i64| json!(doubled as f64 / 2.0);
            let whole = if other % 2 == 0 { one / 2 + near } else { other };
            prop_assert_eq!(compare(&half(one), &json!(whole)), Some(i128::from(one).cmp(&(i128::from(whole) * 2))));
            prop_assert_eq!(compare(&half(one), &half(one + near)), Some(one.cmp(&(one + near))));
        }
    }
}
