# frozen_string_literal: true

module Changeover
  # What a flag came to, and why. `error` is nil, or why the value is the default, such as FLAG_NOT_FOUND.
  Details = Struct.new(:key, :value, :variant, :reason, :error, :message, :metadata, keyword_init: true) do
    def error?
      !error.nil?
    end
  end

  # One context's answers for all flags, as the server gave them; and when they were asked for and used.
  class Answers
    attr_reader :list, :flags, :etag, :epoch, :at, :bytes
    attr_accessor :used

    # @param list [Array<Hash>] items as in the server's answer
    # @param epoch [Integer] how many notices there had been when they were asked for; -1: they come from disk
    def initialize(list, etag:, epoch:, at:, bytes:)
      @list = list
      @flags = list.select { |item| item.is_a?(Hash) }.to_h { |item| [item["key"], item] }.freeze
      @etag = etag
      @epoch = epoch
      @at = @used = at
      @bytes = bytes
    end

    def from_disk?
      @epoch.negative?
    end

    def renewed(epoch:, at:)
      Answers.new(@list, etag: @etag, epoch: epoch, at: at, bytes: @bytes)
    end
  end

  # The answers of the contexts that were asked for last: at most so many, and so many bytes. Not synchronized.
  class RecentAnswers
    BYTES_MAX = 32 * 1024 * 1024

    attr_reader :bytes

    def initialize(limit)
      @limit = limit
      @entries = {}
      @bytes = 0
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
      remove(context)
      key = frozen(context)
      @entries[key] = @last = [key, answers].freeze
      @bytes += answers.bytes
      remove(@entries.first.first) while @entries.size > @limit || (@bytes > BYTES_MAX && @entries.size > 1)
    end

    def size
      @entries.size
    end

    # Contexts with their answers, the last used last.
    def to_a
      @entries.values
    end

    private

    def remove(context)
      gone = @entries.delete(context)
      @bytes -= gone.last.bytes if gone
    end

    # The caller may change his own later.
    def frozen(value)
      case value
      when Hash then value.to_h { |key, inner| [frozen(key), frozen(inner)] }.freeze
      when Array then value.map { |inner| frozen(inner) }.freeze
      when String then value.frozen? ? value : value.dup.freeze
      else value
      end
    end
  end
end
