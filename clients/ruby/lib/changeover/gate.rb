# frozen_string_literal: true

require "securerandom"
require "socket"

module Changeover
  # Runs a worker while its gate lets it, and only one of its kind where the gate says so.
  class Gate
    # The right to work, until it ends. Time is counted from before it was asked for, so it ends here before it does there.
    class Lease
      attr_reader :fencing_token

      def initialize(fencing_token, ends_at)
        @fencing_token = fencing_token
        @ends_at = ends_at
        @lost = false
      end

      def valid?
        !@lost && Process.clock_gettime(Process::CLOCK_MONOTONIC) < @ends_at
      end

      # Call it before each thing that must not be done twice.
      def check!
        valid? or raise LeaseLost.new(409, { "code" => "lease_lost", "detail" => "the lease has ended; stop, somebody else may be at work" })
      end

      def renew(fencing_token, ends_at)
        @fencing_token = fencing_token
        @ends_at = ends_at
      end

      def lose
        @lost = true
      end
    end

    POLL = 1.0

    def initialize(transport, worker, holder: "#{Socket.gethostname}:#{Process.pid}:#{SecureRandom.hex(3)}", seconds: nil, logger: nil)
      @transport = transport
      @path = "/api/v1/gates/#{worker}"
      @holder = holder
      @seconds = seconds
      @logger = logger
      @stopped = false
      @lock = Mutex.new
      @changed = ConditionVariable.new
    end

    # The gate as the server has it.
    def state
      @transport.get(@path).checked.json
    end

    # Calls the block, which does one piece of work, again and again while the gate runs and the lease holds; waits while it
    # is paused, held by another, or the server is away. Ends after `stop`.
    def run(poll: POLL)
      until @stopped
        begin
          hold { |lease| yield lease while !@stopped && lease.valid? }
        rescue GateHeld, GatePaused, RateLimited => e
          wait([e.retry_after || poll, poll].min)
        rescue Unreachable, LeaseLost
          wait(poll)
        rescue Problem => e
          raise unless Retries.new.again?(e)

          wait(e.retry_after || poll)
        end
      end
    end

    # Takes the lease, calls the block with it, keeps it alive meanwhile, gives it back, and returns what the block returned.
    # Raises GateHeld or GatePaused if it cannot be had.
    def hold
      lease = take
      heart = Thread.new { beat(lease) }
      heart.report_on_exception = false
      yield lease
    ensure
      heart&.kill&.join
      give_back(lease) if lease
    end

    # Lets `run` return after the piece of work at hand. May be called from a signal handler.
    def stop
      @stopped = true
    end

    private

    def take(lease = nil)
      asked = now
      body = { "holder" => @holder, "seconds" => @seconds, "fencing_token" => lease&.fencing_token }.compact
      answer = @transport.post("#{@path}/lease", body).checked.json
      @span = answer.fetch("expires_in_ms") / 1000.0
      ends_at = asked + @span
      lease ? lease.renew(answer.fetch("fencing_token"), ends_at) : Lease.new(answer.fetch("fencing_token"), ends_at)
    end

    # Three times in each span; a heartbeat that does not get through is tried again, until the lease has ended by itself.
    def beat(lease)
      while lease.valid?
        sleep([@span / 3, 0.05].max)
        begin
          take(lease)
        rescue LeaseLost, GatePaused, GateHeld
          lease.lose
        rescue Error => e
          @logger&.warn("changeover: #{@path}: #{e.message}")
        end
      end
    end

    def give_back(lease)
      @transport.delete("#{@path}/lease", { "holder" => @holder, "fencing_token" => lease.fencing_token }).checked
    rescue Error
      nil
    end

    def wait(seconds)
      deadline = now + seconds
      sleep([deadline - now, 0.1].min.clamp(0, 0.1)) while !@stopped && now < deadline
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
