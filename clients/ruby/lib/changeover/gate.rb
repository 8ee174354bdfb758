# frozen_string_literal: true

require "securerandom"
require "socket"

module Changeover
  # Runs a worker while its gate lets it, and only one of its kind where the gate says so.
  class Gate
    # The right to work. Time is counted from before it was asked for, by a clock that does not jump, so it ends here first.
    class Lease
      attr_reader :fencing_token, :span

      def initialize(fencing_token, asked_at, span)
        @lost = false
        renew(fencing_token, asked_at, span)
      end

      # True while more than a tenth of the time is left. Once it is false it stays so.
      def allowed?
        @lost ||= Process.clock_gettime(Process::CLOCK_MONOTONIC) > @ends_at - (@span / 10)
        !@lost
      end

      # Call it before what must not be done twice.
      def check!
        allowed? or raise LeaseLost, "the lease has ended: stop, somebody else may be at work"
      end

      def renew(fencing_token, asked_at, span)
        @fencing_token = fencing_token
        @span = span
        @ends_at = asked_at + span
      end

      def lose
        @lost = true
      end
    end

    WAIT = (1.0..5.0)

    def initialize(transport, worker, holder: nil, seconds: nil, logger: nil)
      @transport = transport
      @path = "/api/v1/gates/#{worker}"
      @holder = holder || "#{Socket.gethostname}:#{Process.pid}:#{SecureRandom.hex(4)}"
      @seconds = seconds
      @logger = logger
      @stopped = false
    end

    # The gate as the server has it.
    def state
      @transport.again(:get, @path).json
    end

    # Calls the block with a lease. If the lease ends before the block has returned, the block is called again with the next one;
    # if it returns while it may go on, its work is done, and `run` returns what it returned. Waits while the gate is paused, held by
    # another, unknown, or the server is away. Returns nil after `stop`.
    def run
      until @stopped
        begin
          finished = false
          value = hold do |lease|
            result = yield lease
            finished = lease.allowed?
            result
          end
          return value if finished
        rescue GateHeld, GatePaused, LeaseLost, NotFound, ConnectionFailed, TimedOut, RateLimited, Unavailable, ServerFailed => e
          wait(e.retry_after || rand(WAIT))
        end
      end
    end

    # Takes the lease, calls the block with it, keeps it alive meanwhile, gives it back, and returns what the block returned.
    # Raises GateHeld, GatePaused or NotFound if it cannot be had.
    def hold
      lease = take(nil)
      heart = Thread.new { beat(lease) }
      heart.report_on_exception = false
      yield lease
    ensure
      heart&.kill&.join
      give_back(lease) if lease
    end

    # Lets `run` end after the work at hand, which may ask `stopped?`. May be called from a signal handler.
    def stop
      @stopped = true
    end

    def stopped?
      @stopped
    end

    private

    def take(lease)
      asked_at = now
      body = { "holder" => @holder, "seconds" => @seconds, "fencing_token" => lease&.fencing_token }.compact
      answer = @transport.post("#{@path}/lease", body).json
      token = answer.fetch("fencing_token")
      span = answer.fetch("expires_in_ms") / 1000.0
      lease ? lease.renew(token, asked_at, span) : Lease.new(token, asked_at, span)
    rescue KeyError, TypeError, NoMethodError => e
      raise Unexpected, "the lease is not understood: #{e.message}"
    end

    # After each third of the lease; a heartbeat that does not get through is tried again until the lease has ended by itself.
    def beat(lease)
      pause = lease.span / 3
      while lease.allowed?
        sleep(pause)
        begin
          take(lease) if lease.allowed?
          pause = lease.span / 3
        rescue LeaseLost, GatePaused, GateHeld, NotFound
          lease.lose
        rescue Error => e
          pause = lease.span / 15
          @logger&.warn("changeover: #{@path}: #{e.message}")
        end
      end
    end

    def give_back(lease)
      @transport.delete("#{@path}/lease", { "holder" => @holder, "fencing_token" => lease.fencing_token })
    rescue Error
      nil
    end

    def wait(seconds)
      deadline = now + seconds
      while !@stopped && (left = deadline - now).positive?
        sleep([left, 0.1].min)
      end
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
