# frozen_string_literal: true

require "monitor"
require "time"

module Changeover
  # Evaluates flags. All flags of a context are asked for at once and kept; a notice of the server, or their age, has them
  # renewed in the background while the old ones serve. Nothing here raises into the caller of an evaluation.
  class Flags
    BULK = "/ofrep/v1/evaluate/flags"
    # Seconds: how old an answer may be while no stream is open; since when an answer is unused that a notice does not renew.
    QUIET_MAX_AGE = 10
    UNUSED = 60
    RENEWERS = 4
    SAVE_FIRST = 1
    SAVE_AGAIN = 5
    FIRST_PAUSE = 0.25
    LONGEST_PAUSE = 30.0
    CODES = %w[PROVIDER_NOT_READY FLAG_NOT_FOUND PARSE_ERROR TYPE_MISMATCH TARGETING_KEY_MISSING INVALID_CONTEXT PROVIDER_FATAL GENERAL].freeze

    def initialize(transport, max_age:, contexts_max:, state_path:, events:, logger: nil)
      @transport = transport
      @max_age = max_age
      @limit = contexts_max
      @logger = logger
      @stream = EventStream.new(transport) if events
      @state = StateFile.new(state_path, transport.url) if state_path
      @known, @stages = @state ? @state.read : [{}, {}]
      @recent = RecentAnswers.new(@limit)
      @epoch = 0
      @failures = 0
      @not_before = 0.0
      @closed = false
      after_fork
    end

    # @return [Details]
    def details(key, default, context, type, cached: true)
      key = key.to_s
      return described(key, default, one(key, context), type) unless cached

      answers = answers_for(context)
      return described(key, default, answers.flags[key], type, stale: stale?(answers)) if answers

      failed(key, default, *@refused || ["PROVIDER_NOT_READY", "the server has not answered, and nothing is known"])
    rescue Error => e
      failed(key, default, *reason_of(e))
    rescue StandardError => e
      failed(key, default, "GENERAL", "#{e.class}: #{e.message}")
    end

    # What a migration's flag was last known to say, also before a restart.
    def known_stage(flag)
      @stages[flag]&.fetch("stage", nil)
    end

    def remember_stage(flag, stage)
      return if known_stage(flag) == stage

      @lock.synchronize { @stages = @stages.merge(flag => { "stage" => stage, "at" => Time.now.utc.iso8601(6) }) }
      unsaved
    end

    def close(seconds)
      @closed = true
      @lock.synchronize { @changed.broadcast }
      deadline = now + seconds
      @threads.each { |thread| thread.join([deadline - now, 0.05].max.clamp(0, 0.2)) || thread.kill }
      save if @unsaved_since
    end

    # Of how many contexts answers are kept, and how many bytes they had.
    def kept
      @lock.synchronize { [@recent.size, @recent.bytes] }
    end

    private

    # A child of a fork has none of its parent's threads: it starts its own, and knows what the parent knew.
    def after_fork
      @process = Process.pid
      @lock = Monitor.new
      @changed = @lock.new_cond
      @waiting = {}
      @asking = {}
      @threads = []
      @epoch += 1
    end

    def answers_for(context)
      after_fork if @process != Process.pid
      answers = @lock.synchronize { @recent[context] }
      return asked_first(context) if answers.nil? || too_old?(answers)

      answers.used = now
      renew(context) if answers.epoch != @epoch || now - answers.at > max_age
      answers
    end

    def too_old?(answers)
      answers.from_disk? || now - answers.at > 10 * @max_age || (answers.epoch != @epoch && now - answers.used > UNUSED)
    end

    def stale?(answers)
      answers.from_disk? || (@failures.positive? && now - answers.at > max_age) || @refused
    end

    def max_age
      @stream&.open? ? @max_age : [@max_age, QUIET_MAX_AGE].min
    end

    # Many threads that ask for the same new context wait for one request.
    def asked_first(context)
      first = @lock.synchronize do
        if @asking[context]
          @changed.wait(@transport.timeout) while @asking[context]
          false
        else
          @asking[context] = true
        end
      end
      fetch(context) if first
      @lock.synchronize { @recent[context] } || from_disk(context)
    ensure
      @lock.synchronize { @asking.delete(context) && @changed.broadcast } if first
      start
    end

    # Whoever asks while the server is away has the default at once, so that a server that hangs costs one caller one timeout.
    def fetch(context)
      return if paused?

      epoch = @epoch
      kept = @lock.synchronize { @recent[context] }
      answers = asked(context, kept, epoch)
      @failures = 0
      @refused = nil
      answers.used = kept.used if kept
      @lock.synchronize { @recent[context] = answers }
      unsaved
    rescue Error => e
      give_up(e)
    end

    # True for all but one while the pause lasts; the first after it tries, and the others go on waiting for that one's answer.
    def paused?
      @lock.synchronize do
        return true if now < @not_before

        @not_before = now + @transport.timeout if @failures.positive?
        false
      end
    end

    def asked(context, kept, epoch)
      event = @event
      path = event ? "#{BULK}?#{URI.encode_www_form(event)}" : BULK
      headers = kept&.etag && !kept.from_disk? ? { "If-None-Match" => kept.etag } : {}
      response = @transport.post(path, { "context" => full(context) }, headers: headers)
      return kept.renewed(epoch: epoch, at: now) if response.status == 304 && kept

      document = response.checked.parsed(freeze: true)
      list = document["flags"] if document.is_a?(Hash)
      raise Unexpected.new("the answer has no flags", status: response.status) unless response.status == 200 && list.is_a?(Array)

      Answers.new(list, etag: response.headers["etag"]&.first, epoch: epoch, at: now, bytes: response.body.bytesize)
    rescue Error => e
      raise e unless response && e.status == 400 && response.parsed.is_a?(Hash)

      raise Refused.new(*response.parsed.values_at("errorCode", "errorDetails"))
    end

    # One flag, now; nothing is kept.
    def one(key, context)
      response = @transport.post("#{BULK}/#{URI.encode_www_form_component(key).gsub('+', '%20')}", { "context" => full(context) })
      item = response.parsed(freeze: true)
      return item if item.is_a?(Hash) && (response.success? || (item["errorCode"] && [400, 404, 500].include?(response.status)))

      response.checked
      raise Unexpected.new("the answer is no flag", status: response.status)
    end

    # The server has understood, and said no to this context.
    class Refused < Error
      def initialize(code, message)
        @flag_code = code
        super(message.to_s, status: 400)
      end

      attr_reader :flag_code
    end

    def give_up(error)
      raise error if error.is_a?(Refused)

      @refused = reason_of(error) if [401, 403].include?(error.status)
      @failures += 1
      jittered = rand * [LONGEST_PAUSE, FIRST_PAUSE * (2**[@failures, 10].min)].min
      @not_before = now + (error.retry_after || jittered)
      @logger&.warn("changeover: flags could not be asked for: #{error.message}")
    end

    def reason_of(error)
      return [error.flag_code, error.message] if error.is_a?(Refused)

      [[401, 403].include?(error.status) ? "GENERAL" : "PROVIDER_NOT_READY", error.message]
    end

    def from_disk(context)
      entry = @known[Plain.digest(full(context))] or return nil
      list = entry["flags"]
      Answers.new(list, etag: nil, epoch: -1, at: now, bytes: 0) if list.is_a?(Array)
    end

    def full(context)
      context.is_a?(Hash) ? context : { "targetingKey" => context }
    end

    # ── from an item to a value ─────────────────────────────────────────────────────────────────────────────────────

    def described(key, default, item, type, stale: false)
      return failed(key, default, "FLAG_NOT_FOUND", "there is no flag #{key}") unless item
      return failed(key, default, item["errorCode"], item["errorDetails"]) if item["errorCode"]

      reason = stale ? "STALE" : item["reason"] || "UNKNOWN"
      metadata = item["metadata"].is_a?(Hash) ? item["metadata"] : {}
      return Details.new(key: key, value: default, variant: item["variant"], reason: reason, metadata: metadata) unless item.key?("value")

      value = converted(item["value"], type)
      return failed(key, default, "TYPE_MISMATCH", "the flag's value is a #{item['value'].class}, not of type #{type}") if value.nil?

      Details.new(key: key, value: value, variant: item["variant"], reason: reason, metadata: metadata)
    end

    # nil if it is of another type.
    def converted(value, type)
      case type
      when :boolean then value if [true, false].include?(value)
      when :string then value if value.is_a?(String)
      when :integer then value.is_a?(Integer) ? value : (value.to_i if value.is_a?(Float) && value.finite? && value == value.floor)
      when :float then value.to_f if value.is_a?(Numeric)
      when :object then value if value.is_a?(Hash)
      else value
      end
    end

    def failed(key, default, error, message)
      Details.new(key: key, value: default, reason: "ERROR", error: CODES.include?(error) ? error : "GENERAL", message: message, metadata: {})
    end

    # ── in the background ───────────────────────────────────────────────────────────────────────────────────────────

    def start
      return if @closed || @threads.any?

      @lock.synchronize do
        next if @threads.any?

        RENEWERS.times { |number| @threads << background("renew-#{number}") { renew_until_closed } }
        @threads << background("save") { save_until_closed } if @state
        @threads << background("events") { listen } if @stream
      end
    end

    def background(name)
      Thread.new do
        Thread.current.name = "changeover-#{name}"
        Thread.current.report_on_exception = false
        begin
          yield
        rescue StandardError => e
          @logger&.error("changeover: #{name}: #{e.class}: #{e.message}")
          sleep 1
          retry unless @closed
        end
      end
    end

    def renew(context)
      start
      return if now < @not_before || @waiting.key?(context) || @waiting.size >= @limit

      @lock.synchronize do
        @waiting[context] = true
        @changed.broadcast
      end
    end

    def renew_until_closed
      until @closed
        context = @lock.synchronize do
          @changed.wait(1) while @waiting.empty? && !@closed
          @waiting.shift&.first
        end
        begin
          fetch(context) if context
        rescue Refused
          nil
        end
      end
    end

    def listen
      @stream.run(closed: -> { @closed }, pause: method(:pause)) do |etag, modified|
        @lock.synchronize do
          @event = { flagConfigEtag: etag, flagConfigLastModified: modified }.compact
          @event = nil if @event.empty?
          @epoch += 1
          @not_before = 0.0
          since = now - UNUSED
          @recent.to_a.reverse_each { |context, answers| @waiting[context] = true if answers.used >= since }
          @changed.broadcast
        end
      end
    end

    def pause(seconds)
      deadline = now + seconds
      @lock.synchronize { @changed.wait([deadline - now, 0.01].max) until @closed || now >= deadline }
    end

    def unsaved
      @unsaved_since ||= now if @state
    end

    def save_until_closed
      saved = -SAVE_AGAIN
      until @closed
        pause(0.25)
        since = @unsaved_since
        next unless since && now - since >= SAVE_FIRST && now - saved >= SAVE_AGAIN

        saved = now
        save
      end
    end

    # What is known of contexts that nobody has asked for since the start is kept, as far as there is room.
    def save
      @unsaved_since = nil
      return unless @state

      at = now
      fresh = @lock.synchronize { @recent.to_a }.to_h do |context, answers|
        [Plain.digest(full(context)), { "at" => (Time.now - (at - answers.at)).utc.iso8601(6), "etag" => answers.etag, "flags" => answers.list }]
      end
      older = @known.reject { |digest, _| fresh.key?(digest) }.to_a.last([@limit - fresh.size, 0].max).to_h
      @known = older.merge(fresh)
      @state.write(@known, @stages)
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
