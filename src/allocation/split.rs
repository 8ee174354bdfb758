//! Dividing an amount over rows by weight: largest remainder on integers, exact to the unit. The same rule stands in SQL
//! (`sql`'s generated refreshes); a property test holds the two together.

use std::cmp::Reverse;

/// What one row has to say about its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How much of the amount the row takes, in proportion to the other rows' weights. At least 0.
    pub weight: i64,
    /// True for the rows that come first where remainders tie.
    pub first: bool,
}

/// Why an amount cannot be divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    #[error("row {row} has the weight {weight}: a weight is an integer of at least 0")]
    NegativeWeight {
        /// From 0, in the order given.
        row: usize,
        weight: i64,
    },
    #[error("there is no row to divide the amount over: the query returned none for this key")]
    NoRows,
    #[error("a part does not fit into 64 bits")]
    Overflow,
}

/// Divides `amount` over `shares`, which stand in the order of their ids, and returns one part for each row.
///
/// The size of the amount is divided and its sign restored, so that a refund mirrors its charge unit for unit. Each row gets its
/// weight's part rounded down; the units that are left over go one each to the largest remainders, where those tie to the rows
/// marked `first`, then by position. Where all weights are 0 the rows weigh the same. A row whose part is 0 is kept.
///
/// The parts always sum to `amount`, and each is less than one unit away from its exact part.
///
/// ```
/// use changeover::allocation::{Share, split};
///
/// let member = Share { weight: 1, first: false };
/// let uploader = Share { first: true, ..member };
/// assert_eq!(split(1000, &[member, uploader, member]), Ok(vec![333, 334, 333]));
/// assert_eq!(split(-1000, &[member, uploader, member]), Ok(vec![-333, -334, -333]));
/// ```
///
/// # Errors
/// A negative weight, and no rows at all.
pub fn split(amount: i64, shares: &[Share]) -> Result<Vec<i64>, SplitError> {
    if shares.is_empty() {
        return Err(SplitError::NoRows);
    }
    if let Some((row, share)) = shares.iter().enumerate().find(|(_, share)| share.weight < 0) {
        return Err(SplitError::NegativeWeight { row, weight: share.weight });
    }
    // An amount's size and a weight have at most 64 bits each, so their product fits into 128.
    let size = i128::from(amount).abs();
    let all_zero = shares.iter().all(|share| share.weight == 0);
    let weight_of = |share: &Share| if all_zero { 1 } else { i128::from(share.weight) };
    let total: i128 = shares.iter().map(weight_of).sum();

    let mut rows: Vec<Row> = shares
        .iter()
        .enumerate()
        .map(|(position, share)| {
            let product = size * weight_of(share);
            Row { position, first: share.first, part: product / total, remainder: product % total }
        })
        .collect();
    let mut left_over = size - rows.iter().map(|row| row.part).sum::<i128>();

    rows.sort_unstable_by_key(|row| (Reverse(row.remainder), Reverse(row.first), row.position));
    for row in &mut rows {
        if left_over == 0 {
            break;
        }
        row.part += 1;
        left_over -= 1;
    }
    rows.sort_unstable_by_key(|row| row.position);
    rows.into_iter()
        .map(|row| i64::try_from(row.part * i128::from(amount.signum())).map_err(|_| SplitError::Overflow))
        .collect()
}

/// A row while its part is being worked out.
struct Row {
    position: usize,
    first: bool,
    /// Rounded down, at first.
    part: i128,
    remainder: i128,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(weights: &[i64], first: usize) -> Vec<Share> {
        weights.iter().enumerate().map(|(row, &weight)| Share { weight, first: row == first }).collect()
    }

    #[test]
    fn a_thousand_over_three_favours_the_first() {
        assert_eq!(split(1000, &shares(&[1, 1, 1], 0)).unwrap(), [334, 333, 333]);
        assert_eq!(split(1000, &shares(&[1, 1, 1], 2)).unwrap(), [333, 333, 334]);
        assert_eq!(split(-1000, &shares(&[1, 1, 1], 2)).unwrap(), [-333, -333, -334]);
        assert_eq!(split(0, &shares(&[1, 1, 1], 0)).unwrap(), [0, 0, 0]);
        assert_eq!(split(1, &shares(&[1, 1, 1], 1)).unwrap(), [0, 1, 0]);
        assert_eq!(split(2, &shares(&[1, 1, 1], 1)).unwrap(), [1, 1, 0], "then by id in ascending order");
    }

    #[test]
    fn the_largest_remainder_wins_before_the_first() {
        assert_eq!(split(100, &shares(&[2, 1], 1)).unwrap(), [67, 33]);
        assert_eq!(split(10, &shares(&[1, 1, 4], 0)).unwrap(), [2, 2, 6], "1.67, 1.67, 6.67: all remainders tie");
    }

    #[test]
    fn zero_weights_get_nothing_unless_all_are_zero() {
        assert_eq!(split(7, &shares(&[0, 3, 0], 0)).unwrap(), [0, 7, 0]);
        assert_eq!(split(7, &shares(&[0, 0, 0], 1)).unwrap(), [2, 3, 2]);
    }

    #[test]
    fn the_ends_of_the_range_are_divided_exactly() {
        let all = shares(&[i64::MAX, i64::MAX, i64::MAX], 0);
        for amount in [i64::MAX, i64::MIN, i64::MIN + 1] {
            let sum: i128 = split(amount, &all).unwrap().into_iter().map(i128::from).sum();
            assert_eq!(sum, i128::from(amount));
        }
        assert_eq!(split(i64::MIN, &shares(&[1], 0)).unwrap(), [i64::MIN]);
    }

    #[test]
    fn what_cannot_be_divided_is_refused() {
        assert_eq!(split(5, &[]), Err(SplitError::NoRows));
        assert_eq!(split(5, &shares(&[1, -1], 0)), Err(SplitError::NegativeWeight { row: 1, weight: -1 }));
    }
}
