# frozen_string_literal: true

module Changeover
  # One for each server. Thread-safe; may be made before a fork (Puma, Unicorn): each child listens and posts by itself.
  class Client
    attr_reader :flags, :observations

    # @param url [String] such as "http://127.0.0.1:8080", with a path if there is one. Default: CHANGEOVER_URL
    # @param token [String, nil] role evaluate is enough for flags, sides, observations and gates. Default: CHANGEOVER_TOKEN
    # @param timeout [Numeric] seconds that a whole request may take
    # @param state_path [String, nil] where the last known answers are kept for a start without the server
    # @param events [Boolean] hear of changes at once; otherwise by age only
    # @param max_age [Numeric] seconds after which an answer is renewed in any case; 10 at most while no stream is open
    # @param contexts_max [Integer] of how many contexts answers are kept, the last used ones
    # @param observations_max [Integer] how many observations may wait
    # @param side_max_age [Numeric] seconds for which a side is kept
    # @param logger [Logger, nil]
    def initialize(url: ENV["CHANGEOVER_URL"], token: ENV["CHANGEOVER_TOKEN"], timeout: 2, state_path: nil, events: true, max_age: 60,
                   contexts_max: 1000, observations_max: 10_000, side_max_age: 10, logger: nil, retries: Retries.new)
      { timeout: timeout, max_age: max_age, contexts_max: contexts_max, observations_max: observations_max }.each do |name, number|
        raise ArgumentError, "#{name} is #{number.inspect}: a number, more than 0" unless number.is_a?(Numeric) && number.positive?
      end
      @timeout = timeout
      @logger = logger
      @transport = Transport.new(url, token, timeout, retries: retries)
      @flags = Flags.new(@transport, max_age: max_age, contexts_max: contexts_max, state_path: state_path, events: events, logger: logger)
      @observations = Observations.new(@transport, count_max: observations_max, logger: logger)
      @routing = Routing.new(@transport, side_max_age: side_max_age)
    end

    # The flag's value for a context: a Hash with "targetingKey" and attributes, or the targeting key alone (a user's id), or nil.
    # The default, if the flag is not there, of another type, or nothing is known of it. Never raises. With `cached: false` the
    # server is asked, now.
    def boolean(key, default, context = nil, cached: true)
      details(key, default, context, type: :boolean, cached: cached).value
    end

    def string(key, default, context = nil, cached: true)
      details(key, default, context, type: :string, cached: cached).value
    end

    def integer(key, default, context = nil, cached: true)
      details(key, default, context, type: :integer, cached: cached).value
    end

    def float(key, default, context = nil, cached: true)
      details(key, default, context, type: :float, cached: cached).value
    end

    def object(key, default, context = nil, cached: true)
      details(key, default, context, type: :object, cached: cached).value
    end

    # The same with variant, reason, error and metadata. @return [Details]
    def details(key, default, context = nil, type: nil, cached: true)
      context = {} if context.nil?
      case context
      when String then return invalid(key, default) unless context.valid_encoding?
      when Integer then nil
      when Hash, Symbol, Float
        context = context.to_s if context.is_a?(Symbol)
        return invalid(key, default) if context.is_a?(Float) ? !context.finite? : !Plain.json?(context)
      else return invalid(key, default)
      end
      @flags.details(key, default, context, type, cached: cached)
    end

    # See Migrator#initialize.
    def migrator(flag, **options)
      Migrator.new(self, flag, **options)
    end

    # See Routing.
    def side_of(change, user, period = nil, **options)
      @routing.side_of(change, user, period, **options)
    end

    def sides_of(change, users, period = nil, **options)
      @routing.sides_of(change, users, period, **options)
    end

    def allocation_of(change, charge)
      @routing.allocation_of(change, charge)
    end

    def writes(change)
      Writes.new(@transport, change)
    end

    def gate(worker, **options)
      Gate.new(@transport, worker, logger: @logger, **options)
    end

    # Of the observations: sent, dropped, refused, mismatches, ignored, pending.
    def stats
      @observations.stats
    end

    # Posts what waits, for at most the timeout; keeps what is known; ends the threads.
    def close
      @observations.close(@timeout)
      @flags.close(@timeout)
      @transport.close
    end

    private

    def invalid(key, default)
      Details.new(key: key.to_s, value: default, reason: "ERROR", error: "INVALID_CONTEXT", message: "the context is no JSON object, text or number", metadata: {})
    end
  end
end
