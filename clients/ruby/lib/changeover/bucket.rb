# frozen_string_literal: true

module Changeover
  # The server's bucket rule, for code that divides by itself: murmur3_32-100000.
  module Bucket
    MASK = 0xffffffff

    module_function

    # 0 to 99,999.
    def of(seed, value)
      (murmur3("#{seed}\0#{value}".encode(Encoding::UTF_8).b) * 100_000) >> 32
    end

    def murmur3(bytes, hash = 0)
      blocks = bytes.unpack("V*")
      blocks.each { |block| hash = (rotated(hash ^ mixed(block), 13) * 5 + 0xe6546b64) & MASK }
      tail = bytes.byteslice(blocks.size * 4..).bytes
      hash ^= mixed(tail.each.with_index.sum { |byte, index| byte << (8 * index) }) unless tail.empty?
      hash ^= bytes.bytesize
      hash = ((hash ^ (hash >> 16)) * 0x85ebca6b) & MASK
      hash = ((hash ^ (hash >> 13)) * 0xc2b2ae35) & MASK
      hash ^ (hash >> 16)
    end

    def mixed(block)
      (rotated((block * 0xcc9e2d51) & MASK, 15) * 0x1b873593) & MASK
    end

    def rotated(number, bits)
      ((number << bits) | (number >> (32 - bits))) & MASK
    end
  end
end
