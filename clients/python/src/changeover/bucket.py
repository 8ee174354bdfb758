"""The server's bucket rule (`murmur3_32-100000`), for code that divides by itself as a rollout does."""

from __future__ import annotations

_MASK = 0xFFFFFFFF


def bucket(seed: str, value: str) -> int:
    """Which of the 100,000 buckets a value is in. A rollout's seed is the flag's key unless the rule says another."""
    return _murmur3_32(seed.encode() + b"\0" + value.encode()) * 100_000 >> 32


def _murmur3_32(data: bytes) -> int:
    """Austin Appleby's MurmurHash3_x86_32 with seed 0."""
    state = 0
    tail = len(data) & 3
    for at in range(0, len(data) - tail, 4):
        state ^= _mixed(int.from_bytes(data[at : at + 4], "little"))
        state = (state << 13 | state >> 19) & _MASK
        state = (state * 5 + 0xE6546B64) & _MASK
    if tail:
        state ^= _mixed(int.from_bytes(data[-tail:], "little"))
    state ^= len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & _MASK
    state = (state ^ state >> 13) * 0xC2B2AE35 & _MASK
    return state ^ state >> 16


def _mixed(block: int) -> int:
    block = block * 0xCC9E2D51 & _MASK
    return (block << 15 | block >> 17) * 0x1B873593 & _MASK
