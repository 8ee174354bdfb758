//! The server's bucket rule (`murmur3_32-100000`), for code that divides by itself as a rollout does.

/// Which of the 100,000 buckets a value is in. A rollout's seed is the flag's key unless the rule says another.
///
/// ```
/// assert!(changeover_client::bucket("new-player", "42") < 100_000);
/// ```
pub fn bucket(seed: &str, value: &str) -> u32 {
    let hash = murmur3_32(&[seed.as_bytes(), b"\0", value.as_bytes()].concat());
    u32::try_from((u64::from(hash) * 100_000) >> 32).unwrap_or_default()
}

/// Austin Appleby's `MurmurHash3_x86_32` with seed 0.
fn murmur3_32(data: &[u8]) -> u32 {
    let mut state = 0u32;
    let mut blocks = data.chunks_exact(4);
    for block in &mut blocks {
        state ^= mixed(block);
        state = state.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !blocks.remainder().is_empty() {
        state ^= mixed(blocks.remainder());
    }
    state ^= u32::try_from(data.len()).unwrap_or(u32::MAX);
    state = (state ^ (state >> 16)).wrapping_mul(0x85eb_ca6b);
    state = (state ^ (state >> 13)).wrapping_mul(0xc2b2_ae35);
    state ^ (state >> 16)
}

fn mixed(block: &[u8]) -> u32 {
    let little_endian = block.iter().rev().fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
    little_endian.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}
