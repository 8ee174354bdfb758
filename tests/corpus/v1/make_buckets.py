"""An independent implementation of the bucket rule, in plain Python: `python3 make_buckets.py > buckets.json`.

The vectors are frozen: this is here to show where they came from, not to be run again over a published file.
"""

import json


def murmur3_32(data: bytes, seed: int = 0) -> int:
    def rotate(value: int, by: int) -> int:
        return ((value << by) | (value >> (32 - by))) & 0xFFFFFFFF

    def scramble(block: int) -> int:
        return rotate(block * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF

    state = seed
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        state = rotate(state ^ scramble(int.from_bytes(data[at : at + 4], "little")), 13)
        state = (state * 5 + 0xE6546B64) & 0xFFFFFFFF
    if whole < len(data):
        state ^= scramble(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    state = (state ^ state >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return state ^ state >> 16


def bucket(seed: str, value: str) -> int:
    return murmur3_32(seed.encode() + b"\0" + value.encode()) * 100_000 >> 32


def main() -> None:
    # Published vectors of the hash itself, so that a mistake here can't become golden.
    assert murmur3_32(b"") == 0
    assert murmur3_32(b"", 1) == 0x514E28B7
    assert murmur3_32(b"test") == 0xBA6BD213
    assert murmur3_32(b"Hello, world!") == 0xC0363E43
    assert murmur3_32(b"The quick brown fox jumps over the lazy dog") == 0x2E4FF723

    seeds = ["billing-allocation", "", "a", "ab", "Zürich", "x" * 64]
    values = [str(number) for number in range(60)]
    values += ["", "a", "ab", "abc", "abcd", "abcde", "user-1@example.com", "Ünïcödé", "日本語", "🦀", " ", "a\0b", "\n"]
    values += ["550e8400-e29b-41d4-a716-446655440000", "18446744073709551615", "y" * 300]
    vectors = [
        {"seed": seed, "value": value, "bucket": bucket(seed, value)} for seed in seeds for value in values
    ]
    vectors += [
        {"seed": "new-checkout", "value": f"user-{number}", "bucket": bucket("new-checkout", f"user-{number}")}
        for number in range(200)
    ]
    print("[\n" + ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in vectors) + "\n]")


if __name__ == "__main__":
    main()
