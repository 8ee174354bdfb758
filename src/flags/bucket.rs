//! From a value to its bucket. Frozen: `tests/corpus/v1/buckets.json` holds vectors made by another implementation.

use std::fmt;
use std::io::Read;
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
                let mut input = seed.as_bytes().chain([0_u8].as_slice()).chain(value.as_bytes());
                // Reading from memory can't fail.
                let hash = murmur3::murmur3_32(&mut input, 0).unwrap_or_default();
                u32::try_from((u64::from(hash) * u64::from(BUCKETS)) >> 32).unwrap_or_default()
            }
        }
    }
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

    #[test]
    fn seed_and_value_do_not_run_into_each_other() {
        let bucket = |seed, value| Algorithm::NEWEST.bucket(seed, value);
        assert_ne!(bucket("ab", "c"), bucket("a", "bc"));
    }
}
