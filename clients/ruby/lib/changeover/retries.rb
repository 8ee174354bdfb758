# frozen_string_literal: true

module Changeover
  # Tries again, up to three times, what may be tried again: after full-jitter backoff, or what Retry-After says.
  # Only for requests that do no harm when they are made twice.
  class Retries
    RETRIES = 3
    BASE = 0.1
    CAP = 5.0
    LONGEST = 30

    def initialize(random: Random, sleeper: Kernel.method(:sleep))
      @random = random
      @sleeper = sleeper
    end

    def run
      tried = 0
      begin
        yield
      rescue Error => e
        tried += 1
        raise if tried > RETRIES || !e.retry? || (e.retry_after || 0) > LONGEST

        @sleeper.call([e.retry_after || 0, @random.rand * [CAP, BASE * (2**tried)].min].max)
        retry
      end
    end
  end
end
