# frozen_string_literal: true

module Changeover
  # What a flag came to, and why. `error` is nil, or why the value is the default: FLAG_NOT_FOUND, TYPE_MISMATCH,
  # PROVIDER_NOT_READY (no answer and nothing known), or the server's error code.
  Details = Struct.new(:key, :value, :variant, :reason, :error, :message, :metadata, :stale, keyword_init: true)

  # One context's answers for all flags, as the server gave them.
  class Answers
    attr_reader :flags, :etag, :epoch, :at

    # @param flags [Hash{String => Hash}] by key
    def initialize(flags, etag:, epoch:, at:)
      @flags = flags
      @etag = etag
      @epoch = epoch
      @at = at
    end

    def self.parse(document, **rest)
      list = document.is_a?(Hash) && document["flags"]
      raise Malformed, "the server's answer for all flags has no list of flags" unless list.is_a?(Array)

      new(list.select { |flag| flag.is_a?(Hash) && flag["key"].is_a?(String) }.to_h { |flag| [flag["key"].freeze, flag.freeze] }.freeze, **rest)
    end

    def renewed(epoch:, at:)
      Answers.new(@flags, etag: @etag, epoch: epoch, at: at)
    end
  end

  # The answers of the contexts that were asked for last: at most so many. Not synchronized.
  class RecentAnswers
    def initialize(limit)
      @limit = limit
      @entries = {}
    end

    def [](context)
      kept = @entries[context] or return nil
      unless @last.equal?(kept)
        @entries.delete(context)
        @entries[kept.first] = @last = kept
      end
      kept.last
    end

    def []=(context, answers)
      @entries.delete(context)
      key = frozen(context)
      @entries[key] = @last = [key, answers].freeze
      @entries.shift while @entries.size > @limit
    end

    def size
      @entries.size
    end

    # The contexts asked for last, the last one first.
    def newest(count)
      @entries.keys.last(count).reverse
    end

    def to_a
      @entries.values
    end

    private

    # The caller may change his own later.
    def frozen(value)
      return value if value.frozen? && !value.is_a?(Enumerable)

      case value
      when Hash then value.to_h { |key, inner| [frozen(key), frozen(inner)] }.freeze
      when Array then value.map { |inner| frozen(inner) }.freeze
      when String then value.dup.freeze
      else value
      end
    end
  end
end
