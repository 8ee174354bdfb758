# frozen_string_literal: true

require "json"
require "securerandom"
require "time"

module Changeover
  # Posts what old and new code did, in batches, from a thread of its own. Bounded: what has no room is dropped and counted.
  class Observations
    BYTES_MAX = 8 * 1024 * 1024
    BATCH_COUNT = 500
    BATCH_BYTES = 900_000
    PAUSE = 0.5
    LONGEST_PAUSE = 30.0

    def initialize(transport, count_max: 10_000, logger: nil)
      @transport = transport
      @count_max = count_max
      @logger = logger
      @counts = Hash.new(0)
      after_fork
    end

    # sent, dropped (no room), refused (by the server), mismatches and ignored (found here), pending.
    def stats
      @lock.synchronize { %i[sent dropped refused mismatches ignored].to_h { |name| [name, @counts[name]] }.merge(pending: @queue.size) }
    end

    def count(name, by = 1)
      @lock.synchronize { @counts[name] += by }
    end

    # Never raises, never waits. `path`: of the flag or change.
    def add(path, observation)
      after_fork if @process != Process.pid
      text = JSON.generate(observation.merge("id" => SecureRandom.hex(12), "at" => Time.now.utc.iso8601(6)))
      kept = @lock.synchronize do
        next false if @closed || @queue.size >= @count_max || @bytes + text.bytesize > BYTES_MAX

        @bytes += text.bytesize
        @queue << [path, text]
        @changed.signal
        true
      end
      kept ? start : count(:dropped)
    rescue StandardError
      count(:dropped)
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
    def after_fork
      @process = Process.pid
      @lock = Monitor.new
      @changed = @lock.new_cond
      @queue = []
      @bytes = 0
      @thread = nil
      @posting = @closed = @hurry = false
      @failures = 0
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
      answer = @transport.post(path, batch.map(&:last).join("\n"), headers: { "Content-Type" => "application/x-ndjson" }).json
      refused = answer.is_a?(Hash) && answer["refused"].is_a?(Array) ? answer["refused"].size : 0
      done(batch, sent: batch.size - refused, refused: refused)
    rescue Error => e
      e.retry? ? wait(e.retry_after) : done(batch, refused: batch.size)
    rescue StandardError
      done(batch, refused: batch.size)
    ensure
      @lock.synchronize do
        @posting = false
        @changed.broadcast
      end
    end

    def done(batch, **counts)
      @lock.synchronize do
        @queue.shift(batch.size)
        @bytes -= batch.sum { |_, text| text.bytesize }
        @failures = 0
        @hurry = false if @queue.empty?
        counts.each { |name, by| @counts[name] += by }
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
