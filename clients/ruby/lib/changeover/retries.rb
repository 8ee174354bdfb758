# frozen_string_literal: true

module Changeover
  # Tries again what may be tried again: connection errors, 408, 425, 429 and 5xx, after full-jitter backoff or what
  # Retry-After says. Only for requests that do no harm when they are made twice.
  class Retries
    STATUSES = [408, 425, 429].freeze

    def initialize(attempts: 4, base: 0.1, cap: 5.0, random: Random, sleeper: Kernel.method(:sleep))
      @attempts = attempts
      @base = base
      @cap = cap
      @random = random
      @sleeper = sleeper
    end

    # Yields the attempt's number, from 0.
    def run
      attempt = 0
      begin
        yield attempt
      rescue Unreachable, Problem => e
        attempt += 1
        raise if attempt >= @attempts || !again?(e)

        @sleeper.call(pause(attempt, e))
        retry
      end
    end

    def again?(error)
      return true if error.is_a?(Unreachable)

      STATUSES.include?(error.status) || error.status >= 500 || error.code == "idempotency_key_in_flight"
    end

    private

    # A server that says when is believed, within reason.
    def pause(attempt, error)
      wanted = error.retry_after if error.is_a?(Problem)
      jittered = @random.rand * [@cap, @base * (2**attempt)].min
      wanted ? [[wanted, 30].min, jittered].max : jittered
    end
  end
end
