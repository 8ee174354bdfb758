//! From a value to its bucket. Frozen: `tests/corpus/v1/buckets.json` holds vectors made by another implementation.

use std::fmt;
use std::str::FromStr;

/// How many buckets a rollout divides: one is 0.001 %.
pub const BUCKETS: u32 = 100_000;

/// How a value becomes a bucket. Its id is stored in each rollout and never changes its meaning: another way of hashing is
/// another arm, because re-hashing in place moves nearly everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `(murmur3_32(seed ∥ 0x00 ∥ value) as u64 × 100 000) >> 32`, the hash's own seed being 0.
    Murmur3Buckets100k,
}

impl Algorithm {
    /// What a rollout gets that does not say.
    pub const NEWEST: Self = Self::Murmur3Buckets100k;

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Murmur3Buckets100k => "murmur3_32-100000",
        }
    }

    /// The bucket of `value`, from 0 to 99,999.
    #[must_use]
    pub fn bucket(self, seed: &str, value: &str) -> u32 {
        match self {
            Self::Murmur3Buckets100k => {
                let hash = hash_of(seed, value);
                u32::try_from((u64::from(hash) * u64::from(BUCKETS)) >> 32).unwrap_or_default()
            }
        }
    }
}

/// What fits here is hashed without allocating: nearly every seed and id.
const INPUT_BYTES: usize = 128;

/// `murmur3_32(seed ∥ 0x00 ∥ value)`.
fn hash_of(seed: &str, value: &str) -> u32 {
    let mut buffer = [0_u8; INPUT_BYTES];
    let (seed, value) = (seed.as_bytes(), value.as_bytes());
    if let Some((before, rest)) = buffer.split_at_mut_checked(seed.len())
        && let Some((_, rest)) = rest.split_first_mut()
        && let Some(after) = rest.get_mut(..value.len())
    {
        before.copy_from_slice(seed);
        after.copy_from_slice(value);
        return murmur3_32(buffer.get(..seed.len() + 1 + value.len()).unwrap_or_default());
    }
    murmur3_32(&[seed, &[0], value].concat())
}

/// The hash of bytes, its own seed being 0. (Crate `murmur3` reads from a reader, which costs more than the hash.)
fn murmur3_32(bytes: &[u8]) -> u32 {
    let scramble = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (blocks, rest) = bytes.as_chunks::<4>();
    let mut state = blocks.iter().fold(0_u32, |state, block| {
        (state ^ scramble(u32::from_le_bytes(*block))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    });
    let last = rest.iter().rev().fold(0_u32, |last, byte| last << 8 | u32::from(*byte));
    state ^= scramble(last);
    state ^= u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    state = (state ^ state >> 16).wrapping_mul(0x85eb_ca6b);
    state = (state ^ state >> 13).wrapping_mul(0xc2b2_ae35);
    state ^ state >> 16
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the id of an algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a known algorithm: write murmur3_32-100000, or leave it out")]
pub struct UnknownAlgorithm(String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        match text {
            "murmur3_32-100000" => Ok(Self::Murmur3Buckets100k),
            _ => Err(UnknownAlgorithm(text.chars().take(60).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Vector {
        seed: String,
        value: String,
        bucket: u32,
    }

    #[test]
    fn buckets_are_those_of_the_frozen_vectors() {
        let vectors: Vec<Vector> = serde_json::from_str(include_str!("../../tests/corpus/v1/buckets.json")).unwrap();
        assert!(vectors.len() > 500);
        for Vector { seed, value, bucket } in vectors {
            assert_eq!(Algorithm::Murmur3Buckets100k.bucket(&seed, &value), bucket, "{seed:?} {value:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_hash_is_that_of_another_implementation(seed in "\\PC{0,90}", value in "\\PC{0,90}") {
            let input = [seed.as_bytes(), &[0], value.as_bytes()].concat();
            let expected = murmur3::murmur3_32(&mut input.as_slice(), 0).unwrap();
            proptest::prop_assert_eq!(hash_of(&seed, &value), expected);
        }
    }

    #[test]
    fn seed_and_value_do_not_run_into_each_other() {
        let bucket = |seed, value| Algorithm::NEWEST.bucket(seed, value);
        assert_ne!(bucket("ab", "c"), bucket("a", "bc"));
    }
}
