# frozen_string_literal: true

require "monitor"

module Changeover
  # Evaluates flags. All flags of a context are asked for at once and kept; a notice of the server, or their age, has them
  # renewed in the background while the old ones serve. Nothing here raises into the caller of an evaluation.
  class Flags
    HOT = 50
    SAVE_SECONDS = 1.0
    FIRST_PAUSE = 0.5
    LAST_PAUSE = 30.0
    BULK = "/ofrep/v1/evaluate/flags"

    def initialize(transport, max_age:, contexts:, state_path:, events:, logger: nil)
      @transport = transport
      @max_age = max_age
      @limit = contexts
      @events = events
      @logger = logger
      @state = StateFile.new(state_path) if state_path
      @closed = false
      known = @state ? @state.read : {}
      @known = known["contexts"] || {}
      @stages = known["stages"] || {}
      reset
    end

    # @return [Details]
    def details(key, default, context, type)
      wanted = context.is_a?(String) ? context : context || {}
      answers, stale = answers_for(wanted)
      return failed(key, default, "PROVIDER_NOT_READY", "the server has not answered, and nothing is known") unless answers

      described(key.to_s, default, answers[key.to_s], type, stale)
    rescue StandardError => e
      failed(key, default, "GENERAL", "#{e.class}: #{e.message}")
    end

    # What a migration's flag was last known to say, also before a restart.
    def known_stage(key)
      @stages[key]
    end

    def remember_stage(key, stage)
      return if @stages[key] == stage

      @stages = @stages.merge(key => stage)
      @unsaved = true
      wake
    end

    # Renews what is kept for the contexts asked for last. Blocks.
    def refresh(count = @limit)
      @lock.synchronize { @recent.newest(count) }.each { |context| fetch(context) }
    end

    def close
      @closed = true
      wake
      @threads.each { |thread| thread.join(0.2) || thread.kill }
      save if @unsaved
    end

    def kept
      @lock.synchronize { @recent.size }
    end

    private

    # A child of a fork has none of its parent's threads: it starts its own, with what the parent knew.
    def reset
      @process = Process.pid
      @recent ||= RecentAnswers.new(@limit)
      @lock = Monitor.new
      @changed = @lock.new_cond
      @waiting = {}
      @asking = {}
      @threads = []
      @epoch = (@epoch || 0) + 1
      @failures = 0
      @not_before = 0.0
      @unsaved ||= false
    end

    def answers_for(context)
      reset if @process != Process.pid
      answers = @lock.synchronize { @recent[context] }
      if answers
        wanted = answers.epoch != @epoch || now - answers.at > @max_age
        renew(context) if wanted
        [answers.flags, wanted && now - answers.at > @max_age * 2]
      else
        fetch_once(context)
        fresh = @lock.synchronize { @recent[context] }
        fresh ? [fresh.flags, false] : [@known[StateFile.key(full(context))], true]
      end
    end

    # Many threads that ask for the same new context wait for one request.
    def fetch_once(context)
      first = @lock.synchronize do
        if @asking[context]
          @changed.wait(@transport.timeout) while @asking[context] && !@recent[context]
          false
        else
          @asking[context] = true
        end
      end
      fetch(context) if first
    ensure
      @lock.synchronize { @asking.delete(context) && @changed.broadcast } if first
      start
    end

    # While the server is away it is asked rarely, so that nobody waits for its timeout again and again.
    def fetch(context)
      return if now < @not_before

      epoch = @epoch
      event = @event
      answers = asked(context, epoch, event)
      @failures = 0
      @lock.synchronize { @recent[context] = answers }
      @unsaved = true if @state
    rescue Error => e
      give_up(e)
    end

    def asked(context, epoch, event)
      kept = @lock.synchronize { @recent[context] }
      headers = kept&.etag ? { "If-None-Match" => kept.etag } : {}
      response = @transport.post(event ? "#{BULK}?#{URI.encode_www_form(event)}" : BULK, { "context" => full(context) }, headers: headers)
      return kept.renewed(epoch: epoch, at: now) if response.status == 304 && kept

      Answers.parse(response.checked.json, etag: response.headers["etag"]&.first, epoch: epoch, at: now)
    end

    def give_up(error)
      return if error.is_a?(Problem) && error.status == 400

      @failures += 1
      pause = [FIRST_PAUSE * (2**[@failures - 1, 8].min), LAST_PAUSE].min
      @not_before = now + (pause * (0.5 + (rand / 2)))
      @logger&.warn("changeover: flags could not be asked for: #{error.message}")
    end

    def full(context)
      context.is_a?(String) ? { "targetingKey" => context } : context
    end

    def described(key, default, flag, type, stale)
      return failed(key, default, "FLAG_NOT_FOUND", "there is no flag #{key}") unless flag
      return failed(key, default, flag["errorCode"], flag["errorDetails"]) if flag["errorCode"]

      value = flag["value"]
      unless fits?(type, value)
        return failed(key, default, "TYPE_MISMATCH", "the flag's value is #{value.class}, not #{type}")
      end

      value = value.to_f if type == :float
      metadata = flag["metadata"] || {}
      Details.new(key: key, value: value, variant: flag["variant"], reason: flag["reason"], metadata: metadata, stale: stale || metadata["stale"] == true)
    end

    def fits?(type, value)
      case type
      when :boolean then value == true || value == false
      when :string then value.is_a?(String)
      when :integer then value.is_a?(Integer)
      when :float then value.is_a?(Numeric)
      when :object then value.is_a?(Hash) || value.is_a?(Array)
      else true
      end
    end

    def failed(key, default, error, message)
      Details.new(key: key, value: default, reason: "ERROR", error: error || "GENERAL", message: message, metadata: {}, stale: false)
    end

    # ── in the background ───────────────────────────────────────────────────────────────────────────────────────────

    def start
      return if @closed || @threads.any? || @process != Process.pid

      @lock.synchronize do
        next if @threads.any?

        @threads << background("renew") { renew_and_save }
        @threads << background("events") { listen } if @events
      end
    end

    def background(name)
      Thread.new do
        Thread.current.name = "changeover-#{name}"
        Thread.current.report_on_exception = false
        yield
      end
    end

    def renew(context)
      start
      return if @waiting.key?(context) || @waiting.size >= @limit

      @lock.synchronize do
        @waiting[context] = true
        @changed.broadcast
      end
    end

    def wake
      @lock.synchronize { @changed.broadcast }
    end

    def renew_and_save
      saved = now
      until @closed
        context = next_waiting
        fetch(context) if context
        if @unsaved && now - saved >= SAVE_SECONDS
          saved = now
          save
        end
      end
    rescue StandardError => e
      @logger&.error("changeover: #{e.class}: #{e.message}")
      sleep 1
      retry
    end

    def next_waiting
      @lock.synchronize do
        @changed.wait(SAVE_SECONDS) if @waiting.empty? || now < @not_before
        @waiting.shift&.first unless now < @not_before
      end
    end

    def listen
      EventStream.new(@transport).run(closed: -> { @closed }, pause: method(:pause)) do |etag, modified|
        @event = { flagConfigEtag: etag, flagConfigLastModified: modified }.compact
        @event = nil if @event.empty?
        @not_before = 0.0
        @lock.synchronize do
          @epoch += 1
          @recent.newest(HOT).each { |context| @waiting[context] = true }
          @changed.broadcast
        end
      end
    rescue StandardError => e
      @logger&.error("changeover: #{e.class}: #{e.message}")
      sleep 1
      retry
    end

    def pause(seconds)
      deadline = now + seconds
      @lock.synchronize { @changed.wait([deadline - now, 0.5].min) until @closed || now >= deadline }
    end

    # What is known of contexts that nobody has asked for since the start is kept, as far as there is room.
    def save
      @unsaved = false
      return unless @state

      fresh = @lock.synchronize { @recent.to_a }.to_h { |context, answers| [StateFile.key(full(context)), answers.flags] }
      older = @known.reject { |key, _| fresh.key?(key) }.to_a.last([@limit - fresh.size, 0].max).to_h
      @known = older.merge(fresh)
      @state.write(@known, @stages)
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
