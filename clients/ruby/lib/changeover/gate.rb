# frozen_string_literal: true

require "securerandom"
require "socket"

module Changeover
  # Runs a worker while its gate lets it, and only one of its kind where the gate says so.
  class Gate
    # The right to work. Time is counted from before it was asked for, by a clock that does not jump, so it ends here first.
    class Lease
      # Greater than that of every lease before; nil where any number of instances may run. Store it with what is written.
      attr_reader :fencing_token
      # Seconds until it is to be renewed.
      attr_reader :pause

      def initialize(**renewal)
        @lost = false
        renew(**renewal)
      end

      # True while more than a tenth of the time is left. Once it is false it stays so.
      def allowed?
        @lost ||= Process.clock_gettime(Process::CLOCK_MONOTONIC) > @ends_at
        !@lost
      end

      # Call it before what must not be done twice.
      def check!
        allowed? or raise LeaseLost, "the lease has ended: stop, somebody else may be at work"
      end

      def renew(asked_at:, seconds:, pause:, fencing_token: nil)
        @fencing_token = fencing_token
        @pause = pause
        @ends_at = seconds ? asked_at + (seconds * 0.9) : Float::INFINITY
      end

      def lose
        @lost = true
      end
    end

    WAIT = (1.0..5.0)
    LONGEST_WAIT = 60

    def initialize(transport, worker, holder: nil, logger: nil)
      @transport = transport
      @path = "/api/v1/gates/#{worker}"
      @holder = holder || "#{Socket.gethostname}:#{Process.pid}:#{SecureRandom.hex(4)}"
      @logger = logger
      @stopped = false
    end

    # The gate as the server has it.
    def state
      @transport.again(:get, @path).json
    end

    # Calls the block with a lease. If the lease ends before the block has returned, the block is called again with the next one;
    # if it returns while it may go on, its work is done, and `run` returns what it returned. Waits while the gate is paused, held by
    # another, unknown, or the server is away. Ends after `stop`.
    def run
      until @stopped
        lease = begin
          begun
        rescue GateHeld, GatePaused, NotFound, ConnectionFailed, TimedOut, RateLimited, Unavailable, ServerFailed => e
          wait([e.retry_after || rand(WAIT), LONGEST_WAIT].min)
          next
        end
        finished, value = once(lease) { yield lease }
        return value if finished || @stopped
      end
    end

    # Asks the gate, and takes the lease where only one instance runs; calls the block with it, keeps it alive meanwhile, gives
    # it back, and returns what the block returned.
    # Raises GateHeld, GatePaused or NotFound if it cannot be had.
    def hold(&block)
      keep(begun, &block)
    end

    # Ends the lease's `allowed?`, and `run` after the work at hand. May be called from a signal handler.
    def stop
      @stopped = true
      @lease&.lose
    end

    def stopped?
      @stopped
    end

    private

    # Whether the work is done, and what it returned. What it raises is the caller's, but for a lost lease that it has noticed.
    def once(lease)
      keep(lease) do
        value = yield
        [lease.allowed?, value]
      end
    rescue LeaseLost
      raise if lease.allowed?

      [false, nil]
    end

    def keep(lease)
      @lease = lease
      lease.lose if @stopped
      heart = Thread.new { beat(lease) }
      heart.report_on_exception = false
      yield lease
    ensure
      heart&.kill&.join
      @lease = nil
      give_back(lease)
    end

    def begun
      asked_at = now
      pause = allowed(@transport.get(@path).json)
      return Lease.new(asked_at: asked_at, seconds: nil, pause: pause) unless @single

      Lease.new(**granted { @transport.post("#{@path}/lease", { "holder" => @holder }) })
    end

    # Seconds after which to ask again, if the gate lets the worker run now.
    def allowed(gate)
      pause = gate.fetch("ask_again_seconds")
      @single = gate.fetch("single_instance")
      return pause if gate.fetch("answer") == "run"

      raise GatePaused.new(code: "gate_paused", detail: "#{@path} is paused", status: 409, retry_after: pause)
    rescue KeyError, NoMethodError => e
      raise Unexpected, "the gate is not understood: #{e.message}"
    end

    def granted
      asked_at = now
      answer = yield.json
      { asked_at: asked_at, fencing_token: answer.fetch("fencing_token"), seconds: answer.fetch("lease_seconds"), pause: answer.fetch("heartbeat_after_seconds") }
    rescue KeyError, NoMethodError => e
      raise Unexpected, "the lease is not understood: #{e.message}"
    end

    def renew(lease)
      if lease.fencing_token
        lease.renew(**granted { @transport.post("#{@path}/lease/heartbeat", held(lease)) })
      else
        pause = allowed(@transport.get(@path).json)
        lease.renew(asked_at: now, seconds: nil, pause: pause)
      end
    end

    # A heartbeat that does not get through is tried again until the lease has ended by itself.
    def beat(lease)
      pause = lease.pause
      while lease.allowed?
        sleep(pause)
        begin
          renew(lease) if lease.allowed?
          pause = lease.pause
        rescue LeaseLost, GatePaused, GateHeld, NotFound
          lease.lose
        rescue Error => e
          pause = lease.pause / 4.0
          @logger&.warn("changeover: #{@path}: #{e.message}")
        end
      end
    end

    def held(lease)
      { "holder" => @holder, "fencing_token" => lease.fencing_token }
    end

    def give_back(lease)
      @transport.post("#{@path}/lease/release", held(lease)) if lease.fencing_token
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
