//! Random numbers from the standard library's own randomness. Good for jitter, samples and unique ids; not for secrets.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::fmt::Write;
use std::hash::BuildHasher;
use std::time::Duration;

thread_local! {
    // The system's randomness keys this hash, and what it makes of a counter is random to whoever has no key.
    static SOURCE: (RandomState, Cell<u64>) = (RandomState::new(), const { Cell::new(0) });
}

fn bits() -> u64 {
    SOURCE.with(|(keyed, counter)| {
        counter.set(counter.get().wrapping_add(1));
        keyed.hash_one(counter.get())
    })
}

/// From 0, below 1.
pub(crate) fn random() -> f64 {
    let high = u32::try_from(bits() >> 32).unwrap_or_default();
    f64::from(high) / (f64::from(u32::MAX) + 1.0)
}

pub(crate) fn between(least: f64, most: f64) -> f64 {
    least + (most - least) * random()
}

/// Any time up to `base` × 2ⁿ seconds: clients that failed together do not come back together.
pub(crate) fn jitter(base: f64, attempt: u32, most: f64) -> f64 {
    between(0.0, most.min(base * f64::from(1u32 << attempt.min(30))))
}

/// As a duration, whatever the seconds are.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

/// 32 hexadecimal digits.
pub(crate) fn unique_id() -> String {
    format!("{:016x}{:016x}", bits(), bits())
}

/// A random UUID (version 4).
pub(crate) fn uuid() -> String {
    let (high, low) = (bits(), bits());
    let mut text = String::with_capacity(36);
    let (first, second) = (high >> 32, (high >> 16) & 0xffff);
    let (third, fourth) = ((high & 0x0fff) | 0x4000, ((low >> 48) & 0x3fff) | 0x8000);
    let _ = write!(text, "{first:08x}-{second:04x}-{third:04x}-{fourth:04x}-{:012x}", low & 0xffff_ffff_ffff);
    text
}
