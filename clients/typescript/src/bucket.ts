// The server's bucket rule (`murmur3_32-100000`), for code that divides by itself as a rollout does.

const encoder = new TextEncoder();

/** Which of the 100,000 buckets a value is in. A rollout's seed is the flag's key unless the rule says another. */
export function bucket(seed: string, value: string): number {
  return Math.floor((murmur3(encoder.encode(`${seed}\0${value}`)) * 100_000) / 2 ** 32);
}

/** Austin Appleby's MurmurHash3_x86_32 with seed 0. */
function murmur3(data: Uint8Array): number {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const whole = data.length & ~3;
  let state = 0;
  for (let at = 0; at < whole; at += 4) {
    state ^= mixed(view.getUint32(at, true));
    state = (state << 13) | (state >>> 19);
    state = (Math.imul(state, 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  for (let at = data.length - 1; at >= whole; at--) tail = (tail << 8) | view.getUint8(at);
  if (whole < data.length) state ^= mixed(tail);
  state ^= data.length;
  state = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35);
  return (state ^ (state >>> 16)) >>> 0;
}

function mixed(block: number): number {
  const once = Math.imul(block, 0xcc9e2d51);
  return Math.imul((once << 15) | (once >>> 17), 0x1b873593);
}
