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
    VALUE_BYTES = 32 * 1024
    # What the other side may raise without its caller noticing.
    CAUGHT = [StandardError, ScriptError, SystemStackError].freeze

    Outcome = Struct.new(:value, :error, :microseconds)

    # @param client [Client]
    # @param flag [String] the string flag whose values are the stages
    # @param old_read, new_read, old_write, new_write [#call] given what read or write is given after the context
    # @param compare [#call] (old value, new value) → whether they agree; without it the server compares values that are JSON, and == others
    # @param ignore [#call, Array<#call>] (old value, new value) → whether a mismatch does not count
    # @param order [Symbol] how both are read: :serial, :random or :concurrent
    # @param sample [Float] the share of reads of both sides of which both are read
    # @param values [Boolean] whether values are posted
    # @param change [String] post observations to this change instead of the flag
    # @param name [String] what observations call it
    def initialize(client, flag, old_read: nil, new_read: nil, old_write: nil, new_write: nil, compare: nil, ignore: nil, order: :serial,
                   sample: 1, values: true, default_stage: :off, change: nil, name: nil, random: Random)
      raise ArgumentError, "order is #{order.inspect}: one of #{ORDERS.join(', ')}" unless ORDERS.include?(order)
      raise ArgumentError, "default_stage is #{default_stage.inspect}: one of #{STAGES.join(', ')}" unless STAGES.include?(default_stage.to_s)
      raise ArgumentError, "sample is #{sample.inspect}: 0 to 1" unless sample.is_a?(Numeric) && sample.between?(0, 1)

      @client = client
      @flag = flag.to_s
      @name = name || @flag
      @read = { old: old_read, new: new_read }
      @write = { old: old_write, new: new_write }
      @compare = compare
      @ignore = [*ignore]
      @order = order
      @sample = sample
      @values = values
      @default = default_stage.to_s
      @path = change ? "/api/v1/changes/#{change}/observations" : "/api/v1/flags/#{@flag}/observations"
      @random = random
      @lock = Mutex.new
      @known = {}
    end

    # The stage for this context: what the flag says; if that is no stage, what was last known for the context, then for the flag.
    def stage(context = nil)
      told = @client.details(@flag, nil, context, type: :string).value
      return remembered(context, told) if STAGES.include?(told)

      known = @lock.synchronize { @known[context] } || @client.flags.known_stage(@flag)
      STAGES.include?(known) ? known : @default
    end

    def read(context, *arguments)
      sides = READ.fetch(stage(context))
      return call(@read, sides.first, arguments) unless sides[1] && sampled?

      outcomes = @order == :concurrent ? together(sides, arguments) : in_turn(sides, arguments)
      observe("read", outcomes) { |observation| compare(outcomes, observation) }
      result(outcomes[sides.first])
    end

    # The authoritative side first. If it fails, the other one is not tried.
    def write(context, *arguments)
      first, second = WRITE.fetch(stage(context))
      return call(@write, first, arguments) unless second

      outcomes = { first => perform(@write, first, arguments) }
      return result(outcomes[first]) if outcomes[first].error

      outcomes[second] = perform(@write, second, arguments)
      drawn = sampled?
      rate = outcomes[second].error ? 1 : @sample
      observe("write", outcomes, rate) if drawn || outcomes[second].error
      result(outcomes[first])
    end

    private

    CONTEXTS_MAX = 1000

    def remembered(context, stage)
      @lock.synchronize do
        next if @known[context] == stage

        @known[context] = stage
        @known.shift if @known.size > CONTEXTS_MAX
      end
      @client.flags.remember_stage(@flag, stage)
      stage
    end

    def in_turn(sides, arguments)
      order = @order == :random ? %i[old new] : sides
      order = order.reverse if @order == :random && @random.rand >= 0.5
      order.to_h { |side| [side, perform(@read, side, arguments)] }
    end

    # Both at once; waits for both.
    def together(sides, arguments)
      other = Thread.new { perform(@read, sides.last, arguments) }
      other.report_on_exception = false
      outcomes = { sides.first => perform(@read, sides.first, arguments) }
      outcomes.merge(sides.last => other.value)
    rescue ThreadError => e
      (outcomes || {}).merge(sides.first => outcomes&.fetch(sides.first) || perform(@read, sides.first, arguments), sides.last => Outcome.new(nil, e, 0))
    end

    def result(outcome)
      raise outcome.error if outcome.error

      outcome.value
    end

    def sampled?
      @sample >= 1 || @random.rand < @sample
    end

    def call(sides, side, arguments)
      operation = sides[side] or raise ArgumentError, "the migrator of #{@flag} has no #{side}_#{sides.equal?(@read) ? 'read' : 'write'}"
      operation.call(*arguments)
    end

    def perform(sides, side, arguments)
      started = now
      Outcome.new(call(sides, side, arguments), nil, now - started)
    rescue *CAUGHT => e
      Outcome.new(nil, e, now - started)
    end

    # Nothing of this may reach the caller.
    def observe(what, outcomes, rate = @sample)
      observation = { "operation" => "#{@name}:#{what}" }
      observation["sample_rate"] = rate unless rate == 1
      outcomes.each { |side, outcome| observation[side.to_s] = told(outcome) }
      yield observation if block_given?
      @client.observations.add(@path, observation)
    rescue *CAUGHT
      @client.observations.count(:dropped)
    end

    def told(outcome)
      told = { "duration_us" => outcome.microseconds }
      told["error"] = (outcome.error.class.name || "an error").to_s[0, 200] if outcome.error
      told
    end

    # Leaves it to the server where both values can be sent and nobody has said how to compare them here.
    def compare(outcomes, observation)
      sendable = outcomes.transform_values { |outcome| @values && !outcome.error && sendable?(outcome.value) }
      failed = outcomes.each_value.any?(&:error)
      send_values = failed || sendable.values.all?
      if !failed && (@compare || !@values || !send_values || @ignore.any?)
        verdict = verdict(outcomes[:old].value, outcomes[:new].value)
        observation["matches"] = verdict != :mismatch
        send_values = false if verdict == :ignored
        @client.observations.count({ mismatch: :mismatches, ignored: :ignored }.fetch(verdict)) unless verdict == :match
      end
      outcomes.each { |side, outcome| observation[side.to_s]["value"] = outcome.value if send_values && sendable[side] }
    end

    def verdict(old, new)
      return :match if agree?(old, new)

      @ignore.any? { |block| yes?(block, old, new) } ? :ignored : :mismatch
    end

    def agree?(old, new)
      @compare ? yes?(@compare, old, new) : yes?(:==.to_proc, old, new)
    end

    def yes?(block, old, new)
      !!block.call(old, new)
    rescue *CAUGHT
      false
    end

    def sendable?(value)
      Plain.json?(value) && JSON.generate(value).bytesize <= VALUE_BYTES
    rescue JSON::GeneratorError
      false
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC, :microsecond)
    end
  end
end
