# frozen_string_literal: true

module Changeover
  # One for each server. Thread-safe; may be made before a fork (Puma, Unicorn): each child listens and posts by itself.
  class Client
    attr_reader :flags, :observations

    # @param url [String] such as "http://127.0.0.1:8080", with a path if there is one
    # @param token [String, nil] role evaluate is enough for flags, routing and observations
    # @param timeout [Numeric] seconds that a request may take
    # @param state_path [String, nil] where the last known answers are kept for a start without the server
    # @param events [Boolean] hear of changes at once; otherwise by `max_age` only
    # @param max_age [Numeric] seconds after which answers are renewed in any case
    # @param contexts [Integer] of how many contexts answers are kept
    # @param default_context [Hash] attributes that every context has
    def initialize(url:, token: nil, timeout: 2, state_path: nil, events: true, max_age: 30, contexts: 1000, default_context: nil, logger: nil)
      raise ArgumentError, "timeout is #{timeout.inspect}: seconds, more than 0" unless timeout.is_a?(Numeric) && timeout.positive?
      raise ArgumentError, "contexts is #{contexts.inspect}: at least 1" unless contexts.is_a?(Integer) && contexts.positive?

      @transport = Transport.new(url, token, timeout)
      @flags = Flags.new(@transport, max_age: max_age, contexts: contexts, state_path: state_path, events: events, logger: logger)
      @observations = Observations.new(@transport, logger: logger)
      @default_context = default_context&.transform_keys(&:to_s)
      @logger = logger
    end

    # The flag's value for a context: a targeting key (a user's id), a Hash with "targetingKey" and attributes, or nil.
    # The default, if the flag is not there, of another type, or nothing is known of it. Never raises.
    def boolean(key, default, context = nil)
      details(key, default, context, type: :boolean).value
    end

    def string(key, default, context = nil)
      details(key, default, context, type: :string).value
    end

    def integer(key, default, context = nil)
      details(key, default, context, type: :integer).value
    end

    def float(key, default, context = nil)
      details(key, default, context, type: :float).value
    end

    def object(key, default, context = nil)
      details(key, default, context, type: :object).value
    end

    # The same with variant, reason and error. @return [Details]
    def details(key, default, context = nil, type: nil)
      @flags.details(key, default, completed(context), type)
    end

    # See Migrator#initialize.
    def migrator(flag, **options)
      Migrator.new(self, flag, **options)
    end

    def routing(change)
      Routing.new(@transport, change)
    end

    def writes(change)
      Writes.new(@transport, change)
    end

    def gate(worker, **options)
      Gate.new(@transport, worker, logger: @logger, **options)
    end

    # Posts what is left, keeps what is known, ends the threads.
    def close
      @observations.close
      @flags.close
      @transport.close
    end

    private

    def completed(context)
      context = context.to_s if context.is_a?(Integer) || context.is_a?(Symbol)
      return context unless @default_context

      @default_context.merge(context.is_a?(String) ? { "targetingKey" => context } : (context || {}).transform_keys(&:to_s))
    end
  end
end
