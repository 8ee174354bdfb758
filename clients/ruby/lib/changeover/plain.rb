# frozen_string_literal: true

require "digest"
require "json"

module Changeover
  # Which values of Ruby are JSON. Keys and values that are symbols count as text.
  module Plain
    DEPTH_MAX = 32

    module_function

    def json?(value, depth = DEPTH_MAX)
      return false if depth.zero?

      case value
      when nil, true, false, Integer, Symbol then true
      when String then value.encoding == Encoding::UTF_8 ? value.valid_encoding? : value.encode(Encoding::UTF_8).valid_encoding?
      when Float then value.finite?
      when Array then value.all? { |inner| json?(inner, depth - 1) }
      when Hash then value.all? { |key, inner| (key.is_a?(String) || key.is_a?(Symbol)) && json?(inner, depth - 1) }
      else false
      end
    rescue EncodingError
      false
    end

    # The same for all that says the same, whatever the order of keys.
    def digest(value)
      Digest::SHA256.hexdigest(JSON.generate(sorted(value)))
    end

    def sorted(value)
      case value
      when Hash then value.map { |key, inner| [key.to_s, sorted(inner)] }.sort_by(&:first).to_h
      when Array then value.map { |inner| sorted(inner) }
      else value
      end
    end
  end
end
