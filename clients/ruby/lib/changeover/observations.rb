# frozen_string_literal: true

require "json"
require "securerandom"

module Changeover
  # Posts what old and new code did, in batches, from a thread of its own. Bounded: what has no room is dropped and counted.
  class Observations
    COUNT_MAX = 10_000
    BYTES_MAX = 8 * 1024 * 1024
    BATCH_COUNT = 500
    BATCH_BYTES = 900_000
    VALUE_BYTES = 32 * 1024
    PAUSE = 0.5
    LONGEST_PAUSE = 30.0

    # How many were dropped since the start, and how many the server took.
    attr_reader :dropped, :posted

    def initialize(transport, logger: nil)
      @transport = transport
      @logger = logger
      @dropped = 0
      @posted = 0
      reset
    end

    # Never raises, never waits. `path`: of the flag or change.
    def add(path, observation)
      reset if @process != Process.pid
      text = JSON.generate(observation.merge("id" => SecureRandom.hex(12)))
      kept = @lock.synchronize do
        next false if @closed || @queue.size >= COUNT_MAX || @bytes + text.bytesize > BYTES_MAX

        @bytes += text.bytesize
        @queue << [path, text]
        @changed.signal
        true
      end
      kept ? start : drop(1)
    rescue StandardError
      drop(1)
    end

    # Whether all of it was posted in that time.
    def flush(seconds = 5)
      deadline = now + seconds
      @lock.synchronize do
        @hurry = true
        @changed.broadcast
        @changed.wait([deadline - now, 0.05].max) while (@queue.any? || @posting) && now < deadline
        @queue.empty? && !@posting
      end
    end

    def close(seconds = 2)
      done = @process == Process.pid && @thread&.alive? ? flush(seconds) : @queue.empty?
      @lock.synchronize do
        @closed = true
        @changed.broadcast
      end
      @thread&.join(0.2)
      done
    end

    private

    # What waits in the parent of a fork is the parent's to post.
    def reset
      @process = Process.pid
      @lock = Monitor.new
      @changed = @lock.new_cond
      @queue = []
      @bytes = 0
      @thread = nil
      @posting = @closed = @hurry = false
      @failures = 0
    end

    def drop(count)
      @lock.synchronize { @dropped += count }
    end

    def start
      return if @thread&.alive?

      @lock.synchronize do
        next if @thread&.alive?

        @thread = Thread.new { work }
        @thread.name = "changeover-observations"
        @thread.report_on_exception = false
      end
    end

    def work
      until @closed
        path, batch = next_batch
        post(path, batch) if batch
      end
    end

    def next_batch
      @lock.synchronize do
        @changed.wait(PAUSE) while @queue.empty? && !@closed
        @changed.wait(PAUSE) unless @hurry || @closed || @queue.size >= BATCH_COUNT
        path = @queue.first&.first or return
        bytes = 0
        batch = @queue.take_while.with_index { |(where, text), index| where == path && index < BATCH_COUNT && (bytes += text.bytesize + 1) < BATCH_BYTES }
        batch = [@queue.first] if batch.empty?
        @posting = true
        [path, batch]
      end
    end

    # Repeated after a failure as it was: the same id counts once.
    def post(path, batch)
      @transport.post(path, batch.map(&:last).join("\n"), headers: { "Content-Type" => "application/x-ndjson" }).checked
      taken(batch, posted: true)
    rescue Problem => e
      Retries.new.again?(e) ? wait(e.retry_after) : taken(batch, posted: false)
    rescue Error
      wait(nil)
    rescue StandardError
      taken(batch, posted: false)
    ensure
      @lock.synchronize do
        @posting = false
        @changed.broadcast
      end
    end

    def taken(batch, posted:)
      @lock.synchronize do
        @queue.shift(batch.size)
        @bytes -= batch.sum { |_, text| text.bytesize }
        @failures = 0
        @hurry = false if @queue.empty?
        posted ? @posted += batch.size : @dropped += batch.size
      end
    end

    def wait(seconds)
      @failures += 1
      pause = [PAUSE * (2**[@failures, 8].min), LONGEST_PAUSE].min * rand
      deadline = now + [seconds || 0, pause].max
      @lock.synchronize { @changed.wait([deadline - now, 0.05].max) while now < deadline && !@closed && !@hurry }
      sleep 0.05 if @hurry
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
