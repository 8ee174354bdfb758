# frozen_string_literal: true

require "json"

module Changeover
  # Reads and writes two implementations under the stage that a string flag says for the context:
  #
  #   stage      read                     write
  #   off        old                      old
  #   dualwrite  old                      old, new
  #   shadow     both, old returned       old, new
  #   live       both, new returned       new, old
  #   rampdown   new                      new, old
  #   complete   new                      new
  #
  # The authoritative side's value is returned, its error raised; the other one can do neither.
  class Migrator
    STAGES = %w[off dualwrite shadow live rampdown complete].freeze
    READ = { "off" => %i[old], "dualwrite" => %i[old], "shadow" => %i[old new], "live" => %i[new old], "rampdown" => %i[new], "complete" => %i[new] }.freeze
    WRITE = { "off" => %i[old], "dualwrite" => %i[old new], "shadow" => %i[old new], "live" => %i[new old], "rampdown" => %i[new old],
              "complete" => %i[new] }.freeze
    ORDERS = %i[serial concurrent random].freeze
    CONCURRENT_MAX = 32
    # What the other side may raise without its caller noticing.
    CAUGHT = [StandardError, ScriptError, SystemStackError].freeze

    Outcome = Struct.new(:value, :error, :microseconds)

    # @param client [Client]
    # @param flag [String] the string flag whose values are the stages
    # @param old_read, new_read, old_write, new_write [#call] given what read or write is given after the context
    # @param compare [#call] (old value, new value) → whether they agree; without it the server compares them as JSON
    # @param ignore [#call] (old value, new value) → whether a difference does not count
    # @param clean [#call] value → what is posted of it
    # @param order [Symbol] :serial, :random or :concurrent (the other side in a thread that the caller does not wait for)
    # @param sample [Float] the share of reads of both sides of which both are read
    # @param change [String] post observations to this change instead of the flag
    def initialize(client, flag, old_read: nil, new_read: nil, old_write: nil, new_write: nil, compare: nil, ignore: nil, clean: nil,
                   order: :serial, sample: 1.0, default_stage: :off, change: nil, random: Random)
      raise ArgumentError, "order is #{order.inspect}: one of #{ORDERS.join(', ')}" unless ORDERS.include?(order)
      raise ArgumentError, "default_stage is #{default_stage.inspect}: one of #{STAGES.join(', ')}" unless STAGES.include?(default_stage.to_s)
      raise ArgumentError, "sample is #{sample.inspect}: 0.0 to 1.0" unless sample.is_a?(Numeric) && sample.between?(0, 1)

      @client = client
      @flag = flag.to_s
      @reads = { old: old_read, new: new_read }
      @writes = { old: old_write, new: new_write }
      @compare = compare
      @ignore = ignore
      @clean = clean
      @order = order
      @sample = sample
      @default = default_stage.to_s
      @path = change ? "/api/v1/changes/#{change}/observations" : "/api/v1/flags/#{@flag}/observations"
      @random = random
      @running = 0
      @lock = Mutex.new
    end

    # The stage for this context: what the flag says; if that is no stage, or unknown, what it last said; at first the default.
    def stage(context = nil)
      details = @client.details(@flag, nil, context, type: :string)
      if STAGES.include?(details.value)
        @client.flags.remember_stage(@flag, details.value)
        details.value
      else
        known = @client.flags.known_stage(@flag)
        STAGES.include?(known) ? known : @default
      end
    end

    # @param operation [String] what observations call it
    def read(context, *arguments, operation: "read")
      sides = READ.fetch(stage(context))
      return callable(@reads, sides.first, "read").call(*arguments) if sides.one? || !sampled?

      both(sides, operation, arguments)
    end

    # The authoritative side first. If it fails, the other one is not tried.
    def write(context, *arguments, operation: "write")
      first, second = WRITE.fetch(stage(context))
      return callable(@writes, first, "write").call(*arguments) unless second

      outcomes = { first => perform(@writes, first, "write", arguments) }
      raise outcomes[first].error if outcomes[first].error

      outcomes[second] = guarded(@writes, second, "write", arguments)
      observe(operation, outcomes, values: false)
      outcomes[first].value
    end

    private

    def both(sides, operation, arguments)
      return beside(sides, operation, arguments) if @order == :concurrent

      order = @order == :random && @random.rand < 0.5 ? sides.reverse : sides
      outcomes = order.to_h { |side| [side, side == sides.first ? perform(@reads, side, "read", arguments) : guarded(@reads, side, "read", arguments)] }
      observe(operation, outcomes)
      result(outcomes[sides.first])
    end

    # The caller has his answer when the authoritative side has it.
    def beside(sides, operation, arguments)
      thread = started { guarded(@reads, sides.last, "read", arguments) }
      first = perform(@reads, sides.first, "read", arguments)
      if thread
        Thread.new do
          Thread.current.report_on_exception = false
          observe(operation, { sides.first => first, sides.last => thread.value })
        end
      end
      result(first)
    end

    # Not more than so many at once: a side that hangs must not fill the process with threads.
    def started
      return unless @lock.synchronize { (@running += 1) <= CONCURRENT_MAX || (@running -= 1; false) }

      Thread.new do
        Thread.current.report_on_exception = false
        yield
      ensure
        @lock.synchronize { @running -= 1 }
      end
    end

    def result(outcome)
      raise outcome.error if outcome.error

      outcome.value
    end

    def sampled?
      @sample >= 1 || @random.rand < @sample
    end

    def callable(sides, side, what)
      sides[side] or raise ArgumentError, "the migrator of #{@flag} has no #{side}_#{what}"
    end

    def perform(sides, side, what, arguments)
      operation = callable(sides, side, what)
      started = now
      Outcome.new(operation.call(*arguments), nil, now - started)
    rescue *CAUGHT => e
      Outcome.new(nil, e, now - (started || now))
    end

    alias guarded perform

    # Nothing of this may reach the caller: neither a comparison that raises nor a value that is no JSON.
    def observe(operation, outcomes, values: true)
      old, new = outcomes.values_at(:old, :new)
      observation = { "operation" => operation.to_s, "sample_rate" => values ? @sample : 1.0, "old" => told(old, values), "new" => told(new, values) }
      matched = agree(old, new) if values
      observation["matches"] = matched unless matched.nil?
      @client.observations.add(@path, observation)
    rescue *CAUGHT
      @client.observations.add(@path, { "operation" => operation.to_s, "matches" => false, "old" => told(old, false), "new" => told(new, false) })
    end

    def told(outcome, values)
      told = { "duration_us" => outcome.microseconds }
      if outcome.error then told["error"] = outcome.error.class.name.to_s[0, 200]
      elsif values
        value = @clean ? @clean.call(outcome.value) : outcome.value
        text = JSON.generate(value)
        told["value"] = text.bytesize <= Observations::VALUE_BYTES ? value : { "bytes" => text.bytesize }
      end
      told
    end

    # nil leaves it to the server.
    def agree(old, new)
      return nil if old.error || new.error
      return true if @ignore&.call(old.value, new.value)

      @compare ? !!@compare.call(old.value, new.value) : nil
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC, :microsecond)
    end
  end
end
